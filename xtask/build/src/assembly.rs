//! What BuildKit gets of a definition: its contexts, staged, and the target
//! that names them.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::buildkit::{Access, Target};
use crate::candidate;
use crate::context;
use crate::context::stage::{StagedContext, sweep};
use definition::Definition;
use engine::reaper;
use host::Host;
use inputs::context::Inputs;
use inputs::fingerprint::Fingerprint;

/// One image to be built.
#[derive(Clone, Debug)]
pub struct Assembly<'a> {
    /// Name of the image that is built.
    pub image: &'a str,
    /// Everything that decides its bytes.
    pub definition: &'a Definition,
    /// The definition's fingerprint, which becomes a label.
    pub fingerprint: Fingerprint,
    /// What `FROM ${BASE}` gets in this engine.
    pub base: &'a str,
    /// Where the definition's contexts lie, by name.
    pub folders: BTreeMap<String, PathBuf>,
}

/// Staged folders, locked. Keep them until BuildKit has read them.
#[derive(Debug)]
pub struct Staged(BTreeMap<PathBuf, Context>);

/// A staged folder, with the list of what lies in it.
#[derive(Debug)]
struct Context {
    stage: StagedContext,
    inputs: Inputs,
    /// What a build step has to find.
    contents: String,
}

/// Stages every folder once, in the order of their paths: two runs that lock
/// several of them cannot wait for each other.
///
/// They lie in the cache folder and not in the state folder, which `cargo
/// clean` deletes at any time and two checkouts may share.
///
/// # Errors
/// A usage failure for files that changed since they were hashed; also where a copy
/// cannot be written.
pub fn stage(host: &Host, assemblies: &[Assembly<'_>]) -> Result<Staged> {
    let mut folders: BTreeMap<&Path, &Inputs> = BTreeMap::new();
    for assembly in assemblies {
        for (name, inputs) in &assembly.definition.contexts {
            folders.insert(assembly.folder(name)?, inputs);
        }
    }
    let stages = host.cache_dir().join("stages");
    // What is staged may be a folder that only its owner may read.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&stages)
        .map_err(|error| {
            failure::environment(format!("cannot make the folder {}: {error}", stages.display()))
                .hint("HIVE_CACHE_DIR names another place for it")
        })?;
    sweep(&stages, &host.runner, &host.report)?;
    let mut staged = BTreeMap::new();
    for (folder, inputs) in folders {
        // Two checkouts with one app need not wait for each other.
        let keys = [&host.root, folder].map(context::folder_key);
        let place = stages.join(keys.join("-"));
        let stage = StagedContext::lock(&place, &host.runner, &host.report)?;
        stage.sign(&[&host.root, folder])?;
        let interrupt = host.runner.interrupt();
        stage.fill(folder, inputs, &interrupt)?;
        let context = Context {
            contents: stage.contents(inputs, &interrupt)?,
            inputs: inputs.clone(),
            stage,
        };
        staged.insert(folder.to_owned(), context);
    }
    Ok(Staged(staged))
}

impl Staged {
    /// Why a build failed: where a staged copy is no longer what it was, that is the
    /// cause, whatever BuildKit says.
    pub fn blame(&self, error: anyhow::Error) -> anyhow::Error {
        if failure::kind(&error) != failure::FailureKind::Build {
            return error;
        }
        let broken = self
            .0
            .iter()
            .find(|(_, context)| !context.stage.is_whole(&context.inputs));
        let Some((folder, context)) = broken else {
            return error;
        };
        let message = format!(
            "the copy of {} that BuildKit reads, {}, was changed or removed during the build",
            folder.display(),
            context.stage.tree().display()
        );
        error.context(failure::build(message).hint("run the same command again"))
    }
}

/// Where the user's settings of docker have a proxy, buildx gives each step these arguments, those of
/// the app, too, with the proxy's login, and BuildKit writes them into its records. One that is asked
/// for is left as it is (docker/buildx, `build/opt.go`).
const GIVEN_BY_DOCKER: [&str; 5] = ["ALL_PROXY", "FTP_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

impl Assembly<'_> {
    /// What BuildKit is asked for; `access` is what the steps get of this machine's logins.
    ///
    /// # Errors
    /// A context that is not staged.
    pub fn target(&self, staged: &Staged, access: Access) -> Result<Target> {
        let mut trees: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut args = self.definition.arguments.clone();
        args.insert("BASE".to_owned(), self.base.to_owned());
        for name in GIVEN_BY_DOCKER {
            args.insert(name.to_owned(), String::new());
        }
        for name in self.definition.contexts.keys() {
            let folder = self.folder(name)?;
            let context = staged.0.get(folder).ok_or_else(|| {
                failure::build(format!("{} of {} is not staged", folder.display(), self.image))
            })?;
            trees.insert(name.clone(), context.stage.tree().to_owned());
            args.insert(contents_argument(name), context.contents.clone());
        }
        Ok(Target {
            image: self.image.to_owned(),
            candidate_tag: candidate::tag(self.image, &reaper::run_id()?).to_string(),
            fingerprint: self.fingerprint.to_string(),
            dockerfile: self.definition.dockerfile.clone(),
            stage: self.definition.target.clone(),
            // BuildKit wants one also where no step reads it, as where there is no app.
            context: trees
                .remove("")
                .or_else(|| trees.values().next().cloned())
                .unwrap_or_default(),
            contexts: trees,
            args,
            access,
        })
    }

    fn folder(&self, context: &str) -> Result<&Path> {
        self.folders.get(context).map(PathBuf::as_path).ok_or_else(|| {
            failure::build(format!(
                "image {} has no folder for the context {context:?}",
                self.image
            ))
            .into()
        })
    }
}

/// The build argument with what a step has to find in a context. It says
/// nothing that the fingerprint does not: it follows from the inputs.
fn contents_argument(context: &str) -> String {
    match context {
        "" => "APP_CONTENTS".to_owned(),
        name => format!("{}_CONTENTS", name.to_uppercase().replace('-', "_")),
    }
}
