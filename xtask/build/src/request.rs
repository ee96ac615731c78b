//! Flags and specs → what is asked for, checked as a whole before any work.

mod tags;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Error, Result};

use crate::app::{self, Application};
use crate::base::Origin;
use crate::base::obtain::WantedBases;
use crate::catalog::{self, Catalog};
use crate::network::{AppSources, BuildNetwork, INDEX_ARGUMENT, PYTHON_ARGUMENT};
use definition::base::{BaseSetsLock, ChosenBase, PythonWish};
use definition::dockerfile;
use definition::reference::{Reference, Tag};
use definition::spec::ImageSpec;
use host::Host;
use inputs::fingerprint::Fingerprint;
use tags::Releases;

/// What build-images and plan share: which definitions.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Selection {
    /// Images to work on; all in `images/` where none is named
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// The application's folder, instead of the spec's
    #[arg(long, value_name = "DIR")]
    pub app: Option<PathBuf>,
    /// Base set from images/base-sets.json; without it the default that the file names
    #[arg(long, value_name = "SET")]
    pub base: Option<String>,
    /// Where the base comes from; without it the registry if it answers, else packages
    #[arg(long, value_name = "ORIGIN", value_enum)]
    pub base_from: Option<Origin>,
    /// One more tag for each image, such as `v1.2` or `registry.example/x:v1` (then name one IMAGE)
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Build everything again, without any cache
    #[arg(long)]
    pub no_cache: bool,
}

/// What one command works on.
#[derive(Debug)]
pub struct Request {
    /// The images in the catalog's order, except that apps alone come after all
    /// others; among those are the images whose databases they are proved with.
    pub jobs: Vec<ImageRequest>,
    /// A forced origin of the bases.
    pub base_from: Option<Origin>,
    /// Whether images are built without any cache, as `--no-cache` asks.
    pub no_cache: bool,
}

/// One image to be had.
#[derive(Debug)]
pub struct ImageRequest {
    /// What the image has to be.
    pub spec: ImageSpec,
    /// The application that goes into it; `None` for a database alone.
    pub app: Option<Application>,
    /// The base set that it is built on.
    pub base: ChosenBase,
    /// Its build arguments, `BASE` excluded.
    pub arguments: BTreeMap<String, String>,
    /// Its Dockerfile, rendered now: what is built is never a stale file.
    pub dockerfile: String,
    /// How its build's steps reach what they install from, with the logins that its
    /// own app wants.
    pub network: BuildNetwork,
    /// The version in its tags; the fingerprint's beginning where nothing says
    /// one.
    version: Option<Tag>,
    /// The tags of `--tag`, in full, beside those that follow from the version.
    extra_tags: Vec<Reference>,
}

