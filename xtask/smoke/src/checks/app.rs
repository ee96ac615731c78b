//! The app as its users reach it: HTTP through the published port.

use crate::facts::Facts;
use crate::facts::OUTAGE_LIMIT;
use container::ask::Answer;
use container::figure::{Figure, median, percentile};
use container::finding::{Judged, Observation, flaw, measured, seen};
use definition::labels::HEALTH_LABEL;
use definition::spec::{App, HealthMeaning};
use host::process::quote;

/// An engine elsewhere publishes its ports elsewhere.
const ONLY_INSIDE: &str = "; inside the container it is healthy: the app listens on another port, \
    or the engine's published ports cannot be reached from this machine";

/// All 200, median against the budget.
pub(crate) fn health(facts: &Facts) -> Judged {
    let samples = facts.health.as_ref().map_err(Clone::clone)?;
    let app = facts.app()?;
    let path = app.asked_path();
    let wanted = app.health_path.as_ref().map_or("below 500", |_| "200");
    let all = samples.took_ms.len() + samples.bad.len();
    if let Some(first) = samples.bad.first() {
        let boot = facts.first.as_ref().ok();
        if let Some(wrong) = boot.and_then(|boot| boot.wrong_path.as_ref()) {
            return Err(flaw(wrong.clone()));
        }
        if let Some(said) = boot.and_then(|boot| boot.before_start.as_ref()) {
            return Err(flaw(format!(
                "`before_start` was still running, and had said nothing new for a while, so that the app was not started; \
                 its last line: {said}"
            )));
        }
        let only_inside = boot.is_some_and(|boot| boot.ready.is_some() && boot.first_200.is_none());
        // Whatever it is that the app itself finds missing.
        let is_its_own = samples.took_ms.is_empty() && first.starts_with('5');
        return Err(flaw(format!(
            "GET {path}: {} of {all} answers were not {wanted}, the first {first}{}",
            samples.bad.len(),
            match (only_inside, is_its_own) {
                (true, _) => ONLY_INSIDE,
                (false, true) if app.health_path.is_none() => NO_ANSWER,
                (false, true) => UNHEALTHY,
                (false, false) => "",
            }
        )));
    }
    let (Some(middle), Some(p99)) = (median(&samples.took_ms), percentile(&samples.took_ms, 0.99)) else {
        return Err(flaw(format!("GET {path}: not one request was made")));
    };
    measured(
        Figure::new(middle, Some(facts.spec.budgets.health_ms), "ms"),
        format!("GET {path}: {all} times {wanted}, median; p99 {p99:.1} ms"),
    )
}

/// Of an app that calls itself unhealthy.
const UNHEALTHY: &str = ": what the app misses there, the image has to have (`programs`, `app.environment`); or \
                         `app.health_path` names another path, or is `null`: then any answer on `/` but a 5xx will do";

/// Of an app that has no path of its health, and fails on `/`.
const NO_ANSWER: &str =
    ": without `app.health_path` any answer on `/` but a 5xx will do; name a path there that answers 200";

/// Asks for a path by Django's own client, in a container: the exception behind an answer whose
/// cause no log has. Of another framework's app it says nothing.
pub(crate) fn unsaid_script(app: &App) -> String {
    let words = app
        .command
        .as_deref()
        .unwrap_or(std::slice::from_ref(&app.import));
    let words: Vec<String> = [app.asked_path()]
        .into_iter()
        .chain(words.iter().map(String::as_str))
        .map(quote)
        .collect();
    let code = include_str!("unsaid.py");
    format!("run-app python - {} <<'PY'\n{code}PY", words.join(" "))
}

/// What an answer to [`unsaid_script`] tells.
pub(crate) fn unsaid(answer: &Answer) -> Option<String> {
    let lines = answer.text.lines();
    let told: Vec<&str> = lines.filter_map(|line| line.strip_prefix("unsaid: ")).collect();
    (!told.is_empty()).then(|| told.join("\n"))
}

/// What makes an endpoint ask, for most apps.
const MAKE_IT_ASK: &str = r#"an endpoint that asks, with FastAPI and psycopg:
    @app.get("/ready")
    def ready():
        with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=2) as connection:
            connection.execute("SELECT 1")
        return {"status": "ready"}
then "app": {"health_path": "/ready", "health": "readiness"}; or "app": {"health": "liveness"}, and nothing is said of it"#;

