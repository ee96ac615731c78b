//! Files, folders and programs that an app looks for in vain.

use std::path::Path;

use crate::called;
use crate::findings::Findings;
use crate::tree::folder_of;

/// What brings a program that is in no image, or makes a folder that nothing has made.
pub(super) fn way_out(findings: &Findings, words: &str) -> Option<String> {
    if let Some(path) = quoted(words, "No such file or directory: '") {
        return program(path).or_else(|| absent(findings, path));
    }
    if let Some(path) = quoted(words, "Permission denied: '") {
        return closed(findings, path);
    }
    if let Some(folder) = served(words) {
        return of_front_end(findings, folder);
    }
    // As the package gitpython says it.
    words
        .contains("Bad git executable")
        .then(|| program("git"))
        .flatten()
}

/// The folder that Starlette is to serve files of, and that is not there.
fn served(words: &str) -> Option<&str> {
    let (_, rest) = words.rsplit_once("Directory '")?;
    let (folder, after) = rest.split_once('\'')?;
    after.starts_with(" does not exist").then_some(folder)
}

/// What is served and not among the project's files is what its front end is built into.
fn of_front_end(findings: &Findings, folder: &str) -> Option<String> {
    let output = own(folder)?;
    let place = &findings.front_ends.first()?.place;
    let at = folder_of(&place.file).trim_end_matches('/');
    let beside = match at.is_empty() {
        true => String::new(),
        false => format!("\"folder\": \"{at}\", "),
    };
    Some(format!(
        "the app serves files of {output}, which nothing has made: where that is what its front end ({place}) is built into, \
         `\"build\": {{\"node\": {{{beside}\"output\": \"{output}\"}}}}` in hive-app.json builds it"
    ))
}

/// The last text in quotes behind a sign.
fn quoted<'w>(words: &'w str, sign: &str) -> Option<&'w str> {
    let (_, rest) = words.rsplit_once(sign)?;
    rest.split('\'').next().filter(|path| !path.is_empty())
}

fn program(name: &str) -> Option<String> {
    let package = called::package_of(name)?;
    // Debian 13 has it no more.
    let of_one = match package {
        "wkhtmltopdf" => ", with `\"base\": \"ubuntu\"` beside it, as Debian has it no more",
        _ => "",
    };
    Some(format!(
        "the image has no program {name}: `\"packages\": [\"{package}\"]` in hive-app.json brings it{of_one}"
    ))
}

