//! Every block of the Markdown files is run as it stands, by a shell in a copy
//! of the checkout, or is listed with the reason why not.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::build_images::{docker, remove_images, roomy};
use crate::sandbox::{self, Checkout, repository};
use xtask::scratch::rename_images;

/// What becomes of a block.
#[derive(Debug)]
enum How {
    /// It is run as it stands.
    Run,
    /// It is run but for these commands, each with the reason.
    RunBut(&'static [(&'static str, &'static str)]),
    /// It is not run, for this reason.
    Not(&'static str),
}

/// All blocks, by file and first command.
const BLOCKS: [(&str, &str, How); 26] = [
    ("ARCHITECTURE.md", "xtask-audit", How::Not("a picture")),
    (
        "ARCHITECTURE.md",
        "images/<name>/image.json ┐",
        How::Not("a picture"),
    ),
    ("CONTRIBUTING.md", "cargo test", How::Not("runs this test")),
    ("README.md", "cargo xtask build-images", How::Run),
    ("README.md", "cargo xtask up agent", How::Run),
    ("README.md", "cargo xtask test", How::Not("runs this test")),
    ("README.md", "cargo xtask up genie", How::Run),
    ("README.md", "eval \"$(cargo xtask engine env)\"", How::Run),
    (
        "README.md",
        "cargo xtask smoke --suite full --list",
        How::RunBut(&[("cargo xtask smoke --suite full", "minutes for each image")]),
    ),
    ("README.md", "cargo xtask new ../my-app", How::Run),
    ("README.md", "found main.py:16", How::Not("what `new` says")),
    (
        "README.md",
        "plan genie: build (api/serve.py changed)",
        How::Not("what a build says"),
    ),
    ("docker/README.md", "cargo xtask base make", How::Run),
    (
        "docker/README.md",
        "docker run -d --name genie -p 127.0.0.1:48886:48886 \\",
        How::Run,
    ),
    (
        "docker/README.md",
        "docker exec genie supervisorctl status",
        How::Run,
    ),
    (
        "docker/README.md",
        "docker run -d --name hardened-genie \\",
        How::Run,
    ),
    ("docker/README.md", "pgdata/", How::Not("a folder")),
    ("docker/README.md", "ID-20261126T150000Z/", How::Not("a folder")),
    (
        "docker/README.md",
        "docker run --rm -v genie-data:/var/lib/postgresql/data hive-genie \\",
        How::Run,
    ),
    (
        "README.md",
        "{",
        How::Not("keys of a spec; `own_programs` builds and runs such an image"),
    ),
    (
        "README.md",
        r#"{"title": "Workspace", "app": {"port": 8886}, "database": {"name": "hive", "role": "hive", "elsewhere": "postgres"}}"#,
        How::Not("keys of a spec; `app_alone` builds and runs such an image"),
    ),
    (
        "docker/README.md",
        "export RESTIC_REPOSITORY=/srv/restic RESTIC_PASSWORD_FILE=/srv/restic.password",
        How::Not("`recipes` runs it with restic"),
    ),
    (
        "docker/README.md",
        "export RCLONE_CONFIG=/srv/rclone.conf",
        How::Not("`recipes` runs it with rclone"),
    ),
    (
        "docker/README.md",
        "15 3 * * * cd ~/hive && PATH=~/.cargo/bin:$PATH && cargo xtask backup genie && cargo xtask backup prune \
         genie --keep 7d,4w,6m",
        How::Not("a line for cron; `recipes` runs its command"),
    ),
    (
        "docker/README.md",
        "head -c 24 /dev/urandom | base64 | install -m 600 -o 1000 -g 1000 /dev/stdin docker/compose/workspace.password",
        How::Not("`app_alone` runs the file of an image of its own like this"),
    ),
    (
        "docker/README.md",
        "cargo xtask bench container --runs 5",
        How::Not("minutes; `bench` has tests of its own"),
    ),
];

/// A fenced or an indented block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    file: String,
    /// Of its first line, counted from 1.
    line: usize,
    pub(crate) text: String,
}

impl Block {
    fn how(&self) -> Option<&'static How> {
        let first = command(self.text.lines().next().unwrap_or_default());
        let known = |(file, command, _): &&(&str, &str, How)| *file == self.file && *command == first;
        BLOCKS.iter().find(known).map(|(_, _, how)| how)
    }
}

/// A line without indent and comment: two spaces end what is meant to be typed.
fn command(line: &str) -> &str {
    line.trim().split("  ").next().unwrap_or_default()
}

