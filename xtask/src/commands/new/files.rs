//! The files of a new image: what they hold, and how they come to be.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use super::Findings;
use super::placement::Placement;
use super::proposal::{self, ImageFacts};
use crate::cli::{NewArgs, OverwrittenFile};
use definition::spec::ImageSpec;
use definition::spec::load::{self, APP_FILE, ImageFiles, SourceFile};
use host::Host;
use inputs::regular;

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fate {
    /// There was no such file before.
    Written,
    /// It was, and `--overwrite` names it.
    Overwritten,
    /// It is there and stays.
    Kept,
}

impl Fate {
    pub(super) fn label(self, dry_run: bool) -> &'static str {
        match (self, dry_run) {
            (Self::Kept, _) => "kept",
            (_, true) => "would",
            (_, false) => "wrote",
        }
    }
}

/// A file that there is, or is to be.
#[derive(Debug, Serialize)]
pub(super) struct PlannedFile {
    /// The file's name without its folder: `hive-app.json` or `image.json`.
    pub(super) name: String,
    /// As the user knows it.
    #[serde(rename = "path")]
    pub(super) shown: String,
    #[serde(skip)]
    path: PathBuf,
    /// What it holds in the end.
    pub(super) text: String,
    pub(super) fate: Fate,
}

/// What is known of the base of an image, as [`ImageFacts`] has it.
#[derive(Clone, Debug, Default)]
pub(super) struct OfBase {
    pub(super) python: Option<(&'static str, String)>,
    pub(super) python_library: Option<&'static str>,
    pub(super) python_version: Option<String>,
    pub(super) built: Vec<String>,
    pub(super) of_extensions: Vec<String>,
}

/// The app's file, unless it would be empty, and the image's.
pub(super) fn planned(
    args: &NewArgs,
    host: &Host,
    placement: &Placement,
    findings: &Findings,
    of_base: &OfBase,
) -> Result<Vec<PlannedFile>> {
    if let Some(member) = placement.member.as_ref()
        && args.overwrite.contains(&OverwrittenFile::App)
    {
        let failure = failure::usage(format!(
            "--overwrite {APP_FILE}: at the top of a workspace it is of all members, and nothing of {member} is \
             written into it"
        ));
        return Err(failure
            .hint("leave it out, or give `--overwrite image.json`")
            .into());
    }
    let defaults = fs_err::read_to_string(host.root.join("images/defaults.json")).unwrap_or_default();
    let defaults: Value = serde_json::from_str(load::without_mark(&defaults)).unwrap_or_default();
    let facts = ImageFacts {
        name: &placement.name,
        source: &placement.source,
        port: placement.port,
        python: of_base.python.clone(),
        python_library: of_base.python_library,
        python_version: of_base.python_version.as_deref(),
        built: &of_base.built,
        of_extensions: &of_base.of_extensions,
    };
    let mut proposed = proposal::propose(findings, &facts, &defaults);
    if placement.member.is_some() {
        let of_app = std::mem::take(&mut proposed.app);
        proposal::join(&mut proposed.image, of_app);
        proposed.app = Value::Object(serde_json::Map::new());
    }
    let image = format!("images/{}/image.json", placement.name);
    let app = PlannedFile::new(
        APP_FILE,
        format!("{}/{APP_FILE}", placement.shown),
        placement.folder.join(APP_FILE),
        &proposed.app,
        args.overwrite.contains(&OverwrittenFile::App),
    )?;
    let image = PlannedFile::new(
        "image.json",
        image.clone(),
        host.root.join(&image),
        &proposed.image,
        args.overwrite.contains(&OverwrittenFile::Image),
    )?;
    let is_empty = proposed.app.as_object().is_some_and(serde_json::Map::is_empty);
    let needed = app.fate == Fate::Kept || !is_empty;
    Ok(if needed { vec![app, image] } else { vec![image] })
}

/// The variables that `app.environment` of the files which are there sets; of those that are
/// written anew none.
pub(super) fn set_variables(args: &NewArgs, host: &Host, placement: &Placement) -> BTreeSet<String> {
    let image = host.root.join(format!("images/{}/image.json", placement.name));
    let files = [
        (placement.folder.join(APP_FILE), OverwrittenFile::App),
        (image, OverwrittenFile::Image),
    ];
    let kept = files
        .into_iter()
        .filter(|(_, file)| !args.overwrite.contains(file));
    // What is no file or no JSON is told where it is read to be kept.
    let texts = kept.filter_map(|(path, _)| regular::read_to_string(&path).ok());
    let values = texts.filter_map(|text| serde_json::from_str::<Value>(load::without_mark(&text)).ok());
    let environments = values.filter_map(|value| value.pointer("/app/environment")?.as_object().cloned());
    environments.flatten().map(|(name, _)| name).collect()
}

/// What a file at the top of a workspace gives a member's image, which is meant to be run as
/// its own file says; `None` where there is none, or nothing in it.
pub(super) fn of_all_members(placement: &Placement, planned: &[PlannedFile]) -> Option<String> {
    placement.member.as_ref()?;
    let of = |name: &str| planned.iter().find(|file| file.name == name);
    let value = |file: &PlannedFile| serde_json::from_str(load::without_mark(&file.text)).ok();
    let (app, image) = (of(APP_FILE)?, of("image.json")?);
    let mut keys = Vec::new();
    let (above, own): (Value, Value) = (value(app)?, value(image)?);
    added("", &above, &own, &mut keys);
    (!keys.is_empty()).then(|| {
        format!(
            "{} is of all images of this folder, and gives {} {}: move what is of another member alone into its \
             images/NAME/image.json",
            app.shown,
            image.shown,
            keys.join(", ")
        )
    })
}

/// The keys of one file that another one over it lacks.
fn added(at: &str, below: &Value, over: &Value, found: &mut Vec<String>) {
    let Some(below) = below.as_object() else { return };
    for (key, value) in below.iter().filter(|(key, _)| *key != "$schema") {
        let path = if at.is_empty() {
            key.clone()
        } else {
            format!("{at}.{key}")
        };
        match (value, over.get(key)) {
            (Value::Object(_), Some(over)) => added(&path, value, over, found),
            (_, None) => found.push(format!("`{path}`")),
            (_, Some(_)) => {}
        }
    }
}

impl PlannedFile {
    fn new(name: &str, shown: String, path: PathBuf, value: &Value, overwrite: bool) -> Result<Self> {
        let mut text = format!("{}\n", serde_json::to_string_pretty(value)?);
        let fate = match path.symlink_metadata() {
            Err(_) => Fate::Written,
            Ok(meta) if !meta.is_file() => {
                return Err(failure::usage(format!("{shown}: must be a regular file")).into());
            }
            Ok(_) if overwrite => Fate::Overwritten,
            Ok(_) => {
                text =
                    fs_err::read_to_string(&path).context(failure::usage(format!("cannot read {shown}")))?;
                Fate::Kept
            }
        };
        Ok(Self {
            name: name.to_owned(),
            shown,
            path,
            text,
            fate,
        })
    }

