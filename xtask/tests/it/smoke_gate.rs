//! The gate suite on real images: good ones pass, and each kind of broken one
//! fails with the check that is there for it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use build::catalog::{Apps, Catalog};
use definition::spec::ImageSpec;
use engine::container::RunResources;
use engine::reaper;
use smoke::{Subject, Verdict};

use definition::reference::Reference;
use host::process::Runner;
use host::report::Report;
use xtask::scratch::TEST_IMAGES;

use crate::sandbox::{self, Checkout};

/// The specs of the good images, which are built and proved once for all tests.
fn specs() -> &'static [ImageSpec] {
    static SPECS: OnceLock<Vec<ImageSpec>> = OnceLock::new();
    SPECS.get_or_init(|| {
        let checkout = Checkout::renamed();
        checkout.xtask(&["build-images"]).expect(0);
        Catalog::read(&checkout.path(""), Apps::OfSpecs).unwrap().images
    })
}

fn resources() -> RunResources {
    RunResources {
        engine: sandbox::engine(),
        runner: Runner::new(Arc::default()).unwrap(),
        run: reaper::run_id().unwrap(),
        keep: false,
    }
}

/// The good image of a spec of the repository: what `build-images` releases.
pub(crate) fn good(name: &str) -> String {
    let name = format!("{TEST_IMAGES}-{name}");
    let spec = specs().iter().find(|spec| spec.name.as_str() == name);
    spec.unwrap_or_else(|| panic!("no spec of {name}")).tags[0].to_string()
}

/// Runs the suite; bundles go to `state`.
pub(crate) fn prove(resources: &RunResources, subjects: &[Subject], state: &Path) -> Vec<Verdict> {
    let report = Report::new(true, true);
    let verdicts = smoke::run_all(&report, state, resources, subjects, Vec::new()).unwrap();
    verdicts.iter().for_each(inspect);
    verdicts
}

/// Shows a verdict, and looks for its bundle.
fn inspect(verdict: &Verdict) {
    eprintln!("{}", smoke::report::table(verdict));
    assert_eq!(verdict.bundle().is_some(), !verdict.passed());
    if let Some(bundle) = verdict.bundle() {
        assert!(bundle.join("timeline.txt").is_file());
        assert!(bundle.join("verdict.json").is_file());
    }
}

fn subject(resources: &RunResources, reference: &str) -> Subject {
    smoke::subject(&resources.engine, &resources.runner, reference, specs()).unwrap()
}

#[test]
#[ignore = "needs an engine"]
fn good_images_pass_and_leave_nothing() {
    let resources = resources();
    let mut subjects = ["genie", "agent"].map(|name| subject(&resources, &good(name)));
    subjects.iter_mut().for_each(|subject| roomy(&mut subject.spec));
    let state = tempfile::tempdir().unwrap();
    for verdict in prove(&resources, &subjects, state.path()) {
        assert!(verdict.passed(), "{:?}", verdict.causes());
        assert!(verdict.verified().is_ok());
    }
    // Other tests of this process have the same run, but no agent.
    assert_eq!(left(&resources, &format!("hive-smoke-{TEST_IMAGES}-agent-")), "");
}

/// IDs of this run's containers and volumes whose names start like this.
fn left(resources: &RunResources, prefix: &str) -> String {
    let run = format!("label=dev.hive.run={}", resources.run);
    let name = format!("name={prefix}");
    let filter = ["--filter", &run, "--filter", &name];
    let list = |args: &[&str]| {
        let args = [args, &filter].concat();
        resources
            .engine
            .cmd(&resources.runner.for_cleanup(), &args)
            .read()
            .unwrap()
    };
    list(&["container", "ls", "--all", "--quiet"]) + &list(&["volume", "ls", "--quiet"])
}

#[test]
#[ignore = "needs an engine"]
fn interrupted_runs_leave_nothing() {
    interrupt_leaves_nothing("0", |report, state, resources, subject| {
        smoke::run(report, state, resources, subject).map(|verdict| vec![verdict])
    });
}

