//! A copy of what a checkout declares, with images of its own names, for
//! commands that try things out: no file that somebody edits is changed, no
//! tag that somebody uses is moved.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use definition::labels::IMAGE_LABEL;
use engine::Engine;
use host::Host;
use host::disk;
use host::process::Runner;

/// A first build of all images with their proofs.
const BUILD_DEADLINE: Duration = Duration::from_secs(3600);

/// What stands before the names of the images that tests use. They stay, so that
/// the next run has nothing to build: they share their layers with the real ones.
pub const TEST_IMAGES: &str = "test";

/// The folders that declare images, which are all that a copy needs.
const PARTS: [&str; 2] = ["images", "docker"];

/// The budget of the copy's images to become healthy in, in seconds.
pub const READY_SECONDS: u32 = 60;

/// Budgets of the copy, the most that a spec allows: a machine that is busy, or
/// an image with a gigabyte of files, is not what is measured.
const ROOM: [(&str, u32); 7] = [
    ("ready_seconds", READY_SECONDS),
    ("restart_seconds", 60),
    ("stop_seconds", 60),
    ("health_ms", 1000),
    ("query_ms", 100),
    ("memory_mb", 512),
    ("size_mb", 100_000),
];

/// The program `xtask`: the running one, or the one beside it where `audit` or
/// `bench` runs.
///
/// # Errors
/// When the running program is not known.
pub fn tool() -> Result<PathBuf> {
    let running = std::env::current_exe().context("find the running program")?;
    Ok(running.with_file_name("xtask"))
}

/// The copy. The images that were built from it go with it, unless they are
/// kept; its folder stays until the next one is made in its place.
#[derive(Debug)]
pub struct Scratch {
    /// The top of the copy, for `--root`.
    pub root: PathBuf,
    /// The copy's state folder, for `HIVE_STATE_DIR`.
    pub state: PathBuf,
    /// The names of its images: `<prefix>-<name>`.
    pub images: Vec<String>,
    engine: Engine,
    runner: Runner,
    keep: bool,
}

impl Scratch {
    /// Copies the checkout of `host` into `folder`, which is emptied first.
    ///
    /// # Errors
    /// When the checkout cannot be read or the folder cannot be written.
    pub fn new(host: &Host, engine: &Engine, folder: &Path, prefix: &str) -> Result<Self> {
        disk::remove(folder)?;
        let root = folder.join("checkout");
        for part in PARTS {
            copy(&host.root.join(part), &root.join(part))?;
        }
        let images = rename_images(&root.join("images"), prefix)?;
        Ok(Self {
            root,
            state: folder.join("state"),
            images,
            engine: engine.clone(),
            runner: host.runner.for_cleanup(),
            keep: false,
        })
    }

    /// The same, with images that stay.
    #[must_use]
    pub(crate) fn kept(mut self) -> Self {
        self.keep = true;
        self
    }

    /// Builds and proves images of the copy, all where none is named, with
    /// [`tool`]; `args` are images and flags. Returns what `build-images
    /// --json` prints.
    ///
    /// # Errors
    /// When one cannot be built or proved.
    pub fn build_images(&self, host: &Host, args: &[&str]) -> Result<Value> {
        let document = host
            .runner
            .cmd(tool()?)
            .arg("--root")
            .arg(&self.root)
            .args(["build-images", "--json", "--engine", self.engine.owner.as_str()])
            .args(args)
            .env("HIVE_STATE_DIR", &self.state)
            .deadline(BUILD_DEADLINE)
            .read()?;
        serde_json::from_str(&document).context("read `build-images --json`")
    }

    /// The reference of the base in what [`Self::build_images`] returned.
    ///
    /// # Errors
    /// When images were built on several bases, or on none.
    pub fn base_in(document: &Value) -> Result<&str> {
        let bases = document["bases"]
            .as_object()
            .context("`build-images --json` names no bases")?;
        let [base] = Vec::from_iter(bases.values())[..] else {
            bail!(
                "`build-images --json` names {} bases, and one was expected",
                bases.len()
            );
        };
        base["reference"]
            .as_str()
            .context("`build-images --json` names a base without reference")
    }
}

