//! Gathers the sources that the key of the smoke suite covers.

#[path = "src/sources.rs"]
mod sources;

use std::error::Error;
use std::path::Path;

#[expect(
    clippy::disallowed_methods,
    reason = "cargo speaks to build scripts by variables"
)]
fn main() -> Result<(), Box<dyn Error>> {
    let here = std::env::var("CARGO_MANIFEST_DIR")?;
    let mut crates = Path::new(&here).ancestors();
    let root = crates
        .find(|folder| folder.join("Cargo.lock").is_file())
        .ok_or("there is no Cargo.lock above the crate of the suite")?;
    let sources = sources::gather(root, &std::env::var("CARGO_PKG_NAME")?)?;
    for path in sources.from {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    std::fs::write(
        Path::new(&std::env::var("OUT_DIR")?).join("suite-sources"),
        sources.text,
    )?;
    Ok(())
}
