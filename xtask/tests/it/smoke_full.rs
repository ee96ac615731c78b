//! The full suite's faults on broken images: each finds what it is there for.

use container::finding::{Observation, flaw, seen};
use definition::reference::Reference;
use definition::spec::kind::ImageKind;
use host::report::Report;
use smoke::Verdict;
use smoke::fault::{FaultDef, Faults};
use smoke::faults::FULL;
use smoke::fixture::Fixture;
use xtask::promote;

use crate::sandbox;
use crate::smoke_gate::{UNCOMPILED, Variant, interrupt_leaves_nothing, run};

/// Runs these faults, once, on the good image with a few more lines of Dockerfile.
fn faults(name: &str, lines: &str, only: &[&str]) -> (Verdict, tempfile::TempDir) {
    let state = tempfile::tempdir().unwrap();
    let variant = Variant::build(name, lines);
    let subject = variant.subject();
    let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
    let report = Report::new(true, true);
    let suite = Faults {
        all: FULL,
        only: &only,
        second_try: false,
    };
    let verdicts = smoke::run_full(&report, state.path(), &variant.resources, &[subject], suite).unwrap();
    let verdict = verdicts.into_iter().next().unwrap();
    eprintln!("{}", smoke::report::table(&verdict));
    (verdict, state)
}

#[test]
#[ignore = "needs an engine"]
fn some_faults_are_no_proof() {
    let (verdict, _state) = faults("part", "", &["kill-postmaster"]);
    assert!(verdict.passed(), "{:?}", verdict.causes());
    let names: Vec<&str> = verdict.checks().iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["kill-postmaster"], "no gate, no other fault");
    assert!(verdict.verified().is_err(), "a part of the suite is no proof");
}

/// A suite of two faults: the whole one takes minutes. What makes a pass a proof
/// is the same.
#[test]
#[ignore = "needs an engine"]
fn a_whole_pass_is_kept_as_a_tag_and_a_part_is_not() {
    fn quick(fixture: &Fixture<'_>) -> anyhow::Result<Observation> {
        Ok(seen(format!("looked at {}", fixture.image_id()))?)
    }
    fn never(_: &Fixture<'_>) -> anyhow::Result<Observation> {
        Err(flaw("always").into())
    }
    let fault = |name, run| FaultDef {
        name,
        proves: "",
        kinds: ImageKind::EVERY,
        run,
    };
    let good = [fault("one", quick), fault("other", quick)];
    let bad = [fault("one", quick), fault("other", never)];
    let variant = Variant::build("kept", "ENV KEPT=1");
    let (engine, runner) = (&variant.resources.engine, &variant.resources.runner);
    let subject = variant.subject();
    let state = tempfile::tempdir().unwrap();
    let kept = |all: &[FaultDef], only: &[&str]| -> Option<String> {
        let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
        let suite = Faults {
            all,
            only: &only,
            second_try: false,
        };
        let subjects = std::slice::from_ref(&subject);
        let report = Report::new(true, true);
        let verdicts = smoke::run_full(&report, state.path(), &variant.resources, subjects, suite).unwrap();
        promote::keep_full_proofs(engine, runner, &verdicts).unwrap();
        let inventory = engine.inventory(runner).unwrap();
        let mut names = inventory.names_of(&subject.image_id);
        names
            .find(|name| name.starts_with("hive-proof"))
            .map(str::to_owned)
    };
    assert_eq!(kept(&good, &["one", "other"]), None, "without the gate");
    assert_eq!(kept(&bad, &[]), None, "one fault failed");
    let tag = kept(&good, &[]).unwrap();
    let key = Faults {
        all: &good,
        only: &[],
        second_try: false,
    }
    .key(&subject.spec, None)
    .unwrap();
    assert!(
        tag.starts_with(&format!("hive-proof-full:{}-{}.", subject.spec.name, key.short())),
        "{tag}"
    );
    engine.untag(runner, &Reference::parse(&tag).unwrap()).unwrap();
}

