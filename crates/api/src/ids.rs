//! Names that cannot be mixed up: a tenant's name is not a control plane's.

use std::fmt;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidName {
    /// what it was meant to name
    pub what: &'static str,
    /// the longest allowed
    pub max: usize,
    /// the text
    pub given: String,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.given.chars().take(80).collect();
        write!(
            f,
            "{} {shown:?} must be 1 to {} characters: lower-case letters, digits and '-', starting and ending with a letter or digit",
            self.what, self.max
        )
    }
}

impl std::error::Error for InvalidName {}

/// A DNS label (RFC 1123) of at most `max` characters.
fn is_label(text: &str, max: usize) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= max
        && bytes.iter().all(|&b| alphanumeric(b) || b == b'-')
        && alphanumeric(bytes[0])
        && alphanumeric(bytes[bytes.len() - 1])
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The longest name, in characters.
            pub const MAX: usize = $max;

            /// Checks and takes a name.
            ///
            /// # Errors
            /// When the text is no DNS label of at most [`Self::MAX`] characters.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
                let given = text.into();
                if is_label(&given, $max) {
                    Ok(Self(given))
                } else {
                    Err(InvalidName { what: $what, max: $max, given })
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
    };
}

name!(
    /// The name of a `Tenant`; its namespace on the host is `tenant-<name>`, hence 56 characters.
    TenantName, "the tenant name", 56
);

name!(
    /// The name of a `ControlPlane` within its tenant; one label of its server name.
    ControlPlaneName, "the control plane name", 63
);

impl TenantName {
    /// The namespace on the host that holds what belongs to the tenant.
    #[must_use]
    pub fn namespace(&self) -> String {
        format!("{}{}", crate::names::TENANT_NAMESPACE_PREFIX, self.0)
    }

    /// The tenant whose namespace this would be, going by its name alone.
    #[must_use]
    pub fn of_namespace(namespace: &str) -> Option<Self> {
        let name = namespace.strip_prefix(crate::names::TENANT_NAMESPACE_PREFIX)?;
        Self::new(name).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_name_leaves_room_for_its_namespace() {
        let longest = TenantName::new("a".repeat(56)).unwrap();
        assert_eq!(longest.namespace().len(), 63);
        assert!(TenantName::new("a".repeat(57)).is_err());
    }

    #[test]
    fn names_are_dns_labels() {
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "a/b", "ä", "a b"] {
            let error = ControlPlaneName::new(bad).unwrap_err();
            assert!(error.to_string().contains("control plane"), "{error}");
        }
        for good in ["a", "0", "customer2", "a-b-c"] {
            assert_eq!(ControlPlaneName::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_namespace_names_its_tenant() {
        assert_eq!(
            TenantName::of_namespace("tenant-acme").unwrap().as_str(),
            "acme"
        );
        assert_eq!(TenantName::of_namespace("acme"), None);
        assert_eq!(TenantName::of_namespace("tenant-"), None);
    }
}
