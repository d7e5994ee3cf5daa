//! What has been warned of so far.

use crate::field::Path;
use std::collections::BTreeSet;
use std::fmt::Display;

/// A client is shown 4 KiB of them at most.
const MOST: usize = 256;

/// So many pairs of ports or paths are compared in one object.
pub(super) const MOST_PAIRS: usize = 1 << 20;

pub(super) struct Warnings {
    pub(super) list: Vec<String>,
    /// of the server that warns
    pub(super) minor: u8,
}

impl Warnings {
    pub(super) fn of(minor: u8) -> Self {
        Self {
            list: Vec::new(),
            minor,
        }
    }

    /// Text is made only where there is room for it.
    pub(super) fn say(&mut self, text: impl Display) {
        if !self.is_full() {
            self.list.push(text.to_string());
        }
    }

    pub(super) fn at(&mut self, path: Path<'_>, what: impl Display) {
        self.say(format_args!("{path}: {what}"));
    }

    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= MOST
    }
}

/// Names that came before; a few need no memory of their own.
#[derive(Default)]
pub(super) struct Seen<'a> {
    few: [&'a str; 16],
    count: usize,
    more: BTreeSet<&'a str>,
}

impl<'a> Seen<'a> {
    /// Whether the name is new.
    pub(super) fn insert(&mut self, name: &'a str) -> bool {
        if self.few[..self.count].contains(&name) {
            return false;
        }
        if self.count < self.few.len() {
            self.few[self.count] = name;
            self.count += 1;
            return true;
        }
        self.more.insert(name)
    }
}
