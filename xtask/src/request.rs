//! Flags and specs → what is asked for, checked as a whole before any work.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use crate::app::{self, Application};
use crate::base::{BaseSet, Origin};
use crate::catalog::{self, Catalog};
use crate::cli::Selection;
use crate::dockerfile;
use crate::host::Host;
use crate::spec::ImageSpec;
use crate::spec::names::{check_reference, version_tag};

/// What one command works on.
#[derive(Debug)]
pub struct Request {
    /// The images, in the catalog's order.
    pub jobs: Vec<Job>,
    /// The base set's name.
    pub base_name: String,
    /// The base set.
    pub base_set: BaseSet,
    /// A forced origin of the base.
    pub base_from: Option<Origin>,
    /// Build arguments of all images, `BASE` excluded.
    pub arguments: BTreeMap<String, String>,
    /// `--no-cache`.
    pub no_cache: bool,
}

/// One image to be had.
#[derive(Debug)]
pub struct Job {
    /// Its spec.
    pub spec: ImageSpec,
    /// Its application.
    pub app: Application,
    /// Its Dockerfile, rendered now: what is built is never a stale file.
    pub dockerfile: String,
    /// Tags of `--tag`, complete.
    extra_tags: Vec<String>,
}

impl Request {
    /// Resolves a selection.
    ///
    /// # Errors
    /// A usage error with every problem of flags, specs and apps.
    pub fn resolve(host: &Host, catalog: &Catalog, selection: &Selection) -> Result<Self> {
        let specs = catalog.select(&selection.images)?;
        let (base_name, base_set) = catalog.bases.choose(selection.base.as_deref())?;
        let mut problems = tag_problems(selection, specs.len());
        let mut jobs = Vec::new();
        for spec in specs {
            let folder = selection
                .app
                .clone()
                .map_or_else(|| Ok(spec.app.source.clone()), absolute)?;
            let app = match app::read(&folder) {
                Ok(app) => app,
                Err(found) => {
                    for problem in found
                        .into_iter()
                        .map(|problem| located(spec, selection, &problem))
                    {
                        if !problems.contains(&problem) {
                            problems.push(problem);
                        }
                    }
                    continue;
                }
            };
            if let Some(requires) = &app.requires_python
                && let Err(message) = catalog.bases.check_python(base_name, requires)
            {
                let problem = format!("{}: {message}", host.shown(&folder.join("pyproject.toml")));
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
            let default_base = catalog.bases.choose(None)?.1;
            jobs.push(Job {
                dockerfile: dockerfile::render(&catalog.fragments, spec, default_base, &catalog.lock)?,
                extra_tags: extra_tags(spec, &selection.tags),
                spec: spec.clone(),
                app,
            });
        }
        if !problems.is_empty() {
            return Err(catalog::invalid(&problems));
        }
        Ok(Self {
            jobs,
            base_name: base_name.to_owned(),
            base_set: base_set.clone(),
            base_from: selection.base_from,
            arguments: dockerfile::arguments(base_set, &catalog.lock),
            no_cache: selection.no_cache,
        })
    }
}

impl Job {
    /// Its release tags. `fallback` is the version where neither spec nor app
    /// has one.
    pub fn tags(&self, fallback: &str) -> Vec<String> {
        let version = self
            .spec
            .version
            .as_deref()
            .or(self.app.version.as_deref())
            .unwrap_or(fallback);
        let mut tags = self.spec.release_tags(&version_tag(version));
        for tag in &self.extra_tags {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        tags
    }
}

fn absolute(folder: PathBuf) -> Result<PathBuf> {
    Ok(std::path::absolute(folder)?)
}

fn located(spec: &ImageSpec, selection: &Selection, problem: &str) -> String {
    match &selection.app {
        Some(_) => format!("--app: {problem}"),
        None => format!("{}: `app.source` {problem}", spec.file),
    }
}

/// `v1` is a tag of the image's own repository, anything with `:` or `/` a
/// whole reference.
fn is_reference(tag: &str) -> bool {
    tag.contains([':', '/'])
}

fn extra_tags(spec: &ImageSpec, tags: &[String]) -> Vec<String> {
    let whole = |tag: &String| {
        if is_reference(tag) {
            tag.clone()
        } else {
            format!("{}:{tag}", spec.name.repository())
        }
    };
    tags.iter().map(whole).collect()
}

fn tag_problems(selection: &Selection, images: usize) -> Vec<String> {
    let mut problems = Vec::new();
    for tag in &selection.tags {
        let whole = if is_reference(tag) {
            tag.clone()
        } else {
            format!("x:{tag}")
        };
        if let Err(message) = check_reference(&whole) {
            problems.push(format!("--tag: {message}"));
        }
        if is_reference(tag) && images > 1 {
            problems.push(format!(
                "--tag: {tag:?} cannot name {images} images at once: name one IMAGE, or give the tag alone"
            ));
        }
    }
    problems
}
