//! Integration tests of the model against recordings.

mod apply;
mod costs;
mod custom;
mod patch;
mod proto;
mod sequences;
mod table;
mod texts;
mod validations;
