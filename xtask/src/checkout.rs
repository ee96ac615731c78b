//! Which checkout the tool works on.
//!
//! Not simply the one it was compiled in: cargo looks at the times of files
//! only, so with a shared `CARGO_TARGET_DIR` it runs the binary of another
//! clone or worktree.

use std::path::{Path, PathBuf};

use anyhow::Result;
use walkdir::WalkDir;

/// What decides the tool, below the top of a checkout.
const SOURCES: [&str; 2] = ["Cargo.lock", "xtask"];

/// The top of the checkout: what `--root` says, else the one that `cargo xtask`
/// was called in (`called_in` is the `CARGO_MANIFEST_DIR` that `cargo run`
/// sets), else the one around the current folder, else where this was compiled.
///
/// # Errors
/// `Usage` where there is none, or it has other sources than this was compiled
/// from.
pub(crate) fn top(asked: Option<&Path>, called_in: Option<&Path>, compiled_in: &Path) -> Result<PathBuf> {
    if let Some(folder) = asked {
        return Ok(std::path::absolute(folder)?);
    }
    let current = std::env::current_dir().ok();
    let origin = around(compiled_in);
    let found = called_in.and_then(around).or_else(|| around(current.as_deref()?));
    let Some(found) = found.or_else(|| origin.clone()) else {
        return Err(failure::usage("the current folder is in no checkout")
            .hint("call `cargo xtask` inside of one, or name one by --root")
            .into());
    };
    if origin.is_some_and(|origin| same_sources(&found, &origin)) {
        return Ok(found);
    }
    let message = format!(
        "this xtask was compiled in {}, from other sources than those of {}",
        compiled_in.display(),
        found.display()
    );
    let main = found.join("xtask/src/main.rs");
    Err(failure::usage(message)
        .hint(format!(
            "compile it here: touch '{}', and call it again",
            main.display()
        ))
        .hint("give each checkout a CARGO_TARGET_DIR of its own, and they do not take turns")
        .into())
}

/// The innermost checkout that a folder lies in.
fn around(folder: &Path) -> Option<PathBuf> {
    let is_checkout = |top: &&Path| top.join("images/defaults.json").is_file() && top.join("xtask").is_dir();
    folder.ancestors().find(is_checkout).map(Path::to_owned)
}

fn same_sources(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) if one == other => true,
        _ => sources(one).is_some_and(|digest| sources(other) == Some(digest)),
    }
}

/// Over paths and contents of all that decides the tool; `None` where some of
/// it cannot be read.
fn sources(top: &Path) -> Option<blake3::Hash> {
    let mut hash = blake3::Hasher::new();
    for part in SOURCES {
        for entry in WalkDir::new(top.join(part)).sort_by_file_name() {
            let entry = entry.ok()?;
            if entry.file_type().is_file() {
                let path = entry.path().strip_prefix(top).ok()?.as_os_str();
                hash.update(path.as_encoded_bytes());
                hash.update(blake3::hash(&std::fs::read(entry.path()).ok()?).as_bytes());
            }
        }
    }
    Some(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout(folder: &Path, source: &str) -> PathBuf {
        for (path, text) in [
            ("images/defaults.json", "{}"),
            ("xtask/src/main.rs", source),
            ("Cargo.lock", ""),
        ] {
            let path = folder.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        folder.to_owned()
    }

    #[test]
    fn the_checkout_is_the_one_it_is_called_in() {
        let dir = tempfile::tempdir().unwrap();
        let here = checkout(&dir.path().join("here"), "fn main() {}");
        let twin = checkout(&dir.path().join("twin"), "fn main() {}");
        let other = checkout(&dir.path().join("other"), "fn main() { }");
        let called = |compiled_in: &Path| top(None, Some(&here.join("xtask")), &compiled_in.join("xtask"));
        assert_eq!(called(&here).unwrap(), here);
        assert_eq!(called(&twin).unwrap(), here);
        for origin in [&other, &dir.path().join("gone")] {
            let error = called(origin).unwrap_err();
            assert_eq!(failure::kind(&error), failure::FailureKind::Usage);
            let said = failure::render(&error);
            assert!(said.contains(&origin.display().to_string()), "{said}");
            assert!(
                said.contains(&format!("touch '{}'", here.join("xtask/src/main.rs").display())),
                "{said}"
            );
            assert_eq!(top(Some(&here), None, origin).unwrap(), here);
        }
    }
}