/// The image's own check left healthy and came back.
pub(crate) fn container_health(facts: &Facts) -> Judged {
    let outage = facts.outage.as_ref().map_err(Clone::clone)?;
    let (container, limit) = (&outage.container, OUTAGE_LIMIT.as_secs());
    if !container.left {
        return Err(flaw(format!(
            "PostgreSQL was stopped, and the image's own health check was content for {limit} s: {}",
            container.said
        )));
    }
    let Some(back) = container.back else {
        return Err(flaw(format!(
            "PostgreSQL was started again, and the image's own health check was not content after {limit} s: {}",
            container.said
        )));
    };
    seen(format!(
        "PostgreSQL stopped: {}; started: healthy after {:.1} s",
        container.said,
        back.as_secs_f64()
    ))
}

/// Came back within the limit; where the spec says that it asks the database,
/// it left 200 within it, too.
pub(crate) fn honest(facts: &Facts) -> Judged {
    let outage = facts.outage.as_ref().map_err(Clone::clone)?;
    let app = facts.app()?;
    let (path, limit) = (app.asked_path(), OUTAGE_LIMIT.as_secs());
    if app.health == Some(HealthMeaning::Readiness) && outage.noticed.is_none() {
        return Err(flaw(format!(
            "PostgreSQL was stopped, and health still said {} after {limit} s: `app.health` of the spec is \"readiness\"; \
             let GET {path} run a query, or say \"liveness\"",
            outage.said
        )));
    }
    let Some(back) = outage.back else {
        return Err(flaw(format!(
            "PostgreSQL was started again, and health was not back after {limit} s: {}",
            outage.said
        )));
    };
    let back = back.as_secs_f64();
    match outage.noticed {
        Some(noticed) if app.health_path.is_some() => Ok(Observation {
            detail: format!(
                "PostgreSQL stopped: health left 200 after {:.1} s ({}); started: back after {back:.1} s",
                noticed.as_secs_f64(),
                outage.said
            ),
            figure: Some(Figure::new(
                noticed.as_secs_f64(),
                Some(OUTAGE_LIMIT.as_secs_f64()),
                "s",
            )),
        }),
        Some(_) => seen(format!(
            "not held to asking the database: GET {path} answered {} while PostgreSQL was stopped, and was back {back:.1} s after \
             its start",
            outage.said
        )),
        None => seen(format!(
            "not held to asking the database: GET {path} answered while PostgreSQL was stopped, and {back:.1} s after its start"
        )),
    }
}

