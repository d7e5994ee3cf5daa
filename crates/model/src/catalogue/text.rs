//! The generated text that the catalogue is read from (`catalogue/types.txt`).
//!
//! ```text
//! k apps v1 Deployment io.k8s.api.apps.v1.Deployment      a kind and its struct
//! % io.k8s.api.core.v1.Volume                             a struct; its lines follow
//! ! atomic
//! emptyDir io.k8s.api.core.v1.EmptyDirVolumeSource 2.2 o *
//! ```
//! A field is: JSON name, type, protobuf tags (those of inlined messages first), flags. Types: one
//! letter, `[]T` atomic list, `[set]T`, `[key,key]T`, `w[]T` with a message around it, `{}T` map,
//! or the name of a struct. Flags: `!` required, `o` omitted when zero, `*` pointer, `pm` patch
//! merge, `pr` retain keys, `pk=` merge key, `ma` atomic map, `mg` granular map, `la` said to be atomic, `e=` enum (`~` for a space), `d=` default (JSON), and
//! last `@28-34`, the minor versions that have the line.

use super::{Facts, Field, List, ListKind, Shape, Struct, TypeId};
use crate::value::Str;
use std::collections::HashMap;
use std::sync::Arc;

/// Minor versions, both ends included.
pub(super) type Range = (u8, u8);

