//! What is wanted and what is there: walks the contexts, asks the engine, and
//! hands both to [`plan`].

pub mod past;
mod signal;

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use inputs::shown::one_line;

use build::app::Application;
use build::assembly::Assembly;
use build::base::Base;
use build::base::obtain::ObtainedBases;
use build::candidate;
use build::context;
use definition::Definition;
use definition::dockerfile;
use definition::identity::ImageId;
use definition::labels::{APP_LABEL, FINGERPRINT_LABEL, IMAGE_LABEL};
use engine::{Engine, Inventory};
use inputs::context::{ExclusionReason, Found, Ignore, Inputs, Rules, WalkOptions};

use build::request::{ImageRequest, Request};
use definition::plan::{self, Action, ImagePlan, KnownRuns, Present, WantedImage};
use definition::reference::Reference;
use explain::forecast::Forecast;
use host::Host;
use host::process::Interrupt;
use serde::Serialize;
use smoke::Verified;
use smoke::proof::proofs;

use signal::{ChangeSender, ChangeSignal};

/// The named context with the files that every image gets.
pub const ROOTFS: &str = "rootfs";

/// One image: what is asked for, from what, and what has to happen.
#[derive(Debug)]
pub struct Surveyed<'a> {
    /// What spec and flags ask for: the app, the Dockerfile and the tags.
    pub job: &'a ImageRequest,
    /// From what; absent while the base is unknown.
    pub definition: Option<Definition>,
    /// What the plan says of it: what has to happen, and why.
    pub step: ImagePlan,
    /// Which of its steps a build will run; absent where none is to be built, or
    /// the Dockerfile is written in a way that the forecast does not know.
    pub(crate) forecast: Option<Forecast>,
    /// The proof of the image that is there, where it has one.
    pub(crate) proof: Option<Verified>,
    /// What the user has to know before: values that do not count, a tag that
    /// will hold another app.
    pub(crate) warnings: Vec<String>,
    /// What its forecast goes by, where it is to be built.
    pub(crate) past: Option<Rc<past::RecordedBuilds>>,
    /// Of an app alone: the image whose database it is proved with, where that is
    /// not to be built first.
    pub(crate) database: Option<ImageId>,
}

/// An image of a plan, as it is printed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Planned {
    /// The plan's own keys; in JSON they stand beside those below.
    #[serde(flatten)]
    pub(crate) step: ImagePlan,
    /// See [`Surveyed::forecast`].
    pub(crate) forecast: Option<Forecast>,
    /// What a proof does not say of its health endpoint.
    pub(crate) health: Option<String>,
    /// The variables that it is proved with, and does not have by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proved_with: Option<String>,
    /// The base set that it is built on.
    pub(crate) base_set: String,
    /// What is to be said of that.
    #[serde(skip)]
    pub(crate) built_on: Option<String>,
    /// What outlives its containers beside the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keeps: Option<String>,
    /// Which of several lists of packages it is installed from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) installed_from: Option<String>,
    /// See [`Surveyed::warnings`].
    pub(crate) warnings: Vec<String>,
}

impl Surveyed<'_> {
    /// The image of the same request whose database it is proved with.
    pub(crate) fn database_in<'s, 'a>(&self, all: &'s [Surveyed<'a>]) -> Option<&'s Surveyed<'a>> {
        let name = self.job.spec.database.elsewhere.as_ref()?;
        all.iter().find(|one| one.job.spec.name == *name)
    }

    /// Which of the bases it is built on.
    ///
    /// # Errors
    /// When the engine had not got it.
    pub fn base<'b>(&self, bases: &'b ObtainedBases) -> Result<&'b Base> {
        let set = &self.job.base.name;
        let base = bases.get(set);
        base.with_context(|| format!("base {set} is not in the engine"))
    }

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
            folders: folders(host, self.job.app.as_ref()).collect(),
        })
    }
}

