//! String and bytes literals without their quotes and escapes (cel-go `parser/unescape.go`).

const UNABLE: &str = "unable to unescape string";

/// The content of `text`, a literal with its quotes and perhaps `r` before them. In bytes literals
/// `\x` and octal escapes stand for bytes.
pub(crate) fn unescape(text: &str, bytes: bool) -> Result<Vec<u8>, &'static str> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (raw, body) = match text.strip_prefix(['r', 'R']) {
        Some(body) => (true, body),
        None => (false, text.as_str()),
    };
    let triple = |q: &str| {
        body.strip_prefix(q)
            .and_then(|b| b.strip_suffix(q))
            .filter(|_| body.len() >= 6)
    };
    let inner = triple("'''")
        .or_else(|| triple("\"\"\""))
        .or_else(|| body.get(1..body.len().saturating_sub(1)))
        .ok_or(UNABLE)?;
    if raw || !inner.contains('\\') {
        return Ok(inner.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c == '\\' {
            rest = escape(rest, bytes, &mut out)?;
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(out)
}

/// One escape sequence, the backslash already taken.
fn escape<'a>(text: &'a str, bytes: bool, out: &mut Vec<u8>) -> Result<&'a str, &'static str> {
    let c = text
        .chars()
        .next()
        .ok_or("unable to unescape string, found '\\' as last character")?;
    let rest = &text[c.len_utf8()..];
    let plain = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' | '\'' | '"' | '`' | '?' => c as u8,
        _ => return numbered(c, text, rest, bytes, out),
    };
    out.push(plain);
    Ok(rest)
}

fn numbered<'a>(
    kind: char,
    text: &'a str,
    rest: &'a str,
    bytes: bool,
    out: &mut Vec<u8>,
) -> Result<&'a str, &'static str> {
    let (digits, radix, from) = match kind {
        'x' | 'X' => (2, 16, rest),
        'u' if !bytes => (4, 16, rest),
        'U' if !bytes => (8, 16, rest),
        '0'..='3' => (3, 8, text),
        _ => return Err(UNABLE),
    };
    let wrong = if radix == 8 {
        "unable to unescape octal sequence in string"
    } else {
        UNABLE
    };
    let number = from
        .get(..digits)
        .and_then(|d| u32::from_str_radix(d, radix).ok())
        .ok_or(wrong)?;
    if let (true, Ok(byte)) = (bytes, u8::try_from(number)) {
        out.push(byte);
    } else {
        let c = char::from_u32(number).ok_or("invalid unicode code point")?;
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(&from[digits..])
}
