//! Names of images as engines read them, parsed once: two texts that mean the
//! same name are equal.
//!
//! The grammar and what is filled in are those of the engine's own parser
//! (github.com/distribution/reference): without a registry's host the public
//! one is meant, without a path there its folder `library/`, without a tag
//! `latest`. Engines list the short form without all of these, and so does
//! [`Reference`].

use std::fmt;

use serde::{Serialize, Serializer};

/// The registry that is meant where none is named, and its older name.
const DEFAULT_HOSTS: [&str; 2] = ["docker.io", "index.docker.io"];

/// Where the default registry keeps images without a path.
const OFFICIAL: &str = "library/";

/// The tag that is meant where none is named.
const DEFAULT_TAG: &str = "latest";

/// Longest repository with its registry, in bytes.
const LONGEST_REPOSITORY: usize = 255;

/// What stands for the version in a [`ReleaseTag`].
const VERSION: &str = "{version}";

/// A repository and a tag, in the short form in which engines list them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    repository: String,
    tag: Tag,
}

/// The part of a reference after its last colon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// A tag that a spec asks for, such as `hive-genie:{version}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseTag {
    text: String,
    example: Reference,
}

/// A repository that the tool keeps its own books in. No release tag may lie in
/// one: `hive-proof:…` is a proof, and `hive-base:debian` is what all is built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnRepository {
    /// Copies of a base that `audit` tries things on.
    AuditBase,
    /// What images are built on.
    Base,
    /// Images that `bench` measures ours beside.
    Bench,
    /// Images that are built and not proved yet.
    Candidate,
    /// What ran before the last update of its service.
    Kept,
    /// What had the release tags before.
    Previous,
    /// Images that passed the gate: the tag is the proof.
    Proof,
    /// Passes of the full suite.
    ProofFull,
    /// The last candidate of an image that got no proof.
    Unproved,
}

impl Reference {
    /// Reads a name as the engine does.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            return Err(format!(
                "{text:?} has a digest, and this is about a name that can move"
            ));
        }
        let (name, tag) = split(text);
        Ok(Self {
            repository: repository(name)?,
            tag: Tag::parse(tag.unwrap_or(DEFAULT_TAG))?,
        })
    }

    /// Reads a name that an image may be released under: with its tag, and not
    /// one of the tool's own.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn of_release(text: &str) -> Result<Self, String> {
        if split(text).1.is_none() {
            return Err(format!("{text:?} has no tag: write `repository:tag`"));
        }
        let reference = Self::parse(text)?;
        match reference.own() {
            Some(own) => Err(format!(
                "{text:?} is no name for a release: the tool keeps {} in the repository {}",
                own.content(),
                own.name()
            )),
            None => Ok(reference),
        }
    }

    /// The part before the tag, without what is meant where it is left out.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The part after the last colon; `latest` where the text had none.
    pub fn tag(&self) -> &Tag {
        &self.tag
    }

    /// The tool's own repository that it lies in.
    fn own(&self) -> Option<OwnRepository> {
        OwnRepository::of_name(&self.repository)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag.0)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Tag {
    /// A letter, digit or `_`, then at most 127 of letters, digits, `_`, `.`
    /// and `-`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let good = text.len() <= 128
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is no tag: letters, digits, `_`, `.` and `-`, neither `.` nor `-` first, at most 128 characters"
            ))
        }
    }

    /// A version as a tag: `+`, which local versions and semver builds use and
    /// tags forbid, becomes `-`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn of_version(version: &str) -> Result<Self, String> {
        Self::parse(&version.replace('+', "-"))
    }

    /// The tag as it stands in a reference, without the colon.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ReleaseTag {
    /// The part before the tag, as [`Reference::repository`] has it.
    pub fn repository(&self) -> &str {
        self.example.repository()
    }

    /// Reads a tag of a spec, as it is for a short version; what a long one makes
    /// of it shows in [`Self::fill`].
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self {
            text: text.to_owned(),
            example: Reference::of_release(&text.replace(VERSION, "1.0"))?,
        })
    }

    /// The name for this version.
    ///
    /// # Errors
    /// A sentence where the whole is too long or one of the tool's own names.
    pub fn fill(&self, version: &Tag) -> Result<Reference, String> {
        Reference::of_release(&self.text.replace(VERSION, &version.0))
    }

    /// The name for version `1.0`, to be compared with those of other images.
    pub fn example(&self) -> &Reference {
        &self.example
    }

    /// The name, where it is the same for all versions.
    pub fn fixed(&self) -> Option<&Reference> {
        (!self.has_version()).then_some(&self.example)
    }

    /// Whether it is another one for another version.
    pub fn has_version(&self) -> bool {
        self.text.contains(VERSION)
    }
}

