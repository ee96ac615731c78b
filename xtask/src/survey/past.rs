//! What earlier runs left: on record in the state folder, and in the engine's
//! build cache. It explains and foretells; it decides nothing.

use std::panic::resume_unwind;
use std::thread::JoinHandle;

use anyhow::Result;

use crate::definition::{self, Definition};
use crate::engine::build_cache::CacheRecord;
use crate::engine::{Engine, Identity};
use crate::forecast::steps::steps;
use crate::forecast::{self, Forecast, Past};
use crate::history::Entry;
use crate::history::store::Store;
use crate::host::Host;
use crate::plan::{Known, LastBuild, LastVerdict, change};
use crate::process::Runner;
use crate::request::Job;
use crate::smoke;

/// The last run that built the image and is recorded in full.
///
/// # Errors
/// When the engine does not answer.
pub fn last_build(
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
pub fn verdicts_on(host: &Host, job: &Job, id: &str) -> Result<Known> {
    let suite = smoke::suite::parts(&job.spec)?;
    let mut entries = Store::of(host).entries(job.spec.name.as_str());
    entries.retain(|entry| entry.image_id.as_deref() == Some(id));
    let verdict = entries.iter().rev().find_map(|entry| entry.verdict.as_ref());
    Ok(Known {
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
pub struct Ground {
    /// See [`forecast::Known`].
    pub known: forecast::Known,
    /// See [`steps`].
    linked: bool,
}

/// The engine's part of it, asked for in the background: the engine runs other
/// programs to say which one it is.
#[derive(Debug)]
pub struct Asked(JoinHandle<Result<(Identity, Vec<CacheRecord>)>>);

impl Asked {
    /// Asks.
    pub fn begin(engine: &Engine, runner: &Runner) -> Self {
        let (engine, interrupt) = (engine.clone(), runner.interrupt());
        Self(std::thread::spawn(move || ask(&engine, &interrupt.runner()?)))
    }

    fn answer(self) -> Result<(Identity, Vec<CacheRecord>)> {
        self.0.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

fn ask(engine: &Engine, runner: &Runner) -> Result<(Identity, Vec<CacheRecord>)> {
    Ok((engine.identity(runner)?, engine.build_cache(runner)?))
}

impl Ground {
    /// Reads both, unless the engine has been asked already.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn read(host: &Host, engine: &Engine, asked: Option<Asked>) -> Result<Self> {
        let (identity, cache) = match asked {
            Some(asked) => asked.answer()?,
            None => ask(engine, &host.runner)?,
        };
        let shown = identity.to_string();
        let store = Store::of(host);
        let images = store.images();
        let mut entries: Vec<Entry> = images.iter().flat_map(|image| store.entries(image)).collect();
        entries.retain(|entry| entry.engine == shown && !entry.steps.is_empty());
        entries.sort_by(|a, b| a.began.cmp(&b.began));
        Ok(Self {
            known: forecast::Known {
                builds: entries.into_iter().map(past).collect(),
                cache: cache.into_iter().map(|record| record.id).collect(),
            },
            linked: identity.containerd_store,
        })
    }

    /// What will become of a definition's steps; `None` where its Dockerfile
    /// is written in a way that the forecast does not know.
    pub fn forecast(&self, definition: &Definition, forced: bool) -> Option<Forecast> {
        let steps = steps(definition, self.linked)?;
        Some(Forecast::new(forecast::forecast(steps, &self.known, forced)))
    }
}

/// The steps of a run that have been in the engine's cache.
fn past(entry: Entry) -> Vec<Past> {
    let done = entry.steps.into_iter().filter(|step| step.seen.is_some());
    done.map(|step| Past {
        place: step.place,
        key: step.key,
        parts: step.parts,
        records: step.records,
    })
    .collect()
}
