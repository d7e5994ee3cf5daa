//! Label and field selectors.
//!
//! The grammar and its messages are those of apimachinery `pkg/labels/selector.go` and
//! `pkg/fields/selector.go`.

use crate::field::{FieldError, Path, quote, show};
use crate::limits::MAX_SELECTOR;
use crate::{ApiError, Map, Resource, Str, Value, rules};
pub use labels::Labels;

mod labels;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelSelector {
    pub requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Requirement {
    pub key: Str,
    pub op: Op,
    pub values: Vec<Str>,
    /// of the key
    mark: u32,
    /// of a label that has the key and one of the values
    pairs: Vec<u64>,
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
        if text.len() > MAX_SELECTOR {
            return Err(ApiError::bad_request(format!(
                "a selector may not be longer than {MAX_SELECTOR} bytes"
            )));
        }
        let mut requirements = Parser::new(text)
            .selector()
            .map_err(ApiError::bad_request)?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }

    /// Compiles the object form (`matchLabels`, `matchExpressions`).
    ///
    /// # Errors
    /// 400 for an unknown operator or missing values.
    pub fn from_value(selector: &Value) -> Result<Self, ApiError> {
        let mut requirements = Vec::new();
        for (key, value) in selector
            .get("matchLabels")
            .and_then(Value::as_object)
            .iter()
            .flat_map(|m| m.iter())
        {
            let value = Str::from(value.as_str().unwrap_or_default());
            requirements.push(
                Requirement::new(key, Written::Equals, vec![value])
                    .map_err(ApiError::bad_request)?,
            );
        }
        for expression in selector
            .get("matchExpressions")
            .and_then(Value::as_array)
            .unwrap_or_default()
        {
            let operator = expression
                .get("operator")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let op = match operator {
                "In" => Written::In,
                "NotIn" => Written::NotIn,
                "Exists" => Written::Exists,
                "DoesNotExist" => Written::DoesNotExist,
                other => {
                    let message =
                        format!("{} is not a valid label selector operator", quote(other));
                    return Err(ApiError::bad_request(message));
                }
            };
            let key = expression
                .get("key")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let values = expression
                .get("values")
                .and_then(Value::as_array)
                .unwrap_or_default();
            let values = values
                .iter()
                .filter_map(Value::as_str)
                .map(Str::from)
                .collect();
            requirements.push(Requirement::new(key, op, values).map_err(ApiError::bad_request)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Matches a tree's `metadata.labels` (`None`: no labels).
    #[must_use]
    pub fn matches(&self, labels: Option<&Map>) -> bool {
        let label = |key: &str| labels.and_then(|m| m.get(key)).and_then(Value::as_str);
        let all = &self.requirements;
        all.iter().all(|r| r.matches(label(&r.key)))
    }

    /// As [`Self::matches`] for labels that are kept to be selected by.
    #[must_use]
    #[inline]
    pub fn selects(&self, labels: &Labels) -> bool {
        !self.requirements.iter().any(|r| r.rules_out(labels)) && self.really_selects(labels)
    }

    #[inline(never)]
    fn really_selects(&self, labels: &Labels) -> bool {
        let label = |r: &Requirement| labels.find(r.mark, &r.key);
        self.requirements.iter().all(|r| r.matches(label(r)))
    }
}

impl std::fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            let values = r.values.join(",");
            match r.op {
                Op::In if r.values.len() == 1 => write!(f, "{}={values}", r.key)?,
                Op::NotIn if r.values.len() == 1 => write!(f, "{}!={values}", r.key)?,
                Op::In => write!(f, "{} in ({values})", r.key)?,
                Op::NotIn => write!(f, "{} notin ({values})", r.key)?,
                Op::Exists => write!(f, "{}", r.key)?,
                Op::DoesNotExist => write!(f, "!{}", r.key)?,
                Op::GreaterThan => write!(f, "{}>{values}", r.key)?,
                Op::LessThan => write!(f, "{}<{values}", r.key)?,
            }
        }
        Ok(())
    }
}

/// The operator as it was written: some rules tell `=` from `in`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Written {
    In,
    NotIn,
    Equals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// As Go's `strconv.ParseInt(s, 10, 64)`, which takes a sign.
fn integer(s: &str) -> Option<i64> {
    s.parse().ok()
}

