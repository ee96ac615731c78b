//! The container that comes to an end: the database is taken away for a
//! moment, the container is stopped, and a new one boots on its volume.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::REQUEST;
use super::strand::{SECRETS, Strand};
use crate::checks::{self, database, files};
use crate::facts::Moment;
use crate::facts::OUTAGE_LIMIT;
use crate::facts::{ContainerHealth, GatePart, Outage, Stop};
use container::ask::{self, Answer};
use container::boot::MOUNT;
use container::finding::Reached;
use container::finding::flaw;
use container::finding::settled;
use container::http::{Client, one_line};
use container::look;
use definition::spec::{App, HealthMeaning};

/// An endpoint that asks the database has noticed by then.
const SOON: Duration = Duration::from_secs(3);

/// `docker stop`'s own default: what users get.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(10);

/// What is asked right before the stop. The last one leaves a session behind.
const BEFORE_STOP: [(&str, &str); 4] = [
    SECRETS,
    ("data", database::DATA_DIRECTORY),
    ("files", files::WRITE),
    ("rows", database::WRITE_ROWS),
];

impl Strand<'_> {
    /// Boots on an empty volume, loses its database, ends, and is followed by
    /// another one. `booting` is told when it is up, and closed then, or when it
    /// is given up; so is `quiet`.
    pub(super) fn die(&mut self, booting: Sender<()>, quiet: Sender<()>) -> Result<()> {
        let booted = self.boot("first boot", self.facts.spec.budgets.ready_seconds);
        drop(quiet);
        self.facts.first = booted?;
        if self.facts.is_ready() {
            // Where nobody listens, that one has ended with an error of its own.
            booting.send(()).ok();
        }
        drop(booting);
        if let Err(why) = &self.facts.first {
            let why = flaw(format!("not reached: {why}"));
            self.facts.outage = Err(why.clone());
            self.facts.stop = Err(why.clone());
            self.facts.again = Err(why);
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

    fn take_postgresql_away(&mut self) -> Result<()> {
        let began = Instant::now();
        self.event("outage: stop PostgreSQL");
        let stopped = self.exec_at_server("outage", database::TAKE_AWAY)?;
        self.facts.outage = match stopped {
            Err(why) => Err(why),
            Ok(answer) if !answer.ok() => Err(flaw(format!(
                "PostgreSQL could not be stopped: {}",
                answer.shown()
            ))),
            Ok(_) => self.watch_outage()?,
        };
        self.facts.took.insert(GatePart::Outage, began.elapsed());
        Ok(())
    }

    fn watch_outage(&mut self) -> Result<Reached<Outage>> {
        self.event("outage: PostgreSQL is away");
        let app = self.facts.spec.app.clone();
        let notice = app.as_ref().map_or(Duration::ZERO, time_to_notice);
        let (resources, name) = (self.resources.clone(), self.name("look"));
        let (id, volume) = (self.server_image().clone(), self.volume.name().to_owned());
        let (left, beside) = thread::scope(|scope| {
            // An app takes a second to notice, in which the machine is idle.
            let beside = scope.spawn(move || look::beside(&resources, &name, &id, &volume));
            let noticed = app.as_ref().map(|app| self.wait_for_health(app, false, notice));
            (noticed.transpose(), beside.join())
        });
        // Where there is no app, nothing is asked but the image's own check.
        let (noticed, said) = left?.unwrap_or_default();
        // Without it the look takes a container of its own.
        self.beside = match beside {
            Ok(started) => settled(started)?.ok(),
            Err(_) => None,
        };
        self.event(format!("outage: health says {said}"));
        let (away, container_said) = self.wait_for_container(false)?;
        let started = Instant::now();
        if let Err(why) = self.exec_at_server("outage", database::BRING_BACK)? {
            return Ok(Err(why));
        }
        let (answered, last) = match &app {
            Some(app) => self.wait_for_health(app, true, OUTAGE_LIMIT)?,
            None => (None, String::new()),
        };
        // With what it took to bring PostgreSQL back.
        let back = answered.map(|_| started.elapsed());
        self.event(format!("outage: over, health says {last}"));
        let (container_back, last_of_container) = self.wait_for_container(true)?;
        Ok(Ok(Outage {
            noticed,
            said: if back.is_some() { said } else { last },
            back,
            container: ContainerHealth {
                left: away.is_some(),
                said: if container_back.is_some() {
                    container_said
                } else {
                    last_of_container
                },
                back: container_back,
            },
        }))
    }

    /// Asks until health gives an answer that will do (`up`) or another one; how long that took
    /// and the last answer.
    fn wait_for_health(
        &mut self,
        app: &App,
        up: bool,
        limit: Duration,
    ) -> Result<(Option<Duration>, String)> {
        let Some(port) = self.instance().map(|instance| instance.port) else {
            return Ok((None, "nothing".to_owned()));
        };
        let client = Client::new(port, false);
        let began = Instant::now();
        loop {
            let reply = client.get(app.asked_path(), REQUEST);
            let is_up = reply.as_ref().is_ok_and(|reply| app.is_answer(reply.status));
            let said = match reply {
                Ok(reply) if is_up => reply.status.to_string(),
                Ok(reply) => reply.shown(),
                Err(error) => error,
            };
            if is_up == up {
                return Ok((Some(began.elapsed()), said));
            }
            if began.elapsed() > limit {
                if let Some(instance) = self.instance() {
                    self.facts.death = instance.death("the outage of PostgreSQL")?;
                }
                return Ok((None, said));
            }
            self.resources.runner.sleep(Duration::from_millis(25))?;
        }
    }

    /// Runs the image's own health check until it is content (`up`) or not; how
    /// long that took and what it said last.
    fn wait_for_container(&mut self, up: bool) -> Result<(Option<Duration>, String)> {
        let command = checks::image::health_command(&self.facts);
        let Some(instance) = self.instance() else {
            return Ok((None, "nothing".to_owned()));
        };
        let container = Arc::clone(&instance.container);
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let began = Instant::now();
        loop {
            let (content, said) = match settled(container.exec(ask::DEADLINE, &[], &words, None))? {
                Ok(output) => (output.success(), one_line(&output.stdout_text())),
                Err(error) => (false, error),
            };
            if content == up {
                return Ok((Some(began.elapsed()), said));
            }
            if began.elapsed() > OUTAGE_LIMIT {
                return Ok((None, said));
            }
            self.resources.runner.sleep(Duration::from_millis(50))?;
        }
    }

    fn stop(&mut self) -> Result<()> {
        let began = Instant::now();
        let asked = self.exec(&BEFORE_STOP, "stop")?;
        let answers = asked.clone().unwrap_or_default();
        self.learn_secrets(&answers);
        self.directory = answer(&answers, "data")
            .and_then(database::data_directory)
            .map(str::to_owned);
        let opened = asked.and_then(|answers| {
            let rows = answer(&answers, "rows").cloned();
            rows.ok_or_else(|| flaw("the container gave no answer"))
        });
        self.event("stop: rows are written and a session is open");
        let Some(instance) = self.instance() else {
            return Ok(());
        };
        let ended = match settled(instance.container.stop(STOP_GRACE))? {
            Ok(took) => Ok((took, instance.container.exit_code()?.unwrap_or(-1))),
            Err(error) => Err(error),
        };
        self.event("stop: docker stop returned");
        self.facts.stop = match (opened, ended) {
            (Err(why), _) => Err(why),
            (_, Err(error)) => Err(flaw(error)),
            (Ok(answer), _) if !answer.ok() => Err(flaw(format!(
                "no session could be opened before the stop: {}",
                answer.shown()
            ))),
            (Ok(_), Ok((took, exit_code))) => Ok(Stop {
                took,
                exit_code,
                // A database elsewhere goes on.
                cluster_state: match self.subject.database {
                    Some(_) => None,
                    None => Some(self.cluster_state()?),
                },
            }),
        };
        self.event("stop: the volume was looked at");
        self.facts.took.insert(GatePart::Stop, began.elapsed());
        Ok(())
    }

    /// What `pg_controldata` says of the volume, in a container that starts
    /// nothing else.
    fn cluster_state(&self) -> Result<Reached<String>> {
        let text = match self.control_data()? {
            Ok(text) => text,
            Err(why) => return Ok(Err(why)),
        };
        Ok(look::cluster_state(&text)
            .map(str::to_owned)
            .ok_or_else(|| flaw(format!("pg_controldata: {}", one_line(&text)))))
    }

    /// All that `pg_controldata` says of the volume.
    ///
    /// # Errors
    /// On Ctrl-C.
    pub(super) fn control_data(&self) -> Result<Reached<String>> {
        let known = self.directory.clone();
        let directory = known.unwrap_or_else(|| format!("{MOUNT}/pgdata"));
        let script = look::control_data(&self.facts.spec, &directory);
        let (id, volume) = (self.server_image(), self.volume.name());
        let output = match &self.beside {
            Some(beside) => beside.exec(ask::DEADLINE, &[], &["sh", "-c", &script], None),
            None => look::run(
                &self.resources,
                &self.name("look-alone"),
                id,
                volume,
                &[],
                &script,
            ),
        };
        Ok(match settled(output)? {
            Ok(output) if output.success() => Ok(output.stdout_text()),
            Ok(output) => Err(flaw(format!(
                "pg_controldata: {}",
                one_line(&output.stderr_text())
            ))),
            Err(error) => Err(flaw(error)),
        })
    }

    fn boot_again(&mut self) -> Result<()> {
        let began = Instant::now();
        self.facts.again = self.boot("restart", self.facts.spec.budgets.restart_seconds)?;
        self.facts.took.insert(GatePart::Again, began.elapsed());
        if self.is_alive() && self.facts.again.is_ok() {
            self.ask(Moment::Again)?;
            self.watch_programs("the restart")?;
        }
        Ok(())
    }
}

/// How long the endpoint is given to leave 200: as long as it is held to, and
/// for one that promises nothing as long as one that asks would take.
fn time_to_notice(app: &App) -> Duration {
    match (&app.health_path, app.health) {
        (Some(_), Some(HealthMeaning::Readiness)) => OUTAGE_LIMIT,
        (Some(_), None) => SOON,
        _ => Duration::ZERO,
    }
}

fn answer<'a>(answers: &'a [(String, Answer)], name: &str) -> Option<&'a Answer> {
    let found = answers.iter().find(|(asked, _)| asked == name);
    found.map(|(_, answer)| answer)
}
