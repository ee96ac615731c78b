//! Verdicts as a table for people, JSON, JUnit XML and Markdown. Pure text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::verdict::{CheckOutcome, CheckResult, Verdict};
use container::figure::show;

/// The document of `smoke --json`: other programs read these names.
pub fn json(verdicts: &[Verdict]) -> Value {
    let images: Vec<Value> = verdicts.iter().map(entry).collect();
    json!({ "schema": 1, "images": images })
}

/// One image's entry in it, and in that of `build-images --json`.
pub fn entry(verdict: &Verdict) -> Value {
    json!({
        "name": verdict.image,
        "image_id": verdict.image_id,
        "reference": verdict.reference,
        "passed": verdict.passed(),
        "suite": verdict.suite(),
        "suite_key": verdict.suite_key(),
        "whole": verdict.is_whole(),
        "took_ms": verdict.took_ms,
        "last_words": verdict.last_words,
        "exception": verdict.exception,
        "bundle": verdict.bundle.as_ref().map(|path| path.display().to_string()),
        "checks": verdict.checks,
    })
}

/// One line for each check; failures with their detail below.
pub fn table(verdict: &Verdict) -> String {
    let width = verdict.checks.iter().map(|c| c.name.chars().count()).max();
    let width = width.unwrap_or(0).max(8);
    let mut text = format!("{} {}\n", verdict.image, verdict.image_id);
    let followers = |check: &&CheckResult| check.failed() && check.because.is_some();
    for check in verdict.checks.iter().filter(|check| !followers(check)) {
        let (value, limit) = figures(check);
        let line = format!(
            "  {} {:width$}  {value:>9}  {limit}",
            word(check.outcome),
            check.name,
        );
        text.push_str(line.trim_end());
        text.push('\n');
        if check.outcome != CheckOutcome::Pass {
            push(&mut text, &format!("       {}\n", check.detail));
        }
    }
    let mut of_cause: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for check in verdict.checks.iter().filter(followers) {
        let cause = check.because.as_deref().unwrap_or_default();
        of_cause.entry(cause).or_default().push(&check.name);
    }
    for (cause, names) in of_cause {
        let follow = if names.len() == 1 { "follows" } else { "follow" };
        let line = format!("  FAIL {} more, which {follow} from {cause}\n", names.len());
        push(&mut text, &line);
    }
    push(&mut text, &format!("  {}\n", summary(verdict)));
    text
}

/// How a check ended, as wide as the others.
pub(crate) fn word(outcome: CheckOutcome) -> &'static str {
    match outcome {
        CheckOutcome::Pass => "pass",
        CheckOutcome::Fail => "FAIL",
        CheckOutcome::Untried => "skip",
    }
}

/// `22 of 23 checks passed in 8.1 s`.
pub(crate) fn summary(verdict: &Verdict) -> String {
    let ended = |outcome| {
        verdict
            .checks
            .iter()
            .filter(move |check| check.outcome == outcome)
    };
    let passed = ended(CheckOutcome::Pass).count();
    let untried = match ended(CheckOutcome::Untried).count() {
        0 => String::new(),
        some => format!(", {some} not possible here: no proof of the whole suite"),
    };
    #[expect(clippy::cast_precision_loss, reason = "shown in seconds")]
    let took = verdict.took_ms as f64 / 1000.0;
    if verdict.checks.is_empty() {
        return "no checks were run: a failure".to_owned();
    }
    format!(
        "{passed} of {} checks passed in {}{untried}",
        verdict.checks.len(),
        show(took, "s")
    )
}

fn follows(check: &CheckResult) -> String {
    check
        .because
        .as_ref()
        .map_or_else(String::new, |cause| format!(" (follows from {cause})"))
}

fn figures(check: &CheckResult) -> (String, String) {
    check
        .figure()
        .map_or_else(Default::default, |figure| (figure.shown(), figure.shown_limit()))
}