impl Requirement {
    /// Checks key and values as `labels.NewRequirement` does.
    fn new(key: &str, written: Written, values: Vec<Str>) -> Result<Self, String> {
        let mut errors = Vec::new();
        key_problems(key, "key")
            .map(|e| errors.push(e))
            .unwrap_or_default();
        let path = Path::root("values");
        let shown = || Value::from(values.clone());
        match written {
            Written::In | Written::NotIn if values.is_empty() => {
                let detail = "for 'in', 'notin' operators, values set can't be empty";
                errors.push(FieldError::invalid(path, &shown(), detail));
            }
            Written::Equals | Written::NotEquals if values.len() != 1 => {
                let detail = "exact-match compatibility requires one single value";
                errors.push(FieldError::invalid(path, &shown(), detail));
            }
            Written::Exists | Written::DoesNotExist if !values.is_empty() => {
                let detail = "values set must be empty for exists and does not exist";
                errors.push(FieldError::invalid(path, &shown(), detail));
            }
            Written::GreaterThan | Written::LessThan => {
                if values.len() != 1 {
                    let detail = "for 'Gt', 'Lt' operators, exactly one value is required";
                    errors.push(FieldError::invalid(path, &shown(), detail));
                }
                for (i, value) in values
                    .iter()
                    .enumerate()
                    .filter(|(_, v)| integer(v).is_none())
                {
                    let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                    errors.push(FieldError::invalid_str(path.index(i), value, detail));
                }
            }
            _ => {}
        }
        for (i, value) in values.iter().enumerate() {
            let problems = rules::label_value(value);
            if !problems.is_empty() {
                errors.push(FieldError::invalid_str(
                    path.index(i).key(key),
                    value,
                    problems.join("; "),
                ));
            }
        }
        let op = match written {
            Written::In | Written::Equals => Op::In,
            Written::NotIn | Written::NotEquals => Op::NotIn,
            Written::Exists => Op::Exists,
            Written::DoesNotExist => Op::DoesNotExist,
            Written::GreaterThan => Op::GreaterThan,
            Written::LessThan => Op::LessThan,
        };
        match errors.as_slice() {
            [] => Ok(Self::checked(key, op, values)),
            [one] => Err(one.to_string()),
            many => {
                let all: Vec<String> = many.iter().map(ToString::to_string).collect();
                Err(format!("[{}]", all.join(", ")))
            }
        }
    }

    fn checked(key: &str, op: Op, values: Vec<Str>) -> Self {
        let mark = labels::mark(key);
        let pair = |v: &Str| labels::pair(mark, labels::mark(v));
        Self {
            key: key.into(),
            op,
            pairs: values.iter().map(pair).collect(),
            values,
            mark,
        }
    }

    /// `label`: the value under this key, if the object has it.
    fn matches(&self, label: Option<&str>) -> bool {
        let is_wanted = |value: &str| self.values.iter().any(|v| v == value);
        match self.op {
            Op::In => label.is_some_and(is_wanted),
            Op::NotIn => !label.is_some_and(is_wanted),
            Op::Exists => label.is_some(),
            Op::DoesNotExist => label.is_none(),
            Op::GreaterThan | Op::LessThan => label.is_some_and(|v| self.compares(v)),
        }
    }

    /// Whether marks alone say that these labels are not wanted, as they mostly do.
    #[inline(always)]
    fn rules_out(&self, labels: &Labels) -> bool {
        let wanted = |m: &u64| labels::is_key(*m, self.mark) && self.pairs.contains(m);
        self.op == Op::In && !labels.marks().iter().any(wanted)
    }

    /// Whether both are numbers, in the order asked for.
    fn compares(&self, value: &str) -> bool {
        let wanted = self.values.first().and_then(|v| integer(v));
        match (integer(value), wanted) {
            (Some(have), Some(wanted)) if self.op == Op::GreaterThan => have > wanted,
            (Some(have), Some(wanted)) => have < wanted,
            _ => false,
        }
    }
}