/// Runs something, asks it to stop one second after its first container or
/// volume is there, and looks for what it left. `mark` tells runs of this
/// process apart.
pub(crate) fn interrupt_leaves_nothing(
    mark: &str,
    run: impl FnOnce(&Report, &Path, &RunResources, &Subject) -> anyhow::Result<Vec<Verdict>>,
) {
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut resources = resources();
    resources.runner = Runner::new(Arc::clone(&interrupted)).unwrap();
    // As of another machine, so that neither a reaper nor other tests touch it.
    resources.run += mark;
    let subject = subject(&resources, &good("genie"));
    let watcher = {
        let mut resources = resources.clone();
        resources.runner = Runner::new(Arc::default()).unwrap();
        std::thread::spawn(move || {
            while left(&resources, "").is_empty() {
                std::thread::sleep(Duration::from_millis(50));
            }
            // Somewhere in the first boot.
            std::thread::sleep(Duration::from_secs(1));
            interrupted.store(true, Ordering::Relaxed);
        })
    };
    let state = tempfile::tempdir().unwrap();
    let error = run(&Report::new(true, false), state.path(), &resources, &subject).unwrap_err();
    watcher.join().unwrap();
    assert_eq!(failure::kind(&error), failure::FailureKind::Interrupted);
    assert_eq!(left(&resources, ""), "");
}

/// The good genie with a few more lines of Dockerfile; untagged by the end.
pub(crate) struct Variant {
    pub(crate) resources: RunResources,
    pub(crate) tag: String,
}

impl Variant {
    pub(crate) fn build(name: &str, lines: &str) -> Self {
        Self::of(&good("genie"), name, lines)
    }

    /// The same of another image.
    pub(crate) fn of(image: &str, name: &str, lines: &str) -> Self {
        let resources = resources();
        let tag = format!("hive-smoke-test:{name}-{}", std::process::id());
        // Of a Dockerfile on its standard input, buildx leaves a copy in /tmp.
        let folder = tempfile::tempdir().unwrap();
        let dockerfile = format!("FROM {image}\n{lines}\n");
        std::fs::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
        let variant = Self { resources, tag };
        variant
            .resources
            .engine
            .cmd(
                &variant.resources.runner,
                &[
                    "buildx",
                    "build",
                    "--quiet",
                    "--provenance=false",
                    "--tag",
                    &variant.tag,
                    folder.path().to_str().unwrap(),
                ],
            )
            .run()
            .unwrap();
        variant
    }

    /// With times that no busy machine exceeds.
    pub(crate) fn subject(&self) -> Subject {
        let mut subject = subject(&self.resources, &self.tag);
        roomy(&mut subject.spec);
        subject
    }
}

impl Drop for Variant {
    fn drop(&mut self) {
        let tag = Reference::parse(&self.tag).unwrap();
        if let Err(error) = self.resources.engine.untag(&self.resources.runner, &tag) {
            eprintln!("{error:#}");
        }
    }
}

/// Builds a variant and expects exactly these checks to be at fault; all other
/// failures, if any, have to follow from them. One that is too slow on purpose is proved
/// just once.
///
/// Returns the state folder with the bundle.
fn broken(
    name: &str,
    lines: &str,
    tweak: impl FnOnce(&mut ImageSpec),
    expected: &[&str],
) -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    let variant = Variant::build(name, lines);
    let mut subject = variant.subject();
    tweak(&mut subject.spec);
    let report = Report::new(true, true);
    let causes = |verdict: &Verdict| -> Vec<String> {
        let causes = verdict.causes();
        causes.iter().map(|check| check.name.clone()).collect()
    };
    let mut verdict = smoke::run(&report, state.path(), &variant.resources, &subject).unwrap();
    if causes(&verdict) != expected {
        // A busy machine had its part in it, or the test fails.
        verdict = prove(&variant.resources, &[subject], state.path()).remove(0);
    }
    inspect(&verdict);
    assert_eq!(causes(&verdict), expected, "{name}");
    assert!(verdict.verified().is_err());
    state
}

/// A busy machine is not what these tests are about.
fn roomy(spec: &mut ImageSpec) {
    let budgets = &mut spec.budgets;
    budgets.ready_seconds = 60.0;
    budgets.restart_seconds = 60.0;
    budgets.health_ms = 1000.0;
    budgets.query_ms = 100.0;
}

fn as_it_is(_: &mut ImageSpec) {}

/// An edit that no longer finds its line would leave a good image to be broken.
const SED: &str = "sed() { for file; do :; done; was=$(sha256sum \"$file\"); command sed \"$@\"; \
     if [ \"$was\" = \"$(sha256sum \"$file\")\" ]; then echo \"nothing is edited: sed $*\" >&2; return 1; fi; }";

/// As root, a command that changes the image; the user is put back.
pub(crate) fn run(command: &str) -> String {
    format!("USER root\nRUN set -eu; {SED}; {command}\nUSER 1000:1000")
}

/// Compiled files are never compared with their source: without them the
/// source is read.
pub(crate) const UNCOMPILED: &str =
    "rm -rf /usr/local/lib/hive/hive_container/__pycache__ /app/api/__pycache__";

