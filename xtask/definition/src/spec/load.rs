//! From texts to specs, with every problem of every file at once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use super::ImageSpec;
use super::kind;
use super::meaning::validate;
use super::own_file;
use super::raw::{self, RawSpec};
use super::shape::{self, ShapeProblem};
use crate::reference::Reference;

/// A file that was read.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// As users know it, such as `images/genie/image.json`.
    pub shown: String,
    /// The folder that relative paths inside start from.
    pub folder: PathBuf,
    /// The JSON as it was read.
    pub text: String,
}

/// A problem, with its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file as users know it.
    pub(crate) file: String,
    /// Where in it, and what.
    pub(crate) problem: ShapeProblem,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShapeProblem { path, message } = &self.problem;
        if path.is_empty() {
            write!(f, "{}: {message}", self.file)
        } else {
            write!(f, "{}: `{path}` {message}", self.file)
        }
    }
}

/// What one image is loaded from.
#[derive(Clone, Debug)]
pub struct ImageFiles {
    /// The folder's name below `images/`.
    pub name: String,
    /// The file of the image itself, `images/<name>/image.json`.
    pub own: SourceFile,
    /// The app's own [`APP_FILE`], where it has one.
    pub app: Option<SourceFile>,
}

/// The file by which an app's folder says how it wants to be run: keys of a
/// spec, over the defaults and under the image's own.
pub const APP_FILE: &str = "hive-app.json";

/// Parses the specs of all images over what their apps say and the defaults
/// that they share.
///
/// # Errors
/// Every problem found, in the order of the files.
pub fn load(defaults: Option<&SourceFile>, files: &[ImageFiles]) -> Result<Vec<ImageSpec>, Vec<Located>> {
    let mut problems = Vec::new();
    let shared = defaults.and_then(|file| parse(file, &mut problems).map(|value| (file, value)));
    let mut images = Vec::new();
    let before = problems.len();
    for files in files {
        let app = files
            .app
            .as_ref()
            .and_then(|file| parse(file, &mut problems).map(|value| (file, value)));
        let of_the_gate = app
            .as_ref()
            .and_then(|(file, value)| own_file::of_the_gate(file, value, &files.name));
        problems.extend(of_the_gate.filter(|problem| !problems.contains(problem)));
        let Some(own) = parse(&files.own, &mut problems) else {
            continue;
        };
        let layers = Layers {
            own: (&files.own, own),
            app,
            shared: shared.as_ref(),
        };
        match layers.image(&files.name) {
            Ok(image) => images.push(image),
            Err(found) => {
                for problem in found {
                    // A mistake in the defaults would be told once per image.
                    if !problems.contains(&problem) {
                        problems.push(problem);
                    }
                }
            }
        }
    }
    if before == problems.len() {
        clashes(&images, &mut problems);
    }
    if problems.is_empty() {
        Ok(images)
    } else {
        Err(problems)
    }
}

fn parse(file: &SourceFile, problems: &mut Vec<Located>) -> Option<Value> {
    let message = match serde_json::from_str(without_mark(&file.text)) {
        Ok(value @ Value::Object(_)) => return Some(value),
        Ok(_) => "must be a JSON object".to_owned(),
        Err(error) => format!("is no valid JSON: {error}"),
    };
    let problem = whole(file, message);
    // Several images may have one app.
    if !problems.contains(&problem) {
        problems.push(problem);
    }
    None
}

/// Some editors put a byte order mark before a text, which JSON does not know.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn whole(file: &SourceFile, message: String) -> Located {
    Located {
        file: file.shown.clone(),
        problem: ShapeProblem {
            path: String::new(),
            message,
        },
    }
}

/// One image's file over its app's over the shared one.
struct Layers<'a> {
    own: (&'a SourceFile, Value),
    app: Option<(&'a SourceFile, Value)>,
    shared: Option<&'a (&'a SourceFile, Value)>,
}

