//! The parts of a Dockerfile that only some specs have: a front end, the app's own
//! build steps, its folders of data. Each is text for the fragments, empty where there
//! is nothing of it.

use std::collections::BTreeMap;

use anyhow::Result;

use super::fragment::{Fragment, fill};
use crate::spec::build::{self, BuildSteps, FrontEnd};
use crate::spec::secret;

/// The stage of a front end, for images that have one.
const NODE: &str = include_str!("node.Dockerfile");

/// The step that builds it, where a folder comes of it.
const NODE_BUILD: &str = include_str!("node_build.Dockerfile");

/// What chooses the package manager of a front end.
const CHOOSE_MANAGER: &str = include_str!("choose_manager.js");

/// What logs in at a proxy for it.
const RELAY: &str = include_str!("relay.js");

/// Lets the app's own commands have node and the packages: a change there is in no
/// image, and where they lie only for this step.
const PACKAGES_FOR_STEPS: &str = r"    --mount=type=bind,from=front-end,source=/app/{folder}/node_modules,target=/app/{folder}/node_modules,rw \
    --mount=type=bind,from=front-end,source=/opt/manager,target=/opt/manager \
";

/// The step of the app's own commands, for images that have some.
const STEPS: &str = include_str!("steps.Dockerfile");

/// The step that makes folders outside of the app's, for images that have some.
const FOLDERS: &str = include_str!("folders.Dockerfile");

/// What installs packages beside the app's own list, for images that have some.
const WITH: &str = include_str!("with.sh");

/// The step that moves the app's folders of data away, for images that have some.
const DIRECTORIES: &str = include_str!("directories.Dockerfile");

/// The stage of a front end and the app's own steps; empty where there are none.
pub(super) fn own_steps(build: &BuildSteps, values: &mut BTreeMap<&'static str, String>) -> Result<()> {
    let BuildSteps { steps, folders, node } = build;
    let (mut front_end, mut own) = (String::new(), own_folders(folders, values)?);
    let (mut python_from, mut packages) = ("${BASE}", String::new());
    if let Some(FrontEnd {
        folder,
        command,
        output,
    }) = node
    {
        let folder = build::clean(folder);
        let mut build = String::new();
        match output {
            Some(output) => {
                let output = build::clean(output);
                own += &format!("\nCOPY --from=front-end /app/{output} /app/{output}\n");
                values.insert("node_output", output);
                let command = match command {
                    Some(command) => format!("as_user {}", shell_words(command)),
                    None => "run_script build".to_owned(),
                };
                values.insert("node_command", command);
                build = fill(&Fragment::own("node_build", NODE_BUILD), values)?;
            }
            None => {
                python_from = "node-tools";
                packages = PACKAGES_FOR_STEPS.replace("{folder}", &folder);
            }
        }
        values.insert("node_build", build);
        values.insert("node_folder", folder);
        values.insert("choose_manager", CHOOSE_MANAGER.trim_end().to_owned());
        values.insert("relay", RELAY.trim_end().to_owned());
        front_end = fill(&Fragment::own("node", NODE), values)?;
    }
    values.insert("python_from", python_from.to_owned());
    values.insert("packages_for_steps", packages);
    if !steps.is_empty() {
        let lines: Vec<String> = steps
            .iter()
            .map(|step| format!("step {}", shell_words(step)))
            .collect();
        values.insert("steps", lines.join("\n"));
        own += &fill(&Fragment::own("steps", STEPS), values)?;
    }
    values.insert("front_end", front_end);
    values.insert("own_steps", own);
    Ok(())
}

/// The step that makes folders outside of the app's; empty where there are none. What they hold
/// then is taken, looked at and kept from being another user's as the app's own folder is.
fn own_folders(folders: &[String], values: &mut BTreeMap<&'static str, String>) -> Result<String> {
    let paths: Vec<String> = folders
        .iter()
        .map(|path| format!("/{}", build::clean(path)))
        .collect();
    let each = |text: &dyn Fn(&String) -> String| paths.iter().map(text).collect::<String>();
    values.insert(
        "folders_copied",
        each(&|path| format!("COPY --link --from=python-app --chown=1000:1000 {path} {path}\n")),
    );
    values.insert("folders_walked", each(&|path| format!(", \"{path}\"")));
    values.insert(
        "folders_looked_at",
        each(&|path| format!(" \\\n    --mount=type=bind,from=python-app,source={path},target=/look{path}")),
    );
    if paths.is_empty() {
        return Ok(String::new());
    }
    // Their names hold nothing that a shell reads.
    let lines: Vec<String> = paths.iter().map(|path| format!("make {path}")).collect();
    values.insert("folders", lines.join("\n"));
    fill(&Fragment::own("folders", FOLDERS), values)
}

