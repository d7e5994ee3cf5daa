//! Every bound on tenant input, in one place.

/// The largest request body, as upstream's API server takes it (3 MiB).
pub const MAX_BODY: usize = 3 * 1024 * 1024;
/// The deepest nesting of any document.
pub const MAX_DEPTH: usize = 100;
/// The most values in one document (a 3 MiB body of `[,]` would otherwise cost 50 MB of memory).
pub const MAX_NODES: usize = 200_000;
/// YAML aliases that one document may follow.
pub const MAX_ALIASES: usize = 1_000;
/// JSON patch operations in one request, as upstream.
pub const MAX_PATCH_OPS: usize = 10_000;
