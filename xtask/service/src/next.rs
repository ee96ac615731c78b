//! The container that is to take the place of a service's own, with another image and
//! the same settings: made beside it, put in its place, and taken away again.

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;

use crate::findings::{self, Obstacle};
use crate::handle::ServiceHandle;
use crate::seen::{Condition, ContainerPlace, SeenContainer};
use crate::wanted::{self, ServiceOptions, WantedContainer};
use engine::Image;

/// What the health check leaves in a container that was healthy once.
const WAS_HEALTHY: &str = "/run/hive/was-healthy";

/// How a container runs: what another one in its place is given, too.
///
/// # Errors
/// When the engine does not answer, or the container is gone.
pub fn options(handle: &ServiceHandle, seen: &SeenContainer) -> Result<ServiceOptions> {
    let inspect = handle.engine.container(&handle.runner, &seen.id)?;
    let inspect = inspect.ok_or_else(|| anyhow!("container {} is no longer there", handle.name))?;
    let mut options = options_of(&inspect, seen);
    let settings = seen.wanted.iter().flatten();
    for name in settings.filter_map(|(setting, _)| wanted::secret_of(setting)) {
        let path = format!("{}/{name}", wanted::SECRETS_FOLDER);
        let container = handle.container(&seen.id);
        let text = handle
            .engine
            .read_in_container(&handle.runner, &container, &path)?;
        let text = text.with_context(|| format!("container {} has no {path}", handle.name))?;
        options.secrets.insert(name.to_owned(), text);
    }
    Ok(options)
}

/// Only what somebody has asked for: the rest of its variables is the image's.
fn options_of(inspect: &Value, seen: &SeenContainer) -> ServiceOptions {
    let mut options = ServiceOptions::default();
    if let Some(address) = seen.published {
        (options.bind, options.port) = (address.ip(), Some(address.port()));
    }
    let settings = seen.wanted.clone().unwrap_or_default();
    if settings.contains_key(wanted::METRICS) {
        options.metrics_port = seen.metrics_port;
    }
    options.archive = settings.contains_key(wanted::ARCHIVE);
    let variables = inspect.pointer("/Config/Env").and_then(Value::as_array);
    for variable in variables.into_iter().flatten().filter_map(Value::as_str) {
        if let Some((name, value)) = variable.split_once('=')
            && settings.contains_key(&wanted::setting_of(name))
        {
            options.environment.insert(name.to_owned(), value.to_owned());
        }
    }
    options
}

/// The container with these options and another image.
///
/// # Errors
/// What does not fit, all at once.
pub fn wanted(
    handle: &ServiceHandle,
    image: &Image,
    options: &ServiceOptions,
) -> Result<WantedContainer, Vec<Obstacle>> {
    let wanted = WantedContainer::of(&handle.name, image, options);
    wanted.map_err(|problems| problems.into_iter().map(Obstacle::usage).collect())
}

/// Makes the container beside the one that is there, and looks at all that is its.
/// What is in the way comes back; [`discard`] removes it.
///
/// # Errors
/// When the engine does not answer.
pub fn make(handle: &ServiceHandle, wanted: &WantedContainer, main: &SeenContainer) -> Result<Vec<Obstacle>> {
    let name = &handle.name;
    let mut found = Vec::new();
    if main.by_compose {
        found.push(
            Obstacle::usage("docker compose made its container, whose settings are its file's")
                .hint(format!("take it over first: cargo xtask up {name}")),
        );
    }
    if main.condition == Condition::Paused {
        found.push(
            Obstacle::environment(format!("container {name} is paused"))
                .hint(format!("docker unpause {name}")),
        );
    }
    found.extend(findings::data_elsewhere(handle)?);
    found.extend(findings::foreign_containers(handle)?);
    found.extend(findings::foreign_network(handle)?);
    found.extend(findings::ports(handle, wanted, Some(main))?);
    if let ContainerPlace::Foreign(_) = handle.place_of(&name.next())? {
        return Ok(found);
    }
    discard(handle)?;
    let (engine, runner) = (&handle.engine, &handle.runner);
    if engine.network(runner, &name.network())?.is_none() {
        engine.create_network(runner, &name.network(), &name.network_labels())?;
    }
    handle.make_archive(wanted)?;
    handle.create(&name.next(), wanted)?;
    found.extend(findings::volume(handle, &name.next(), wanted)?);
    Ok(found)
}