fn key_problems(key: &str, path: &str) -> Option<FieldError> {
    let problems = rules::qualified_name(key);
    (!problems.is_empty()).then(|| FieldError::invalid_str(path, key, problems.join("; ")))
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'a> {
    /// `in` and `notin` are words too: what they mean depends on where they stand
    Word(&'a str),
    Symbol(&'a str),
    Bad(String),
    End,
}

impl Token<'_> {
    fn text(&self) -> &str {
        match self {
            Token::Word(s) | Token::Symbol(s) => s,
            Token::Bad(s) => s,
            Token::End => "",
        }
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

const SYMBOLS: &[u8] = b"=!(),><";

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        let mut tokens = Vec::new();
        // Upstream's lexer takes a NUL byte for the end.
        let mut rest = text.split('\0').next().unwrap_or_default();
        loop {
            rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
            let Some(first) = rest.bytes().next() else {
                break;
            };
            if SYMBOLS.contains(&first) {
                let (token, len) = symbol(rest);
                rest = &rest[len..];
                tokens.push(token);
            } else {
                let ends = |c: char| {
                    matches!(
                        c,
                        '=' | '!' | '(' | ')' | ',' | '>' | '<' | ' ' | '\t' | '\r' | '\n'
                    )
                };
                let len = rest.find(ends).unwrap_or(rest.len());
                tokens.push(Token::Word(&rest[..len]));
                rest = &rest[len..];
            }
        }
        tokens.push(Token::End);
        Self { tokens, at: 0 }
    }

    fn peek(&self) -> &Token<'a> {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::Word(_) | Token::Symbol("!") => {}
                Token::End => return Ok(requirements),
                other => {
                    return Err(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        other.text()
                    ));
                }
            }
            requirements.push(
                self.requirement()
                    .map_err(|e| format!("unable to parse requirement: {e}"))?,
            );
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Symbol(",") => {
                    if !matches!(self.peek(), Token::Word(_) | Token::Symbol("!")) {
                        return Err(format!(
                            "found '{}', expected: identifier after ','",
                            self.peek().text()
                        ));
                    }
                }
                other => {
                    return Err(format!(
                        "found '{}', expected: ',' or 'end of string'",
                        other.text()
                    ));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.next();
        let negated = token == Token::Symbol("!");
        if negated {
            token = self.next();
        }
        let Token::Word(key) = token else {
            return Err(format!("found '{}', expected: identifier", token.text()));
        };
        // Without a path upstream prints `<nil>` in its place.
        if let Some(error) = key_problems(key, "<nil>") {
            return Err(error.to_string());
        }
        if negated {
            return Requirement::new(key, Written::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Requirement::new(key, Written::Exists, Vec::new());
        }
        let operator = self.next();
        let written = match operator.text() {
            "in" => Written::In,
            "notin" => Written::NotIn,
            "=" | "==" => Written::Equals,
            "!=" => Written::NotEquals,
            ">" => Written::GreaterThan,
            "<" => Written::LessThan,
            other => {
                return Err(format!(
                    "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
                ));
            }
        };
        let mut values = match written {
            Written::In | Written::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        values.sort_unstable();
        values.dedup();
        Requirement::new(key, written, values)
    }

    fn exact_value(&mut self) -> Result<Str, String> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(Str::default());
        }
        match self.next() {
            Token::Word(value) => Ok(value.into()),
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    fn values(&mut self) -> Result<Vec<Str>, String> {
        let open = self.next();
        if open != Token::Symbol("(") {
            return Err(format!("found '{}' expected: '('", open.text()));
        }
        let first = self.peek().text().to_owned();
        match self.peek() {
            Token::Symbol(")") => {
                self.next();
                return Ok(vec![Str::default()]);
            }
            Token::Word(_) | Token::Symbol(",") => {}
            _ => return Err(format!("found '{first}', expected: ',', ')' or identifier")),
        }
        let values = self.value_list()?;
        if self.next() != Token::Symbol(")") {
            return Err(format!("found '{first}', expected: ')'"));
        }
        Ok(values)
    }

    /// Possibly empty words between commas, up to (not including) the closing parenthesis.
    fn value_list(&mut self) -> Result<Vec<Str>, String> {
        let mut values = Vec::new();
        loop {
            match self.next() {
                Token::Word(value) => {
                    values.push(Str::from(value));
                    match self.peek() {
                        Token::Symbol(",") => {}
                        Token::Symbol(")") => return Ok(values),
                        other => {
                            return Err(format!("found '{}', expected: ',' or ')'", other.text()));
                        }
                    }
                }
                Token::Symbol(",") => {
                    if values.is_empty() {
                        values.push(Str::default());
                    }
                    match self.peek() {
                        Token::Symbol(")") => {
                            values.push(Str::default());
                            return Ok(values);
                        }
                        Token::Symbol(",") => values.push(Str::default()),
                        _ => {}
                    }
                }
                other => {
                    return Err(format!(
                        "found '{}', expected: ',', or identifier",
                        other.text()
                    ));
                }
            }
        }
    }
}

/// The longest operator at the start of `rest`, as upstream's lexer finds it, and its length.
fn symbol(rest: &str) -> (Token<'_>, usize) {
    let run = rest.bytes().take_while(|b| SYMBOLS.contains(b)).count();
    let mut found = 0;
    for len in 1..=run {
        if matches!(
            &rest[..len],
            ")" | "," | "!" | "==" | "=" | ">" | "<" | "!=" | "("
        ) {
            found = len;
        } else if found > 0 {
            break;
        }
    }
    if found == 0 {
        return (
            Token::Bad(format!("error expected: keyword found '{}'", &rest[..run])),
            run,
        );
    }
    (Token::Symbol(&rest[..found]), found)
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
        if text.len() > MAX_SELECTOR {
            return Err(ApiError::bad_request(format!(
                "a selector may not be longer than {MAX_SELECTOR} bytes"
            )));
        }
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            let operator = part.char_indices().find_map(|(i, _)| {
                ["!=", "==", "="]
                    .iter()
                    .find(|op| part[i..].starts_with(**op))
                    .map(|op| (i, *op))
            });
            let Some((at, operator)) = operator else {
                let message = format!("invalid selector: '{text}'; can't understand '{part}'");
                return Err(ApiError::bad_request(message));
            };
            let value = unescape(&part[at + operator.len()..]).map_err(ApiError::bad_request)?;
            terms.push((Str::from(&part[..at]), value, operator != "!="));
        }
        Ok(Self { terms })
    }

    /// Checks that the kind supports every field.
    ///
    /// # Errors
    /// 400 `field label not supported: …`.
    pub fn check(&self, resource: &Resource) -> Result<(), ApiError> {
        for (path, value, _) in &self.terms {
            // An empty term selects everything, as upstream drops it.
            if path.is_empty() && value.is_empty() {
                continue;
            }
            if !supports(resource, path) {
                return Err(ApiError::bad_request(unsupported(resource, path)));
            }
        }
        Ok(())
    }

    #[must_use]
    pub fn matches(&self, resource: &Resource, object: &Value) -> bool {
        self.terms.iter().all(|(path, wanted, equal)| {
            if path.is_empty() && wanted.is_empty() {
                return true;
            }
            (field_value(resource, object, path) == *wanted) == *equal
        })
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that `path` must have, when the selector says so (`metadata.name=x`).
    #[must_use]
    pub fn exact(&self, path: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|(p, _, equal)| *equal && p == path)
            .map(|(_, value, _)| value.as_str())
    }
}