/// Everything that the text says, for all minor versions.
#[derive(Default)]
pub(super) struct Parsed {
    /// per type id, what it is since which minor version (ascending); most have one entry
    pub(super) nodes: Vec<Vec<(u8, Arc<Shape>)>>,
    pub(super) structs: HashMap<&'static str, TypeId>,
    /// ascending
    pub(super) kinds: Vec<([&'static str; 3], Range, TypeId)>,
    interned: HashMap<&'static str, TypeId>,
}

/// Splits a trailing ` @a-b` off a line.
pub(super) fn range(line: &'static str) -> (Range, &'static str) {
    let all = (super::OLDEST_MINOR, super::NEWEST_MINOR);
    let Some((rest, tail)) = line.rsplit_once(" @") else {
        return (all, line);
    };
    let (from, to) = tail.split_once('-').unwrap_or((tail, tail));
    (
        (from.parse().unwrap_or(all.0), to.parse().unwrap_or(all.1)),
        rest,
    )
}

pub(super) fn parse(text: &'static str) -> Parsed {
    let mut parsed = Parsed::default();
    for name in text.lines().filter_map(|l| l.strip_prefix("% ")) {
        let id = parsed.reserve();
        parsed.structs.insert(range(name).1, id);
    }
    let mut open: Option<(&'static str, Body)> = None;
    for line in text.lines().filter(|l| !l.is_empty()) {
        let (range, line) = range(line);
        if let Some(name) = line.strip_prefix("% ") {
            parsed.close(open.replace((name, Body::default())));
        } else if let Some((_, body)) = &mut open {
            if line == "! atomic" {
                body.atomic = true;
            } else {
                let field = parsed.field(line, range);
                body.fields.push((range, field));
            }
        } else if let Some(kind) = line.strip_prefix("k ") {
            let mut words = kind.split(' ').map(|w| if w == "-" { "" } else { w });
            let mut next = || words.next().unwrap_or_default();
            let gvk = [next(), next(), next()];
            let id = parsed.ty(next());
            parsed.kinds.push((gvk, range, id));
        }
    }
    parsed.close(open);
    parsed.kinds.sort_unstable();
    parsed.kinds.shrink_to_fit();
    parsed.nodes.iter_mut().for_each(Vec::shrink_to_fit);
    parsed.nodes.shrink_to_fit();
    parsed.interned = HashMap::new();
    parsed
}

#[derive(Default)]
struct Body {
    atomic: bool,
    fields: Vec<(Range, Field)>,
}

impl Parsed {
    fn reserve(&mut self) -> TypeId {
        self.nodes.push(Vec::new());
        TypeId((self.nodes.len() - 1) as u32)
    }

    fn push(&mut self, shape: Shape) -> TypeId {
        let id = self.reserve();
        self.nodes[id.0 as usize] = vec![(0, Arc::new(shape))];
        id
    }

    /// One node per set of fields that some run of minor versions has.
    fn close(&mut self, open: Option<(&'static str, Body)>) {
        let Some((name, mut body)) = open else { return };
        let id = self.structs[name];
        body.fields.sort_by(|a, b| a.1.json.cmp(&b.1.json));
        let mut starts = vec![super::OLDEST_MINOR];
        for ((from, to), _) in &body.fields {
            starts.extend([*from, to + 1]);
        }
        starts.sort_unstable();
        starts.dedup();
        starts.retain(|s| *s <= super::NEWEST_MINOR);
        for start in starts {
            let has = |((from, to), _): &&(Range, Field)| (*from..=*to).contains(&start);
            let fields = body
                .fields
                .iter()
                .filter(has)
                .map(|(_, f)| f.clone())
                .collect();
            let node = Struct {
                name: Str::const_new(name),
                fields,
                atomic: body.atomic,
                ..Struct::default()
            };
            let node = Shape::Struct(node).indexed();
            self.nodes[id.0 as usize].push((start, Arc::new(node)));
        }
    }

    /// The id of a type as written; a name that no struct has cannot be in generated text.
    fn ty(&mut self, text: &'static str) -> TypeId {
        if let Some(id) = self.structs.get(text).or_else(|| self.interned.get(text)) {
            return *id;
        }
        let shape = self.shape(text);
        let id = self.push(shape);
        self.interned.insert(text, id);
        id
    }

    fn shape(&mut self, text: &'static str) -> Shape {
        if let Some(item) = text.strip_prefix("{}") {
            return Shape::Map(self.ty(item));
        }
        let (wrapped, list) = text.strip_prefix('w').map_or((false, text), |l| (true, l));
        if let Some((keys, item)) = list.strip_prefix('[').and_then(|l| l.split_once(']')) {
            let kind = match keys {
                "" => ListKind::Atomic,
                "set" => ListKind::Set,
                keys => ListKind::Map(keys.split(',').map(Str::const_new).collect()),
            };
            return Shape::List(List {
                item: self.ty(item),
                kind,
                wrapped,
            });
        }
        match text {
            "b" => Shape::Bool,
            "i" => Shape::Int32,
            "l" => Shape::Int64,
            "f" => Shape::Float,
            "y" => Shape::Bytes,
            "q" => Shape::Quantity,
            "x" => Shape::IntOrString,
            "t" => Shape::Time,
            "u" => Shape::MicroTime,
            "d" => Shape::Duration,
            "v" => Shape::FieldsV1,
            "r" => Shape::Raw,
            "j" => Shape::Json,
            "B" => Shape::SchemaOrBool(self.ty(SCHEMA)),
            "A" => Shape::SchemaOrArray(self.ty(SCHEMA)),
            "S" => Shape::SchemaOrStrings(self.ty(SCHEMA)),
            _ => Shape::String,
        }
    }

    fn field(&mut self, line: &'static str, (since, until): Range) -> Field {
        // A default is JSON and may hold spaces: it comes last.
        let (line, default) = line
            .split_once(" d=")
            .map_or((line, None), |(l, d)| (l, Some(d)));
        let mut words = line.split(' ');
        // no copy of a long name ever takes memory of its own
        let json = Str::const_new(words.next().unwrap_or_default());
        let text = words.next().unwrap_or("j");
        let ty = self.ty(text);
        let mut field = Field {
            json,
            ty,
            nested: self.structs.contains_key(text),
            since,
            until,
            ..Field::default()
        };
        let tags: Vec<u32> = words
            .next()
            .unwrap_or_default()
            .split('.')
            .map(|t| t.parse().unwrap_or(0))
            .collect();
        if let Some((tag, outer)) = tags.split_last() {
            field.tag = *tag;
            for (place, outer) in field.outer.iter_mut().zip(outer) {
                *place = *outer as u8;
            }
        }
        let mut facts = Facts::default();
        for flag in words {
            match flag.split_once('=') {
                None => match flag {
                    "!" => field.required = true,
                    "o" => field.omit_empty = true,
                    "*" => (field.pointer, field.nested) = (true, false),
                    "pm" => field.patch_merge = true,
                    "pr" => field.patch_retain_keys = true,
                    "ma" => field.map_atomic = true,
                    "mg" => field.map_granular = true,
                    "la" => field.list_atomic = true,
                    _ => {}
                },
                Some(("pk", key)) => facts.patch_merge_key = Some(Str::const_new(key)),
                Some(("e", values)) => {
                    facts.one_of = values
                        .split(',')
                        .map(|v| v.replace('~', " ").into())
                        .collect()
                }
                Some(_) => {}
            }
        }
        facts.default = default
            .and_then(|d| crate::json::parse(d.as_bytes()).ok())
            .map(|d| d.value);
        if facts != Facts::default() {
            facts.one_of.shrink_to_fit();
            field.facts = Some(Arc::new(facts));
        }
        field
    }
}

const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
