//! What is made of the app's files while its image is built.

#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;

use super::directories::{NOT_FOR_AN_APP, absolute, overlap};
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
    /// Folders outside of the app's that these commands write to, such as
    /// `["/public_collected"]`: made before them as the app's user's, and in the image with
    /// what the commands put there. What is written later is lost with the container.
    #[serde(default)]
    pub folders: Vec<String>,
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
        let Self { steps, folders, node } = self;
        let mut found = Vec::new();
        for (n, folder) in folders.iter().enumerate() {
            let mut others = folders[..n].iter();
            let other = others.find(|other| overlap(&absolute(folder), &absolute(other)));
            let overlaps = other.map(|other| format!("and {other:?} are one inside of the other"));
            let why = folder_problem(folder).or(overlaps);
            found.extend(why.map(|why| (format!("build.folders[{n}]"), format!("is {folder:?}, {why}"))));
        }
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

/// Why a build makes no such folder; `None` where it does.
pub fn folder_problem(path: &str) -> Option<String> {
    /// What the distribution, the image and the kernel have there.
    const OF_THE_SYSTEM: [&str; 20] = [
        "app",
        "bin",
        "boot",
        "deps",
        "dev",
        "etc",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "look",
        "lost+found",
        "no-logins",
        "opt",
        "proc",
        "root",
        "rootfs",
        "run",
        "sbin",
        "tmp",
    ];
    /// Folders of others, with room for more.
    const SHARED: [&str; 4] = ["home", "media", "mnt", "srv"];
    if !is_plain(path) || !path.starts_with('/') {
        return Some(
            "must be an absolute path in letters, digits, `.`, `_`, `-` and `/`, without `..`".to_owned(),
        );
    }
    let path = clean(path);
    let parts: Vec<&str> = path.split('/').collect();
    let is_free = match parts.as_slice() {
        ["app", ..] => return Some("which is the app's folder, where its steps may write anyway".to_owned()),
        ["." | "sys" | "usr"] | ["sys" | "usr", ..] => false,
        ["var", "lib", own, ..] => !NOT_FOR_AN_APP.contains(own),
        ["var", "www", ..] => true,
        ["var", ..] => false,
        [top] if SHARED.contains(top) => false,
        [top, ..] => !OF_THE_SYSTEM.contains(top),
        [] => false,
    };
    (!is_free).then(|| {
        "must be no folder of the system's: one at the top, such as \"/public\", or below /srv, /var/www or /var/lib".to_owned()
    })
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
    fn folders_outside_of_the_apps_are_no_ones_else() {
        let fine =
            r#"{"folders": ["/public_collected", "/srv/shop/static/", "/var/www/html", "/var/lib/shop"]}"#;
        assert_eq!(problems(fine), [""; 0]);
        let bad = [
            "public",
            "/a b",
            "/a/../b",
            "/",
            "/usr/share/shop",
            "/var/lib",
            "/var/lib/postgresql/x",
            "/var/log/x",
            "/srv",
            "/app/x",
            "/opt/x",
            "/./etc/x",
            "/y",
            "/y/z",
        ];
        let found = problems(&serde_json::json!({ "folders": bad }).to_string());
        let plain = "must be an absolute path in letters, digits, `.`, `_`, `-` and `/`, without `..`";
        let place = "must be no folder of the system's: one at the top, such as \"/public\", or below /srv, /var/www or /var/lib";
        let mut expected: Vec<String> = (0..3)
            .map(|n| format!("build.folders[{n}] is {:?}, {plain}", bad[n]))
            .collect();
        expected.extend((3..12).map(|n| match n {
            9 => "build.folders[9] is \"/app/x\", which is the app's folder, where its steps may write anyway".to_owned(),
            n => format!("build.folders[{n}] is {:?}, {place}", bad[n]),
        }));
        expected.push("build.folders[13] is \"/y/z\", and \"/y\" are one inside of the other".to_owned());
        assert_eq!(found, expected);
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
