//! What tenants are told of errors: what they can do. Where the datastore is, as whom it is spoken
//! to and what it said is for whoever runs it, in the log.

use crate::Error;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// A datastore that is away refuses every request with the same words.
const AGAIN: Duration = Duration::from_secs(10);

const UNAVAILABLE: &str = "the datastore is unavailable: try again in a moment, and if you wrote something, look first whether it is there";
const DAMAGED: &str = "the datastore is damaged: whoever runs it finds more in its log";

/// An error as a tenant may read it; the rest of it is logged.
#[must_use]
pub fn for_tenants(error: &Error) -> String {
    log(error);
    match error {
        Error::Unavailable(_) => UNAVAILABLE.to_owned(),
        Error::Corrupt(_) => DAMAGED.to_owned(),
        other => other.to_string(),
    }
}

/// Logs what tenants are not told.
pub(crate) fn log(error: &Error) {
    match error {
        Error::Unavailable(text) if is_new(text) => {
            tracing::warn!(error = text, "the datastore is unavailable");
        }
        Error::Corrupt(text) => tracing::error!(error = text, "the datastore is damaged"),
        _ => {}
    }
}

/// Whether this was not said a moment ago.
fn is_new(text: &str) -> bool {
    static LAST: Mutex<Option<(Instant, String)>> = Mutex::new(None);
    let mut last = LAST.lock();
    if let Some((at, before)) = &*last
        && at.elapsed() < AGAIN
        && before == text
    {
        return false;
    }
    *last = Some((Instant::now(), text.to_owned()));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_learns_no_address_and_no_user() {
        let text = "PostgreSQL at db.internal:5432 refuses the password of user \"keeper\"";
        for error in [Error::Unavailable(text.into()), Error::Corrupt(text.into())] {
            let said = for_tenants(&error);
            assert!(!said.contains("db.internal") && !said.contains("keeper"));
        }
        assert!(!is_new(text), "it was logged");
        let full = Error::NoSpace("10 of 10 keys are stored".into());
        assert!(for_tenants(&full).contains("10 of 10 keys"));
    }
}
