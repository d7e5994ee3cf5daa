//! Hostile and honest credentials.
