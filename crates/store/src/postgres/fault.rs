//! What PostgreSQL answers, in the words of the contract.

use crate::Error;
use crate::remote::chain;

/// Why something did not work.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection is of no more use, or the server asks to try again; another attempt may
    /// help.
    Broken(String),
    /// The server said no.
    Refused(Error),
}

impl Fault {
    /// For whoever does not try again.
    pub(super) fn plain(self) -> Error {
        match self {
            Self::Broken(why) => Error::Unavailable(why),
            Self::Refused(error) => error,
        }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            return Self::Broken(format!("PostgreSQL: {}", chain(&error)));
        };
        let text = format!("PostgreSQL: {} ({})", db.message(), db.code().code());
        match db.code().code() {
            "53100" => Self::Refused(Error::NoSpace("the disk of PostgreSQL is full".into())),
            // A table or schema that is not there.
            "42P01" | "3F000" => Self::Refused(Error::Deleted),
            "XX001" | "XX002" => Self::Refused(Error::Corrupt(text)),
            "54000" | "54001" | "22001" => Self::Refused(Error::TooLarge(text)),
            code if again(code) => Self::Broken(text),
            _ => Self::Refused(Error::Unavailable(text)),
        }
    }
}

/// Whether another attempt on another connection may succeed.
fn again(code: &str) -> bool {
    matches!(
        &code[..2],
        // connection, transaction rollback, resources, operator's intervention, lock timeout
        "08" | "40" | "53" | "57" | "55"
    ) || matches!(
        code,
        // a server that became a standby; a transaction ended for idling; a role that was made anew
        "25006" | "25P02" | "25P03" | "42501" | "XX000"
    )
}

/// Why no connection was made, in one sentence with what to check.
pub(super) fn connecting(error: &tokio_postgres::Error, at: &str, user: &str, db: &str) -> Fault {
    let refused = |text: String| Fault::Refused(Error::Unavailable(text));
    if let Some(answer) = error.as_db_error() {
        let said = answer.message();
        return match answer.code().code() {
            "28P01" => refused(format!(
                "PostgreSQL at {at} refuses the password of user {user:?}: check the user and password of the datastore"
            )),
            "28000" => refused(format!(
                "PostgreSQL at {at} does not let user {user:?} in ({said}): check the user, its client certificate and pg_hba.conf"
            )),
            "3D000" => refused(format!(
                "there is no database {db:?} in PostgreSQL at {at}: create it or name another one"
            )),
            "42501" => refused(format!(
                "user {user:?} may not connect to database {db:?} in PostgreSQL at {at}: grant it CONNECT and CREATE there"
            )),
            _ => Fault::Broken(format!(
                "PostgreSQL at {at} takes no connection now: {said}"
            )),
        };
    }
    let why = chain(error);
    let missing_tls = why.contains("server does not support TLS");
    if missing_tls {
        return refused(format!(
            "PostgreSQL at {at} does not speak TLS: set ssl = on there, or leave the certificate authority out here"
        ));
    }
    if why.contains("TLS handshake")
        || why.contains("invalid peer certificate")
        || why.contains("fatal alert")
    {
        let cause = why.replace("error performing TLS handshake: ", "");
        return refused(format!(
            "no trusted TLS connection to PostgreSQL at {at} ({cause}): check the certificate authority, the server's name and the client certificate"
        ));
    }
    if why.contains("password missing") || why.contains("authentication") {
        return refused(format!(
            "PostgreSQL at {at} asks user {user:?} for what is not given ({why}): check the user and password of the datastore"
        ));
    }
    Fault::Broken(format!(
        "PostgreSQL at {at} cannot be reached ({}): check the address and that it runs",
        why.replace("error connecting to server: ", "")
    ))
}
