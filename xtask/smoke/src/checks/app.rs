//! The app as its users reach it: HTTP through the published port.

use crate::facts::Facts;
use crate::facts::OUTAGE_LIMIT;
use container::figure::{Figure, median, percentile};
use container::finding::{Judged, Observation, flaw, measured};

/// An engine elsewhere publishes its ports elsewhere.
const ONLY_INSIDE: &str = "; inside the container it is healthy: the app listens on another port, \
    or the engine's published ports cannot be reached from this machine";

/// All 200, median against the budget.
pub(crate) fn health(facts: &Facts) -> Judged {
    let samples = facts.health.as_ref().map_err(Clone::clone)?;
    let path = &facts.spec.app.health_path;
    let all = samples.took_ms.len() + samples.bad.len();
    if let Some(first) = samples.bad.first() {
        let boot = facts.first.as_ref().ok();
        let only_inside = boot.is_some_and(|boot| boot.ready.is_some() && boot.first_200.is_none());
        return Err(flaw(format!(
            "GET {path}: {} of {all} answers were not 200, the first {first}{}",
            samples.bad.len(),
            if only_inside { ONLY_INSIDE } else { "" }
        )));
    }
    let (Some(middle), Some(p99)) = (median(&samples.took_ms), percentile(&samples.took_ms, 0.99)) else {
        return Err(flaw(format!("GET {path}: not one request was made")));
    };
    measured(
        Figure::new(middle, Some(facts.spec.budgets.health_ms), "ms"),
        format!("GET {path}: {all} times 200, median; p99 {p99:.1} ms"),
    )
}

/// Left 200 within the limit and came back within it.
pub(crate) fn honest(facts: &Facts) -> Judged {
    let outage = facts.outage.as_ref().map_err(Clone::clone)?;
    let limit = OUTAGE_LIMIT.as_secs();
    let Some(noticed) = outage.noticed else {
        return Err(flaw(format!(
            "PostgreSQL was stopped, and health still said {} after {limit} s",
            outage.said
        )));
    };
    let Some(back) = outage.back else {
        return Err(flaw(format!(
            "PostgreSQL was started again, and health was not back after {limit} s: {}",
            outage.said
        )));
    };
    Ok(Observation {
        detail: format!(
            "PostgreSQL stopped: health left 200 after {:.1} s ({}); started: back after {:.1} s",
            noticed.as_secs_f64(),
            outage.said,
            back.as_secs_f64()
        ),
        figure: Some(Figure::new(
            noticed.as_secs_f64(),
            Some(OUTAGE_LIMIT.as_secs_f64()),
            "s",
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Outage, Samples};
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
        facts.health = Ok(samples(&[], &[]));
        assert!(health(&facts).is_err());
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
    fn health_has_to_notice_and_to_come_back() {
        let outage = |noticed, back| Outage {
            noticed,
            said: "503 down".into(),
            back,
        };
        let second = Some(Duration::from_secs(1));
        let mut facts = facts();
        facts.outage = Ok(outage(second, second));
        assert!(honest(&facts).is_ok());
        facts.outage = Ok(outage(None, second));
        assert!(honest(&facts).unwrap_err().detail.contains("still said"));
        facts.outage = Ok(outage(second, None));
        assert!(honest(&facts).unwrap_err().detail.contains("was not back"));
    }
}
