//! Starts a container of the image under test and watches it until it is
//! healthy, dead or hopeless.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::ask;
use crate::figure::Figure;
use crate::finding::{Flaw, flaw};
use crate::http::{Client, Reply, one_line};
use crate::{postgres_port, programs, words};
use definition::identity::ImageId;
use definition::spec::{App, ImageSpec, patience};
use engine::container::{Container, RunResources};
use failure::FailureKind;
use inputs::clock;

/// Where the volume is mounted; the images' contract.
pub const MOUNT: &str = "/var/lib/postgresql/data";

/// The longest that a start is waited for, unless the spec's budget is longer: a figure
/// beyond it says no more than that.
const LONGEST: Duration = Duration::from_secs(60);

/// An answer through the published port.
const ANSWER: Duration = Duration::from_secs(2);
/// Between two requests to the health endpoint.
const HTTP_PAUSE: Duration = Duration::from_millis(25);
/// Between two looks at the container.
const LOOK_PAUSE: Duration = Duration::from_millis(250);
/// The same once the endpoint said 200.
const LOOK_PAUSE_LATE: Duration = Duration::from_millis(25);
/// Between two looks for a FATAL program, which good images never see.
const PROGRAMS_PAUSE: Duration = Duration::from_secs(3);
/// `before_start` that says something new is waited for, however many steps it has; a
/// figure beyond the budget is told then, and by how much.
const BEFORE_START: Duration = Duration::from_secs(15 * 60);
/// One that has said nothing for so long may be waiting for what does not come.
const SILENCE: Duration = Duration::from_secs(30);
/// There as long as `before_start` runs; a test holds it against the image's files.
const RUNS_BEFORE_START: &str = "/run/hive/before-start";

/// What is said of a start that nobody waited for any longer.
pub const NOT_HEALTHY: &str = "not healthy after";

/// Healthy for the engine, yet no 200 from outside: then the port is wrong.
const REACHABLE: Duration = Duration::from_secs(3);

/// An app that gives the same wrong answer for so long gives no other one.
const SAME_ANSWER: Duration = Duration::from_secs(10);
/// The most routes that a sentence names.
const MOST_ROUTES: usize = 8;

/// How many lines of a container's log a report has; the bundle has all of it.
const LAST_LINES: usize = 4;

/// How many of the last lines of a log are searched for them.
const LOOKED_AT: u32 = 5000;

/// A boot that was watched until healthy, dead or hopeless.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// `docker run` until the engine's verdict `healthy`; the endpoint's first
    /// 200 where the image has no health check.
    pub ready: Option<Duration>,
    /// `docker run` until the health endpoint's first 200 through the
    /// published port; PostgreSQL's first answer there where there is no app.
    pub first_200: Option<Duration>,
    /// When nobody waited any longer.
    pub gave_up: Duration,
    /// The last answer of the endpoint, and of the image's health check.
    pub last_words: String,
    /// What the endpoint answers, where that is a redirection or no such route,
    /// and what the app has instead.
    pub wrong_path: Option<String>,
    /// `before_start` was still running when nobody waited any longer, and its last line.
    pub before_start: Option<String>,
}

impl Boot {
    /// What is wrong with one that did not get there: too late where it was
    /// waited for beyond the budget.
    pub fn given_up(&self, what: &str, budget: f64) -> Flaw {
        let waited = self.gave_up.as_secs_f64();
        Flaw {
            detail: format!(
                "{what}: {NOT_HEALTHY} {waited:.0} s: {}",
                one_line(&self.last_words)
            ),
            figure: (waited > budget).then(|| Figure::new(waited, Some(budget), "s")),
        }
    }
}

/// An end of the container that nobody asked for.
#[derive(Clone, Debug)]
pub struct Death {
    /// What the container was doing at that moment.
    pub during: &'static str,
    /// The time since its start.
    pub after: Duration,
    /// `docker inspect` on it: exit code, out of memory.
    pub how: String,
    /// Last lines of its log.
    pub last_lines: String,
}

