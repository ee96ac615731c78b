//! Each declared input of the images that a checkout really has, changed alone
//! in a copy: the key has to move, and BuildKit has to run a step again. The
//! build ends at the first step that runs, so nothing is installed twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result};

use super::undo::{Undo, as_cloned_elsewhere};
use super::{BuildKitSaw, Built, ExpectedMove, Finding, Soundness, judge};
use build::assembly;
use build::base::Base;
use build::base::obtain::ObtainedBases;
use build::buildkit::progress::{Detail, Progress};
use build::buildkit::{self, BakeOptions};
use build::catalog::{Apps, Catalog};
use build::request::Request;
use build::request::Selection;
use definition::Definition;
use definition::step::StepOutcome as Step;
use definition::step::StepPlace;
use engine::Engine;
use explain::forecast::check::{self, Mismatch};
use host::Host;
use inputs::context::{Input, InputKind};
use xtask::scratch::Scratch;
use xtask::survey::past::RecordedBuilds;
use xtask::survey::{self, Contexts, EngineAndBases, Surveyed};

/// The most files of a context that are tried, spread evenly over all.
const FILES: usize = 48;

/// What an image is tried with.
#[derive(Debug)]
pub struct Trial<'a> {
    /// The engine that the images are built in.
    pub engine: &'a Engine,
    /// The bases that the images have.
    pub bases: &'a ObtainedBases,
    /// A base of other content, for the case that the base moves.
    pub other_base: &'a Base,
    /// Differs from run to run.
    pub nonce: &'a str,
}

/// Something that the image's definition says the build depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Declared {
    Dockerfile,
    Argument(String),
    Base,
    /// The name of the context that it lies in, and the file.
    File(String, Input),
    /// What differs between clones: of all files at once.
    Clone,
}

/// Tries all declared inputs of the named images, of all where none is named.
///
/// # Errors
/// A build that fails, or Ctrl-C.
pub fn run(
    host: &Host,
    trial: &Trial<'_>,
    images: &[String],
    folder: &Path,
    each: &mut dyn FnMut(Finding),
) -> Result<()> {
    let scratch = Scratch::new(host, trial.engine, folder, "audit")?;
    let there = host.elsewhere(&scratch.root, scratch.state.clone());
    let catalog = Catalog::read(&scratch.root, Apps::OfSpecs)?;
    let selection = Selection {
        images: images.iter().map(|image| format!("audit-{image}")).collect(),
        ..Selection::default()
    };
    let request = Request::resolve(&there, &catalog, &selection)?;
    host.report
        .detail("builds, proves and records the images first, where that is not done");
    scratch.give_room()?;
    let names: Vec<&str> = selection.images.iter().map(String::as_str).collect();
    scratch.build_images(host, &names)?;
    let subjects = Subjects {
        past: RecordedBuilds::read(&there, trial.engine)?,
        host: there,
        trial,
        request: &request,
    };
    let surveyed = subjects.survey()?;
    for (n, one) in surveyed.iter().enumerate() {
        let definition = one.definition.as_ref().context("an image has no definition")?;
        for (declared, expect) in declared(definition) {
            each(subjects.finding(n, definition, &declared, expect)?);
        }
        for (context, inputs) in &definition.contexts {
            let left = files(inputs).len().saturating_sub(FILES);
            if left > 0 {
                each(Finding {
                    subject: subjects.image(n).to_owned(),
                    fact: format!("{}: {left} other files", shown(context)),
                    case: "other content".to_owned(),
                    seen: None,
                    verdict: Soundness::Untried(format!("{FILES} files, spread over all, stand for them")),
                });
            }
        }
    }
    Ok(())
}

/// What is tried of a definition, and what has to be seen.
fn declared(definition: &Definition) -> Vec<(Declared, ExpectedMove)> {
    let unread = ExpectedMove::Stricter("no step of the image reads it");
    let mut all = vec![
        (Declared::Dockerfile, ExpectedMove::Both),
        (Declared::Base, ExpectedMove::Both),
    ];
    all.extend(
        definition
            .arguments
            .keys()
            .map(|name| (Declared::Argument(name.clone()), unread)),
    );
    for (context, inputs) in &definition.contexts {
        all.extend(
            spread(&files(inputs), FILES)
                .into_iter()
                .map(|input| (Declared::File(context.clone(), Input::clone(input)), unread)),
        );
    }
    all.push((Declared::Clone, ExpectedMove::Neither));
    all
}

