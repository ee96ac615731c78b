//! One `docker buildx bake` call for all images: request → run → candidates.
//!
//! The request is made from typed structs, since bake ignores unknown keys
//! silently. It is called by the name `docker buildx`, never `docker build`,
//! which may be the legacy builder that lets heredocs succeed doing nothing
//! (moby/buildkit#6395).

mod folder;
pub mod progress;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use definition::identity::ImageId;
use definition::labels::FINGERPRINT_LABEL;
use engine::Engine;

use folder::BakeFolder;
use host::process::Runner;
use host::report::Report;
use inputs::regular;
use progress::Progress;

/// A first build compiles nothing, but it downloads half a gigabyte.
const BUILD_DEADLINE: Duration = Duration::from_secs(3600);

/// The variables that a call of bake has, wherever it is made.
pub const BAKE_ENV: [(&str, &str); 3] = [
    // Newer versions ask before they read outside the current folder; the
    // flag that answers is unknown to older ones, the variable is not.
    ("BUILDX_BAKE_ENTITLEMENTS_FS", "0"),
    // With provenance the ID of the image moves at each no-op build
    // (moby/buildkit#5894).
    ("BUILDX_NO_DEFAULT_ATTESTATIONS", "1"),
    ("BUILDX_METADATA_PROVENANCE", "disabled"),
];

/// What one image's build needs.
#[derive(Clone, Debug)]
pub struct Target {
    /// Name of the image that it is built for.
    pub image: String,
    /// The fingerprint that becomes a label.
    pub fingerprint: String,
    /// The candidate's own tag, in a repository apart from the release tags.
    pub candidate_tag: String,
    /// The Dockerfile's text. It goes with the request: no file that somebody
    /// else could write lies in between.
    pub dockerfile: String,
    /// The stage of the Dockerfile that becomes the image.
    pub stage: String,
    /// The folder that is the main context.
    pub context: PathBuf,
    /// The folders of the other contexts, by name.
    pub contexts: BTreeMap<String, PathBuf>,
    /// The build arguments and their values, by name.
    pub args: BTreeMap<String, String>,
    /// What its steps get of this machine's logins, and those of no other image.
    pub access: Access,
}

/// What the steps of one image's build may use and none of its layers has.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Secret id → value, which goes through the environment of the CLI alone.
    pub secrets: BTreeMap<&'static str, String>,
    /// The socket of the SSH agent that steps can mount.
    pub ssh_agent: Option<PathBuf>,
}

/// What all images of a call share.
#[derive(Clone, Debug, Default)]
pub struct BakeOptions {
    /// The files that steps can mount as secrets, by id.
    pub secrets: BTreeMap<String, PathBuf>,
    /// Whether each step runs, whatever the cache has.
    pub no_cache: bool,
}

/// An image that is built and not yet proved.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Name of the image that it is built for.
    pub image: String,
    /// What the engine calls it.
    pub id: ImageId,
}

#[derive(Serialize)]
struct BakeFile<'a> {
    group: BTreeMap<&'a str, BakeGroup<'a>>,
    target: BTreeMap<&'a str, BakeTarget<'a>>,
}

#[derive(Serialize)]
struct BakeGroup<'a> {
    targets: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct BakeTarget<'a> {
    context: &'a Path,
    contexts: &'a BTreeMap<String, PathBuf>,
    dockerfile_inline: &'a str,
    target: &'a str,
    args: &'a BTreeMap<String, String>,
    labels: BTreeMap<&'static str, &'a str>,
    tags: [&'a str; 1],
    secret: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<String>,
    no_cache: bool,
}

/// An environment has no variable of this size (128 KiB on Linux, with its name):
/// secrets from here on go through a file.
const LARGE: usize = 64 * 1024;

