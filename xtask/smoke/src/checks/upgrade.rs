//! The image under test on a volume of the image before.

use crate::facts::{Facts, FailedAgain, Upgrade};
use crate::rows::{RowsFate, TableRows, fate};
use container::finding::{Judged, Reached, flaw, seen};
use definition::identity::ImageId;

/// Healthy on the volume of the image before, however long its migrations take; no
/// table has lost its rows, and the spec's checks pass that passed before. Or
/// nothing that could be gone on with: see [`warnings`].
pub(crate) fn rows_of_before(facts: &Facts) -> Judged {
    let (before, checks, boot, failed) = match facts.upgrade.as_ref().map_err(Clone::clone)? {
        Upgrade::NoneBefore => return seen("no earlier image of this app is in the engine"),
        Upgrade::BeforeFails(before, why) => return seen(before_fails(before, why)),
        Upgrade::Refused(before, why) => return seen(refused(before, why)),
        Upgrade::Started {
            before,
            checks,
            boot,
            failed,
            ..
        } => (before, checks, boot, failed),
    };
    let what = format!(
        "docker run on a volume of the image before ({}) with the rows that {checks} checks of the spec left",
        before.short()
    );
    let Some(ready) = boot.ready else {
        return Err(boot.given_up(&what, facts.spec.budgets.ready_seconds));
    };
    let rows = match rows_of(facts) {
        None => "the rows were not counted".to_owned(),
        Some(fate) => {
            let fate = fate?;
            if !fate.lost.is_empty() {
                return Err(flaw(format!(
                    "{what}: rows are lost: {}; no other table has as many more. \
                     An image that does without a table stops to write to it one image earlier",
                    fate.lost.join(", ")
                )));
            }
            format!("{} rows of {} tables are there", fate.rows, fate.tables)
        }
    };
    let held: Vec<&str> = told(failed, true).collect();
    if !held.is_empty() {
        return Err(flaw(format!(
            "{what}: healthy, and checks fail that the image before passed: {}",
            held.join("; ")
        )));
    }
    seen(format!(
        "{what}: healthy after {:.2} s, {rows}",
        ready.as_secs_f64()
    ))
}

/// What whoever reads a pass has to know: why less was tried than its name says.
pub(crate) fn warnings(facts: &Facts) -> Vec<String> {
    let Ok(upgrade) = &facts.upgrade else {
        return Vec::new();
    };
    let untried = "it is not proved that this image starts on the data of the one before";
    match upgrade {
        Upgrade::NoneBefore => Vec::new(),
        Upgrade::BeforeFails(before, why) => vec![format!("{untried}: {}", before_fails(before, why))],
        Upgrade::Refused(before, why) => vec![format!("{untried}: {}", refused(before, why))],
        Upgrade::Started {
            before,
            checks,
            had,
            failed,
            ..
        } => {
            let before = before.short();
            let mut all = Vec::new();
            if *checks == 0 && !facts.spec.checks.is_empty() {
                all.push(format!(
                    "no check of the spec passes under the image before ({before}): its volume had no rows of theirs"
                ));
            }
            if let Err(why) = had {
                all.push(format!(
                    "it is not known whether rows are lost: the image before ({before}): {why}"
                ));
            }
            if let Some(Ok(fate)) = rows_of(facts)
                && !fate.fewer.is_empty()
            {
                let fewer = fate.fewer.join(", ");
                all.push(format!(
                    "on the volume of the image before ({before}) rows are missing: {fewer}"
                ));
            }
            all.extend(told(failed, false).map(|said| {
                format!("on the volume of the image before ({before}), which did not pass it twice: {said}")
            }));
            all
        }
    }
}

/// What became of the rows; `None` where nobody knows what there was.
fn rows_of(facts: &Facts) -> Option<Reached<RowsFate>> {
    let Ok(Upgrade::Started {
        had: Ok(had), has, ..
    }) = &facts.upgrade
    else {
        return None;
    };
    let fresh: &[TableRows] = facts.fresh_tables.as_deref().unwrap_or_default();
    let compared = has.as_ref().map(|has| fate(had, has, fresh));
    Some(compared.map_err(Clone::clone))
}

fn told(failed: &[FailedAgain], held: bool) -> impl Iterator<Item = &str> {
    let these = failed.iter().filter(move |check| check.held == held);
    these.map(|check| check.said.as_str())
}