impl fmt::Display for ReleaseTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl OwnRepository {
    /// Every repository that is the tool's own.
    pub(crate) const ALL: [Self; 9] = [
        Self::AuditBase,
        Self::Base,
        Self::Bench,
        Self::Candidate,
        Self::Kept,
        Self::Previous,
        Self::Proof,
        Self::ProofFull,
        Self::Unproved,
    ];

    /// As it stands in a reference.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuditBase => "hive-audit-base",
            Self::Base => "hive-base",
            Self::Bench => "hive-bench",
            Self::Candidate => "hive-candidate",
            Self::Kept => "hive-kept",
            Self::Previous => "hive-previous",
            Self::Proof => "hive-proof",
            Self::ProofFull => "hive-proof-full",
            Self::Unproved => "hive-unproved",
        }
    }

    /// The one with this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.name() == name)
    }

    /// What lies in it, for people.
    pub(crate) fn content(self) -> &'static str {
        match self {
            Self::AuditBase => "what the audit tries things on",
            Self::Base => "what images are built on",
            Self::Bench => "what it measures images beside",
            Self::Candidate => "images that are not proved yet",
            Self::Kept => "what ran before the last update",
            Self::Previous => "what was released before",
            Self::Proof => "the proofs of images",
            Self::ProofFull => "the proofs of the full suite",
            Self::Unproved => "images that got no proof",
        }
    }

    /// The reference with this tag, which has to be one.
    pub fn tagged(self, tag: impl fmt::Display) -> Reference {
        Reference {
            repository: self.name().to_owned(),
            tag: Tag(tag.to_string()),
        }
    }
}

/// Name and tag. A colon before a slash belongs to a registry's port.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// The short form of a repository's name.
fn repository(name: &str) -> Result<String, String> {
    let (host, path) = match name.split_once('/') {
        Some((first, rest)) if is_meant_as_host(first) => (Some(first), rest),
        _ => (None, name),
    };
    if let Some(host) = host.filter(|host| !is_host(host)) {
        return Err(format!(
            "{host:?} is no registry's host: write `host` or `host:port`"
        ));
    }
    if !path.split('/').all(is_path_component) {
        return Err(format!(
            "{name:?} is no repository name: lower-case letters and digits, joined by `.`, `_`, `__` or hyphens"
        ));
    }
    if is_identifier(name) {
        return Err(format!(
            "{name:?} is no repository name: it reads as an image's ID"
        ));
    }
    let short = match host.filter(|host| !DEFAULT_HOSTS.contains(host)) {
        Some(host) => format!("{host}/{path}"),
        // `library/a/b` is no official image: there the folder counts.
        None => match path.strip_prefix(OFFICIAL).filter(|rest| !rest.contains('/')) {
            Some(rest) => rest.to_owned(),
            None => path.to_owned(),
        },
    };
    // The engine counts the long form.
    let filled = match host {
        Some(host) if !DEFAULT_HOSTS.contains(&host) => short.len(),
        _ if short.contains('/') => DEFAULT_HOSTS[0].len() + 1 + short.len(),
        _ => DEFAULT_HOSTS[0].len() + 1 + OFFICIAL.len() + short.len(),
    };
    if filled > LONGEST_REPOSITORY {
        return Err(format!(
            "{name:?} is no repository name: with its registry it has {filled} characters, {LONGEST_REPOSITORY} are allowed"
        ));
    }
    Ok(short)
}

/// Whether the engine takes what stands before the first slash for a host.
fn is_meant_as_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.chars().any(|c| c.is_ascii_uppercase())
}

/// A name or an address in brackets, and perhaps a port.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let is_address =
        |inner: &str| !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    let is_component = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    port.is_none_or(is_port) && address.map_or_else(|| name.split('.').all(is_component), is_address)
}

/// Runs of small letters and digits, joined by one of `.`, `_`, `__` or by any
/// number of hyphens.
fn is_path_component(part: &str) -> bool {
    let is_run = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator = |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|b| b == b'-');
    let mut separators = part.split(is_run).filter(|text| !text.is_empty());
    part.starts_with(is_run) && part.ends_with(is_run) && separators.all(is_separator)
}

