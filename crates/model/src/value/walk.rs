//! Going through the fields of an object once.

use super::{Entry, Map, Value, prefix};

/// The fields of one object, to be asked for in ascending order of their names.
pub(crate) struct Walk<'a>(&'a [Entry]);

impl<'a> Walk<'a> {
    /// Of `None` and of what is no object: none.
    #[inline(always)]
    pub(crate) fn over(value: Option<&'a Value>) -> Self {
        let map = value.and_then(Value::as_object);
        Self(map.map_or(&[], Map::entries))
    }

    /// The field `key`. Inlined where the name is known, and so is its prefix.
    #[inline(always)]
    pub(crate) fn next(&mut self, key: &str) -> Option<&'a Value> {
        let wanted = prefix(key);
        while let [first, rest @ ..] = self.0 {
            if first.prefix < wanted {
                self.0 = rest;
                continue;
            }
            if first.prefix > wanted {
                break;
            }
            if first.is(wanted, key) {
                self.0 = rest;
                return Some(&first.value);
            }
            if first.key.as_str() > key {
                break;
            }
            self.0 = rest;
        }
        None
    }
}
