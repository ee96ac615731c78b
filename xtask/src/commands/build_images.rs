//! `cargo xtask build-images`: build what has changed, prove it, move the tags.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::assembly;
use crate::base::{Base, obtain};
use crate::buildkit::progress::{Detail, Progress};
use crate::buildkit::{self, Candidate};
use crate::cli::{self, BuildImages};
use crate::engine::{Engine, Inventory, choose};
use crate::failure;
use crate::host::Host;
use crate::plan::{Action, Step};
use crate::promote::{self, Promotion};
use crate::record;
use crate::report;
use crate::request::Request;
use crate::smoke::{self, Subject, Verdict, Verified};
use crate::survey::{self, Ground, Surveyed};

/// Runs the whole way.
pub fn run(args: &BuildImages, host: &Host) -> Result<()> {
    if args.dry_run {
        return super::plan::show(&args.selection, args.engine, args.json, host);
    }
    let started = Instant::now();
    let catalog = super::catalog(host, &args.selection)?;
    let request = Request::resolve(host, &catalog, &args.selection)?;
    let secrets = secrets(args, host)?;
    let engine = choose::obtain(host, args.engine.engine)?;
    super::reap(host, &engine)?;
    let base = obtain::get(host, &engine, super::base::wanted(&request, &catalog))?;
    let platform = engine.platform(&host.runner)?;
    let ground = Ground {
        engine: &engine,
        base: Some(&base),
        platform: &platform,
    };
    let surveyed = survey::survey(host, &request, Some(ground))?;
    super::plan::announce(
        &host.report,
        &surveyed.iter().map(|one| &one.step).collect::<Vec<_>>(),
    );

    let work = Work {
        args,
        host,
        request: &request,
        engine: &engine,
        base: &base,
        secrets,
    };
    let candidates = work.build(&surveyed)?;
    let verdicts = work.prove(&surveyed, &candidates)?;
    let verified = work.verified(&surveyed, verdicts.clone())?;
    work.promote(&surveyed, &verified)?;
    work.remember(&surveyed, &verified)?;
    work.tell(&surveyed, &verified, &verdicts, started.elapsed())
}

/// What the steps of one run share.
struct Work<'a> {
    args: &'a BuildImages,
    host: &'a Host,
    request: &'a Request,
    engine: &'a Engine,
    base: &'a Base,
    secrets: BTreeMap<String, PathBuf>,
}