/// A container that is watched.
#[derive(Debug)]
pub struct Instance {
    /// The container; removed with the last instance that has it.
    pub container: Arc<Container>,
    /// Where its app is published on 127.0.0.1.
    pub port: u16,
    /// When `docker run` or `docker start` was called.
    pub started: Instant,
}

impl Instance {
    /// `docker run` with the image's own entrypoint, by image ID, its app's port
    /// published on one that the kernel picks. `options` stand before the image.
    ///
    /// # Errors
    /// When the engine cannot create or start it.
    pub fn start(
        resources: &RunResources,
        image_id: &ImageId,
        name: &str,
        options: &[&str],
        port: u16,
    ) -> Result<Self> {
        Self::start_command(resources, image_id, name, options, &[], port)
    }

    /// The same with a command after the image.
    ///
    /// # Errors
    /// As [`Instance::start`].
    pub fn start_command(
        resources: &RunResources,
        image_id: &ImageId,
        name: &str,
        options: &[&str],
        command: &[&str],
        port: u16,
    ) -> Result<Self> {
        let started = Instant::now();
        let publish = format!("127.0.0.1::{port}");
        let mut all = vec!["--publish", publish.as_str()];
        all.extend(options);
        let container = Arc::new(resources.start(name, image_id.as_str(), &all, command)?);
        Self::of(container, started, port)
    }

    /// `docker start` of the same container.
    ///
    /// # Errors
    /// When the engine cannot start it.
    pub fn start_again(&self, port: u16) -> Result<Self> {
        let started = Instant::now();
        self.container.start()?;
        Self::of(Arc::clone(&self.container), started, port)
    }

    /// The same container, started again by somebody else.
    ///
    /// # Errors
    /// When it does not run.
    pub fn rejoin(&self, port: u16) -> Result<Self> {
        Self::of(Arc::clone(&self.container), Instant::now(), port)
    }

    /// A container that was just started. One that has ended already publishes
    /// no port: then its own words are the error.
    fn of(container: Arc<Container>, started: Instant, port: u16) -> Result<Self> {
        let published = container.published_port(port);
        let instance = Self {
            port: published.as_ref().map_or(0, |port| *port),
            container,
            started,
        };
        let Err(error) = published else {
            return Ok(instance);
        };
        match instance.death("start")? {
            Some(death) => bail!(flaw(format!(
                "the container ended at once, {}; last lines: {}",
                death.how, death.last_lines
            ))),
            None => Err(error),
        }
    }

    /// How it ended, where it did.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn death(&self, during: &'static str) -> Result<Option<Death>> {
        let state = self.container.inspect()?;
        if state.pointer("/State/Running").and_then(Value::as_bool) == Some(true) {
            return Ok(None);
        }
        Ok(Some(self.epitaph(&state, during)?))
    }

    fn epitaph(&self, inspect: &Value, during: &'static str) -> Result<Death> {
        let code = inspect.pointer("/State/ExitCode").and_then(Value::as_i64);
        let out_of_memory = inspect.pointer("/State/OOMKilled").and_then(Value::as_bool) == Some(true);
        let log = self.container.last_lines(LOOKED_AT)?;
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let lines = telling(&lines);
        Ok(Death {
            during,
            after: self.started.elapsed(),
            how: format!(
                "exit code {}{}",
                code.unwrap_or(-1),
                if out_of_memory { ", out of memory" } else { "" }
            ),
            last_lines: one_line_each(&lines[lines.len().saturating_sub(LAST_LINES)..]),
        })
    }
}

/// Without the routine of a shutdown, which comes last and hides the cause; all
/// lines where there is nothing else.
fn telling<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let routine = |line: &&str| {
        let text = line.split_once(' ').map_or(*line, |(_, rest)| rest);
        text.starts_with("supervisord |") || (text.starts_with("postgresql |") && text.contains("LOG:"))
    };
    let rest: Vec<&str> = lines.iter().copied().filter(|line| !routine(line)).collect();
    if rest.is_empty() { lines.to_vec() } else { rest }
}

