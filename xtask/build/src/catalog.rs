//! Reads `images/` and `docker/stages/`: every spec, the base sets, their
//! lock, the fragments. All problems of all files at once.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use definition::base::{BaseSets, BaseSetsLock};
use definition::dockerfile::Fragment;

use definition::spec::ImageSpec;
use definition::spec::load::{self, APP_FILE, ImageFiles, SourceFile};
use definition::spec::names::ImageName;
use definition::spec::source;
use inputs::regular;

/// Everything that a checkout declares.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// The images that specs describe, sorted by name.
    pub images: Vec<ImageSpec>,
    /// The operating-system bases that images can be built on.
    pub bases: BaseSets,
    /// The digests that outside references are pinned to.
    pub lock: BaseSetsLock,
    /// In the order of the Dockerfile.
    pub fragments: Vec<Fragment>,
}

/// Whose app files ([`APP_FILE`]) count.
#[derive(Clone, Copy, Debug)]
pub enum Apps<'a> {
    /// Those of the folders that the specs name.
    OfSpecs,
    /// That of this folder, `--app`, for these images, or all where none is named.
    Folder(&'a Path, &'a [String]),
    /// This text, for this image: the file as the image holds it.
    Text(&'a str, &'a ImageName),
}

impl Catalog {
    /// Reads a checkout.
    ///
    /// # Errors
    /// A usage error with a line per problem.
    pub fn read(root: &Path, apps: Apps<'_>) -> Result<Self> {
        if !root.join("images").is_dir() {
            let message = format!("{} is no checkout: it has no folder images/", root.display());
            return Err(failure::usage(message).into());
        }
        let mut problems = Vec::new();
        let shown = "images/defaults.json";
        let defaults = read_optional(&root.join(shown), shown, &mut problems)?;
        let specs = image_files(root, defaults.as_ref(), apps, &mut problems)?;
        if specs.is_empty() && problems.is_empty() {
            problems.push("images/: there is no images/<name>/image.json".to_owned());
        }
        let images = load::load(defaults.as_ref(), &specs).unwrap_or_else(|found| {
            problems.extend(found.iter().map(ToString::to_string));
            Vec::new()
        });
        let bases = read_json::<BaseSets>(root, "images/base-sets.json", &mut problems)?;
        let lock_file = "images/base-sets.lock.json";
        let lock = BaseSetsLock::parse(&read_text(root, lock_file)?)
            .map_err(|message| problems.push(format!("{lock_file}: {message}")))
            .ok();
        let in_file = |file: &'static str| move |problem: String| format!("{file}: {problem}");
        let found = bases.iter().flat_map(BaseSets::problems);
        problems.extend(found.map(in_file("images/base-sets.json")));
        if let Some(bases) = &bases {
            problems.extend(images.iter().filter_map(|spec| unknown_base(bases, spec)));
        }
        let found = lock.iter().flat_map(BaseSetsLock::problems);
        problems.extend(found.map(in_file(lock_file)));
        let fragments = fragments(root)?;
        match (bases, lock) {
            (Some(bases), Some(lock)) if problems.is_empty() => Ok(Self {
                images,
                bases,
                lock,
                fragments,
            }),
            _ => Err(invalid(&problems)),
        }
    }

    /// The named images in the catalog's order, or all.
    ///
    /// # Errors
    /// A usage error that lists the known images.
    pub fn select(&self, names: &[String]) -> Result<Vec<&ImageSpec>> {
        let unknown: Vec<String> = names
            .iter()
            .filter(|name| {
                !self
                    .images
                    .iter()
                    .any(|image| image.name.as_str() == name.as_str())
            })
            .map(|name| format!("{name:?}"))
            .collect();
        if !unknown.is_empty() {
            let known: Vec<&str> = self.images.iter().map(|image| image.name.as_str()).collect();
            return Err(
                failure::usage(format!("there is no image {}", unknown.join(", ")))
                    .hint(format!("known images: {}", known.join(", ")))
                    .into(),
            );
        }
        Ok(self
            .images
            .iter()
            .filter(|image| names.is_empty() || names.iter().any(|name| name == image.name.as_str()))
            .collect())
    }
}