/// What installs packages beside the app's own list: in the step that installs it, or where all
/// of it comes with the app, there. Empty where there are none.
pub(super) fn with_packages(with: &[String], values: &mut BTreeMap<&'static str, String>) -> Result<()> {
    let mut script = String::new();
    if !with.is_empty() {
        values.insert("requirements", shell_words(with));
        script = fill(&Fragment::own("with", WITH), values)?;
    }
    values.insert("with_packages", script);
    for (name, line) in [
        ("with_compiled", " /opt/uv/with.txt"),
        ("with_list", " $(sh /opt/uv/with-list ahead.txt)"),
        (
            "with_ahead",
            "if [ ! -f /opt/later ]; then sh -eu /opt/uv/with; fi\n",
        ),
        (
            "with_later_list",
            " $(sh /opt/uv/with-list \"$(cat /opt/later)\")",
        ),
        ("with_later", "    sh -eu /opt/uv/with\n"),
    ] {
        let line = if with.is_empty() { "" } else { line };
        values.insert(name, line.to_owned());
    }
    Ok(())
}

/// The step of the folders that lie on the volume; empty where there are none.
pub(super) fn own_directories(
    directories: &[String],
    values: &mut BTreeMap<&'static str, String>,
) -> Result<()> {
    let mut step = String::new();
    if !directories.is_empty() {
        // Their names hold nothing that a shell reads.
        let lines: Vec<String> = directories.iter().map(|path| format!("keep {path}")).collect();
        values.insert("directories", lines.join("\n"));
        step = fill(&Fragment::own("directories", DIRECTORIES), values)?;
    }
    values.insert("own_directories", step);
    Ok(())
}

/// Packages of the distribution in the stage that installs the app: what the image has
/// is there, too, where the app's own code runs in it. PostgreSQL's library comes with
/// the server there.
pub(super) fn while_building(own: &[String], of_image: &[String], build: &BuildSteps) -> String {
    let mut all = own.to_vec();
    if !build.steps.is_empty() {
        let library = ["libpq5".to_owned()];
        for package in library.iter().chain(of_image) {
            if !all.contains(package) {
                all.push(package.clone());
            }
        }
    }
    all.join(" ")
}

/// Lines of shell that give a build step what nobody has given: an app that reads a key of
/// another company's as it is imported has no settings without. What the gate gives is no
/// part of an image, so that each name has something that stands for a value, unless everybody
/// may see that: a number has to be one there, too.
pub(super) fn stand_ins(
    given: &BTreeMap<String, String>,
    environment: Option<&BTreeMap<String, String>>,
) -> String {
    // What a step runs by is the build's to say.
    const OF_PROGRAMS: [&str; 5] = ["HIVE_", "HOME", "LD_", "PATH", "PYTHON"];
    let is_known = |name: &str| environment.is_some_and(|environment| environment.contains_key(name));
    let wanted = given
        .iter()
        .filter(|(name, _)| !is_known(name) && !OF_PROGRAMS.iter().any(|own| name.starts_with(own)));
    let line = |(name, value): (&String, &String)| {
        let upper = name.to_uppercase();
        let value = match () {
            () if secret::is_open_to_all(name, value) => word(value),
            () if upper.ends_with("DSN") => "https://given-at-start@given-at-start.invalid/1".to_owned(),
            () if upper.ends_with("URL") || upper.ends_with("URI") => {
                "https://given-at-start.invalid".to_owned()
            }
            () => "given-at-start".to_owned(),
        };
        format!("export {name}={value}")
    };
    wanted.map(line).collect::<Vec<_>>().join("\n")
}

/// A word as the shell reads it, without quotes where it needs none.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@,+".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => shell_words(&[text.to_owned()]),
    }
}