fn one_line_each(lines: &[&str]) -> String {
    let lines: Vec<String> = lines
        .iter()
        // `docker logs --timestamps` puts a time before each.
        .map(|line| one_line(line.split_once(' ').map_or(*line, |(_, rest)| rest)))
        .collect();
    lines.join(" ⏎ ")
}

/// Options of `docker run` for the variables that a spec has for its suite.
pub fn smoke_options(spec: &ImageSpec) -> Vec<String> {
    let variables = spec.smoke_environment.iter();
    variables
        .flat_map(|(name, value)| ["--env".to_owned(), format!("{name}={value}")])
        .collect()
}

/// What watching a boot gave.
#[derive(Debug)]
pub enum Watched {
    /// It runs, healthy or not.
    Up(Boot),
    /// It ended by itself before that.
    Dead(Death),
}

/// Watches until the endpoint says 200 and the engine says healthy.
///
/// # Errors
/// When the engine does not answer, or on Ctrl-C.
pub fn watch(
    resources: &RunResources,
    instance: &Instance,
    spec: &ImageSpec,
    budget: f64,
    during: &'static str,
) -> Result<Watched> {
    let mut watch = Watch {
        instance,
        boot: Boot::default(),
        healthy: None,
        has_check: true,
        wrong: None,
        said: String::new(),
        said_at: Instant::now(),
    };
    let client = Client::new(instance.port, false);
    // A slow machine's figure is worth knowing, a minute of waiting is not.
    // One that may take minutes gets them.
    let for_start = Duration::from_secs_f64(patience::for_start(budget))
        .min(LONGEST)
        .max(Duration::from_secs_f64(budget * 1.25));
    let mut limit = Limit::new(for_start);
    let mut next_look = LOOK_PAUSE;
    let mut next_programs = PROGRAMS_PAUSE;
    loop {
        let now = instance.started.elapsed();
        watch.boot.gave_up = now;
        if watch.boot.first_200.is_none() && watch.answers(&client, spec.app.as_ref()) {
            watch.boot.first_200 = Some(instance.started.elapsed());
            next_look = Duration::ZERO;
        }
        if now >= next_look {
            let state = instance.container.inspect()?;
            if state.pointer("/State/Running").and_then(Value::as_bool) != Some(true) {
                return Ok(Watched::Dead(instance.epitaph(&state, during)?));
            }
            watch.look(&state);
            let pause = if watch.boot.first_200.is_some() {
                LOOK_PAUSE_LATE
            } else {
                LOOK_PAUSE
            };
            next_look = instance.started.elapsed() + pause;
        }
        if watch.is_over(limit.of_app) {
            if let Some(app) = &spec.app {
                watch.tell_wrong_path(&client, app.asked_path());
            }
            return Ok(Watched::Up(watch.boot));
        }
        if now >= next_programs {
            if let Some(why) = watch.hopeless(spec)? {
                watch.boot.last_words = why;
                return Ok(Watched::Up(watch.boot));
            }
            if watch.boot.first_200.is_none()
                && runs_before_start(instance)?
                && !limit.goes_on(now, watch.said_at.elapsed())
            {
                watch.give_up_before_start();
                return Ok(Watched::Up(watch.boot));
            }
            next_programs = instance.started.elapsed() + PROGRAMS_PAUSE;
        }
        resources.runner.sleep(HTTP_PAUSE)?;
    }
}

/// Until when a start is waited for, counted from the container's.
struct Limit {
    /// What an app gets from its own start on.
    for_start: Duration,
    /// Until when the app is waited for.
    of_app: Duration,
    /// Until when `before_start` may run without a word.
    of_silence: Duration,
}

impl Limit {
    const fn new(for_start: Duration) -> Self {
        Self {
            for_start,
            of_app: for_start,
            of_silence: for_start,
        }
    }