impl Work<'_> {
    /// Builds all images whose plan says so, in one call.
    fn build(&self, surveyed: &[Surveyed<'_>]) -> Result<Vec<Candidate>> {
        let wanted: Vec<&Surveyed<'_>> = surveyed
            .iter()
            .filter(|one| one.step.action == Action::Build)
            .collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = wanted.iter().map(|one| one.step.name.as_str()).collect();
        self.host.report.step("build", names.join(", "));
        // Held until BuildKit has read them.
        let assemblies = wanted
            .iter()
            .map(|one| one.assembly(self.host, self.base))
            .collect::<Result<Vec<_>>>()?;
        let staged = assembly::stage(self.host, &assemblies)?;
        let targets = assemblies
            .iter()
            .map(|assembly| assembly.target(self.host, &staged))
            .collect::<Result<Vec<_>>>()?;
        let options = buildkit::Options {
            secrets: self.secrets.clone(),
            no_cache: self.args.selection.no_cache,
        };
        let detail = match self.args.progress {
            cli::Progress::Auto => Detail::Steps,
            cli::Progress::Plain => Detail::Logs,
            cli::Progress::Quiet => Detail::Quiet,
        };
        let mut progress = Progress::new(detail, &names, &self.host.state_dir())?;
        let (runner, report) = (&self.host.runner, &self.host.report);
        buildkit::bake(self.engine, runner, report, &targets, &options, &mut progress)
    }

    /// Runs the suite on all that is built or not proved yet.
    fn prove(&self, surveyed: &[Surveyed<'_>], candidates: &[Candidate]) -> Result<Vec<Verdict>> {
        let mut subjects = Vec::new();
        for one in surveyed {
            let built = candidates
                .iter()
                .find(|candidate| candidate.image == one.step.name);
            let id = match (one.step.action, built) {
                (_, Some(candidate)) => candidate.id.clone(),
                (Action::Retest, None) => one.step.image_id.clone().unwrap_or_default(),
                _ => continue,
            };
            subjects.push(Subject {
                spec: one.job.spec.clone(),
                reference: id.clone(),
                image_id: id,
            });
        }
        if subjects.is_empty() {
            return Ok(Vec::new());
        }
        super::smoke::prove(self.host, self.engine, &subjects, self.args.keep_containers)
    }

    /// A proof for each image, or an error for all.
    fn verified(&self, surveyed: &[Surveyed<'_>], verdicts: Vec<Verdict>) -> Result<Vec<Verified>> {
        let failed: Vec<&Verdict> = verdicts.iter().filter(|verdict| !verdict.passed()).collect();
        if !failed.is_empty() {
            if self.args.json {
                let document = self.document(surveyed, &[], &verdicts);
                self.host.report.data(&serde_json::to_string_pretty(&document)?)?;
            }
            return Err(super::smoke::failed(&failed).hint("no tag has moved").into());
        }
        let mut proofs: BTreeMap<String, Verified> = BTreeMap::new();
        for verdict in verdicts {
            let verified = verdict.verified().map_err(|failed| failed.failure())?;
            proofs.insert(verified.image().to_owned(), verified);
        }
        // What the survey saw may be gone: tags move on what is there now.
        let inventory = self.engine.inventory(&self.host.runner)?;
        surveyed
            .iter()
            .map(|one| match proofs.remove(&one.step.name) {
                Some(verified) => Ok(verified),
                None => recall(&inventory, one),
            })
            .collect()
    }

    fn promote(&self, surveyed: &[Surveyed<'_>], verified: &[Verified]) -> Result<()> {
        if surveyed.iter().all(|one| one.step.action == Action::UpToDate) {
            return Ok(());
        }
        let promotions: Vec<Promotion<'_>> = surveyed
            .iter()
            .zip(verified)
            .map(|(one, verified)| Promotion {
                verified,
                tags: one.step.tags.clone(),
            })
            .collect();
        promote::promote(self.engine, &self.host.runner, &promotions)?;
        for one in surveyed {
            // The release tags hold the image now.
            if let (Action::Build, Some(fingerprint)) = (one.step.action, one.step.fingerprint) {
                let tag = format!("hive-candidate:{}-{}", one.step.name, fingerprint.short());
                self.engine.untag(&self.host.runner.for_cleanup(), &tag)?;
            }
        }
        Ok(())
    }

    fn remember(&self, surveyed: &[Surveyed<'_>], verified: &[Verified]) -> Result<()> {
        for (one, verified) in surveyed.iter().zip(verified) {
            if let (true, Some(definition)) = (one.step.action != Action::UpToDate, &one.definition) {
                let id = verified.image_id().to_owned();
                record::write(&self.host.state_dir(), &one.step.name, definition.clone(), id)?;
            }
        }
        Ok(())
    }

    fn tell(
        &self,
        surveyed: &[Surveyed<'_>],
        verified: &[Verified],
        verdicts: &[Verdict],
        took: Duration,
    ) -> Result<()> {
        let report = &self.host.report;
        if self.args.json {
            report.data(&serde_json::to_string_pretty(
                &self.document(surveyed, verified, verdicts),
            )?)?;
        }
        for (one, verified) in surveyed.iter().zip(verified) {
            for tag in one.step.tags.iter().filter(|_| !self.args.json) {
                report.data(&format!("{tag} {}", verified.image_id()))?;
            }
        }
        report.step(
            "done",
            format!("{} in {}", self.summary(surveyed), report::seconds(took)),
        );
        for hint in next(self.engine, surveyed) {
            report.detail(hint);
        }
        Ok(())
    }

    fn summary(&self, surveyed: &[Surveyed<'_>]) -> String {
        let count = |action: Action| surveyed.iter().filter(|one| one.step.action == action).count();
        let parts = [
            (count(Action::Build), "built, proved and tagged"),
            (count(Action::Retest), "proved again and tagged"),
            (count(Action::Retag), "tagged"),
            (count(Action::UpToDate), "up to date"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"))
            .collect();
        format!("{} on base {}", parts.join(", "), self.request.base_name)
    }

    fn document(&self, surveyed: &[Surveyed<'_>], verified: &[Verified], verdicts: &[Verdict]) -> Value {
        let images: Vec<Value> = surveyed
            .iter()
            .map(|one| {
                let proof = verified.iter().find(|verified| verified.image() == one.step.name);
                let verdict = verdicts.iter().find(|verdict| verdict.image() == one.step.name);
                let Step { name, action, reason, cause, fingerprint, tags, .. } = &one.step;
                json!({
                    "name": name, "action": action, "reason": reason, "cause": cause, "fingerprint": fingerprint,
                    "image_id": proof.map(Verified::image_id),
                    "tags": if proof.is_some() { tags.as_slice() } else { &[] },
                    "smoke": verdict.map(smoke::report::entry),
                })
            })
            .collect();
        json!({ "schema": 1, "base": self.base, "images": images })
    }
}

fn recall(inventory: &Inventory, one: &Surveyed<'_>) -> Result<Verified> {
    let id = one.step.image_id.as_deref().unwrap_or_default();
    smoke::recall(inventory, &one.job.spec, id)?.ok_or_else(|| {
        failure::build(format!(
            "the proof of {} disappeared while this run was going on",
            one.step.name
        ))
        .hint("run the same command again")
        .into()
    })
}

/// BuildKit gets files only: the CA bundle, where the network needs one.
fn secrets(args: &BuildImages, host: &Host) -> Result<BTreeMap<String, PathBuf>> {
    let mut secrets = BTreeMap::new();
    let Some(bundle) = args.ca_bundle.as_ref().or(host.env.ssl_cert_file.as_ref()) else {
        return Ok(secrets);
    };
    if !bundle.is_file() {
        let source = if args.ca_bundle.is_some() {
            "--ca-bundle"
        } else {
            "SSL_CERT_FILE"
        };
        return Err(failure::usage(format!("{source}: there is no file {}", bundle.display())).into());
    }
    secrets.insert("ca-bundle".to_owned(), std::path::absolute(bundle)?);
    Ok(secrets)
}

/// What people do next.
fn next(engine: &Engine, surveyed: &[Surveyed<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    if engine.owner == crate::engine::Owner::Private {
        lines.push("eval \"$(cargo xtask engine env)\"   # `docker` talks to the private engine".to_owned());
    }
    for one in surveyed {
        let (name, port) = (&one.job.spec.name, one.job.spec.app.port);
        let tag = one.step.tags.first().cloned().unwrap_or_default();
        lines.push(format!(
            "docker run -d --name {name} -p {port}:{port} -v {name}-data:/var/lib/postgresql/data {tag}"
        ));
    }
    if let Some(one) = surveyed.last() {
        lines.push(format!("cargo xtask smoke {}", one.step.name));
    }
    lines
}
