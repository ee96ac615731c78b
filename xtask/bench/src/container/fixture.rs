//! What the rows share: our images, built from a copy of the checkout, and the
//! peers, built on the same base with the same app.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use anyhow::{Context as _, Error, Result};
use serde_json::Value;

use super::super::row::Measured;
use super::super::{Bench, bake_options};
use build::buildkit::progress::{Detail, Progress};
use build::buildkit::{self, Access, Target};
use build::catalog::{Apps, Catalog};
use definition::reference::{OwnRepository, Reference};
use definition::spec::{App, ImageSpec};
use engine::container::RunResources;
use engine::reaper;
use host::Host;
use smoke::Subject;
use smoke::fixture::Fixture;
use xtask::scratch::Scratch;

/// How the table calls our image.
pub(crate) const OURS: &str = "this image";
/// The peer that `docker/bench/documents.Dockerfile` describes.
pub(crate) const DOCUMENTS: &str = "the documents' image";
/// The peer that `docker/bench/official.Dockerfile` describes.
pub(crate) const OFFICIAL: &str = "official style";

/// The peer that `docker/bench/workspace.Dockerfile` describes.
pub(crate) const WORKSPACE: &str = "the documents' image without PostgreSQL";

/// What the rows share. Its images go with it.
#[derive(Debug)]
pub(crate) struct ImagesFixture {
    pub(super) scratch: Scratch,
    pub(super) resources: RunResources,
    /// Our images, proved. The first one is measured.
    pub(super) ours: Vec<Subject>,
    base: String,
    documents: OnceCell<Subject>,
    official: OnceCell<Subject>,
    workspace: OnceCell<Subject>,
}

impl ImagesFixture {
    /// Builds and proves our images.
    pub(super) fn open(bench: &Bench<'_>) -> Result<Self> {
        let host = bench.host;
        let engine = bench.engine()?.clone();
        let (scratch, document) = bench.proved("container")?;
        let base = Scratch::base_in(&document)?;
        let ours = Catalog::read(&scratch.root, Apps::OfSpecs)?
            .images
            .into_iter()
            .map(|spec| subject(spec, &document))
            .collect::<Result<Vec<_>>>()?;
        let ours = ours.iter().map(|one| with_database(one, &ours)).collect();
        Ok(Self {
            resources: RunResources {
                engine,
                runner: host.runner.clone(),
                run: reaper::run_id()?,
                keep: false,
            },
            scratch,
            ours,
            base: base.to_owned(),
            documents: OnceCell::new(),
            official: OnceCell::new(),
            workspace: OnceCell::new(),
        })
    }

    /// The image that is measured.
    pub(super) fn image(&self) -> Result<&Subject> {
        self.ours.first().context("the checkout has no image")
    }

    /// The image as the documents ask for it.
    pub(super) fn documents(&self, bench: &Bench<'_>) -> Result<&Subject> {
        self.peer(bench, &self.documents, "documents")
    }

    /// The image of an app alone as the documents ask for it.
    pub(super) fn workspace(&self, bench: &Bench<'_>) -> Result<&Subject> {
        self.peer(bench, &self.workspace, "workspace")
    }

    /// The image as one puts it together from official ones.
    pub(super) fn official(&self, bench: &Bench<'_>) -> Result<&Subject> {
        self.peer(bench, &self.official, "official")
    }

    /// Containers and volumes of an image, gone when this is dropped.
    pub(super) fn stage<'a>(&'a self, subject: &'a Subject) -> Fixture<'a> {
        let prefix = smoke::container_prefix(subject.spec.name.as_str(), &self.resources.run);
        Fixture::new(&self.resources, subject, prefix)
    }