/// For a job summary on a forge.
pub fn markdown(verdicts: &[Verdict]) -> String {
    let mut text = String::from("## Smoke\n");
    for verdict in verdicts {
        let mark = if verdict.passed() { "✅" } else { "❌" };
        push(
            &mut text,
            &format!(
                "\n### {mark} {} `{}`\n\n{}\n\n| check | outcome | value | limit | detail |\n|---|---|---:|---:|---|\n",
                cell(&verdict.image),
                cell(verdict.image_id.as_str()),
                summary(verdict)
            ),
        );
        for check in &verdict.checks {
            let outcome = match check.outcome {
                CheckOutcome::Pass => "pass",
                CheckOutcome::Fail => "**fail**",
                CheckOutcome::Untried => "not tried",
            };
            let (value, limit) = figures(check);
            let detail = cell(&format!("{}{}", check.detail, follows(check)));
            push(
                &mut text,
                &format!(
                    "| {} | {outcome} | {value} | {limit} | {detail} |\n",
                    cell(&check.name)
                ),
            );
        }
    }
    text
}

/// Text that cannot end a table's cell or become markup.
fn cell(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' => {
                safe.push('\\');
                safe.push(c);
            }
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// JUnit XML as CI systems read it: a suite for each image, a case for each
/// check.
pub fn junit(verdicts: &[Verdict]) -> String {
    let all: Vec<&CheckResult> = verdicts.iter().flat_map(|v| &v.checks).collect();
    let failed = |checks: &[&CheckResult]| checks.iter().filter(|check| check.failed()).count();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"smoke\" tests=\"{}\" failures=\"{}\">\n",
        all.len(),
        failed(&all)
    );
    for verdict in verdicts {
        let checks: Vec<&CheckResult> = verdict.checks.iter().collect();
        push(
            &mut xml,
            &format!(
                "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" time=\"{}\">\n",
                attribute(&verdict.image),
                checks.len(),
                failed(&checks),
                seconds(verdict.took_ms)
            ),
        );
        for check in checks {
            push(
                &mut xml,
                &format!(
                    "    <testcase classname=\"smoke.{}\" name=\"{}\" time=\"{}\"",
                    attribute(&verdict.image),
                    attribute(&check.name),
                    seconds(check.took_ms)
                ),
            );
            let detail = attribute(&format!("{}{}", check.detail, follows(check)));
            let inside = match check.outcome {
                CheckOutcome::Pass => format!("<system-out>{detail}</system-out>"),
                CheckOutcome::Fail => format!("<failure message=\"{detail}\"/>"),
                CheckOutcome::Untried => format!("<skipped message=\"{detail}\"/>"),
            };
            push(&mut xml, &format!(">\n      {inside}\n    </testcase>\n"));
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Escaped for attributes and text. XML 1.0 has no way to write most control
/// characters, not even escaped: they become U+FFFD.
fn attribute(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            '\t' | '\n' | '\r' => push(&mut safe, &format!("&#{};", u32::from(c))),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            c if u32::from(c) < 0x20 => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

fn push(text: &mut String, part: &str) {
    // Writing to a String cannot fail.
    let _ok = text.write_str(part).is_ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::tests::verdict;
    use container::figure::Figure;
    use container::finding::{Judged, flaw, measured, seen};
    use std::time::Duration;

    fn check(name: &str, judged: Judged) -> CheckResult {
        CheckResult::new(name, Duration::from_millis(1234), judged)
    }

    fn mixed() -> Verdict {
        let mut follows = check("health", Err(flaw("got 503 <down> & \"out\" |x|\u{7}\n'end'")));
        follows.because = Some("postgresql-ready".into());
        verdict(vec![
            check(
                "time-to-ready",
                measured(Figure::new(1.4216, Some(10.0), "s"), "until healthy"),
            ),
            check(
                "image-size",
                measured(Figure::new(400.0, Some(330.0), "MB"), "all layers"),
            ),
            check("postgresql-ready", Err(flaw("no response"))),
            check("image-user", seen("user 1000:1000")),
            follows,
        ])
    }

    #[test]
    fn table_shows_values_limits_and_details() {
        assert_eq!(
            table(&mixed()).lines().collect::<Vec<_>>(),
            [
                "genie sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                "  pass time-to-ready        1.42 s  ≤ 10 s",
                "  FAIL image-size           400 MB  ≤ 330 MB",
                "       400 MB is over the budget of 330 MB; all layers",
                "  FAIL postgresql-ready",
                "       no response",
                "  pass image-user",
                "  FAIL 1 more, which follows from postgresql-ready",
                "  2 of 5 checks passed in 7.21 s",
            ]
        );
    }

    #[test]
    fn what_was_not_possible_is_told() {
        let why = "not possible here: <no> disk";
        let untried = CheckResult::untried("power-cut", Duration::ZERO, why);
        let verdict = verdict(vec![check("image-user", seen("user 1000:1000")), untried]);
        assert_eq!(
            table(&verdict).lines().collect::<Vec<_>>(),
            [
                "genie sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                "  pass image-user",
                "  skip power-cut",
                "       not possible here: <no> disk",
                "  1 of 2 checks passed in 7.21 s, 1 not possible here: no proof of the whole suite",
            ]
        );
        assert!(verdict.passed() && !verdict.is_whole());
        let document = json(std::slice::from_ref(&verdict));
        assert_eq!(document["images"][0]["checks"][1]["outcome"], "untried");
        let xml = junit(&[verdict]);
        let skipped = "<skipped message=\"not possible here: &lt;no&gt; disk\"/>";
        assert!(xml.contains(skipped), "{xml}");
    }

    #[test]
    fn json_has_the_names_others_read() {
        let document = json(&[mixed()]);
        let image = &document["images"][0];
        assert_eq!(image["name"], "genie");
        assert_eq!(image["passed"], false);
        assert_eq!(
            image["checks"][0],
            json!({
                "name": "time-to-ready", "outcome": "pass",
                "detail": "until healthy", "value": 1.422, "unit": "s", "limit": 10.0,
                "took_ms": 1234, "because": null,
            })
        );
        assert_eq!(image["checks"][4]["because"], "postgresql-ready");
    }

    #[test]
    fn junit_is_well_formed() {
        assert_eq!(
            junit(&[mixed()]).lines().collect::<Vec<_>>(),
            [
                r#"<?xml version="1.0" encoding="UTF-8"?>"#,
                r#"<testsuites name="smoke" tests="5" failures="3">"#,
                r#"  <testsuite name="genie" tests="5" failures="3" time="7.215">"#,
                r#"    <testcase classname="smoke.genie" name="time-to-ready" time="1.234">"#,
                "      <system-out>until healthy</system-out>",
                "    </testcase>",
                r#"    <testcase classname="smoke.genie" name="image-size" time="1.234">"#,
                r#"      <failure message="400 MB is over the budget of 330 MB; all layers"/>"#,
                "    </testcase>",
                r#"    <testcase classname="smoke.genie" name="postgresql-ready" time="1.234">"#,
                r#"      <failure message="no response"/>"#,
                "    </testcase>",
                r#"    <testcase classname="smoke.genie" name="image-user" time="1.234">"#,
                "      <system-out>user 1000:1000</system-out>",
                "    </testcase>",
                r#"    <testcase classname="smoke.genie" name="health" time="1.234">"#,
                r#"      <failure message="got 503 &lt;down&gt; &amp; &quot;out&quot; |x|  &apos;end&apos; (follows from postgresql-ready)"/>"#,
                "    </testcase>",
                "  </testsuite>",
                "</testsuites>",
            ]
        );
    }

    #[test]
    fn xml_has_no_forbidden_character() {
        let all: String = (0..=0x1f_u8).map(char::from).collect();
        let safe = attribute(&format!("{all}\u{fffe}é"));
        assert!(
            safe.chars().all(|c| u32::from(c) >= 0x20 && c != '\u{fffe}'),
            "{safe:?}"
        );
        assert!(safe.contains("&#9;&#10;") && safe.ends_with('é'));
    }

    #[test]
    fn markdown_cells_stay_cells() {
        let text = markdown(&[mixed()]);
        let row = text.lines().find(|line| line.starts_with("| health")).unwrap();
        assert_eq!(
            row,
            "| health | **fail** |  |  | got 503 &lt;down> &amp; \"out\" \\|x\\|  'end' (follows from postgresql-ready) |"
        );
    }

    #[test]
    fn no_checks_are_said_to_be_a_failure() {
        assert!(table(&verdict(Vec::new())).contains("a failure"));
    }
}
