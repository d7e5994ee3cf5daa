//! Errors for people: what happened, to which object, what to do.

use std::fmt;

/// An error with advice; the chain below it is printed as its cause.
#[derive(Debug)]
pub(crate) struct Trouble {
    what: String,
    advice: Option<String>,
    usage: bool,
    cause: Option<anyhow::Error>,
}

impl Trouble {
    /// Something failed (exit code 1).
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            advice: None,
            usage: false,
            cause: None,
        }
    }

    /// The command was given something it cannot take (exit code 2); nothing was sent.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self {
            usage: true,
            ..Self::new(what)
        }
    }

    #[must_use]
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    #[must_use]
    pub(crate) fn because(mut self, cause: impl Into<anyhow::Error>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    pub(crate) fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }

    /// What the API answered, about which object, and what to do about it.
    pub(crate) fn from_api(action: &str, object: &str, error: kube::Error) -> Self {
        let what = format!("cannot {action} {object}");
        if let kube::Error::Api(status) = &error {
            let it = Self::new(format!("{what}: {}", status.message));
            return match status.code {
                401 => it.advise("The host does not accept this credential (expired, or of another cluster). Check --kubeconfig and --context."),
                403 => it.advise("Ask an administrator of the host for this permission, or use another kubeconfig."),
                404 if status.message.contains("could not find the requested resource") => it.advise(
                    "The server does not know Freehold's objects: is this the host? Check --kubeconfig and --context (`freehold ctx` goes back to the host).",
                ),
                404 => it.advise("`freehold get tenants` and `freehold get control-planes` show what exists."),
                _ => it,
            };
        }
        Self::new(what).because(Cause::of(&error)).advise(
            "Is the host running (`freehold up`)? Which host is asked is decided by --kubeconfig, KUBECONFIG, the data directory, ~/.kube/config, in this order.",
        )
    }

    pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
        match error.downcast_ref::<Self>() {
            Some(trouble) if trouble.usage => 2,
            _ => 1,
        }
    }
}

/// What an API client's error says, in one line without repetitions.
#[derive(Debug)]
pub(crate) struct Cause(String);

impl Cause {
    pub(crate) fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        Self(said(error))
    }
}

/// The server's own words where it spoke; else every cause that adds something.
pub(crate) fn said(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(e) = next {
        if let Some(kube::Error::Api(status)) = e.downcast_ref::<kube::Error>() {
            return status.message.clone();
        }
        let text = e.to_string();
        if !parts.iter().any(|p| p.contains(&text)) {
            parts.push(text);
        }
        next = e.source();
    }
    parts.join(": ")
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Trouble {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|c| c.as_ref())
    }
}
