//! Source text to tree, with cel-go's grammar, limits and messages (`parser/parser.go`).
//!
//! After the first syntax error that cannot be stepped over the parser stops, where upstream's goes
//! on to guess: the first message is the same, the guesses behind it are not made.

use super::ast::{Entry, Expr, FieldInit, Item, Kind, Literal, Parsed};
use super::issues::Issues;
use super::lex::{self, Spot, Token};
use super::macros;
use super::unescape::unescape;
use crate::Str;

/// As upstream: longer expressions are not looked at.
pub const MAX_CODE_POINTS: usize = 100_000;
/// How deep an expression may be, macros expanded; upstream counts each grammar rule to 250.
pub const MAX_HEIGHT: u16 = 250;
/// How deep brackets may nest; upstream's 250 would need a larger stack than threads of a server have.
pub const MAX_NESTING: u16 = 100;
/// `a.optMap(…)` writes `a` twice, so chains of it double: this ends them.
pub const MAX_NODES: u32 = 200_000;

const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "null",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// How tightly an operator binds, and the function it is.
fn operator(token: Token) -> Option<(u8, &'static str)> {
    let (Token::Symbol(text) | Token::Word(text)) = token else {
        return None;
    };
    Some(match text {
        "||" => (1, "_||_"),
        "&&" => (2, "_&&_"),
        "<" => (3, "_<_"),
        "<=" => (3, "_<=_"),
        ">=" => (3, "_>=_"),
        ">" => (3, "_>_"),
        "==" => (3, "_==_"),
        "!=" => (3, "_!=_"),
        "in" => (3, "@in"),
        "+" => (4, "_+_"),
        "-" => (4, "_-_"),
        "*" => (5, "_*_"),
        "/" => (5, "_/_"),
        "%" => (5, "_%_"),
        _ => return None,
    })
}

const EXPRESSION: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, \
     NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const LIST_ITEM: &str = "{'[', ']', '{', '(', '.', ',', '-', '!', '?', 'true', 'false', 'null', \
     NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const MAP_ENTRY: &str = "{'[', '{', '}', '(', '.', ',', '-', '!', '?', 'true', 'false', 'null', \
     NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const FIELD: &str = "{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}";

/// Which macros and syntax exist (they came with versions of Kubernetes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syntax {
    pub optional: bool,
    pub two_variables: bool,
    /// `sortBy`
    pub sort_by: bool,
    /// `` a.`b-c` ``: not in Kubernetes' environments up to 1.36.
    pub quoted_fields: bool,
    /// `cel.bind`
    pub bindings: bool,
}

/// A syntax error has been reported and there is no going on.
pub(crate) struct Stop;

pub(crate) type Step<T = Expr> = Result<T, Stop>;

pub(crate) struct Parser<'s> {
    text: &'s [char],
    tokens: Vec<Spot>,
    next: usize,
    depth: u16,
    pub(crate) nodes: u32,
    pub(crate) syntax: Syntax,
    pub(crate) issues: Issues,
}

/// Parses `source`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(source: &str, syntax: Syntax) -> Result<Parsed, Issues> {
    let mut issues = Issues::default();
    let text: Vec<char> = source.chars().collect();
    if text.len() > MAX_CODE_POINTS {
        issues.add(
            None,
            format!(
                "expression code point size exceeds limit: size: {}, limit {MAX_CODE_POINTS}",
                text.len()
            ),
        );
        return Err(issues);
    }
    let tokens = lex::tokens(&text, &mut issues);
    let mut parser = Parser {
        text: &text,
        tokens,
        next: 0,
        depth: 0,
        nodes: 0,
        syntax,
        issues,
    };
    let expr = parser.whole();
    match expr {
        Ok(expr) if parser.issues.is_empty() => Ok(Parsed {
            expr,
            nodes: parser.nodes,
        }),
        _ => Err(parser.issues),
    }
}

