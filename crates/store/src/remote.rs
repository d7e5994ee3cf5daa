//! What drivers of datastores run by others have in common.

use std::fmt;

/// PEM texts of a connection with TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct Tls {
    /// what the server's certificate is checked against
    pub ca: Vec<u8>,
    /// client certificate and key
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// name in the server's certificate, where it is not the one that is connected to
    pub server_name: Option<String>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("identity", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        // Some errors print their cause themselves.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