#[test]
#[ignore = "needs an engine"]
fn program_that_cannot_start() {
    let lines = run("sed -i 's|^command=.*run-app$|command=/bin/false|' /etc/hive/supervisord.conf");
    broken("fatal", &lines, as_it_is, &["stays-up"]);
}

#[test]
#[ignore = "needs an engine"]
fn program_that_is_fatal_in_a_container_that_stays_up() {
    let lines = run(&format!(
        "sed -i 's|^command=.*run-app$|command=/bin/false|' /etc/hive/supervisord.conf; \
         sed -i '/def give_up/a \\        return' /usr/local/lib/hive/hive_container/supervision.py; {UNCOMPILED}"
    ));
    broken("fatal-up", &lines, as_it_is, &["programs-running"]);
}

#[test]
#[ignore = "needs an engine"]
fn database_down() {
    let lines =
        run("sed -i 's|^command=.*run-postgresql$|command=/bin/sleep infinity|' /etc/hive/supervisord.conf");
    let short = |spec: &mut ImageSpec| spec.budgets.ready_seconds = 5.0;
    broken("database-down", &lines, short, &["postgresql-ready"]);
}

#[test]
#[ignore = "needs an engine"]
fn health_that_lies() {
    let app = "async def app(scope, receive, send):\n\
        \x20   while scope['type'] == 'lifespan':\n\
        \x20       kind = (await receive())['type']\n\
        \x20       await send({'type': kind + '.complete'})\n\
        \x20       if kind.endswith('shutdown'):\n\
        \x20           return\n\
        \x20   await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n\
        \x20   await send({'type': 'http.response.body', 'body': b'healthy'})\n";
    let lines = format!(
        "COPY --chmod=644 <<'PY' /app/api/serve.py\n{app}PY\n{}",
        run(UNCOMPILED)
    );
    let no_own_checks = |spec: &mut ImageSpec| spec.checks.clear();
    broken("lying", &lines, no_own_checks, &["health-honest"]);
}

#[test]
#[ignore = "needs an engine"]
fn health_check_that_lies() {
    // Honest at the start: one that says so before the app is there would be blamed for that, too,
    // on a machine where the app takes its time.
    let lines = run("cd /usr/local/lib/hive; mv healthcheck at-first; \
         printf '#!/bin/sh\\n[ ! -e /run/hive/was-healthy ] || exec echo healthy\\nexec /usr/local/lib/hive/at-first \"$@\"\\n' > healthcheck; \
         chmod 755 healthcheck");
    broken("lying-check", &lines, as_it_is, &["container-health"]);
}

#[test]
#[ignore = "needs an engine"]
fn process_of_root() {
    let lines = run(
        "cp /bin/sleep /usr/local/bin/rooted; chmod 4755 /usr/local/bin/rooted; \
         printf '\\n[program:rooted]\\ncommand=/usr/local/bin/rooted infinity\\n' >> /etc/hive/supervisord.conf",
    );
    broken("rooted", &lines, as_it_is, &["no-root-process", "no-way-to-root"]);
}

#[test]
#[ignore = "needs an engine"]
fn image_of_root() {
    broken("root", "USER root", as_it_is, &["image-user", "stays-up"]);
}

#[test]
#[ignore = "needs an engine"]
fn no_pgvector() {
    let lines = run("rm -f /usr/lib/postgresql/*/lib/vector.so; \
         sed -i 's|\"before_start\": *\\[|\"left_out\": [|' /etc/hive/image.json");
    let no_own_checks = |spec: &mut ImageSpec| spec.checks.clear();
    broken("no-pgvector", &lines, no_own_checks, &["pgvector"]);
}

#[test]
#[ignore = "needs an engine"]
fn over_budget() {
    let tight = |spec: &mut ImageSpec| {
        spec.budgets.memory_mb = 1.0;
        spec.budgets.size_mb = 1.0;
        spec.budgets.restart_seconds = 0.001;
    };
    broken("over-budget", "", tight, &["image-size", "memory", "restart"]);
}

#[test]
#[ignore = "needs an engine"]
fn wrong_port() {
    broken("wrong-port", "ENV HIVE_API_PORT=9999", as_it_is, &["health"]);
}

#[test]
#[ignore = "needs an engine"]
fn second_port() {
    broken("second-port", "EXPOSE 5432", as_it_is, &["image-port"]);
}

#[test]
#[ignore = "needs an engine"]
fn no_health_check() {
    broken("unchecked", "HEALTHCHECK NONE", as_it_is, &["image-health-check"]);
}

