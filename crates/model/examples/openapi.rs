//! Prints an OpenAPI document: `cargo run -p freehold-model --example openapi v2` or `… api/v1`.

use freehold_model::{Catalogue, catalogue::DEFAULT_MINOR, openapi};
use std::io::Write as _;

fn main() -> std::io::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_default();
    let Some(catalogue) = Catalogue::builtin(DEFAULT_MINOR) else {
        return Err(std::io::Error::other("no catalogue"));
    };
    let document = match path.as_str() {
        "" => openapi::index(&catalogue, &[]),
        "v2" => openapi::v2(&catalogue, &[]).into(),
        path => openapi::v3(&catalogue, &[], path)
            .ok_or_else(|| std::io::Error::other("no such document"))?
            .into(),
    };
    std::io::stdout().write_all(&document)
}
