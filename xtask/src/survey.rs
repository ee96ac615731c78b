//! What is wanted and what is there: walks the contexts, asks the engine, and
//! hands both to [`plan`].

mod news;
pub mod past;

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::JoinHandle;

use anyhow::Result;

use crate::assembly::Assembly;
use crate::base::Base;
use crate::candidate;
use crate::context::{self, Found, Inputs, Rules};
use crate::definition::Definition;
use crate::dockerfile;
use crate::engine::{Engine, FINGERPRINT_LABEL, IMAGE_LABEL, Inventory};
use crate::failure;
use crate::host::Host;
use crate::plan::{self, Action, Known, Present, Step, Wanted};
use crate::reference::Reference;
use crate::request::{Job, Request};
use crate::smoke::proof::proofs;
use crate::smoke::{self, Verified};

use news::{News, Teller};

/// The named context with the files that every image gets.
pub const ROOTFS: &str = "rootfs";

/// One image: what is asked for, from what, and what has to happen.
#[derive(Debug)]
pub struct Surveyed<'a> {
    /// What is asked for.
    pub job: &'a Job,
    /// From what; absent while the base is unknown.
    pub definition: Option<Definition>,
    /// What has to happen.
    pub step: Step,
    /// The proof of the image that is there, where it has one.
    pub proof: Option<Verified>,
    /// What its forecast goes by, where it is to be built.
    pub past: Option<Rc<past::Ground>>,
}

impl Surveyed<'_> {
    /// What BuildKit needs of it.
    ///
    /// # Errors
    /// When the base, and with it the definition, was unknown.
    pub fn assembly<'s>(&'s self, host: &Host, base: &'s Base) -> Result<Assembly<'s>> {
        let name = &self.step.name;
        let (Some(definition), Some(fingerprint)) = (&self.definition, self.step.fingerprint) else {
            return Err(failure::build(format!("image {name} has no definition")).into());
        };
        Ok(Assembly {
            image: name,
            definition,
            fingerprint,
            base: &base.reference,
            folders: BTreeMap::from([
                (String::new(), self.job.app.folder.clone()),
                (ROOTFS.to_owned(), rootfs_folder(host)),
            ]),
        })
    }
}

/// The engine's and the base's part of a survey; absent where nothing runs.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// Where images are.
    pub engine: &'a Engine,
    /// The base, where the engine has it.
    pub base: Option<&'a Base>,
}

/// Surveys all images of a request.
///
/// # Errors
/// A usage error for a context that cannot be used; an engine that does not
/// answer.
pub fn survey<'a>(
    mut contexts: Contexts<'_>,
    request: &'a Request,
    ground: Option<Ground<'_>>,
) -> Result<Vec<Surveyed<'a>>> {
    let host = contexts.host;
    let inventory = match ground {
        Some(ground) => ground.engine.inventory(&host.runner)?,
        None => Inventory::default(),
    };
    let mut records = ground.map(|ground| past::Ahead::new(host, ground.engine, &mut contexts.news));
    let mut surveyed = Vec::new();
    for job in &request.jobs {
        let inputs = contexts.of(&job.app.folder)?;
        let definition = match ground.and_then(|ground| Some((ground.engine, ground.base?))) {
            Some((engine, base)) => Some(Definition {
                dockerfile: job.dockerfile.clone(),
                target: dockerfile::TARGET.to_owned(),
                arguments: request.arguments.clone(),
                platform: engine.platform(&host.runner)?,
                base: base.identity.clone(),
                contexts: inputs,
            }),
            None => None,
        };
        let (mut step, proof) = step(host, request, job, definition.as_ref(), ground, &inventory)?;
        let past = match (&definition, &mut records, step.action) {
            (Some(definition), Some(records), Action::Build) => {
                let past = records.ground()?;
                step.forecast = past.forecast(definition, request.no_cache);
                Some(past)
            }
            _ => None,
        };
        surveyed.push(Surveyed {
            job,
            definition,
            step,
            proof,
            past,
        });
    }
    Ok(surveyed)
}

fn step(
    host: &Host,
    request: &Request,
    job: &Job,
    definition: Option<&Definition>,
    ground: Option<Ground<'_>>,
    inventory: &Inventory,
) -> Result<(Step, Option<Verified>)> {
    let name = job.spec.name.as_str();
    let fingerprint = definition.map(Definition::fingerprint);
    let tags = job.tags(fingerprint)?;
    let (present, proof) = match fingerprint {
        Some(fingerprint) => present(inventory, job, &fingerprint.to_string(), &tags)?,
        None => Default::default(),
    };
    let known = match (ground, definition, &present.image_id) {
        (Some(ground), Some(definition), None) => Known {
            last: past::last_build(host, ground.engine, name, definition)?,
            ..Known::default()
        },
        (_, _, Some(id)) if !present.proved => past::verdicts_on(host, job, id)?,
        _ => Known::default(),
    };
    let wanted = Wanted {
        definition: definition.zip(fingerprint),
        base_set: &request.base_name,
        known: &known,
        tags: &tags,
        forced: request.no_cache,
    };
    Ok((plan::decide(name, &wanted, present), proof))
}

