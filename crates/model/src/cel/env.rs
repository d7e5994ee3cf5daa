//! What an expression may refer to, and in which version of Kubernetes it is written.

use super::ast::Parsed;
use super::check::{self, Checked};
use super::decl::Decl;
use super::functions::Function;
use super::issues::Issues;
use super::parse::{Syntax, parse};
use super::types::Type;
use crate::Str;
use std::sync::Arc;

/// Declared variables and the version whose functions exist.
#[derive(Clone, Debug)]
pub struct Env {
    minor: u16,
    variables: Vec<(Str, Type)>,
    root: Option<Arc<Decl>>,
    patches: bool,
    bindings: bool,
}

impl Env {
    /// The environment of Kubernetes 1.`minor`, without variables.
    #[must_use]
    pub fn new(minor: u16) -> Self {
        Self {
            minor,
            variables: Vec::new(),
            root: None,
            patches: false,
            bindings: false,
        }
    }

    /// The environment in which the API server of Kubernetes 1.`minor` takes new expressions: that of
    /// the version before it, which may still be running beside it (`DefaultCompatibilityVersion`).
    #[must_use]
    pub fn of_server(minor: u16) -> Self {
        Self::new(minor.saturating_sub(1))
    }

    /// The environment for what is stored already: everything any version knew.
    #[must_use]
    pub fn stored() -> Self {
        Self::new(u16::MAX)
    }

    #[must_use]
    pub fn with(mut self, name: &str, ty: Type) -> Self {
        self.variables.push((name.into(), ty));
        self
    }

    /// The shape that variables have, for estimates of sizes.
    #[must_use]
    pub fn sized(mut self, root: Arc<Decl>) -> Self {
        self.root = Some(root);
        self
    }

    /// With the types and functions that patches are made with.
    #[must_use]
    pub fn with_patches(mut self) -> Self {
        self.patches = true;
        self
    }

    /// With the macro `cel.bind`.
    #[must_use]
    pub fn with_bindings(mut self) -> Self {
        self.bindings = true;
        self
    }

    /// Whether a function exists here.
    pub(crate) fn has(&self, function: &Function) -> bool {
        function.since <= self.minor && (self.patches || !function.patches)
    }

    #[must_use]
    pub fn minor(&self) -> u16 {
        self.minor
    }

    #[must_use]
    pub fn root(&self) -> Option<&Decl> {
        self.root.as_deref()
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Type> {
        self.variables
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, t)| t)
    }

    /// The message type that `name{…}` constructs. There is none in the environments of rules and
    /// validating policies; `Object{…}` and `JSONPatch{…}` belong to mutating policies.
    pub(crate) fn message(&self, name: &str) -> Option<Type> {
        self.patches
            .then(|| super::message::type_of(name))
            .flatten()
    }

    #[must_use]
    pub fn syntax(&self) -> Syntax {
        Syntax {
            optional: self.minor >= 28,
            two_variables: self.minor >= 32,
            sort_by: self.minor >= 34,
            quoted_fields: false,
            bindings: self.bindings,
        }
    }

    /// Parses and checks.
    ///
    /// # Errors
    /// What is wrong, all of it.
    pub fn compile(&self, source: &str) -> Result<Checked, Issues> {
        let Parsed { expr, nodes } = parse(source, self.syntax())?;
        check::check(self, expr, nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// apiserver `pkg/cel/environment/base.go`
    #[test]
    fn new_expressions_may_use_what_the_version_before_had() {
        for (source, first) in [
            ("[1].isSorted() && url('/a').getHost() == ''", 28),
            ("'a'.find('a') == 'a' && 'a'.charAt(0) == 'a'", 28),
            ("quantity('1').isInteger() && optional.of(1).hasValue()", 29),
            ("1 < 1.5", 29),
            ("sets.contains([1], [1]) && '%d'.format([1]) == '1'", 30),
            ("ip('1.2.3.4').family() == 4 && isCIDR('::/0')", 31),
            ("format.uuid().validate('x').hasValue()", 32),
            ("[1].all(i, v, v > i)", 33),
            ("semver('1.2.3').major() == 1", 34),
            ("lists.range(1) == [0] && [2, 1].sortBy(e, e)[0] == 1", 35),
        ] {
            for minor in 28..=37 {
                let compiled = Env::of_server(minor).compile(source);
                assert_eq!(compiled.is_ok(), minor >= first, "{source} in 1.{minor}");
            }
            assert!(
                Env::stored().compile(source).is_ok(),
                "{source} when stored"
            );
        }
        for patches in ["jsonpatch.escapeKey('a')", "Object{}"] {
            assert!(Env::of_server(36).compile(patches).is_err());
            assert!(Env::of_server(36).with_patches().compile(patches).is_ok());
        }
    }
}
