//! The entries of a run that is going on: opened before its work starts, closed
//! when it has ended, good or bad.

use std::collections::BTreeMap;
use std::time::SystemTime;

use anyhow::Result;

use super::store::Store;
use super::{Asked, HistoryEntry, RecordedStep, RecordedVerdict, RunOutcome, SCHEMA};
use definition::Definition;
use definition::identity::ImageId;
use inputs::clock;

use definition::plan;
use inputs::fingerprint::Fingerprint;

/// One open entry for each image that the run works on.
#[derive(Debug)]
pub struct Journal<'a> {
    store: Store<'a>,
    /// An image's name → its open entry.
    entries: BTreeMap<String, HistoryEntry>,
}

/// What an entry is opened with.
#[derive(Debug)]
pub struct RecordedWork<'a> {
    /// What the plan says of the image.
    pub step: &'a plan::ImagePlan,
    /// What the image is built from, with its fingerprint.
    pub definition: (&'a Definition, Fingerprint),
    /// Whether the run was asked to use no cache.
    pub no_cache: bool,
    /// The name of the base set that is built on.
    pub base_set: &'a str,
    /// The engine of the run, as [`engine::Identity`] prints it.
    pub engine: &'a str,
}

impl<'a> Journal<'a> {
    /// A journal without entries, to be written to this store.
    pub fn new(store: Store<'a>) -> Self {
        Self {
            store,
            entries: BTreeMap::new(),
        }
    }

    /// Opens an image's entry. From here on its last entry says that it is not
    /// finished, until [`Self::close`] says how it ended.
    ///
    /// # Errors
    /// When the state folder cannot be written, or on Ctrl-C.
    pub fn open(&mut self, work: &RecordedWork<'_>) -> Result<()> {
        let (definition, fingerprint) = work.definition;
        let step = work.step;
        let entry = self
            .store
            .add(&step.name, definition, |number, definition| HistoryEntry {
                schema: SCHEMA,
                number,
                began: now(),
                completed: None,
                action: step.action,
                reason: step.reason.clone(),
                asked: Asked {
                    tags: step.tags.iter().map(ToString::to_string).collect(),
                    no_cache: work.no_cache,
                    base_set: work.base_set.to_owned(),
                },
                engine: work.engine.to_owned(),
                fingerprint,
                definition,
                image_id: step.image_id.clone(),
                steps: Vec::new(),
                verdict: None,
                outcome: RunOutcome::Unfinished,
            })?;
        self.entries.insert(step.name.clone(), entry);
        Ok(())
    }

    /// Notes the image that was built.
    ///
    /// # Errors
    /// When the state folder cannot be written.
    pub fn built(&mut self, image: &str, id: &ImageId) -> Result<()> {
        self.note(image, |entry| entry.image_id = Some(id.clone()))
    }

    /// Notes what became of the steps.
    ///
    /// # Errors
    /// When the state folder cannot be written.
    pub fn ran(&mut self, image: &str, steps: Vec<RecordedStep>) -> Result<()> {
        self.note(image, |entry| entry.steps = steps)
    }

    /// Notes what the suite found.
    ///
    /// # Errors
    /// When the state folder cannot be written.
    pub fn proved(&mut self, image: &str, verdict: RecordedVerdict) -> Result<()> {
        self.note(image, |entry| entry.verdict = Some(verdict))
    }

    fn note(&mut self, image: &str, change: impl FnOnce(&mut HistoryEntry)) -> Result<()> {
        let Some(entry) = self.entries.get_mut(image) else {
            return Ok(());
        };
        change(entry);
        self.store.write(image, entry)
    }

    /// Closes all entries.
    ///
    /// # Errors
    /// When the state folder cannot be written.
    pub fn close(mut self, error: Option<&anyhow::Error>) -> Result<()> {
        let outcome = match error {
            None => RunOutcome::Tagged,
            Some(error) => RunOutcome::Stopped {
                message: first_line(error),
            },
        };
        for (image, entry) in &mut self.entries {
            entry.completed = Some(now());
            entry.outcome = outcome.clone();
            self.store.write(image, entry)?;
        }
        Ok(())
    }
}

/// The time of now, as entries have it.
pub fn now() -> String {
    clock::rfc3339(SystemTime::now())
}

/// Without the lines of a log, which are not ours to keep.
fn first_line(error: &anyhow::Error) -> String {
    let text = failure::render(error);
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::store::tests::host;
    use crate::sample::sample;
    use definition::plan::{KnownRuns, Present, WantedImage, decide};
    use definition::reference::Reference;

    /// The entry on disk after it was opened, and after the run ended.
    fn entries(error: Option<&anyhow::Error>) -> (HistoryEntry, HistoryEntry) {
        let dir = tempfile::tempdir().unwrap();
        let host = host(dir.path());
        let definition = sample();
        let fingerprint = definition.fingerprint();
        let wanted = WantedImage {
            definition: Some((&definition, fingerprint)),
            base_set: "debian",
            known: &KnownRuns::default(),
            tags: &[Reference::parse("hive-genie:1").unwrap()],
            forced: false,
        };
        let step = decide("genie", &wanted, Present::default());
        let mut journal = Journal::new(Store::of(&host));
        journal
            .open(&RecordedWork {
                step: &step,
                definition: (&definition, fingerprint),
                no_cache: false,
                base_set: "debian",
                engine: "engine",
            })
            .unwrap();
        let on_disk = || Store::of(&host).entries("genie").remove(0);
        let opened = on_disk();
        journal.built("genie", &id(1)).unwrap();
        // No entry was opened for it: it had no work.
        journal.built("agent", &id(2)).unwrap();
        journal.close(error).unwrap();
        assert_eq!(Store::of(&host).images(), ["genie"]);
        (opened, on_disk())
    }

    fn id(n: u8) -> ImageId {
        format!("sha256:{n:064}").parse().unwrap()
    }

    #[test]
    fn an_entry_is_unfinished_until_the_run_has_ended() {
        let (opened, closed) = entries(None);
        assert_eq!(
            (&opened.outcome, &opened.completed),
            (&RunOutcome::Unfinished, &None)
        );
        assert_eq!((opened.number, opened.image_id), (1, None));
        assert_eq!(closed.outcome, RunOutcome::Tagged);
        assert!(closed.completed >= Some(closed.began));
        assert_eq!(closed.image_id, Some(id(1)));
    }

    #[test]
    fn a_failure_is_kept_by_its_first_line_without_the_log() {
        let error = failure::build("build of genie failed at [deps 2/3] RUN x\n  password=abc").into();
        let (_, closed) = entries(Some(&error));
        assert_eq!(
            closed.outcome.shown(),
            "build of genie failed at [deps 2/3] RUN x"
        );
    }
}
