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
/// How many values one JSON patch may shift while it inserts into and removes from long containers:
/// a bound on time, not on meaning (10,000 inserts in front of 5,000 items reach it).
pub const MAX_SHIFTED: usize = 50_000_000;
/// Bytes of a selector: a URL holds less, and every term costs time on every object.
pub const MAX_SELECTOR: usize = 64 * 1024;
/// Update entries of managedFields kept apart, as upstream; older ones are merged into one per version.
pub const MAX_UPDATERS: usize = 10;
/// Bytes that YAML's aliases may copy into one document.
pub const MAX_COPIED: usize = 2 * MAX_BODY;
/// Versions of one CRD, and selectable fields of one of them.
pub const MAX_VERSIONS: usize = 32;
pub const MAX_SELECTABLE: usize = 8;
/// Variables of one admission policy: each is compiled among those before it.
pub const MAX_POLICY_VARIABLES: usize = 128;
/// Places that validation of one custom object may visit.
pub const MAX_VISITS: usize = 20_000_000;
/// Steps of all patterns on one custom object, at worst.
pub const MAX_PATTERN_WORK: usize = 2_000_000_000;
/// Keys and values of all annotations together, as upstream.
pub const MAX_ANNOTATIONS: usize = 256 * 1024;
/// Bytes of the name of a field manager, as upstream.
pub const MAX_FIELD_MANAGER: usize = 128;
/// Nodes of the schemas of all versions of one CRD. The largest public CRDs have about 10,000.
pub const MAX_SCHEMA_NODES: usize = 100_000;
/// Nesting of schemas; upstream has no bound of its own below the decoder's.
pub const MAX_SCHEMA_DEPTH: usize = 64;
/// Bytes that the compiled form of one pattern may take.
pub const MAX_REGEX: usize = 1024 * 1024;
/// Patterns longer than this are refused unseen.
pub const MAX_PATTERN: usize = 16 * 1024;
/// Objects that a conversion webhook is asked for at a time, and the bytes they may have.
pub const MAX_WEBHOOK_OBJECTS: usize = 100;
pub const MAX_WEBHOOK_REQUEST: usize = 1024 * 1024;
/// Bytes of a webhook's answer that are read.
pub const MAX_WEBHOOK_ANSWER: usize = MAX_BODY;
/// Bytes of a webhook's own words in an error.
pub const MAX_WEBHOOK_MESSAGE: usize = 1024;