impl Parser<'_> {
    // ---- tokens

    fn peek(&self) -> Spot {
        self.tokens[self.next]
    }

    fn after(&self) -> Token {
        self.tokens
            .get(self.next + 1)
            .map_or(Token::End, |s| s.token)
    }

    fn advance(&mut self) -> Spot {
        let spot = self.peek();
        if spot.token != Token::End {
            self.next += 1;
        }
        spot
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek().token, Token::Symbol(s) if s == symbol)
    }

    fn eat(&mut self, symbol: &str) -> Option<u32> {
        self.is(symbol).then(|| self.advance().start)
    }

    fn text_of(&self, spot: Spot) -> String {
        self.text[spot.start as usize..spot.end as usize]
            .iter()
            .collect()
    }

    fn shown(&self, spot: Spot) -> String {
        if spot.token == Token::End {
            return "<EOF>".into();
        }
        self.text_of(spot)
            .replace('\n', "\\n")
            .replace('\r', "\\r")
            .replace('\t', "\\t")
    }

    fn mismatched(&mut self, expected: &str) -> Stop {
        let spot = self.peek();
        let shown = self.shown(spot);
        self.issues.add(
            spot.start,
            format!("Syntax error: mismatched input '{shown}' expecting {expected}"),
        );
        Stop
    }

    /// One token too many is stepped over, when what follows it fits.
    fn step_over(&mut self, fits: bool, expected: &str) -> Step<()> {
        if !fits || self.peek().token == Token::End {
            return Err(self.mismatched(expected));
        }
        let spot = self.advance();
        let shown = self.shown(spot);
        self.issues.add(
            spot.start,
            format!("Syntax error: extraneous input '{shown}' expecting {expected}"),
        );
        Ok(())
    }

    fn expect(&mut self, symbol: &'static str) -> Step<u32> {
        if let Some(at) = self.eat(symbol) {
            return Ok(at);
        }
        let fits = self.after() == Token::Symbol(symbol);
        let spot = self.peek();
        if !fits && self.could_follow(symbol, spot.token) {
            let shown = self.shown(spot);
            self.issues.add(
                spot.start,
                format!("Syntax error: missing '{symbol}' at '{shown}'"),
            );
            return Ok(spot.start);
        }
        self.step_over(fits, &format!("'{symbol}'"))?;
        Ok(self.advance().start)
    }

    /// Whether `token` makes sense behind a `symbol` that is not there.
    fn could_follow(&self, symbol: &str, token: Token) -> bool {
        if symbol == ":" {
            return Self::starts_expression(token);
        }
        match token {
            Token::End => self.depth <= 1,
            Token::Symbol(s) => {
                !matches!(s, ")" | "]" | "}" | "!" | "(" | "{") || (self.depth > 1 && s != symbol)
            }
            Token::Word(w) => w == "in",
            _ => false,
        }
    }

    fn no_alternative(&mut self, from: u32) -> Stop {
        let spot = self.peek();
        let from_spot = Spot {
            start: from,
            end: from + 1,
            token: Token::End,
        };
        let shown = format!(
            "{}{}",
            self.text_of(from_spot),
            if spot.token == Token::End {
                String::new()
            } else {
                self.shown(spot)
            }
        );
        // Upstream rewords this one for the words that look like names.
        let message = match spot.token {
            Token::Word(w @ ("true" | "false" | "null")) => {
                format!("Syntax error: mismatched input '{w}' expecting IDENTIFIER")
            }
            _ => format!("Syntax error: no viable alternative at input '{shown}'"),
        };
        self.issues.add(spot.start, message);
        Stop
    }

    // ---- nodes

    pub(crate) fn node(&mut self, at: u32, kind: Kind) -> Step {
        let height = kind.height();
        if height > MAX_HEIGHT {
            return Err(self.too_deep(MAX_HEIGHT));
        }
        self.count(1)?;
        Ok(Expr {
            id: self.nodes - 1,
            at,
            height,
            kind,
        })
    }

    pub(crate) fn count(&mut self, nodes: u32) -> Step<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            let message = format!("expression node limit exceeded: {MAX_NODES}");
            self.issues.add(None, message);
            return Err(Stop);
        }
        Ok(())
    }

    fn too_deep(&mut self, limit: u16) -> Stop {
        self.issues.add(
            None,
            format!("expression recursion limit exceeded: {limit}"),
        );
        Stop
    }

    pub(crate) fn call(&mut self, at: u32, function: &str, args: Vec<Expr>) -> Step {
        self.node(
            at,
            Kind::Call {
                function: function.into(),
                target: None,
                args,
            },
        )
    }

    pub(crate) fn literal(&mut self, at: u32, literal: Literal) -> Step {
        self.node(at, Kind::Literal(literal))
    }

    /// Reports, and stands in for the expression that could not be made.
    pub(crate) fn wrong(&mut self, at: u32, message: impl Into<String>) -> Step {
        self.issues.add(at, message);
        self.literal(at, Literal::Null)
    }

    // ---- grammar

    fn whole(&mut self) -> Step {
        let expr = self.expr()?;
        if self.peek().token != Token::End {
            let fits = self.after() == Token::End;
            self.step_over(fits, "<EOF>")?;
        }
        Ok(expr)
    }

    fn expr(&mut self) -> Step {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(self.too_deep(MAX_NESTING));
        }
        let condition = self.operators(1)?;
        let out = if let Some(at) = self.eat("?") {
            let then = self.operators(1)?;
            self.expect(":")?;
            let otherwise = self.expr()?;
            self.call(at, "_?_:_", vec![condition, then, otherwise])
        } else {
            Ok(condition)
        };
        self.depth -= 1;
        out
    }

    /// Operators of at least this precedence. One function for all of them keeps the stack small.
    fn operators(&mut self, least: u8) -> Step {
        let mut left = self.unary()?;
        while let Some((precedence, function)) = operator(self.peek().token) {
            if precedence < least {
                break;
            }
            let at = self.advance().start;
            let right = self.operators(precedence + 1)?;
            left = if precedence <= 2 {
                self.logic(precedence, function, vec![Some(left), Some(right)], at)?
            } else {
                self.call(at, function, vec![left, right])?
            };
        }
        Ok(left)
    }

    /// `||` and `&&`: the terms become a balanced tree, as upstream's do.
    fn logic(
        &mut self,
        precedence: u8,
        function: &str,
        mut terms: Vec<Option<Expr>>,
        first: u32,
    ) -> Step {
        let mut places = vec![first];
        while operator(self.peek().token).is_some_and(|(p, _)| p == precedence) {
            places.push(self.advance().start);
            terms.push(Some(self.operators(precedence + 1)?));
        }
        self.balanced(function, &mut terms, &places)
    }

    fn balanced(&mut self, function: &str, terms: &mut [Option<Expr>], operators: &[u32]) -> Step {
        if operators.is_empty() {
            return terms[0].take().ok_or(Stop);
        }
        let middle = operators.len() / 2;
        let (left, right) = terms.split_at_mut(middle + 1);
        let left = self.balanced(function, left, &operators[..middle])?;
        let right = self.balanced(function, right, &operators[middle + 1..])?;
        self.call(operators[middle], function, vec![left, right])
    }

    fn unary(&mut self) -> Step {
        for (symbol, function) in [("!", "!_"), ("-", "-_")] {
            if !self.is(symbol) {
                continue;
            }
            let signed = matches!(self.after(), Token::Int | Token::Float);
            if symbol == "-" && signed {
                break;
            }
            let at = self.peek().start;
            let mut count = 0;
            while self.eat(symbol).is_some() {
                count += 1;
            }
            let operand = self.member()?;
            return if count % 2 == 0 {
                Ok(operand)
            } else {
                self.call(at, function, vec![operand])
            };
        }
        self.member()
    }

    fn member(&mut self) -> Step {
        let mut operand = self.primary()?;
        loop {
            if let Some(at) = self.eat(".") {
                operand = self.after_dot(operand, at)?;
            } else if let Some(at) = self.eat("[") {
                let optional = self.optional_mark(at, "[?")?;
                let index = self.expr()?;
                self.expect("]")?;
                let function = if optional { "_[?_]" } else { "_[_]" };
                operand = self.call(at, function, vec![operand, index])?;
            } else {
                return Ok(operand);
            }
        }
    }

    /// `?` before a field, index or element.
    fn optional_mark(&mut self, at: u32, shown: &str) -> Step<bool> {
        if self.eat("?").is_none() {
            return Ok(false);
        }
        if !self.syntax.optional {
            self.issues.add(at, format!("unsupported syntax '{shown}'"));
        }
        Ok(true)
    }

    /// Before an element, whose own place it is then.
    fn optional_element(&mut self) -> Step<bool> {
        let at = self.peek().start;
        self.optional_mark(at, "?")
    }

    fn after_dot(&mut self, operand: Expr, dot: u32) -> Step {
        let optional = self.optional_mark(dot, ".?")?;
        let spot = self.peek();
        let field: Str = match spot.token {
            Token::Ident => self.text_of(spot).into(),
            Token::EscapedIdent => {
                if !self.syntax.quoted_fields {
                    self.issues.add(spot.start, "unsupported syntax: '`'");
                }
                self.text_of(spot).trim_matches('`').into()
            }
            _ => return Err(self.no_alternative(dot)),
        };
        self.advance();
        if optional {
            let name = self.literal(spot.start, Literal::String(field))?;
            return self.call(dot, "_?._", vec![operand, name]);
        }
        if spot.token == Token::Ident
            && let Some(open) = self.eat("(")
        {
            let args = self.arguments()?;
            return macros::member_call(self, open, &field, operand, args);
        }
        // `a.b{…}` constructs a message.
        if self.is("{") && spot.token == Token::Ident {
            let whole = self.node(
                dot,
                Kind::Select {
                    operand: Box::new(operand),
                    field,
                    test: false,
                },
            )?;
            return match whole.qualified_name() {
                Some(name) => self.message(&name),
                None => Ok(whole),
            };
        }
        self.node(
            dot,
            Kind::Select {
                operand: Box::new(operand),
                field,
                test: false,
            },
        )
    }

    fn arguments(&mut self) -> Step<Vec<Expr>> {
        let mut args = Vec::new();
        if self.eat(")").is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            if self.eat(",").is_none() {
                break;
            }
        }
        self.expect(")")?;
        Ok(args)
    }

    fn starts_expression(token: Token) -> bool {
        match token {
            Token::Ident
            | Token::Int
            | Token::Uint
            | Token::Float
            | Token::String
            | Token::Bytes => true,
            Token::Word(w) => w != "in",
            Token::Symbol(s) => matches!(s, "[" | "{" | "(" | "." | "-" | "!"),
            Token::End | Token::EscapedIdent => false,
        }
    }

    fn primary(&mut self) -> Step {
        if !Self::starts_expression(self.peek().token) || self.is("!") {
            let fits = Self::starts_expression(self.after());
            self.step_over(fits, EXPRESSION)?;
            return self.unary();
        }
        let spot = self.advance();
        match spot.token {
            Token::Symbol("(") => {
                let inner = self.expr()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Symbol("[") => self.list(spot.start),
            Token::Symbol("{") => self.map(spot.start),
            Token::Symbol(".") => {
                let name = self.peek();
                if name.token != Token::Ident {
                    return Err(self.no_alternative(spot.start));
                }
                self.advance();
                self.named(name, ".")
            }
            Token::Symbol(_) => {
                let number = self.peek();
                if !matches!(number.token, Token::Int | Token::Float) {
                    return Err(self.no_alternative(spot.start));
                }
                self.advance();
                self.number(spot.start, number, "-")
            }
            Token::Ident => self.named(spot, ""),
            Token::Word("null") => self.literal(spot.start, Literal::Null),
            Token::Word(word) => self.literal(spot.start, Literal::Bool(word == "true")),
            Token::String | Token::Bytes => self.quoted(spot),
            _ => self.number(spot.start, spot, ""),
        }
    }

    fn named(&mut self, spot: Spot, dot: &str) -> Step {
        let name = self.text_of(spot);
        let at = if dot.is_empty() {
            spot.start
        } else {
            spot.start - 1
        };
        let reserved = RESERVED.contains(&name.as_str());
        let full = format!("{dot}{name}");
        if let Some(open) = self.eat("(") {
            let args = self.arguments()?;
            if reserved {
                return self.wrong(at, format!("reserved identifier: {name}"));
            }
            return macros::global_call(self, open, &full, args);
        }
        if self.is("{") && !reserved {
            return self.message(&full);
        }
        if reserved {
            return self.wrong(at, format!("reserved identifier: {name}"));
        }
        self.node(spot.start, Kind::Ident(full.into()))
    }

    fn list(&mut self, at: u32) -> Step {
        let mut items = Vec::new();
        loop {
            if self.eat("]").is_some() {
                break;
            }
            if items.is_empty() && self.eat(",").is_some() {
                self.expect("]")?;
                break;
            }
            if !self.is("?") && !Self::starts_expression(self.peek().token) {
                if items.is_empty() {
                    return Err(self.mismatched(LIST_ITEM));
                }
                self.expect("]")?;
                break;
            }
            let optional = self.optional_element()?;
            let value = self.expr()?;
            items.push(Item { optional, value });
            if self.eat(",").is_none() {
                self.expect("]")?;
                break;
            }
        }
        self.node(at, Kind::List(items))
    }

    fn map(&mut self, at: u32) -> Step {
        let mut entries = Vec::new();
        loop {
            if self.eat("}").is_some() {
                break;
            }
            if entries.is_empty() && self.eat(",").is_some() {
                self.expect("}")?;
                break;
            }
            if entries.is_empty() && !self.is("?") && !Self::starts_expression(self.peek().token) {
                let fits = Self::starts_expression(self.after());
                self.step_over(fits, MAP_ENTRY)?;
            }
            let optional = self.optional_element()?;
            let key = self.expr()?;
            self.expect(":")?;
            let value = self.expr()?;
            entries.push(Entry {
                optional,
                key,
                value,
            });
            if self.eat(",").is_none() {
                self.expect("}")?;
                break;
            }
        }
        self.node(at, Kind::Map(entries))
    }

    fn message(&mut self, name: &str) -> Step {
        let at = self.expect("{")?;
        let mut fields = Vec::new();
        loop {
            if self.eat("}").is_some() {
                break;
            }
            if fields.is_empty() && self.eat(",").is_some() {
                self.expect("}")?;
                break;
            }
            let optional = self.optional_element()?;
            let spot = self.peek();
            if !matches!(spot.token, Token::Ident | Token::EscapedIdent) {
                let fits = matches!(self.after(), Token::Ident | Token::EscapedIdent);
                self.step_over(fits, FIELD)?;
                continue;
            }
            if spot.token == Token::EscapedIdent && !self.syntax.quoted_fields {
                self.issues.add(at, "unsupported syntax: '`'");
            }
            self.advance();
            let field = self.text_of(spot);
            let colon = self.expect(":")?;
            let value = self.expr()?;
            fields.push(FieldInit {
                at: colon,
                optional,
                name: field.trim_matches('`').into(),
                value,
            });
            if self.eat(",").is_none() {
                self.expect("}")?;
                break;
            }
        }
        self.node(
            at,
            Kind::Struct {
                name: name.into(),
                fields,
            },
        )
    }

    fn number(&mut self, at: u32, spot: Spot, sign: &str) -> Step {
        let text = self.text_of(spot);
        match spot.token {
            Token::Float => match format!("{sign}{text}").parse::<f64>() {
                Ok(f) if f.is_finite() => self.literal(at, Literal::Double(f)),
                _ => self.wrong(at, "invalid double literal"),
            },
            Token::Uint => {
                let digits = &text[..text.len() - 1];
                let parsed = match digits.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16),
                    None => digits.parse(),
                };
                match parsed {
                    Ok(u) => self.literal(at, Literal::Uint(u)),
                    Err(_) => self.wrong(at, "invalid uint literal"),
                }
            }
            _ => {
                let parsed = match text.strip_prefix("0x") {
                    Some(hex) => i64::from_str_radix(&format!("{sign}{hex}"), 16),
                    None => format!("{sign}{text}").parse(),
                };
                match parsed {
                    Ok(i) => self.literal(at, Literal::Int(i)),
                    Err(_) => self.wrong(at, "invalid int literal"),
                }
            }
        }
    }

    fn quoted(&mut self, spot: Spot) -> Step {
        let text = self.text_of(spot);
        let bytes = spot.token == Token::Bytes;
        match unescape(if bytes { &text[1..] } else { &text }, bytes) {
            Ok(raw) if bytes => self.literal(spot.start, Literal::Bytes(raw)),
            Ok(raw) => match String::from_utf8(raw) {
                Ok(s) => self.literal(spot.start, Literal::String(s.into())),
                Err(_) => self.wrong(spot.start, "invalid unicode code point"),
            },
            Err(message) => self.wrong(spot.start, message),
        }
    }
}
