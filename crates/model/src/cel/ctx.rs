//! What one evaluation has at hand, and what it may use up.

use super::val::{Failure, Outcome};
use crate::go_regex;
use regex::Regex;
use std::collections::HashMap;
use std::rc::Rc;

/// The most one expression may cost (apiserver `pkg/apis/cel/config.go`).
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// The most all expressions of one request may cost together.
pub const PER_REQUEST_LIMIT: u64 = 10_000_000;
/// The most all match conditions of one webhook or policy may cost together.
pub const MATCH_CONDITIONS_LIMIT: u64 = 2_500_000;

/// Steps of work of one evaluation. What costs units takes about two steps each; what costs nothing
/// upstream (comparing, copying) ends here.
const FUEL: u64 = 10_000_000;
/// Steps of work of all expressions of one request.
pub const REQUEST_FUEL: u64 = 60_000_000;
/// Bytes that one evaluation may make.
const MEMORY: u64 = 64 * 1024 * 1024;
/// Patterns kept compiled during one evaluation.
const MAX_PATTERNS: usize = 32;

/// Answers authorization questions of the `authorizer` variable.
pub trait Authorizer {
    fn authorize(&self, question: &Question<'_>) -> Answer;
}

/// What `authorizer.group(…).resource(…)….check(verb)` asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question<'q> {
    pub verb: &'q str,
    /// A path that is not a resource's; the rest is empty then.
    pub path: Option<&'q str>,
    pub group: &'q str,
    pub resource: &'q str,
    pub subresource: &'q str,
    pub namespace: &'q str,
    pub name: &'q str,
    pub field_selector: &'q str,
    pub label_selector: &'q str,
    /// Asks for a service account instead of the user of the request: namespace and name. It is in the
    /// groups of service accounts, but not in `system:authenticated`, as upstream.
    pub service_account: Option<(&'q str, &'q str)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}

/// The state of one evaluation.
pub struct Ctx<'a> {
    cost: u64,
    limit: u64,
    fuel: u64,
    memory: u64,
    patterns: HashMap<String, Rc<Regex>>,
    /// Who answers `authorizer`, where there is one.
    pub authorizer: Option<&'a dyn Authorizer>,
}

impl<'a> Ctx<'a> {
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            cost: 0,
            limit,
            fuel: FUEL,
            memory: MEMORY,
            patterns: HashMap::new(),
            authorizer: None,
        }
    }

    #[must_use]
    pub fn with_authorizer(mut self, authorizer: Option<&'a dyn Authorizer>) -> Self {
        self.authorizer = authorizer;
        self
    }

    /// Allows at most `steps`, where a request has used some of its own already.
    #[must_use]
    pub fn with_fuel(mut self, steps: u64) -> Self {
        self.fuel = FUEL.min(steps);
        self
    }

    /// How many steps have been made since there were `before` left.
    #[must_use]
    pub fn used_of(&self, before: u64) -> u64 {
        FUEL.min(before) - self.fuel
    }

    /// How many steps may be made.
    #[must_use]
    pub fn fuel(&self) -> u64 {
        self.fuel
    }

    /// What has been charged so far.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Adds to the cost.
    ///
    /// # Errors
    /// The limit is exceeded.
    pub fn charge(&mut self, cost: u64) -> Outcome<()> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit {
            return Err(Failure::out_of_budget());
        }
        Ok(())
    }

    /// Counts steps of work that cost nothing.
    ///
    /// # Errors
    /// There have been too many.
    pub fn burn(&mut self, steps: usize) -> Outcome<()> {
        match self.fuel.checked_sub(steps as u64) {
            Some(rest) => {
                self.fuel = rest;
                Ok(())
            }
            None => {
                self.fuel = 0;
                Err(Failure::out_of_budget())
            }
        }
    }

    /// To be called before something of `bytes` bytes is made.
    ///
    /// # Errors
    /// This evaluation has made too much.
    pub fn alloc(&mut self, bytes: usize) -> Outcome<()> {
        self.memory = self
            .memory
            .checked_sub(bytes as u64)
            .ok_or_else(Failure::out_of_budget)?;
        Ok(())
    }

    /// A compiled pattern, in Go's syntax; linear-time and of bounded size.
    ///
    /// # Errors
    /// It is not a pattern.
    pub fn regex(&mut self, pattern: &str) -> Outcome<Rc<Regex>> {
        if let Some(regex) = self.patterns.get(pattern) {
            return Ok(Rc::clone(regex));
        }
        let regex = Rc::new(go_regex::compile(pattern).map_err(Failure::new)?);
        if self.patterns.len() < MAX_PATTERNS {
            self.patterns.insert(pattern.to_owned(), Rc::clone(&regex));
        }
        Ok(regex)
    }
}
