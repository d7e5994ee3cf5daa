//! Which keyspace a client certificate stands for.

use super::budget::{Bounds, Budget};
use crate::fence::Fenced;
use crate::{Error, Keyspaces, Result, Store};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::AttributeTypeAndValue;

/// A name in a client certificate: `cn:NAME`, `o:NAME` (organization), `uri:URI` or `dns:NAME`
/// (subject alternative names).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    CommonName(String),
    Organization(String),
    Uri(String),
    Dns(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Self::CommonName(name) => ("cn", name),
            Self::Organization(name) => ("o", name),
            Self::Uri(name) => ("uri", name),
            Self::Dns(name) => ("dns", name),
        };
        write!(f, "{kind}:{name}")
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        if name.is_empty() {
            return Err(format!(
                "`{text}` is no subject: write cn:NAME, o:NAME, uri:URI or dns:NAME"
            ));
        }
        let name = name.to_owned();
        match kind {
            "cn" => Ok(Self::CommonName(name)),
            "o" => Ok(Self::Organization(name)),
            "uri" => Ok(Self::Uri(name)),
            "dns" => Ok(Self::Dns(name)),
            _ => Err(format!(
                "`{kind}` is no part of a certificate that can name a tenant: cn, o, uri and dns are"
            )),
        }
    }
}

/// Subjects, and the keyspace of each. A certificate that none of them fits, or that fits those
/// of two keyspaces, gets nothing.
pub struct Tenants {
    keyspaces: Arc<dyn Keyspaces>,
    rules: BTreeMap<Subject, String>,
    budgets: Arc<Mutex<BTreeMap<String, Arc<Budget>>>>,
}

impl Tenants {
    /// Several subjects may name the same keyspace.
    pub fn new(keyspaces: Arc<dyn Keyspaces>, rules: BTreeMap<Subject, String>) -> Self {
        Self {
            keyspaces,
            rules,
            budgets: Arc::default(),
        }
    }

    /// Other rules for the same tenants, who keep what they have used up.
    #[must_use]
    pub fn with_rules(&self, rules: BTreeMap<Subject, String>) -> Self {
        Self {
            keyspaces: self.keyspaces.clone(),
            rules,
            budgets: self.budgets.clone(),
        }
    }

    pub(super) async fn find(
        &self,
        certificate: Option<&[u8]>,
        bounds: Bounds,
    ) -> Result<(Arc<dyn Store>, Arc<Budget>), String> {
        let certificate = certificate.ok_or("a client certificate is needed here")?;
        let id = self.keyspace(certificate)?;
        let store = self.keyspaces.open(id).await;
        let store = store.map_err(|error| match error {
            // What the datastore says of itself is not for tenants.
            Error::Invalid(_) => "this tenant's keyspace has an unusable name".to_owned(),
            _ => "this tenant's keyspace cannot be opened now".to_owned(),
        })?;
        let budget = self
            .budgets
            .lock()
            .entry(id.to_owned())
            .or_insert_with(|| Arc::new(Budget::new(bounds)))
            .clone();
        Ok((Fenced::new(store), budget))
    }

    fn keyspace(&self, certificate: &[u8]) -> Result<&str, String> {
        let subjects = subjects(certificate).ok_or("the client certificate cannot be read")?;
        let found: BTreeSet<&String> = subjects
            .iter()
            .filter_map(|subject| self.rules.get(subject))
            .collect();
        let names = || {
            let names: Vec<_> = subjects.iter().map(ToString::to_string).collect();
            names.join(", ")
        };
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(id),
            (None, _) => Err(format!("no tenant is known for {}", names())),
            (Some(_), Some(_)) => Err(format!("{} is of more than one tenant", names())),
        }
    }
}

/// Everything in a certificate that may name a tenant.
fn subjects(certificate: &[u8]) -> Option<Vec<Subject>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let text = |a: &AttributeTypeAndValue<'_>| a.as_str().ok().map(str::to_owned);
    let subject = certificate.subject();
    let mut found = Vec::new();
    // As Go: the last of several common names counts.
    let name = subject.iter_common_name().last().and_then(text);
    found.extend(name.map(Subject::CommonName));
    let organizations = subject.iter_organization().filter_map(text);
    found.extend(organizations.map(Subject::Organization));
    if let Some(names) = certificate.subject_alternative_name().ok()? {
        for name in &names.value.general_names {
            match name {
                GeneralName::URI(uri) => found.push(Subject::Uri((*uri).to_owned())),
                GeneralName::DNSName(name) => found.push(Subject::Dns((*name).to_owned())),
                _ => {}
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_written_and_read_alike() {
        for text in ["cn:a", "o:b c", "uri:spiffe://x/y", "dns:a.example"] {
            let subject: Subject = text.parse().expect("a subject");
            assert_eq!(subject.to_string(), text);
        }
        for text in ["", "cn", "cn:", "ou:x", "acme"] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }
}