/// The bake file of a call, as JSON. `files` is the folder of secrets that are too
/// large for the environment.
///
/// # Errors
/// When a path is not UTF-8.
pub fn request(targets: &[Target], options: &BakeOptions, files: &Path) -> Result<String> {
    let from_file = |id: &str, file: &Path| -> Result<String> {
        let file = file.to_str().context("a secret's path is not UTF-8")?;
        // One CSV record: a comma or quote in the path needs quoting.
        Ok(format!("id={id},\"src={}\"", file.replace('"', "\"\"")))
    };
    let secrets_of = |place: usize, target: &Target| -> Result<Vec<String>> {
        let shared = options.secrets.iter().map(|(id, file)| from_file(id, file));
        let own = target.access.secrets.iter().map(|(id, value)| {
            let variable = variable_of(place, id);
            match value.len() {
                LARGE.. => from_file(id, &files.join(variable)),
                _ => Ok(format!("id={id},env={variable}")),
            }
        });
        shared.chain(own).collect()
    };
    let ssh_of = |target: &Target| -> Result<Vec<String>> {
        let Some(socket) = &target.access.ssh_agent else {
            return Ok(Vec::new());
        };
        let socket = socket
            .to_str()
            .context("the path of the SSH agent is not UTF-8")?;
        Ok(vec![format!("default={socket}")])
    };
    let file = BakeFile {
        group: BTreeMap::from([(
            "default",
            BakeGroup {
                targets: targets.iter().map(|target| target.image.as_str()).collect(),
            },
        )]),
        target: targets
            .iter()
            .enumerate()
            .map(|(place, target)| {
                let bake = BakeTarget {
                    context: &target.context,
                    contexts: &target.contexts,
                    dockerfile_inline: &target.dockerfile,
                    target: &target.stage,
                    args: &target.args,
                    labels: BTreeMap::from([(FINGERPRINT_LABEL, target.fingerprint.as_str())]),
                    tags: [&target.candidate_tag],
                    secret: secrets_of(place, target)?,
                    ssh: ssh_of(target)?,
                    no_cache: options.no_cache,
                };
                Ok((target.image.as_str(), bake))
            })
            .collect::<Result<_>>()?,
    };
    let text = serde_json::to_string_pretty(&file)?;
    // bake interpolates `${…}` in JSON strings as in HCL; `$$` is a literal `$`.
    Ok(text.replace("${", "$${").replace("%{", "%%{"))
}

/// Builds all targets in one call, so that a shared stage runs once.
///
/// `progress` has what BuildKit said and did, also where it failed.
///
/// # Errors
/// A build failure with the failing step, its last lines and the log's path.
pub fn bake(
    engine: &Engine,
    runner: &Runner,
    report: &Report,
    targets: &[Target],
    options: &BakeOptions,
    progress: &mut Progress<'_>,
) -> Result<Vec<Candidate>> {
    // By its name bake takes it for JSON alone. From stdin it would try compose
    // first, which warns of each `$$` in it.
    // buildx leaves a folder with each Dockerfile that comes as text (docker/buildx#3117).
    let temporary = BakeFolder::make(runner, report)?;
    let file = progress.folder().join("bake.json");
    let text = request(targets, options, temporary.path())?;
    regular::replace(&file, text.as_bytes()).context("write the request to bake")?;
    let metadata = progress.folder().join("bake-metadata.json");
    // What an earlier call made is no answer of this one.
    regular::replace(&metadata, b"null").context("write the state folder")?;
    let utf8 = |path: &Path| {
        path.to_str()
            .map(str::to_owned)
            .context("the state folder's path is not UTF-8")
    };
    let (file, metadata_path) = (utf8(&file)?, utf8(&metadata)?);
    let mut command = engine
        .cmd(
            runner,
            &[
                "buildx",
                "bake",
                "--file",
                &file,
                "--progress",
                "rawjson",
                "--metadata-file",
                &metadata_path,
            ],
        )
        .env("TMPDIR", temporary.path())
        .deadline(BUILD_DEADLINE);
    for (key, value) in BAKE_ENV {
        command = command.env(key, value);
    }
    for (place, target) in targets.iter().enumerate() {
        for (id, value) in &target.access.secrets {
            let variable = variable_of(place, id);
            if value.len() < LARGE {
                command = command.env(variable, value);
            } else {
                regular::replace(&temporary.path().join(variable), value.as_bytes())
                    .context("write a secret of the build")?;
            }
        }
    }
    let output = command.stream(|_, line| progress.line(report, line))?;
    if !output.success() {
        return Err(progress.failure(output.status).into());
    }
    progress.finish(report, output.took);
    let metadata: Value =
        serde_json::from_slice(&fs_err::read(metadata)?).context("read the build's metadata")?;
    targets
        .iter()
        .map(|target| candidate(engine, runner, target, &metadata))
        .collect()
}

