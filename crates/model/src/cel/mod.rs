//! The Common Expression Language as Kubernetes has it: parsed, type-checked, its cost estimated
//! before and bounded while it runs.
//!
//! An expression takes this way: [`parse`] (source to tree, macros expanded) → check (types, the
//! overload of each call) → estimate (what it can cost at most, from the declared sizes) → evaluate
//! (with a budget). Why our own: `docs/decisions/0004-cel.md`.
//!
//! Adding a function is a row in a table in `lib/`: see [`functions::Overload`].

pub mod ast;
pub mod check;
mod clauses;
pub mod compare;
pub mod cost;
pub mod ctx;
pub mod decl;
pub mod device;
pub mod env;
pub mod escape;
pub mod eval;
mod fold;
pub mod functions;
pub mod issues;
mod lex;
mod lib;
mod literals;
mod macros;
pub mod message;
pub mod mutation;
pub mod parse;
pub mod policy;
pub mod ranges;
pub mod shape;
pub mod types;
mod unescape;
pub mod val;