impl Layers<'_> {
    fn image(&self, name: &str) -> Result<ImageSpec, Vec<Located>> {
        let mut merged = Value::Object(serde_json::Map::new());
        for (_, value) in self.lowest_first() {
            merge(&mut merged, value);
        }
        let mut found = self.each_alone();
        // What is wrong with a file is known by then; not what all of them lack.
        let of_all = self.locate(shape::problems(raw::schema(), &merged));
        let alone = found.len();
        let is_lacking = |one: &Located| alone == 0 || one.problem.message == shape::MISSING;
        found.extend(of_all.into_iter().filter(is_lacking));
        if !found.is_empty() {
            return Err(found);
        }
        let raw: RawSpec = serde_json::from_value(merged).map_err(|error| {
            self.locate(vec![ShapeProblem {
                path: String::new(),
                message: format!("cannot be read: {error}"),
            }])
        })?;
        let source_folder = &self.file_of("app.source").folder;
        let mut image =
            validate(name, raw, &self.own.0.shown, source_folder).map_err(|found| self.locate(found))?;
        if let Some((file, value)) = &self.app {
            image.overruled = own_file::overruled((file, value), (self.own.0, &self.own.1));
        }
        Ok(image)
    }

    /// What is wrong with each file by itself, also where another one has the
    /// last word.
    fn each_alone(&self) -> Vec<Located> {
        let schema = raw::file_schema();
        let alone = |(file, value): (&SourceFile, &Value)| {
            let found = shape::problems(&schema, value).into_iter();
            let located = found.map(|problem| Located {
                file: file.shown.clone(),
                problem,
            });
            located.collect::<Vec<_>>()
        };
        self.lowest_first().rev().flat_map(alone).collect()
    }

    fn lowest_first(&self) -> impl DoubleEndedIterator<Item = (&SourceFile, &Value)> {
        let layers = [self.shared, self.app.as_ref(), Some(&self.own)];
        layers.into_iter().flatten().map(|(file, value)| (*file, value))
    }

    /// The highest file that has this path; the image's own where none has.
    fn file_of(&self, path: &str) -> &SourceFile {
        let mut layers = self.lowest_first().rev();
        layers
            .find(|(_, value)| shape::lookup(value, path).is_some())
            .map_or(self.own.0, |(file, _)| file)
    }

    fn locate(&self, found: Vec<ShapeProblem>) -> Vec<Located> {
        found
            .into_iter()
            .map(|problem| Located {
                file: self.file_of(&problem.path).shown.clone(),
                problem,
            })
            .collect()
    }
}

/// Objects key by key, everything else whole.
fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// The image whose own repository, `hive-<image>`, a name lies in.
pub fn owner<'a>(name: &Reference, images: &'a [ImageSpec]) -> Option<&'a ImageSpec> {
    images
        .iter()
        .find(|image| image.name.repository() == name.repository())
}

