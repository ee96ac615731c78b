//! The container that is left alone: asked, timed, and as it was when the
//! window is over.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::REQUEST;
use super::strand::{SECRETS, Strand, TABLES};
use crate::checks::{app, files};
use crate::facts::Moment;
use crate::facts::WINDOW;
use crate::facts::{GatePart, Samples};
use crate::spec_checks::{self, Saved};
use crate::suite::{self, CheckDef, How};
use crate::verdict::CheckResult;
use container::figure::milliseconds;
use container::finding::Reached;
use container::finding::{flaw, settled};
use container::http::Client;
use container::words;
use definition::spec::CheckProbe;

/// Requests to the health endpoint; the first is a warm-up.
const HEALTH_REQUESTS: usize = 41;

impl Strand<'_> {
    /// Boots on an empty volume and stays. `booted` is closed once nothing else
    /// boots. Returns the results of the spec's own checks.
    pub(super) fn stay(&mut self, booted: &Receiver<()>) -> Result<Vec<CheckResult>> {
        let began = Instant::now();
        self.facts.first = self.boot("first boot", self.facts.spec.budgets.ready_seconds)?;
        self.facts.took.insert(GatePart::Boot, began.elapsed());
        // Ready, or given up.
        let settled_from = Instant::now();
        let mut own = Vec::new();
        if self.is_alive() {
            let answers = self.ask_also(Moment::Fresh, &[SECRETS, TABLES])?;
            self.learn_secrets(&answers);
            self.facts.fresh_tables = self.tables(&answers)?;
            own = self.run_own_checks()?;
            self.look_at_image()?;
            self.until_quiet(booted)?;
            self.request_health()?;
            self.ask(Moment::Quiet)?;
            self.settle(settled_from)?;
        } else {
            self.look_at_image()?;
        }
        self.close()?;
        let is_mine = |check: &&CheckDef| match check.how {
            How::Watch(part, _) => matches!(
                part,
                GatePart::Image | GatePart::Boot | GatePart::Health | GatePart::Window
            ),
            How::Ask(when, ..) => when != Moment::Again,
        };
        let gate = suite::gate(self.facts.spec.kind())
            .filter(is_mine)
            .map(|check| crate::judge(check, &self.facts));
        // No bundle will ask for it, and the other container has a way to go.
        if !self.resources.keep && !gate.chain(own.iter().cloned()).any(|check| check.failed()) {
            self.clear();
        }
        Ok(own)
    }

    fn look_at_image(&mut self) -> Result<()> {
        let began = Instant::now();
        self.facts.history = self.history()?;
        self.facts.took.insert(GatePart::Image, began.elapsed());
        Ok(())
    }

    /// One JSON document a line, newest step first.
    fn history(&self) -> Result<Reached<String>> {
        let path = format!("/images/{}/history", self.subject.image_id);
        let steps = self
            .resources
            .engine
            .api
            .document::<Vec<Value>>(&self.resources.runner, &path);
        let lines = |steps: Vec<Value>| -> Vec<String> { steps.iter().map(Value::to_string).collect() };
        Ok(settled(steps)?.map(|steps| lines(steps).join("\n")).map_err(flaw))
    }

    /// Waits for the boots beside this container: two at once are in each
    /// other's way, and what is timed now has to say something of the image.
    fn until_quiet(&self, booted: &Receiver<()>) -> Result<()> {
        while booted.recv_timeout(Duration::from_millis(25)) == Err(RecvTimeoutError::Timeout) {
            self.resources.runner.check_interrupt()?;
        }
        Ok(())
    }

    fn request_health(&mut self) -> Result<()> {
        let port = self.instance().map(|instance| instance.port);
        let (Some(port), Some(asked)) = (port, self.facts.spec.app.clone()) else {
            return Ok(());
        };
        let began = Instant::now();
        // A connection each, as health checks come.
        let client = Client::new(port, false);
        let mut samples = Samples {
            took_ms: Vec::new(),
            bad: Vec::new(),
        };
        for n in 0..HEALTH_REQUESTS {
            self.resources.runner.check_interrupt()?;
            match client.get(asked.asked_path(), REQUEST) {
                Ok(reply) if asked.is_answer(reply.status) && n == 0 => {}
                Ok(reply) if asked.is_answer(reply.status) => samples.took_ms.push(milliseconds(reply.took)),
                Ok(reply) => samples.bad.push(reply.shown()),
                Err(error) => samples.bad.push(error),
            }
            // One that does not work need not be asked forty times.
            if samples.bad.len() >= 3 {
                break;
            }
        }
        self.event(format!(
            "health: {} good answers, {} bad",
            samples.took_ms.len(),
            samples.bad.len()
        ));
        if !samples.bad.is_empty()
            && let Some(instance) = self.instance()
        {
            let log = settled(instance.container.logs())?.unwrap_or_default();
            self.facts.exception = words::last_exception(&log);
        }
        let fails = samples.bad.first().is_some_and(|first| first.starts_with('5'));
        if fails && self.facts.exception.is_none() {
            let answer = self.exec_one("unsaid", &app::unsaid_script(&asked))?;
            self.facts.exception = answer.ok().and_then(|answer| app::unsaid(&answer));
        }
        self.facts.health = Ok(samples);
        self.facts.took.insert(GatePart::Health, began.elapsed());
        Ok(())
    }

    pub(super) fn run_own_checks(&mut self) -> Result<Vec<CheckResult>> {
        let mut own = Vec::new();
        let Some(port) = self.instance().map(|instance| instance.port) else {
            return Ok(own);
        };
        let client = Client::new(port, true);
        let mut saved = Saved::new();
        let checks = self.facts.spec.checks.clone();
        for (n, check) in checks.iter().enumerate() {
            self.resources.runner.check_interrupt()?;
            let began = Instant::now();
            let missing = spec_checks::not_saved(check, &checks[..n], &saved);
            let judged = match &check.probe {
                _ if missing.is_some() => Err(flaw(format!(
                    "not reached: no check before it has saved {{{}}}",
                    missing.unwrap_or_default()
                ))),
                CheckProbe::Http(_) if !self.facts.says_healthy() => {
                    Err(flaw("not reached: the app is not healthy"))
                }
                CheckProbe::Http(probe) => {
                    spec_checks::http(&spec_checks::through(&client), probe, &mut saved)
                }
                CheckProbe::Sql(probe) => {
                    let script = spec_checks::sql_script(probe, &saved);
                    self.exec_one("spec", &script)?
                        .and_then(|answer| spec_checks::sql(probe, &mut saved, &answer))
                }
            };
            let name = format!("spec: {}", check.name);
            own.push(CheckResult::new(name, began.elapsed(), judged));
        }
        self.event(format!("{} checks of the spec", own.len()));
        Ok(own)
    }

    /// Waits for the end of the window, then looks whether all is as it was.
    fn settle(&mut self, settled_from: Instant) -> Result<()> {
        if self.facts.spec.app.is_some() {
            // What is waited for anyway is time enough; and no figure is taken any more.
            let answer = self.exec_one("files", files::LEFT)?;
            self.facts.left = answer.and_then(|answer| files::left(&answer));
        }
        if self.facts.is_ready() {
            let left = WINDOW.saturating_sub(settled_from.elapsed());
            self.resources.runner.sleep(left)?;
        }
        self.facts.took.insert(GatePart::Window, settled_from.elapsed());
        self.ask(Moment::Settled)?;
        if let Some(instance) = self.instance() {
            self.facts.settled_log = settled(instance.container.logs())?.map_err(flaw);
        }
        Ok(())
    }
}
