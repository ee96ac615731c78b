//! The checks that a spec brings along: requests to the app and queries.
//!
//! They run in the spec's order, each after the one before. What a request
//! saves from its answer (`"save": {"id": "/id"}`) stands for `{id}` in those
//! that follow: create, then read what was created.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use container::ask::Answer;
use container::finding::{Judged, flaw, seen};
use container::http::{Client, Reply, one_line, percent_encoded};
use definition::spec::{Check, CheckProbe, HttpProbe, Method, SqlProbe};
use host::process::quote;

/// For a whole request: a check must not hang the gate.
const DEADLINE: Duration = Duration::from_secs(10);

/// Who carries a request to the app, with its JSON body; a sentence where no whole
/// answer came.
pub(crate) type Sends<'a> = &'a dyn Fn(Method, &str, Option<&str>) -> Result<Reply, String>;

/// Requests to a published port.
pub(crate) fn through(client: &Client) -> impl Fn(Method, &str, Option<&str>) -> Result<Reply, String> {
    |method, path, json| client.send(method, path, json, DEADLINE)
}

/// What earlier checks saved, by name.
pub(crate) type Saved = BTreeMap<String, Value>;

/// Sends the request and judges the answer.
///
/// # Errors
/// What came back instead.
pub(crate) fn http(send: Sends<'_>, probe: &HttpProbe, saved: &mut Saved) -> Judged {
    let path = fill(&probe.path, saved, percent_encoded);
    let json = probe.json.as_ref().map(|json| fill_json(json, saved).to_string());
    let asked = format!("{} {path}", probe.method.as_str());
    let reply =
        send(probe.method, &path, json.as_deref()).map_err(|error| flaw(format!("{asked}: {error}")))?;
    judge_reply(&asked, probe, &reply, saved)
}

fn judge_reply(asked: &str, probe: &HttpProbe, reply: &Reply, saved: &mut Saved) -> Judged {
    if reply.status != probe.status {
        return Err(flaw(format!(
            "{asked}: expected {}, got {}",
            probe.status,
            reply.shown()
        )));
    }
    if let Some(text) = &probe.contains {
        let text = fill(text, saved, str::to_owned);
        if !reply.body.contains(&text) {
            return Err(flaw(format!("{asked}: no {text:?} in {}", reply.shown())));
        }
    }
    for (name, pointer) in &probe.save {
        let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        let value = body.pointer(pointer).filter(|value| !value.is_null());
        let Some(value) = value else {
            return Err(flaw(format!(
                "{asked}: no value at {pointer} in {}",
                reply.shown()
            )));
        };
        saved.insert(name.clone(), value.clone());
    }
    seen(format!("{asked}: {}", reply.shown()))
}

/// The value that a check needs and that none has: the one that should have saved
/// it failed, and this one would ask something else than its author meant.
pub(crate) fn not_saved<'a>(check: &Check, earlier: &'a [Check], saved: &Saved) -> Option<&'a str> {
    let text = serde_json::to_string(&check.probe).unwrap_or_default();
    let promised = earlier.iter().flat_map(|check| match &check.probe {
        CheckProbe::Http(probe) => probe.save.keys().collect::<Vec<_>>(),
        CheckProbe::Sql(probe) => probe.save.iter().collect(),
    });
    let mut missing = promised.filter(|name| !saved.contains_key(*name));
    missing
        .find(|name| text.contains(&format!("{{{name}}}")))
        .map(String::as_str)
}

/// The script that asks a query.
pub(crate) fn sql_script(probe: &SqlProbe, saved: &Saved) -> String {
    let query = fill(&probe.query, saved, |value| value.replace('\'', "''"));
    format!("psql -XAtq -v ON_ERROR_STOP=1 -c {}", quote(&query))
}

/// Judges what the query gave.
///
/// # Errors
/// What came back instead.
pub(crate) fn sql(probe: &SqlProbe, saved: &mut Saved, answer: &Answer) -> Judged {
    if !answer.ok() {
        return Err(flaw(answer.shown()));
    }
    if let Some(expected) = &probe.expect {
        let expected = fill(expected, saved, str::to_owned);
        if answer.text != expected.trim_end_matches('\n') {
            return Err(flaw(format!(
                "expected {:?}, got {:?}",
                one_line(&expected),
                answer.shown()
            )));
        }
    }
    if let Some(name) = &probe.save {
        let text = || Value::String(answer.text.clone());
        let value = serde_json::from_str(&answer.text).unwrap_or_else(|_| text());
        saved.insert(name.clone(), value);
    }
    seen(format!("gave {:?}", answer.shown()))
}