/// Removes the container that has never been in its place.
///
/// # Errors
/// When the engine does not answer.
pub fn discard(handle: &ServiceHandle) -> Result<()> {
    let next = handle.name.next();
    match handle.place_of(&next)?.own() {
        Some(_) => handle.remove(&next),
        None => Ok(()),
    }
}

/// Puts it in the place of the service's own, which stays beside it.
///
/// # Errors
/// When the engine refuses.
pub fn switch(handle: &ServiceHandle) -> Result<()> {
    let (main, next, before) = (handle.name.as_str(), handle.name.next(), handle.name.before());
    if handle.place()?.own().is_some() {
        handle.rename(main, &before)?;
    }
    handle.rename(&next, main)
}

/// Puts back the container that was there before, where it stands beside, and
/// removes the one in its place.
///
/// # Errors
/// When the engine refuses.
pub fn switch_back(handle: &ServiceHandle) -> Result<()> {
    let (main, before) = (handle.name.as_str(), handle.name.before());
    if handle.place_of(&before)?.own().is_none() {
        return Ok(());
    }
    if handle.place()?.own().is_some() {
        handle.remove(main)?;
    }
    handle.rename(&before, main)
}

/// Removes the container that was there before: there is no way back to it any more.
///
/// # Errors
/// When the engine refuses.
pub fn settle(handle: &ServiceHandle) -> Result<()> {
    let before = handle.name.before();
    match handle.place_of(&before)?.own() {
        Some(_) => handle.remove(&before),
        None => Ok(()),
    }
}

/// Whether the service's container was healthy since it was started, whatever it is
/// now: then somebody may have been served.
///
/// # Errors
/// When the engine does not answer.
pub fn was_healthy(handle: &ServiceHandle) -> Result<bool> {
    let Some(seen) = handle.place()?.own().cloned() else {
        return Ok(false);
    };
    let container = handle.container(handle.name.as_str());
    let mark = handle
        .engine
        .read_in_container(&handle.runner, &container, WAS_HEALTHY)?;
    Ok(seen.condition == Condition::Healthy || mark.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{ServiceName, WANTED_LABEL};
    use crate::sample_ids::image_id;
    use container::boot::MOUNT;
    use definition::spec::names::ImageName;
    use serde_json::json;

    #[test]
    fn another_image_gets_the_settings_of_the_container_and_nothing_of_its_image() {
        let document = json!({
            "Id": image_id("0123456789abcdef"),
            "Config": { "Labels": { "dev.hive.image": "genie" }, "ExposedPorts": { "48886/tcp": {} }, "Volumes": { MOUNT: {} } },
        });
        let image = Image::from_document(document).unwrap();
        let name = ServiceName::of(&ImageName::parse("genie").unwrap());
        let options = ServiceOptions {
            bind: "127.0.0.2".parse().unwrap(),
            port: Some(5000),
            metrics_port: Some(9187),
            archive: true,
            environment: [("TOKEN".to_owned(), "a=b".to_owned())].into(),
            secrets: [].into(),
        };
        let made = WantedContainer::of(&name, &image, &options).unwrap();
        let request = made.request();
        let inspect = json!({
            "Image": image_id("0123456789abcdef"),
            "State": { "Status": "running" },
            "Config": {
                "Labels": { WANTED_LABEL: request.pointer("/Labels/dev.hive.wanted") },
                "Env": ["TOKEN=a=b", "PATH=/bin", "HIVE_METRICS_PORT=9187"],
            },
            "HostConfig": { "PortBindings": request.pointer("/HostConfig/PortBindings") },
        });
        let seen = SeenContainer::of(&inspect).unwrap();
        assert_eq!(options_of(&inspect, &seen), options);
    }
}
