//! Benchmarks against peers in the same run. They print ratios and are never timed tests.

#[cfg(feature = "api")]
pub mod client;
#[cfg(feature = "api")]
pub mod load;
#[cfg(feature = "api")]
pub mod peer;

use std::path::{Path, PathBuf};

/// As in the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A program that `cargo xtask upstream` builds.
///
/// # Errors
/// It is not there; the message says how to build it.
pub fn upstream(program: &str) -> anyhow::Result<PathBuf> {
    #[allow(
        clippy::disallowed_methods,
        reason = "a benchmark has no module of its own for the environment"
    )]
    let base = std::env::var("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|_| std::env::var("HOME").map(|home| Path::new(&home).join(".cache")))?;
    let path = base.join("freehold/upstream/v1.36.3").join(program);
    if !path.is_file() {
        anyhow::bail!("upstream's {program} is not built yet. Run: cargo xtask upstream");
    }
    Ok(path)
}
