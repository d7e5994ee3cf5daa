//! The objects of other systems, as far as Freehold knows them. Field names are theirs.