/// Where the contexts of an image lie, by their names.
pub fn folders<'a>(
    host: &Host,
    app: Option<&'a Application>,
) -> impl Iterator<Item = (String, PathBuf)> + use<'a> {
    let app = app.map(|app| (String::new(), app.folder.clone()));
    app.into_iter().chain([(ROOTFS.to_owned(), rootfs_folder(host))])
}

/// The engine's and the bases' part of a survey; absent where nothing runs.
#[derive(Clone, Copy, Debug)]
pub struct EngineAndBases<'a> {
    /// The engine that is asked for images and their tags.
    pub engine: &'a Engine,
    /// Those of the bases that the engine has.
    pub bases: &'a ObtainedBases,
}

/// Surveys all images of a request.
///
/// # Errors
/// A usage error for a context that cannot be used; an engine that does not
/// answer.
pub fn survey<'a>(
    mut contexts: Contexts<'_>,
    request: &'a Request,
    engine_and_bases: Option<EngineAndBases<'_>>,
) -> Result<Vec<Surveyed<'a>>> {
    let host = contexts.host;
    let inventory = match engine_and_bases {
        Some(engine_and_bases) => engine_and_bases.engine.inventory(&host.runner)?,
        None => Inventory::default(),
    };
    let mut records = engine_and_bases.map(|engine_and_bases| {
        past::BackgroundRecords::new(host, engine_and_bases.engine, &mut contexts.signal)
    });
    let mut surveyed = Vec::new();
    for job in &request.jobs {
        let inputs = contexts.of(job.app.as_ref())?;
        let definition =
            match engine_and_bases.and_then(|there| Some((there.engine, there.bases.get(&job.base.name)?))) {
                Some((engine, base)) => Some(Definition {
                    dockerfile: job.dockerfile.clone(),
                    target: dockerfile::TARGET.to_owned(),
                    arguments: job.arguments.clone(),
                    platform: engine.platform(&host.runner)?,
                    base: base.identity.clone(),
                    contexts: inputs,
                }),
                None => None,
            };
        let database = database_of(job, &surveyed);
        let (step, proof) = step(
            host,
            request,
            job,
            definition.as_ref(),
            engine_and_bases,
            (&inventory, database.as_ref()),
        )?;
        let (past, forecast) = match (&definition, &mut records, step.action) {
            (Some(definition), Some(records), Action::Build) => {
                let past = records.engine_and_base()?;
                let forecast = past.forecast(definition, request.no_cache);
                (Some(past), forecast)
            }
            _ => (None, None),
        };
        surveyed.push(Surveyed {
            warnings: warnings(job, &step, &inventory),
            job,
            definition,
            step,
            forecast,
            proof,
            past,
            database,
        });
    }
    Ok(surveyed)
}

