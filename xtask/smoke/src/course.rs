//! The course of a run: what is done to the containers, in which order, and
//! what is kept of it for the judges.

mod ending;

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use crate::Subject;
use crate::facts::{Facts, Part, Samples};
use crate::spec_checks::{self, Saved};
use crate::suite::{GATE, How, Moment};
use crate::verdict::CheckResult;
use container::ask::{self, Answer};
use container::boot::{self, Guest, MOUNT, Watched};
use container::figure::milliseconds;
use container::finding::Stage;
use container::finding::{flaw, settled};
use container::http::{Client, one_line};
use container::timeline::Timeline;
use definition::spec::Probe;
use engine::Image;
use engine::container::{Lab, Volume};

/// After ready, nothing may restart for this long.
pub const WINDOW: Duration = Duration::from_secs(3);

/// How long health may go on saying 200 after PostgreSQL stopped, and how
/// long it may take to say it again after the start.
pub const OUTAGE_LIMIT: Duration = Duration::from_secs(10);

/// Requests to the health endpoint; the first is a warm-up.
const HEALTH_REQUESTS: usize = 41;

/// A health request in a running container.
const REQUEST: Duration = Duration::from_secs(2);

/// All questions of a moment together.
const ASK_ALL: Duration = Duration::from_secs(60);

/// Prints every password that the container knows, in libpq's form.
const SECRETS: &str = "cat /run/hive/pgpass; \
    sed -n 's/^passfile=//p' /run/hive/pg_service.conf | sort -u | while read -r file; do cat \"$file\"; done";

/// A run of the suite on one image, while it goes on.
#[derive(Debug)]
pub struct Course<'a> {
    lab: &'a Lab,
    subject: &'a Subject,
    prefix: String,
    // Dropped in this order: a volume in use cannot be removed.
    guests: Vec<Guest>,
    volume: Volume,
    /// What was seen.
    pub facts: Facts,
    /// Results of the spec's own checks.
    pub own: Vec<CheckResult>,
    /// What happened when, for the bundle.
    pub timeline: Timeline,
    /// Ready, or given up.
    settled_from: Instant,
}

impl<'a> Course<'a> {
    /// An empty volume and nothing else yet. `prefix` starts the names of all
    /// that the run makes.
    ///
    /// # Errors
    /// When the engine refuses the volume.
    pub fn new(lab: &'a Lab, subject: &'a Subject, image: Image, prefix: String) -> Result<Self> {
        let volume = lab.volume(&format!("{prefix}-data"))?;
        let facts = Facts::new(&subject.spec, image, volume.name());
        Ok(Self {
            lab,
            subject,
            prefix,
            guests: Vec::new(),
            volume,
            facts,
            own: Vec::new(),
            timeline: Timeline::default(),
            settled_from: Instant::now(),
        })
    }

    /// All of it. What goes wrong in the container is a fact, not an error.
    ///
    /// # Errors
    /// On Ctrl-C, or when the engine does not answer.
    pub fn run(&mut self) -> Result<()> {
        self.first_boot()?;
        if self.is_alive() {
            self.ask(Moment::Fresh)?;
            self.learn_secrets()?;
            self.request_health()?;
            self.run_own_checks()?;
            self.settle()?;
        }
        if self.is_alive() && self.facts.says_healthy() {
            self.take_postgresql_away()?;
        }
        if self.is_alive() {
            self.stop()?;
        }
        if self.facts.stop.is_ok() && self.facts.is_ready() {
            self.boot_again()?;
        }
        self.close()
    }

    /// The containers, oldest first, for the bundle.
    pub fn guests(&self) -> &[Guest] {
        &self.guests
    }

    /// What is left where nothing is removed, for people to look at.
    pub fn kept(&self) -> Vec<String> {
        let containers = self.guests.iter().map(|guest| guest.container.name());
        let kept = containers.map(|name| format!("container {name}"));
        kept.chain([format!("volume {}", self.volume.name())]).collect()
    }

    fn is_alive(&self) -> bool {
        !self.guests.is_empty() && self.facts.death.is_none()
    }

    /// Notes when something happened.
    pub fn event(&mut self, text: impl AsRef<str>) {
        self.timeline.note(text);
    }