/// Splits at commas that no backslash escapes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, b) in text.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn unescape(value: &str) -> Result<Str, String> {
    let mut out = Str::default();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => {
                    return Err(format!(
                        "invalid field selector: invalid escape sequence: \\{c}"
                    ));
                }
                None => return Err("invalid field selector: invalid escape sequence: \\".into()),
            },
            // Upstream prints the number of the character here.
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(c)
                ));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

/// The fields of each kind that may be selected by, beyond metadata: `AddFieldLabelConversionFunc`
/// in the `conversion.go` of each group. `None`: only `metadata.name` and `metadata.namespace`.
fn selectable(resource: &Resource) -> Option<&'static [&'static str]> {
    Some(match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
            "spec.host",
        ],
        ("", "Node") => &["spec.unschedulable"],
        ("", "ReplicationController") => &["status.replicas"],
        ("", "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "Event") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        ("", "Namespace") => &["status.phase"],
        ("", "Secret") => &["type"],
        ("", "Service") => &["spec.clusterIP", "spec.type"],
        ("batch", "Job") => &["status.successful"],
        ("certificates.k8s.io", "CertificateSigningRequest" | "ClusterTrustBundle") => {
            &["spec.signerName"]
        }
        ("certificates.k8s.io", "PodCertificateRequest") => {
            &["spec.signerName", "spec.podName", "spec.nodeName"]
        }
        ("resource.k8s.io", "ResourceSlice") => &["spec.nodeName", "spec.driver"],
        _ => return None,
    })
}

