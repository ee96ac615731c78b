//! The pure part: what an image is, and what has to happen to it. No I/O.
//!
//! [`Definition`] is everything that decides an image's bytes, as one value
//! (SLSA's *build definition*); its fingerprint names the image.

// `sample` names this crate as others do.
#[cfg(test)]
extern crate self as definition;

pub mod base;
pub mod dockerfile;
pub mod identity;
pub mod labels;
pub mod plan;
pub mod reference;
#[cfg(test)]
mod sample;
pub mod spec;
pub mod step;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use identity::Platform;
use inputs::context::Inputs;
use inputs::fingerprint::Fingerprint;
use inputs::fingerprint::encoding;

/// A change of what the fields mean takes a new number: every image that was
/// ever built is then built again.
pub const SCHEMA: u32 = 4;

/// What an image is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The whole text of the Dockerfile, as BuildKit gets it.
    pub dockerfile: String,
    /// The stage that is the image.
    pub target: String,
    /// Build arguments, `BASE` excluded: the base's content counts, not the
    /// name that a machine has for it.
    pub arguments: BTreeMap<String, String>,
    /// What the image is built for, such as `linux/amd64`.
    pub platform: Platform,
    /// The base's content, as `Base::identity` of the crate `build` says it.
    pub base: String,
    /// Context name → all its files. The main one has the empty name.
    pub contexts: BTreeMap<String, Inputs>,
}

impl Definition {
    /// SHA-256 over the framed definition.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint_under(SCHEMA)
    }

    /// What the fingerprint would be under another schema, for the audit.
    pub fn fingerprint_under(&self, schema: u32) -> Fingerprint {
        // No `..`: a field that is new has to be looked at here.
        let Self {
            dockerfile,
            target,
            arguments,
            platform,
            base,
            contexts,
        } = self;
        encoding::fingerprint("image", schema, |frame| {
            frame.field("dockerfile", dockerfile);
            frame.field("target", target);
            frame.map("arguments", arguments);
            frame.field("platform", platform.as_str());
            frame.field("base", base);
            frame.frames("contexts", contexts.iter(), |frame, (name, inputs)| {
                frame.field("name", name);
                frame.field("digest", inputs.digest().0);
            });
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::sample;

    #[test]
    fn every_field_counts() {
        let whole = sample().fingerprint();
        let changes: [fn(&mut Definition); 8] = [
            |d| d.dockerfile.push('#'),
            |d| d.target.push('x'),
            |d| d.arguments.clear(),
            |d| d.platform = "linux/s390x".parse().unwrap(),
            |d| d.base.push('x'),
            |d| drop(d.contexts.remove("rootfs")),
            |d| drop(d.contexts.get_mut("").and_then(|inputs| inputs.pop())),
            |d| {
                let rootfs = d.contexts.remove("rootfs").unwrap();
                d.contexts.insert("other".to_owned(), rootfs);
            },
        ];
        for (n, change) in changes.iter().enumerate() {
            let mut other = sample();
            change(&mut other);
            assert_ne!(other.fingerprint(), whole, "change {n}");
        }
        assert_eq!(sample().fingerprint(), whole);
    }

    /// A change of these digits rebuilds every image that was ever built: raise
    /// [`SCHEMA`] with it, and say so in the changelog.
    #[test]
    fn golden() {
        assert_eq!(
            sample().fingerprint().to_string(),
            "4352318de082016eb8983f5f86f9147bf24b282fd64575db2be5443c688e59bb"
        );
    }
}
