//! One volume and the containers that boot on it, one after the other. Of an app
//! alone it is the volume of the database beside it, which stays while they change.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::Subject;
use crate::beside::{DatabaseBeside, given, secret};
use crate::checks::programs::PROCESSES;
use crate::facts::Facts;
use crate::facts::Moment;
use crate::facts::{ProgramsSeen, WINDOW};
use crate::rows::{self, TableRows};
use crate::suite::{self, How};
use container::ask::{self, Answer};
use container::boot::{self, Instance, MOUNT, Watched};
use container::finding::Reached;
use container::finding::{flaw, settled};
use container::http::one_line;
use container::programs::STATUS;
use container::timeline::Timeline;
use container::words;
use definition::identity::ImageId;
use engine::Image;
use engine::container::{Container, RunResources, Volume};

/// All questions of a moment together.
const ASK_ALL: Duration = Duration::from_secs(60);

/// Prints every password that the container knows, in libpq's form.
pub(super) const SECRETS: (&str, &str) = (
    "secrets",
    "cat /run/hive/pgpass; \
    sed -n 's/^passfile=//p' /run/hive/pg_service.conf | sort -u | while read -r file; do cat \"$file\"; done; \
    for file in /var/lib/postgresql/data/hive/secret.*; do \
        [ ! -e \"$file\" ] || sed 's/^/*:*:*:secret:/' \"$file\"; done",
);

/// Counts the rows of the app's tables.
pub(super) const TABLES: (&str, &str) = ("tables", rows::COUNT);

/// The answer to [`TABLES`] among others.
fn tables(answers: &[(String, Answer)]) -> Reached<Vec<TableRows>> {
    let found = answers.iter().find(|(name, _)| name == TABLES.0);
    let (_, answer) = found.ok_or_else(|| flaw("the container gave no answer"))?;
    rows::counted(answer)
}

/// What one thread of a run has: a volume, its containers, what it saw.
#[derive(Debug)]
pub(super) struct Strand<'a> {
    pub(super) resources: RunResources,
    pub(super) subject: &'a Subject,
    image: Image,
    /// Starts the names of its containers, and what it tells the timeline.
    what: &'static str,
    prefix: String,
    // Dropped in this order: a volume in use cannot be removed.
    pub(super) instances: Vec<Instance>,
    /// Has the volume, too, and starts nothing by itself.
    pub(super) beside: Option<Container>,
    /// Of an app alone.
    database: Option<DatabaseBeside>,
    secret: Option<Volume>,
    pub(super) volume: Volume,
    pub(super) facts: Facts,
    /// Where the running server had its data.
    pub(super) directory: Option<String>,
    pub(super) timeline: Timeline,
}

impl<'a> Strand<'a> {
    pub(super) fn new(
        resources: &RunResources,
        subject: &'a Subject,
        image: &Image,
        what: &'static str,
        prefix: &str,
        timeline: Timeline,
    ) -> Result<Self> {
        let prefix = format!("{prefix}-{what}");
        let volume = resources.volume(&format!("{prefix}-data"))?;
        Ok(Self {
            facts: Facts::new(&subject.spec, image.clone(), volume.name()),
            // A runner belongs to one thread.
            resources: resources.clone(),
            subject,
            image: image.clone(),
            what,
            prefix,
            instances: Vec::new(),
            beside: None,
            database: None,
            secret: None,
            volume,
            directory: None,
            timeline,
        })
    }

    /// The same volume, containers and secrets, with which another image is tested.
    pub(super) fn of_subject(mut self, subject: &'a Subject, image: &Image, mut timeline: Timeline) -> Self {
        timeline.join(self.timeline);
        let secrets = self.facts.secrets;
        self.facts = Facts::new(&subject.spec, image.clone(), self.volume.name());
        self.facts.secrets = secrets;
        Self {
            subject,
            image: image.clone(),
            timeline,
            ..self
        }
    }

    pub(super) fn nothing_seen(&self) -> Facts {
        Facts::new(&self.subject.spec, self.image.clone(), self.volume.name())
    }

    /// The image whose database it is proved with.
    pub(super) fn database_id(&self) -> Option<ImageId> {
        self.subject.database_id().cloned()
    }

    pub(super) fn take_facts(&mut self) -> Facts {
        let nothing = self.nothing_seen();
        std::mem::replace(&mut self.facts, nothing)
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.instances.is_empty() && self.facts.death.is_none()
    }

    /// The container that was started last.
    pub(super) fn instance(&self) -> Option<&Instance> {
        self.instances.last()
    }

    /// Notes on the timeline that something happened just now.
    pub(super) fn event(&mut self, text: impl AsRef<str>) {
        self.timeline.note(format!("{}: {}", self.what, text.as_ref()));
    }

