//! What is made of the app's files while its image is built.

#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;

use super::secret;

/// What is made of the app's files while its image is built.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BuildSteps {
    /// Commands that run after the installation, as no root user, in the app's
    /// folder and environment, such as `[["python", "manage.py",
    /// "collectstatic", "--noinput"]]`. There is no database, and each
    /// `{secret:NAME}` has a value of its own that nobody keeps.
    #[serde(default)]
    pub steps: Vec<Vec<String>>,
    /// A front end that npm builds before them.
    #[serde(default)]
    pub node: Option<FrontEnd>,
}

/// A front end that npm builds. Nothing but its output is in the image, beside
/// the sources that the app's folder has.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FrontEnd {
    /// The folder of package.json and package-lock.json, from the app's folder.
    #[serde(default = "here")]
    pub folder: String,
    /// What builds it, from that folder, after `npm ci`. Default: `npm run build`.
    #[serde(default = "npm_run_build")]
    pub command: Vec<String>,
    /// The folder with what was built, from the app's folder, such as
    /// `web/dist`.
    pub output: String,
}

fn here() -> String {
    ".".to_owned()
}

fn npm_run_build() -> Vec<String> {
    ["npm", "run", "build"].map(str::to_owned).to_vec()
}

impl BuildSteps {
    /// What is wrong with it, each with its key.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        // No `..`: what is new has to be looked at.
        let Self { steps, node } = self;
        let mut found = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            found.extend(command_problem(step).map(|message| (format!("build.steps[{n}]"), message)));
        }
        if let Some(FrontEnd {
            folder,
            command,
            output,
        }) = node
        {
            found.extend(command_problem(command).map(|message| ("build.node.command".to_owned(), message)));
            for (key, path) in [("folder", folder), ("output", output)] {
                if !is_inside(path) {
                    let message = format!(
                        "is {path:?}, must be a folder inside of the app's, in letters, digits, `.`, `_`, `-` and `/`"
                    );
                    found.push((format!("build.node.{key}"), message));
                }
            }
            let made = clean(output);
            if is_inside(output) && made == "." {
                let message = "is the app's folder: name the one with what was built".to_owned();
                found.push(("build.node.output".to_owned(), message));
            } else if format!("{}/", clean(folder)).starts_with(&format!("{made}/")) {
                // It is removed before the command runs.
                let message = format!(
                    "is {output:?}, which holds package.json: name a folder that only the build writes to"
                );
                found.push(("build.node.output".to_owned(), message));
            }
        }
        found
    }
}

/// A path without `.` and doubled slashes; `.` where nothing is left.
pub(crate) fn clean(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    }
}

fn is_inside(path: &str) -> bool {
    is_plain(path) && !path.starts_with(['/', '-'])
}

/// Whether a path has nothing that a shell or a Dockerfile reads, and no way up.
pub(super) fn is_plain(path: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
    !path.is_empty() && path.bytes().all(good) && !path.split('/').any(|part| part == "..")
}

fn command_problem(command: &[String]) -> Option<String> {
    if command.first().is_none_or(String::is_empty) {
        return Some("is empty: name a program".to_owned());
    }
    if let Some(found) = secret::in_command(command) {
        return Some(format!(
            "has {found}: a step of `build.steps` has the variables of `app.environment`, those with `{{secret:NAME}}` too"
        ));
    }
    let odd = command.iter().any(|word| word.contains(char::is_control));
    odd.then(|| "must have words of one line: put more than that into a script of the app's".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let steps: BuildSteps = serde_json::from_str(text).unwrap();
        steps
            .problems()
            .into_iter()
            .map(|(key, message)| format!("{key} {message}"))
            .collect()
    }

    #[test]
    fn commands_and_folders_are_checked() {
        let fine =
            r#"{"steps": [["python", "it's $x", "é"]], "node": {"folder": "./web", "output": "static/web"}}"#;
        assert_eq!(problems(fine), [""; 0]);
        let inside = "must be a folder inside of the app's, in letters, digits, `.`, `_`, `-` and `/`";
        assert_eq!(
            problems(
                r#"{"steps": [[], ["a\nb"]], "node": {"folder": "../web", "command": [""], "output": "./"}}"#
            ),
            [
                "build.steps[0] is empty: name a program".to_owned(),
                "build.steps[1] must have words of one line: put more than that into a script of the app's"
                    .to_owned(),
                "build.node.command is empty: name a program".to_owned(),
                format!("build.node.folder is \"../web\", {inside}"),
                "build.node.output is the app's folder: name the one with what was built".to_owned(),
            ]
        );
        for output in ["web", "./web/app/"] {
            assert_eq!(
                problems(&format!(
                    r#"{{"node": {{"folder": "web/app", "output": {output:?}}}}}"#
                )),
                [format!(
                    "build.node.output is {output:?}, which holds package.json: name a folder that only the build writes to"
                )]
            );
        }
        assert_eq!(
            problems(r#"{"node": {"folder": "web", "output": "web-dist"}}"#),
            [""; 0]
        );
        let with = problems(r#"{"steps": [["sh", "-c", "API_KEY=sk-1 make"]]}"#);
        assert!(
            with[0].starts_with("build.steps[0] has what looks like a secret (API_KEY=…), "),
            "{with:?}"
        );
        let odd = problems(r#"{"node": {"folder": "a b", "output": "/dist"}}"#);
        assert_eq!(odd.len(), 2, "{odd:?}");
    }
}
