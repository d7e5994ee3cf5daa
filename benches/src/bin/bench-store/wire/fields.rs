//! Header fields of requests and answers, as HTTP/2 compresses them (RFC 7541): as much of it as
//! two servers need that are asked the same again and again.

use anyhow::{Context as _, Result, bail, ensure};
use std::collections::VecDeque;

/// What a table holds unless a side asks for something else, which neither does.
const TABLE: usize = 4096;
/// The static table's entries.
const STATIC: usize = 61;

/// The fields of a connection's first request, which puts them into the server's table.
pub(super) fn first(authority: &str, path: &str) -> Vec<u8> {
    // ":method: POST" and ":scheme: http" are in the static table, and so are most names.
    let mut block = vec![0x83, 0x86];
    let mut add = |name_at: u8, texts: &[&str]| {
        block.push(name_at);
        for text in texts {
            block.push(u8::try_from(text.len()).expect("a short text"));
            block.extend(text.as_bytes());
        }
    };
    add(0x44, &[path]);
    add(0x41, &[authority]);
    add(0x5f, &["application/grpc"]);
    add(0x40, &["te", "trailers"]);
    add(0x7a, &["freehold-bench"]);
    block
}

/// Those of every other request, which point there: what was put last has the lowest number.
pub(super) const AGAIN: &[u8] = &[0x83, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe];

/// What a field of an answer says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    /// `:status`, whether it is 200
    Http(bool),
    /// `grpc-status`, whether it is 0
    Grpc(bool),
    Other,
}

/// The table of one connection's answers.
#[derive(Default)]
pub(super) struct Fields {
    /// the newest first
    table: VecDeque<Said>,
    /// at least as much as the server counts
    size: usize,
}

impl Fields {
    /// Reads a block: whether it says that a call went well. What says otherwise is an error.
    pub(super) fn read(&mut self, mut block: &[u8]) -> Result<bool> {
        let mut well = false;
        while let Some(&first) = block.first() {
            let said = if first & 0x80 != 0 {
                let at = number(&mut block, 7)?;
                self.find(at)?
            } else if first & 0x40 != 0 {
                let (said, size) = self.literal(&mut block, 6)?;
                self.size += size;
                ensure!(
                    self.size <= TABLE,
                    "so many headers that it is not known which the server forgets"
                );
                self.table.push_front(said);
                said
            } else if first & 0x20 != 0 {
                let size = number(&mut block, 5)?;
                ensure!(size >= TABLE, "the server makes its table smaller");
                Said::Other
            } else {
                self.literal(&mut block, 4)?.0
            };
            match said {
                Said::Http(ok) => ensure!(ok, "the HTTP status is not 200"),
                Said::Grpc(ok) => {
                    ensure!(ok, "the call was refused: {}", block.escape_ascii());
                    well = true;
                }
                Said::Other => {}
            }
        }
        Ok(well)
    }

    fn find(&self, at: usize) -> Result<Said> {
        Ok(match at {
            0 => bail!("a field of no place"),
            8 => Said::Http(true),
            9..=14 => Said::Http(false),
            _ if at <= STATIC => Said::Other,
            _ => *self
                .table
                .get(at - STATIC - 1)
                .context("a place behind the table's end")?,
        })
    }

    /// A field that is spelt out, and at most how much of the table it takes.
    fn literal(&self, block: &mut &[u8], bits: u32) -> Result<(Said, usize)> {
        let name = match number(block, bits)? {
            0 => {
                let name = text(block)?;
                // With and without Huffman's code.
                let grpc =
                    name.1 == b"grpc-status" || name.1 == b"\x9a\xca\xc8\xb2\x12\x34\xda\x8f";
                (if grpc { Said::Grpc(false) } else { Said::Other }, name.0)
            }
            // Names are shorter than this in the static table; in ours their length is not kept.
            at => (self.find(at)?, 64),
        };
        let value = text(block)?;
        let said = match name.0 {
            Said::Grpc(_) => Said::Grpc(matches!(value.1, b"0" | b"\x07")),
            Said::Http(_) => Said::Http(matches!(value.1, b"200" | b"\x10\x01")),
            Said::Other => Said::Other,
        };
        Ok((said, name.1 + value.0 + 32))
    }
}

/// A text as it is written, and at most how long it is.
fn text<'a>(block: &mut &'a [u8]) -> Result<(usize, &'a [u8])> {
    let huffman = block.first().is_some_and(|first| first & 0x80 != 0);
    let len = number(block, 7)?;
    let text = block.split_off(..len).context("a text ends early")?;
    // Five bits are the shortest letter.
    Ok((if huffman { len * 8 / 5 } else { len }, text))
}

/// A number in the last so many bits of the first byte, and in others if it is large.
fn number(block: &mut &[u8], bits: u32) -> Result<usize> {
    let most = (1 << bits) - 1;
    let first = block.split_off_first().context("a number ends early")?;
    let mut n = usize::from(first & most);
    if n < usize::from(most) {
        return Ok(n);
    }
    for shift in (0..28).step_by(7) {
        let next = block.split_off_first().context("a number ends early")?;
        n += usize::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Ok(n);
        }
    }
    bail!("a number without an end")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As servers write them: with a place in the table, and the next time by that place.
    const GOOD: &[u8] = b"\x40\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f\x010";

    #[test]
    fn a_status_is_found_wherever_it_is_written() {
        let mut fields = Fields::default();
        assert!(!fields.read(&[0x88]).expect("headers"));
        assert!(fields.read(GOOD).expect("trailers"));
        assert!(fields.read(&[0xbe]).expect("the same"));
        // Something newer moves it.
        fields.read(b"\x61\x03now").expect("a date");
        assert!(!fields.read(&[0xbe]).expect("the date"));
        assert!(fields.read(&[0xbf]).expect("the status"));
        assert!(fields.read(b"\x00\x0bgrpc-status\x010").expect("spelt out"));
    }

    #[test]
    fn what_is_no_success_is_an_error() {
        for block in [
            // The status 13; by the name that the table has; HTTP's 404 and 415.
            &b"\x00\x0bgrpc-status\x0213"[..],
            b"\x7e\x015",
            b"\x8d",
            b"\x48\x03415",
            // A place that there is not, half a text.
            b"\xc5",
            b"\x40\x04ab",
            b"\x80",
        ] {
            let mut fields = Fields::default();
            fields.read(GOOD).expect("trailers");
            assert!(fields.read(block).is_err(), "{}", block.escape_ascii());
        }
    }

    #[test]
    fn more_than_the_table_holds_is_noticed() {
        let mut fields = Fields::default();
        let mut field = vec![0x40, 1, b'a', 100];
        field.extend([b'x'; 100]);
        let read = (0..40).try_for_each(|_| fields.read(&field).map(|_| ()));
        assert!(read.is_err());
    }
}
