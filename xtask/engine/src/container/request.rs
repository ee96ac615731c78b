//! Options of `docker run` as the API's request to create a container.

use serde_json::{Value, json};

/// What the names of a run's own networks begin with.
const OWN: &str = "hive-";

/// The request; `None` where an option is not known here, so that the CLI has
/// to understand it.
pub(super) fn of(image: &str, label: (&str, &str), options: &[&str], command: &[&str]) -> Option<Value> {
    let mut request = json!({ "Image": image, "Labels": { label.0: label.1 }, "HostConfig": {} });
    let (mut binds, mut ports) = (Vec::new(), serde_json::Map::new());
    let (mut network, mut aliases) = (None, Vec::new());
    let mut variables = Vec::new();
    for option in options.chunks(2) {
        let &[flag, value] = option else { return None };
        match flag {
            // A name and a path, and nothing after them.
            "--volume" if value.matches(':').count() == 1 && !value.starts_with(['/', '.', '~']) => {
                binds.push(value);
            }
            "--publish" => {
                // `127.0.0.1::8000`: a port of the host that the engine picks.
                let (address, port) = value.split_once("::")?;
                let binding = json!([{ "HostIp": address, "HostPort": "" }]);
                ports.insert(format!("{}/tcp", port.parse::<u16>().ok()?), binding);
            }
            "--entrypoint" if !value.is_empty() => request["Entrypoint"] = json!([value]),
            "--network" if value == "none" => request["HostConfig"]["NetworkMode"] = json!(value),
            // One of a run's own; the other words have a meaning for the engine.
            "--network" if value.starts_with(OWN) => network = Some(value),
            "--network-alias" => aliases.push(value),
            "--label" => {
                let (key, value) = value.split_once('=')?;
                request["Labels"][key] = json!(value);
            }
            "--user" => request["User"] = json!(value),
            "--env" if value.contains('=') => variables.push(value),
            _ => return None,
        }
    }
    if let Some(network) = network {
        request["HostConfig"]["NetworkMode"] = json!(network);
        request["NetworkingConfig"]["EndpointsConfig"][network] = json!({ "Aliases": aliases });
    } else if !aliases.is_empty() {
        return None;
    }
    if !variables.is_empty() {
        request["Env"] = json!(variables);
    }
    if !command.is_empty() {
        request["Cmd"] = json!(command);
    }
    let exposed = ports.keys().map(|port| (port.clone(), json!({})));
    request["ExposedPorts"] = Value::Object(exposed.collect());
    request["HostConfig"]["Binds"] = json!(binds);
    request["HostConfig"]["PortBindings"] = Value::Object(ports);
    Some(request)
}

/// Options for the CLI, and the values of variables that it takes from its own
/// environment: what may be a secret stands in no argument. Those that the CLI
/// itself goes by stay.
pub(super) fn apart<'a>(options: &[&'a str]) -> (Vec<&'a str>, Vec<(&'a str, &'a str)>) {
    let (mut kept, mut variables) = (Vec::new(), Vec::new());
    for option in options {
        let named = option.split_once('=').filter(|_| kept.last() == Some(&"--env"));
        let of_the_cli = |name: &str| {
            let name = name.to_uppercase();
            name.starts_with("DOCKER_")
                || name.ends_with("_PROXY")
                || ["HOME", "PATH"].contains(&name.as_str())
        };
        match named {
            Some((name, value)) if !of_the_cli(name) => {
                kept.push(name);
                variables.push((name, value));
            }
            _ => kept.push(option),
        }
    }
    (kept, variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: (&str, &str) = ("dev.hive.run", "1-2");

    #[test]
    fn what_the_gate_starts_is_understood() {
        let options = ["--publish", "127.0.0.1::8000", "--volume", "data:/data"];
        assert_eq!(
            of("sha256:1", LABEL, &options, &[]),
            Some(json!({
                "Image": "sha256:1",
                "Labels": { "dev.hive.run": "1-2" },
                "ExposedPorts": { "8000/tcp": {} },
                "HostConfig": {
                    "Binds": ["data:/data"],
                    "PortBindings": { "8000/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "" }] },
                },
            }))
        );
        let options = [
            "--label",
            "dev.hive.service=genie=1",
            "--entrypoint",
            "sh",
            "--network",
            "none",
            "--user",
            "0:0",
            "--env",
            "A=b=c",
        ];
        let look = of("sha256:1", LABEL, &options, &["-c", "true"]).unwrap();
        assert_eq!(look["Entrypoint"], json!(["sh"]));
        assert_eq!(look["Cmd"], json!(["-c", "true"]));
        assert_eq!(look["User"], "0:0");
        assert_eq!(look["Env"], json!(["A=b=c"]));
        assert_eq!(look["HostConfig"]["NetworkMode"], "none");
        let beside = ["--network", "hive-net", "--network-alias", "postgres"];
        let beside = of("sha256:1", LABEL, &beside, &[]).unwrap();
        assert_eq!(beside["HostConfig"]["NetworkMode"], "hive-net");
        assert_eq!(
            beside["NetworkingConfig"],
            json!({ "EndpointsConfig": { "hive-net": { "Aliases": ["postgres"] } } })
        );
    }

    #[test]
    fn what_may_be_a_secret_is_in_no_argument() {
        let options = [
            "--read-only",
            "--env",
            "KEY=a=b",
            "--env",
            "PATH=/x",
            "--label",
            "a=b",
        ];
        let (kept, variables) = apart(&options);
        assert_eq!(
            kept,
            [
                "--read-only",
                "--env",
                "KEY",
                "--env",
                "PATH=/x",
                "--label",
                "a=b"
            ]
        );
        assert_eq!(variables, [("KEY", "a=b")]);
    }

    #[test]
    fn everything_else_is_left_to_the_command() {
        for options in [
            &["--read-only"][..],
            &["--read-only", "--init"],
            &["--volume", "/srv:/data"],
            &["--volume", "data:/data:ro"],
            &["--volume", "/data"],
            &["--publish", "8000:8000"],
            &["--publish", "127.0.0.1::x"],
            &["--network", "host"],
            &["--network-alias", "postgres"],
            &["--entrypoint", ""],
            &["--env", "A"],
        ] {
            assert_eq!(of("sha256:1", LABEL, options, &[]), None, "{options:?}");
        }
    }
}
