//! The API server driven in this process, and by real clients over TLS.

mod access;
mod harness;
mod kinds;
mod lists;
mod namespaces;
mod objects;
mod watches;