fn supports(resource: &Resource, path: &str) -> bool {
    match path {
        "metadata.name" => true,
        // Kinds without a rule of their own take it even when they have no namespace.
        "metadata.namespace" => {
            resource.custom.is_none() && selectable(resource).is_none() || resource.namespaced
        }
        path => match &resource.custom {
            Some(custom) => custom
                .selectable_fields
                .iter()
                .any(|f| f.trim_start_matches('.') == path),
            None => selectable(resource).is_some_and(|fields| fields.contains(&path)),
        },
    }
}

fn unsupported(resource: &Resource, path: &str) -> String {
    if resource.custom.is_none() && selectable(resource).is_none() {
        return format!(
            "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            quote(path)
        );
    }
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("batch", "Job") => format!("field label {} not supported for Job", quote(path)),
        ("resource.k8s.io", "ResourceSlice") => {
            format!(
                "field label not supported for resource.k8s.io/{}, Kind=ResourceSlice: {path}",
                resource.version
            )
        }
        _ => format!("field label not supported: {path}"),
    }
}

/// The text that a selectable field has on an object, as the kinds' `ToSelectableFields` make it.
fn field_value(resource: &Resource, object: &Value, path: &str) -> Str {
    let text = |path: &[&str]| Str::from(object.str_at(path).unwrap_or_default());
    let flag = |path: &[&str]| {
        Str::from(if object.at(path) == Some(&Value::Bool(true)) {
            "true"
        } else {
            "false"
        })
    };
    let number = |path: &[&str]| {
        Str::from(
            object
                .at(path)
                .and_then(Value::as_i64)
                .unwrap_or(0)
                .to_string(),
        )
    };
    match (resource.kind.as_str(), path) {
        ("Pod", "spec.host") => text(&["spec", "nodeName"]),
        ("Pod", "spec.hostNetwork") => flag(&["spec", "hostNetwork"]),
        ("Pod", "status.podIP") => {
            let first = object
                .at(&["status", "podIPs"])
                .and_then(Value::as_array)
                .and_then(<[Value]>::first);
            match first.and_then(|ip| ip.get("ip")).and_then(Value::as_str) {
                Some(ip) => ip.into(),
                None => text(&["status", "podIP"]),
            }
        }
        ("Pod", "status.podIPs") => Str::default(),
        ("Node", "spec.unschedulable") => flag(&["spec", "unschedulable"]),
        ("ReplicationController", "status.replicas") => number(&["status", "replicas"]),
        ("Job", "status.successful") => number(&["status", "succeeded"]),
        ("Event", _) if resource.custom.is_none() => event_field(object, path),
        _ => {
            let here = path.split('.').try_fold(object, Value::get);
            match here {
                Some(Value::String(s)) => s.clone(),
                Some(value @ (Value::Bool(_) | Value::Int(_) | Value::Float(_))) => {
                    show(value).into()
                }
                _ => Str::default(),
            }
        }
    }
}

/// Both API groups of events, in the form of the one or the other.
fn event_field(object: &Value, path: &str) -> Str {
    let text = |path: &[&str]| object.str_at(path).unwrap_or_default();
    let controller = || {
        let new = text(&["reportingController"]);
        if new.is_empty() {
            text(&["reportingComponent"])
        } else {
            new
        }
    };
    if let Some(field) = path
        .strip_prefix("involvedObject.")
        .or_else(|| path.strip_prefix("regarding."))
    {
        let of = if object.get("regarding").is_some() {
            "regarding"
        } else {
            "involvedObject"
        };
        return text(&[of, field]).into();
    }
    match path {
        "reportingComponent" | "reportingController" => controller().into(),
        "source" => {
            let source = match text(&["source", "component"]) {
                "" => text(&["deprecatedSource", "component"]),
                source => source,
            };
            if source.is_empty() {
                controller()
            } else {
                source
            }
            .into()
        }
        "metadata.name" | "metadata.namespace" => text(&["metadata", &path[9..]]).into(),
        path => text(&[path]).into(),
    }
}

#[cfg(test)]
mod tests;
