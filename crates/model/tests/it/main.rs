//! Integration tests of the model against recordings.

mod apply;
mod proto;
mod table;
mod texts;