    fn first_boot(&mut self) -> Result<()> {
        let began = Instant::now();
        let boot = self.boot("first boot", self.facts.spec.budgets.ready_seconds)?;
        self.facts.took.insert(Part::Boot, began.elapsed());
        self.facts.first = boot;
        self.settled_from = Instant::now();
        let began = Instant::now();
        self.facts.history = self.history()?;
        self.facts.took.insert(Part::Image, began.elapsed());
        Ok(())
    }

    fn boot(&mut self, during: &'static str, budget: f64) -> Result<Stage<boot::Boot>> {
        let name = format!("{}-{}", self.prefix, self.guests.len() + 1);
        self.event(format!("{during}: docker run {}", self.subject.image_id));
        let port = self.facts.spec.app.port;
        let mount = format!("{}:{MOUNT}", self.volume.name());
        let options = ["--volume", mount.as_str()];
        let started = Guest::start(self.lab, &self.subject.image_id, &name, &options, port);
        let guest = match settled(started)? {
            Ok(guest) => guest,
            Err(error) => {
                self.event(format!("{during}: {error}"));
                return Ok(Err(flaw(error)));
            }
        };
        self.event(format!("{during}: container {name}, 127.0.0.1:{}", guest.port));
        let watched = boot::watch(self.lab, &guest, &self.facts.spec, budget, during)?;
        self.guests.push(guest);
        Ok(match watched {
            Watched::Up(boot) => {
                self.event(match boot.ready {
                    Some(ready) => format!("{during}: healthy after {:.3} s", ready.as_secs_f64()),
                    None => format!("{during}: not healthy: {}", one_line(&boot.last_words)),
                });
                Ok(boot)
            }
            Watched::Dead(death) => {
                self.event(format!("{during}: ended, {}", death.how));
                let why = flaw(format!("the container ended during {during}, {}", death.how));
                self.facts.death = Some(death);
                Err(why)
            }
        })
    }

    fn history(&self) -> Result<Stage<String>> {
        let args = [
            "history",
            "--no-trunc",
            "--format",
            "{{json .}}",
            &self.subject.image_id,
        ];
        let read = self.lab.engine.cmd(&self.lab.runner, &args).read();
        Ok(settled(read)?.map_err(flaw))
    }

