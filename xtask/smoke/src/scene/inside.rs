//! Looking into a container, and at it from outside: scripts, SQL, processes,
//! the health endpoint.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Scene;
use container::ask::{self, Answer};
use container::boot::Guest;
use container::finding::{flaw, late};
use container::http::{Client, Reply, one_line};

/// One request to the health endpoint.
const REQUEST: Duration = Duration::from_secs(5);
/// Between two requests to it.
const PAUSE: Duration = Duration::from_millis(25);
/// Between two looks whether a container that does not answer has ended.
const DEATH_PAUSE: Duration = Duration::from_secs(1);
/// A script inside a container.
const SCRIPT: Duration = Duration::from_secs(60);

/// A process inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// In the container's own namespace.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// `/proc/PID/cmdline`, with blanks; PostgreSQL's processes put their title
    /// there (`postgres: checkpointer`).
    pub command: String,
}

impl Scene<'_> {
    /// Runs a script of `sh` inside, with libpq set to the app's role over TCP
    /// (see [`ask`]); whatever its exit code.
    ///
    /// # Errors
    /// When it cannot be run, or takes longer than a minute.
    pub fn shell(&self, guest: &Guest, script: &str) -> Result<Answer> {
        self.exec(guest, &[], script)
    }

    /// As [`Scene::shell`] with options of `docker exec`, such as `--user 0:0`.
    ///
    /// # Errors
    /// As [`Scene::shell`].
    pub fn exec(&self, guest: &Guest, options: &[&str], script: &str) -> Result<Answer> {
        let whole = format!("{}{{\n{script}\n}} 2>&1", ask::prelude(self.spec()));
        let output = guest
            .container
            .exec(SCRIPT, options, &["sh", "-c", &whole], None)?;
        let mut text = output.stdout_text();
        // The engine's own words: no such container, not running, …
        text.push_str(&output.stderr_text());
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            text,
            took: output.took,
        })
    }

    /// As [`Scene::shell`], and a script that fails is a flaw. What it printed.
    ///
    /// # Errors
    /// A flaw with what it printed.
    pub fn must(&self, guest: &Guest, script: &str) -> Result<String> {
        let answer = self.shell(guest, script)?;
        if !answer.ok() {
            bail!(flaw(format!("`{}`: {}", one_line(script), answer.shown())));
        }
        Ok(answer.text)
    }

    /// SQL as the app's role, over TCP; rows as psql prints them unaligned.
    ///
    /// # Errors
    /// A flaw with what psql said.
    pub fn sql(&self, guest: &Guest, sql: &str) -> Result<String> {
        let script = format!("psql -XAtq -v ON_ERROR_STOP=1 -c {}", ask::quote(sql));
        self.must(guest, &script)
    }

    /// SQL as the superuser, by the socket, in the app's database.
    ///
    /// # Errors
    /// A flaw with what psql said.
    pub fn superuser_sql(&self, guest: &Guest, sql: &str) -> Result<String> {
        self.as_superuser(guest, "", sql)
    }

    /// The same in `template1`, which new databases are copies of.
    ///
    /// # Errors
    /// A flaw with what psql said.
    pub fn template_sql(&self, guest: &Guest, sql: &str) -> Result<String> {
        self.as_superuser(guest, "--dbname=template1", sql)
    }

    fn as_superuser(&self, guest: &Guest, options: &str, sql: &str) -> Result<String> {
        // The service names the app's database, whatever characters it has.
        let script = format!(
            "unset PGHOST PGPORT PGUSER PGPASSFILE PGDATABASE\n\
             PGSERVICE=superuser psql -XAtq -v ON_ERROR_STOP=1 {options} -c {}",
            ask::quote(sql)
        );
        self.must(guest, &script)
    }

    /// Every process inside but the one that looks.
    ///
    /// # Errors
    /// A flaw when `/proc` cannot be read.
    pub fn processes(&self, guest: &Guest) -> Result<Vec<Process>> {
        let script = "for dir in /proc/[0-9]*; do\n\
             pid=${dir#/proc/}; [ $pid = $$ ] && continue\n\
             parent=$(sed -n 's/^PPid:[[:space:]]*//p' $dir/status 2>/dev/null)\n\
             command=$(tr '\\0' ' ' <$dir/cmdline 2>/dev/null)\n\
             [ -n \"$command\" ] && echo \"$pid $parent $command\"\n\
             done; true";
        Ok(processes(&self.must(guest, script)?))
    }

    /// One request to the health endpoint through the published port.
    ///
    /// # Errors
    /// A sentence, when no whole answer came.
    pub fn health(&self, guest: &Guest) -> Result<Reply, String> {
        Client::new(guest.port, false).get(&self.spec().app.health_path, REQUEST)
    }

    /// Asks until the health endpoint says 200 (`up`) or anything else, no answer
    /// included: how long that took, and what it said.
    ///
    /// # Errors
    /// A flaw with its last words when it does not within the limit, which
    /// [`Scene::patience`] stretches.
    pub fn until_health(&self, guest: &Guest, up: bool, limit: Duration) -> Result<(Duration, String)> {
        let (began, limit) = (Instant::now(), self.patience(limit));
        let mut next_look = DEATH_PAUSE;
        loop {
            let reply = self.health(guest);
            let is_up = reply.as_ref().is_ok_and(|reply| reply.status == 200);
            let said = reply.map_or_else(|error| error, |reply| reply.shown());
            if is_up == up {
                self.note(format!("{}: health: {said}", guest.container.name()));
                return Ok((began.elapsed(), said));
            }
            // No answer at all: it may be because there is nobody any more.
            if said.contains("refused") && began.elapsed() > next_look {
                if let Some(death) = guest.death("wait for health")? {
                    bail!(flaw(format!(
                        "the container ended, {}; last lines: {}",
                        death.how, death.last_lines
                    )));
                }
                next_look = began.elapsed() + DEATH_PAUSE;
            }
            if began.elapsed() > limit {
                let verb = if up { "become 200" } else { "leave 200" };
                let within = limit.as_secs_f64();
                let detail = format!("health did not {verb} within {within:.0} s; it said: {said}");
                bail!(late(began.elapsed(), limit, detail));
            }
            self.lab.runner.sleep(PAUSE)?;
        }
    }
}

/// `pid parent command` a line.
fn processes(text: &str) -> Vec<Process> {
    let process = |line: &str| {
        let mut words = line.splitn(3, ' ');
        Some(Process {
            pid: words.next()?.parse().ok()?,
            parent: words.next()?.parse().ok()?,
            command: words.next()?.trim_end().to_owned(),
        })
    };
    text.lines().filter_map(process).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_read_and_junk_is_not() {
        let text = "1 0 /usr/bin/python3 -I entrypoint \n37 1 postgres: checkpointer\nx\n9 1";
        let all = processes(text);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].command, "/usr/bin/python3 -I entrypoint");
        assert_eq!((all[1].pid, all[1].parent), (37, 1));
    }
}