/// A command as the shell reads it, word by word.
fn shell_words(command: &[String]) -> String {
    let quoted = |word: &String| format!("'{}'", word.replace('\'', r"'\''"));
    command.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_the_libraries_of_the_image() {
        let steps = |text: &str| serde_json::from_str::<BuildSteps>(text).unwrap();
        let [own, of_image] = [["gcc"], ["libmagic1"]].map(|names| names.map(str::to_owned).to_vec());
        assert_eq!(while_building(&own, &of_image, &steps("{}")), "gcc");
        assert_eq!(
            while_building(&own, &of_image, &steps(r#"{"steps": [["x"]]}"#)),
            "gcc libpq5 libmagic1"
        );
        let same = ["libpq5".to_owned()];
        assert_eq!(
            while_building(&same, &same, &steps(r#"{"steps": [["x"]]}"#)),
            "libpq5"
        );
    }

    #[test]
    fn a_folder_elsewhere_is_made_before_the_steps_and_taken_into_the_image() {
        let mut values = BTreeMap::from([("runtime_json", "{}".to_owned())]);
        for name in [
            "network_without_logins",
            "build_environment",
            "stand_ins",
            "folders_of_data",
        ] {
            values.insert(name, String::new());
        }
        let build = |text: &str| serde_json::from_str::<BuildSteps>(text).unwrap();
        let with = r#"{"steps": [["make", "static"]], "folders": ["/public_collected", "/srv//shop/"]}"#;
        own_steps(&build(with), &mut values).unwrap();
        let own = &values["own_steps"];
        let made = own.find("make /public_collected\nmake /srv/shop\n").unwrap();
        assert!(made < own.find("step 'make' 'static'").unwrap(), "{own}");
        assert_eq!(
            values["folders_copied"],
            "COPY --link --from=python-app --chown=1000:1000 /public_collected /public_collected\n\
             COPY --link --from=python-app --chown=1000:1000 /srv/shop /srv/shop\n"
        );
        assert_eq!(values["folders_walked"], r#", "/public_collected", "/srv/shop""#);
        assert!(values["folders_looked_at"].ends_with(",source=/srv/shop,target=/look/srv/shop"));
        own_steps(&BuildSteps::default(), &mut values).unwrap();
        for name in [
            "own_steps",
            "folders_copied",
            "folders_walked",
            "folders_looked_at",
        ] {
            assert_eq!(values[name], "", "{name}");
        }
    }

    #[test]
    fn a_step_of_the_build_has_what_the_gate_is_given_by_name_alone() {
        let given = [
            ("APP_SECRET", "x"),
            ("HIVE_DATABASE_WAIT", "9"),
            ("LICENCE", "AB12-CD34"),
            ("MAIL_FROM", "App <given-at-start@example.com>"),
            ("MAIL_PORT", "587"),
            ("PATH", "/bin"),
            ("SENTRY_DSN", "https://1@sentry.example/1"),
            ("SITE_URL", "http://localhost"),
            ("STRIPE_KEY", "sk-1"),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let own = BTreeMap::from([("APP_SECRET".to_owned(), "{secret:APP_SECRET}".to_owned())]);
        assert_eq!(
            stand_ins(&BTreeMap::from(given), Some(&own)),
            "export LICENCE=given-at-start\n\
             export MAIL_FROM='App <given-at-start@example.com>'\n\
             export MAIL_PORT=587\n\
             export SENTRY_DSN=https://given-at-start@given-at-start.invalid/1\n\
             export SITE_URL=http://localhost\n\
             export STRIPE_KEY=given-at-start"
        );
        assert_eq!(stand_ins(&BTreeMap::new(), None), "");
    }

    #[test]
    fn packages_beside_the_list_come_from_where_it_does_and_others_have_no_line_of_it() {
        let places = [
            "with_packages",
            "with_compiled",
            "with_list",
            "with_ahead",
            "with_later_list",
            "with_later",
        ];
        let mut values = BTreeMap::new();
        with_packages(&[], &mut values).unwrap();
        assert_eq!(places.map(|name| values[name].as_str()), [""; 6]);
        let with = ["gunicorn", "uvicorn>=0.30,<1"].map(str::to_owned);
        with_packages(&with, &mut values).unwrap();
        let script = &values["with_packages"];
        assert!(
            script.contains("printf '%s\\n' 'gunicorn' 'uvicorn>=0.30,<1' > /opt/uv/with.txt\n"),
            "{script}"
        );
        assert!(places.iter().all(|name| !values[name].is_empty()));
    }
}