    /// Asks every question of a moment in one exec.
    fn ask(&mut self, when: Moment) -> Result<()> {
        let questions: Vec<(&'static str, &str)> = GATE
            .iter()
            .filter_map(|check| match check.how {
                How::Ask(moment, script, _) if moment == when => Some((check.name, script)),
                _ => None,
            })
            .collect();
        self.event(format!("{}: {} questions", when.as_str(), questions.len()));
        let got = self.exec(&questions, when.as_str())?;
        for (name, _) in questions {
            let answer = got.as_ref().map_err(Clone::clone).and_then(|answers| {
                let found = answers.iter().find(|(asked, _)| asked == name);
                found
                    .map(|(_, answer)| answer.clone())
                    .ok_or_else(|| flaw("the container gave no answer"))
            });
            self.facts.answers.insert((when, name), answer);
        }
        Ok(())
    }

    /// Runs scripts in the newest container; a container that is gone is noted.
    fn exec(
        &mut self,
        questions: &[(&str, &str)],
        during: &'static str,
    ) -> Result<Stage<Vec<(String, Answer)>>> {
        let Some(guest) = self.guests.last() else {
            return Ok(Err(flaw("not reached: no container was started")));
        };
        let token = format!("smoke-{}", self.timeline.began().elapsed().as_nanos());
        let script = ask::script(&ask::prelude(&self.facts.spec), &token, questions);
        let output = guest.container.exec(ASK_ALL, &[], &["sh", "-c", &script], None);
        let output = match settled(output)? {
            Ok(output) => output,
            Err(error) => return Ok(Err(flaw(error))),
        };
        let answers = ask::answers(&token, &String::from_utf8_lossy(&output.stdout));
        if answers.len() < questions.len() {
            let death = guest.death(during)?;
            let said = one_line(&output.stderr_text());
            if let Some(death) = death {
                self.event(format!("{during}: the container ended, {}", death.how));
                self.facts.death = Some(death);
            } else if answers.is_empty() {
                return Ok(Err(flaw(format!("docker exec: {said}"))));
            }
        }
        Ok(Ok(answers))
    }

    /// One script; its answer.
    fn exec_one(&mut self, name: &'static str, script: &str) -> Result<Stage<Answer>> {
        let answers = self.exec(&[(name, script)], name)?;
        Ok(answers.and_then(|mut answers| {
            let answer = answers.pop().map(|(_, answer)| answer);
            answer.ok_or_else(|| flaw("the container gave no answer"))
        }))
    }

    fn learn_secrets(&mut self) -> Result<()> {
        if let Ok(answer) = self.exec_one("secrets", SECRETS)? {
            self.facts.secrets = answer.text.lines().filter_map(password_of).collect();
            self.facts.secrets.sort();
            self.facts.secrets.dedup();
        }
        Ok(())
    }

    fn request_health(&mut self) -> Result<()> {
        let Some(port) = self.guests.last().map(|guest| guest.port) else {
            return Ok(());
        };
        let began = Instant::now();
        // A connection each, as health checks come.
        let client = Client::new(port, false);
        let path = self.facts.spec.app.health_path.clone();
        let mut samples = Samples {
            took_ms: Vec::new(),
            bad: Vec::new(),
        };
        for n in 0..HEALTH_REQUESTS {
            self.lab.runner.check_interrupt()?;
            match client.get(&path, REQUEST) {
                Ok(reply) if reply.status == 200 && n == 0 => {}
                Ok(reply) if reply.status == 200 => samples.took_ms.push(milliseconds(reply.took)),
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
        self.facts.health = Ok(samples);
        self.facts.took.insert(Part::Health, began.elapsed());
        Ok(())
    }

    fn run_own_checks(&mut self) -> Result<()> {
        let Some(port) = self.guests.last().map(|guest| guest.port) else {
            return Ok(());
        };
        let client = Client::new(port, true);
        let mut saved = Saved::new();
        for check in self.facts.spec.checks.clone() {
            self.lab.runner.check_interrupt()?;
            let began = Instant::now();
            let judged = match &check.probe {
                Probe::Http(_) if !self.facts.says_healthy() => {
                    Err(flaw("not reached: the app is not healthy"))
                }
                Probe::Http(probe) => spec_checks::http(&client, probe, &mut saved),
                Probe::Sql(probe) => {
                    let script = spec_checks::sql_script(probe, &saved);
                    self.exec_one("spec", &script)?
                        .and_then(|answer| spec_checks::sql(probe, &mut saved, &answer))
                }
            };
            let name = format!("spec: {}", check.name);
            self.own.push(CheckResult::new(name, began.elapsed(), judged));
        }
        self.event(format!("{} checks of the spec", self.own.len()));
        Ok(())
    }

    /// Waits for the end of the window, then looks whether all is as it was.
    fn settle(&mut self) -> Result<()> {
        if self.facts.is_ready() {
            let left = WINDOW.saturating_sub(self.settled_from.elapsed());
            self.lab.runner.sleep(left)?;
        }
        self.facts.took.insert(Part::Window, self.settled_from.elapsed());
        self.ask(Moment::Settled)?;
        if let Some(guest) = self.guests.last() {
            self.facts.settled_log = settled(guest.container.logs())?.map_err(flaw);
        }
        Ok(())
    }

    /// Takes what only lives as long as the containers.
    fn close(&mut self) -> Result<()> {
        if self.is_alive() && self.facts.again.is_err() && !self.facts.is_ready() {
            self.event("the container is still up and not ready");
        }
        for guest in &self.guests {
            match settled(guest.container.logs())? {
                Ok(log) => self.facts.whole_log.push_str(&log),
                Err(error) => self.facts.whole_log.push_str(&error),
            }
        }
        if let Some(guest) = self.guests.first() {
            let inspect = settled(guest.container.inspect())?;
            self.facts.inspect = inspect.unwrap_or(Value::Null).to_string();
        }
        self.event("end");
        Ok(())
    }
}

/// The last field of a line of a libpq password file, where `\` escapes.
fn password_of(line: &str) -> Option<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ':' => fields.push(String::new()),
            '\\' => fields.last_mut()?.extend(chars.next()),
            c => fields.last_mut()?.push(c),
        }
    }
    let is_whole = fields.len() == 5;
    fields.pop().filter(|password| is_whole && !password.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_come_out_of_libpq_files() {
        assert_eq!(password_of(r"*:*:*:hive:a\:b\\c").as_deref(), Some(r"a:b\c"));
        assert_eq!(password_of("*:*:*:hive:"), None);
        assert_eq!(password_of("cat: /run/hive/pgpass: No such file"), None);
        assert_eq!(password_of(""), None);
    }
}
