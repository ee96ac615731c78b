//! A small definition with each form of `COPY` and bind mount, made anew for
//! each case, and built twice: from the staged copy, and by plain bake from the
//! folders themselves.
//!
//! Each of its steps is a stage of its own, so that one build says of each form
//! whether it missed its cache. The two builds write to places of their own:
//! neither finds the other's layers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use super::facts::FACTS;
use super::{BuildKitSaw, Built, Case, ExpectedMove, FactChange, Finding, Soundness, judge};
use build::assembly::{self, Assembly};
use build::base::Base;
use build::buildkit::progress::{Detail, Progress};
use build::buildkit::{self, Candidate, Target};
use build::context;
use definition::identity::{ImageId, Platform};
use definition::labels::IMAGE_LABEL;
use definition::{Definition, SCHEMA};
use engine::Engine;
use host::disk;
use inputs::context::{Ignore, Rules, WalkOptions};

use definition::reference::OwnRepository;
use host::Host;
use xtask::scratch;

/// The image that all builds of the probe carry in their label.
const IMAGE: &str = "audit-probe";

/// The same, as plain bake builds it.
const PLAIN: &str = "audit-plain";

/// The name of the second context, which steps read by `--from`.
const NAMED: &str = "named";

/// Each stage and its step; `@` is where a build's own places are, `%` what
/// differs from run to run.
const FORMS: [(&str, &str); 8] = [
    ("whole", "COPY . /@/whole/"),
    ("folder", "COPY dir /@/folder/"),
    ("linked", "COPY --link dir /@/linked/"),
    ("chmod", "COPY --chmod=755 dir /@/chmod/"),
    (
        "bound",
        "RUN --mount=type=bind,target=/mnt --mount=type=cache,id=hive-audit,target=/cache \
         --mount=type=secret,id=audit true @",
    ),
    ("named-copied", "COPY --from=named . /@/named/"),
    (
        "named-bound",
        "RUN --mount=type=bind,from=named,target=/mnt true @",
    ),
    ("argument", "ARG USED=none-%\nRUN true @ \"$USED\""),
];

/// The small definition, as the case at hand has changed it.
#[derive(Debug)]
pub struct AuditProbe<'a> {
    /// Paths and state of its own.
    pub(super) host: Host,
    engine: &'a Engine,
    folder: PathBuf,
    original: Base,
    /// Differs from run to run, so that no cache knows a changed content.
    pub(super) nonce: String,
    /// The folder that is the main context.
    pub(super) app: PathBuf,
    /// The folder that is the named context.
    pub(super) named: PathBuf,
    /// The base that the `FROM` of its Dockerfile names.
    pub(super) base: Base,
    /// The text; `@` is filled in for each build.
    pub(super) dockerfile: String,
    /// The stage that is built.
    pub(super) target: String,
    /// The build arguments, name → value.
    pub(super) arguments: BTreeMap<String, String>,
    pub(super) platform: Platform,
    /// The number of the encoding.
    pub(super) schema: u32,
    /// The file with the secret.
    pub(super) secret: PathBuf,
    /// Added to the candidate's tag.
    pub(super) tag: String,
    builds: usize,
}

