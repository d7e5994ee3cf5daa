//! `cargo xtask check`: everything that can be said of the source without running the product.

use crate::{directions, sh, tidy, tools};
use anyhow::Result;

pub(crate) fn run() -> Result<()> {
    sh::run("cargo", &["fetch", "--locked"])?;
    sh::run("cargo", &["fmt", "--all", "--check"])?;
    tidy::run()?;
    directions::run()?;
    tools::deny()?;
    sh::run(
        "cargo",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ],
    )
}
