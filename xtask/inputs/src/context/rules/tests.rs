//! Tests of `super`: small trees in temporary folders.

use std::fs;

use super::*;
use crate::context::walk::{Found, LeftOut, WalkOptions, walk};

/// Walks a tree of these files with the safe set on top of an ignore file.
fn scan(ignore: &str, files: &[&str]) -> Found {
    let folder = tempfile::tempdir().unwrap();
    for path in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "content").unwrap();
    }
    let rules = Rules::safe(Ignore::parse(ignore.as_bytes()).unwrap());
    walk(folder.path(), &rules, &WalkOptions::default()).unwrap()
}

/// Which of the files are inputs.
fn kept<'a>(ignore: &str, files: &[&'a str]) -> Vec<&'a str> {
    let found = scan(ignore, files);
    let is_input = |path: &&str| found.inputs.iter().any(|input| *input.path == **path);
    files.iter().copied().filter(is_input).collect()
}

const JUNK: &[&str] = &[
    ".git/HEAD",
    "sub/.git",
    ".env",
    ".env.local",
    "sub/.envrc",
    ".env.example",
    ".dockerignore",
    ".venv/bin/python",
    "src/venv/x",
    "strange/pyvenv.cfg",
    "strange/lib/x.py",
    "src/__pycache__/a.pyc",
    "b.pyc",
    "web/node_modules/x",
    ".pytest_cache/x",
    ".mypy_cache/x",
    ".ruff_cache/x",
    ".DS_Store",
    "data/postgres/x",
    "data/postgres-agent/pgdata/base/1",
    "db/PG_VERSION",
    "db/base/1",
    "pg_data/x",
    ".ssh/config",
    "deploy/id_rsa",
];

const WANTED: &[&str] = &[
    "main.py",
    "src/environment.py",
    "src/data/postgres/client.py",
    "data/words.txt",
    "data/postgres.py",
    "src/dockerignore",
    "sub/.dockerignore",
    "src/id_rsa.pub.py",
    ".gitignore",
    ".github/x",
    "env/x",
];

#[test]
fn junk_stays_out_and_the_app_stays_in() {
    let all = [JUNK, WANTED].concat();
    assert_eq!(kept("", &all), WANTED);
    assert_eq!(kept("nothing", &all), WANTED);
}

#[test]
fn exceptions_that_do_not_name_it_take_nothing_back() {
    let all = [JUNK, WANTED].concat();
    for ignore in ["*\n!**", "!*", "!**/*", "!.*", "*\n!*\n!*/**", "!**/**", "!*.*"] {
        assert_eq!(kept(ignore, &all), WANTED, "{ignore:?}");
    }
    assert_eq!(kept("*\n!src", &["src/.venv/x", "src/a.py", "b"]), ["src/a.py"]);
    assert_eq!(
        kept("*\n!src/**", &["src/__pycache__/x", "src/a.py"]),
        ["src/a.py"]
    );
}

#[test]
fn the_contract_of_an_app_is_in_whatever_is_left_out() {
    let files = ["hive-app.json", "sub/hive-app.json", "main.py"];
    for ignore in ["*", "*.json", "hive-app.json", "/hive-app.json\nmain.py\nsub"] {
        assert_eq!(kept(ignore, &files)[0], "hive-app.json", "{ignore:?}");
    }
    assert_eq!(kept("*", &files), ["hive-app.json"]);
    assert_eq!(kept("*\n!/main.py", &files), ["hive-app.json", "main.py"]);
}

