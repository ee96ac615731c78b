//! What earlier runs left: on record in the state folder, and in the engine's
//! build cache. It explains and foretells; it decides nothing.

use std::panic::resume_unwind;
use std::rc::Rc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};

use build::request::Job;
use definition::Definition;
use definition::plan::{Known, LastBuild, LastVerdict, change};
use engine::build_cache::CacheRecord;
use engine::{Engine, Identity};
use explain::forecast::steps::steps;
use explain::forecast::{self, Forecast, Past};
use explain::history::Entry;
use explain::history::store::Store;
use host::Host;

use super::news::{News, Teller};

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

/// The same, read once and only for a build. The engine is asked in the
/// background as soon as there are news: it runs other programs to say which one
/// it is, and looks at each record of its cache.
#[derive(Debug)]
pub struct Ahead<'a> {
    host: &'a Host,
    teller: Teller,
    asked: Option<JoinHandle<Result<Option<Answer>>>>,
    read: Option<Rc<Ground>>,
}

type Answer = (Identity, Vec<CacheRecord>);

impl<'a> Ahead<'a> {
    /// Listens to the news, and nobody else does.
    pub fn new(host: &'a Host, engine: &Engine, news: &mut News) -> Self {
        let (engine, interrupt) = (engine.clone(), host.runner.interrupt());
        let ask = move || -> Result<Answer> {
            let runner = interrupt.runner()?;
            Ok((engine.identity(&runner)?, engine.build_cache(&runner)?))
        };
        let listener = news.listener();
        let asked =
            listener.map(|listener| std::thread::spawn(move || listener.hears().then(ask).transpose()));
        Self {
            host,
            teller: news.teller(),
            asked,
            read: None,
        }
    }

    /// What there is.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn ground(&mut self) -> Result<Rc<Ground>> {
        if let Some(asked) = self.asked.take() {
            // Also without news, as where the last build was pruned.
            self.teller.tell();
            let store = Store::of(self.host);
            let images = store.images();
            let entries = images.iter().flat_map(|image| store.entries(image)).collect();
            let answer = asked.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            self.read = answer.map(|answer| Rc::new(Ground::new(entries, answer)));
        }
        self.read
            .clone()
            .context("the engine was not asked for its build cache")
    }
}

impl Ground {
    /// Reads it now.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn read(host: &Host, engine: &Engine) -> Result<Rc<Self>> {
        Ahead::new(host, engine, &mut News::default()).ground()
    }

    fn new(mut entries: Vec<Entry>, (identity, cache): Answer) -> Self {
        let shown = identity.to_string();
        entries.retain(|entry| entry.engine == shown && !entry.steps.is_empty());
        entries.sort_by(|a, b| a.began.cmp(&b.began));
        Self {
            known: forecast::Known {
                builds: entries.into_iter().map(past).collect(),
                cache: cache.into_iter().map(|record| record.id).collect(),
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