impl Catalog {
    /// These images and those whose databases they are proved with, which come first.
    pub fn with_databases<'a>(&'a self, specs: &[&'a ImageSpec]) -> Vec<&'a ImageSpec> {
        let elsewhere = |spec: &&ImageSpec| spec.database.elsewhere.clone();
        let needed: Vec<_> = specs.iter().filter_map(elsewhere).collect();
        let is_meant = |spec: &&ImageSpec| {
            needed.contains(&spec.name) || specs.iter().any(|meant| meant.name == spec.name)
        };
        let (alone, mut all): (Vec<_>, Vec<_>) = self
            .images
            .iter()
            .filter(is_meant)
            .partition(|spec| elsewhere(spec).is_some());
        all.extend(alone);
        all
    }
}

fn unknown_base(bases: &BaseSets, spec: &ImageSpec) -> Option<String> {
    let name = spec
        .base
        .as_ref()
        .filter(|name| !bases.sets.contains_key(*name))?;
    let known: Vec<&str> = bases.sets.keys().map(String::as_str).collect();
    let known = known.join(", ");
    Some(format!(
        "{}: `base` is {name:?}, which is no base set: there are {known}",
        spec.file
    ))
}

/// A usage error with a line per problem.
pub fn invalid(problems: &[String]) -> anyhow::Error {
    let count = match problems.len() {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    };
    failure::usage(format!(
        "{count} in the input files:\n  {}",
        problems.join("\n  ")
    ))
    .into()
}

fn image_files(
    root: &Path,
    defaults: Option<&SourceFile>,
    apps: Apps<'_>,
    problems: &mut Vec<String>,
) -> Result<Vec<ImageFiles>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(root.join("images"))? {
        let entry = entry?;
        if entry.path().join("image.json").symlink_metadata().is_err() {
            continue;
        }
        match entry.file_name().into_string() {
            Ok(name) => names.push(name),
            Err(name) => problems.push(format!("images/{}: its name is not UTF-8", name.display())),
        }
    }
    names.sort();
    let mut files = Vec::new();
    for name in names {
        let shown = format!("images/{name}/image.json");
        let Some(own) = read_optional(&root.join(&shown), &shown, problems)? else {
            continue;
        };
        let app = match apps {
            _ if source::has_no_app(&own) => None,
            Apps::Folder(folder, of) if of.is_empty() || of.contains(&name) => {
                app_file(root, folder, problems)?
            }
            Apps::Text(text, of) if of.as_str() == name => Some(SourceFile {
                shown: format!("/app/{APP_FILE} in the image"),
                folder: PathBuf::from("/app"),
                text: text.to_owned(),
            }),
            _ => match source::source_folder(defaults, &own) {
                Some(folder) => app_file(root, &folder, problems)?,
                None => None,
            },
        };
        files.push(ImageFiles { name, own, app });
    }
    Ok(files)
}

fn app_file(root: &Path, folder: &Path, problems: &mut Vec<String>) -> Result<Option<SourceFile>> {
    let path = folder.join(APP_FILE);
    let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
    read_optional(&path, &shown, problems)
}

fn fragments(root: &Path) -> Result<Vec<Fragment>> {
    let mut names = Vec::new();
    let folder = fs_err::read_dir(root.join("docker/stages"));
    for entry in folder.context(failure::usage("cannot read docker/stages"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".Dockerfile") {
            names.push(name);
        }
    }
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let shown = format!("docker/stages/{name}");
            let text = read_text(root, &shown)?;
            Ok(Fragment { shown, text })
        })
        .collect()
}

fn read_text(root: &Path, shown: &str) -> Result<String> {
    regular::read_to_string(&root.join(shown)).context(failure::usage(format!("cannot read {shown}")))
}

/// A file that need not be there. What is there and is no file would be waited
/// for or taken for nothing, and the image holds a link and not what it leads to.
fn read_optional(path: &Path, shown: &str, problems: &mut Vec<String>) -> Result<Option<SourceFile>> {
    let Ok(meta) = path.symlink_metadata() else {
        return Ok(None);
    };
    if !meta.is_file() {
        let kind = match meta.file_type() {
            kind if kind.is_symlink() => "a link",
            kind if kind.is_dir() => "a folder",
            _ => "no file",
        };
        let problem = format!("{shown}: is {kind}, must be a regular file");
        // Several images may have one app.
        if !problems.contains(&problem) {
            problems.push(problem);
        }
        return Ok(None);
    }
    let text = regular::read_to_string(path).context(failure::usage(format!("cannot read {shown}")))?;
    Ok(Some(SourceFile {
        shown: shown.to_owned(),
        folder: path.parent().map(Path::to_owned).unwrap_or_default(),
        text,
    }))
}

fn read_json<T: serde::de::DeserializeOwned>(
    root: &Path,
    shown: &str,
    problems: &mut Vec<String>,
) -> Result<Option<T>> {
    let text = read_text(root, shown)?;
    let mut reader = serde_json::Deserializer::from_str(load::without_mark(&text));
    match serde_path_to_error::deserialize(&mut reader) {
        Ok(value) => match reader.end() {
            Ok(()) => return Ok(Some(value)),
            Err(error) => problems.push(format!("{shown}: {error}")),
        },
        Err(error) => problems.push(format!("{shown}: `{}` {}", error.path(), error.inner())),
    }
    Ok(None)
}