fn before_fails(before: &ImageId, why: &str) -> String {
    format!(
        "the image before ({}) does not get healthy: {why}",
        before.short()
    )
}

fn refused(before: &ImageId, why: &str) -> String {
    format!("a volume of {} is refused: {why}", before.short())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::counted;
    use crate::tests::facts;
    use container::ask::Answer;
    use container::boot::Boot;
    use std::time::Duration;

    fn tables(text: &str) -> Reached<Vec<TableRows>> {
        counted(&Answer {
            code: 0,
            text: text.into(),
            took: Duration::ZERO,
        })
    }

    fn before() -> ImageId {
        format!("sha256:{:064}", 7).parse().unwrap()
    }

    /// Started on one table with two rows, with this table afterwards.
    fn started(after: &str, failed: &[(&str, bool)]) -> Facts {
        let mut facts = facts();
        facts.upgrade = Ok(Upgrade::Started {
            before: before(),
            checks: 1,
            boot: Box::new(Boot {
                ready: Some(Duration::from_secs(1)),
                ..Boot::default()
            }),
            had: tables("[\"public.notes\", 20, 2]"),
            has: tables(after),
            failed: failed
                .iter()
                .map(|&(said, held)| FailedAgain {
                    said: said.into(),
                    held,
                })
                .collect(),
        });
        facts
    }

    #[test]
    fn a_table_that_was_made_again_is_a_flaw_with_its_numbers() {
        let kept = started("[\"public.notes\", 20, 2]", &[]);
        let said = rows_of_before(&kept).unwrap().detail;
        assert!(
            said.ends_with("healthy after 1.00 s, 2 rows of 1 tables are there"),
            "{said}"
        );
        assert!(warnings(&kept).is_empty());
        let said = rows_of_before(&started("[\"public.notes\", 21, 0]", &[]))
            .unwrap_err()
            .detail;
        assert!(
            said.contains("rows are lost: public.notes had 2 rows and is empty"),
            "{said}"
        );
        assert!(
            rows_of_before(&started("psql: error", &[])).is_err(),
            "not counted"
        );
        let fewer = started("[\"public.notes\", 20, 1]", &[]);
        assert!(rows_of_before(&fewer).is_ok());
        assert!(warnings(&fewer)[0].ends_with("rows are missing: public.notes had 2 rows and has 1"));
    }

    #[test]
    fn a_check_that_the_image_before_passed_twice_has_to_pass() {
        let there = "[\"public.notes\", 20, 2]";
        let said = rows_of_before(&started(there, &[("list: got 500", true)]))
            .unwrap_err()
            .detail;
        assert!(
            said.ends_with("that the image before passed: list: got 500"),
            "{said}"
        );
        let once = started(there, &[("create: got 409", false)]);
        assert!(rows_of_before(&once).is_ok());
        assert!(warnings(&once)[0].ends_with("create: got 409"));
    }

    #[test]
    fn what_was_not_tried_is_a_pass_that_is_told() {
        let mut facts = facts();
        facts.upgrade = Ok(Upgrade::NoneBefore);
        assert!(rows_of_before(&facts).is_ok() && warnings(&facts).is_empty());
        for (upgrade, said) in [
            (
                Upgrade::Refused(before(), "another database".into()),
                "is refused: another database",
            ),
            (
                Upgrade::BeforeFails(before(), "app is FATAL".into()),
                "does not get healthy: app is FATAL",
            ),
        ] {
            facts.upgrade = Ok(upgrade);
            assert!(rows_of_before(&facts).is_ok());
            let told = warnings(&facts).concat();
            assert!(
                told.starts_with("it is not proved") && told.ends_with(said),
                "{told}"
            );
        }
        let mut facts = started("[\"public.notes\", 20, 2]", &[]);
        if let Ok(Upgrade::Started { checks, had, .. }) = &mut facts.upgrade {
            (*checks, *had) = (0, Err(flaw("no superuser")));
        }
        assert!(
            rows_of_before(&facts)
                .unwrap()
                .detail
                .ends_with("the rows were not counted")
        );
        let told = warnings(&facts);
        assert!(told[0].contains("no check of the spec passes"), "{told:?}");
        assert!(told[1].ends_with("no superuser"), "{told:?}");
    }
}