#[test]
#[ignore = "needs an engine"]
fn postgresql_that_nobody_starts_again() {
    let lines = run(
        "sed -i '/program:postgresql/,/^startsecs/s/^autorestart=true/autorestart=false/' \
         /etc/hive/supervisord.conf",
    );
    let (verdict, state) = faults("stays-dead", &lines, &["kill-postmaster"]);
    let check = &verdict.checks()[0];
    assert!(
        check.detail.starts_with("health did not become 200 within"),
        "{}",
        check.detail
    );
    let bundle = verdict.bundle().unwrap().to_owned();
    assert!(bundle.starts_with(state.path()) && bundle.join("verdict.json").is_file());
    let fault = bundle.join("kill-postmaster");
    let timeline = fs_err::read_to_string(fault.join("timeline.txt")).unwrap();
    assert!(timeline.contains("kill -9 "), "{timeline}");
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(&fault) {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        found.push(name);
    }
    for name in [
        "docker-logs.txt",
        "inspect.json",
        "inside.txt",
        "postgresql.log",
        "result.json",
    ] {
        assert!(found.iter().any(|found| found == name), "{name} in {found:?}");
    }
}

/// Each of these lines takes away what one fault is there for.
#[test]
#[ignore = "needs an engine"]
fn an_image_that_bears_nothing() {
    let lines = run(&format!(
        // Commits are acknowledged before they are written.
        "echo 'synchronous_commit = off' >> /etc/hive/postgresql.conf; \
         echo 'wal_writer_delay = 10s' >> /etc/hive/postgresql.conf; cd /usr/local/lib/hive; \
         sed -i 's|copy = f\"{{MOUNT}}/{{ADOPTING}}.*|copy = PGDATA|' hive_container/adoption.py; \
         sed -i '/def give_up/a \\        return' hive_container/supervision.py; \
         sed -i 's/^    if spec.port:/    if False:/' entrypoint; \
         sed -i '/^unhealthy() {{/a [[ -e /run/hive/database-ready ]] && {{ echo healthy; exit 0; }}' healthcheck; {UNCOMPILED}"
    ));
    each_finds_its_flaw(
        "bears-nothing",
        &lines,
        &[
            ("flapping-app", "the container is still up"),
            ("kill-container", "committed rows are lost: "),
            (
                "kill-first-boot",
                "killed when the copy begins: the container ended",
            ),
            ("frozen-app", "the image's health check says: healthy"),
            (
                "reserved-port",
                "to bind and to connect to the app's port before it listens: fine ",
            ),
        ],
    );
}

/// A kill does not show it: the kernel still writes what nobody synced.
#[test]
#[ignore = "needs an engine"]
fn a_first_boot_that_syncs_nothing() {
    let lines = run(&format!(
        "sed -i '/^def sync_tree/,$s/^    paths = .*/    return/' \
         /usr/local/lib/hive/hive_container/adoption.py; {UNCOMPILED}"
    ));
    let all = ["power-cut-first-boot", "kill-first-boot"];
    let (verdict, _state) = faults("unsynced-cluster", &lines, &all);
    let killed = verdict
        .checks()
        .iter()
        .find(|check| check.name == "kill-first-boot");
    assert!(killed.is_some_and(|check| !check.failed()), "{killed:?}");
    // At which of its moments that is, chance decides: what the kernel has written by itself until then.
    let cut = "names reached the disk and contents did not: the container ended, exit code 78";
    expect_flaws(&verdict, &[("power-cut-first-boot", cut)]);
}

#[test]
#[ignore = "needs an engine"]
fn a_password_that_nobody_syncs() {
    let lines = run(&format!(
        "sed -i 's/, durable=True//' /usr/local/lib/hive/hive_container/volume.py; {UNCOMPILED}"
    ));
    let said = "names reached the disk and contents did not: the app's role has another password";
    each_finds_its_flaw("unsynced-password", &lines, &[("power-cut-first-boot", said)]);
}

