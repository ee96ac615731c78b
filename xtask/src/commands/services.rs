//! What the verbs for images that run have in common: which services, on which
//! engine.

use anyhow::Result;

use crate::cli::service::ServiceSelection;
use ::engine::{Engine, Inventory, choose};
use ::service::handle::ServiceHandle;
use build::catalog::{Apps, Catalog};
use definition::identity::ImageId;
use definition::reference::Reference;
use definition::spec::ImageSpec;
use host::Host;

/// The specs that are meant, in the catalog's order.
pub(super) fn specs(host: &Host, names: &[String]) -> Result<Vec<ImageSpec>> {
    let catalog = Catalog::read(&host.root, Apps::OfSpecs)?;
    Ok(catalog.select(names)?.into_iter().cloned().collect())
}

/// The engine that runs; none is started for a question.
pub(super) fn running_engine(host: &Host, selection: &ServiceSelection) -> Result<Engine> {
    match choose::find(host, selection.engine.engine)? {
        Some(engine) => Ok(engine),
        None => Err(failure::environment("no engine runs, and so no service")
            .hint("start the services, and the engine with them: cargo xtask up")
            .into()),
    }
}

/// The handle of a spec's service.
pub(super) fn handle(host: &Host, engine: &Engine, spec: &ImageSpec) -> ServiceHandle {
    ServiceHandle::of(&spec.name, engine, &host.runner)
}

/// The image that `up` starts where no other one is named.
pub(super) fn release(spec: &ImageSpec) -> String {
    format!("{}:latest", spec.name.repository())
}

/// The ID of that image.
pub(super) fn released<'a>(inventory: &'a Inventory, spec: &ImageSpec) -> Option<&'a ImageId> {
    inventory.id_of(&Reference::parse(&release(spec)).ok()?)
}
