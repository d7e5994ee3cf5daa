//! Writes `crds/*.yaml`: the CustomResourceDefinitions generated from the types.

#[path = "../tests/it/text.rs"]
mod text;

use text::text;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    std::fs::create_dir_all(&dir)?;
    for crd in freehold_api::crds::all() {
        let file = dir.join(freehold_api::crds::file_name(&crd));
        std::fs::write(file, text(&crd)?)?;
    }
    Ok(())
}
