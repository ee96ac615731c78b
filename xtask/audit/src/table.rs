//! Findings → a table for people, a JSON document for programs. Pure.

use serde_json::{Value, json};

use super::{Built, Finding, Soundness};

/// A line for each case, below its fact or its image.
pub fn text(findings: &[Finding]) -> String {
    let named: Vec<(&str, String)> = findings
        .iter()
        .map(|finding| match finding.subject.as_str() {
            "probe" => (finding.fact.as_str(), finding.case.clone()),
            image => (image, format!("{}: {}", finding.fact, finding.case)),
        })
        .collect();
    let width = named
        .iter()
        .map(|(_, line)| line.chars().count())
        .max()
        .unwrap_or(0);
    let mut out = format!("  {:width$}  key    build   plain   verdict\n", "");
    let mut head = "";
    for (finding, (above, line)) in findings.iter().zip(&named) {
        if *above != head {
            head = above;
            out.push_str(&format!("{head}\n"));
        }
        let pad = " ".repeat(width - line.chars().count());
        out.push_str(&format!(
            "  {line}{pad}  {:5}  {:6}  {:6}  {}\n",
            key(finding),
            built(finding.seen.as_ref().and_then(|seen| seen.build.as_ref())),
            built(finding.seen.as_ref().and_then(|seen| seen.plain.as_ref())),
            verdict(&finding.verdict)
        ));
    }
    out.push_str(&summary(findings));
    out
}

fn key(finding: &Finding) -> &'static str {
    match &finding.seen {
        Some(seen) if seen.key_moved => "moves",
        Some(_) => "stays",
        None => "–",
    }
}

fn built(built: Option<&Built>) -> &'static str {
    match built {
        Some(built) if built.missed() => "runs",
        Some(_) => "cached",
        None => "–",
    }
}

fn verdict(verdict: &Soundness) -> String {
    match verdict {
        Soundness::Agree => "agree".to_owned(),
        Soundness::Stricter(why) => format!("stricter: {why}"),
        Soundness::Canonical(why) => format!("made equal: {why}"),
        Soundness::Untried(why) => format!("not tried: {why}"),
        Soundness::Wrong(why) => format!("WRONG: {why}"),
    }
}

/// `62 cases: 50 agree, 3 stricter, …`
pub(crate) fn summary(findings: &[Finding]) -> String {
    let count =
        |wanted: fn(&Soundness) -> bool| findings.iter().filter(|finding| wanted(&finding.verdict)).count();
    let parts: [(usize, &str); 5] = [
        (count(|verdict| *verdict == Soundness::Agree), "agree"),
        (
            count(|verdict| matches!(verdict, Soundness::Stricter(_))),
            "stricter",
        ),
        (
            count(|verdict| matches!(verdict, Soundness::Canonical(_))),
            "made equal",
        ),
        (
            count(|verdict| matches!(verdict, Soundness::Untried(_))),
            "not tried",
        ),
        (count(Soundness::is_wrong), "wrong"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    format!("{} cases: {}", findings.len(), parts.join(", "))
}

/// Everything, with the steps that ran.
pub fn json(findings: &[Finding]) -> Value {
    let sound = !findings.iter().any(|finding| finding.verdict.is_wrong());
    json!({ "schema": 1, "sound": sound, "summary": summary(findings), "findings": findings })
}

#[cfg(test)]
mod tests {
    use super::super::BuildKitSaw;
    use super::*;

    fn finding(subject: &str, case: &str, verdict: Soundness, ran: bool) -> Finding {
        let built = Built {
            steps: 2,
            ran: if ran {
                vec!["whole: COPY . /".to_owned()]
            } else {
                Vec::new()
            },
        };
        Finding {
            subject: subject.to_owned(),
            fact: "text".to_owned(),
            case: case.to_owned(),
            seen: Some(BuildKitSaw {
                key_moved: true,
                build: Some(built.clone()),
                plain: (subject == "probe").then_some(built),
                surprises: None,
            }),
            verdict,
        }
    }

    fn findings() -> Vec<Finding> {
        vec![
            finding("probe", "changed", Soundness::Agree, true),
            finding(
                "probe",
                "a comment",
                Soundness::Stricter("whole".to_owned()),
                false,
            ),
            finding("genie", "changed", Soundness::Wrong("looser".to_owned()), true),
        ]
    }

    #[test]
    fn table_reads_well() {
        assert_eq!(
            text(&findings()).lines().collect::<Vec<_>>(),
            [
                "                 key    build   plain   verdict",
                "text",
                "  changed        moves  runs    runs    agree",
                "  a comment      moves  cached  cached  stricter: whole",
                "genie",
                "  text: changed  moves  runs    –       WRONG: looser",
                "3 cases: 1 agree, 1 stricter, 1 wrong",
            ]
        );
    }

    #[test]
    fn json_has_the_steps() {
        let document = json(&findings());
        assert_eq!(document["sound"], false);
        let first = &document["findings"][0];
        assert_eq!(first["verdict"], "agree");
        assert_eq!(first["seen"]["build"]["ran"], json!(["whole: COPY . /"]));
        assert_eq!(document["findings"][1]["why"], "whole");
        assert_eq!(document["findings"][2]["seen"]["plain"], Value::Null);
    }
}
