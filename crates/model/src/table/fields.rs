//! Going through the fields of an object once.

use crate::Value;
use crate::value::{Entry, prefix, same};

/// The fields of one object, to be asked for in the order of their names.
pub(super) struct Fields<'a>(&'a [Entry]);

impl<'a> Fields<'a> {
    /// Of `None` and of what is no object: none.
    #[inline(always)]
    pub(super) fn of(value: Option<&'a Value>) -> Self {
        let map = value.and_then(Value::as_object);
        Self(map.map_or(&[], |map| map.entries()))
    }

    /// The field `key`. Inlined where the name is known, and so is its prefix.
    #[inline(always)]
    pub(super) fn next(&mut self, key: &str) -> Option<&'a Value> {
        let wanted = prefix(key);
        while let Some((first, rest)) = self.0.split_first() {
            if first.prefix() > wanted {
                break;
            }
            if first.prefix() == wanted && is(first, key) {
                self.0 = rest;
                return Some(first.value());
            }
            // Names that begin alike come in an order of their own.
            if first.prefix() == wanted {
                return self.among_alike(wanted, key);
            }
            self.0 = rest;
        }
        None
    }

    #[inline(never)]
    fn among_alike(&mut self, wanted: u64, key: &str) -> Option<&'a Value> {
        let mut alike = self.0.iter().take_while(|e| e.prefix() == wanted);
        let found = alike.find(|e| is(e, key));
        found.map(Entry::value)
    }
}

/// Short texts of one length and one prefix are the same.
#[inline(always)]
fn is(entry: &Entry, key: &str) -> bool {
    entry.key().len() == key.len() && (key.len() <= 8 || same(entry.key(), key))
}