#[test]
fn exceptions_that_name_it() {
    assert_eq!(
        kept("!node_modules", &["node_modules/a", "b/node_modules/a"]),
        ["node_modules/a"]
    );
    assert_eq!(
        kept("!**/node_modules", &["node_modules/a/b", "c/node_modules/a"]),
        ["node_modules/a/b", "c/node_modules/a"]
    );
    assert_eq!(
        kept("!.venv/keep.txt", &[".venv/keep.txt", ".venv/other"]),
        [".venv/keep.txt"]
    );
    assert_eq!(
        kept("!.env.example", &[".env.example", ".env.sample"]),
        [".env.example"]
    );
    assert_eq!(kept("!src/*.pyc", &["src/a.pyc", "b.pyc"]), ["src/a.pyc"]);
    assert_eq!(
        kept("!fixtures/db", &["fixtures/db/PG_VERSION", "db/PG_VERSION"]),
        ["fixtures/db/PG_VERSION"]
    );
    assert_eq!(kept("!.dockerignore", &[".dockerignore"]), [".dockerignore"]);
    // What the app excludes after all is excluded.
    assert_eq!(kept("!.venv\n.venv/x", &[".venv/x", ".venv/y"]), [".venv/y"]);
    // What lies in what was taken back is judged for itself.
    assert_eq!(
        kept("!.venv", &[".venv/a.py", ".venv/__pycache__/a.pyc"]),
        [".venv/a.py"]
    );
}

#[test]
fn history_and_secrets_are_locked() {
    let files = [".git/HEAD", ".env", ".env.production", ".ssh/id_rsa", "a"];
    let ignore = "!.git\n!.git/HEAD\n!.env\n!.env.*\n!.ssh/id_rsa";
    assert_eq!(kept(ignore, &files), ["a"]);
    let found = scan(ignore, &files);
    let git = found.left_out.iter().find(|entry| entry.path == ".git").unwrap();
    assert_eq!(git.reason, ExclusionReason::History);
    assert_eq!(git.refused, [".git", ".git/HEAD"]);
}

#[test]
fn credentials_stay_out_unless_an_exception_names_them() {
    let files = [
        "prod.env",
        "conf/.secrets.toml",
        ".pgpass",
        ".docker/config.json",
        "home/.kube/config",
        ".config/gcloud/x.db",
        "tls/server.pfx",
    ];
    let wanted = [
        "config.json",
        "environments/env",
        "secrets.py",
        "my.env/x",
        ".npmrc",
        ".docker/Dockerfile",
        ".config/x",
        "docker/config.json",
    ];
    assert_eq!(kept("", &[&files[..], &wanted].concat()), wanted);
    assert_eq!(kept("!**/*", &files), [""; 0]);
    assert_eq!(kept("!prod.env", &files), ["prod.env"]);
    assert_eq!(kept("!.docker/config.json", &files), [".docker/config.json"]);
    assert_eq!(
        kept("!.env~\n!**/.env*", &[".env~", ".env.example"]),
        [".env.example"]
    );
}

