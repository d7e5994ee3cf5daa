//! Integration tests of the model against recordings.

mod apply;
mod custom;
mod patch;
mod proto;
mod table;
mod texts;
mod validations;