    /// Whether `before_start`, which runs at `now` and has said nothing new for `silence`,
    /// is waited for any longer. The app starts after it, and gets as long as any other.
    fn goes_on(&mut self, now: Duration, silence: Duration) -> bool {
        if now > self.of_silence {
            if now >= BEFORE_START || silence >= SILENCE {
                return false;
            }
            self.of_silence = now + self.for_start;
        }
        // It may run until just before the next look.
        self.of_app = now + PROGRAMS_PAUSE + self.for_start;
        true
    }
}

struct Watch<'a> {
    instance: &'a Instance,
    boot: Boot,
    /// Since start, and when we saw it.
    healthy: Option<(Duration, Instant)>,
    has_check: bool,
    /// The last answer that was none, and since when it is the same.
    wrong: Option<(Reply, Instant)>,
    /// The last line of the app's, `before_start` included, and when it was new.
    said: String,
    said_at: Instant,
}

impl Watch<'_> {
    /// Whether what is published answers as it has to.
    fn answers(&mut self, client: &Client, app: Option<&App>) -> bool {
        let Some(app) = app else {
            let address = (Ipv4Addr::LOCALHOST, self.instance.port).into();
            let said = postgres_port::answers(address, ANSWER);
            return said.map_err(|error| self.boot.last_words = error).is_ok();
        };
        match client.get(app.asked_path(), ANSWER) {
            Ok(reply) if app.is_answer(reply.status) => return true,
            Ok(reply) => self.hear(reply),
            Err(error) => self.boot.last_words = error,
        }
        false
    }

    /// Takes an answer that says that the app is not there yet, or never.
    fn hear(&mut self, reply: Reply) {
        self.boot.last_words = reply.shown();
        let since = match &self.wrong {
            Some((before, since)) if before.status == reply.status => *since,
            _ => Instant::now(),
        };
        self.wrong = Some((reply, since));
    }

    /// Says what is wrong with the path, where the app has answered that.
    fn tell_wrong_path(&mut self, client: &Client, path: &str) {
        let Some((reply, _)) = self.wrong.take().filter(|_| self.boot.first_200.is_none()) else {
            return;
        };
        self.boot.wrong_path = wrong_path(path, &reply, || routes(client));
    }

    /// Takes over what the engine says of the container's health.
    fn look(&mut self, inspect: &Value) {
        let Some(health) = inspect.pointer("/State/Health") else {
            self.has_check = false;
            return;
        };
        if self.healthy.is_none() && health.get("Status").and_then(Value::as_str) == Some("healthy") {
            let seen = self.instance.started.elapsed();
            let exact = first_success(health).and_then(|end| end.elapsed().ok());
            // The engine's clock may not be ours: then what we saw is the truth.
            let since = exact.map_or(seen, |ago| seen.saturating_sub(ago));
            self.healthy = Some((since, Instant::now()));
        } else if self.healthy.is_none() {
            let last = health.pointer("/Log").and_then(Value::as_array);
            let said = last.and_then(|log| log.last()?.get("Output")?.as_str());
            if let Some(said) = said.filter(|said| !said.trim().is_empty()) {
                self.boot.last_words = said.trim().to_owned();
            }
        }
    }

    /// Whether the app answers, and not as it has to, for so long that this is
    /// its answer. One that is not ready yet says so by a status of its own.
    fn is_settled(&self) -> bool {
        let wrong = self.wrong.as_ref();
        self.boot.first_200.is_none()
            && wrong.is_some_and(|(reply, since)| {
                matches!(reply.status, 300..=407 | 410..=428) && since.elapsed() > SAME_ANSWER
            })
    }

    /// Why waiting is no use any more: supervisord has given a program up, or the app
    /// ends again and again with the same words.
    fn hopeless(&mut self, spec: &ImageSpec) -> Result<Option<String>> {
        if let Some(fatal) = fatal_program(self.instance, spec)? {
            return Ok(Some(fatal));
        }
        if self.boot.first_200.is_some() {
            return Ok(None);
        }
        let log = self.instance.container.last_lines(LOOKED_AT)?;
        if let Some(said) = words::last_line(&log).filter(|said| *said != self.said) {
            self.said = said.to_owned();
            self.said_at = Instant::now();
        }
        let ended = words::without_end(&log);
        Ok(ended.map(|said| format!("the app ended again and again: {}", one_line(&said))))
    }

    /// Says that nobody waits for `before_start` any longer, and what it said last.
    fn give_up_before_start(&mut self) {
        let said = self.said.split_once(" app | ").map_or("", |(_, said)| said);
        let said = one_line(said);
        self.boot.last_words = format!("`before_start` was still running, and says: {said}");
        self.boot.before_start = Some(said);
    }

    fn is_over(&mut self, limit: Duration) -> bool {
        match (self.boot.first_200, self.healthy) {
            (Some(_), Some((healthy, _))) => {
                self.boot.ready = Some(healthy);
                true
            }
            (Some(first), None) if !self.has_check => {
                self.boot.ready = Some(first);
                true
            }
            (None, Some((healthy, seen))) if seen.elapsed() > REACHABLE => {
                self.boot.ready = Some(healthy);
                true
            }
            _ => self.instance.started.elapsed() > limit || self.is_settled(),
        }
    }
}

