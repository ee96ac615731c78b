//! The main job on a real engine, with images of the tests' own names.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sandbox::{self, Checkout, Run};

/// A checkout with one image that no other test and no user has.
pub(crate) struct Bench {
    /// A copy of this repository, for this test alone.
    pub checkout: Checkout,
    /// Unique for this process, so that its tags are nobody else's.
    pub name: String,
}

impl Bench {
    /// The image `name`, made unique for this process, with the spec's keys
    /// `app` (besides the port) and `more`, which may be empty.
    pub(crate) fn new(name: &str, app: &str, more: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let checkout = Checkout::with_image(&name, &spec(app, more));
        // These tests run beside each other: they prove the way, not the speed.
        roomy(&checkout);
        Self { checkout, name }
    }

    pub(crate) fn set_spec(&self, app: &str, more: &str) {
        self.checkout
            .write(&format!("images/{}/image.json", self.name), &spec(app, more));
    }

    pub(crate) fn xtask(&self, args: &[&str]) -> Run {
        self.checkout.xtask(args)
    }

    pub(crate) fn build(&self) -> Run {
        self.xtask(&["build-images"])
    }

    /// Starts a build, to be ended before its time.
    fn start(&self) -> Child {
        let mut command = self.checkout.command(&["build-images"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// What the plan says: action and reason.
    pub(crate) fn plan(&self) -> (String, String) {
        let plan = self.xtask(&["plan", "--json"]).expect(0).json();
        let image = &plan["images"][0];
        let text = |key: &str| image[key].as_str().unwrap().to_owned();
        assert_eq!(text("fingerprint").len(), 64);
        (text("action"), text("reason"))
    }

    /// The ID that a tag of the image names.
    pub(crate) fn id(&self, tag: &str) -> Option<String> {
        id_of(&format!("hive-{}:{tag}", self.name))
    }

    /// What Python in the released image prints.
    pub(crate) fn python(&self, code: &str) -> String {
        let image = format!("hive-{}:latest", self.name);
        let options = ["--rm", "--network", "none", "--entrypoint", "python"];
        let printed = docker(&[&["run"], &options[..], &[&image, "-c", code]].concat());
        printed.trim().to_owned()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        remove_images(&self.name);
    }
}

pub(crate) fn remove_images(name: &str) {
    let filter = format!("label=dev.hive.image={name}");
    let ids = docker(&["image", "ls", "--all", "--quiet", "--filter", &filter]);
    for id in ids.lines() {
        sandbox::docker()
            .args(["image", "rm", "--force", id])
            .output()
            .unwrap();
    }
}

/// Times that no busy machine exceeds.
pub(crate) fn roomy(checkout: &Checkout) {
    for path in ["images/defaults.json", "images/sample-app/hive-app.json"] {
        let text = fs_err::read_to_string(checkout.path(path)).unwrap();
        let mut layer: Value = serde_json::from_str(&text).unwrap();
        for (budget, limit) in [
            ("ready_seconds", 60),
            ("restart_seconds", 60),
            ("stop_seconds", 30),
            ("health_ms", 1000),
            ("query_ms", 100),
        ] {
            layer["budgets"][budget] = limit.into();
        }
        checkout.write(path, &layer.to_string());
    }
}

pub(crate) fn spec(app: &str, more: &str) -> String {
    format!(
        r#"{{"title": "test", "app": {{"port": 20000{app}}}, "database": {{"name": "hive_test", "role": "tester"}}{more}}}"#
    )
}

pub(crate) fn docker(args: &[&str]) -> String {
    let output = sandbox::docker().args(args).output().unwrap();
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// IDs behind the tags that a repository of the tool's own has for an image.
pub(crate) fn tagged(repository: &str, name: &str) -> String {
    let filter = format!("reference={repository}:{name}-*");
    docker(&["image", "ls", "--quiet", "--filter", &filter])
}

/// The ID behind a reference.
pub(crate) fn id_of(reference: &str) -> Option<String> {
    let output = sandbox::docker()
        .args(["image", "inspect", "--format", "{{.Id}}", reference])
        .output()
        .unwrap();
    let id = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    output.status.success().then_some(id)
}

/// Containers and volumes of smoke runs of this image.
pub(crate) fn leftovers(name: &str) -> String {
    let filter = format!("name=hive-smoke-{name}");
    let containers = docker(&["container", "ls", "--all", "--quiet", "--filter", &filter]);
    let volumes = docker(&["volume", "ls", "--quiet", "--filter", &filter]);
    format!("{containers}{volumes}")
}

pub(crate) fn fixture(name: &str) -> String {
    let path = sandbox::repository().join("xtask/tests/fixtures").join(name);
    path.to_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs an engine"]
fn nothing_is_built_proved_or_tagged_twice() {
    let bench = Bench::new("once", "", "");
    let temporary = tempfile::tempdir().unwrap();
    let mut build = bench.checkout.command(&["build-images"]);
    let run = sandbox::finish(build.env("TMPDIR", temporary.path())).expect(0);
    let left = fs_err::read_dir(temporary.path()).unwrap();
    assert_eq!(left.count(), 0, "temporary files of the tool and of buildx");
    let id = bench.id("latest").unwrap();
    assert_eq!(
        run.stdout,
        format!("hive-{0}:latest {id}\nhive-{0}:0.1.0 {id}\n", bench.name),
        "one line per tag, and nothing else"
    );
    assert_eq!(
        bench.plan(),
        ("up-to-date".to_owned(), "nothing changed".to_owned())
    );
    let again = bench.xtask(&["build-images", "--json"]).expect(0).json();
    let image = &again["images"][0];
    assert_eq!(
        (&image["action"], &image["image_id"]),
        (&Value::from("up-to-date"), &Value::from(id.as_str()))
    );
    assert_eq!(image["smoke"], Value::Null);

    // A tag costs neither a build nor a test.
    bench.set_spec("", r#", "version": "9.9""#);
    assert_eq!(bench.plan().0, "retag");
    bench.build().expect(0);
    assert_eq!(bench.id("9.9").as_ref(), Some(&id));

    // What somebody built on ours has its labels, and is nobody's to promote.
    let theirs = format!("theirs-{}:latest", bench.name);
    let dockerfile = format!("FROM hive-{}:latest\nENV THEIRS=1\n", bench.name);
    bench.checkout.write("theirs/Dockerfile", &dockerfile);
    let folder = bench.checkout.path("theirs");
    docker(&["buildx", "build", "--tag", &theirs, folder.to_str().unwrap()]);
    assert_ne!(id_of(&theirs).as_ref(), Some(&id));

    // A check is a matter of the suite, not of the image.
    let check = r#", "checks": [{"name": "arithmetic", "sql": {"query": "select 1 + 1", "expect": "2"}}]"#;
    bench.set_spec("", check);
    assert_eq!(
        bench.plan(),
        (
            "retest".to_owned(),
            "the smoke suite changed: the spec's checks".to_owned()
        )
    );
    let run = bench.build().expect(0);
    run.says(&["pass spec: arithmetic"]);
    assert_eq!(bench.id("latest").as_ref(), Some(&id));

    // What the context leaves out is nothing to the image.
    bench.checkout.write("images/sample-app/.env", "SECRET=1");
    bench.checkout.write("images/sample-app/.git/HEAD", "ref: x");
    assert_eq!(bench.plan().0, "up-to-date");

    // Losing the state folder costs time only.
    let (state, aside) = (bench.checkout.path("target"), bench.checkout.path("aside"));
    fs_err::rename(&state, &aside).unwrap();
    assert_eq!(bench.plan().0, "up-to-date");
    fs_err::remove_dir_all(&state).unwrap();
    fs_err::rename(&aside, &state).unwrap();

    // An app file costs the app's layer, not the dependencies'.
    bench
        .checkout
        .write("images/sample-app/api/extra.py", "ANSWER = 42\n");
    assert_eq!(
        bench.plan(),
        ("build".to_owned(), "api/extra.py added".to_owned())
    );
    let explained = bench.xtask(&["explain"]).expect(0).stdout;
    let start = format!("{}: build\n  input added: api/extra.py\n  runs ", bench.name);
    assert!(explained.starts_with(&start), "{explained}");
    let cause = bench.xtask(&["explain", "--json"]).expect(0).json()["images"][0]["cause"].clone();
    assert_eq!(cause["kind"], "changed");
    assert_eq!(cause["changes"][0]["kind"], "input-added");
    assert_eq!(cause["changes"][0]["paths"], serde_json::json!(["api/extra.py"]));
    let built = bench.xtask(&["build-images", "--verbose"]).expect(0).stderr;
    let at = |said: &str| built.find(said).unwrap_or_else(|| panic!("{said}:\n{built}"));
    let before = at(&format!("upgraded: the image before: docker run {id}"));
    assert!(
        before < at("steady: first boot: docker run"),
        "while it was built:\n{built}"
    );
    assert_ne!(bench.id("latest").unwrap(), id);
    let proofs = tagged("hive-proof", &bench.name);
    assert_eq!(
        proofs.lines().count(),
        3,
        "the image's, and both of the one before:\n{proofs}"
    );
    assert_eq!(tagged("hive-candidate", &bench.name), "");
    let log = bench
        .checkout
        .path(&format!("target/images/{}/build.log", bench.name));
    let log = fs_err::read_to_string(log).unwrap();
    let before_the_app: Vec<&str> = log
        .lines()
        .filter(|line| line.starts_with("[python-deps") && !line.contains("] FROM "))
        .collect();
    assert!(before_the_app.len() > 3, "{log}");
    assert!(
        before_the_app.iter().all(|line| line.contains(" cached ")),
        "dependencies again:\n{log}"
    );
    let venv = log
        .lines()
        .find(|line| line.contains("COPY") && line.contains("/opt/venv /opt/venv"))
        .unwrap();
    assert!(
        venv.contains(" cached "),
        "the venv's layer was made again:\n{log}"
    );
    assert_eq!(leftovers(&bench.name), "");
    // The way back costs a tag: the one before keeps its proof.
    fs_err::remove_file(bench.checkout.path("images/sample-app/api/extra.py")).unwrap();
    let (action, reason) = bench.plan();
    assert_eq!(action, "retag", "{reason}");

    // What was done is on record: a build, a retag, a retest, a build.
    let listed = bench.xtask(&["explain", "--list"]).expect(0).stdout;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 5, "{listed}");
    assert_eq!(lines[0], bench.name);
    for (line, (number, what)) in lines[1..].iter().zip([
        ("1  ", "  build   tagged: never built"),
        ("2  ", "  retag   tagged: not on this image yet: "),
        (
            "3  ",
            "  retest  tagged: the smoke suite changed: the spec's checks",
        ),
        ("4  ", "  build   tagged: api/extra.py added"),
    ]) {
        assert!(
            line.trim_start().starts_with(number) && line.contains(what),
            "{listed}"
        );
    }
    let between = bench
        .xtask(&["explain", "--from", "1", "--to", "last"])
        .expect(0)
        .stdout;
    for difference in [
        "  input added: api/extra.py\n",
        "  smoke suite changed: the spec's checks\n",
    ] {
        assert!(between.contains(difference), "{between}");
    }
    let tags = bench
        .xtask(&["explain", "--from", "1", "--to", "2"])
        .expect(0)
        .stdout;
    assert!(
        tags.contains(&format!("  tags added: hive-{}:9.9; removed: ", bench.name)),
        "{tags}"
    );
    let json = bench
        .xtask(&["explain", "--from", "1", "--to", "3", "--json"])
        .expect(0)
        .json();
    let kinds: Vec<&Value> = json["images"][0]["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|difference| &difference["kind"])
        .collect();
    assert_eq!(kinds, ["suite"], "{json}");
    let run = bench.xtask(&["explain", "--from", "9"]).expect(2);
    run.says(&["has no run 9: 1 to 4 are recorded", "explain --list"]);

    // The image before, which runs while another one is built, ends with that.
    bench.set_spec("", r#", "build": {"steps": [["false"]]}"#);
    bench.build().expect(1);
    assert_eq!(leftovers(&bench.name), "");
}

#[test]
#[ignore = "needs an engine"]
fn interrupted_runs_leave_nothing_and_killed_ones_are_reaped() {
    let bench = Bench::new("killed", "", "");
    let smoking = |signal: &str| {
        let mut child = bench.start();
        let end = Instant::now() + Duration::from_secs(240);
        while leftovers(&bench.name).lines().count() < 2 {
            assert!(Instant::now() < end, "no container of the smoke suite came up");
            assert!(
                child.try_wait().unwrap().is_none(),
                "the run ended before it was interrupted"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        let status = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
        child.wait().unwrap()
    };
    let ended = smoking("-INT");
    assert_eq!(ended.code(), Some(130));
    assert_eq!(leftovers(&bench.name), "", "left behind by Ctrl-C");
    assert_eq!(bench.id("latest"), None);

    smoking("-KILL");
    assert_ne!(
        leftovers(&bench.name),
        "",
        "kill -9 leaves something, else this test tests nothing"
    );
    let run = bench.build().expect(0);
    run.says(&["leftovers of runs that were killed"]);
    assert_eq!(leftovers(&bench.name), "");
    assert!(bench.id("latest").is_some());
}

#[test]
#[ignore = "needs an engine"]
fn two_checkouts_at_once_do_not_collide() {
    let one = Bench::new("pair", "", "");
    let other = Checkout::with_image(&one.name, &spec("", ""));
    roomy(&other);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| one.build());
        let second = scope.spawn(|| other.xtask(&["build-images"]));
        first.join().unwrap().expect(0);
        second.join().unwrap().expect(0);
    });
    assert_eq!(one.plan().0, "up-to-date");
    assert_eq!(leftovers(&one.name), "");
}

#[test]
#[ignore = "needs an engine"]
fn a_killed_build_keeps_its_stage_until_it_has_ended() {
    let bench = Bench::new("orphan", "", "");
    // Not cached anywhere, so that there is time to kill.
    bench
        .checkout
        .write("docker/rootfs/etc/hive/unique", &format!("{:?}", Instant::now()));
    let mut child = bench.start();
    let log = bench
        .checkout
        .path(&format!("target/images/{}/build.log", bench.name));
    let end = Instant::now() + Duration::from_secs(120);
    while !fs_err::read_to_string(&log).is_ok_and(|text| text.contains("production")) {
        assert!(Instant::now() < end, "no build began");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // The input moves on while the orphan may still read the old one.
    bench.checkout.write("docker/rootfs/etc/hive/unique", "second");
    bench.build().expect(0);
    let image = format!("hive-{}:latest", bench.name);
    let seen = docker(&["run", "--rm", "--entrypoint", "cat", &image, "/etc/hive/unique"]);
    assert_eq!(seen, "second");
    // Whatever the orphan left under the first fingerprint has the first content.
    let filter = format!("label=dev.hive.image={}", bench.name);
    let all = docker(&["image", "ls", "--quiet", "--no-trunc", "--filter", &filter]);
    let released = bench.id("latest").unwrap();
    for id in all.lines().filter(|id| *id != released) {
        let seen = docker(&["run", "--rm", "--entrypoint", "cat", id, "/etc/hive/unique"]);
        assert_ne!(seen, "second", "an image whose label lies");
    }
}