    /// The name of the next thing of a kind.
    pub(super) fn name(&self, kind: &str) -> String {
        format!("{}-{kind}", self.prefix)
    }

    /// Boots the image under test.
    pub(super) fn boot(&mut self, during: &'static str, budget: f64) -> Result<Reached<boot::Boot>> {
        self.boot_image(&self.subject.image_id, during, budget)
    }

    pub(super) fn boot_image(
        &mut self,
        image_id: &ImageId,
        during: &'static str,
        budget: f64,
    ) -> Result<Reached<boot::Boot>> {
        if let Err(why) = self.start_database()? {
            return Ok(Err(why));
        }
        let name = self.name(&(self.instances.len() + 1).to_string());
        self.event(format!("{during}: docker run {image_id}"));
        let port = self.facts.spec.port();
        let mut options = self.place();
        options.extend(boot::smoke_options(&self.facts.spec));
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let started = Instance::start(&self.resources, image_id, &name, &options, port);
        let instance = match settled(started)? {
            Ok(instance) => instance,
            Err(error) => {
                self.event(format!("{during}: {error}"));
                return Ok(Err(flaw(error)));
            }
        };
        self.event(format!("{during}: container {name}, 127.0.0.1:{}", instance.port));
        let watched = boot::watch(&self.resources, &instance, &self.facts.spec, budget, during)?;
        if !matches!(&watched, Watched::Up(boot) if boot.ready.is_some()) && self.facts.last_words.is_none() {
            let log = settled(instance.container.logs())?.unwrap_or_default();
            self.facts.last_words = words::of_the_app(&log);
        }
        self.instances.push(instance);
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

    /// Options of `docker run` that give a container its data: the volume, or of an
    /// app alone the way to its database.
    fn place(&self) -> Vec<String> {
        match (&self.database, &self.secret) {
            (Some(database), Some(secret)) => database.options().into_iter().chain(given(secret)).collect(),
            _ => vec!["--volume".to_owned(), format!("{}:{MOUNT}", self.volume.name())],
        }
    }

    /// Starts the database that an app alone needs, where it is not there yet.
    pub(super) fn start_database(&mut self) -> Result<Reached<()>> {
        let Some(database) = self.subject.database.as_ref().filter(|_| self.database.is_none()) else {
            return Ok(Ok(()));
        };
        self.event(format!("docker run {} for its database", database.reference));
        let (resources, prefix) = (&self.resources, self.prefix.clone());
        let started = secret(resources, database, &prefix).and_then(|secret| {
            let given = given(&secret);
            let database = DatabaseBeside::start(resources, database, &prefix, self.volume.name(), &given)?;
            Ok((database, secret))
        });
        match settled(started)? {
            Ok((database, secret)) => {
                (self.database, self.secret) = (Some(database), Some(secret));
                self.event("its database is healthy");
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(flaw(error))),
        }
    }

    /// The container that has PostgreSQL, where that is another one.
    pub(super) fn server(&self) -> Option<&Instance> {
        self.database.as_ref().map(|database| &database.instance)
    }

    /// The image that has PostgreSQL's own programs.
    pub(super) fn server_image(&self) -> &ImageId {
        self.subject.database_id().unwrap_or(&self.subject.image_id)
    }

    /// The rows of the app's tables: by the answer to [`TABLES`], or where the database
    /// is elsewhere by asking there, since it is the superuser who counts.
    pub(super) fn tables(&self, answers: &[(String, Answer)]) -> Result<Reached<Vec<TableRows>>> {
        let Some(database) = &self.database else {
            return Ok(tables(answers));
        };
        let answer = settled(database.ask(rows::COUNT))?;
        Ok(answer.map_err(flaw).and_then(|answer| rows::counted(&answer)))
    }

    /// Runs one script where PostgreSQL is; its answer.
    pub(super) fn exec_at_server(&mut self, name: &'static str, script: &str) -> Result<Reached<Answer>> {
        match &self.database {
            Some(database) => Ok(settled(database.ask(script))?.map_err(flaw)),
            None => self.exec_one(name, script),
        }
    }

    /// Asks every question of a moment in one exec.
    pub(super) fn ask(&mut self, when: Moment) -> Result<()> {
        self.ask_also(when, &[]).map(drop)
    }

    /// The same with questions that no judge looks at; their answers.
    pub(super) fn ask_also(
        &mut self,
        when: Moment,
        more: &[(&'static str, &str)],
    ) -> Result<Vec<(String, Answer)>> {
        let of_gate: Vec<(&'static str, &str)> = suite::gate(self.facts.spec.kind())
            .filter_map(|check| match check.how {
                How::Ask(moment, script, _) if moment == when => Some((check.name, script)),
                _ => None,
            })
            .collect();
        self.event(format!("{}: {} questions", when.as_str(), of_gate.len()));
        let all = [&of_gate, more].concat();
        let mut got = self.exec(&all, when.as_str())?;
        for (name, _) in of_gate {
            let answer = match &mut got {
                Err(why) => Err(why.clone()),
                Ok(answers) => match answers.iter().position(|(asked, _)| asked == name) {
                    Some(at) => Ok(answers.swap_remove(at).1),
                    None => Err(flaw("the container gave no answer")),
                },
            };
            self.facts.answers.insert((when, name), answer);
        }
        self.event(format!("{}: answered", when.as_str()));
        Ok(got.unwrap_or_default())
    }

    /// Runs scripts in the newest container; a container that is gone is noted.
    pub(super) fn exec(
        &mut self,
        questions: &[(&str, &str)],
        during: &'static str,
    ) -> Result<Reached<Vec<(String, Answer)>>> {
        let Some(instance) = self.instances.last() else {
            return Ok(Err(flaw("not reached: no container was started")));
        };
        let container = Arc::clone(&instance.container);
        let token = format!("smoke-{}", self.timeline.began().elapsed().as_nanos());
        let script = ask::script(&ask::prelude(&self.facts.spec), &token, questions);
        let output = container.exec(ASK_ALL, &[], &["sh", "-c", &script], None);
        let output = match settled(output)? {
            Ok(output) => output,
            Err(error) => return Ok(Err(flaw(error))),
        };
        let answers = ask::answers(&token, &String::from_utf8_lossy(&output.stdout));
        if answers.len() < questions.len() {
            let death = instance.death(during)?;
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

    /// Runs one script in the container; its answer.
    pub(super) fn exec_one(&mut self, name: &'static str, script: &str) -> Result<Reached<Answer>> {
        let answers = self.exec(&[(name, script)], name)?;
        Ok(answers.and_then(|mut answers| {
            let answer = answers.pop().map(|(_, answer)| answer);
            answer.ok_or_else(|| flaw("the container gave no answer"))
        }))
    }

    /// Waits for the window after a later start, and looks whether all programs are
    /// as they were. Where the spec has none of its own, the first start has shown all.
    pub(super) fn watch_programs(&mut self, start: &'static str) -> Result<()> {
        if self.facts.spec.programs.is_empty() || !self.is_alive() {
            return Ok(());
        }
        let mut seen = self.programs_over_window(start)?;
        if let Some(death) = &self.facts.death {
            seen = Err(flaw(format!(
                "the container ended, {}; last lines: {}",
                death.how, death.last_lines
            )));
        }
        self.facts.later.push((start, seen));
        Ok(())
    }

    fn programs_over_window(&mut self, start: &'static str) -> Result<Reached<ProgramsSeen>> {
        let before = self.exec_one(start, PROCESSES)?;
        self.resources.runner.sleep(WINDOW)?;
        let status = self.exec_one(start, STATUS)?;
        let after = self.exec_one(start, PROCESSES)?;
        let log = match self.instance() {
            Some(instance) => settled(instance.container.logs())?.map_err(flaw),
            None => Err(flaw("not reached: no container was started")),
        };
        let seen = || -> Reached<ProgramsSeen> {
            Ok(ProgramsSeen {
                status: status?,
                before: before?,
                after: after?,
                log: log?,
            })
        };
        Ok(seen())
    }

    /// Takes the passwords out of answers to [`SECRETS`].
    pub(super) fn learn_secrets(&mut self, answers: &[(String, Answer)]) {
        let told = answers.iter().filter(|(name, _)| name == SECRETS.0);
        let lines = told.flat_map(|(_, answer)| answer.text.lines());
        self.facts.secrets.extend(lines.filter_map(password_of));
    }

    /// Removes all containers, at the same time.
    pub(super) fn clear(&mut self) {
        let (instances, beside) = (&mut self.instances, &mut self.beside);
        thread::scope(|scope| {
            for instance in instances.drain(..) {
                scope.spawn(move || drop(instance));
            }
            drop(beside.take());
        });
        self.database = None;
        self.secret = None;
    }

    /// Takes what only lives as long as the containers.
    pub(super) fn close(&mut self) -> Result<()> {
        self.close_from(0)
    }

    /// The same without the first ones, which are of another image.
    pub(super) fn close_from(&mut self, first: usize) -> Result<()> {
        for instance in self.instances.iter().skip(first) {
            match settled(instance.container.logs())? {
                Ok(log) => {
                    let name = instance.container.name().to_owned();
                    self.facts.whole_logs.push((name, log));
                }
                Err(error) => self.facts.unread.push(error),
            }
            match settled(instance.container.inspect())? {
                Ok(inspect) => self.facts.inspect.push_str(&inspect.to_string()),
                Err(error) => self.facts.unread.push(error),
            }
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