/// What is wrong with the path of the health check, by what the app answers to it.
fn wrong_path(path: &str, reply: &Reply, routes: impl Fn() -> Option<String>) -> Option<String> {
    match (reply.status, &reply.location) {
        (300..=399, Some(place)) => Some(format!(
            "GET {path} answered {} and leads to {}: `app.health_path` has to be the path that answers 200",
            reply.status,
            place.strip_prefix("http://localhost").unwrap_or(place)
        )),
        (401 | 403, _) => Some(format!(
            "GET {path} answered {}: `app.health_path` has to be a path that answers 200 to everybody, without a login, \
             or `null`: then any answer on `/` will do",
            reply.shown()
        )),
        (404 | 405, _) => Some(format!(
            "GET {path} answered {}: `app.health_path` has to be a path that the app has{}",
            reply.shown(),
            routes().map_or_else(String::new, |routes| format!(", such as {routes}"))
        )),
        _ => None,
    }
}

/// The paths without parameters that the app says it answers a GET on.
fn routes(client: &Client) -> Option<String> {
    let reply = client.get("/openapi.json", Duration::from_secs(2)).ok()?;
    let document: Value = serde_json::from_str(&reply.body).ok()?;
    let paths = document.get("paths")?.as_object()?;
    let plain = paths
        .iter()
        .filter(|(path, route)| route.get("get").is_some() && !path.contains('{'));
    let paths: Vec<&str> = plain.map(|(path, _)| path.as_str()).take(MOST_ROUTES).collect();
    (!paths.is_empty()).then(|| paths.join(", "))
}

/// When the first good probe of the image's own health check ended.
fn first_success(health: &Value) -> Option<SystemTime> {
    let log = health.get("Log")?.as_array()?;
    let good = log
        .iter()
        .find(|probe| probe.get("ExitCode").and_then(Value::as_i64) == Some(0))?;
    clock::parse(good.get("End")?.as_str()?)
}

/// Whether the app's start is at what its spec has before it.
fn runs_before_start(instance: &Instance) -> Result<bool> {
    let asked = ["test", "-e", RUNS_BEFORE_START];
    match instance.container.exec(ask::DEADLINE, &[], &asked, None) {
        Err(error) if failure::kind(&error) == FailureKind::Interrupted => Err(error),
        // Too busy to say so: then it says nothing of the app either.
        Err(_) => Ok(false),
        Ok(output) => Ok(output.success()),
    }
}

