//! Gets a base into the engine: from a registry if it answers, else from the
//! distribution's packages.
//!
//! The tag `hive-base:<set>` names the base in use. Once there it stays until
//! somebody asks for another one: a run without a network gets the same base,
//! and a registry that is there on some days does not rebuild everything.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::bootstrap::{self, Recipe};
use super::{Base, Origin};
use definition::base::{BaseSet, BaseSetsLock, ChosenBase};
use engine::{Engine, Image};

use definition::reference::{OwnRepository, Reference};
use host::Host;
use inputs::hex;

/// The bases that an engine has, by the names of their sets.
pub type ObtainedBases = BTreeMap<String, Base>;

/// The base that is wanted, and where it may come from.
#[derive(Clone, Copy, Debug)]
pub struct WantedBase<'a> {
    /// The name of the base set.
    pub name: &'a str,
    /// What the base is made of.
    pub set: &'a BaseSet,
    /// The digests that registry images are pinned to.
    pub lock: &'a BaseSetsLock,
    /// Where it has to come from; `None` tries a registry first.
    pub from: Option<Origin>,
}

impl WantedBase<'_> {
    fn tag(&self) -> Reference {
        OwnRepository::Base.tagged(self.name)
    }

    /// Whether a base that is there is the one that is wanted.
    fn accepts(&self, image: &Image) -> bool {
        let origin = origin(image);
        if self.from.is_some_and(|from| from != origin) {
            return false;
        }
        match self.lock.images.get(&self.set.image) {
            Some(digest) if origin == Origin::Registry => image
                .digests()
                .iter()
                .any(|known| known.ends_with(digest.as_str())),
            _ => true,
        }
    }
}

/// What several images are built on.
#[derive(Clone, Debug)]
pub struct WantedBases<'a> {
    /// The base set of each image.
    pub chosen: Vec<&'a ChosenBase>,
    /// The digests that registry images are pinned to.
    pub lock: &'a BaseSetsLock,
    /// Where they have to come from; `None` tries a registry first.
    pub from: Option<Origin>,
}

impl<'a> WantedBases<'a> {
    /// Each set once.
    fn each(self) -> impl Iterator<Item = WantedBase<'a>> {
        let sets: BTreeMap<_, _> = self.chosen.iter().map(|base| (&base.name, &base.set)).collect();
        sets.into_iter().map(move |(name, set)| WantedBase {
            name,
            set,
            lock: self.lock,
            from: self.from,
        })
    }
}

/// Those of the bases that the engine has; asks nobody else.
///
/// # Errors
/// When the engine does not answer.
pub fn all_known(host: &Host, engine: &Engine, wanted: WantedBases<'_>) -> Result<ObtainedBases> {
    let mut bases = ObtainedBases::new();
    for wanted in wanted.each() {
        let known = known(host, engine, wanted)?;
        bases.extend(known.map(|base| (wanted.name.to_owned(), base)));
    }
    Ok(bases)
}

/// All of the bases, pulled or bootstrapped where the engine lacks one.
///
/// # Errors
/// An environment error when neither way works.
pub fn get_all(host: &Host, engine: &Engine, wanted: WantedBases<'_>) -> Result<ObtainedBases> {
    let got = |wanted: WantedBase<'_>| Ok((wanted.name.to_owned(), get(host, engine, wanted)?));
    wanted.each().map(got).collect()
}

/// The base, if the engine has it; asks nobody else.
///
/// # Errors
/// When the engine does not answer.
pub fn known(host: &Host, engine: &Engine, wanted: WantedBase<'_>) -> Result<Option<Base>> {
    let image = engine.image(&host.runner, &wanted.tag().to_string())?;
    match image.filter(|image| wanted.accepts(image)) {
        Some(image) => Ok(Some(base(host, engine, wanted.name, &image)?)),
        None => Ok(None),
    }
}

/// The base, pulled or bootstrapped where the engine does not have it.
///
/// # Errors
/// An environment error when neither way works.
pub fn get(host: &Host, engine: &Engine, wanted: WantedBase<'_>) -> Result<Base> {
    match known(host, engine, wanted)? {
        Some(base) => Ok(base),
        None => make(host, engine, wanted, false),
    }
}

/// The base, from registry or packages although the engine has one; `again`
/// with the packages of today instead of an archive of an earlier day.
///
/// # Errors
/// An environment error when neither way works.
pub fn make(host: &Host, engine: &Engine, wanted: WantedBase<'_>, again: bool) -> Result<Base> {
    let reference = match wanted.from {
        Some(Origin::Registry) => pull(host, engine, wanted)?,
        Some(Origin::Packages) => bootstrapped(host, engine, wanted, again)?,
        None => match pull(host, engine, wanted) {
            Ok(reference) => reference,
            Err(error) => {
                host.runner.check_interrupt()?;
                let why = format!("{error:#}");
                let last = why.lines().last().unwrap_or_default().trim().to_owned();
                host.report
                    .detail(format!("no registry has it ({last}): it is made from packages"));
                bootstrapped(host, engine, wanted, again)?
            }
        },
    };
    let Some(image) = engine.image(&host.runner, &reference)? else {
        bail!(failure::build(format!(
            "the engine has no image {reference} right after it was made"
        )));
    };
    engine.tag(&host.runner, image.id().as_str(), &wanted.tag())?;
    base(host, engine, wanted.name, &image)
}

