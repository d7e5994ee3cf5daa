//! What can go wrong here.

use thiserror::Error;

/// The result of anything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the tenancy controllers. Display does not repeat the cause.
#[derive(Debug, Error)]
pub enum Error {
    /// The host refused or could not be reached.
    #[error("the host did not {what}")]
    Host {
        /// what was asked, as in "create secret a/b"
        what: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// A certificate, key or signing request could not be made or read.
    #[error("{what}")]
    Pki {
        what: String,
        #[source]
        source: Option<rcgen::Error>,
    },
    /// A thing did not happen in the time it was given.
    #[error("{what} within {seconds} s")]
    TooLate {
        /// what did not happen
        what: String,
        seconds: u64,
    },
    /// An object is not what it has to be.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// An answer of the host to `what`.
    pub fn host(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Host {
            what,
            source: Box::new(source),
        }
    }

    pub(crate) fn pki(what: impl Into<String>) -> impl FnOnce(rcgen::Error) -> Self {
        let what = what.into();
        move |source| Self::Pki {
            what,
            source: Some(source),
        }
    }

    /// The status code the host answered with, when it answered.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Host { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }

    /// The error with its causes, in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
