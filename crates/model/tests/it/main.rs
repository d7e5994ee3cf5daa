//! Integration tests of the model against recordings.

mod apply;
mod custom;
mod patch;
mod proto;
mod sequences;
mod table;
mod texts;
mod validations;
