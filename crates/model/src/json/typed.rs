//! JSON read as a type: what [`super::parse`] and then [`crate::strict::check`] make of a document,
//! in one pass, for documents that neither complains about.

use super::Parser;
use crate::catalogue::{Shape, Struct, TypeId, Types};
use crate::slots::Slots;
use crate::value::{Entry, Map};
use crate::{Value, limits, strict};

/// `None`: there is something to complain about, or something rare; the long way says what.
pub(crate) fn parse(types: &Types, root: TypeId, bytes: &[u8]) -> Option<Value> {
    if bytes.len() > limits::MAX_BODY {
        return None;
    }
    let mut reader = Reader {
        parser: Parser::new(std::str::from_utf8(bytes).ok()?),
        types,
        slots: Slots::new(),
    };
    reader.parser.skip_space();
    reader.value(0, root, 0)?;
    let value = reader.slots.pop();
    reader.parser.skip_space();
    let whole = reader.parser.pos == bytes.len();
    (whole && !reader.parser.duplicates_seen).then_some(value)
}

struct Reader<'a, 't> {
    parser: Parser<'a>,
    types: &'t Types,
    slots: Slots,
}

impl<'t> Reader<'_, 't> {
    /// Reads a value for `place`. It is pushed, not returned: see [`Value::put_text`].
    fn value(&mut self, place: u16, id: TypeId, depth: usize) -> Option<()> {
        let types = self.types;
        match (types.get(id), self.parser.peek()?) {
            (Shape::Struct(s), b'{') => self.structure(place, s, depth + 1),
            (Shape::Map(item), b'{') => self.map(place, *item, depth + 1),
            (Shape::List(list), b'[') => self.list(place, list.item, depth + 1),
            (Shape::String | Shape::IntOrString, b'"') => {
                self.parser.count().ok()?;
                let text = self.parser.string().ok()?;
                self.slots.push_text(place, &text);
                Some(())
            }
            (Shape::Int32 | Shape::Int64 | Shape::IntOrString, b'1'..=b'9')
                if let Some(i) = self.parser.small_integer() =>
            {
                self.parser.count().ok()?;
                self.slots.push(place, Value::Int(i));
                Some(())
            }
            (Shape::Bool, first @ (b't' | b'f')) => {
                let word = if first == b't' { "true" } else { "false" };
                self.parser.count().ok()?;
                self.parser.literal(word, Value::Null).ok()?;
                self.slots.push(place, Value::Bool(first == b't'));
                Some(())
            }
            _ => self.rare(place, id, depth),
        }
    }

    /// What takes no time worth saving.
    fn rare(&mut self, place: u16, id: TypeId, depth: usize) -> Option<()> {
        let mut value = self.parser.value(depth).ok()?;
        let clean = strict::check(self.types, id, &mut value, false);
        let clean = clean.is_ok_and(|unknown| unknown.is_empty());
        // what the check made null stays, what is null is absent
        if !clean || value.is_null() {
            return None;
        }
        self.slots.push(place, value);
        Some(())
    }

    /// Enters an object or list; `None` when there is nothing in it.
    fn enter(&mut self, depth: usize, end: u8) -> Option<bool> {
        self.parser.count().ok()?;
        self.parser.check_depth(depth).ok()?;
        self.parser.pos += 1;
        self.parser.skip_space();
        let empty = self.parser.peek() == Some(end);
        self.parser.pos += usize::from(empty);
        Some(!empty)
    }

    /// Moves to the next member; `false` when there is none.
    fn next(&mut self, end: u8) -> Option<bool> {
        self.parser.skip_space();
        let next = self.parser.peek()?;
        if next != b',' && next != end {
            return None;
        }
        self.parser.pos += 1;
        if next == b',' {
            self.parser.skip_space();
        }
        Some(next == b',')
    }

    fn colon(&mut self) -> Option<()> {
        self.parser.skip_space();
        if self.parser.peek() != Some(b':') {
            return None;
        }
        self.parser.pos += 1;
        self.parser.skip_space();
        Some(())
    }

    fn structure(&mut self, place: u16, s: &'t Struct, depth: usize) -> Option<()> {
        if s.preserve_unknown {
            return None;
        }
        let mut more = self.enter(depth, b'}')?;
        let mark = self.slots.mark();
        while more {
            if self.parser.peek() != Some(b'"') {
                return None;
            }
            let key = self.parser.string().ok()?;
            let field = s.place(&key)?;
            self.colon()?;
            if self.parser.peek() == Some(b'n') {
                let null = self.parser.value(depth).ok()?;
                self.slots.push(field, null);
            } else {
                self.value(field, s.fields[usize::from(field)].ty, depth)?;
            }
            more = self.next(b'}')?;
        }
        let mut entries = Vec::with_capacity(self.slots.mark() - mark + s.spare());
        let distinct = self.slots.take(mark, |place, value| {
            if !value.is_null() {
                entries.push(s.entry(place, value));
            }
        });
        if distinct {
            let map = Map::from_sorted(entries);
            self.slots.push(place, Value::Object(map));
        }
        distinct.then_some(())
    }

    /// Members of maps and lists: null is their zero there, which is left to the long way.
    fn member(&mut self, item: TypeId, depth: usize) -> Option<()> {
        if self.parser.peek() == Some(b'n') {
            return None;
        }
        self.value(0, item, depth)
    }

    fn map(&mut self, place: u16, item: TypeId, depth: usize) -> Option<()> {
        let mut more = self.enter(depth, b'}')?;
        let texts = matches!(self.types.get(item), Shape::String);
        let start = self.parser.entries.len();
        while more {
            if self.parser.peek() != Some(b'"') {
                return None;
            }
            let key = self.parser.string().ok()?;
            self.colon()?;
            self.parser.entries.push(Entry::default());
            if let Some(entry) = self.parser.entries.last_mut() {
                entry.put_key(&key);
            }
            if texts && self.parser.peek() == Some(b'"') {
                self.parser.count().ok()?;
                let text = self.parser.string().ok()?;
                self.parser.entries.last_mut()?.value_mut().put_text(&text);
            } else {
                self.member(item, depth)?;
                *self.parser.entries.last_mut()?.value_mut() = self.slots.pop();
            }
            more = self.next(b'}')?;
        }
        let (map, duplicates) = Map::from_tail(&mut self.parser.entries, start);
        self.slots.push(place, Value::Object(map));
        duplicates.is_empty().then_some(())
    }

    fn list(&mut self, place: u16, item: TypeId, depth: usize) -> Option<()> {
        let mut more = self.enter(depth, b']')?;
        let mark = self.slots.mark();
        while more {
            self.member(item, depth)?;
            more = self.next(b']')?;
        }
        let items = self.slots.values(mark);
        self.slots.push(place, Value::Array(items));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Catalogue, json};

    /// Whatever is read in one pass is what two passes make of it, without a complaint.
    fn same(kind: &str, text: &str) -> bool {
        let catalogue = Catalogue::builtin(36).expect("built in");
        let resource = catalogue.lookup("", "v1", kind).expect("a resource");
        let typed = parse(&resource.types, resource.root, text.as_bytes());
        let slow = json::parse(text.as_bytes()).ok().and_then(|mut read| {
            let unknown = strict::check_and_prune(resource, &mut read.value).ok()?;
            (unknown.is_empty() && read.duplicates.is_empty()).then_some(read.value)
        });
        if typed.is_some() {
            assert_eq!(typed, slow, "{text}");
        }
        typed.is_some()
    }

    #[test]
    fn one_pass_reads_what_two_read() {
        for text in [
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","creationTimestamp":null,"labels":{"b":"1","a":"2"}},
                "spec":{"hostNetwork":true,"priority":-3,"containers":[{"name":"c","image":"i:1","resources":{"limits":{"cpu":"1.5","memory":512}},
                "livenessProbe":{"httpGet":{"port":"http"},"periodSeconds":10},"ports":[{"containerPort":80}]},{}]},"status":{}}"#,
            "{ }",
            r#" { "metadata" : { "creationTimestamp" : "2024-01-01T00:00:00+01:00" } , "spec" : { "containers" : [ ] } } "#,
            r#"{"metadata":{"managedFields":[{"fieldsV1":{"f:metadata":{}}}],"annotations":{"x":"\u00e9\n"}}}"#,
        ] {
            assert!(same("pods", text), "{text}");
        }
        assert!(same(
            "secrets",
            r#"{"data":{"a":"Zm9v"},"stringData":{"b":""}}"#
        ));
    }

    #[test]
    fn whatever_needs_a_word_goes_the_long_way() {
        let nested = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        for text in [
            "",
            "null",
            "[]",
            "{",
            "{}x",
            "{\"spec\":{}",
            "{\"spec\" {}}",
            "{\"spec\":{},}",
            "{spec:1}",
            r#"{"spec":{},"spec":{}}"#,
            r#"{"kind":null,"kind":"Pod"}"#,
            r#"{"metadata":{"labels":{"a":"1","a":"2"}}}"#,
            r#"{"metadata":{"managedFields":[{"fieldsV1":{"a":1,"a":2}}]}}"#,
            r#"{"metadata":{"labels":{"a":null}}}"#,
            r#"{"metadata":{"labels":{"a":1}}}"#,
            r#"{"spec":{"containers":[null]}}"#,
            r#"{"spec":{"containers":{}}}"#,
            r#"{"spec":{"priority":3000000000}}"#,
            r#"{"spec":{"priority":1.5}}"#,
            r#"{"spec":{"hostNetwork":"true"}}"#,
            r#"{"spec":{"nonsense":1}}"#,
            r#"{"Spec":{}}"#,
            &nested,
        ] {
            assert!(!same("pods", text), "{text}");
        }
    }
}
