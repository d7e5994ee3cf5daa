//! Standard base64, as `[]byte` fields travel in JSON, with the error of Go's `encoding/base64`.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const VALUES: [u8; 256] = {
    let mut table = [255; 256];
    let mut i = 0;
    while i < 64 {
        table[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    table
};

#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    let digit = |group: u32, shift: u32| char::from(ALPHABET[(group >> shift & 63) as usize]);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        out.push(digit(group, 18));
        out.push(digit(group, 12));
        out.push(if chunk.len() > 1 {
            digit(group, 6)
        } else {
            '='
        });
        out.push(if chunk.len() > 2 {
            digit(group, 0)
        } else {
            '='
        });
    }
    out
}

/// Decodes padded base64; line breaks are skipped, as in Go.
///
/// # Errors
/// Go's message with the position of the first bad byte.
pub fn decode(text: &str) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len() / 4 * 3);
    let bad = |at: usize| format!("illegal base64 data at input byte {at}");
    let (mut group, mut digits) = (0u32, 0);
    let mut at = 0;
    let skip = |mut at: usize| {
        while matches!(bytes.get(at), Some(b'\r' | b'\n')) {
            at += 1;
        }
        at
    };
    while at < bytes.len() {
        match bytes[at] {
            b'\r' | b'\n' => {}
            b'=' => {
                match digits {
                    2 => {
                        let second = skip(at + 1);
                        if bytes.get(second) != Some(&b'=') {
                            return Err(bad(second));
                        }
                        at = second;
                        out.push((group >> 4) as u8);
                    }
                    3 => out.extend_from_slice(&[(group >> 10) as u8, (group >> 2) as u8]),
                    _ => return Err(bad(at)),
                }
                let end = skip(at + 1);
                return if end == bytes.len() {
                    Ok(out)
                } else {
                    Err(bad(end))
                };
            }
            b => {
                let value = VALUES[usize::from(b)];
                if value == 255 {
                    return Err(bad(at));
                }
                group = group << 6 | u32::from(value);
                digits += 1;
                if digits == 4 {
                    out.extend_from_slice(&[(group >> 16) as u8, (group >> 8) as u8, group as u8]);
                    (group, digits) = (0, 0);
                }
            }
        }
        at += 1;
    }
    // Go points at the start of the group that is cut short.
    if digits == 0 {
        Ok(out)
    } else {
        Err(bad(at - digits))
    }
}

/// Whether `text` is what [`encode`] would write, so that it can stay as it is.
#[must_use]
pub fn is_canonical(text: &str) -> bool {
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(4) {
        return false;
    }
    let body = text.trim_end_matches('=').as_bytes();
    let unused = match bytes.len() - body.len() {
        0 => 0,
        1 => 0b11,
        2 => 0b1111,
        _ => return false,
    };
    body.iter().all(|b| VALUES[usize::from(*b)] != 255)
        && body
            .last()
            .is_none_or(|b| VALUES[usize::from(*b)] & unused == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_goes_both_ways() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), plain.as_bytes());
            assert!(is_canonical(text));
        }
        assert_eq!(decode("Zm9v\r\nYg=\n=\n").unwrap(), b"foob");
        assert!(!is_canonical("Zm9v\n") && !is_canonical("Zh==") && !is_canonical("===="));
    }

    #[test]
    fn bad_base64_is_refused_with_its_place() {
        for (text, at) in [
            ("Zm9v!", 4),
            ("Zg=", 3),
            ("Z", 0),
            ("Zm9vYg", 4),
            ("Zg==x", 4),
            ("=", 0),
            ("Z===", 1),
        ] {
            assert_eq!(
                decode(text).unwrap_err(),
                format!("illegal base64 data at input byte {at}"),
                "{text}"
            );
        }
    }
}
