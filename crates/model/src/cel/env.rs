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
        }
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
