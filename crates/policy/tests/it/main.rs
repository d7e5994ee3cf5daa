//! Decisions of a whole cluster's policy, as data.

mod matrix;