impl Request {
    /// Resolves a selection.
    ///
    /// # Errors
    /// A usage error with every problem of flags, specs and apps.
    pub fn resolve(host: &Host, catalog: &Catalog, selection: &Selection) -> Result<Self> {
        let asked = catalog.select(&selection.images)?;
        own_image(selection, &asked)?;
        let specs = catalog.with_databases(&asked);
        let flag = selection.base.as_deref();
        catalog.bases.choose(flag)?;
        let mut problems = whole_tags(&selection.tags, asked.len());
        // What only an app is proved with is as its own spec says.
        let of_companions = Selection::default();
        let is_asked = |spec: &ImageSpec| asked.iter().any(|one| one.name == spec.name);
        let mut jobs: Vec<ImageRequest> = Vec::new();
        let mut versions: BTreeMap<&str, Option<Tag>> = BTreeMap::new();
        for spec in specs {
            let own = if is_asked(spec) { selection } else { &of_companions };
            let app = match application(host, own, spec) {
                Ok(app) => app,
                Err(found) => {
                    for problem in found {
                        // Several images may have one app.
                        if !problems.contains(&problem) {
                            problems.push(problem);
                        }
                    }
                    continue;
                }
            };
            let wish = PythonWish {
                spec: spec.python.as_deref(),
                requires: app.as_ref().and_then(|app| app.requires_python.as_deref()),
                developed_on: app.as_ref().and_then(|app| app.developed_on.as_deref()),
            };
            let in_project = |message: String| {
                let file = app.as_ref().map(|app| app.folder.join("pyproject.toml"));
                let place = file.map_or_else(|| spec.file.clone(), |file| host.shown(&file));
                format!("{place}: {message}")
            };
            let base = catalog
                .bases
                .choose_for(flag, spec.base.as_deref(), wish)
                .map_err(|message| {
                    let problem = in_project(message);
                    if !problems.contains(&problem) {
                        problems.push(problem);
                    }
                });
            let version = tags::version(spec, app.as_ref()).unwrap_or_else(|message| {
                problems.push(in_project(message));
                None
            });
            versions.insert(spec.name.as_str(), version.clone());
            let Ok(base) = base else { continue };
            // As `render` writes it.
            let default_base = catalog.bases.choose(spec.base.as_deref())?.1;
            let mut spec = spec.clone();
            if let (Some(of_spec), Some(app)) = (&mut spec.app, &app) {
                of_spec.name.get_or_insert_with(|| app.name.clone());
            }
            jobs.push(ImageRequest {
                dockerfile: dockerfile::render(&catalog.fragments, &spec, default_base, &catalog.lock)?,
                arguments: dockerfile::arguments(&base, &catalog.lock),
                base,
                network: BuildNetwork::default(),
                extra_tags: Vec::new(),
                spec,
                app,
                version,
            });
        }
        let releases = Releases::of(&catalog.images, &versions, &mut problems);
        for job in jobs.iter_mut().filter(|job| is_asked(&job.spec)) {
            job.extra_tags = extra_tags(&job.spec, &selection.tags, &releases, &mut problems);
        }
        if !problems.is_empty() {
            return Err(catalog::invalid(&problems));
        }
        for job in &mut jobs {
            job.take_network(host)?;
        }
        Ok(Self {
            jobs,
            base_from: selection.base_from,
            no_cache: selection.no_cache,
        })
    }
}

impl Request {
    /// What of this machine's logins must be shown nowhere.
    pub fn logins(&self) -> Vec<String> {
        let all = self.jobs.iter().flat_map(|job| job.network.logins.clone());
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The bases of all images, of which `lock` has the digests.
    pub fn bases<'a>(&'a self, lock: &'a BaseSetsLock) -> WantedBases<'a> {
        WantedBases {
            chosen: self.jobs.iter().map(|job| &job.base).collect(),
            lock,
            from: self.base_from,
        }
    }
}

impl ImageRequest {
    /// See [`Application::installed_from`].
    pub fn installed_from(&self) -> Option<String> {
        self.app.as_ref().and_then(Application::installed_from)
    }

    /// Its release tags. Without a version of the spec's or the app's they have
    /// the beginning of the fingerprint, as far as that is known.
    ///
    /// # Errors
    /// When the fingerprint makes a tag too long.
    pub fn tags(&self, fingerprint: Option<Fingerprint>) -> Result<Vec<Reference>> {
        let fallback = || fingerprint.map_or_else(|| "unversioned".to_owned(), |known| known.short());
        let version = match &self.version {
            Some(version) => version.clone(),
            None => Tag::parse(&fallback()).map_err(Error::msg)?,
        };
        let mut tags: Vec<Reference> = Vec::new();
        for tag in &self.spec.tags {
            tags.push(tag.fill(&version).map_err(failure::usage)?);
        }
        tags.extend(self.extra_tags.iter().cloned());
        let mut seen = BTreeSet::new();
        tags.retain(|tag| seen.insert(tag.clone()));
        Ok(tags)
    }

    /// Which lock of the front end counts, where there are several.
    pub fn two_locks(&self) -> Option<String> {
        let folder = &self.app.as_ref()?.folder;
        app::front_end::two_locks(folder, self.spec.build.node.as_ref()?)
    }

