//! The API server driven in this process, and by real clients over TLS.

mod access;
mod crds;
mod harness;
mod kinds;
mod kubectl;
mod lists;
mod namespaces;
mod objects;
mod tls;
mod watches;
