//! JSON read as a type: what [`super::parse`] and then [`crate::strict::check`] make of a document,
//! in one pass, for documents that neither complains about.

use super::Parser;
use super::tape::Tape;
use crate::catalogue::decoding::{Plan, What};
use crate::catalogue::{Lazy, Places, Shape, Struct, TypeId, Types};
use crate::value::{Entry, Map};
use crate::{Value, limits, quantity, strict};

/// `None`: there is something to complain about, or something rare; the long way says what.
pub(crate) fn parse(types: &Types, root: TypeId, bytes: &[u8]) -> Option<Value> {
    if bytes.len() > limits::MAX_BODY {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let mut reader = Reader {
        tape: Tape::of(text)?,
        types,
        plans: types.decoding(),
        fields: Vec::with_capacity(64),
        parser: Parser::new(text, super::SENT),
    };
    let mut value = Value::Null;
    reader.value(0, root, 0, &mut value)?;
    (!reader.parser.duplicates_seen).then_some(value)
}

struct Reader<'a, 't> {
    tape: Tape<'a>,
    types: &'t Types,
    plans: &'t [Lazy<Plan>],
    /// tokens of the values of all open objects, the innermost last
    fields: Vec<u32>,
    /// for what is rare
    parser: Parser<'a>,
}

impl<'t> Reader<'_, 't> {
    /// Reads the value at a token into its place; says which token follows.
    fn value(&mut self, at: usize, id: TypeId, depth: usize, place: &mut Value) -> Option<usize> {
        let types = self.types;
        let token = self.tape.token(at);
        match (types.get(id), token.first()) {
            (Shape::Struct(s), b'{') => return self.structure(at, id, s, depth + 1, place),
            (Shape::Map(item), b'{') => return self.map(at, *item, depth + 1, place),
            (Shape::List(list), b'[') => return self.list(at, list.item, depth + 1, place),
            (Shape::String | Shape::IntOrString, b'"') => self.tape.put(token, place),
            (Shape::Int32 | Shape::Int64 | Shape::IntOrString, b'0')
                if let Some(i) = self.tape.small_integer(token) =>
            {
                place.put(Value::Int(i));
            }
            (Shape::Quantity, b'"')
                if let Some(text) = self.tape.plain(token)
                    && quantity::is_plain(text) =>
            {
                self.tape.put(token, place);
            }
            (Shape::Bool, b't') => place.put(Value::Bool(true)),
            (Shape::Bool, b'f') => place.put(Value::Bool(false)),
            _ => return self.rare(at, id, depth, place),
        }
        Some(at + 1)
    }

    /// What takes no time worth saving.
    fn rare(&mut self, at: usize, id: TypeId, depth: usize, place: &mut Value) -> Option<usize> {
        let token = self.tape.token(at);
        self.parser.pos = token.start as usize;
        let mut value = self.parser.value(depth).ok()?;
        if token.first() == b'0' && self.parser.pos != token.end() {
            return None;
        }
        let clean = strict::check(self.types, id, &mut value, false);
        let clean = clean.is_ok_and(|unknown| unknown.is_empty());
        // what the check made null stays, what is null is absent
        if !clean || value.is_null() {
            return None;
        }
        *place = value;
        Some(self.tape.behind(at))
    }

    fn structure(
        &mut self,
        at: usize,
        id: TypeId,
        s: &'t Struct,
        depth: usize,
        place: &mut Value,
    ) -> Option<usize> {
        if s.preserve_unknown || s.fields.len() > 64 {
            return None;
        }
        let start = self.fields.len();
        let (mut seen, mut present) = (0_u64, 0_u64);
        // by the place of a field: which of those seen it is
        let mut which = [0_u8; 64];
        let mut next = at + 2;
        for _ in 0..self.tape.token(at).size() {
            let (prefix, key) = self.tape.name(self.tape.token(next))?;
            let field = s.place_known(prefix, key)? & 63;
            let bit = 1 << field;
            if seen & bit != 0 {
                return None;
            }
            seen |= bit;
            if self.tape.token(next + 1).first() != b'n' {
                present |= bit;
                which[usize::from(field)] = (self.fields.len() - start) as u8;
                self.fields.push((next + 1) as u32);
            }
            next = self.tape.behind(next + 1);
        }
        let entries = place.open_object(self.fields.len() - start + s.spare());
        let plan = self.types.decoding_of(self.plans, id);
        for (field, slot) in Places(present).zip_places(&plan.slots) {
            let at = self.fields[start + usize::from(which[usize::from(field & 63)])];
            let value = slot.open(entries);
            let token = self.tape.token(at as usize);
            if slot.what == What::Text && token.first() == b'"' {
                self.tape.put(token, value);
            } else {
                self.value(at as usize, s.fields[usize::from(field)].ty, depth, value)?;
            }
        }
        self.fields.truncate(start);
        Some(next)
    }

    /// Members of maps and lists: null is their zero there, which is left to the long way.
    #[inline]
    fn member(
        &mut self,
        at: usize,
        item: TypeId,
        depth: usize,
        place: &mut Value,
    ) -> Option<usize> {
        if self.tape.token(at).first() == b'n' {
            return None;
        }
        self.value(at, item, depth, place)
    }

    fn map(&mut self, at: usize, item: TypeId, depth: usize, place: &mut Value) -> Option<usize> {
        let n = self.tape.token(at).size();
        let entries = place.open_object(n);
        let mut at = at + 2;
        for _ in 0..n {
            entries.push(Entry::EMPTY);
            let entry = entries.last_mut()?;
            if !self.tape.put_key(self.tape.token(at), entry) {
                entry.put_key(&self.tape.string(at)?);
            }
            at = self.member(at + 1, item, depth, entry.value_mut())?;
        }
        place
            .as_object_mut()
            .is_some_and(Map::put_in_order)
            .then_some(at)
    }

    fn list(&mut self, at: usize, item: TypeId, depth: usize, place: &mut Value) -> Option<usize> {
        let n = self.tape.token(at).size();
        let mut at = at + 2;
        for place in place.open_array(n) {
            at = self.member(at, item, depth, place)?;
        }
        Some(at)
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
            r#"{"spec":{"priority":0,"priorityClassName":"a\"b","containers":[{"livenessProbe":{"httpGet":{"port":0}}}]}}"#,
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
            r#"{"spec":{"priority":01}}"#,
            r#"{"spec":{"priority":1-}}"#,
            r#"{"spec":{"priority":-}}"#,
            r#"{"spec":{"priorityClassName":"\x"}}"#,
            r#"{"sp\u0065c":{}}"#,
            r#"{"spec":{"hostNetwork":"true"}}"#,
            r#"{"spec":{"nonsense":1}}"#,
            r#"{"Spec":{}}"#,
            &nested,
        ] {
            assert!(!same("pods", text), "{text}");
        }
    }
}
