//! The objects of other systems, as far as Freehold knows them. Field names are theirs; what is
//! deep and of no effect here is kept as given.

pub mod capsule;
pub mod kamaji;
pub mod kubeflex;