fn pull(host: &Host, engine: &Engine, wanted: WantedBase<'_>) -> Result<String> {
    let reference = wanted.lock.pinned(&wanted.set.image);
    host.report
        .step("base", format!("{}: pull {reference}", wanted.name));
    engine.pull(&host.runner, &reference).map_err(|error| {
        error.context(
            failure::environment(format!("cannot pull {reference}"))
                .hint("`--base-from packages` makes the base from the distribution's packages instead"),
        )
    })?;
    Ok(reference)
}

fn bootstrapped(host: &Host, engine: &Engine, wanted: WantedBase<'_>, again: bool) -> Result<String> {
    let recipe = Recipe {
        set: wanted.name,
        distribution: wanted.set.distribution,
        suite: &wanted.set.suite,
        packages: &[],
    };
    let base = bootstrap::base(recipe, &host.cache_dir(), again, host)?;
    engine.load(&host.runner, &base.archive)?;
    Ok(base.reference)
}

/// Names the base by its content, so that the reference that a build sees
/// cannot move under it.
fn base(host: &Host, engine: &Engine, name: &str, image: &Image) -> Result<Base> {
    let digest = content_digest(image);
    let short = digest.get(..16).unwrap_or(&digest);
    let tag = OwnRepository::Base.tagged(format_args!("{name}-{short}"));
    let reference = tag.to_string();
    if !image.tags().contains(&reference.as_str()) {
        engine.tag(&host.runner, image.id().as_str(), &tag)?;
    }
    Ok(Base {
        set: name.to_owned(),
        reference,
        identity: identity(image),
        origin: origin(image),
    })
}

/// What a base is to a fingerprint: `content:sha256:…`, the same in every
/// engine and image store, where the ID is not.
pub fn identity(image: &Image) -> String {
    format!("content:sha256:{}", content_digest(image))
}

/// Only an image that met a registry has digests there.
fn origin(image: &Image) -> Origin {
    let met = image
        .digests()
        .iter()
        .any(|digest| !digest.starts_with("hive-base@"));
    if met { Origin::Registry } else { Origin::Packages }
}

/// What `FROM` inherits of a configuration. The rest says nothing, or what one
/// engine notes and another one does not.
const INHERITED: [&str; 13] = [
    "Env",
    "User",
    "WorkingDir",
    "Shell",
    "OnBuild",
    "Entrypoint",
    "Cmd",
    "Healthcheck",
    "StopSignal",
    "StopTimeout",
    "ExposedPorts",
    "Volumes",
    "Labels",
];

/// Over what a build takes from its base: the digests of the uncompressed
/// layers and the settings that it inherits.
fn content_digest(image: &Image) -> String {
    let mut hash = Sha256::new();
    let mut add = |kind: &str, value: &str| hash.update(format!("{kind} {}\n{value}\n", value.len()));
    for layer in image.layers() {
        add("layer", layer);
    }
    for name in INHERITED {
        if let Some(value) = image.setting(name).filter(|value| says_something(name, value)) {
            add(name, &sorted(value).to_string());
        }
    }
    hex::digits(&hash.finalize())
}

/// Engines write what is not set as `null`, as empty, or not at all.
fn says_something(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => !text.is_empty() && (name, text.as_str()) != ("WorkingDir", "/"),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// With the keys of each object in their order: that of engines differs.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let map: BTreeMap<&String, Value> = map.iter().map(|(key, value)| (key, sorted(value))).collect();
            map.into_iter().map(|(key, value)| (key.clone(), value)).collect()
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn image(config: Value) -> Image {
        let id = format!("sha256:{:064}", 1);
        let document = json!({"Id": id, "RootFS": {"Layers": ["sha256:aa"]}, "Config": config});
        Image::from_document(document).unwrap()
    }

    #[test]
    fn every_setting_that_is_inherited_counts() {
        let bare = identity(&image(json!({})));
        let mut seen = vec![bare.clone()];
        for (name, value) in [
            ("Env", json!(["A=1"])),
            ("User", json!("nobody")),
            ("WorkingDir", json!("/srv")),
            ("Shell", json!(["/bin/sh"])),
            ("OnBuild", json!(["/bin/sh"])),
            ("Entrypoint", json!(["/bin/sh"])),
            ("Cmd", json!(["/bin/sh"])),
            ("Healthcheck", json!({"Test": ["NONE"]})),
            ("StopSignal", json!("SIGINT")),
            ("StopTimeout", json!(3)),
            ("ExposedPorts", json!({"80/tcp": {}})),
            ("Volumes", json!({"/srv": {}})),
            ("Labels", json!({"a": "b"})),
        ] {
            assert!(INHERITED.contains(&name));
            seen.push(identity(&image(json!({name: value}))));
        }
        assert_eq!(seen.len(), INHERITED.len() + 1);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), INHERITED.len() + 1, "two of them are the same");
        for nothing in [
            json!({"User": "", "Cmd": null, "Labels": {}, "OnBuild": [], "WorkingDir": "/"}),
            json!({"Hostname": "abc", "Image": "sha256:bb", "AttachStdout": false}),
        ] {
            assert_eq!(identity(&image(nothing)), bare);
        }
        assert_eq!(
            identity(&image(json!({"Labels": {"a": "1", "b": "2"}}))),
            identity(&image(json!({"Labels": {"b": "2", "a": "1"}})))
        );
    }
}
