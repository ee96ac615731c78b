//! Folders of the app that lie on the volume.

use super::build::{BuildSteps, clean, is_plain};

/// The app's folder in the container.
const APP: &str = "/app";

/// Where programs keep their data.
const STATE: &str = "/var/lib";

/// What the distribution and the container keep there.
pub(super) const NOT_FOR_AN_APP: [&str; 10] = [
    "apt",
    "dbus",
    "dpkg",
    "misc",
    "pam",
    "polkit-1",
    "postgresql",
    "python",
    "systemd",
    "ucf",
];

/// The path in the container.
pub(super) fn absolute(path: &str) -> String {
    match (path.starts_with('/'), clean(path).as_str()) {
        (true, path) => format!("/{path}"),
        (false, ".") => APP.to_owned(),
        (false, path) => format!("{APP}/{path}"),
    }
}

/// What is wrong with the list: its place there, and why. `import` is of an app without a
/// command.
pub(super) fn problems(
    directories: &[String],
    import: Option<&str>,
    build: &BuildSteps,
) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut before: Vec<(&str, String)> = Vec::new();
    for (n, given) in directories.iter().enumerate() {
        let path = absolute(given);
        let why = if is_plain(given) {
            of_place(&path).or_else(|| of_content(&path, import, build))
        } else {
            Some("must be a path in letters, digits, `.`, `_`, `-` and `/`, without `..`".to_owned())
        };
        let other = before.iter().find(|(_, other)| overlap(&path, other));
        let overlaps = other.map(|(other, _)| format!("and {other:?} are one inside of the other"));
        match why.or(overlaps) {
            Some(why) => found.push((n, format!("is {given:?}, {why}"))),
            None => before.push((given, path)),
        }
    }
    found
}

fn of_place(path: &str) -> Option<String> {
    if inside(path, APP) {
        return None;
    }
    let Some(rest) = path.strip_prefix(STATE).and_then(|rest| rest.strip_prefix('/')) else {
        return Some(format!(
            "must be a folder inside of the app's, or an absolute path below {STATE}"
        ));
    };
    let top = rest.split('/').next().unwrap_or_default();
    (NOT_FOR_AN_APP.contains(&top)).then(|| format!("and {STATE}/{top} is the system's own"))
}

/// What a new image brings must not lie on the volume, which keeps the old.
fn of_content(path: &str, import: Option<&str>, build: &BuildSteps) -> Option<String> {
    if let Some(import) = import {
        let (module, _) = import.split_once(':').unwrap_or((import, ""));
        let module = module.replace('.', "/");
        let places = [format!("{APP}/{module}"), format!("{APP}/src/{module}")];
        if places.iter().any(|place| place == path || inside(place, path)) {
            return Some(format!(
                "which holds the app's code ({import}): name a folder of data alone"
            ));
        }
    }
    let mut made = build.folders.iter().map(|folder| absolute(folder));
    if let Some(made) = made.find(|made| overlap(path, made)) {
        return Some(format!("and `build.folders` ({made}) comes with each image"));
    }
    let output = absolute(build.node.as_ref()?.output.as_ref()?);
    overlap(path, &output).then(|| format!("and `build.node.output` ({output}) comes with each image"))
}

pub(super) fn overlap(one: &str, other: &str) -> bool {
    one == other || inside(one, other) || inside(other, one)
}

fn inside(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMPORT: Option<&str> = Some("api.serve:app");

    fn told(directories: &[&str], import: Option<&str>, build: &str) -> Vec<String> {
        let directories: Vec<String> = directories.iter().map(|&path| path.to_owned()).collect();
        let build = serde_json::from_str(build).unwrap();
        let found = problems(&directories, import, &build).into_iter();
        found.map(|(n, why)| format!("{n} {why}")).collect()
    }

    #[test]
    fn folders_of_data_are_taken() {
        let fine = [
            "media",
            "./var/uploads/",
            "/app/data",
            "/var/lib/shop",
            "api/media",
        ];
        assert_eq!(told(&fine, IMPORT, "{}"), [""; 0]);
        assert_eq!(absolute("./var//uploads/"), "/app/var/uploads");
        assert_eq!(absolute("/var/lib/./shop/"), "/var/lib/shop");
    }

    #[test]
    fn all_others_are_refused_at_once() {
        let path = "must be a path in letters, digits, `.`, `_`, `-` and `/`, without `..`";
        let place = "must be a folder inside of the app's, or an absolute path below /var/lib";
        let code = "which holds the app's code (api.serve:app): name a folder of data alone";
        let bad = [
            "../x",
            "a b",
            "",
            ".",
            "/app",
            "/var/lib",
            "/etc",
            "/application",
            "api",
            "src",
            "api/serve",
            "/var/lib/postgresql/data/hive",
            "media",
            "/app/media/small",
            "static/web",
        ];
        let expected = [
            format!("0 is \"../x\", {path}"),
            format!("1 is \"a b\", {path}"),
            format!("2 is \"\", {path}"),
            format!("3 is \".\", {place}"),
            format!("4 is \"/app\", {place}"),
            format!("5 is \"/var/lib\", {place}"),
            format!("6 is \"/etc\", {place}"),
            format!("7 is \"/application\", {place}"),
            format!("8 is \"api\", {code}"),
            format!("9 is \"src\", {code}"),
            format!("10 is \"api/serve\", {code}"),
            "11 is \"/var/lib/postgresql/data/hive\", and /var/lib/postgresql is the system's own".to_owned(),
            "13 is \"/app/media/small\", and \"media\" are one inside of the other".to_owned(),
            "14 is \"static/web\", and `build.node.output` (/app/static) comes with each image".to_owned(),
        ];
        let found = told(&bad, IMPORT, r#"{"node": {"output": "static"}}"#);
        assert_eq!(found, expected);
    }

    #[test]
    fn what_the_build_fills_lies_on_no_volume() {
        assert_eq!(
            told(
                &["/var/lib/shop/media"],
                IMPORT,
                r#"{"folders": ["/var/lib/shop"]}"#
            ),
            ["0 is \"/var/lib/shop/media\", and `build.folders` (/var/lib/shop) comes with each image"]
        );
    }

    /// What `import` says is nothing to an app that has a command.
    #[test]
    fn a_command_runs_no_import() {
        assert_eq!(told(&["api"], None, "{}"), [""; 0]);
    }
}
