//! Tables of names that are few mostly, and may be very many when somebody wants to do harm: the
//! first are looked through, and only more of them are hashed.

use crate::value::same;
use std::collections::HashMap;

const FEW: usize = 16;

#[derive(Clone)]
pub(crate) struct Table<'a, V> {
    few: Vec<(&'a str, V)>,
    many: HashMap<&'a str, V>,
}

impl<V> Default for Table<'_, V> {
    fn default() -> Self {
        Self {
            few: Vec::new(),
            many: HashMap::new(),
        }
    }
}

impl<'a, V> Table<'a, V> {
    /// With room for so many.
    pub(crate) fn of(number: usize) -> Self {
        Self {
            few: Vec::with_capacity(number.min(FEW)),
            many: HashMap::new(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        let few = self.few.iter().find(|(n, _)| same(n, name));
        match few {
            Some((_, value)) => Some(value),
            None if self.many.is_empty() => None,
            None => self.many.get(name),
        }
    }

    pub(crate) fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Replaces what was there.
    pub(crate) fn insert(&mut self, name: &'a str, value: V) {
        if let Some((_, old)) = self.few.iter_mut().find(|(n, _)| same(n, name)) {
            *old = value;
        } else {
            self.add(name, value);
        }
    }

    /// Adds what is not there.
    pub(crate) fn add(&mut self, name: &'a str, value: V) {
        if self.few.len() < FEW {
            self.few.push((name, value));
        } else {
            self.many.insert(name, value);
        }
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.few.iter().map(|(_, v)| v).chain(self.many.values())
    }
}

impl<'a, V> FromIterator<(&'a str, V)> for Table<'a, V> {
    fn from_iter<T: IntoIterator<Item = (&'a str, V)>>(iter: T) -> Self {
        let mut table = Self::default();
        iter.into_iter()
            .for_each(|(name, value)| table.insert(name, value));
        table
    }
}

/// A set of names.
#[derive(Clone, Default)]
pub(crate) struct Names<'a>(Table<'a, ()>);

impl<'a> Names<'a> {
    /// With room for so many.
    pub(crate) fn of(number: usize) -> Self {
        Self(Table::of(number))
    }

    /// Whether it is new.
    pub(crate) fn insert(&mut self, name: &'a str) -> bool {
        let new = !self.contains(name);
        if new {
            self.0.add(name, ());
        }
        new
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

impl<'a> FromIterator<&'a str> for Names<'a> {
    fn from_iter<T: IntoIterator<Item = &'a str>>(iter: T) -> Self {
        Self(iter.into_iter().map(|name| (name, ())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_names_and_many_are_found() {
        let names: Vec<String> = (0..100).map(|i| format!("name-{i}")).collect();
        let mut set = Names::default();
        let mut table = Table::default();
        for (i, name) in names.iter().enumerate() {
            assert!(!set.contains(name));
            assert!(set.insert(name) && !set.insert(name));
            table.insert(name, 0);
            table.insert(name, i);
        }
        for (i, name) in names.iter().enumerate() {
            assert!(set.contains(name));
            assert_eq!(table.get(name), Some(&i));
        }
        assert!(!table.contains_key("name-100"));
        assert_eq!(table.values().sum::<usize>(), 99 * 100 / 2);
    }
}