/// Commits are written, and the disk is never asked to keep them.
#[test]
#[ignore = "needs an engine"]
fn a_postgresql_that_syncs_nothing() {
    let lines = run("echo 'fsync = off' >> /etc/hive/postgresql.conf");
    each_finds_its_flaw(
        "unsynced-commits",
        &lines,
        &[("power-cut", "committed rows are lost: ")],
    );
}

/// Runs these faults on the good image with a few more lines of Dockerfile: every
/// one fails, and says so.
pub(crate) fn each_finds_its_flaw(name: &str, lines: &str, expected: &[(&str, &str)]) {
    let only: Vec<&str> = expected.iter().map(|(fault, _)| *fault).collect();
    let (verdict, _state) = faults(name, lines, &only);
    expect_flaws(&verdict, expected);
}

/// Every one of these was run, failed, and said so.
pub(crate) fn expect_flaws(verdict: &Verdict, expected: &[(&str, &str)]) {
    for (name, said) in expected {
        let found = verdict.checks().iter().find(|check| check.name == *name);
        let check = found.unwrap_or_else(|| panic!("{name} was not run"));
        assert!(check.failed(), "{name} passed: {}", check.detail);
        assert!(check.detail.contains(said), "{name}: {}", check.detail);
    }
}

#[test]
#[ignore = "needs an engine"]
fn an_image_that_is_bad_company() {
    let lines = run(&format!(
        "cd /usr/local/lib/hive; sed -i 's/^dynamic_shared_memory_type.*/dynamic_shared_memory_type = posix/' \
         /etc/hive/postgresql.conf; sed -i 's/\"listen_addresses\": .*/\"listen_addresses\": \"*\",/' run-postgresql; \
         sed -i 's/^stopsignal=INT/stopsignal=QUIT/' /etc/hive/supervisord.conf; \
         sed -i 's/^MAX_BYTES = .*/MAX_BYTES = 1 << 40/' hive_container/logs.py; {UNCOMPILED}"
    ));
    each_finds_its_flaw(
        "bad-company",
        &lines,
        &[
            ("hardened", "could not resize shared memory segment"),
            ("small-shared-memory", "could not resize shared memory segment"),
            ("side-by-side", "PostgreSQL is reachable from another container"),
            ("restarts", "docker stop: exit code"),
            ("logs", "/var/log/hive should have 4 files of app"),
        ],
    );
}

#[test]
#[ignore = "needs an engine"]
fn an_image_that_leaves_traces() {
    let lines = run(&format!(
        "sed -i '/^def keep_lock/a \\    open(f\"{{OURS}}/start-{{secrets.token_hex(4)}}\", \"x\").close()' \
         /usr/local/lib/hive/hive_container/volume.py; {UNCOMPILED}"
    ));
    each_finds_its_flaw(
        "leaves-traces",
        &lines,
        &[("restarts", "9 restarts left 9 traces: ./hive/start-")],
    );
}

#[test]
#[ignore = "needs an engine"]
fn interrupted_faults_leave_nothing() {
    let only = ["side-by-side", "kill-container"].map(str::to_owned);
    interrupt_leaves_nothing("1", |report, state, resources, subject| {
        let suite = Faults {
            all: FULL,
            only: &only,
            second_try: false,
        };
        smoke::run_full(report, state, resources, std::slice::from_ref(subject), suite)
    });
}

#[test]
fn only_is_for_faults_that_exist() {
    sandbox::xtask(["smoke", "--only", "kill-postmaster"])
        .expect(2)
        .says(&["--only names faults", "add --suite full"]);
    sandbox::xtask(["smoke", "--suite", "full", "--only", "frobnicate"])
        .expect(2)
        .says(&["the full suite has no fault frobnicate", "kill-postmaster"]);
    let list = |suite| {
        sandbox::xtask(["smoke", "--suite", suite, "--list"])
            .expect(0)
            .stdout
    };
    let (gate, full) = (list("gate"), list("full"));
    assert!(gate.contains("pgvector ") && !gate.contains("kill-postmaster"));
    assert!(
        full.starts_with(gate.trim_end()) && full.contains("\nkill-postmaster "),
        "{full}"
    );
}