    fn source(&self) -> SourceFile {
        SourceFile {
            shown: self.shown.clone(),
            folder: self.path.parent().map(PathBuf::from).unwrap_or_default(),
            text: self.text.clone(),
        }
    }
}

/// The spec that the files make together, read as every command reads it.
pub(super) fn load(host: &Host, placement: &Placement, planned: &[PlannedFile]) -> Result<ImageSpec> {
    let path = host.root.join("images/defaults.json");
    let defaults = fs_err::read_to_string(&path).ok().map(|text| SourceFile {
        shown: "images/defaults.json".to_owned(),
        folder: host.root.join("images"),
        text,
    });
    let of = |name: &str| {
        planned
            .iter()
            .find(|file| file.name == name)
            .map(PlannedFile::source)
    };
    let files = ImageFiles {
        name: placement.name.clone(),
        own: of("image.json").context("a new image has no image.json")?,
        app: of(APP_FILE),
    };
    let specs = load::load(defaults.as_ref(), &[files]).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        build::catalog::invalid(&problems)
    })?;
    specs.into_iter().next().context("one spec was loaded")
}

/// Writes what is not kept, unless this is a dry run, and what is rendered of the
/// spec: `render --check` looks for it.
pub(super) fn write(
    args: &NewArgs,
    host: &Host,
    planned: Vec<PlannedFile>,
    rendered: Vec<(String, String)>,
) -> Result<Vec<PlannedFile>> {
    let mut planned = planned;
    for (within, text) in rendered {
        let path = host.root.join(&within);
        let there = fs_err::read_to_string(&path).ok();
        if there.as_ref() != Some(&text) {
            planned.push(PlannedFile {
                name: within.rsplit('/').next().unwrap_or_default().to_owned(),
                shown: host.shown(&path),
                path,
                text,
                fate: if there.is_some() {
                    Fate::Overwritten
                } else {
                    Fate::Written
                },
            });
        }
    }
    for file in planned
        .iter()
        .filter(|file| file.fate != Fate::Kept && !args.dry_run)
    {
        // Half of a spec would stop every command, and this one from mending it.
        regular::replace_shared(&file.path, file.text.as_bytes())
            .with_context(|| format!("cannot write {}", file.shown))?;
    }
    Ok(planned)
}