/// The first program that the supervisor has given up, except those that the container
/// goes on without.
fn fatal_program(instance: &Instance, spec: &ImageSpec) -> Result<Option<String>> {
    let output = instance
        .container
        .exec(ask::DEADLINE, &[], &["sh", "-c", programs::STATUS], None);
    let output = match output {
        Err(error) if failure::kind(&error) == FailureKind::Interrupted => return Err(error),
        Err(_) => return Ok(None),
        Ok(output) => output,
    };
    let text = output.stdout_text();
    let may_fail = |name: &str| {
        spec.programs
            .iter()
            .any(|program| program.name == name && !program.fatal)
    };
    let fatal = programs::states(&text)
        .into_iter()
        .find(|(name, state)| *state == "FATAL" && !may_fail(name));
    Ok(fatal.map(|(name, _)| format!("{name} is FATAL")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_no_health_is_told_with_what_to_do() {
        let said = |status: u16, location: Option<&str>| {
            let reply = Reply {
                status,
                body: "no".to_owned(),
                location: location.map(str::to_owned),
                took: Duration::ZERO,
            };
            wrong_path("/up", &reply, || Some("/health".to_owned()))
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(
            said(302, Some("http://localhost/login")),
            is(
                "GET /up answered 302 and leads to /login: `app.health_path` has to be the path that answers 200"
            )
        );
        for status in [401, 403] {
            assert_eq!(
                said(status, None),
                is(&format!(
                    "GET /up answered {status} no: `app.health_path` has to be a path that answers 200 to everybody, \
                     without a login, or `null`: then any answer on `/` will do"
                ))
            );
        }
        assert_eq!(
            said(404, None),
            is(
                "GET /up answered 404 no: `app.health_path` has to be a path that the app has, such as /health"
            )
        );
        assert_eq!(said(503, None), None);
    }

    #[test]
    fn the_image_has_that_file_while_before_start_runs() {
        let files = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docker/rootfs/usr/local/lib/hive"
        );
        let check = fs_err::read_to_string(format!("{files}/healthcheck")).unwrap();
        assert!(
            check.contains(&format!("while [[ -e {RUNS_BEFORE_START} ]]")),
            "{check}"
        );
    }

    #[test]
    fn an_app_gets_its_time_whenever_before_start_ends() {
        let seconds = Duration::from_secs;
        let mut limit = Limit::new(seconds(60));
        // Quiet all along, and not late yet. It ends just before the app would have been given up.
        assert!(limit.goes_on(seconds(59), seconds(59)));
        assert_eq!(limit.of_app, seconds(59 + 3 + 60));
    }

    #[test]
    fn a_before_start_is_asked_for_words_when_its_time_is_over() {
        let seconds = Duration::from_secs;
        let mut limit = Limit::new(seconds(60));
        let mut goes_on = |now, silence| limit.goes_on(seconds(now), seconds(silence));
        assert!(goes_on(61, 29));
        // A step that says nothing from 70 to 101 has the time that was granted.
        assert!(goes_on(100, 30) && goes_on(122, 20));
        assert!(goes_on(182, 80));
        assert!(!goes_on(183, 30));
        let mut limit = Limit::new(seconds(60));
        assert!(limit.goes_on(seconds(899), seconds(0)));
        assert!(limit.goes_on(seconds(901), seconds(0)));
        assert!(!limit.goes_on(seconds(960), seconds(0)));
        assert!(!Limit::new(seconds(60)).goes_on(seconds(61), seconds(30)));
    }

    #[test]
    fn a_shutdown_does_not_hide_its_cause() {
        let lines = [
            "t app | NameError: name 'Item' is not defined",
            "t postgresql | 2026 [36] LOG:  shutting down",
            "t supervisord | stopped: postgresql (exit status 0)",
            "t postgresql | 2026 [1] FATAL:  could not open file",
            "t hive: stopped",
        ];
        assert_eq!(telling(&lines), [lines[0], lines[3], lines[4]]);
        assert_eq!(telling(&lines[1..3]), &lines[1..3]);
    }
}
