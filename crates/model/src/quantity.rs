//! Resource quantities: exact arithmetic, canonical text.
