//! What is told of specs that are read, and where.

use super::*;

const DEFAULTS: &str = include_str!("../../../../../images/defaults.json");

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
fn a_wrong_key_hides_no_wrong_value() {
    let text = r#"{"title":"t","app":{"prot":1,"port":2000,"workers":"two","import":"main.py","health_path":"health"},
        "database":{"name":"d","role":"postgres"},"checks":[{"name":"x"}]}"#;
    let told = sentences(&[("aa", text)]);
    let has = |key: &str| {
        told.iter()
            .filter(|one| one.contains(&format!("`{key}`")))
            .count()
    };
    for key in [
        "app.prot",
        "app.workers",
        "app.import",
        "app.health_path",
        "database.role",
        "checks[0]",
    ] {
        assert_eq!(has(key), 1, "{key} in {told:#?}");
    }
    assert_eq!(told.len(), 6, "{told:#?}");
    // Nothing is known of the rest where what is wrong cannot be done without.
    let text = r#"{"title":7,"app":{"port":2000,"import":"main.py"},"database":{"name":"d","role":"r"}}"#;
    assert_eq!(
        sentences(&[("aa", text)]),
        ["images/aa/image.json: `title` is a number, must be a string"]
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
fn a_password_for_postgresql_is_no_part_of_an_image() {
    let more = r#","labels":{"com.example.api_token":"hunter2","com.example.mirror":"https://me:hunter2@host/x","com.example.team":"shop"}"#;
    let text = spec(2000, more).replacen(
        r#""database":{"#,
        r#""database":{"initial_sql":["CREATE TABLE users (password text)","CREATE ROLE reporting LOGIN PASSWORD 'hunter2'"],
            "settings":{"primary_conninfo":"host=db password=hunter2","work_mem":"8MB"},"#,
        1,
    );
    let told: Vec<String> = sentences(&[("aa", &text)]);
    let places: Vec<&str> = told.iter().filter_map(|line| line.split('`').nth(1)).collect();
    assert_eq!(
        places,
        [
            "database.initial_sql[1]",
            "database.settings.primary_conninfo",
            "labels.com.example.api_token",
            "labels.com.example.mirror",
        ],
        "{told:#?}"
    );
    assert!(told.iter().all(|line| !line.contains("hunter2")), "{told:#?}");
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
fn a_login_of_a_check_is_in_no_file_of_the_image() {
    let check = |json: &str| {
        format!(
            r#"{{"checks":[{{"name":"a","http":{{"path":"/a"}}}},{{"name":"b","http":{{"path":"/login","method":"POST","json":{json}}}}}]}}"#
        )
    };
    let found = of_app(&check(r#"{"user":{"name":"admin","password":"hunter2"}}"#));
    assert!(
        found[0].starts_with(
            "app/hive-app.json: `checks[1].http.json.user.password` looks like a secret, and this file is part of the image: such \
             a check is for images/i2000/image.json"
        ),
        "{found:#?}"
    );
    for json in [
        r#"{"name":"x","max_tokens":5}"#,
        r#"{"password":""}"#,
        r#"[{"token":"{token}"}]"#,
    ] {
        assert_eq!(of_app(&check(json)), Vec::<String>::new(), "{json}");
    }
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
    let own =
        r#"{"title":"t","$schema":"x","app":{"port":2000,"workers":3},"database":{"name":"d","role":"r"}}"#;
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
