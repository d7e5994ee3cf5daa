//! The keys that data keys are sealed with, and where those keys are themselves.
//!
//! A data key is in the catalog, sealed with the newest key of the ring. That key is 32 bytes in a
//! file, or sealed by a KMS plugin. It is fetched when the first keyspace is used and kept until
//! the engine is closed: a keyspace that sleeps needs no call, nor does one that wakes later.
//!
//! The file `keys` says which keys there are; several only while the newest replaces the others.

use super::disk::Disk;
use super::kms::{self, Envelope};
use super::log::unavailable;
use super::record::{Reader, TAG, put_bytes, put_u32, random};
use crate::{Error, Result};
use parking_lot::Mutex;
use ring::aead;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const MAGIC: &[u8; 8] = b"FHKEYS\0\x01";
const FILE: &str = "keys";
/// What files of keys in the directory are called, before the key's number.
const OWN: &str = "key.";
const NONCE: usize = 12;
/// How long a failure is told to everybody without trying again.
const PAUSE: Duration = Duration::from_secs(1);

/// Where the key is that data keys are sealed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// in a file of the directory
    Own,
    /// in a file of 32 bytes elsewhere, made when it is not there
    File(PathBuf),
    /// sealed by a KMS v2 plugin: `unix:///run/kms.sock`
    Kms(String),
}

impl fmt::Display for Wrapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("a key file in the directory"),
            Self::File(path) => write!(f, "the key file {}", path.display()),
            Self::Kms(endpoint) => write!(f, "the KMS plugin at {endpoint}"),
        }
    }
}

/// One key of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    id: u32,
    at: Wrapping,
    /// what the plugin made of it
    envelope: Option<Envelope>,
}

/// A data key as the catalog has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealedKey {
    /// which key of the ring it is sealed with
    pub(crate) with: u32,
    pub(crate) bytes: [u8; SEALED],
}

pub(crate) const SEALED: usize = NONCE + 32 + TAG;

/// A key of the ring.
pub(crate) struct Key {
    id: u32,
    cipher: aead::LessSafeKey,
}

impl Key {
    fn new(id: u32, bytes: &[u8; 32]) -> Self {
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, bytes);
        let cipher = aead::LessSafeKey::new(key.expect("the key has the cipher's length"));
        Self { id, cipher }
    }

    pub(crate) fn seal(&self, number: u64, data_key: &[u8; 32]) -> Result<SealedKey> {
        let nonce: [u8; NONCE] = random()?;
        let mut bytes = [0; SEALED];
        bytes[..NONCE].copy_from_slice(&nonce);
        bytes[NONCE..SEALED - TAG].copy_from_slice(data_key);
        let tag = self.cipher.seal_in_place_separate_tag(
            aead::Nonce::assume_unique_for_key(nonce),
            aead::Aad::from(number.to_le_bytes()),
            &mut bytes[NONCE..SEALED - TAG],
        );
        let tag = tag.expect("32 bytes are far below the cipher's limit");
        bytes[SEALED - TAG..].copy_from_slice(tag.as_ref());
        let with = self.id;
        Ok(SealedKey { with, bytes })
    }

    pub(crate) fn open(&self, number: u64, sealed: &SealedKey) -> Option<[u8; 32]> {
        let (nonce, rest) = sealed.bytes.split_at(NONCE);
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut rest = rest.to_vec();
        let aad = aead::Aad::from(number.to_le_bytes());
        let plain = self.cipher.open_in_place(nonce, aad, &mut rest).ok()?;
        (&*plain).try_into().ok()
    }
}

#[derive(Default)]
struct Fetched {
    keys: BTreeMap<u32, Arc<Key>>,
    failed: Option<(Instant, Error)>,
}

/// The keys of a directory.
pub(crate) struct Keyring {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// the last one is the newest
    entries: Mutex<Vec<Entry>>,
    fetched: Mutex<Fetched>,
    /// one rotation at a time
    pub(crate) rotating: Mutex<()>,
}

