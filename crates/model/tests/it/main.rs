//! Integration tests of the model against recordings.

mod proto;
mod texts;
