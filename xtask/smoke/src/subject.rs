//! What is to be proved: an image that the engine has, with the spec that it has to be.

use anyhow::{Context as _, Result};

use definition::identity::{ImageId, SuiteKey};
use definition::labels::IMAGE_LABEL;
use definition::reference::{OwnRepository, Reference};
use definition::spec::ImageSpec;
use engine::Engine;
use host::process::Runner;

use crate::proof::{self, previous_tag};
use crate::suite;

/// What is to be proved.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What the image has to be.
    pub spec: ImageSpec,
    /// Booted and inspected by it, whatever tags do meanwhile.
    pub image_id: ImageId,
    /// How the user or the build calls it; for reports only.
    pub reference: String,
    /// Of an app alone: the image whose database it is proved with.
    pub database: Option<Box<Subject>>,
}

impl Subject {
    /// The image whose database it is proved with, where it is an app alone.
    pub(crate) fn database_id(&self) -> Option<&ImageId> {
        self.database.as_ref().map(|database| &database.image_id)
    }

    /// The key of the gate on it.
    pub(crate) fn suite_key(&self) -> serde_json::Result<SuiteKey> {
        suite::key(&self.spec, self.database_id())
    }
}

/// An image that the engine has, with the spec that it says it was built from
/// (label `dev.hive.image`).
///
/// # Errors
/// A usage failure when the engine has no such image or no spec matches.
pub fn subject(engine: &Engine, runner: &Runner, reference: &str, specs: &[ImageSpec]) -> Result<Subject> {
    let Some(image) = engine.image(runner, reference)? else {
        return Err(failure::usage(format!("the engine has no image {reference}"))
            .hint("build it: cargo xtask build-images")
            .into());
    };
    let known: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let hint = format!("specs are: {}", known.join(", "));
    let claimed = Reference::parse(reference)
        .ok()
        .and_then(|name| claimant(&name, specs));
    let Some(label) = image.label(IMAGE_LABEL) else {
        let message =
            format!("image {reference} has no label {IMAGE_LABEL}: it is not known what it has to be");
        return Err(failure::usage(message).hint(hint).into());
    };
    let Some(spec) = specs.iter().find(|spec| spec.name.as_str() == label) else {
        let message = format!("image {reference} says it is {label:?}, and there is no such spec");
        return Err(failure::usage(message).hint(hint).into());
    };
    if let Some(own) = claimed.filter(|own| own.name != spec.name) {
        let message = format!(
            "{reference} is a name of image {}, and the image behind it says that it is {label}",
            own.name
        );
        return Err(failure::usage(message)
            .hint(format!(
                "give the name back to its image: cargo xtask build-images {}",
                own.name
            ))
            .into());
    }
    Ok(Subject {
        spec: spec.clone(),
        image_id: image.id().clone(),
        reference: reference.to_owned(),
        database: released_database(engine, runner, spec, specs)?,
    })
}

/// The released image whose database an app alone is proved with; only one that has
/// a proof itself.
fn released_database(
    engine: &Engine,
    runner: &Runner,
    spec: &ImageSpec,
    specs: &[ImageSpec],
) -> Result<Option<Box<Subject>>> {
    let Some(name) = &spec.database.elsewhere else {
        return Ok(None);
    };
    let database = specs
        .iter()
        .find(|spec| spec.name == *name)
        .with_context(|| format!("there is no spec of image {name}"))?;
    let reference = format!("{}:latest", name.repository());
    let image = engine.image(runner, &reference)?;
    let proved = match &image {
        Some(image) => proof::is_proved(&engine.inventory(runner)?, name.as_str(), image.id()),
        None => false,
    };
    let Some(image) = image.filter(|_| proved) else {
        let message = format!(
            "{} is proved with the database of image {name}, and {reference} is not there or has no proof",
            spec.name
        );
        return Err(failure::usage(message)
            .hint(format!("build and prove it: cargo xtask build-images {name}"))
            .into());
    };
    Ok(Some(Box::new(Subject {
        spec: database.clone(),
        image_id: image.id().clone(),
        reference,
        database: None,
    })))
}

/// The image that a name belongs to, whatever lies behind it.
fn claimant<'a>(name: &Reference, specs: &'a [ImageSpec]) -> Option<&'a ImageSpec> {
    let is_of = |spec: &&ImageSpec| {
        let image = spec.name.as_str();
        spec.name.repository() == name.repository()
            || spec.tags.iter().any(|tag| tag.fixed() == Some(name))
            || [OwnRepository::Unproved.tagged(image), previous_tag(image)].contains(name)
    };
    specs.iter().find(is_of)
}
