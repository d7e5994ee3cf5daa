//! The one request that is made: a transaction that puts a key, its bytes prepared once.

use crate::load::{self, Work};
use anyhow::{Result, ensure};

/// In the place of a key's number.
const NUMBER: &[u8] = b"##########";
/// As long as a key's number: stands in a frame before the stream is known.
const STREAM_AT: usize = 5;
const DATA: u8 = 0;
const END: u8 = 1;

/// A frame with all of the request but its headers.
pub(super) struct Request {
    frame: Vec<u8>,
    /// where the key's number is written
    numbers: Vec<usize>,
}

fn varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A field of a message: texts and messages.
fn field(out: &mut Vec<u8>, number: u8, value: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, value.len());
    out.extend(value);
}

/// `api/etcdserverpb/rpc.proto`: a `TxnRequest` as the driver makes it.
fn message(prefix: &str, work: Work) -> Vec<u8> {
    let key = [prefix.as_bytes(), load::KEY.as_bytes(), NUMBER].concat();
    let mut txn = Vec::new();
    if work == Work::Create {
        // Equal, the revision of its last change (2), which is none.
        let mut compare = vec![2 << 3, 2];
        field(&mut compare, 3, &key);
        compare.extend([6 << 3, 0]);
        field(&mut txn, 1, &compare);
    }
    let (mut put, mut op) = (Vec::new(), Vec::new());
    field(&mut put, 1, &key);
    field(&mut put, 2, &load::value());
    field(&mut op, 2, &put);
    field(&mut txn, 2, &op);
    txn
}

/// The nine bytes before what a frame carries.
pub(super) fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let len = u32::try_from(payload.len()).expect("a short frame");
    out.extend(&len.to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

impl Request {
    pub(super) fn new(prefix: &str, work: Work) -> Self {
        let message = message(prefix, work);
        // Not compressed, and the length.
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
        body.extend(message);
        let mut whole = Vec::new();
        frame(&mut whole, DATA, END, 0, &body);
        let places = whole.windows(NUMBER.len()).enumerate();
        let numbers = places.filter(|(_, found)| *found == NUMBER);
        Self {
            numbers: numbers.map(|(at, _)| at).collect(),
            frame: whole,
        }
    }

    /// Bytes that count against the server's windows.
    pub(super) fn weight(&self) -> i64 {
        self.frame.len() as i64 - 9
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, stream: u32, number: u64) {
        let start = out.len();
        out.extend(&self.frame);
        let out = &mut out[start..];
        out[STREAM_AT..STREAM_AT + 4].copy_from_slice(&stream.to_be_bytes());
        let digits = load::digits(number);
        for at in &self.numbers {
            out[*at..at + NUMBER.len()].copy_from_slice(&digits);
        }
    }
}

/// Takes a field off a message: its number, and its value if that is a number or else bytes.
fn next<'a>(message: &mut &'a [u8]) -> Result<(u64, u64, &'a [u8])> {
    let tag = unsigned(message)?;
    let mut bytes = &[][..];
    let mut value = 0;
    match tag & 7 {
        0 => value = unsigned(message)?,
        2 => {
            let len = usize::try_from(unsigned(message)?)?;
            ensure!(len <= message.len(), "a message ends early");
            bytes = message.split_off(..len).unwrap_or_default();
        }
        kind => anyhow::bail!("a field of kind {kind}"),
    }
    Ok((tag >> 3, value, bytes))
}

fn unsigned(message: &mut &[u8]) -> Result<u64> {
    let mut n = 0;
    for shift in (0..70).step_by(7) {
        let Some(byte) = message.split_off_first() else {
            break;
        };
        n |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(n);
        }
    }
    anyhow::bail!("a number without an end")
}

/// The revision at which an answer says that its key was put.
pub(super) fn revision(body: &[u8]) -> Result<u64> {
    let [0, length @ ..] = body else {
        anyhow::bail!("the answer is no plain message");
    };
    let (length, mut message) = length.split_first_chunk().ok_or_else(short)?;
    ensure!(
        u32::from_be_bytes(*length) as usize == message.len(),
        short()
    );
    let (mut revision, mut succeeded) = (0, false);
    while !message.is_empty() {
        match next(&mut message)? {
            (1, _, mut header) => {
                while !header.is_empty() {
                    if let (3, number, _) = next(&mut header)? {
                        revision = number;
                    }
                }
            }
            (2, yes, _) => succeeded = yes == 1,
            _ => {}
        }
    }
    ensure!(succeeded, "the key was there");
    Ok(revision)
}

fn short() -> anyhow::Error {
    anyhow::anyhow!("an answer of another length than it says")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_there_and_half_an_answer_are_errors() {
        let answer = |message: &[u8]| {
            let mut body = vec![0];
            body.extend((message.len() as u32).to_be_bytes());
            body.extend(message);
            body
        };
        let good = answer(&[0x0a, 3, 0x18, 0xac, 2, 0x10, 1]);
        assert_eq!(revision(&good).expect("an answer"), 300);
        let not = answer(&[0x0a, 3, 0x18, 0xac, 2]);
        let error = revision(&not).expect_err("not put").to_string();
        assert!(error.contains("the key was there"), "{error}");
        for cut in 0..good.len() {
            assert!(revision(&good[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_request_names_its_key_wherever_it_is_asked_for() {
        for (work, times) in [(Work::Put, 1), (Work::Create, 2)] {
            let mut out = b"before".to_vec();
            Request::new("/p/", work).write(&mut out, 7, 42);
            let key = b"/p//registry/pods/default/0000000042";
            let found = out.windows(key.len()).filter(|found| *found == key);
            assert_eq!(found.count(), times);
            assert!(!out.windows(2).any(|found| found == b"##"));
        }
    }
}
