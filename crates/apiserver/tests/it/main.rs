//! The API server driven in this process, and by real clients over TLS.

mod harness;
mod objects;
