//! Integration tests of the model against recordings.

mod proto;
mod table;
mod texts;
