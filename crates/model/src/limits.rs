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
/// Nodes of the schemas of all versions of one CRD. The largest public CRDs have about 10,000.
pub const MAX_SCHEMA_NODES: usize = 100_000;
/// Nesting of schemas; upstream has no bound of its own below the decoder's.
pub const MAX_SCHEMA_DEPTH: usize = 64;
/// Bytes that the compiled form of one pattern may take.
pub const MAX_REGEX: usize = 1024 * 1024;
/// Patterns longer than this are refused unseen.
pub const MAX_PATTERN: usize = 16 * 1024;
