//! The Kubernetes API as data: objects, catalogue, codecs, patches, defaulting, validation.
//!
//! Pure: no I/O, no clock, no runtime. Everything here may be handed hostile bytes, so every
//! entry point is bounded (see [`limits`]).

pub mod apply;
pub mod bytes64;
pub mod catalogue;
pub mod cel;
pub mod convert;
pub mod crd;
pub mod defaults;
pub mod field;
mod go_net;
mod go_regex;
mod go_url;
pub mod json;
pub mod limits;
pub mod meta;
pub mod openapi;
pub mod patch;
pub mod proto;
pub mod quantity;
pub mod rules;
pub mod select;
pub mod status;
pub mod strategic;
pub mod strict;
pub mod table;
pub mod time;
mod time_zones;
pub mod validate;
pub mod value;
pub mod warnings;
pub mod yaml;

pub use catalogue::{Catalogue, Resource};
pub use status::ApiError;
pub use value::{Map, Str, Value};
