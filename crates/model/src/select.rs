//! Label and field selectors.

use crate::{ApiError, Resource, Str, Value};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelSelector {
    pub requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Requirement {
    pub key: Str,
    pub op: Op,
    pub values: Vec<Str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

impl LabelSelector {
    /// Parses the query form: `a=b,c!=d,e in (x,y),!f`.
    ///
    /// # Errors
    /// 400 as upstream's `labels.Parse`.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let _ = text;
        Err(ApiError::bad_request("not implemented"))
    }

    /// Compiles the object form (`matchLabels`, `matchExpressions`).
    ///
    /// # Errors
    /// 400 for an unknown operator or missing values.
    pub fn from_value(selector: &Value) -> Result<Self, ApiError> {
        let _ = selector;
        Err(ApiError::bad_request("not implemented"))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Matches an object's `metadata.labels` (`None`: no labels).
    #[must_use]
    pub fn matches(&self, labels: Option<&crate::Map>) -> bool {
        let _ = labels;
        false
    }
}

/// `metadata.name=x,status.phase!=Running`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldSelector {
    /// (path, value, must be equal)
    pub terms: Vec<(Str, Str, bool)>,
}

impl FieldSelector {
    /// Parses the query form.
    ///
    /// # Errors
    /// 400 for bad syntax.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let _ = text;
        Err(ApiError::bad_request("not implemented"))
    }

    /// Checks that the kind supports every field.
    ///
    /// # Errors
    /// 400 `field label not supported: …`.
    pub fn check(&self, resource: &Resource) -> Result<(), ApiError> {
        let _ = resource;
        Ok(())
    }

    #[must_use]
    pub fn matches(&self, resource: &Resource, object: &Value) -> bool {
        let _ = (resource, object);
        false
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}
