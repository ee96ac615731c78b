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
    /// A front end that is built before them, or whose packages they use.
    #[serde(default)]
    pub node: Option<FrontEnd>,
}

/// A front end of npm, pnpm, Yarn or Bun, by the lock beside its package.json. Nothing
/// but what is made of it is in the image, beside the sources that the app's folder has.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FrontEnd {
    /// The folder of package.json and its lock, from the app's folder.
    #[serde(default = "here")]
    pub folder: String,
    /// What builds it, from that folder, after the installation. Without it the script
    /// `build` of package.json.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// The folder with what was built, from the app's folder, such as `web/dist`.
    /// Without it nothing is built here: `build.steps` have node and the installed
    /// packages, as `collectstatic` may want them, or `["npm", "run", "build"]`.
    #[serde(default)]
    pub output: Option<String>,
}

fn here() -> String {
    ".".to_owned()
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
            let command_problem = command.as_deref().and_then(command_problem);
            found.extend(command_problem.map(|message| ("build.node.command".to_owned(), message)));
            let paths = [("folder", Some(folder)), ("output", output.as_ref())];
            for (key, path) in paths.into_iter().filter_map(|(key, path)| Some((key, path?))) {
                if !is_inside(path) {
                    let message = format!(
                        "is {path:?}, must be a folder inside of the app's, in letters, digits, `.`, `_`, `-` and `/`"
                    );
                    found.push((format!("build.node.{key}"), message));
                }
            }
            let Some(output) = output else {
                found.extend(unused(steps, command.as_deref()));
                return found;
            };
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

/// What makes no sense of a front end without a folder that comes of it.
fn unused(steps: &[Vec<String>], command: Option<&[String]>) -> Option<(String, String)> {
    let (key, message) = match (steps, command) {
        (_, Some(_)) => (
            "build.node.command",
            "is run where `output` names the folder that it makes: name that, or put the command into `build.steps`",
        ),
        ([], None) => (
            "build.node",
            "has no `output`, so its packages are there for `build.steps`, and there are none: name the folder \
             that its build makes",
        ),
        _ => return None,
    };
    Some((key.to_owned(), message.to_owned()))
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
        assert_eq!(
            problems(r#"{"node": {"folder": "web"}}"#),
            [
                "build.node has no `output`, so its packages are there for `build.steps`, and there are none: name the \
                 folder that its build makes"
            ]
        );
        assert_eq!(
            problems(r#"{"node": {"command": ["make"]}, "steps": [["make", "web"]]}"#),
            [
                "build.node.command is run where `output` names the folder that it makes: name that, or put the \
                 command into `build.steps`"
            ]
        );
        assert_eq!(
            problems(r#"{"node": {}, "steps": [["npm", "run", "build"]]}"#),
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
