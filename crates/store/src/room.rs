//! Room for answers. Whoever bounds what a client makes the process hold is asked between finding
//! out how much there is to read and reading it.

use crate::Result;
use async_trait::async_trait;

/// Bytes that a key takes beside itself and its value, until it is on its way to the client.
pub const PER_KEY: u64 = 256;

/// Room for one answer.
#[async_trait]
pub trait Room: Send + Sync {
    /// Waits for room for so many keys, which with their values have so many bytes; an error
    /// refuses the request.
    async fn take(&self, size: Size) -> Result<()>;
}

/// What a request is about to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub keys: u64,
    /// of keys and values
    pub bytes: u64,
}

impl Size {
    pub fn add(&mut self, key: usize, value: usize) {
        self.keys += 1;
        self.bytes += (key + value) as u64;
    }
}
