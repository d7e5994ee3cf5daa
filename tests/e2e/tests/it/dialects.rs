//! The foreign manifests, by plain kubectl.