    /// Takes the machine's network settings, and the arguments that say which they are.
    fn take_network(&mut self, host: &Host) -> Result<()> {
        let folder = self.app.as_ref().map(|app| app.folder.as_path());
        let front_end = self.spec.build.node.as_ref();
        let front_end = front_end.and_then(|node| Some(folder?.join(&node.folder)));
        let lists = self.app.as_ref().map(Application::lists).unwrap_or_default();
        let sources = self.app.as_ref().map(|app| AppSources {
            folder: &app.folder,
            lists: &lists,
            by_ssh: &app.git_by_ssh,
            is_open: app.is_open(),
        });
        self.network = BuildNetwork::of(
            host,
            sources.as_ref(),
            front_end.as_deref(),
            self.base.python.is_some(),
        )?;
        let of_network = [
            (INDEX_ARGUMENT, &self.network.indexes),
            (PYTHON_ARGUMENT, &self.network.python),
        ];
        for (name, hash) in of_network {
            if let Some(hash) = hash {
                self.arguments.insert(name.to_owned(), hash.clone());
            }
        }
        Ok(())
    }
}

/// The application of an image; `None` for a database alone.
fn application(
    host: &Host,
    selection: &Selection,
    spec: &ImageSpec,
) -> Result<Option<Application>, Vec<String>> {
    let Some(of_spec) = &spec.app else {
        return match &selection.app {
            Some(_) => Err(vec![format!(
                "--app: {} says that its image has no app",
                spec.file
            )]),
            None => Ok(None),
        };
    };
    let folder = match &selection.app {
        Some(folder) => std::path::absolute(folder).map_err(|error| vec![format!("--app: {error}")])?,
        None => of_spec.source.clone(),
    };
    let located = |problem: &String| match &selection.app {
        Some(_) => format!("--app: {problem}"),
        None => format!("{}: `app.source` {problem}", spec.file),
    };
    let app = app::read(&folder, of_spec).map_err(|found| found.iter().map(located).collect::<Vec<_>>())?;
    let mut problems = Vec::new();
    problems.extend(app::entry::problem(host, spec, of_spec, &folder));
    if let Some(node) = &spec.build.node {
        problems.extend(app::front_end::problems(&folder, node));
    }
    if problems.is_empty() {
        Ok(Some(app))
    } else {
        Err(problems)
    }
}

/// An app of one's own is an image of its own: one that several images would
/// take over by chance has to be given to one by name.
fn own_image(selection: &Selection, specs: &[&ImageSpec]) -> Result<()> {
    if selection.app.is_none() || !selection.images.is_empty() || specs.len() == 1 {
        return Ok(());
    }
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    Err(failure::usage(format!(
        "--app: name the IMAGE that is to hold this app; there are {}",
        names.join(", ")
    ))
    .hint("an app of its own is an image of its own: images/NAME/image.json has its names, port and database")
    .hint("cargo xtask build-images NAME --app DIR")
    .into())
}

/// `v1` is a tag of the image's own repository, anything with `:` or `/` a
/// whole reference.
fn is_whole(tag: &str) -> bool {
    tag.contains([':', '/'])
}

/// What is wrong with whole references, whichever image they are for.
fn whole_tags(tags: &[String], images: usize) -> Vec<String> {
    let mut problems = Vec::new();
    for tag in tags.iter().filter(|tag| is_whole(tag)) {
        if let Err(message) = Reference::of_release(tag) {
            problems.push(format!("--tag: {message}"));
        }
        if images > 1 {
            problems.push(format!(
                "--tag: {tag:?} cannot name {images} images at once: name one IMAGE, or give the tag alone"
            ));
        }
    }
    problems
}

/// The names that `--tag` gives to an image.
fn extra_tags(
    spec: &ImageSpec,
    tags: &[String],
    releases: &Releases<'_>,
    problems: &mut Vec<String>,
) -> Vec<Reference> {
    let mut tell = |message: String| {
        let problem = format!("--tag: {message}");
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    };
    let mut names = Vec::new();
    for tag in tags {
        let name = if is_whole(tag) {
            Reference::of_release(tag)
        } else {
            Tag::parse(tag).and_then(|_| Reference::of_release(&format!("{}:{tag}", spec.name.repository())))
        };
        match name {
            Ok(name) => match releases.holder(&name, spec) {
                Some(other) => tell(format!(
                    "{tag:?} is a name of image {}: {}",
                    other.name, other.file
                )),
                None => names.push(name),
            },
            Err(message) => tell(message),
        }
    }
    names
}
