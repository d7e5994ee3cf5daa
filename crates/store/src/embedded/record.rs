//! What one keyspace writes to the log, as bytes, sealed with the keyspace's own key.

use crate::{Error, LeaseId, Result};
use bytes::Bytes;
use ring::{aead, hkdf};

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: Bytes,
    /// value and lease, or a deletion
    pub(crate) put: Option<(Bytes, LeaseId)>,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Changes {
        rev: u64,
        changes: Vec<Change>,
    },
    Compact {
        rev: u64,
    },
    Grant {
        id: LeaseId,
        ttl: u64,
        deadline_ms: u64,
    },
    Renew {
        id: LeaseId,
        deadline_ms: u64,
    },
    /// ends a lease; `rev` is 0 when no key was under it
    Revoke {
        id: LeaseId,
        rev: u64,
        changes: Vec<Change>,
    },
}

impl Record {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Changes { rev, changes } => {
                out.push(1);
                put_u64(out, *rev);
                put_changes(out, changes);
            }
            Self::Compact { rev } => {
                out.push(2);
                put_u64(out, *rev);
            }
            Self::Grant {
                id,
                ttl,
                deadline_ms,
            } => {
                out.push(3);
                put_u64(out, id.cast_unsigned());
                put_u64(out, *ttl);
                put_u64(out, *deadline_ms);
            }
            Self::Revoke { id, rev, changes } => {
                out.push(4);
                put_u64(out, id.cast_unsigned());
                put_u64(out, *rev);
                put_changes(out, changes);
            }
            Self::Renew { id, deadline_ms } => {
                out.push(5);
                put_u64(out, id.cast_unsigned());
                put_u64(out, *deadline_ms);
            }
        }
    }

    pub(crate) fn decode(data: &[u8]) -> Option<Self> {
        let mut reader = Reader(data);
        let record = match reader.u8()? {
            1 => Self::Changes {
                rev: reader.u64()?,
                changes: get_changes(&mut reader)?,
            },
            2 => Self::Compact { rev: reader.u64()? },
            3 => Self::Grant {
                id: reader.u64()?.cast_signed(),
                ttl: reader.u64()?,
                deadline_ms: reader.u64()?,
            },
            4 => Self::Revoke {
                id: reader.u64()?.cast_signed(),
                rev: reader.u64()?,
                changes: get_changes(&mut reader)?,
            },
            5 => Self::Renew {
                id: reader.u64()?.cast_signed(),
                deadline_ms: reader.u64()?,
            },
            _ => return None,
        };
        reader.0.is_empty().then_some(record)
    }
}

pub(crate) fn put_u32(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&n.to_le_bytes());
}

pub(crate) fn put_u64(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&n.to_le_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, data: &[u8]) {
    put_u32(
        out,
        u32::try_from(data.len()).expect("requests are bounded far below 4 GiB"),
    );
    out.extend_from_slice(data);
}

fn put_changes(out: &mut Vec<u8>, changes: &[Change]) {
    put_u32(
        out,
        u32::try_from(changes.len()).expect("changes are bounded"),
    );
    for change in changes {
        put_bytes(out, &change.key);
        match &change.put {
            Some((value, lease)) => {
                out.push(1);
                put_u64(out, lease.cast_unsigned());
                put_bytes(out, value);
            }
            None => out.push(0),
        }
    }
}

fn get_changes(reader: &mut Reader<'_>) -> Option<Vec<Change>> {
    let count = reader.u32()?;
    let mut changes = Vec::new();
    for _ in 0..count {
        let key = Bytes::copy_from_slice(reader.bytes()?);
        let put = match reader.u8()? {
            0 => None,
            1 => {
                let lease = reader.u64()?.cast_signed();
                Some((Bytes::copy_from_slice(reader.bytes()?), lease))
            }
            _ => return None,
        };
        changes.push(Change { key, put });
    }
    Some(changes)
}

/// Takes fields off the front of a slice.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()? as usize;
        self.take(len)
    }
}

pub(crate) const TAG: usize = 16;

/// The ciphers of one keyspace: AES-256-GCM under keys derived from its data key, one each
/// for the log, checkpoints and values, so that their nonces cannot meet.
pub(crate) struct Ciphers {
    pub(crate) log: Cipher,
    pub(crate) checkpoint: Cipher,
    pub(crate) values: Cipher,
}

impl Ciphers {
    pub(crate) fn new(data_key: &[u8; 32]) -> Self {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"freehold store").extract(data_key);
        Self {
            log: Cipher::derive(&prk, b"log"),
            checkpoint: Cipher::derive(&prk, b"checkpoint"),
            values: Cipher::derive(&prk, b"values"),
        }
    }
}

pub(crate) struct Cipher(aead::LessSafeKey);

impl Cipher {
    fn derive(prk: &hkdf::Prk, purpose: &[u8]) -> Self {
        let info = [purpose];
        let okm = prk
            .expand(&info, &aead::AES_256_GCM)
            .expect("32 bytes is a valid length");
        Self(aead::LessSafeKey::new(aead::UnboundKey::from(okm)))
    }

    /// Encrypts what `out` holds from `from` on, and appends the tag.
    pub(crate) fn seal(&self, nonce: [u8; 12], aad: &[u8], out: &mut Vec<u8>, from: usize) {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, aead::Aad::from(aad), &mut out[from..])
            .expect("records are far below the cipher's limit");
        out.extend_from_slice(tag.as_ref());
    }

    /// Decrypts in place; `None` when the data is not what was sealed.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        data: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        self.0
            .open_in_place(nonce, aead::Aad::from(aad), data)
            .ok()
            .map(|plain| &*plain)
    }
}

/// The nonce of a log record: no segment number and no counter within one is used twice.
pub(crate) fn log_nonce(segment: u64, counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&segment.to_le_bytes()[..4]);
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| Error::Unavailable("the system gives no random numbers".into()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_no_prefix_of_one_decodes() {
        let changes = vec![
            Change {
                key: "a".into(),
                put: Some(("value".into(), 7)),
            },
            Change {
                key: "b".into(),
                put: None,
            },
        ];
        for record in [
            Record::Changes {
                rev: 3,
                changes: changes.clone(),
            },
            Record::Compact { rev: 9 },
            Record::Grant {
                id: 5,
                ttl: 10,
                deadline_ms: 99,
            },
            Record::Renew {
                id: 5,
                deadline_ms: 100,
            },
            Record::Revoke {
                id: -5,
                rev: 4,
                changes,
            },
        ] {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            assert_eq!(Record::decode(&bytes), Some(record));
            for len in 0..bytes.len() {
                assert_eq!(Record::decode(&bytes[..len]), None);
            }
        }
    }

    #[test]
    fn another_key_opens_nothing() {
        let mine = Ciphers::new(&[1; 32]);
        let other = Ciphers::new(&[2; 32]);
        let mut data = b"secret".to_vec();
        mine.log.seal(log_nonce(1, 1), b"x", &mut data, 0);
        assert!(
            other
                .log
                .open(log_nonce(1, 1), b"x", &mut data.clone())
                .is_none()
        );
        assert!(
            mine.checkpoint
                .open(log_nonce(1, 1), b"x", &mut data.clone())
                .is_none()
        );
        assert!(
            mine.log
                .open(log_nonce(1, 2), b"x", &mut data.clone())
                .is_none()
        );
        assert_eq!(
            mine.log.open(log_nonce(1, 1), b"x", &mut data),
            Some(&b"secret"[..])
        );
    }
}