impl<'a> AuditProbe<'a> {
    /// A probe on a base that the engine has. `folder` is emptied first.
    ///
    /// # Errors
    /// When the folder cannot be written or the engine does not answer.
    pub fn new(host: &Host, engine: &'a Engine, base: &Base, folder: &Path) -> Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut probe = Self {
            host: host.elsewhere(&host.root, folder.join("state")),
            engine,
            folder: folder.to_owned(),
            original: base.clone(),
            nonce: format!("{:x}-{}", since.as_nanos(), std::process::id()),
            app: PathBuf::new(),
            named: PathBuf::new(),
            base: base.clone(),
            dockerfile: String::new(),
            target: String::new(),
            arguments: BTreeMap::new(),
            platform: engine.platform(&host.runner)?,
            schema: SCHEMA,
            secret: PathBuf::new(),
            tag: String::new(),
            builds: 0,
        };
        disk::remove(folder)?;
        probe.reset()?;
        // With the label that other bases have, too, so that it is none of what they differ in.
        probe.original = probe.base_with("")?;
        probe.original.reference = probe.name_base(&probe.original.reference, "original")?;
        probe.reset()?;
        Ok(probe)
    }

    /// Tries all cases of all facts. `each` gets a finding when it is made.
    ///
    /// # Errors
    /// A build that fails, or Ctrl-C.
    pub fn run(&mut self, each: &mut dyn FnMut(Finding)) -> Result<()> {
        let key = self.key()?;
        self.build()?;
        let (again, plain) = self.build()?;
        if again.missed() || plain.missed() {
            let ran = [again.ran, plain.ran].concat().join(", ");
            return Err(
                failure::build(format!("a build that changes nothing runs steps again: {ran}")).into(),
            );
        }
        let platform = self.platform.clone();
        for fact in &FACTS {
            for case in fact.cases {
                self.reset()?;
                self.platform.clone_from(&platform);
                // So that the stat index knows what is there before the change.
                if self.key()? != key {
                    let message = format!("the key moved by itself before {:?}", case.name);
                    return Err(failure::build(message).into());
                }
                let (seen, verdict) = self.try_case(case, &key)?;
                each(Finding {
                    subject: "probe".to_owned(),
                    fact: fact.name.to_owned(),
                    case: case.name.to_owned(),
                    seen,
                    verdict,
                });
            }
        }
        Ok(())
    }

    fn try_case(&mut self, case: &Case, key: &str) -> Result<(Option<BuildKitSaw>, Soundness)> {
        let context = || format!("change {:?}", case.name);
        if let FactChange::NotHere(why) = (case.change)(self).with_context(context)? {
            return Ok((None, Soundness::Untried(why)));
        }
        let key_moved = self.key()? != *key;
        let (build, plain) = match case.expect {
            ExpectedMove::KeyOnly(_) => (None, None),
            _ => {
                let (build, plain) = self.build().with_context(context)?;
                (Some(build), Some(plain))
            }
        };
        let seen = BuildKitSaw {
            key_moved,
            build,
            plain,
            surprises: None,
        };
        let verdict = judge(case.expect, &seen);
        Ok((Some(seen), verdict))
    }

    /// Everything as it was made, with new inodes and times.
    fn reset(&mut self) -> Result<()> {
        for part in ["app", "named", "elsewhere"] {
            disk::remove(&self.folder.join(part))?;
        }
        self.app = self.folder.join("app");
        self.named = self.folder.join("named");
        self.base = self.original.clone();
        self.target = "probe".to_owned();
        self.arguments = ["USED", "ALSO", "UNUSED"]
            .map(|name| (name.to_owned(), format!("{name}-{}", self.nonce)))
            .into();
        self.schema = SCHEMA;
        self.tag = String::new();
        self.dockerfile = dockerfile(&self.nonce)?;
        self.secret = self.folder.join("secret");
        for dir in ["dir/sub", "dir/empty", ".git"] {
            fs_err::create_dir_all(self.app.join(dir))?;
        }
        for (path, text, mode) in [
            ("dir/file", "file", 0o644),
            ("dir/tool", "tool", 0o755),
            ("dir/other", "other", 0o644),
            ("dir/sub/deep", "deep", 0o644),
            ("dir/twin-a", "twin", 0o644),
            ("dir/twin-b", "twin", 0o644),
            ("dir/caf\u{e9}", "name", 0o644),
            ("dir/ignored.log", "log", 0o644),
            (".dockerignore", "**/ignored*\n", 0o644),
            (".git/HEAD", "ref: refs/heads/main\n", 0o644),
        ] {
            let text = if path.starts_with("dir/") {
                format!("{text} {}\n", self.nonce)
            } else {
                text.to_owned()
            };
            write(&self.app.join(path), &text, mode)?;
        }
        fs_err::os::unix::fs::symlink("twin-a", self.app.join("dir/link"))?;
        fs_err::create_dir_all(&self.named)?;
        for (path, mode) in [("conf", 0o644), ("tool", 0o755)] {
            write(&self.named.join(path), &format!("{path} {}\n", self.nonce), mode)?;
        }
        write(&self.secret, "one", 0o600)
    }

    /// The definition as it is now, from a scan with the stat index.
    fn definition(&self) -> Result<Definition> {
        let scan = |folder: &Path, rules: &Rules, name: &str| {
            let options = WalkOptions {
                index: Some(&self.folder.join(format!("index-{name}"))),
                ..WalkOptions::default()
            };
            context::scan(folder, rules, &options)
        };
        let safe = Rules::safe(context::ignore(&self.app, None)?);
        let app = scan(&self.app, &safe, "app")?;
        let named = scan(&self.named, &Rules::exact(Ignore::default()), "named")?;
        Ok(Definition {
            dockerfile: self.dockerfile.replace('@', "ours"),
            target: self.target.clone(),
            arguments: self.arguments.clone(),
            platform: self.platform.clone(),
            base: self.base.identity.clone(),
            contexts: BTreeMap::from([(String::new(), app.inputs), (NAMED.to_owned(), named.inputs)]),
        })
    }

    fn key(&self) -> Result<String> {
        Ok(self.definition()?.fingerprint_under(self.schema).to_string())
    }

    /// Builds it from the staged copy and plainly, in one call.
    fn build(&mut self) -> Result<(Built, Built)> {
        self.builds += 1;
        let definition = self.definition()?;
        let assembly = Assembly {
            image: IMAGE,
            definition: &definition,
            fingerprint: definition.fingerprint(),
            base: &self.base.reference,
            folders: BTreeMap::from([
                (String::new(), self.app.clone()),
                (NAMED.to_owned(), self.named.clone()),
            ]),
        };
        let staged = assembly::stage(&self.host, std::slice::from_ref(&assembly))?;
        let mut ours = assembly.target(&staged, buildkit::Access::default())?;
        ours.candidate_tag.push_str(&self.tag);
        let plain = self.plain(&ours)?;
        let (built, _) = self.bake(&[ours, plain])?;
        Ok(built)
    }

    /// The same without us: the folders themselves, by names that BuildKit has
    /// not seen, since it takes a known folder's files by size and time alone.
    fn plain(&self, ours: &Target) -> Result<Target> {
        let fresh = |name: &str, folder: &Path| {
            let link = self.folder.join(format!("{name}-{}-{}", self.nonce, self.builds));
            fs_err::os::unix::fs::symlink(folder, &link)?;
            Ok::<PathBuf, anyhow::Error>(link)
        };
        Ok(Target {
            image: PLAIN.to_owned(),
            fingerprint: "none".to_owned(),
            candidate_tag: format!("hive-candidate:{PLAIN}{}", self.tag),
            dockerfile: self.dockerfile.replace('@', "plain"),
            stage: ours.stage.clone(),
            context: fresh("app", &self.app)?,
            contexts: BTreeMap::from([(NAMED.to_owned(), fresh(NAMED, &self.named)?)]),
            args: ours.args.clone(),
            access: buildkit::Access::default(),
        })
    }

    fn bake(&self, targets: &[Target]) -> Result<((Built, Built), Vec<Candidate>)> {
        let names: Vec<&str> = targets.iter().map(|target| target.image.as_str()).collect();
        let mut progress = Progress::new(Detail::Quiet, &names, &self.host.state_dir())?;
        let options = buildkit::BakeOptions {
            secrets: BTreeMap::from([("audit".to_owned(), self.secret.clone())]),
            no_cache: false,
        };
        let Host { runner, report, .. } = &self.host;
        let candidates = buildkit::bake(self.engine, runner, report, targets, &options, &mut progress)?;
        let built = |target| Built::of(progress.outcome(), target);
        Ok(((built(IMAGE), built(PLAIN)), candidates))
    }

    /// Builds something else beside the probe and returns its ID.
    pub(super) fn build_other(&self, instruction: &str) -> Result<ImageId> {
        let dockerfile = format!("ARG BASE\nFROM ${{BASE}}\nLABEL {IMAGE_LABEL}={IMAGE}\n{instruction}\n");
        let empty = self.folder.join("nothing");
        fs_err::create_dir_all(&empty)?;
        let target = Target {
            image: PLAIN.to_owned(),
            fingerprint: "none".to_owned(),
            candidate_tag: format!("hive-candidate:{PLAIN}-other"),
            dockerfile,
            stage: String::new(),
            context: empty,
            contexts: BTreeMap::new(),
            args: BTreeMap::from([("BASE".to_owned(), self.original.reference.clone())]),
            access: buildkit::Access::default(),
        };
        let (_, candidates) = self.bake(&[target])?;
        let candidate = candidates.into_iter().next().context("bake made no image")?;
        Ok(candidate.id)
    }

    /// A base of other content that no cache knows; it goes with the probe.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn other_base(&self) -> Result<Base> {
        self.base_with(&format!("ENV AUDIT={}", self.nonce))
    }

    /// The base with one more instruction.
    pub(super) fn base_with(&self, instruction: &str) -> Result<Base> {
        let id = self.build_other(instruction)?;
        let reference = self.name_base(id.as_str(), "other")?;
        Ok(Base {
            identity: self.identity(&reference)?,
            reference,
            ..self.original.clone()
        })
    }

    /// What differs from run to run.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Gives an image a reference that goes with the probe.
    pub(super) fn name_base(&self, id: &str, tag: &str) -> Result<String> {
        let reference = OwnRepository::AuditBase.tagged(tag);
        self.engine.tag(&self.host.runner, id, &reference)?;
        Ok(reference.to_string())
    }

    /// What an image is as a base.
    pub(super) fn identity(&self, reference: &str) -> Result<String> {
        let image = self.engine.image(&self.host.runner, reference)?;
        let image = image.with_context(|| format!("the engine has no image {reference}"))?;
        Ok(build::base::obtain::identity(&image))
    }
}

