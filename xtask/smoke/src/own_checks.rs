//! The checks of a spec's own, asked inside of a container that has no network.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::spec_checks::{self, Saved};
use container::ask::{self, Answer};
use container::finding::flaw;
use container::http::Reply;
use definition::spec::{CheckProbe, ImageSpec, Method};
use engine::container::Container;

/// Sends a request to the app, and prints the answer as JSON.
const REQUEST: &str = include_str!("own_checks/request.py");

/// The script's own limit is shorter.
const DEADLINE: Duration = Duration::from_secs(30);

/// The answer of the app, as the script in the container prints it.
#[derive(Debug, Deserialize)]
struct Answered {
    status: u16,
    body: String,
    location: Option<String>,
}

/// Asks all checks in their order, of an app that listens on this port; a sentence
/// for each one that is not met.
///
/// # Errors
/// When the engine does not answer, or on Ctrl-C.
pub fn unmet(container: &Container, spec: &ImageSpec, port: u16) -> Result<Vec<String>> {
    let (mut saved, mut unmet) = (Saved::new(), Vec::new());
    for (n, check) in spec.checks.iter().enumerate() {
        let missing = spec_checks::not_saved(check, &spec.checks[..n], &saved);
        let judged = match &check.probe {
            _ if missing.is_some() => Err(flaw(format!(
                "not reached: no check before it has saved {{{}}}",
                missing.unwrap_or_default()
            ))),
            CheckProbe::Http(probe) => {
                let send = |method: Method, path: &str, json: Option<&str>| {
                    request(container, port, method, path, json).map_err(|error| format!("{error:#}"))
                };
                spec_checks::http(&send, probe, &mut saved)
            }
            CheckProbe::Sql(probe) => {
                let script = ask::prelude(spec) + &spec_checks::sql_script(probe, &saved);
                let output = container.exec(DEADLINE, &[], &["sh", "-c", &script], None)?;
                let text = [output.stdout, output.stderr].concat();
                let answer = Answer {
                    code: output.status.code().unwrap_or(-1),
                    text: String::from_utf8_lossy(&text).trim_end_matches('\n').to_owned(),
                    took: output.took,
                };
                spec_checks::sql(probe, &mut saved, &answer)
            }
        };
        if let Err(flaw) = judged {
            unmet.push(format!("{}: {flaw}", check.name));
        }
    }
    Ok(unmet)
}

fn request(
    container: &Container,
    port: u16,
    method: Method,
    path: &str,
    json: Option<&str>,
) -> Result<Reply> {
    let port = port.to_string();
    // The system's own, whatever the app's `PATH` leads to.
    let mut command = vec![
        "/usr/bin/python3",
        "-I",
        "-c",
        REQUEST,
        &port,
        method.as_str(),
        path,
    ];
    command.extend(json);
    let output = container.exec(DEADLINE, &[], &command, None)?;
    if !output.success() {
        anyhow::bail!("{}", output.stderr_text());
    }
    let answered: Answered = serde_json::from_slice(&output.stdout).context("read the app's answer")?;
    Ok(Reply {
        status: answered.status,
        body: answered.body,
        location: answered.location,
        took: output.took,
    })
}