impl Keyring {
    /// Reads the ring of a directory; makes one where there cannot have been any.
    pub(crate) fn open(dir: &Path, disk: Arc<dyn Disk>, new: bool) -> Result<Self> {
        let entries = match disk.read(&dir.join(FILE)) {
            Ok(data) => decode(&data).ok_or_else(|| {
                Error::Corrupt("the file `keys`, without which no data can be read".into())
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound && new => Vec::new(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let text = "the file `keys` is missing, without which no data can be read";
                return Err(Error::Corrupt(text.into()));
            }
            Err(error) => return Err(unavailable(&error)),
        };
        let ring = Self {
            dir: dir.to_owned(),
            disk,
            entries: Mutex::new(entries),
            fetched: Mutex::default(),
            rotating: Mutex::new(()),
        };
        if ring.entries.lock().is_empty() {
            ring.add(&Wrapping::Own)?;
        }
        ring.remove_strays()?;
        Ok(ring)
    }

    /// The number of the newest key.
    pub(crate) fn newest(&self) -> u32 {
        self.entries.lock().last().map_or(0, |entry| entry.id)
    }

    pub(crate) fn wrapping(&self) -> Wrapping {
        let newest = self.entries.lock().last().map(|entry| entry.at.clone());
        newest.unwrap_or(Wrapping::Own)
    }

    /// A key of the ring; may ask a plugin, for a bounded time.
    pub(crate) fn key(&self, id: u32) -> Result<Arc<Key>> {
        // Whoever else wants a key waits for this attempt and its outcome.
        let mut fetched = self.fetched.lock();
        if let Some(key) = fetched.keys.get(&id) {
            return Ok(key.clone());
        }
        if let Some((when, error)) = &fetched.failed
            && when.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        let entry = self.entries.lock().iter().find(|e| e.id == id).cloned();
        let entry = entry.ok_or_else(|| {
            Error::Corrupt(format!(
                "key {id}, which data keys are sealed with, is not known"
            ))
        })?;
        match self.fetch_one(&entry) {
            Ok(bytes) => {
                let key = Arc::new(Key::new(id, &bytes));
                fetched.keys.insert(id, key.clone());
                fetched.failed = None;
                Ok(key)
            }
            Err(error) => {
                fetched.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    pub(crate) fn fetch(&self, ids: &BTreeSet<u32>) -> Result<BTreeMap<u32, Arc<Key>>> {
        ids.iter().map(|id| Ok((*id, self.key(*id)?))).collect()
    }

    fn fetch_one(&self, entry: &Entry) -> Result<[u8; 32]> {
        match (&entry.at, &entry.envelope) {
            (Wrapping::Own, _) => {
                let path = self.own(entry.id);
                let data = self.disk.read(&path);
                let data = data.map_err(|e| lost(&path, &e.to_string()))?;
                to_key(&path, &data)
            }
            (Wrapping::File(path), _) => read_key(path),
            (Wrapping::Kms(endpoint), Some(envelope)) => {
                let (key, now) = kms::decrypt(endpoint, envelope)?;
                if now != envelope.key_id {
                    tracing::warn!(
                        sealed_with = envelope.key_id,
                        now,
                        "the KMS has another key now; `freehold store rekey` takes it up"
                    );
                }
                Ok(key)
            }
            (Wrapping::Kms(_), None) => Err(Error::Corrupt("the file `keys`".into())),
        }
    }

    fn own(&self, id: u32) -> PathBuf {
        self.dir.join(format!("{OWN}{id:08x}"))
    }

    /// Adds a key, which is the newest from now on; durable. Nothing is sealed with it yet.
    pub(crate) fn add(&self, at: &Wrapping) -> Result<u32> {
        let mut entries = self.entries.lock().clone();
        let id = entries.iter().map(|entry| entry.id).max().unwrap_or(0) + 1;
        let (key, envelope) = match at {
            Wrapping::Own => {
                let key = random()?;
                self.write(&self.own(id), &key)?;
                (key, None)
            }
            Wrapping::File(path) if entries.iter().any(|entry| entry.at == *at) => {
                let text = format!("{} is in use; name another file", path.display());
                return Err(Error::Invalid(text));
            }
            Wrapping::File(path) if path.is_absolute() => (make_key(path)?, None),
            Wrapping::File(path) => {
                let text = format!("{} is no absolute path", path.display());
                return Err(Error::Invalid(text));
            }
            Wrapping::Kms(endpoint) => {
                let key = random()?;
                let envelope = kms::encrypt(endpoint, &key)?;
                // What cannot be opened again is found out now.
                if kms::decrypt(endpoint, &envelope)?.0 != key {
                    let text = format!("the KMS plugin at {endpoint} gives back another key");
                    return Err(Error::Unavailable(text));
                }
                (key, Some(envelope))
            }
        };
        let at = at.clone();
        entries.push(Entry { id, at, envelope });
        self.save(entries)?;
        let key = Arc::new(Key::new(id, &key));
        self.fetched.lock().keys.insert(id, key);
        Ok(id)
    }

    /// Forgets all keys but one, with which everything is sealed now.
    pub(crate) fn keep(&self, id: u32) -> Result<()> {
        let mut entries = self.entries.lock().clone();
        entries.retain(|entry| entry.id == id);
        self.save(entries)?;
        self.fetched.lock().keys.retain(|known, _| *known == id);
        self.remove_strays()
    }

    fn save(&self, entries: Vec<Entry>) -> Result<()> {
        let draft = self.dir.join("keys.new");
        self.write(&draft, &encode(&entries))?;
        let renamed = self.disk.rename(&draft, &self.dir.join(FILE));
        renamed
            .and_then(|()| self.disk.sync_dir(&self.dir))
            .map_err(|e| unavailable(&e))?;
        *self.entries.lock() = entries;
        Ok(())
    }

    fn write(&self, path: &Path, data: &[u8]) -> Result<()> {
        let written = self.disk.open(path).and_then(|mut file| {
            file.set_len(data.len() as u64)?;
            file.write_at(data, 0)?;
            file.sync_data()
        });
        written.map_err(|e| unavailable(&e))
    }

    /// Overwrites and removes files of keys that are not in the ring any more.
    fn remove_strays(&self) -> Result<()> {
        let known: Vec<PathBuf> = {
            let entries = self.entries.lock();
            entries.iter().map(|entry| self.own(entry.id)).collect()
        };
        let names = self.disk.list(&self.dir).map_err(|e| unavailable(&e))?;
        let old = names.iter().filter(|name| name.starts_with(OWN));
        for path in old.map(|name| self.dir.join(name)) {
            if !known.contains(&path) {
                self.write(&path, &[0; 32])?;
                self.disk.remove(&path).map_err(|e| unavailable(&e))?;
            }
        }
        Ok(())
    }
}

/// What a key is that opens nothing.
pub(crate) fn other_key() -> Error {
    Error::Corrupt("a data key does not open: this is not the key that it was sealed with".into())
}

fn lost(path: &Path, why: &str) -> Error {
    Error::Unavailable(format!(
        "the key file {}, without which no data can be read: {why}",
        path.display()
    ))
}

fn to_key(path: &Path, data: &[u8]) -> Result<[u8; 32]> {
    let key = data.try_into();
    key.map_err(|_| lost(path, &format!("it has {} bytes, not 32", data.len())))
}

/// The key in a file that is for its owner only.
fn read_key(path: &Path) -> Result<[u8; 32]> {
    let meta = std::fs::metadata(path).map_err(|e| lost(path, &e.to_string()))?;
    if meta.mode() & 0o077 != 0 {
        return Err(lost(path, "others may read it; chmod 600"));
    }
    to_key(
        path,
        &std::fs::read(path).map_err(|e| lost(path, &e.to_string()))?,
    )
}

fn make_key(path: &Path) -> Result<[u8; 32]> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return read_key(path),
        Err(error) => return Err(lost(path, &error.to_string())),
    };
    let key = random()?;
    let written = file.write_all(&key).and_then(|()| file.sync_all());
    let parent = path.parent().unwrap_or(Path::new("/"));
    let written = written.and_then(|()| std::fs::File::open(parent)?.sync_all());
    written.map_err(|e| lost(path, &e.to_string()))?;
    Ok(key)
}

pub(crate) fn encode(entries: &[Entry]) -> Vec<u8> {
    let length = |n: usize| u32::try_from(n).expect("keys are few and small");
    let mut out = MAGIC.to_vec();
    put_u32(&mut out, length(entries.len()));
    for entry in entries {
        put_u32(&mut out, entry.id);
        match &entry.at {
            Wrapping::Own => out.push(0),
            Wrapping::File(path) => {
                out.push(1);
                put_bytes(&mut out, path.as_os_str().as_encoded_bytes());
            }
            Wrapping::Kms(endpoint) => {
                out.push(2);
                put_bytes(&mut out, endpoint.as_bytes());
            }
        }
        if let Some(envelope) = &entry.envelope {
            put_bytes(&mut out, &envelope.ciphertext);
            put_bytes(&mut out, envelope.key_id.as_bytes());
            put_u32(&mut out, length(envelope.annotations.len()));
            for (name, value) in &envelope.annotations {
                put_bytes(&mut out, name.as_bytes());
                put_bytes(&mut out, value);
            }
        }
    }
    let crc = crc32fast::hash(&out);
    put_u32(&mut out, crc);
    out
}

pub(crate) fn decode(data: &[u8]) -> Option<Vec<Entry>> {
    let (body, crc) = data.split_at_checked(data.len().checked_sub(4)?)?;
    if crc != crc32fast::hash(body).to_le_bytes() {
        return None;
    }
    let mut reader = Reader(body);
    if reader.take(8)? != MAGIC {
        return None;
    }
    fn text(reader: &mut Reader<'_>) -> Option<String> {
        String::from_utf8(reader.bytes()?.to_vec()).ok()
    }
    let mut entries = Vec::new();
    for _ in 0..reader.u32()? {
        let id = reader.u32()?;
        let at = match reader.u8()? {
            0 => Wrapping::Own,
            1 => {
                use std::os::unix::ffi::OsStrExt as _;
                let path = std::ffi::OsStr::from_bytes(reader.bytes()?);
                Wrapping::File(path.into())
            }
            2 => Wrapping::Kms(text(&mut reader)?),
            _ => return None,
        };
        let mut envelope = None;
        if matches!(at, Wrapping::Kms(_)) {
            let ciphertext = reader.bytes()?.to_vec();
            let key_id = text(&mut reader)?;
            let mut annotations = BTreeMap::new();
            for _ in 0..reader.u32()? {
                let name = text(&mut reader)?;
                annotations.insert(name, reader.bytes()?.to_vec());
            }
            envelope = Some(Envelope {
                ciphertext,
                key_id,
                annotations,
            });
        }
        entries.push(Entry { id, at, envelope });
    }
    (reader.0.is_empty() && !entries.is_empty()).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_comes_back_and_no_part_of_it_does() {
        let envelope = Envelope {
            ciphertext: vec![1, 2, 3],
            key_id: "k1".into(),
            annotations: BTreeMap::from([("a.example".into(), vec![9])]),
        };
        let entry = |id, at, envelope| Entry { id, at, envelope };
        let entries = vec![
            entry(1, Wrapping::Own, None),
            entry(2, Wrapping::File("/k".into()), None),
            entry(7, Wrapping::Kms("unix:///s".into()), Some(envelope)),
        ];
        let mut data = encode(&entries);
        assert_eq!(decode(&data), Some(entries));
        for len in 0..data.len() {
            assert_eq!(decode(&data[..len]), None);
        }
        for at in 0..data.len() {
            data[at] ^= 4;
            assert_eq!(decode(&data), None, "byte {at}");
            data[at] ^= 4;
        }
    }

    #[test]
    fn a_data_key_opens_only_for_its_keyspace_and_with_its_key() {
        let key = Key::new(3, &[1; 32]);
        let sealed = key.seal(7, &[5; 32]).expect("seal");
        assert_eq!(key.open(7, &sealed), Some([5; 32]));
        assert_eq!(key.open(8, &sealed), None, "another keyspace");
        assert_eq!(Key::new(3, &[2; 32]).open(7, &sealed), None, "another key");
    }
}