/// The variable by which the CLI gets the value of a secret of the target in this
/// place of a call.
fn variable_of(place: usize, id: &str) -> String {
    format!("HIVE_SECRET_{place}_{}", id.to_uppercase().replace('-', "_"))
}

/// The ID that this very call made, not what a tag says now: another run may
/// have built the same fingerprint meanwhile.
fn candidate(engine: &Engine, runner: &Runner, target: &Target, metadata: &Value) -> Result<Candidate> {
    let digest = metadata
        .get(&target.image)
        .and_then(|entry| entry.get("containerimage.digest"))
        .and_then(Value::as_str)
        .with_context(|| format!("the build of {} reported no image digest", target.image))?;
    let image = engine.image(runner, digest)?.ok_or_else(|| {
        failure::build(format!(
            "the engine lost the image {digest} of {} right after its build",
            target.image
        ))
    })?;
    let label = image.label(FINGERPRINT_LABEL).unwrap_or_default();
    if label != target.fingerprint {
        let message = format!(
            "the build of {} made an image with fingerprint {label:?}, not {}",
            target.image, target.fingerprint
        );
        return Err(failure::build(message).into());
    }
    Ok(Candidate {
        image: target.image.clone(),
        id: image.id().clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(image: &str) -> Target {
        Target {
            image: image.to_owned(),
            fingerprint: "f".repeat(64),
            candidate_tag: format!("hive-candidate:{image}-ffff"),
            dockerfile: "FROM ${BASE}\nRUN echo $${x} %{y}\n".to_owned(),
            stage: "production".to_owned(),
            context: PathBuf::from("/c/app"),
            contexts: BTreeMap::from([("rootfs".to_owned(), PathBuf::from("/c/rootfs"))]),
            args: BTreeMap::from([("BASE".to_owned(), "a ${b} %{c}".to_owned())]),
            access: Access::default(),
        }
    }

    #[test]
    fn request_has_one_group_and_typed_targets() {
        let options = BakeOptions {
            secrets: BTreeMap::from([("ca-bundle".to_owned(), PathBuf::from("/etc/a,b.crt"))]),
            no_cache: false,
        };
        let mut agent = target("agent");
        agent.access = Access {
            secrets: BTreeMap::from([
                ("build-environment", "export X='hidden'\n".to_owned()),
                ("known-hosts", "h".repeat(200_000)),
            ]),
            ssh_agent: Some(PathBuf::from("/tmp/ssh-1/agent.2")),
        };
        let text = request(&[target("genie"), agent], &options, Path::new("/tmp/files")).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value["group"]["default"]["targets"],
            serde_json::json!(["genie", "agent"])
        );
        let (genie, agent) = (&value["target"]["genie"], &value["target"]["agent"]);
        // What one image is given no other one gets.
        let shared = "id=ca-bundle,\"src=/etc/a,b.crt\"";
        assert_eq!(genie["secret"], serde_json::json!([shared]));
        assert_eq!(genie.get("ssh"), None);
        assert_eq!(
            agent["secret"],
            serde_json::json!([
                shared,
                "id=build-environment,env=HIVE_SECRET_1_BUILD_ENVIRONMENT",
                "id=known-hosts,\"src=/tmp/files/HIVE_SECRET_1_KNOWN_HOSTS\""
            ])
        );
        assert_eq!(agent["ssh"], serde_json::json!(["default=/tmp/ssh-1/agent.2"]));
        assert!(!text.contains("hidden"));
        assert_eq!(genie["args"]["BASE"], "a $${b} %%{c}");
        assert_eq!(
            genie["dockerfile-inline"],
            "FROM $${BASE}\nRUN echo $$${x} %%{y}\n"
        );
        assert_eq!(genie["no-cache"], false);
        assert_eq!(genie["tags"], serde_json::json!(["hive-candidate:genie-ffff"]));
    }
}