/// What only all images together show.
fn clashes(images: &[ImageSpec], problems: &mut Vec<Located>) {
    let mut ports: BTreeMap<u16, &ImageSpec> = BTreeMap::new();
    let mut tags: BTreeMap<&Reference, &ImageSpec> = BTreeMap::new();
    for image in images {
        let mut clash = |path: String, message: String| {
            problems.push(Located {
                file: image.file.clone(),
                problem: ShapeProblem { path, message },
            });
        };
        let port = image.published_port();
        if let Some(other) = ports.insert(port, image) {
            let part = if image.app.is_some() { "app" } else { "database" };
            clash(
                format!("{part}.port"),
                format!("is {port}, which {} has too", other.file),
            );
        }
        if let Some((path, message)) = kind::companion_problem(image, images) {
            clash(path.to_owned(), message);
        }
        for (n, tag) in image.tags.iter().enumerate() {
            let other = tags.insert(tag.example(), image);
            let other = other.or_else(|| owner(tag.example(), images));
            if let Some(other) = other.filter(|other| other.name != image.name) {
                clash(
                    format!("tags[{n}]"),
                    format!("is \"{tag}\", which {} has too", other.file),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: &str = include_str!("../../../../images/defaults.json");

    fn file(shown: &str, text: &str) -> SourceFile {
        SourceFile {
            shown: shown.to_owned(),
            folder: PathBuf::from("images/x"),
            text: text.to_owned(),
        }
    }

    fn files(name: &str, text: &str, app: Option<&str>) -> ImageFiles {
        ImageFiles {
            name: name.to_owned(),
            own: file(&format!("images/{name}/image.json"), text),
            app: app.map(|text| file("app/hive-app.json", text)),
        }
    }

    fn sentences(specs: &[(&str, &str)]) -> Vec<String> {
        let specs: Vec<ImageFiles> = specs.iter().map(|(name, text)| files(name, text, None)).collect();
        match load(Some(&file("images/defaults.json", DEFAULTS)), &specs) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    fn spec(port: u16, more: &str) -> String {
        format!(r#"{{"title":"t","app":{{"port":{port}}},"database":{{"name":"d","role":"r"}}{more}}}"#)
    }

    #[test]
    fn a_small_spec_is_enough() {
        assert_eq!(
            sentences(&[("aa", &spec(2000, "")), ("bb", &spec(2001, ""))]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn five_mistakes_are_told_at_once() {
        let text = r#"{"title":7,"app":{"prot":1,"port":80,"workers":"two"},"database":{"name":"d","role":"r"},"budgets":{"ready_seconds":9000},"checks":[{"name":"x"}]}"#;
        assert_eq!(
            sentences(&[("aa", text)]),
            [
                "images/aa/image.json: `title` is a number, must be a string",
                "images/aa/image.json: `app.prot` is no known key, did you mean `port`?",
                "images/aa/image.json: `app.port` is 80, must be between 1024 and 65535",
                "images/aa/image.json: `app.workers` is a string, must be an integer",
                "images/aa/image.json: `budgets.ready_seconds` is 9000, must be between 0.001 and 3600",
                "images/aa/image.json: `checks[0]` must have exactly one of http, sql",
            ]
        );
    }

    #[test]
    fn meaning_is_checked() {
        let text = r#"{"title":"t","app":{"port":2000,"import":"serve","health_path":"health","environment":{"A B":"x","C":"{nope}","D":"{","E":"{{ok}} {database_url}",
            "F":"{database_url:asyncpg} {database_url:postgis://}","G":"{database_url:postgres}","H":"{database_url:a b}","I":"{port:x}",
            "S":"{secret:S}","S2":"{secret:a-b}","JWT_SECRET":"hunter2","PGDATA":"x","HIVE_API_PORT":"1","DATABASE_URL":"{database_url:asyncpg}"},
            "command":["w","--db=postgres://me:pw@h/x","{secret:X}"],"before_start":["sh","-c","API_KEY=k x"],"build_environment":{"NPM_TOKEN":"x"}},
            "programs":[{"name":"w","command":["w","--token","abc"]}],
            "database":{"name":"","role":"pg_x"},"tags":["Hive:latest","x:-1"],"labels":{"dev.hive.image":"no"}}"#;
        let found = sentences(&[("aa", text)]);
        for expected in [
            "`app.import` is \"serve\", must be `package.module:attribute`",
            "`app.health_path` is \"health\", must be a path",
            "`app.environment.A B` is no name of an environment variable",
            "`app.environment.C` has the unknown placeholder {nope}",
            "`app.environment.D` has a brace without its partner",
            "`app.environment.G` has {database_url:postgres}, which is no driver but a scheme: write {database_url:postgres://}",
            "`app.environment.H` has {database_url:a b}: write a driver",
            "`app.environment.I` has the unknown placeholder {port:x}",
            "`app.environment.S2` has the unknown placeholder {secret:a-b}",
            "`app.environment.JWT_SECRET` looks like a secret, and everybody who has the image could read it: write {secret:JWT_SECRET}",
            "`app.command` has what looks like a secret (a URL with a password), and everybody who has the image could read it: write {secret:NAME} in its place",
            "`app.before_start` has what looks like a secret (API_KEY=…)",
            "`programs[0].command` has what looks like a secret (--token …)",
            "`app.build_environment.NPM_TOKEN` looks like a secret, and everybody who has the Dockerfile could read it",
            "`app.environment.PGDATA` is the container's own",
            "`app.environment.HIVE_API_PORT` is what `app.port` says",
            "`database.name` must have 1 to 63 bytes",
            "`database.role` is reserved by PostgreSQL",
            "`labels.dev.hive.image` starts with",
            "`tags[0]` \"Hive\" is no repository name",
            "`tags[1]` \"-1\" is no tag",
        ] {
            assert!(
                found.iter().any(|line| line.contains(expected)),
                "{expected}\n{found:#?}"
            );
        }
        assert_eq!(found.len(), 21, "{found:#?}");
    }

    #[test]
    fn ports_and_tags_must_not_clash() {
        let first = spec(2000, r#","tags":["x:1"]"#);
        assert_eq!(
            sentences(&[("aa", &first), ("bb", &first)]),
            [
                "images/bb/image.json: `app.port` is 2000, which images/aa/image.json has too",
                "images/bb/image.json: `tags[0]` is \"x:1\", which images/aa/image.json has too",
            ]
        );
    }

    #[test]
    fn a_tag_of_another_image_clashes_however_it_is_written() {
        let alias = |tag: &str| spec(2001, &format!(r#","tags":["{tag}"]"#));
        for (tag, free) in [
            ("docker.io/library/hive-aa:latest", false),
            ("library/hive-aa:{version}", false),
            // Not a tag that `a` has at the moment; the next version may be.
            ("hive-aa:next", false),
            ("registry.example/hive-aa:latest", true),
            ("hive-bb:latest", true),
        ] {
            let found = sentences(&[("aa", &spec(2000, "")), ("bb", &alias(tag))]);
            let said =
                format!("images/bb/image.json: `tags[0]` is \"{tag}\", which images/aa/image.json has too");
            assert_eq!(found, if free { vec![] } else { vec![said] });
        }
        let found = sentences(&[("aa", &alias("docker.io/library/hive-base:debian"))]);
        assert_eq!(
            found,
            [
                "images/aa/image.json: `tags[0]` \"docker.io/library/hive-base:debian\" is no name for a release: the tool keeps what images are built on in the repository hive-base"
            ]
        );
    }

    /// What is said of two images with this app.
    fn of_app(app: &str) -> Vec<String> {
        let specs = [2000, 2001].map(|port| files(&format!("i{port}"), &spec(port, ""), Some(app)));
        match load(Some(&file("images/defaults.json", DEFAULTS)), &specs) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_mistake_of_an_app_is_told_once_and_in_its_own_file() {
        for (app, said) in [
            (
                r#"{"labels":{"dev.hive.x":"y"}}"#,
                "`labels.dev.hive.x` starts with",
            ),
            (
                r#"{"app":{"environment":{"A.B":"y"}}}"#,
                "`app.environment.A.B` is no name",
            ),
            ("{", "is no valid JSON: "),
            (
                r#"{"checks":[{"name":"a.b","http":{"path":"x"}}]}"#,
                "`checks[0].http.path` is \"x\"",
            ),
        ] {
            let found = of_app(app);
            assert_eq!(found.len(), 1, "{found:#?}");
            assert!(
                found[0].starts_with(&format!("app/hive-app.json: {said}")),
                "{found:#?}"
            );
        }
        assert_eq!(of_app("\u{feff}{\"version\": \"1\"}"), Vec::<String>::new());
    }

    #[test]
    fn what_only_the_gate_knows_is_in_no_file_of_the_image() {
        let found = of_app(r#"{"smoke":{"environment":{"KEY":"x"}}}"#);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(
            found[0].starts_with("app/hive-app.json: `smoke` is for images/i2000/image.json"),
            "{found:#?}"
        );
        let own = spec(
            2000,
            r#","smoke":{"environment":{"KEY":"x","A B":"y","PGDATA":"z"}}"#,
        );
        assert_eq!(
            sentences(&[("aa", &own)]).len(),
            2,
            "one is no name, one is the container's"
        );
    }

    #[test]
    fn what_cannot_work_is_told_before_it_is_built() {
        let with = |app: &str, role: &str, more: &str| {
            let text =
                format!(r#"{{"title":"t","app":{{{app}}},"database":{{"name":"d","role":"{role}"}}{more}}}"#);
            sentences(&[("aa", &text)])
        };
        let said = |found: Vec<String>, expected: &str| {
            assert_eq!(found.len(), 1, "{found:#?}");
            assert!(found[0].contains(expected), "{expected} in {found:#?}");
        };
        said(
            with(r#""port":5432"#, "r", ""),
            "`app.port` is 5432, which PostgreSQL has",
        );
        for role in ["public", "none", "pg_x", "postgres"] {
            said(with(r#""port":2000"#, role, ""), "`database.role` is reserved");
        }
        for (path, right) in [
            ("/ü", "/%C3%BC"),
            ("/x#y", "/x%23y"),
            ("/x?a|b", "/x?a%7Cb"),
            ("/a b", "/a%20b"),
            ("/{a}", "/%7Ba%7D"),
        ] {
            let app = format!(r#""port":2000,"health_path":"{path}""#);
            said(
                with(&app, "r", ""),
                &format!("must be written as in a request: \"{right}\""),
            );
        }
        said(
            with(r#""port":2000,"health_path":"/100%""#, "r", ""),
            "write `%25` for a `%`",
        );
        for path in ["/", "/%C3%BC", "/a.b/~c?d=e&f=(g)"] {
            let app = format!(r#""port":2000,"health_path":"{path}""#);
            assert_eq!(with(&app, "r", ""), Vec::<String>::new());
        }
        for key in ["a=b", "a\\nb", "", "a b", "ä"] {
            let labels = format!(r#","labels":{{"{key}":"x"}}"#);
            said(with(r#""port":2000"#, "r", &labels), "is no name of a label");
        }
        for (setting, expected) in [
            ("port", "is the image's own"),
            ("Work Mem", "is no name of a setting"),
            ("work_mem\":\"a\\nb", "must be one line"),
        ] {
            let text = format!(
                r#"{{"title":"t","app":{{"port":2000}},"database":{{"name":"d","role":"r","settings":{{"{setting}":"1"}}}}}}"#
            );
            let text = text.replace("b\":\"1", "b");
            said(sentences(&[("aa", &text)]), expected);
        }
        let text = r#"{"title":"t","app":{"port":2000},"database":{"name":"d","role":"r","initial_sql":["SELECT 1","COMMIT"]}}"#;
        said(sentences(&[("aa", text)]), "`database.initial_sql[1]` has COMMIT");
    }

    #[test]
    fn broken_json_names_line_and_column() {
        let found = sentences(&[("aa", "{\n \"title\": }")]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("is no valid JSON") && found[0].contains("line 2"),
            "{found:?}"
        );
    }

    #[test]
    fn a_mistake_in_the_defaults_is_told_once_and_there() {
        let defaults = DEFAULTS.replacen('{', "{\"nonsense\": 1,", 1);
        let specs = [
            files("aa", &spec(2000, ""), None),
            files("bb", &spec(2001, ""), None),
        ];
        let problems = load(Some(&file("images/defaults.json", &defaults)), &specs).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0]
                .to_string()
                .starts_with("images/defaults.json: `nonsense` is no known key")
        );
    }
    #[test]
    fn an_app_says_how_it_wants_to_be_run_and_the_image_has_the_last_word() {
        let app = r#"{"app":{"import":"shop.web:app","workers":2},"checks":[{"name":"c","sql":{"query":"select 1","expect":"1"}}]}"#;
        let own = r#"{"title":"t","$schema":"x","app":{"port":2000,"workers":3},"database":{"name":"d","role":"r"}}"#;
        let defaults = file("images/defaults.json", DEFAULTS);
        let images = load(Some(&defaults), &[files("aa", own, Some(app))]).unwrap();
        assert_eq!(
            images[0]
                .app
                .as_ref()
                .map(|app| (app.import.as_str(), app.workers)),
            Some(("shop.web:app", 3))
        );
        assert_eq!(images[0].checks.len(), 1);
        assert_eq!(
            images[0].overruled,
            ["app/hive-app.json: `app.workers` is 2, and images/aa/image.json has 3, which counts"]
        );
        // Wrong is wrong, also where it does not count.
        for (app, said) in [
            (r#"{"app":{"port":80}}"#, "`app.port` is 80, must be between"),
            (
                r#"{"app.import":"a:b"}"#,
                "`app.import` is no known key: write {\"app\": {\"import\": …}}",
            ),
        ] {
            let problems = load(Some(&defaults), &[files("aa", own, Some(app))]).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:#?}");
            let line = problems[0].to_string();
            assert!(line.starts_with(&format!("app/hive-app.json: {said}")), "{line}");
        }
        let problems = load(
            Some(&defaults),
            &[files("aa", own, Some(r#"{"app":{"impart":1}}"#))],
        )
        .unwrap_err();
        assert_eq!(
            problems[0].to_string(),
            "app/hive-app.json: `app.impart` is no known key, did you mean `import`?"
        );
    }
}
