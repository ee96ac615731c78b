//! What earlier runs left: on record in the state folder, and in the engine's
//! build cache. It explains and foretells; it decides nothing.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::rc::Rc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};

use build::request::ImageRequest;
use definition::Definition;
use definition::identity::ImageId;
use definition::plan::{KnownRuns, LastBuild, LastVerdict, change};
use engine::{Engine, Identity};
use explain::forecast::steps::steps;
use explain::forecast::{self, Forecast, Past};
use explain::history::HistoryEntry;
use explain::history::store::Store;
use host::Host;

use super::signal::{ChangeSender, ChangeSignal};

/// The last run that built the image and is recorded in full.
///
/// # Errors
/// When the engine does not answer.
pub(crate) fn last_build(
    host: &Host,
    engine: &Engine,
    name: &str,
    definition: &Definition,
) -> Result<Option<LastBuild>> {
    let store = Store::of(host);
    let fingerprint = definition.fingerprint();
    for entry in store.entries(name).into_iter().rev() {
        if entry.image_id.is_none() {
            continue;
        }
        let same_schema = entry.definition.schema == definition::SCHEMA;
        let changes = if !same_schema || entry.fingerprint == fingerprint {
            Vec::new()
        } else if let Some((old, new)) = store.differing_from(&entry.definition, definition) {
            change::changes(&old, &new)
        } else {
            continue;
        };
        return Ok(Some(LastBuild {
            schema: entry.definition.schema,
            fingerprint: entry.fingerprint,
            elsewhere: entry.fingerprint == fingerprint
                && entry.engine != engine.identity(&host.runner)?.to_string(),
            changes,
        }));
    }
    Ok(None)
}

/// What runs of this checkout found on an image.
///
/// # Errors
/// When the spec cannot be written as JSON, which a valid one always can.
pub(crate) fn verdicts_on(
    host: &Host,
    job: &ImageRequest,
    database: Option<&ImageId>,
    id: &ImageId,
) -> Result<KnownRuns> {
    let suite = smoke::suite::parts(&job.spec, database)?;
    let mut entries = Store::of(host).entries(job.spec.name.as_str());
    entries.retain(|entry| entry.image_id.as_ref() == Some(id));
    let verdict = entries.iter().rev().find_map(|entry| entry.verdict.as_ref());
    Ok(KnownRuns {
        last: None,
        verdict: verdict.map(|verdict| LastVerdict {
            at: verdict.at.clone(),
            suite_changes: verdict.changed_parts(&suite),
            failed: verdict.failed.clone(),
        }),
        built_here: !entries.is_empty(),
    })
}

/// What a forecast goes by: all images' builds on this engine, and its cache.
#[derive(Debug)]
pub struct RecordedBuilds {
    /// The recorded builds on this engine, by the keys of their steps.
    pub known: forecast::KnownBuilds,
    /// Whether the engine has the image store of containerd, in which what
    /// `COPY --link` makes depends on no step before it.
    linked: bool,
}

/// The same, read once and only for a build. The engine is asked in the
/// background as soon as there is a signal: it runs other programs to say which one
/// it is, and looks at each record of a cache that it has written to.
#[derive(Debug)]
pub(crate) struct BackgroundRecords<'a> {
    host: &'a Host,
    sender: ChangeSender,
    asked: Option<JoinHandle<Result<Option<EngineCache>>>>,
    read: Option<Rc<RecordedBuilds>>,
}

type EngineCache = (Identity, BTreeSet<String>);

impl<'a> BackgroundRecords<'a> {
    /// Waits for the signal, and nobody else does.
    pub(crate) fn new(host: &'a Host, engine: &Engine, signal: &mut ChangeSignal) -> Self {
        let (engine, interrupt) = (engine.clone(), host.runner.interrupt());
        let memory = kept_ids(host);
        let ask = move || -> Result<EngineCache> {
            let runner = interrupt.runner()?;
            Ok((
                engine.identity(&runner)?,
                engine.build_cache_ids(&runner, &memory)?,
            ))
        };
        let receiver = signal.receiver();
        let asked =
            receiver.map(|receiver| std::thread::spawn(move || receiver.hears().then(ask).transpose()));
        Self {
            host,
            sender: signal.sender(),
            asked,
            read: None,
        }
    }

    /// What there is.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) fn engine_and_base(&mut self) -> Result<Rc<RecordedBuilds>> {
        if let Some(asked) = self.asked.take() {
            // Also without a signal, as where the last build was pruned.
            self.sender.tell();
            let store = Store::of(self.host);
            let images = store.images();
            let entries = images.iter().flat_map(|image| store.entries(image)).collect();
            let answer = asked.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            self.read = answer.map(|answer| Rc::new(RecordedBuilds::new(entries, answer)));
        }
        self.read
            .clone()
            .context("the engine was not asked for its build cache")
    }
}

impl RecordedBuilds {
    /// Reads it now.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn read(host: &Host, engine: &Engine) -> Result<Rc<Self>> {
        BackgroundRecords::new(host, engine, &mut ChangeSignal::default()).engine_and_base()
    }

    fn new(mut entries: Vec<HistoryEntry>, (identity, cache): EngineCache) -> Self {
        let shown = identity.to_string();
        entries.retain(|entry| entry.engine == shown && !entry.steps.is_empty());
        entries.sort_by(|a, b| a.began.cmp(&b.began));
        Self {
            known: forecast::KnownBuilds {
                builds: entries.into_iter().map(past).collect(),
                cache,
            },
            linked: identity.containerd_store,
        }
    }

    /// What will become of a definition's steps; `None` where its Dockerfile
    /// is written in a way that the forecast does not know.
    pub fn forecast(&self, definition: &Definition, forced: bool) -> Option<Forecast> {
        let steps = steps(definition, self.linked)?;
        Some(Forecast::new(forecast::forecast(steps, &self.known, forced)))
    }
}

/// Lists the engine's build cache after a build, so that the next plan finds it
/// listed. To fail costs that plan time only.
pub(crate) fn list_build_cache(host: &Host, engine: &Engine) {
    engine.build_cache_ids(&host.runner, &kept_ids(host)).ok();
}

/// Where `Engine::build_cache_ids` keeps what it has listed, for the next plan.
fn kept_ids(host: &Host) -> PathBuf {
    host.state_dir().join("build-cache.json")
}

/// The steps of a run that have been in the engine's cache.
fn past(entry: HistoryEntry) -> Vec<Past> {
    let done = entry.steps.into_iter().filter(|step| step.seen.is_some());
    done.map(|step| Past {
        place: step.place,
        key: step.key,
        parts: step.parts,
        records: step.records,
    })
    .collect()
}