    /// The same of our image and of the official style, in turns, each on a
    /// stage of its own. A first turn that fills the caches is not counted.
    pub(super) fn beside_official(
        &self,
        bench: &Bench<'_>,
        sample: fn(&Fixture<'_>) -> Result<f64>,
    ) -> Result<Measured> {
        let both = [self.image()?, self.official(bench)?];
        let mut samples = [Vec::new(), Vec::new()];
        for turn in 0..=bench.runs {
            for (subject, samples) in both.iter().zip(&mut samples) {
                bench.host.runner.check_interrupt()?;
                let value =
                    sample(&self.stage(subject)).with_context(|| format!("measure {}", subject.reference))?;
                if turn > 0 {
                    samples.push(value);
                }
            }
        }
        let [ours, official] = samples;
        Ok(Measured::new(OURS, ours).peer(OFFICIAL, official))
    }

    fn peer<'a>(
        &self,
        bench: &Bench<'_>,
        cell: &'a OnceCell<Subject>,
        name: &'static str,
    ) -> Result<&'a Subject> {
        if let Some(built) = cell.get() {
            return Ok(built);
        }
        bench.host.report.detail(format!("builds the peer {name}"));
        let built = self.build(bench.host, name)?;
        Ok(cell.get_or_init(|| built))
    }

    fn build(&self, host: &Host, name: &'static str) -> Result<Subject> {
        let spec = &self.image()?.spec;
        let app = app_of(spec)?;
        let root = &self.scratch.root;
        let catalog = Catalog::read(root, Apps::OfSpecs)?;
        let (_, set) = catalog.bases.choose(None)?;
        let args = [
            ("BASE", self.base.clone()),
            ("PG_MAJOR", set.postgres.major.to_string()),
            ("PORT", app.port.to_string()),
            ("DATABASE", spec.database.name.clone()),
            ("ROLE", spec.database.role.clone()),
        ];
        let target = Target {
            image: name.to_owned(),
            fingerprint: format!("bench-{name}"),
            candidate_tag: peer_tag(name).to_string(),
            dockerfile: fs_err::read_to_string(root.join(format!("docker/bench/{name}.Dockerfile")))?,
            stage: name.to_owned(),
            context: app.source.clone(),
            contexts: BTreeMap::new(),
            args: args.map(|(key, value)| (key.to_owned(), value)).into(),
            access: Access::default(),
        };
        let options = bake_options(host);
        let mut progress = Progress::new(Detail::Quiet, &[name], &self.scratch.state)?;
        let (engine, runner) = (&self.resources.engine, &self.resources.runner);
        let built = buildkit::bake(engine, runner, &host.report, &[target], &options, &mut progress)?;
        let built = built.first().context("the build made no image")?;
        Ok(Subject {
            spec: spec.clone(),
            image_id: built.id.clone(),
            reference: name.to_owned(),
            database: None,
        })
    }
}

impl Drop for ImagesFixture {
    fn drop(&mut self) {
        let runner = self.resources.runner.for_cleanup();
        let peers = [&self.documents, &self.official, &self.workspace];
        for subject in peers.into_iter().filter_map(OnceCell::get) {
            // Where the engine is gone, its images are nobody's trouble.
            self.resources
                .engine
                .untag(&runner, &peer_tag(&subject.reference))
                .ok();
        }
    }
}

fn peer_tag(name: &str) -> Reference {
    OwnRepository::Bench.tagged(name)
}

/// An image of `build-images --json` with its spec.
fn subject(spec: ImageSpec, document: &Value) -> Result<Subject> {
    let images = document.get("images").and_then(Value::as_array);
    let id = images
        .into_iter()
        .flatten()
        .find(|image| image.get("name").and_then(Value::as_str) == Some(spec.name.as_str()))
        .and_then(|image| image.get("image_id")?.as_str())
        .with_context(|| format!("`build-images --json` has no image {}", spec.name))?;
    Ok(Subject {
        image_id: id.parse().map_err(Error::msg)?,
        reference: spec.name.to_string(),
        spec,
        database: None,
    })
}

/// The same, where it is an app alone with the image that its spec names.
fn with_database(one: &Subject, all: &[Subject]) -> Subject {
    let elsewhere = one.spec.database.elsewhere.as_ref();
    let database = all.iter().find(|other| Some(&other.spec.name) == elsewhere);
    Subject {
        database: database.cloned().map(Box::new),
        ..one.clone()
    }
}

/// The peers of these figures hold an app.
pub(super) fn app_of(spec: &ImageSpec) -> Result<&App> {
    let app = spec.app.as_ref();
    app.with_context(|| format!("{} is a database alone, and has no peer here", spec.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_was_not_built_is_told() {
        let spec = crate::sample::spec();
        let id = format!("sha256:{:064}", 1);
        let document = serde_json::json!({"images": [{"name": "genie", "image_id": id}]});
        assert_eq!(subject(spec.clone(), &document).unwrap().image_id.as_str(), id);
        let none = serde_json::json!({"images": []});
        let error = subject(spec, &none).unwrap_err();
        assert_eq!(error.to_string(), "`build-images --json` has no image genie");
    }
}