/// The blocks of a Markdown text. Indented ones follow an empty line.
fn blocks(file: &str, text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let (mut fenced, mut after_empty) = (false, true);
    for (n, line) in text.lines().enumerate() {
        let fence = line.trim_start().starts_with("```");
        let indented = || {
            line.strip_prefix("    ")
                .filter(|_| open.is_some() || after_empty)
        };
        let code = if fenced { Some(line) } else { indented() };
        match code.filter(|_| !fence) {
            Some(code) => {
                let block = open.get_or_insert_with(|| Block {
                    file: file.to_owned(),
                    line: n + 1,
                    text: String::new(),
                });
                block.text += &format!("{code}\n");
            }
            None => found.extend(open.take()),
        }
        fenced ^= fence;
        after_empty = line.trim().is_empty();
    }
    found.extend(open);
    found
}

/// All Markdown files that git has or would have: name and text.
fn documents() -> Vec<(String, String)> {
    let mut git = Command::new("git");
    git.current_dir(repository())
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.md"]);
    let files = sandbox::finish(&mut git).expect(0).stdout;
    let read = |file: &str| {
        (
            file.to_owned(),
            fs_err::read_to_string(repository().join(file)).unwrap(),
        )
    };
    files.lines().map(read).collect()
}

pub(crate) fn all_blocks() -> Vec<Block> {
    let documents = documents();
    documents
        .iter()
        .flat_map(|(file, text)| blocks(file, text))
        .collect()
}

#[test]
fn blocks_are_found_in_both_forms() {
    let text = "a\n    no block\n\n    one\n    two\nb\n\n```sh\nthree\n\n    four\n```\n";
    let block = |line, text: &str| Block {
        file: "x.md".to_owned(),
        line,
        text: text.to_owned(),
    };
    assert_eq!(
        blocks("x.md", text),
        [block(4, "one\ntwo\n"), block(9, "three\n\n    four\n")]
    );
}

#[test]
fn every_block_is_run_or_has_a_reason() {
    let all = all_blocks();
    for block in &all {
        let place = format!("{}:{}", block.file, block.line);
        match block.how() {
            None => panic!(
                "{place} is neither run nor has a reason in `BLOCKS`:\n{}",
                block.text
            ),
            Some(How::RunBut(left_out)) => {
                for (left_out, _) in *left_out {
                    let found = block.text.lines().filter(|line| command(line) == *left_out);
                    assert_eq!(found.count(), 1, "{place}: {left_out}");
                }
            }
            Some(How::Not(reason)) => assert!(!reason.is_empty(), "{place}"),
            Some(How::Run) => {}
        }
    }
    assert_eq!(
        all.len(),
        BLOCKS.len(),
        "a block that `BLOCKS` has is gone, or is there twice"
    );
}

/// What is shown and not run, and what stands within the text.
#[test]
fn every_command_of_the_tool_knows_its_flags() {
    let mut shown: BTreeSet<String> = BTreeSet::new();
    for (_, text) in documents() {
        for command in text.split("cargo xtask ").skip(1) {
            shown.insert(command.split(['`', '\n', ')', '#']).next().unwrap().to_owned());
        }
    }
    assert!(shown.len() > 20, "{shown:?}");
    for command in shown {
        // `explain [IMAGE…] --list`, `engine status|up|down`.
        let mut words = command
            .split([' ', '[', ']', '\\', '|', '"'])
            .filter(|word| !word.is_empty());
        let verb = words.next().unwrap_or_default();
        if verb == "…" {
            continue;
        }
        let mut help = sandbox::xtask([verb, "--help"]).expect(0).stdout;
        for word in words.take_while(|word| *word != "--") {
            if let Some(flag) = word.strip_prefix("--") {
                assert!(
                    help.contains(&format!("--{flag}")),
                    "cargo xtask {command}: no {word}"
                );
            } else if help
                .lines()
                .any(|line| line.trim_start().starts_with(&format!("{word} ")))
            {
                help += &sandbox::xtask([verb, word, "--help"]).expect(0).stdout;
            }
        }
    }
}

/// The sample app has no login, and a published port passes by most firewalls.
#[test]
fn ports_are_published_on_the_loopback_only() {
    for block in all_blocks() {
        for word in block.text.split(" -p ").skip(1) {
            assert!(word.starts_with("127.0.0.1:"), "{}: -p {word}", block.file);
        }
    }
}

/// The images of the documents.
const NAMES: [&str; 3] = ["genie", "agent", "my-app"];