#[test]
fn settings_with_a_login_are_told_from_those_without() {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in [
        (
            ".npmrc",
            "legacy-peer-deps=true\nregistry=https://npm.example/\n; _auth=no\n",
        ),
        ("a/.npmrc", "//npm.example/:_authToken=abc\n"),
        ("b/.npmrc", "registry=https://me:pw@npm.example/\n"),
        ("c/.npmrc", "//npm.example/:_password=abc\n"),
        ("pip.conf", "[global]\nindex-url = https://pypi.example/simple\n"),
        (
            "a/pip.conf",
            "[global]\nindex-url = https://me:pw@pypi.example/simple\n",
        ),
    ] {
        fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
        fs::write(folder.path().join(path), content).unwrap();
    }
    let left_out = |ignore: &str| {
        let rules = Rules::safe(Ignore::parse(ignore.as_bytes()).unwrap());
        let found = walk(folder.path(), &rules, &WalkOptions::default()).unwrap();
        let paths = found.left_out.into_iter();
        let told = paths.map(|one| {
            assert_eq!(one.reason, ExclusionReason::Credentials);
            one.path
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(left_out(""), ["a/.npmrc", "a/pip.conf", "b/.npmrc", "c/.npmrc"]);
    assert_eq!(left_out("!a/.npmrc\n!a/pip.conf"), ["b/.npmrc", "c/.npmrc"]);
}

/// What is left out of a folder with these files.
fn left_out(files: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let rules = Rules::safe(Ignore::default());
    let found = walk(folder.path(), &rules, &WalkOptions::default()).unwrap();
    found.left_out.into_iter().map(|one| one.path).collect()
}

#[test]
fn logins_of_package_managers_are_no_input() {
    let with = [
        (
            "web/.yarnrc.yml",
            "npmScopes:\n  corp:\n    npmAuthToken: \"abc\"\n",
        ),
        ("a/.yarnrc.yml", "npmAuthIdent: me:pw\n"),
        ("a/.yarnrc", "\"//npm.example/:_authToken\" \"abc\"\n"),
        (
            "web/bunfig.toml",
            "[install]\nregistry = { url = \"https://npm.example/\", token = \"abc\" }\n",
        ),
        (
            "a/bunfig.toml",
            "[install.scopes]\n\"@corp\" = \"https://me:pw@npm.example/\"\n",
        ),
        ("pdm.toml", "[pypi.corp]\nusername = \"me\"\npassword = \"pw\"\n"),
        (".pdm.toml", "[pypi.corp]\npassword='pw'\n"),
        (
            "auth.toml",
            "[http-basic.corp]\nusername = \"me\"\npassword = \"pw\"\n",
        ),
        (
            "pip.ini",
            "[global]\nindex-url = https://me:pw@pypi.example/simple\n",
        ),
        ("_netrc", "machine pypi.example login me password pw\n"),
    ];
    let mut expected: Vec<&str> = with.iter().map(|(path, _)| *path).collect();
    expected.sort_unstable();
    assert_eq!(left_out(&with), expected);
    let without = [
        (
            ".yarnrc.yml",
            "nodeLinker: node-modules\nnpmAuthToken: \"${NPM_TOKEN:-}\"\n# npmAuthToken: abc\n",
        ),
        (
            "bunfig.toml",
            "[install]\nregistry = { url = \"https://npm.example/\", token = \"$NPM_TOKEN\" }\n",
        ),
        (
            "pdm.toml",
            "[pypi]\nurl = \"https://pypi.example/simple\"\npassword = \"\"\n",
        ),
        (
            "auth.toml",
            "[limits]\ntoken_seconds = 30\nmax_token = 5\nmax-password = 9\n",
        ),
        ("pip.ini", "[global]\nindex-url = https://pypi.example/simple\n"),
    ];
    assert_eq!(left_out(&without), [""; 0]);
}

#[test]
fn a_private_key_is_no_input_under_any_name() {
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n";
    let with = [
        ("deploy_key", key),
        ("tls/server.pem.bak", "-----BEGIN PRIVATE KEY-----\nabc\n"),
        (
            "keys/github.txt",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\r\nabc\n",
        ),
    ];
    assert_eq!(
        left_out(&with),
        ["deploy_key", "keys/github.txt", "tls/server.pem.bak"]
    );
    let without = [
        ("certificate", "-----BEGIN CERTIFICATE-----\nabc\n"),
        (
            "notes.txt",
            "a file that begins with -----BEGIN PRIVATE KEY-----\n",
        ),
        ("key.pub", "-----BEGIN PUBLIC KEY-----\nabc\n"),
        ("empty", ""),
    ];
    assert_eq!(left_out(&without), [""; 0]);
}

#[test]
fn volumes_and_backups_are_no_input_wherever_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let name = "genie-20261121T031500.123Z-0123abcd.tar.zst";
    let mut sealed = b"all of it".to_vec();
    sealed.extend(backup::SEAL_MAGIC.to_le_bytes());
    sealed.resize(sealed.len() - 4 + backup::SEAL_SIZE, 0);
    for (path, content) in [
        ("volume/hive/database-password", &b"x"[..]),
        ("volume/pgdata/PG_VERSION", b"17"),
        ("volume/files/app/media/a.png", b"x"),
        ("other/hive/lock", b""),
        ("other/hive/adopted", b""),
        ("other/hive/secret.JWT_KEY", b"x"),
        ("hive/lock.py", b""),
        (&format!("dumps/{name}"), b"short"),
        (&format!("dumps/{name}.age"), b"short"),
        ("dumps/mine.tar.zst", &sealed),
        ("dumps/model.tar.zst", b"short"),
    ] {
        fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
        fs::write(folder.path().join(path), content).unwrap();
    }
    let ignore = Ignore::parse(b"!volume\n!mine.tar.zst\n").unwrap();
    let found = walk(folder.path(), &Rules::safe(ignore), &WalkOptions::default()).unwrap();
    let inputs: Vec<&str> = found.inputs.iter().map(|input| &*input.path).collect();
    assert_eq!(
        inputs,
        ["dumps", "dumps/model.tar.zst", "hive", "hive/lock.py", "other"]
    );
    assert!(
        found
            .left_out
            .iter()
            .all(|one| one.reason == ExclusionReason::Own)
    );
    let refused: Vec<&LeftOut> = found
        .left_out
        .iter()
        .filter(|one| !one.refused.is_empty())
        .collect();
    assert_eq!(
        refused.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(),
        ["dumps/mine.tar.zst", "volume"]
    );
}

#[test]
fn keys_are_told_from_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let key = "-----BEGIN CERTIFICATE-----\nabc\n-----BEGIN EC PRIVATE KEY-----\nabc\n";
    for (path, content) in [
        ("ca.pem", "-----BEGIN CERTIFICATE-----\nabc\n"),
        ("slides.key", "PK"),
        ("server.pem", key),
        ("server.key", key),
        (
            "my-credentials.json",
            "{\"private_key\": \"-----BEGIN PRIVATE KEY-----\"}",
        ),
        ("about-keys.md", key),
    ] {
        fs::write(folder.path().join(path), content).unwrap();
    }
    let left_out = |ignore: &str| {
        let rules = Rules::safe(Ignore::parse(ignore.as_bytes()).unwrap());
        let found = walk(folder.path(), &rules, &WalkOptions::default()).unwrap();
        assert!(
            found
                .left_out
                .iter()
                .all(|one| one.reason == ExclusionReason::Credentials)
        );
        let paths = found.left_out.into_iter().map(|one| one.path);
        paths.collect::<Vec<_>>()
    };
    assert_eq!(left_out(""), ["my-credentials.json", "server.key", "server.pem"]);
    assert_eq!(left_out("!server.*"), ["my-credentials.json"]);
}

#[test]
fn says_what_is_left_out() {
    let found = scan(
        "ignored",
        &[".git/HEAD", "db/PG_VERSION", "db/x", "x.pyc", "ignored/.git/x"],
    );
    let left_out: Vec<(&str, ExclusionReason)> = found
        .left_out
        .iter()
        .map(|entry| (entry.path.as_str(), entry.reason))
        .collect();
    assert_eq!(
        left_out,
        [
            (".git", ExclusionReason::History),
            ("db", ExclusionReason::Data),
            ("x.pyc", ExclusionReason::Cache),
        ]
    );
}

#[test]
fn folders_of_this_tool_are_no_input_wherever_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    for path in [
        "app/main.py",
        "app/tools/target/debug/xtask",
        "app/state/log",
        "cache/base",
    ] {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), "content").unwrap();
    }
    std::os::unix::fs::symlink("app/state", at("link")).unwrap();
    let own = ["app/tools/target", "link", "cache", "app/later", "app"].map(at);
    let ignore = Ignore::parse(b"!state/log\n").unwrap();
    let rules = Rules::safe(ignore).without(&at("app"), &own);
    let walked = || walk(&at("app"), &rules, &WalkOptions::default()).unwrap();
    let paths =
        |found: &Found| -> Vec<String> { found.inputs.iter().map(|input| input.path.to_string()).collect() };
    let found = walked();
    assert_eq!(paths(&found), ["main.py", "tools"]);
    let own = |path: &str, refused: &[&str]| LeftOut {
        path: path.to_owned(),
        reason: ExclusionReason::Own,
        refused: refused.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(
        found.left_out,
        [own("state", &["state/log"]), own("tools/target", &[])]
    );
    // The first run makes it while it walks.
    fs::create_dir(at("app/later")).unwrap();
    assert_eq!(walked().inputs, found.inputs);
}