impl Drop for AuditProbe<'_> {
    fn drop(&mut self) {
        let runner = self.host.runner.for_cleanup();
        // Where the engine is gone, nobody minds them.
        for tag in ["original", "other", "same"] {
            self.engine
                .untag(&runner, &OwnRepository::AuditBase.tagged(tag))
                .ok();
        }
        scratch::remove_images(self.engine, &runner, IMAGE).ok();
    }
}

/// A regular file with exactly these bits.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs_err::write(path, text)?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn dockerfile(nonce: &str) -> Result<String> {
    let mut text = String::from("ARG BASE\n");
    for (stage, step) in FORMS {
        writeln!(text, "FROM ${{BASE}} AS {stage}\n{}", step.replace('%', nonce))?;
    }
    // No build has seen it, so that to choose it as the target is to build it.
    writeln!(
        text,
        "FROM ${{BASE}} AS another\nLABEL {IMAGE_LABEL}={IMAGE}\nCOPY dir /@/{nonce}/"
    )?;
    // It needs all others and is quick: a file of the base itself.
    writeln!(text, "FROM ${{BASE}} AS probe\nLABEL {IMAGE_LABEL}={IMAGE}")?;
    for (stage, _) in FORMS {
        writeln!(text, "COPY --from={stage} /etc/passwd /@/from-{stage}")?;
    }
    Ok(text)
}
