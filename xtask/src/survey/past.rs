//! What earlier runs left: on record in the state folder, and in the engine's
//! build cache. It explains and foretells; it decides nothing.

use anyhow::Result;

use crate::definition::{self, Definition};
use crate::engine::Engine;
use crate::forecast::steps::steps;
use crate::forecast::{self, Forecast, Past};
use crate::history::Entry;
use crate::history::store::Store;
use crate::host::Host;
use crate::plan::{Known, LastBuild, LastVerdict, change};
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

impl Ground {
    /// Reads both.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn read(host: &Host, engine: &Engine) -> Result<Self> {
        let identity = engine.identity(&host.runner)?;
        let shown = identity.to_string();
        let store = Store::of(host);
        let images = store.images();
        let mut entries: Vec<Entry> = images.iter().flat_map(|image| store.entries(image)).collect();
        entries.retain(|entry| entry.engine == shown && !entry.steps.is_empty());
        entries.sort_by(|a, b| a.began.cmp(&b.began));
        let cache = engine.build_cache(&host.runner)?;
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