#[test]
#[ignore = "needs an engine"]
fn no_fingerprint() {
    broken(
        "unlabelled",
        "LABEL dev.hive.fingerprint=",
        as_it_is,
        &["image-labels"],
    );
}

#[test]
#[ignore = "needs an engine"]
fn trust_instead_of_passwords() {
    let lines = run("sed -i 's/scram-sha-256/trust/' /etc/hive/pg_hba.conf");
    broken("trust", &lines, as_it_is, &["wrong-password"]);
}

#[test]
#[ignore = "needs an engine"]
fn data_off_the_volume() {
    let lines = run(&format!(
        "install -d -o 1000 -g 1000 /srv/data; sed -i 's/^        notes = .mounts.*/        notes = []/' /usr/local/lib/hive/entrypoint; \
         sed -i 's|^MOUNT = .*|MOUNT = \"/srv/data\"|' /usr/local/lib/hive/hive_container/volume.py; {UNCOMPILED}"
    ));
    broken("off-volume", &lines, as_it_is, &["data-on-volume"]);
}

#[test]
#[ignore = "needs an engine"]
fn stop_that_waits_for_sessions() {
    let lines = run("sed -i 's/^stopsignal=INT/stopsignal=TERM/' /etc/hive/supervisord.conf");
    broken("slow-stop", &lines, as_it_is, &["clean-stop"]);
}

#[test]
#[ignore = "needs an engine"]
fn program_that_flaps() {
    let lines = run("printf '\\n[program:flapper]\\ncommand=/bin/sleep 3\\n' >> /etc/hive/supervisord.conf");
    broken("flapping", &lines, as_it_is, &["nothing-restarted"]);
}

#[test]
#[ignore = "needs an engine"]
fn secret_in_the_log() {
    let print = "import os; url = os.environ[\"DATABASE_URL\"]; \
         print(url, \"password\", url.split(\"@\")[0].rsplit(\":\", 1)[1], flush=True)";
    let lines = run(&format!("echo '{print}' >> /app/api/serve.py; {UNCOMPILED}"));
    let state = broken("talkative", &lines, as_it_is, &["no-secret-leaked"]);
    // The bundle has everything but the secret.
    let mut scrubbed = Vec::new();
    for entry in walkdir::WalkDir::new(state.path()) {
        let entry = entry.unwrap();
        if !entry.file_type().is_file() {
            continue;
        }
        let text = fs_err::read_to_string(entry.path()).unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let shown = text.matches("hive:[scrubbed]@127.0.0.1").count();
        assert_eq!(text.matches("postgresql://hive:").count(), shown, "{name}");
        assert_eq!(text.matches(" password [scrubbed]").count(), shown, "{name}");
        if shown > 0 {
            scrubbed.push(name);
        }
    }
    assert!(scrubbed.contains(&"docker-logs.txt".to_owned()), "{scrubbed:?}");
    assert!(scrubbed.contains(&"app.log".to_owned()), "{scrubbed:?}");
}

/// What is too long to look through is not taken for clean, and ends.
#[test]
#[ignore = "needs an engine"]
fn a_log_without_end() {
    let print = "import subprocess; subprocess.Popen([\"yes\", \"x\" * 4000])";
    let lines = run(&format!("echo '{print}' >> /app/api/serve.py; {UNCOMPILED}"));
    let unread = ["nothing-restarted", "no-secret-leaked"];
    broken("endless", &lines, as_it_is, &unread);
}

#[test]
#[ignore = "needs an engine"]
fn secret_in_the_image() {
    broken("token", "ENV HIVE_API_TOKEN=abc123", as_it_is, &["image-secrets"]);
}

#[test]
#[ignore = "needs an engine"]
fn health_check_that_never_passes() {
    let short = |spec: &mut ImageSpec| spec.budgets.ready_seconds = 5.0;
    broken(
        "no-health",
        "HEALTHCHECK --start-interval=1s CMD false",
        short,
        &["time-to-ready"],
    );
}

#[test]
#[ignore = "needs an engine"]
fn own_checks_that_fail() {
    let checks = |spec: &mut ImageSpec| {
        spec.checks = serde_json::from_value(serde_json::json!([
            {"name": "missing", "http": {"path": "/nowhere"}},
            {"name": "sum", "sql": {"query": "SELECT 1 + 1", "expect": "3"}},
            {"name": "fine", "sql": {"query": "SELECT 1 + 1", "expect": "2"}},
        ]))
        .unwrap();
    };
    broken("own-checks", "", checks, &["spec: missing", "spec: sum"]);
}