/// What an engine has of an image with this fingerprint, and the proof of it.
fn present(
    inventory: &Inventory,
    job: &Job,
    fingerprint: &str,
    tags: &[Reference],
) -> Result<(Present, Option<Verified>)> {
    let name = job.spec.name.as_str();
    let mut ids = inventory.with_labels(&[(IMAGE_LABEL, name), (FINGERPRINT_LABEL, fingerprint)]);
    // An image that somebody built on ours has our labels, and no name of ours.
    let beginnings = [candidate::candidates(name), proofs(name)];
    let own = candidate::unproved_tag(name);
    let wholes: Vec<String> = tags.iter().chain([&own]).map(ToString::to_string).collect();
    ids.retain(|id| {
        inventory.names_of(id).any(|known| {
            wholes.iter().any(|whole| whole == known)
                || beginnings.iter().any(|beginning| known.starts_with(beginning))
        })
    });
    let mut present = Present {
        image_id: ids.first().map(|&id| id.to_owned()),
        ..Present::default()
    };
    // Of several images of one fingerprint (two checkouts at once) a proved one.
    let mut proof = None;
    for id in ids {
        proof = smoke::recall(inventory, &job.spec, id)?;
        if proof.is_some() {
            present.image_id = Some(id.to_owned());
            present.proved = true;
            break;
        }
    }
    for tag in tags {
        if let Some(id) = inventory.id_of(tag) {
            present.tags.insert(tag.clone(), id.to_owned());
        }
    }
    Ok((present, proof))
}

/// What is in the folders of a request. Each is walked once, however many
/// images use it.
pub struct Contexts<'a> {
    host: &'a Host,
    /// Folders that are walked at the moment.
    walking: BTreeMap<PathBuf, JoinHandle<Result<Found>>>,
    walked: BTreeMap<PathBuf, Inputs>,
    /// Told of when files may have changed: a build is near.
    news: News,
}

/// Which rules a folder is walked by.
#[derive(Clone, Copy)]
enum Role {
    App,
    Rootfs,
}

impl<'a> Contexts<'a> {
    /// Folders that are walked when they are asked for.
    pub fn new(host: &'a Host) -> Self {
        Self {
            host,
            walking: BTreeMap::new(),
            walked: BTreeMap::new(),
            news: News::default(),
        }
    }

    /// Folders that are walked from now on, in the background: for a caller
    /// that waits for an engine, and for nothing that could take long. What is
    /// built should have been read a moment before.
    pub fn ahead(host: &'a Host, request: &Request) -> Self {
        let mut contexts = Self::new(host);
        let apps = request.jobs.iter().map(|job| (job.app.folder.clone(), Role::App));
        for (folder, role) in apps.chain([(rootfs_folder(host), Role::Rootfs)]) {
            contexts.walking.entry(folder.clone()).or_insert_with(|| {
                let (index, news) = (index_file(host, &folder), contexts.news.teller());
                std::thread::spawn(move || scan(&folder, role, &index, &news))
            });
        }
        contexts
    }

    fn of(&mut self, app: &Path) -> Result<BTreeMap<String, Inputs>> {
        let app = self.inputs(app, Role::App)?;
        let rootfs = self.inputs(&rootfs_folder(self.host), Role::Rootfs)?;
        Ok(BTreeMap::from([
            (String::new(), app),
            (ROOTFS.to_owned(), rootfs),
        ]))
    }

    fn inputs(&mut self, folder: &Path, role: Role) -> Result<Inputs> {
        if let Some(inputs) = self.walked.get(folder) {
            return Ok(inputs.clone());
        }
        let found = match self.walking.remove(folder) {
            Some(walk) => walk.join().unwrap_or_else(|panic| resume_unwind(panic))?,
            None => scan(folder, role, &index_file(self.host, folder), &self.news.teller())?,
        };
        for left_out in &found.left_out {
            self.host.report.debug(format!(
                "not in the image: {} ({})",
                folder.join(&left_out.path).display(),
                left_out.reason.as_str()
            ));
            for pattern in &left_out.refused {
                self.host.report.warn(format!(
                    "{} stays out of the image although `{pattern}` names it ({})",
                    left_out.path,
                    left_out.reason.as_str()
                ));
            }
        }
        self.walked.insert(folder.to_owned(), found.inputs.clone());
        Ok(found.inputs)
    }
}

fn scan(folder: &Path, role: Role, index: &Path, teller: &Teller) -> Result<Found> {
    let rules = match role {
        Role::App => Rules::safe(context::ignore(folder, None)?),
        Role::Rootfs => Rules::exact(context::Ignore::default()),
    };
    context::scan_and_tell(folder, &rules, Some(index), &|| teller.tell())
}

/// `docker/rootfs` of the checkout.
pub fn rootfs_folder(host: &Host) -> PathBuf {
    host.root.join("docker/rootfs")
}

/// Where the digests of a folder's files are remembered.
pub fn index_file(host: &Host, folder: &Path) -> PathBuf {
    host.state_dir().join("index").join(folder_key(folder))
}

/// A file name for a folder: two folders never share an index or a stage.
pub fn folder_key(folder: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let digest = blake3::hash(folder.as_os_str().as_bytes());
    digest.to_hex().chars().take(16).collect()
}