/// The image whose database an app alone is proved with, as far as it is there; the
/// request has that image before it.
fn database_of(job: &ImageRequest, before: &[Surveyed<'_>]) -> Option<ImageId> {
    let name = job.spec.database.elsewhere.as_ref()?;
    let database = before.iter().find(|one| one.job.spec.name == *name)?;
    let is_there = database.step.action != Action::Build;
    database.step.image_id.clone().filter(|_| is_there)
}

/// What of a job is to be told before any work.
fn warnings(job: &ImageRequest, step: &ImagePlan, inventory: &Inventory) -> Vec<String> {
    let mut warnings = job.spec.overruled.clone();
    warnings.extend(job.app.as_ref().and_then(Application::unlocked));
    warnings.extend(job.app.iter().flat_map(Application::disagreeing_lists));
    warnings.extend(job.two_locks());
    let python = job.base.python_version();
    warnings.extend(job.app.as_ref().and_then(|app| app.without_wheel(python)));
    let app = job.spec.app.as_ref();
    let name = app.and_then(|app| app.name.as_deref()).unwrap_or_default();
    let other = step.tags.iter().find_map(|tag| {
        let label = inventory.label_of(inventory.id_of(tag)?, APP_LABEL)?;
        (label != name).then_some((tag, label))
    });
    if let Some((tag, before)) = other {
        let name = if app.is_some() { name } else { "a database alone" };
        warnings.push(format!(
            "{tag} is the app {before}, and is to become {name}: a volume of {before} will be refused by it"
        ));
    }
    warnings
}

fn step(
    host: &Host,
    request: &Request,
    job: &ImageRequest,
    definition: Option<&Definition>,
    engine_and_bases: Option<EngineAndBases<'_>>,
    (inventory, database): (&Inventory, Option<&ImageId>),
) -> Result<(ImagePlan, Option<Verified>)> {
    let name = job.spec.name.as_str();
    let fingerprint = definition.map(Definition::fingerprint);
    let tags = job.tags(fingerprint)?;
    let (present, proof) = match fingerprint {
        Some(fingerprint) => present(inventory, job, database, &fingerprint.to_string(), &tags)?,
        None => Default::default(),
    };
    let known = match (engine_and_bases, definition, &present.image_id) {
        (Some(engine_and_bases), Some(definition), None) => KnownRuns {
            last: past::last_build(host, engine_and_bases.engine, name, definition)?,
            ..KnownRuns::default()
        },
        (_, _, Some(id)) if !present.proved => past::verdicts_on(host, job, database, id)?,
        _ => KnownRuns::default(),
    };
    let wanted = WantedImage {
        definition: definition.zip(fingerprint),
        base_set: &job.base.name,
        known: &known,
        tags: &tags,
        forced: request.no_cache,
    };
    Ok((plan::decide(name, &wanted, present), proof))
}

/// What an engine has of an image with this fingerprint, and the proof of it.
fn present(
    inventory: &Inventory,
    job: &ImageRequest,
    database: Option<&ImageId>,
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
        image_id: ids.first().map(|&id| id.clone()),
        ..Present::default()
    };
    // Of several images of one fingerprint (two checkouts at once) a proved one.
    let mut proof = None;
    let is_known = job.spec.database.elsewhere.is_none() || database.is_some();
    for id in ids.into_iter().filter(|_| is_known) {
        proof = smoke::recall(inventory, &job.spec, database, id)?;
        if proof.is_some() {
            present.image_id = Some(id.clone());
            present.proved = true;
            break;
        }
    }
    for tag in tags {
        if let Some(id) = inventory.id_of(tag) {
            present.tags.insert(tag.clone(), id.clone());
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
    signal: ChangeSignal,
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
            signal: ChangeSignal::default(),
        }
    }

    /// Folders that are walked from now on, in the background: for a caller
    /// that waits for an engine, and for nothing that could take long. What is
    /// built should have been read a moment before.
    pub(crate) fn in_background(host: &'a Host, request: &Request) -> Self {
        let mut contexts = Self::new(host);
        let apps = request.jobs.iter().filter_map(|job| job.app.as_ref());
        let apps = apps.map(|app| (app.folder.clone(), Role::App));
        for (folder, role) in apps.chain([(rootfs_folder(host), Role::Rootfs)]) {
            contexts.walking.entry(folder.clone()).or_insert_with(|| {
                let scan = Scan::new(host, &folder, role, &contexts.signal);
                std::thread::spawn(move || scan.run())
            });
        }
        contexts
    }

    fn of(&mut self, app: Option<&Application>) -> Result<BTreeMap<String, Inputs>> {
        let mut all = BTreeMap::new();
        if let Some(app) = app {
            all.insert(String::new(), self.of_app(app)?);
        }
        let rootfs = self.inputs(&rootfs_folder(self.host), Role::Rootfs)?;
        all.insert(ROOTFS.to_owned(), rootfs);
        Ok(all)
    }

    fn of_app(&mut self, app: &Application) -> Result<Inputs> {
        let folder = &app.folder;
        let inputs = self.inputs(folder, Role::App)?;
        let is_there = |name: &&str| inputs.binary_search_by(|input| (*input.path).cmp(*name)).is_ok();
        let left_out: Vec<&str> = app.needed().into_iter().filter(|name| !is_there(name)).collect();
        if !left_out.is_empty() {
            let message = format!(
                "{} leaves out {}, which the image cannot do without",
                folder.join(".dockerignore").display(),
                left_out.join(" and ")
            );
            let lines: Vec<String> = left_out.iter().map(|name| format!("`!{name}`")).collect();
            let (what, lines) = match lines.as_slice() {
                [one] => ("line", one.clone()),
                all => ("lines", all.join(" and ")),
            };
            let hint = format!("add the {what} {lines} at the end of that file");
            return Err(failure::usage(message).hint(hint).into());
        }
        Ok(inputs)
    }

    fn inputs(&mut self, folder: &Path, role: Role) -> Result<Inputs> {
        if let Some(inputs) = self.walked.get(folder) {
            return Ok(inputs.clone());
        }
        let found = match self.walking.remove(folder) {
            Some(walk) => walk.join().unwrap_or_else(|panic| resume_unwind(panic))?,
            None => Scan::new(self.host, folder, role, &self.signal).run()?,
        };
        for left_out in &found.left_out {
            let name = one_line(&left_out.path);
            let text = format!(
                "not in the image: {} ({})",
                folder.join(&*name).display(),
                left_out.reason.as_str()
            );
            if left_out.reason == ExclusionReason::Credentials {
                // An app may mean it, and would miss it.
                let report = &self.host.report;
                report.detail(format!("{text}; `!{}` in .dockerignore lets it in", name));
            } else {
                self.host.report.debug(text);
            }
            for pattern in &left_out.refused {
                self.host.report.warn(format!(
                    "{} stays out of the image although `{pattern}` names it ({})",
                    name,
                    left_out.reason.as_str()
                ));
            }
        }
        self.walked.insert(folder.to_owned(), found.inputs.clone());
        Ok(found.inputs)
    }
}

