//! Outcomes → a table for people, a JSON document for programs. Pure.

use serde_json::{Value, json};

use super::row::{Goal, GoalOutcome, Measured, RowFigure, RowPart};
use super::{ListedRow, RowOutcome};

use container::figure::show;

const TITLES: [&str; 6] = ["", "median", "least", "most", "ratio", "goal"];

/// A block for each row: a line of ours, a line for each peer, the goals at
/// the line that they are about.
pub fn text(outcomes: &[RowOutcome]) -> String {
    let blocks: Vec<(String, Vec<[String; 6]>)> = outcomes
        .iter()
        .map(|outcome| {
            let ListedRow { row, what, .. } = outcome.entry;
            (format!("{row}: {what}"), lines(outcome))
        })
        .collect();
    let mut widths = TITLES.map(str::len);
    for line in blocks.iter().flat_map(|(_, lines)| lines) {
        // Notes and errors stand in the first column alone.
        if line[1..].iter().all(String::is_empty) {
            continue;
        }
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = aligned(&TITLES.map(str::to_owned), &widths);
    for (title, lines) in &blocks {
        out.push_str(&format!("\n{title}\n"));
        for line in lines {
            out.push_str(&aligned(line, &widths));
        }
    }
    out.trim_end().to_owned()
}

fn lines(outcome: &RowOutcome) -> Vec<[String; 6]> {
    let ListedRow { unit, goals, .. } = outcome.entry;
    let alone = |text: String| {
        [
            text,
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
        ]
    };
    let judged = outcome
        .measured
        .as_ref()
        .map_err(|error| format!("{error:#}"))
        .and_then(|measured| {
            let judged = measured.judge(goals).map_err(|error| format!("{error:#}"))?;
            Ok((measured, judged))
        });
    let (measured, judged) = match judged {
        Ok(both) => both,
        Err(error) => {
            // The rest of it was told when it happened.
            let first = error.lines().next().unwrap_or_default();
            return vec![alone(format!("not measured: {first}"))];
        }
    };
    let mut lines = vec![line(
        &measured.ours,
        unit,
        None,
        &about(measured, &judged, None, unit),
    )];
    for peer in &measured.peers {
        let goals = about(measured, &judged, Some(peer), unit);
        lines.push(line(peer, unit, Some(measured.ratio(peer)), &goals));
    }
    lines.extend(measured.notes.iter().map(|note| alone(format!("note: {note}"))));
    lines
}

/// The goals that compare with `peer`, or with nobody.
fn about(measured: &Measured, judged: &[GoalOutcome], peer: Option<&RowFigure>, unit: &str) -> String {
    let goals: Vec<String> = judged
        .iter()
        .filter(|judged| measured.reference(&judged.goal) == peer)
        .map(|judged| {
            let goal = match judged.goal {
                Goal::AtMost(_) => judged.goal.shown(unit),
                Goal::OfBest(part) | Goal::OfPeer(_, part) => format!("≤ {} ×", RowPart(part)),
                Goal::OfPeerAnd(_, part, more) => {
                    format!("≤ {} × + {}", RowPart(part), show(more, unit))
                }
            };
            format!("{goal} {}", if judged.met { "met" } else { "MISSED" })
        })
        .collect();
    goals.join(", ")
}

fn line(figure: &RowFigure, unit: &str, ratio: Option<f64>, goals: &str) -> [String; 6] {
    [
        figure.label.clone(),
        show(figure.median(), unit),
        show(figure.min(), unit),
        show(figure.max(), unit),
        ratio.map(|ratio| RowPart(ratio).to_string()).unwrap_or_default(),
        goals.to_owned(),
    ]
}

fn aligned(cells: &[String; 6], widths: &[usize; 6]) -> String {
    let mut line = String::from(" ");
    for (n, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
        let numeric = (1..=4).contains(&n);
        let (before, after) = if numeric {
            (pad.as_str(), "")
        } else {
            ("", pad.as_str())
        };
        line.push_str(&format!(" {before}{cell}{after} "));
    }
    let mut line = line.trim_end().to_owned();
    line.push('\n');
    line
}

/// Everything, sample by sample. `met` is whether every goal of every row is.
pub fn json(outcomes: &[RowOutcome], runs: usize) -> Value {
    let rows: Vec<Value> = outcomes.iter().map(row).collect();
    let met = rows.iter().all(|row| row["met"] == true);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    json!({ "schema": 1, "runs": runs, "processors": processors, "met": met, "rows": rows })
}

fn row(outcome: &RowOutcome) -> Value {
    let ListedRow {
        suite,
        row,
        what,
        unit,
        goals,
        is_run: _,
    } = outcome.entry;
    let mut value = json!({
        "suite": suite, "row": row, "what": what, "unit": unit,
        "command": format!("cargo xtask bench {row}"),
        "took_seconds": outcome.took.as_secs_f64(),
        "met": false,
    });
    let judged = match &outcome.measured {
        Ok(measured) => measured.judge(goals).map(|judged| (measured, judged)),
        Err(error) => {
            value["error"] = failure::render(error).into();
            return value;
        }
    };
    match judged {
        Ok((measured, judged)) => {
            value["met"] = judged.iter().all(|judged| judged.met).into();
            value["ours"] = figure(&measured.ours);
            value["peers"] = measured
                .peers
                .iter()
                .map(|peer| {
                    let mut entry = figure(peer);
                    entry["ratio"] = measured.ratio(peer).into();
                    entry
                })
                .collect();
            value["goals"] = judged
                .iter()
                .map(|judged| json!({ "goal": judged.goal.shown(unit), "value": judged.value, "met": judged.met }))
                .collect();
            value["notes"] = measured.notes.clone().into();
        }
        Err(error) => value["error"] = failure::render(&error).into(),
    }
    value
}

fn figure(figure: &RowFigure) -> Value {
    json!({
        "label": figure.label, "median": figure.median(), "least": figure.min(), "most": figure.max(),
        "samples": figure.samples,
    })
}

/// What can be measured, a line each.
pub fn list(entries: &[ListedRow]) -> String {
    let width = entries.iter().map(|entry| entry.row.len()).max().unwrap_or(0);
    let mut out = String::new();
    let mut suite = "";
    for entry in entries {
        if entry.suite != suite {
            suite = entry.suite;
            out.push_str(&format!("{suite}\n"));
        }
        let goals: Vec<String> = entry.goals.iter().map(|goal| goal.shown(entry.unit)).collect();
        let goals = if goals.is_empty() {
            String::new()
        } else {
            format!(" ({})", goals.join(", "))
        };
        out.push_str(&format!("  {:width$}  {}{goals}\n", entry.row, entry.what));
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::anyhow;

    use super::*;

    fn outcomes() -> Vec<RowOutcome> {
        let entry = |row, goals| ListedRow {
            suite: "fingerprint",
            row,
            what: "something",
            unit: "ms",
            goals,
            is_run: crate::BenchRun::Always,
        };
        vec![
            RowOutcome {
                entry: entry("no-op", &[Goal::AtMost(40.0), Goal::OfPeer("bake", 0.1)]),
                measured: Ok(Measured::new("xtask", vec![50.0, 48.0, 60.0])
                    .peer("bake", vec![600.0])
                    .note("cold")),
                took: Duration::from_secs(2),
            },
            RowOutcome {
                entry: entry("memory", &[]),
                measured: Err(anyhow!("no engine\n  docker: not found")),
                took: Duration::ZERO,
            },
        ]
    }

    #[test]
    fn table_has_goals_beside_what_they_are_about() {
        assert_eq!(
            text(&outcomes()).lines().collect::<Vec<_>>(),
            [
                "         median   least    most  ratio  goal",
                "",
                "no-op: something",
                "  xtask   50 ms   48 ms   60 ms         ≤ 40 ms MISSED",
                "  bake   600 ms  600 ms  600 ms  0.083  ≤ 0.1 × met",
                "  note: cold",
                "",
                "memory: something",
                "  not measured: no engine",
            ]
        );
    }

    #[test]
    fn json_has_every_sample_and_what_failed() {
        let document = json(&outcomes(), 3);
        let row = &document["rows"][0];
        assert_eq!(row["ours"]["samples"], json!([50.0, 48.0, 60.0]));
        assert_eq!(
            row["goals"][0],
            json!({"goal": "≤ 40 ms", "value": 50.0, "met": false})
        );
        assert_eq!(row["goals"][1]["met"], true);
        assert_eq!(row["met"], false);
        assert_eq!(
            document["rows"][1]["error"],
            "error: no engine\n  docker: not found"
        );
        assert_eq!(document["met"], false);
    }
}