/// Replaces `{name}` of saved names; any other brace stands for itself.
fn fill(text: &str, saved: &Saved, encode: impl Fn(&str) -> String) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        let value = rest[at + 1..]
            .split_once('}')
            .and_then(|(name, after)| saved.get(name).map(|value| (value, after)));
        if let Some((value, after)) = value {
            filled.push_str(&encode(&as_text(value)));
            rest = after;
        } else {
            filled.push('{');
            rest = &rest[at + 1..];
        }
    }
    filled.push_str(rest);
    filled
}

fn fill_json(json: &Value, saved: &Saved) -> Value {
    match json {
        Value::String(text) => {
            let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            match name.and_then(|name| saved.get(name)) {
                Some(value) => value.clone(),
                None => Value::String(fill(text, saved, str::to_owned)),
            }
        }
        Value::Array(items) => items.iter().map(|item| fill_json(item, saved)).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), fill_json(value, saved)))
            .collect(),
        other => other.clone(),
    }
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn probe(value: Value) -> HttpProbe {
        serde_json::from_value(value).unwrap()
    }

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status,
            body: body.into(),
            location: None,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn a_check_whose_value_nobody_saved_is_not_asked() {
        let check = |value: Value| -> Check { serde_json::from_value(value).unwrap() };
        let create = check(json!({"name": "a", "http": {"path": "/s", "save": {"id": "/id"}}}));
        let read = check(json!({"name": "b", "sql": {"query": "SELECT '{id}', '{other}'", "save": "n"}}));
        let all = [create, read];
        let mut saved = Saved::new();
        assert_eq!(not_saved(&all[1], &all[..1], &saved), Some("id"));
        assert_eq!(not_saved(&all[0], &[], &saved), None);
        saved.insert("id".into(), json!(7));
        assert_eq!(
            not_saved(&all[1], &all[..1], &saved),
            None,
            "other is no name of a value"
        );
    }

    #[test]
    fn a_saved_value_is_used_by_later_checks() {
        let mut saved = Saved::new();
        let create = probe(json!({"path": "/s", "status": 201, "save": {"id": "/s/0/id", "n": "/n"}}));
        let body = r#"{"s": [{"id": "a'b/c"}], "n": 7}"#;
        judge_reply("POST /s", &create, &reply(201, body), &mut saved).unwrap();
        let path = fill("/s/{id}?n={n}&{x}", &saved, percent_encoded);
        assert_eq!(path, "/s/a%27b%2Fc?n=7&{x}");
        let script = sql_script(&query("SELECT '{id}', '{}'::jsonb", None), &saved);
        assert!(
            script.contains("a''b/c".replace('\'', r"'\''").as_str()),
            "{script}"
        );
        // All of a text is a value, part of one is text.
        let filled = fill_json(&json!({"k": ["{n}", "n{n}", 1, "{x}"]}), &saved);
        assert_eq!(filled, json!({"k": [7, "n7", 1, "{x}"]}));
    }

    fn query(query: &str, expect: Option<&str>) -> SqlProbe {
        SqlProbe {
            query: query.into(),
            expect: expect.map(str::to_owned),
            save: Some("out".into()),
        }
    }

    #[test]
    fn status_text_and_saved_values_are_required() {
        let mut saved = Saved::new();
        let want = probe(json!({"path": "/s", "contains": "genie", "save": {"id": "/id"}}));
        for (good, status, body) in [
            (true, 200, r#"{"id": "x", "name": "genie"}"#),
            (false, 201, r#"{"id": "x", "name": "genie"}"#),
            (false, 200, r#"{"id": "x"}"#),
            (false, 200, r#"{"id": null, "name": "genie"}"#),
            (false, 200, "genie"),
        ] {
            let judged = judge_reply("GET /s", &want, &reply(status, body), &mut saved);
            assert_eq!(judged.is_ok(), good, "{status} {body}");
        }
    }

    #[test]
    fn a_query_has_to_give_all_of_what_is_expected() {
        let answer = |code, text: &str| Answer {
            code,
            text: text.into(),
            took: Duration::ZERO,
        };
        let mut saved = Saved::new();
        let two = query("SELECT 1", Some("1\n2\n"));
        assert!(sql(&two, &mut saved, &answer(0, "1")).is_err());
        assert!(sql(&two, &mut saved, &answer(3, "1\n2")).is_err());
        assert_eq!(saved.get("out"), None);
        assert!(sql(&two, &mut saved, &answer(0, "1\n2")).is_ok());
        assert_eq!(saved.get("out"), Some(&json!("1\n2")));
        sql(&query("SELECT 1", None), &mut saved, &answer(0, "[1, 0]")).unwrap();
        assert_eq!(saved.get("out"), Some(&json!([1, 0])));
    }
}