/// What whoever built it should know of the endpoint of an image that passed,
/// where its spec does not say what it means.
pub(crate) fn advice(facts: &Facts) -> Option<String> {
    let outage = facts.outage.as_ref().ok()?;
    let app = facts.spec.app.as_ref()?;
    if app.health.is_some() || app.health_path.is_none() {
        return None;
    }
    let path = app.asked_path();
    Some(if outage.noticed.is_some() {
        format!(
            "GET {path} asks the database, and is proved as liveness only: say \"app\": {{\"health\": \"readiness\"}}, and the gate holds it to that"
        )
    } else {
        format!(
            "GET {path} said 200 while the database was away; the container's own health check did not. This is proved as liveness (label {HEALTH_LABEL}).\n{MAKE_IT_ASK}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{ContainerHealth, Outage, Samples};
    use crate::tests::facts;
    use container::boot::Boot;
    use std::time::Duration;

    fn samples(took_ms: &[f64], bad: &[&str]) -> Samples {
        Samples {
            took_ms: took_ms.to_vec(),
            bad: bad.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    #[test]
    fn every_answer_counts_and_the_median_is_judged() {
        let mut facts = facts();
        facts.health = Ok(samples(&[1.0, 2.0, 900.0], &[]));
        let figure = health(&facts).unwrap().figure.unwrap();
        assert!((figure.value - 2.0).abs() < 1e-9);
        facts.health = Ok(samples(&[150.0], &[]));
        assert!(health(&facts).is_err(), "over the budget of 100 ms");
        facts.health = Ok(samples(&[1.0, 1.0], &["503 down"]));
        let said = health(&facts).unwrap_err().detail;
        assert_eq!(
            said,
            "GET /health: 1 of 3 answers were not 200, the first 503 down"
        );
        facts.health = Ok(samples(&[], &["503 no cron job"]));
        let said = health(&facts).unwrap_err().detail;
        assert!(said.contains("503 no cron job: what the app misses"), "{said}");
        facts.health = Ok(samples(&[], &[]));
        assert!(health(&facts).is_err());
        // Without a path there is one more thing to say, and nothing to take away.
        facts.spec.app.as_mut().unwrap().health_path = None;
        facts.health = Ok(samples(&[], &["500 Internal Server Error"]));
        let said = health(&facts).unwrap_err().detail;
        assert_eq!(
            said,
            "GET /: 1 of 1 answers were not below 500, the first 500 Internal Server Error: without `app.health_path` any answer on `/` \
             but a 5xx will do; name a path there that answers 200"
        );
    }

    #[test]
    fn healthy_inside_and_silent_outside_is_said() {
        let mut facts = facts();
        facts.health = Ok(samples(&[], &["connection refused"]));
        facts.first = Ok(Boot {
            ready: Some(Duration::from_secs(2)),
            ..Boot::default()
        });
        let said = health(&facts).unwrap_err().detail;
        assert!(said.contains("listens on another port"), "{said}");
    }

    #[test]
    fn an_app_that_was_not_started_is_not_blamed() {
        let mut facts = facts();
        facts.health = Ok(samples(&[], &["connection refused"]));
        facts.first = Ok(Boot {
            before_start: Some("Applying shop.0003_big...".to_owned()),
            ..Boot::default()
        });
        let said = health(&facts).unwrap_err().detail;
        assert!(said.contains("`before_start` was still running"), "{said}");
        assert!(said.ends_with("Applying shop.0003_big..."), "{said}");
    }

    fn outage(noticed: bool, back: bool) -> Outage {
        let second = Duration::from_secs(1);
        Outage {
            noticed: noticed.then_some(second),
            said: "503 down".into(),
            back: back.then_some(second),
            container: ContainerHealth {
                left: noticed,
                said: "unhealthy: database".into(),
                back: back.then_some(second),
            },
        }
    }

    #[test]
    fn health_has_to_come_back_and_what_claims_to_ask_has_to_notice() {
        let mut facts = facts();
        for (claim, noticed, back, good) in [
            (Some(HealthMeaning::Readiness), true, true, true),
            (Some(HealthMeaning::Readiness), false, true, false),
            (Some(HealthMeaning::Readiness), true, false, false),
            (Some(HealthMeaning::Liveness), false, true, true),
            (Some(HealthMeaning::Liveness), false, false, false),
            (None, false, true, true),
            (None, true, true, true),
        ] {
            facts.spec.app.as_mut().unwrap().health = claim;
            facts.outage = Ok(outage(noticed, back));
            assert_eq!(honest(&facts).is_ok(), good, "{claim:?} {noticed} {back}");
            assert_eq!(advice(&facts).is_some(), claim.is_none());
        }
        facts.spec.app.as_mut().unwrap().health = None;
        facts.outage = Ok(outage(false, true));
        assert!(advice(&facts).unwrap().contains("def ready():"));
        facts.spec.app.as_mut().unwrap().health_path = None;
        assert_eq!(advice(&facts), None, "nothing could be claimed");
        assert!(honest(&facts).is_ok());
    }

    #[test]
    fn what_no_log_has_is_asked_of_django_and_told_alone() {
        let mut app = facts().spec.app.clone().unwrap();
        app.health_path = Some("/it's".to_owned());
        let script = unsaid_script(&app);
        let first = format!("run-app python - '/it'\\''s' '{}' <<'PY'", app.import);
        assert_eq!(script.lines().next(), Some(first.as_str()));
        assert!(script.ends_with("\nPY"), "{script}");
        app.command = Some(vec!["gunicorn".to_owned(), "shop.wsgi:app".to_owned()]);
        assert!(
            unsaid_script(&app).starts_with("run-app python - '/it'\\''s' 'gunicorn' 'shop.wsgi:app' <<")
        );
        let answer = |text: &str| Answer {
            code: 0,
            text: text.to_owned(),
            took: Duration::ZERO,
        };
        let said = "a log\nunsaid: ValueError: no style.css\nunsaid:   at shop/views.py:2\nmore";
        assert_eq!(
            unsaid(&answer(said)).as_deref(),
            Some("ValueError: no style.css\n  at shop/views.py:2")
        );
        assert_eq!(unsaid(&answer("hive: no app")), None);
    }

    #[test]
    fn the_containers_own_check_has_to_leave_and_to_come_back() {
        let mut facts = facts();
        assert!(container_health(&facts).is_err());
        for (left, back) in [(true, true), (false, true), (true, false)] {
            facts.outage = Ok(outage(left, back));
            assert_eq!(container_health(&facts).is_ok(), left && back);
        }
    }
}
