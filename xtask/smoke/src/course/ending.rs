//! The second half of a course: the database is taken away for a moment, the
//! container is stopped, and a new one boots on its volume.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Course, OUTAGE_LIMIT, REQUEST};
use crate::checks::database;
use crate::facts::{Outage, Part, Stop};
use crate::names;
use crate::suite::Moment;
use container::boot::MOUNT;
use container::finding::Stage;
use container::finding::flaw;
use container::finding::settled;
use container::http::{Client, one_line};
use container::look;

/// `docker stop`'s own default: what users get.
const STOP_GRACE: Duration = Duration::from_secs(10);

impl Course<'_> {
    pub(super) fn take_postgresql_away(&mut self) -> Result<()> {
        let began = Instant::now();
        self.event("outage: stop PostgreSQL");
        let stopped = self.exec_one("outage", database::TAKE_AWAY)?;
        self.facts.outage = match stopped {
            Err(why) => Err(why),
            Ok(answer) if !answer.ok() => Err(flaw(format!(
                "PostgreSQL could not be stopped: {}",
                answer.shown()
            ))),
            Ok(_) => self.watch_outage()?,
        };
        self.facts.took.insert(Part::Outage, began.elapsed());
        Ok(())
    }

    fn watch_outage(&mut self) -> Result<Stage<Outage>> {
        let (noticed, said) = self.wait_for_health(false)?;
        self.event(format!("outage: health says {said}"));
        let started = Instant::now();
        if let Err(why) = self.exec_one("outage", database::BRING_BACK)? {
            return Ok(Err(why));
        }
        let (_, last) = self.wait_for_health(true)?;
        let back = (last == "200").then(|| started.elapsed());
        self.event(format!("outage: over, health says {last}"));
        Ok(Ok(Outage {
            noticed,
            said: if back.is_some() { said } else { last },
            back,
        }))
    }

    /// Asks until health says 200 (`up`) or anything else; how long that took
    /// and the last answer.
    fn wait_for_health(&mut self, up: bool) -> Result<(Option<Duration>, String)> {
        let Some(port) = self.guests.last().map(|guest| guest.port) else {
            return Ok((None, "nothing".to_owned()));
        };
        let client = Client::new(port, false);
        let began = Instant::now();
        loop {
            let reply = client.get(&self.facts.spec.app.health_path, REQUEST);
            let is_up = reply.as_ref().is_ok_and(|reply| reply.status == 200);
            let said = match reply {
                Ok(_) if is_up => "200".to_owned(),
                Ok(reply) => reply.shown(),
                Err(error) => error,
            };
            if is_up == up {
                return Ok((Some(began.elapsed()), said));
            }
            if began.elapsed() > OUTAGE_LIMIT {
                if let Some(guest) = self.guests.last() {
                    self.facts.death = guest.death("the outage of PostgreSQL")?;
                }
                return Ok((None, said));
            }
            self.lab.runner.sleep(Duration::from_millis(25))?;
        }
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        let began = Instant::now();
        let opened = self.exec_one("stop", database::WRITE_ROWS)?;
        let Some(guest) = self.guests.last() else {
            return Ok(());
        };
        let took = settled(guest.container.stop(STOP_GRACE))?;
        let stop = match (opened, took) {
            (Err(why), _) => Err(why),
            (_, Err(error)) => Err(flaw(error)),
            (Ok(answer), _) if !answer.ok() => Err(flaw(format!(
                "no session could be opened before the stop: {}",
                answer.shown()
            ))),
            (Ok(_), Ok(took)) => Ok(Stop {
                took,
                exit_code: guest.container.exit_code()?.unwrap_or(-1),
                cluster_state: self.cluster_state()?,
            }),
        };
        self.event("stop: docker stop returned");
        self.facts.stop = stop;
        self.facts.took.insert(Part::Stop, began.elapsed());
        Ok(())
    }

    /// `pg_controldata` on the volume, in a container that starts nothing else.
    fn cluster_state(&self) -> Result<Stage<String>> {
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
    pub fn control_data(&self) -> Result<Stage<String>> {
        let answer = self.facts.answer(Moment::Fresh, names::DATA_ON_VOLUME).ok();
        let known = answer.and_then(database::data_directory);
        let directory = known.map_or_else(|| format!("{MOUNT}/pgdata"), str::to_owned);
        let script = look::control_data(&self.facts.spec, &directory);
        let name = format!("{}-look", self.prefix);
        let (id, volume) = (&self.subject.image_id, self.volume.name());
        let output = look::run(self.lab, &name, id, volume, &[], &script);
        Ok(match settled(output)? {
            Ok(output) if output.success() => Ok(output.stdout_text()),
            Ok(output) => Err(flaw(format!(
                "pg_controldata: {}",
                one_line(&output.stderr_text())
            ))),
            Err(error) => Err(flaw(error)),
        })
    }

    pub(super) fn boot_again(&mut self) -> Result<()> {
        let began = Instant::now();
        self.facts.again = self.boot("restart", self.facts.spec.budgets.restart_seconds)?;
        self.facts.took.insert(Part::Again, began.elapsed());
        if self.is_alive() && self.facts.again.is_ok() {
            self.ask(Moment::Again)?;
        }
        Ok(())
    }
}
