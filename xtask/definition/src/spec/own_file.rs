//! What the app's own file says beside the image's: no word of it is overruled in
//! silence, and none is for the gate alone.

use serde_json::Value;

use super::load::{Located, SourceFile};
use super::secret;
use super::shape::{self, ShapeProblem};

/// What only the gate should know, in a file that is part of the image.
pub(super) fn of_the_gate(file: &SourceFile, value: &Value, image: &str) -> Option<Located> {
    value.get("smoke")?;
    Some(Located {
        file: file.shown.clone(),
        problem: ShapeProblem {
            path: "smoke".to_owned(),
            message: format!(
                "is for images/{image}/image.json: this file is part of the image, and so would be what only the gate should know"
            ),
        },
    })
}

/// Each check whose request has a login, in a file that is part of the image.
pub(super) fn with_a_login<'a>(
    file: &'a SourceFile,
    value: &'a Value,
    image: &'a str,
) -> impl Iterator<Item = Located> + 'a {
    let checks = value
        .get("checks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    checks.enumerate().filter_map(move |(n, check)| {
        let found = secret::in_json(check.pointer("/http/json")?)?;
        Some(Located {
            file: file.shown.clone(),
            problem: ShapeProblem {
                path: format!("checks[{n}].http.json.{found}"),
                message: format!(
                    "looks like a secret, and this file is part of the image: such a check is for images/{image}/image.json, which is \
                     in none"
                ),
            },
        })
    })
}

/// A sentence for each value of the app's file that the image's has otherwise.
pub(super) fn overruled(app: (&SourceFile, &Value), own: (&SourceFile, &Value)) -> Vec<String> {
    let mut found = Vec::new();
    differences(app.1, own.1, "", &mut |path, theirs, ours| {
        found.push(format!(
            "{}: `{path}` is {theirs}, and {} has {ours}, which counts",
            app.0.shown, own.0.shown
        ));
    });
    found
}

/// Calls `tell` for each value that both have and that differs.
fn differences(one: &Value, other: &Value, path: &str, tell: &mut impl FnMut(&str, &Value, &Value)) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for (key, value) in one.iter().filter(|(key, _)| *key != "$schema") {
                if let Some(other) = other.get(key) {
                    differences(value, other, &shape::join(path, key), tell);
                }
            }
        }
        (one, other) if one != other => tell(path, one, other),
        _ => {}
    }
}
