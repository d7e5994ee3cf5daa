//! Cuts the source into tokens, as cel-go's grammar `CEL.g4` does.

use super::issues::Issues;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    End,
    Ident,
    /// `` `a.b` ``
    EscapedIdent,
    Int,
    Uint,
    Float,
    String,
    Bytes,
    /// An operator or bracket.
    Symbol(&'static str),
    /// `in`, `true`, `false`, `null`
    Word(&'static str),
}

/// A token and its place, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) token: Token,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

const SYMBOLS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!",
    "?", ":", "+", "*", "/", "%",
];
const WORDS: [&str; 4] = ["in", "true", "false", "null"];

struct Lexer<'s> {
    text: &'s [char],
    at: usize,
}

/// All tokens, the last one being [`Token::End`]; what cannot be a token is reported and skipped.
pub(crate) fn tokens(text: &[char], issues: &mut Issues) -> Vec<Spot> {
    let mut lexer = Lexer { text, at: 0 };
    let mut out = Vec::new();
    loop {
        lexer.skip_blank();
        let start = lexer.at;
        if start >= text.len() {
            break;
        }
        match lexer.next() {
            Some(token) => out.push(spot(token, start, lexer.at)),
            None => {
                // As far as the recognizer got, that is what it shows.
                // `=`, `&`, `|` could have begun a longer one.
                let begun = usize::from(matches!(text[start], '=' | '&' | '|'));
                let upto = lexer.at.max(start + 1 + begun).min(text.len());
                let shown: String = text[start..upto].iter().collect();
                issues.add(
                    position(start),
                    format!(
                        "Syntax error: token recognition error at: '{}'",
                        shown
                            .replace('\n', "\\n")
                            .replace('\r', "\\r")
                            .replace('\t', "\\t")
                    ),
                );
                lexer.at = upto;
            }
        }
    }
    out.push(spot(Token::End, text.len(), text.len()));
    out
}

fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn spot(token: Token, start: usize, end: usize) -> Spot {
    Spot {
        token,
        start: position(start),
        end: position(end),
    }
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn skip_blank(&mut self) {
        loop {
            match self.peek(0) {
                Some('\t' | ' ' | '\r' | '\n' | '\u{c}') => self.at += 1,
                Some('/') if self.peek(1) == Some('/') => {
                    while self.peek(0).is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn next(&mut self) -> Option<Token> {
        let c = self.peek(0)?;
        if let Some(skip) = self.quote_after_prefix() {
            let bytes = matches!(c, 'b' | 'B');
            return self
                .string(skip)
                .then_some(if bytes { Token::Bytes } else { Token::String });
        }
        if c.is_ascii_alphabetic() || c == '_' {
            return Some(self.word());
        }
        if c.is_ascii_digit() || (c == '.' && self.peek(1).is_some_and(|c| c.is_ascii_digit())) {
            return Some(self.number());
        }
        if c == '`' {
            return self.escaped_ident();
        }
        let symbol = SYMBOLS.iter().find(|s| {
            s.chars()
                .enumerate()
                .all(|(i, want)| self.peek(i) == Some(want))
        })?;
        self.at += symbol.len();
        Some(Token::Symbol(symbol))
    }

    /// How many letters (`b`, `r`, `br`) stand before a quote here.
    fn quote_after_prefix(&self) -> Option<usize> {
        let is_quote = |c: Option<char>| matches!(c, Some('"' | '\''));
        let (first, second) = (self.peek(0), self.peek(1));
        let raw = |c: Option<char>| matches!(c, Some('r' | 'R'));
        if is_quote(first) {
            return Some(0);
        }
        if (raw(first) || matches!(first, Some('b' | 'B'))) && is_quote(second) {
            return Some(1);
        }
        (matches!(first, Some('b' | 'B')) && raw(second) && is_quote(self.peek(2))).then_some(2)
    }

    /// Moves past a string; `false` when it does not end.
    fn string(&mut self, prefix: usize) -> bool {
        let raw = (0..prefix).any(|i| matches!(self.peek(i), Some('r' | 'R')));
        self.at += prefix;
        let Some(quote) = self.peek(0) else {
            return false;
        };
        let triple = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        self.at += if triple { 3 } else { 1 };
        loop {
            match self.peek(0) {
                None => return false,
                Some('\\') if !raw => {
                    if !self.escape() {
                        return false;
                    }
                }
                Some('\n' | '\r') if !triple => return false,
                Some(c) if c == quote => {
                    if !triple {
                        self.at += 1;
                        return true;
                    }
                    if self.peek(1) == Some(quote) && self.peek(2) == Some(quote) {
                        self.at += 3;
                        return true;
                    }
                    self.at += 1;
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// Moves past an escape sequence if it is one.
    fn escape(&mut self) -> bool {
        let (digits, valid): (usize, fn(char) -> bool) = match self.peek(1) {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`') => {
                (0, |_| true)
            }
            Some('x' | 'X') => (2, |c| c.is_ascii_hexdigit()),
            Some('u') => (4, |c| c.is_ascii_hexdigit()),
            Some('U') => (8, |c| c.is_ascii_hexdigit()),
            Some('0'..='3') => (2, |c| ('0'..='7').contains(&c)),
            _ => {
                self.at += 2;
                return false;
            }
        };
        for i in 0..digits {
            if !self.peek(2 + i).is_some_and(valid) {
                self.at += 3 + i;
                return false;
            }
        }
        self.at += 2 + digits;
        true
    }

    fn word(&mut self) -> Token {
        let start = self.at;
        while self
            .peek(0)
            .is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            self.at += 1;
        }
        let word: String = self.text[start..self.at].iter().collect();
        WORDS
            .into_iter()
            .find(|w| *w == word)
            .map_or(Token::Ident, Token::Word)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek(0).is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Token {
        let unsigned = |lexer: &mut Self| {
            let is = matches!(lexer.peek(0), Some('u' | 'U'));
            lexer.at += usize::from(is);
            if is { Token::Uint } else { Token::Int }
        };
        if self.peek(0) == Some('0')
            && self.peek(1) == Some('x')
            && self.peek(2).is_some_and(|c| c.is_ascii_hexdigit())
        {
            self.at += 2;
            while self.peek(0).is_some_and(|c| c.is_ascii_hexdigit()) {
                self.at += 1;
            }
            return unsigned(self);
        }
        self.digits();
        let mut float = false;
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
            self.digits();
            float = true;
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
            if self.peek(1 + sign).is_some_and(|c| c.is_ascii_digit()) {
                self.at += 1 + sign;
                self.digits();
                float = true;
            }
        }
        if float { Token::Float } else { unsigned(self) }
    }

    fn escaped_ident(&mut self) -> Option<Token> {
        let start = self.at;
        self.at += 1;
        while self
            .peek(0)
            .is_some_and(|c| c.is_ascii_alphanumeric() || "_.-/ ".contains(c))
        {
            self.at += 1;
        }
        if self.peek(0) == Some('`') && self.at > start + 1 {
            self.at += 1;
            return Some(Token::EscapedIdent);
        }
        None
    }
}