/// What is tried one by one; a directory is there for what is in it.
fn files(inputs: &[Input]) -> Vec<&Input> {
    inputs
        .iter()
        .filter(|input| input.kind != InputKind::Directory)
        .collect()
}

/// A context as the table calls it.
fn shown(context: &str) -> &str {
    if context.is_empty() { "app" } else { context }
}

/// At most `most` of them, the first and the last included.
fn spread<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    if all.len() <= most {
        return all.to_vec();
    }
    (0..most).map(|n| all[n * (all.len() - 1) / (most - 1)]).collect()
}

/// The images of one request.
struct Subjects<'a> {
    host: Host,
    /// What the forecasts go by.
    past: Rc<RecordedBuilds>,
    trial: &'a Trial<'a>,
    request: &'a Request,
}

impl Subjects<'_> {
    /// What no cache knows, of another image neither: they share steps.
    fn nonce(&self, n: usize) -> String {
        format!("{} {}", self.request.jobs[n].spec.name, self.trial.nonce)
    }

    fn survey(&self) -> Result<Vec<Surveyed<'_>>> {
        let engine_and_bases = EngineAndBases {
            engine: self.trial.engine,
            bases: self.trial.bases,
        };
        survey::survey(Contexts::new(&self.host), self.request, Some(engine_and_bases))
    }

    fn finding(
        &self,
        n: usize,
        before: &Definition,
        declared: &Declared,
        expect: ExpectedMove,
    ) -> Result<Finding> {
        let fact = name(declared);
        let context = || format!("change {fact} of {}", self.image(n));
        let restore = self.change(n, declared).with_context(context)?;
        // What is changed is put back also where the build failed.
        let seen = self.see(n, before, declared).with_context(context);
        for undo in restore {
            undo.put_back()?;
        }
        let seen = seen?;
        let verdict = judge(expect, &seen);
        Ok(Finding {
            subject: self.image(n).to_owned(),
            fact,
            case: match declared {
                Declared::Clone => "other times, modes and owners".to_owned(),
                Declared::File(..) => "other content".to_owned(),
                Declared::Dockerfile => "an instruction is added".to_owned(),
                _ => "another one".to_owned(),
            },
            seen: Some(seen),
            verdict,
        })
    }

    /// The name that the image has outside of the copy.
    fn image(&self, n: usize) -> &str {
        let name = self.request.jobs[n].spec.name.as_str();
        name.strip_prefix("audit-").unwrap_or(name)
    }

    fn folder(&self, n: usize, context: &str) -> PathBuf {
        let all = survey::folders(&self.host, self.request.jobs[n].app.as_ref());
        let found = all.into_iter().find(|(name, _)| name == context);
        found.map_or_else(|| survey::rootfs_folder(&self.host), |(_, folder)| folder)
    }

    /// Changes files of the copy; returns what they were.
    fn change(&self, n: usize, declared: &Declared) -> Result<Vec<Undo>> {
        match declared {
            Declared::File(context, input) => {
                let path = self.folder(n, context).join(&*input.path);
                let undo = Undo::of(&path)?;
                match &input.kind {
                    InputKind::Symlink { target } => {
                        fs_err::remove_file(&path)?;
                        fs_err::os::unix::fs::symlink(format!("{target}-other"), &path)?;
                    }
                    _ => {
                        let mut content = fs_err::read(&path)?;
                        content.extend_from_slice(format!("\n# {}\n", self.nonce(n)).as_bytes());
                        fs_err::write(&path, content)?;
                    }
                }
                Ok(vec![undo])
            }
            Declared::Clone => {
                let mut undo = Vec::new();
                for context in ["", survey::ROOTFS] {
                    for entry in walkdir::WalkDir::new(self.folder(n, context)) {
                        let entry = entry?;
                        if entry.file_type().is_file() {
                            undo.push(Undo::of(entry.path())?);
                            as_cloned_elsewhere(entry.path())?;
                        }
                    }
                }
                Ok(undo)
            }
            Declared::Dockerfile | Declared::Argument(_) | Declared::Base => Ok(Vec::new()),
        }
    }

    fn see(&self, n: usize, before: &Definition, declared: &Declared) -> Result<BuildKitSaw> {
        let mut surveyed = self.survey()?;
        let one = &mut surveyed[n];
        let mut base = one.base(self.trial.bases)?;
        let definition = one.definition.as_mut().context("an image has no definition")?;
        match declared {
            Declared::Dockerfile => {
                let (start, stage) = definition
                    .dockerfile
                    .rsplit_once("\nFROM ")
                    .context("the Dockerfile has no stage")?;
                let (from, rest) = stage.split_once('\n').unwrap_or((stage, ""));
                definition.dockerfile = format!(
                    "{start}\nFROM {from}\nENV HIVE_AUDIT={}\n{rest}",
                    self.trial.nonce
                );
            }
            Declared::Argument(name) => {
                let value = definition.arguments.entry(name.clone()).or_default();
                value.push_str(&format!(" {}", self.nonce(n)));
            }
            Declared::Base => {
                base = self.trial.other_base;
                definition.base.clone_from(&base.identity);
            }
            Declared::File(..) | Declared::Clone => {}
        }
        let fingerprint = definition.fingerprint();
        let forecast = self.past.forecast(definition, false);
        one.step.fingerprint = Some(fingerprint);
        let (built, steps) = self.bake(one, base)?;
        Ok(BuildKitSaw {
            key_moved: fingerprint != before.fingerprint(),
            build: Some(built),
            plain: None,
            surprises: forecast.map(|forecast| {
                let outcome = check::by_key([(forecast.steps.as_slice(), &steps)].into_iter());
                let checked = check::check(&forecast.steps, &outcome, &self.past.known);
                checked.wrong.iter().map(Mismatch::line).collect()
            }),
        })
    }

    /// Builds an image on a base, no further than to the first step that runs,
    /// and says which that was and what became of the steps.
    fn bake(&self, one: &Surveyed<'_>, base: &Base) -> Result<(Built, BTreeMap<StepPlace, Step>)> {
        let assembly = one.assembly(&self.host, base)?;
        let image = assembly.image;
        let staged = assembly::stage(&self.host, std::slice::from_ref(&assembly))?;
        let target = assembly.target(&staged, one.job.network.access())?;
        let mut progress =
            Progress::new(Detail::Quiet, &[image], &self.host.state_dir())?.until_a_step_runs();
        let secret = self.host.env.ssl_cert_file.iter();
        let options = BakeOptions {
            secrets: secret
                .map(|file| ("ca-bundle".to_owned(), file.clone()))
                .collect(),
            no_cache: false,
        };
        let Host { runner, report, .. } = &self.host;
        let baked = buildkit::bake(
            self.trial.engine,
            runner,
            report,
            &[target],
            &options,
            &mut progress,
        );
        let mut built = Built::of(progress.outcome(), image);
        match (progress.ended_by(), baked) {
            (Some((stage, instruction)), Err(_)) => built.ran.push(format!("{stage}: {instruction}")),
            (_, Err(error)) => return Err(error),
            (_, Ok(_)) => {}
        }
        Ok((built, progress.seen(image)))
    }
}

fn name(declared: &Declared) -> String {
    match declared {
        Declared::Dockerfile => "Dockerfile".to_owned(),
        Declared::Argument(name) => format!("argument {name}"),
        Declared::Base => "base".to_owned(),
        Declared::File(context, input) => format!("{}: {}", shown(context), input.path),
        Declared::Clone => "files of another clone".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::sample;

    #[test]
    fn everything_that_is_declared_is_tried() {
        let tried: Vec<Declared> = declared(&sample())
            .into_iter()
            .map(|(declared, _)| declared)
            .collect();
        let files = tried
            .iter()
            .filter(|one| matches!(one, Declared::File(..)))
            .count();
        assert_eq!(files, 3);
        for one in [
            Declared::Dockerfile,
            Declared::Base,
            Declared::Argument("PG_MAJOR".to_owned()),
            Declared::Clone,
        ] {
            assert!(tried.contains(&one), "{one:?}");
        }
    }

    #[test]
    fn many_files_are_spread() {
        let all: Vec<usize> = (0..1000).collect();
        let some = spread(&all, 40);
        assert_eq!((some.len(), some[0], some[39]), (40, 0, 999));
        assert_eq!(spread(&all[..3], 40), [0, 1, 2]);
    }
}
