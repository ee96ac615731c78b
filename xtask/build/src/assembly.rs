//! What BuildKit gets of a definition: its contexts, staged, and the target
//! that names them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::buildkit::Target;
use crate::candidate;
use crate::context::Input;
use crate::context::stage::Stage;
use definition::Definition;
use engine::reaper;

use crate::context;
use host::Host;
use inputs::fingerprint::Fingerprint;

/// One image to be built.
#[derive(Clone, Debug)]
pub struct Assembly<'a> {
    /// Its name.
    pub image: &'a str,
    /// Everything that decides its bytes.
    pub definition: &'a Definition,
    /// The definition's.
    pub fingerprint: Fingerprint,
    /// What `FROM ${BASE}` gets in this engine.
    pub base: &'a str,
    /// Where the definition's contexts lie, by name.
    pub folders: BTreeMap<String, PathBuf>,
}

/// Staged folders, locked. Keep them until BuildKit has read them.
#[derive(Debug)]
pub struct Staged(BTreeMap<PathBuf, Stage>);

/// Stages every folder once, in the order of their paths: two runs that lock
/// several of them cannot wait for each other.
///
/// # Errors
/// A usage failure for files that changed since they were hashed; a stage that
/// cannot be written.
pub fn stage(host: &Host, assemblies: &[Assembly<'_>]) -> Result<Staged> {
    let mut folders: BTreeMap<&Path, &[Input]> = BTreeMap::new();
    for assembly in assemblies {
        for (name, inputs) in &assembly.definition.contexts {
            folders.insert(assembly.folder(name)?, inputs);
        }
    }
    let mut staged = BTreeMap::new();
    for (folder, inputs) in folders {
        let place = host.state_dir().join("context").join(context::folder_key(folder));
        let stage = Stage::lock(&place, &host.runner, &host.report)?;
        stage.fill(folder, inputs)?;
        staged.insert(folder.to_owned(), stage);
    }
    Ok(Staged(staged))
}

impl Assembly<'_> {
    /// What BuildKit is asked for.
    ///
    /// # Errors
    /// A context that is not staged; a Dockerfile that cannot be written.
    pub fn target(&self, host: &Host, staged: &Staged) -> Result<Target> {
        let mut trees: BTreeMap<String, PathBuf> = BTreeMap::new();
        for name in self.definition.contexts.keys() {
            let folder = self.folder(name)?;
            let stage = staged.0.get(folder).ok_or_else(|| {
                failure::build(format!("{} of {} is not staged", folder.display(), self.image))
            })?;
            trees.insert(name.clone(), stage.tree().to_owned());
        }
        let mut args = self.definition.arguments.clone();
        args.insert("BASE".to_owned(), self.base.to_owned());
        let folder = host.state_dir().join(self.image);
        Ok(Target {
            image: self.image.to_owned(),
            candidate_tag: candidate::tag(self.image, &reaper::run_id()?).to_string(),
            fingerprint: self.fingerprint.to_string(),
            dockerfile: write_dockerfile(&folder, &self.definition.dockerfile)?,
            stage: self.definition.target.clone(),
            context: trees.remove("").unwrap_or_default(),
            contexts: trees,
            args,
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

/// The text that the fingerprint covers, with an ignore file beside it that
/// ignores nothing: what is staged is what is built.
fn write_dockerfile(folder: &Path, text: &str) -> Result<PathBuf> {
    fs_err::create_dir_all(folder)?;
    let path = folder.join("Dockerfile");
    fs_err::write(&path, text)?;
    fs_err::write(folder.join("Dockerfile.dockerignore"), "")?;
    Ok(path)
}
