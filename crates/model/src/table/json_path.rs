//! The part of client-go `util/jsonpath` that printer columns use: fields, `['names']`, indices,
//! slices, `[*]`, `..` and filters such as `[?(@.type=="Ready")]`.

use crate::Value;
use std::borrow::Cow;

/// Values that one path may visit in one object, its filters included.
const MAX_VISITS: usize = 10_000;

/// The first value at `path`; `None` when there is none or the path is not understood.
pub(super) fn first<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    within(object, path, &mut 0)
}

fn within<'a>(object: &'a Value, path: &str, visits: &mut usize) -> Option<&'a Value> {
    let mut here = vec![object];
    let mut rest = path.trim().strip_prefix('$').unwrap_or(path.trim());
    while !rest.is_empty() && !here.is_empty() {
        let (step, tail) = step(rest)?;
        rest = tail;
        let mut next = Vec::new();
        for value in here {
            *visits += 1;
            if *visits > MAX_VISITS {
                return None;
            }
            step.take(value, &mut next, visits);
        }
        here = next;
    }
    here.first().copied().filter(|_| *visits <= MAX_VISITS)
}

enum Step<'a> {
    Field(String),
    Recursive(String),
    Slice {
        from: Option<i64>,
        to: Option<i64>,
        by: i64,
    },
    Filter {
        left: &'a str,
        op: &'a str,
        right: &'a str,
    },
}

/// Reads one step and returns what follows it.
fn step(text: &str) -> Option<(Step<'_>, &str)> {
    if let Some(rest) = text.strip_prefix("..") {
        let (name, rest) = name(rest);
        return Some((Step::Recursive(name), rest));
    }
    if let Some(rest) = text.strip_prefix('.') {
        if rest.starts_with('[') {
            return step(rest);
        }
        let (name, rest) = name(rest);
        return Some((Step::Field(name), rest));
    }
    let inner = text.strip_prefix('[')?;
    if let Some(filter) = inner.strip_prefix("?(") {
        let (condition, rest) = filter.split_once(")]")?;
        let op = ["==", "!=", "<=", ">=", "<", ">"]
            .into_iter()
            .find(|op| condition.contains(op));
        let step = match op.and_then(|op| Some((op, condition.split_once(op)?))) {
            Some((op, (left, right))) => Step::Filter {
                left: left.trim(),
                op,
                right: right.trim(),
            },
            None => Step::Filter {
                left: condition.trim(),
                op: "exists",
                right: "",
            },
        };
        return Some((step, rest));
    }
    if let Some(quote) = inner.chars().next().filter(|c| ['\'', '"'].contains(c)) {
        let (name, rest) = inner[1..].split_once(&format!("{quote}]"))?;
        return Some((Step::Field(name.replace('\\', "")), rest));
    }
    let (index, rest) = inner.split_once(']')?;
    Some((subscript(index)?, rest))
}

/// What stands in brackets: an index, a slice or `*`.
fn subscript(text: &str) -> Option<Step<'static>> {
    if text == "*" {
        return Some(Step::Slice {
            from: None,
            to: None,
            by: 1,
        });
    }
    let number = |s: &str| {
        if s.trim().is_empty() {
            Some(None)
        } else {
            s.trim().parse().ok().map(Some)
        }
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (from, to, by) = match parts[..] {
        [one] => {
            let from: i64 = one.trim().parse().ok()?;
            (
                Some(from),
                (from != -1).then(|| from.saturating_add(1)),
                None,
            )
        }
        [from, to] => (number(from)?, number(to)?, None),
        [from, to, by] => (number(from)?, number(to)?, number(by)?),
        _ => return None,
    };
    Some(Step::Slice {
        from,
        to,
        by: by.unwrap_or(1),
    })
}

/// A field name up to the next step; a backslash takes the next character as it is.
fn name(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (out, &text[i..]),
            c => out.push(c),
        }
    }
    (out, "")
}

impl Step<'_> {
    fn take<'a>(&self, value: &'a Value, out: &mut Vec<&'a Value>, visits: &mut usize) {
        match self {
            Self::Field(name) if name.is_empty() => out.push(value),
            Self::Field(name) if name == "*" => children(value, out),
            Self::Field(name) => out.extend(value.get(name)),
            Self::Recursive(name) => recurse(value, name, out, visits),
            Self::Slice { from, to, by } => match value {
                Value::Array(items) => slice(items, *from, *to, *by, out),
                Value::Object(_) if from.is_none() && to.is_none() => children(value, out),
                _ => {}
            },
            Self::Filter { left, op, right } => {
                let Value::Array(items) = value else { return };
                let held = |item: &&Value| {
                    *visits += 1;
                    *visits <= MAX_VISITS && holds(item, left, op, right, visits)
                };
                out.extend(items.iter().filter(held));
            }
        }
    }
}

fn children<'a>(value: &'a Value, out: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => out.extend(items),
        Value::Object(map) => out.extend(map.iter().map(|(_, v)| v)),
        _ => {}
    }
}

fn recurse<'a>(value: &'a Value, name: &str, out: &mut Vec<&'a Value>, visits: &mut usize) {
    *visits += 1;
    if *visits > MAX_VISITS {
        return;
    }
    match name {
        "" | "*" => out.push(value),
        name => out.extend(value.get(name)),
    }
    let mut below = Vec::new();
    children(value, &mut below);
    for value in below {
        recurse(value, name, out, visits);
    }
}