/// What the walk of one folder needs, for whichever thread.
struct Scan {
    folder: PathBuf,
    role: Role,
    own: Vec<PathBuf>,
    index: PathBuf,
    sender: ChangeSender,
    interrupt: Interrupt,
}

impl Scan {
    fn new(host: &Host, folder: &Path, role: Role, signal: &ChangeSignal) -> Self {
        Self {
            folder: folder.to_owned(),
            role,
            own: own_folders(host),
            index: index_file(host, folder),
            sender: signal.sender(),
            interrupt: host.runner.interrupt(),
        }
    }

    fn run(&self) -> Result<Found> {
        let rules = match self.role {
            Role::App => Rules::safe(context::ignore(&self.folder, None)?).without(&self.folder, &self.own),
            Role::Rootfs => Rules::exact(Ignore::default()),
        };
        let options = WalkOptions {
            index: Some(&self.index),
            changed: &|| self.sender.tell(),
            stop: &|| self.interrupt.is_set(),
        };
        context::scan(&self.folder, &rules, &options)
    }
}

/// Where this tool and whoever runs its compose files write to, and the specs of its
/// images: in no image, wherever it lies.
pub(crate) fn own_folders(host: &Host) -> Vec<PathBuf> {
    let folders = [
        host.state_dir(),
        host.cache_dir(),
        host.backup_dir(),
        host.root.join("target"),
    ];
    // With the values that only the gate gets, where the app's folder holds the checkout.
    let images = fs_err::read_dir(host.root.join("images")).into_iter();
    let specs = images
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("image.json"));
    let beside_compose = fs_err::read_dir(host.root.join("docker/compose")).into_iter();
    let secrets = beside_compose.flatten().flatten().map(|entry| entry.path());
    let is_secret = |path: &PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        matches!(ending, Some("env" | "password"))
    };
    let secrets = secrets.filter(is_secret);
    folders.into_iter().chain(specs).chain(secrets).collect()
}

/// The folder of files that every image gets, `docker/rootfs` of the checkout.
pub fn rootfs_folder(host: &Host) -> PathBuf {
    host.root.join("docker/rootfs")
}

/// Where the digests of a folder's files are remembered.
pub(crate) fn index_file(host: &Host, folder: &Path) -> PathBuf {
    host.state_dir().join("index").join(context::folder_key(folder))
}
