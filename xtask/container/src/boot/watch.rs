//! Watches a container until it is healthy, dead or hopeless.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use serde_json::Value;

use super::{Boot, Death, Instance, LOOKED_AT};
use crate::ask;
use crate::http::{Client, Reply, one_line};
use crate::{postgres_port, programs, words};
use definition::spec::{App, ImageSpec, is_of_an_app, patience};
use engine::container::RunResources;
use failure::FailureKind;
use inputs::clock;

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
/// Of an app that limits how often it is asked.
const TOO_MANY: u16 = 429;
/// The most routes that a sentence names.
const MOST_ROUTES: usize = 8;

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
                watch.tell_wrong_path(&client, app);
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
        self.wrong = Some(heard(self.wrong.take(), reply));
    }

    /// Says what is wrong with the path, where the app has answered that.
    fn tell_wrong_path(&mut self, client: &Client, app: &App) {
        let Some((reply, _)) = self.wrong.take().filter(|_| self.boot.first_200.is_none()) else {
            return;
        };
        self.boot.wrong_path = wrong_path(app.health_path.as_deref(), &reply, || {
            routes(client, app.asked_path())
        });
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

/// The answer that counts, and since when it is the same.
fn heard(before: Option<(Reply, Instant)>, reply: Reply) -> (Reply, Instant) {
    match before {
        // One that is asked too often says no more than that.
        Some(before) if reply.status == TOO_MANY => before,
        Some((last, since)) if last.status == reply.status => (reply, since),
        _ => (reply, Instant::now()),
    }
}

/// What is wrong with the path of the health check, by what the app answers to it.
fn wrong_path(path: Option<&str>, reply: &Reply, routes: impl Fn() -> Option<String>) -> Option<String> {
    let such_as = || routes().map_or_else(String::new, |routes| format!(", such as {routes}"));
    let Some(path) = path else {
        return (!is_of_an_app(reply.status)).then(|| {
            format!(
                "GET / answered {}: without `app.health_path` any answer on `/` but a 5xx will do; where the app works all the \
                 same, name a path that answers 200{}; where it answers so to everything, its server cannot run it (uvicorn \
                 runs no WSGI app), and `app.command` is for one that can",
                reply.shown(),
                such_as()
            )
        });
    };
    let by_https = |place: &str| {
        let rest = place.strip_prefix("https://").unwrap_or_default();
        rest.find('/').is_some_and(|at| &rest[at..] == path)
    };
    match (reply.status, &reply.location) {
        (300..=399, Some(place)) if by_https(place) => Some(format!(
            "GET {path} answered {} and leads to itself by HTTPS, which a proxy in front ends: the app has to believe \
             `X-Forwarded-Proto: https`, which such a proxy sends, and so does the check (in Django SECURE_PROXY_SSL_HEADER), or \
             to leave the path out (SECURE_REDIRECT_EXEMPT)",
            reply.status
        )),
        (300..=399, Some(place)) => Some(format!(
            "GET {path} answered {} and leads to {}: `app.health_path` has to be the path that answers 200, or `null`: then any \
             answer on `/` but a 5xx will do",
            reply.status,
            without_host(place)
        )),
        (401 | 403, _) => Some(format!(
            "GET {path} answered {}: `app.health_path` has to be a path that answers 200 to everybody, without a login, \
             or `null`: then any answer on `/` but a 5xx will do",
            reply.shown()
        )),
        (404 | 405, _) => Some(format!(
            "GET {path} answered {}: `app.health_path` has to be a path that the app has{}",
            reply.shown(),
            such_as()
        )),
        _ => None,
    }
}

/// The path of a place on the host that was asked, whose port is the container's own.
fn without_host(place: &str) -> &str {
    let own = place.strip_prefix("http://localhost").unwrap_or(place);
    match own.strip_prefix(':') {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => own,
    }
}

/// The paths without parameters that the app says it answers a GET on, but for the one that
/// was asked.
fn routes(client: &Client, asked: &str) -> Option<String> {
    let reply = client.get("/openapi.json", Duration::from_secs(2)).ok()?;
    let document: Value = serde_json::from_str(&reply.body).ok()?;
    let paths = document.get("paths")?.as_object()?;
    let plain = paths
        .iter()
        .filter(|(path, route)| route.get("get").is_some() && !path.contains('{') && *path != asked);
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
    fn an_answer_stays_the_same_where_the_app_is_asked_too_often() {
        let reply = |status: u16| Reply {
            status,
            body: String::new(),
            location: None,
            took: Duration::ZERO,
        };
        let long_ago = Instant::now().checked_sub(SAME_ANSWER).unwrap();
        for (before, then, expected, same) in [
            (307, 307, 307, true),
            (307, 429, 307, true),
            (307, 404, 404, false),
        ] {
            let (last, since) = heard(Some((reply(before), long_ago)), reply(then));
            assert_eq!(
                (last.status, since == long_ago),
                (expected, same),
                "{before} {then}"
            );
        }
        assert_eq!(heard(None, reply(429)).0.status, 429);
    }

    #[test]
    fn an_answer_that_is_no_health_is_told_with_what_to_do() {
        let said = |status: u16, location: Option<&str>| {
            let reply = Reply {
                status,
                body: "no".to_owned(),
                location: location.map(str::to_owned),
                took: Duration::ZERO,
            };
            wrong_path(Some("/up"), &reply, || Some("/health".to_owned()))
        };
        let is = |text: &str| Some(text.to_owned());
        for place in ["/login", "http://localhost/login", "http://localhost:8000/login"] {
            assert_eq!(
                said(302, Some(place)),
                is(
                    "GET /up answered 302 and leads to /login: `app.health_path` has to be the path that answers 200, or `null`: \
                     then any answer on `/` but a 5xx will do"
                )
            );
        }
        let by_https = said(301, Some("https://127.0.0.1:8000/up")).unwrap();
        assert!(by_https.contains("SECURE_PROXY_SSL_HEADER"), "{by_https}");
        let elsewhere = said(301, Some("https://127.0.0.1:8000/login")).unwrap();
        assert!(
            elsewhere.contains("has to be the path that answers 200"),
            "{elsewhere}"
        );
        for status in [401, 403] {
            assert_eq!(
                said(status, None),
                is(&format!(
                    "GET /up answered {status} no: `app.health_path` has to be a path that answers 200 to everybody, \
                     without a login, or `null`: then any answer on `/` but a 5xx will do"
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
    fn an_error_is_no_answer_where_no_path_is_named() {
        let said = |status: u16| {
            let reply = Reply {
                status,
                body: "Internal Server Error".to_owned(),
                location: None,
                took: Duration::ZERO,
            };
            wrong_path(None, &reply, || Some("/items".to_owned()))
        };
        let told = said(500).unwrap();
        assert!(
            told.starts_with("GET / answered 500 Internal Server Error: without `app.health_path`"),
            "{told}"
        );
        assert!(
            told.contains("name a path that answers 200, such as /items;"),
            "{told}"
        );
        for status in [200, 302, 401, 404, 405] {
            assert_eq!(said(status), None, "{status}");
        }
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
}