/// Names of images, containers and volumes that nobody else has, and ports of the
/// host that are free; all of it is removed in the end.
struct Names {
    prefix: String,
    /// Text → text: a spec's port wherever it stands, another one where it is
    /// asked for.
    ports: [(&'static str, String); 3],
}

impl Names {
    fn new() -> Self {
        let free = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port().to_string()
        };
        Self {
            prefix: format!("docs{}", std::process::id()),
            ports: [
                ("38886", free()),
                ("48886", free()),
                ("--port 8000", format!("--port {}", free())),
            ],
        }
    }

    /// The text with the names and the ports.
    fn put_into(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for name in NAMES {
            text = text.replace(name, &format!("{}-{name}", self.prefix));
        }
        // There is no terminal.
        self.put_ports_into(&text).replace(" -it ", " -i ")
    }

    fn put_ports_into(&self, text: &str) -> String {
        let put = |text: String, (port, free): &(&str, String)| text.replace(port, free);
        self.ports.iter().fold(text.to_owned(), put)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let filter = format!("name={}", self.prefix);
        let list = |kind: &str, args: &[&str]| {
            docker(&[&[kind, "ls", "--quiet", "--filter", &filter], args].concat())
        };
        for container in list("container", &["--all"]).lines() {
            docker(&["container", "rm", "--force", "--volumes", container]);
        }
        for volume in list("volume", &[]).lines() {
            docker(&["volume", "rm", volume]);
        }
        for network in list("network", &[]).lines() {
            docker(&["network", "rm", network]);
        }
        for name in NAMES {
            remove_images(&format!("{}-{name}", self.prefix));
        }
        // What the plain build made has no label.
        let plain = format!("reference=*{}*", self.prefix);
        for image in docker(&["image", "ls", "--quiet", "--filter", &plain]).lines() {
            docker(&["image", "rm", "--force", image]);
        }
    }
}

#[test]
#[ignore = "needs an engine"]
fn every_block_works_when_it_is_pasted() {
    let names = Names::new();
    let checkout = Checkout::new();
    roomy(&checkout);
    rename_images(&checkout.path("images"), &names.prefix).unwrap();
    for image in ["genie", "agent"] {
        let spec = format!("images/{}-{image}/image.json", names.prefix);
        let text = fs_err::read_to_string(checkout.path(&spec)).unwrap();
        checkout.write(&spec, &names.put_ports_into(&text));
    }
    checkout.xtask(&["render"]).expect(0);
    let apps = tempfile::tempdir().unwrap();
    let app = apps.path().join(format!("{}-my-app", names.prefix));
    sandbox::copy(&checkout.path("images/sample-app"), &app);
    let start = format!(
        "set -euo pipefail\ncargo() {{ [ \"$1\" = xtask ]; shift; '{}' --root . \"$@\"; }}\n",
        env!("CARGO_BIN_EXE_xtask")
    );
    // What README.md builds is what the other files run.
    let mut all = all_blocks();
    all.sort_by_key(|block| block.file != "README.md");
    for of_one_file in all.chunk_by(|one, next| one.file == next.file) {
        let readme = of_one_file[0].file == "README.md";
        // README.md says it in its first block but one.
        let mut script = if readme {
            ""
        } else {
            "eval \"$(cargo xtask engine env)\"\n"
        }
        .to_owned();
        for block in of_one_file {
            let left_out = match block.how() {
                Some(How::Run) => &[][..],
                Some(How::RunBut(left_out)) => left_out,
                Some(How::Not(_)) | None => continue,
            };
            script += &format!("echo '--- {}:{}' >&2\n", block.file, block.line);
            let lines = block.text.lines();
            for line in lines.filter(|line| left_out.iter().all(|(other, _)| *other != command(line))) {
                script += &format!("{line}\n");
            }
        }
        let script = names
            .put_into(&script)
            .replace(&format!("../{}-my-app", names.prefix), &app.to_string_lossy());
        let mut bash = Command::new("timeout");
        bash.args(["--kill-after", "10", "900", "bash", "-c"])
            .arg(format!("{start}set -x\n{script}"));
        bash.current_dir(checkout.path(""))
            .env("NO_COLOR", "1")
            .env("HIVE_BACKUP_DIR", checkout.path("backups"))
            .env_remove("DOCKER_HOST")
            .stdin(Stdio::null());
        sandbox::finish(&mut bash).expect(0);
    }
    // What the tool prints after a build is the same command.
    let hints = checkout.xtask(&["build-images"]).expect(0);
    hints.says(&[&names.put_into("cargo xtask up agent")]);
}

#[test]
fn security_names_checks_that_exist() {
    let text = fs_err::read_to_string(repository().join("SECURITY.md")).unwrap();
    let list = sandbox::xtask(["smoke", "--suite", "full", "--list"])
        .expect(0)
        .stdout;
    let known: Vec<&str> = list
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let promises = text.split("## ").nth(1).unwrap();
    let named: Vec<&str> = promises.split('`').skip(1).step_by(2).collect();
    assert!(named.len() > 8, "{named:?}");
    for name in named {
        assert!(known.contains(&name), "SECURITY.md: there is no check {name}");
    }
}