/// 64 hexadecimal digits: an engine takes them for an image's ID.
fn is_identifier(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_name_is_equal() {
        for (text, short) in [
            ("hive-genie:1", "hive-genie:1"),
            ("hive-genie", "hive-genie:latest"),
            ("library/hive-genie:1", "hive-genie:1"),
            ("docker.io/hive-genie:1", "hive-genie:1"),
            ("docker.io/library/hive-genie:1", "hive-genie:1"),
            ("index.docker.io/library/hive-genie:1", "hive-genie:1"),
            ("index.docker.io/a/b:1", "a/b:1"),
            ("docker.io/library/a/b:1", "library/a/b:1"),
            ("library/a/b:1", "library/a/b:1"),
            ("localhost/library/hive-genie:1", "localhost/library/hive-genie:1"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("registry.example/x:1", "registry.example/x:1"),
            ("[fe80::1]:5000/x:1", "[fe80::1]:5000/x:1"),
            ("Host/x:1", "Host/x:1"),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), short, "{text}");
        }
    }

    #[test]
    fn what_the_engine_refuses_is_refused() {
        let long = "a".repeat(300);
        for (text, said) in [
            ("", "is no repository name"),
            ("Hive:1", "is no repository name"),
            ("a..b:1", "is no repository name"),
            ("a___b:1", "is no repository name"),
            ("a b:1", "is no repository name"),
            ("-a:1", "is no repository name"),
            ("a-:1", "is no repository name"),
            ("a/:1", "is no repository name"),
            ("/a:1", "is no repository name"),
            ("a//b:1", "is no repository name"),
            ("../x:1", "is no registry's host"),
            ("ä.example/x:1", "is no registry's host"),
            ("a.example:/x:1", "is no registry's host"),
            ("a.example:x/x:1", "is no registry's host"),
            ("-a.example/x:1", "is no registry's host"),
            ("[]:1/x:1", "is no registry's host"),
            (":1", "is no repository name"),
            ("a:", "is no tag"),
            // Published by the first unified container's pipeline.
            ("hive-genie:-c02e4d8", "is no tag"),
            ("a:1!2.0", "is no tag"),
            ("a:1\n", "is no tag"),
            (&format!("a:{long}"), "is no tag"),
            (&format!("{long}:1"), "with its registry it has 318 characters"),
            (&format!("{}:1", "a".repeat(64)), "reads as an image's ID"),
            (&format!("a:1@sha256:{}", "0".repeat(64)), "has a digest"),
        ] {
            let error = Reference::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        for (path, good) in [(237, true), (238, false)] {
            let text = format!("{}:1", "a".repeat(path));
            assert_eq!(Reference::parse(&text).is_ok(), good, "{path}");
        }
        let at = |path: usize| Reference::parse(&format!("r.example/{}:1", "a".repeat(path)));
        assert!(at(245).is_ok() && at(246).is_err());
        for good in [
            "a__b:x",
            "a--b:x",
            "a.b_c:x",
            "a---9:x",
            "h.example:1/a/b.c:1",
            "a:_",
        ] {
            assert!(Reference::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn the_tools_own_names_are_no_releases_however_they_are_written() {
        for own in OwnRepository::ALL {
            for prefix in ["", "library/", "docker.io/", "index.docker.io/library/"] {
                let text = format!("{prefix}{}:x", own.name());
                let error = Reference::of_release(&text).unwrap_err();
                assert!(error.contains(own.name()), "{text}: {error}");
                assert!(Reference::parse(&text).is_ok(), "{text}");
            }
            let mirrored = format!("registry.example/{}:x", own.name());
            assert!(Reference::of_release(&mirrored).is_ok(), "{mirrored}");
            assert_eq!(own.tagged("x").to_string(), format!("{}:x", own.name()));
        }
        let error = Reference::of_release("hive-genie").unwrap_err();
        assert!(error.contains("has no tag"), "{error}");
    }

    #[test]
    fn a_release_tag_is_judged_with_its_version() {
        let version = Tag::of_version("1.2.0+cu128").unwrap();
        let tag = ReleaseTag::parse("hive-genie:v{version}").unwrap();
        assert_eq!(tag.fill(&version).unwrap().to_string(), "hive-genie:v1.2.0-cu128");
        assert_eq!((tag.has_version(), tag.fixed()), (true, None));
        let fixed = ReleaseTag::parse("docker.io/library/x:1").unwrap();
        assert_eq!(fixed.fixed().unwrap().to_string(), "x:1");
        // Each is good with a short version only.
        let long = Tag::parse(&"1".repeat(128)).unwrap();
        assert!(tag.fill(&long).is_err());
        let base = Tag::parse("base").unwrap();
        let error = ReleaseTag::parse("hive-{version}:1")
            .unwrap()
            .fill(&base)
            .unwrap_err();
        assert!(error.contains("hive-base"), "{error}");
        for bad in ["hive-genie", "hive-proof:{version}", "x:{vers}", "x:-{version}"] {
            assert!(ReleaseTag::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_version_of_a_tag() {
        for bad in ["1!2.0", "", "1.0 beta", "a/b", "../x", "-1", &"1".repeat(200)] {
            assert!(Tag::of_version(bad).is_err(), "{bad}");
        }
    }
}