fn slice<'a>(
    items: &'a [Value],
    from: Option<i64>,
    to: Option<i64>,
    by: i64,
    out: &mut Vec<&'a Value>,
) {
    let len = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let at = |i: i64| if i < 0 { i.saturating_add(len) } else { i };
    let (from, to) = (at(from.unwrap_or(0)), at(to.unwrap_or(len)).min(len));
    if from < 0 || by < 1 {
        return;
    }
    let (from, to) = (
        usize::try_from(from).unwrap_or(usize::MAX),
        usize::try_from(to).unwrap_or(0),
    );
    let by = usize::try_from(by).unwrap_or(1);
    out.extend(items.iter().take(to).skip(from).step_by(by));
}

/// What stands on one side of a filter: a path from the item on, or a literal.
fn side<'a>(item: &'a Value, text: &str, visits: &mut usize) -> Option<Cow<'a, Value>> {
    if let Some(path) = text.strip_prefix('@') {
        return within(item, path, visits).map(Cow::Borrowed);
    }
    let quoted = |q: char| text.strip_prefix(q).and_then(|t| t.strip_suffix(q));
    if let Some(text) = quoted('"').or_else(|| quoted('\'')) {
        return Some(Cow::Owned(text.into()));
    }
    let value = match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => text
            .parse()
            .map(Value::Int)
            .or_else(|_| text.parse().map(Value::Float))
            .ok(),
    };
    value.map(Cow::Owned)
}

/// `@.path op literal`; both sides may be paths.
fn holds(item: &Value, left: &str, op: &str, right: &str, visits: &mut usize) -> bool {
    let Some(left) = side(item, left, visits) else {
        return false;
    };
    if op == "exists" {
        return true;
    }
    let Some(right) = side(item, right, visits) else {
        return false;
    };
    let order = match (&*left, &*right) {
        (Value::String(a), Value::String(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Int(b)) => a.partial_cmp(b),
        #[allow(clippy::cast_precision_loss, reason = "comparison of mixed numbers")]
        (Value::Int(a), Value::Float(b)) => (*a as f64).partial_cmp(b),
        #[allow(clippy::cast_precision_loss, reason = "comparison of mixed numbers")]
        (Value::Float(a), Value::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (a, b) if a == b => Some(std::cmp::Ordering::Equal),
        _ => None,
    };
    match op {
        "==" => order == Some(std::cmp::Ordering::Equal),
        "!=" => order != Some(std::cmp::Ordering::Equal),
        "<" => order.is_some_and(std::cmp::Ordering::is_lt),
        ">" => order.is_some_and(std::cmp::Ordering::is_gt),
        "<=" => order.is_some_and(std::cmp::Ordering::is_le),
        _ => order.is_some_and(std::cmp::Ordering::is_ge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn paths_of_printer_columns_find_their_values() {
        let object = json::parse(
            br#"{"spec":{"a":{"b":1},"list":[{"t":"x","v":1},{"t":"y","v":2}]},
                "metadata":{"labels":{"app.k8s.io/name":"n"}}}"#,
        )
        .expect("json")
        .value;
        let at = |path: &str| first(&object, path).cloned();
        assert_eq!(at(".spec.a.b"), Some(Value::Int(1)));
        assert_eq!(at(".spec.list[1].v"), Some(Value::Int(2)));
        assert_eq!(at(".spec.list[-1].v"), Some(Value::Int(2)));
        assert_eq!(at(".spec.list[*].t"), Some("x".into()));
        assert_eq!(at(r#".spec.list[?(@.t=="y")].v"#), Some(Value::Int(2)));
        assert_eq!(at(".spec.list[?(@.v>1)].t"), Some("y".into()));
        assert_eq!(at(r".metadata.labels.app\.k8s\.io/name"), Some("n".into()));
        assert_eq!(
            at(".metadata.labels['app\\.k8s\\.io/name']"),
            Some("n".into())
        );
        assert_eq!(at("..b"), Some(Value::Int(1)));
        assert_eq!(at(".spec.list[1:].t"), Some("y".into()));
        assert_eq!(at(".spec.none"), None);
        assert_eq!(at(".spec.list[9]"), None);
    }

    #[test]
    fn a_path_visits_so_many_values_and_no_more_and_so_do_its_filters() {
        let list =
            |n: usize| json::parse(format!("[{}0]", "{\"a\":[1,2,3]},".repeat(n)).as_bytes());
        let list = |n| list(n).expect("json").value;
        // Itself, each object, its list and what is in that.
        let (few, many) = (list(1900), list(2100));
        for path in ["..a", "..*"] {
            assert!(first(&few, path).is_some(), "{path}");
            assert_eq!(first(&many, path), None, "{path}");
        }
        // Each object, and five times what is in it.
        for path in ["[?(@..a)]", "[?(@.a==@..a)]", "[?(@..none==1)]"] {
            let mut visits = 0;
            let found = within(&many, path, &mut visits);
            assert_eq!(found, None, "{path}");
            assert!(visits <= 2 * MAX_VISITS, "{path}: {visits}");
        }
        assert!(first(&list(1000), "[?(@..a)].a").is_some());
        // Lists in lists: each is looked through by each that is around it.
        let deep = "[".repeat(90) + &"]".repeat(90);
        let wide = format!("[{}0]", format!("{deep},").repeat(100));
        let wide = json::parse(wide.as_bytes()).expect("json").value;
        let mut visits = 0;
        assert_eq!(within(&wide, "..[?(@..x)]", &mut visits), None);
        assert!(visits <= 2 * MAX_VISITS, "{visits}");
    }
}
