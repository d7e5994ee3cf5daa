//! `cargo xtask check`: everything that can be said of the source without running the product.

use crate::{directions, sh, tidy, tools};
use anyhow::Result;

pub(crate) fn run() -> Result<()> {
    sh::run("cargo", &["fetch", "--locked"])?;
    sh::run("cargo", &["fmt", "--all", "--check"])?;
    tidy::run()?;
    // The generated catalogue belongs to these generators (regenerate: `cargo xtask catalogue`).
    sh::run(
        "sha256sum",
        &["--check", "--quiet", "crates/model/catalogue/inputs.sha256"],
    )?;
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
