//! Whose release tags are whose: no image takes the name of another one of the
//! checkout, however it is written and whichever images a run works on.

use std::collections::BTreeMap;

use crate::app::{self, Application};
use definition::reference::{Reference, Tag};
use definition::spec::ImageSpec;
use definition::spec::load::owner;

/// The release tags of all images, with their versions filled in.
pub(super) struct Releases<'a> {
    images: &'a [ImageSpec],
    names: BTreeMap<Reference, &'a ImageSpec>,
}

/// The version in an image's tags; `None` where nothing says one.
///
/// # Errors
/// A sentence where the app's own version can be in no tag.
pub(super) fn version(spec: &ImageSpec, app: Option<&Application>) -> Result<Option<Tag>, String> {
    if spec.version.is_some()
        || !spec
            .tags
            .iter()
            .any(definition::reference::ReleaseTag::has_version)
    {
        return Ok(spec.version.clone());
    }
    let own = app.and_then(|app| app.version.as_deref());
    let own = own.map(Tag::of_version).transpose();
    own.map_err(|message| {
        format!(
            "`project.version` {message}; `version` in {} gives the tags another one",
            spec.file
        )
    })
}

impl<'a> Releases<'a> {
    /// Those of all images of a checkout. `versions` has the images that a run
    /// works on; the others are asked what their own apps say.
    pub(super) fn of(
        images: &'a [ImageSpec],
        versions: &BTreeMap<&str, Option<Tag>>,
        problems: &mut Vec<String>,
    ) -> Self {
        let mut releases = Self {
            images,
            names: BTreeMap::new(),
        };
        for image in images {
            let version = versions.get(image.name.as_str()).cloned();
            releases.add(image, version.unwrap_or_else(|| alone(image)), problems);
        }
        releases
    }

    fn add(&mut self, image: &'a ImageSpec, version: Option<Tag>, problems: &mut Vec<String>) {
        for (n, tag) in image.tags.iter().enumerate() {
            let filled = match &version {
                Some(version) => tag.fill(version),
                // Of a build's fingerprint: nobody else has that.
                None if tag.has_version() => continue,
                None => Ok(tag.example().clone()),
            };
            let mut tell = |message: String| {
                problems.push(format!("{}: `tags[{n}]` {message}", image.file));
            };
            match filled {
                Err(message) => tell(message),
                Ok(name) => {
                    if let Some(other) = self.holder(&name, image) {
                        tell(format!("is \"{name}\", which {} has too", other.file));
                    }
                    self.names.entry(name).or_insert(image);
                }
            }
        }
    }

    /// The other image that has a name, or in whose own repository it lies.
    pub(super) fn holder(&self, name: &Reference, of: &ImageSpec) -> Option<&'a ImageSpec> {
        let holder = self.names.get(name).copied();
        let holder = holder.or_else(|| owner(name, self.images));
        holder.filter(|holder| holder.name != of.name)
    }
}

/// What the app of an image that a run does not work on says. Where it cannot be
/// read, that is nothing to this run.
fn alone(spec: &ImageSpec) -> Option<Tag> {
    let app = spec.app.as_ref();
    let app = app.map(|app| app::read(&app.source, app).ok());
    version(spec, app.flatten().as_ref()).ok()?
}