impl Scratch {
    /// Gives every spec the widest budgets.
    ///
    /// # Errors
    /// When a spec cannot be read or written.
    pub fn give_room(&self) -> Result<()> {
        for name in &self.images {
            let spec = self.root.join("images").join(name).join("image.json");
            let mut document: Value = serde_json::from_str(&fs_err::read_to_string(&spec)?)
                .with_context(|| format!("read {}", spec.display()))?;
            // The highest layer: apps have budgets of their own.
            let room = ROOM.map(|(budget, most)| (budget.to_owned(), Value::from(most)));
            document["budgets"] = room.into_iter().collect();
            fs_err::write(&spec, serde_json::to_string_pretty(&document)?)?;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for name in self.images.iter().filter(|_| !self.keep) {
            // Where the engine is gone, its images are nobody's trouble.
            remove_images(&self.engine, &self.runner, name).ok();
        }
    }
}

/// Puts a prefix before the name of each image of a folder `images/`, also where a spec
/// names the image of its database. Returns the new names, in order.
///
/// # Errors
/// When a file cannot be read, written or renamed, or a spec is no JSON.
pub fn rename_images(images: &Path, prefix: &str) -> Result<Vec<String>> {
    let mut renamed = Vec::new();
    // All of them first: a folder that is read meanwhile may show the new names, too.
    let entries = fs_err::read_dir(images)?.collect::<std::io::Result<Vec<_>>>()?;
    for folder in entries.iter().map(fs_err::DirEntry::path) {
        let spec = folder.join("image.json");
        let name = folder.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|_| spec.is_file()) else {
            continue;
        };
        let mut document: Value = serde_json::from_str(&fs_err::read_to_string(&spec)?)
            .with_context(|| format!("read {}", spec.display()))?;
        if let Some(Value::String(database)) = document.pointer_mut("/database/elsewhere") {
            *database = format!("{prefix}-{database}");
            fs_err::write(&spec, serde_json::to_string_pretty(&document)?)?;
        }
        let name = format!("{prefix}-{name}");
        fs_err::rename(&folder, images.join(&name))?;
        renamed.push(name);
    }
    renamed.sort();
    Ok(renamed)
}

/// Removes every image that was built under a name, whatever its tags.
///
/// # Errors
/// When the engine does not answer, or an image is in use.
pub fn remove_images(engine: &Engine, runner: &Runner, name: &str) -> Result<()> {
    let filter = format!("label={IMAGE_LABEL}={name}");
    let args = [
        "image",
        "ls",
        "--all",
        "--quiet",
        "--no-trunc",
        "--filter",
        &filter,
    ];
    let listed = engine.cmd(runner, &args).read()?;
    let mut ids: Vec<&str> = listed.lines().collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        engine.cmd(runner, &["image", "rm", "--force", id]).run()?;
    }
    Ok(())
}

/// Copies a folder with its files' modes; links stay links.
///
/// # Errors
/// When something cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry?;
        let relative = entry.path().strip_prefix(from).context("walk out of a folder")?;
        let target = to.join(relative);
        if entry.file_type().is_dir() {
            fs_err::create_dir_all(&target)?;
        } else if entry.file_type().is_symlink() {
            fs_err::os::unix::fs::symlink(fs_err::read_link(entry.path())?, &target)?;
        } else {
            fs_err::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_renamed_once_and_where_others_name_them() {
        let folder = tempfile::tempdir().unwrap();
        let spec = |name: &str| folder.path().join(name).join("image.json");
        for (name, text) in [
            ("app", r#"{"database": {"elsewhere": "pg"}}"#),
            ("pg", r#"{"app": null}"#),
        ] {
            fs_err::create_dir(folder.path().join(name)).unwrap();
            fs_err::write(spec(name), text).unwrap();
        }
        fs_err::create_dir(folder.path().join("sample")).unwrap();
        assert_eq!(rename_images(folder.path(), "x").unwrap(), ["x-app", "x-pg"]);
        let text = fs_err::read_to_string(spec("x-app")).unwrap();
        assert!(text.contains(r#""elsewhere": "x-pg""#), "{text}");
        let text = fs_err::read_to_string(spec("x-pg")).unwrap();
        assert_eq!(text, r#"{"app": null}"#);
        assert!(folder.path().join("sample").exists());
    }
}