/// A path below the app's own folder, which is `/app`.
fn own(path: &str) -> Option<&str> {
    let own = match path.strip_prefix('/') {
        Some(rest) => rest.strip_prefix("app/")?,
        None => path.trim_start_matches("./"),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
    let own = own.trim_end_matches('/');
    let is_inside = !own.is_empty() && own.split('/').all(|part| part != "..");
    (is_inside && own.bytes().all(plain)).then_some(own)
}

fn absent(findings: &Findings, path: &str) -> Option<String> {
    let own = own(path)?;
    if findings.folder.join(own).exists() {
        return Some(format!(
            "{own} lies in the app's folder, and not in the image: `cargo xtask inputs DIR --verbose` tells what left it out, \
             and `!{own}` in .dockerignore lets in what is no secret"
        ));
    }
    let (above, name) = own.rsplit_once('/').unwrap_or(("", own));
    let folder = match name.trim_start_matches('.').contains('.') {
        false => own,
        // A file that is to be made wants its folder, where there is none.
        true if !above.is_empty() && !findings.folder.join(above).exists() => above,
        true => {
            return Some(format!(
                "{own} is no file of the project's: what makes it belongs into `build.steps` or `app.before_start` of hive-app.json"
            ));
        }
    };
    Some(format!(
        "nothing has made the folder {folder}: `\"app\": {{\"directories\": [\"{folder}\"]}}` in hive-app.json has it on the \
         volume, beside what stands there"
    ))
}

/// A place of the machine's, where an app may not write in an image.
fn closed(findings: &Findings, path: &str) -> Option<String> {
    if !path.starts_with('/')
        || ["/app", "/tmp"]
            .iter()
            .any(|open| Path::new(path).starts_with(open))
    {
        return None;
    }
    let has_it = |default: &str| default.len() > 1 && Path::new(path).starts_with(default);
    let variable = findings
        .variables
        .iter()
        .find(|one| one.value.default.as_deref().is_some_and(has_it));
    let may_not = format!("the app may not write in {path} of the image");
    if let Some(variable) = variable {
        let name = &variable.value.name;
        return Some(format!(
            "{may_not}, where {name} leads, which {} reads: `\"app\": {{\"environment\": {{\"{name}\": \"/app/data\"}}, \
             \"directories\": [\"data\"]}}` in hive-app.json has that on the volume, beside what stands there",
            variable.place
        ));
    }
    let mut parts = path.split('/').skip(1);
    let below = [parts.next(), parts.next(), parts.next()];
    if let [Some("var"), Some("lib"), Some(own)] = below {
        return Some(format!(
            "{may_not}: `\"app\": {{\"directories\": [\"/var/lib/{own}\"]}}` in hive-app.json has that on the volume, beside what \
             stands there"
        ));
    }
    Some(format!(
        "{may_not}: the setting that names it has to lead into the app's own folder, which `app.directories` of hive-app.json \
         keeps"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn told(files: &[(&str, &str)], words: &str, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            fs_err::write(file, text).unwrap();
        }
        let told = way_out(&crate::findings::look(folder.path()), words).unwrap_or_default();
        assert!(told.contains(expected), "{expected:?} in {told:?}");
        assert_eq!(told.is_empty(), expected.is_empty(), "{told:?}");
    }

    #[test]
    fn a_program_that_is_called_has_its_package() {
        let git = "ImportError: Failed to initialize: Bad git executable.\nThe git executable must be";
        told(&[], git, r#"`"packages": ["git"]`"#);
        let words = "FileNotFoundError: [Errno 2] No such file or directory: 'ffprobe'";
        told(&[], words, r#"no program ffprobe: `"packages": ["ffmpeg"]`"#);
        let words = "FileNotFoundError: [Errno 2] No such file or directory: 'wkhtmltopdf'";
        told(&[], words, r#"`"base": "ubuntu"`"#);
    }

    #[test]
    fn what_is_served_and_not_there_is_what_a_front_end_is_built_into() {
        let files = [("package.json", r#"{"scripts": {"build": "webpack"}}"#)];
        let words = "RuntimeError: Directory 'static' does not exist";
        told(&files, words, r#"`"build": {"node": {"output": "static"}}`"#);
    }

    #[test]
    fn a_folder_that_nothing_has_made_is_one_of_the_volume() {
        let words = |path: &str| format!("FileNotFoundError: [Errno 2] No such file or directory: '{path}'");
        for path in ["shop/plugins", "/app/shop/plugins/", "./shop/plugins"] {
            let files = [("shop/main.py", "")];
            told(
                &files,
                &words(path),
                r#"`"app": {"directories": ["shop/plugins"]}`"#,
            );
        }
        told(&[], &words("logs/app.log"), r#"["logs"]"#);
        told(
            &[("logs/.keep", "")],
            &words("logs/app.log"),
            "logs/app.log is no file of the project's",
        );
        told(
            &[(".env.example", "A=1\n")],
            &words("/app/.env.example"),
            "`!.env.example` in .dockerignore",
        );
        told(&[], &words("/opt/other"), "");
        told(&[], &words("../other"), "");
    }

    #[test]
    fn a_place_of_the_machine_leads_to_what_names_it() {
        let words = |path: &str| format!("PermissionError: [Errno 13] Permission denied: '{path}'");
        let settings = (
            "settings.py",
            "import os\nDATA = os.getenv(\"SHOP_DATA\", \"/data\")\n",
        );
        told(
            &[settings],
            &words("/data/icons"),
            r#""SHOP_DATA": "/app/data"}, "directories": ["data"]}"#,
        );
        told(
            &[],
            &words("/var/lib/shop/x"),
            r#""directories": ["/var/lib/shop"]"#,
        );
        told(&[], &words("/srv/x"), "has to lead into the app's own folder");
        told(&[], &words("/app/x"), "");
    }
}
