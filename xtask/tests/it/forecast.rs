//! What is foretold of a build, held against what BuildKit does: a wrong
//! forecast fails here.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::build_images::{Bench, docker};
use crate::sandbox::Run;

/// What became of an image's steps: stage, number, what was foretold, what was
/// seen, the instruction.
struct Outcome {
    document: Value,
}

impl Outcome {
    fn of(run: &Run) -> Self {
        let document = run.json()["images"][0].clone();
        let outcome = Self { document };
        assert_eq!(
            outcome.document["prediction"]["wrong"],
            serde_json::json!([]),
            "{}",
            run.stderr
        );
        assert!(!run.stderr.contains("forecast"), "{}", run.stderr);
        outcome
    }

    /// What was foretold of the step of a stage whose instruction has a text.
    #[track_caller]
    fn expected(&self, stage: &str, text: &str) -> &str {
        let steps = self.document["prediction"]["expected"].as_array().unwrap();
        let mut found = steps
            .iter()
            .filter(|step| step["stage"] == stage && step["instruction"].as_str().unwrap().contains(text));
        let step = found
            .next()
            .unwrap_or_else(|| panic!("no {text:?} in {steps:#?}"));
        step["expect"].as_str().unwrap()
    }

    /// Numbers of the steps of a stage that were run.
    fn ran(&self, stage: &str) -> Vec<u64> {
        let steps = self.document["prediction"]["seen"].as_array().unwrap();
        let run = steps
            .iter()
            .filter(|step| step["stage"] == stage && step["seen"] == "run");
        run.map(|step| step["step"].as_u64().unwrap()).collect()
    }

    /// That BuildKit came to every step.
    fn is_whole(&self) {
        let prediction = &self.document["prediction"];
        let count = |key: &str| prediction[key].as_array().unwrap().len();
        assert_eq!(count("seen"), count("expected"), "{prediction:#}");
    }
}

/// A text that no build before had.
fn unique() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("{:032x}", now.as_nanos() ^ u128::from(std::process::id()) << 64)
}

#[test]
#[ignore = "needs an engine"]
fn what_is_foretold_is_what_buildkit_does() {
    let bench = Bench::new("foretold", "", "");
    let checkout = &bench.checkout;
    let build = || Outcome::of(&bench.xtask(&["build-images", "--json"]).expect(0));

    let first = bench.xtask(&["build-images", "--json"]).expect(0);
    first.says(&["nothing is foretold: no earlier build on this engine is on record"]);
    let first = Outcome::of(&first);
    first.is_whole();

    // A file of the app: its layers, and nothing below or beside them.
    checkout.write("images/sample-app/api/extra.py", &format!("X = '{}'\n", unique()));
    let explained = bench.xtask(&["explain"]).expect(0).stdout;
    for line in [
        "\n  runs python-app ",
        " COPY . /app: files that it reads changed\n",
    ] {
        assert!(explained.contains(line), "{explained}");
    }
    let app = build();
    app.is_whole();
    for (stage, text, expected) in [
        ("python-deps", "uv lock", "cached"),
        ("python-app", "COPY . /app", "run"),
        ("production", "/opt/venv", "cached"),
        ("production", "/app /app", "run"),
    ] {
        assert_eq!(app.expected(stage, text), expected, "{text}");
    }
    assert_eq!(app.ran("postgres-base"), [0; 0]);
    assert_eq!(app.ran("python-deps"), [0; 0]);

    // A file that every image gets, and an argument of the other stage.
    checkout.write("docker/rootfs/etc/hive/unique", &unique());
    let lock = "images/base-sets.lock.json";
    let text = fs_err::read_to_string(checkout.path(lock)).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let arm = json["uv"]["sha256"]["linux/arm64"].as_str().unwrap();
    checkout.edit(lock, arm, &format!("{}{}", unique(), unique()));
    let both = build();
    both.is_whole();
    assert_eq!(both.document["cause"]["changes"][0]["name"], "UV_HASHES");
    assert_eq!(both.expected("python-deps", "apt update"), "run");
    assert_eq!(both.ran("production").first(), Some(&1));
    assert_eq!(both.ran("postgres-base"), [0; 0]);

    // Dependencies, and the Dockerfile.
    let uv_lock = "images/sample-app/uv.lock";
    let text = fs_err::read_to_string(checkout.path(uv_lock)).unwrap();
    checkout.write(uv_lock, &format!("{text}# {}\n", unique()));
    let stage = "docker/stages/30-production.Dockerfile";
    let echo = format!("RUN echo {}", unique());
    let new = format!("{echo}\nUSER 1000:1000\n");
    checkout.edit(stage, "\nUSER 1000:1000\n", &format!("\n{new}"));
    let deps = build();
    deps.is_whole();
    assert_eq!(deps.expected("python-deps", "apt update"), "cached");
    assert_eq!(deps.expected("python-deps", "uv lock"), "run");
    assert_eq!(deps.expected("production", &echo), "run");
    assert_eq!(deps.ran("production").last(), Some(&9));

    // The engine loses the image, and the last step out of its cache.
    let entry = format!("target/images/history/images/{}/000004.json", bench.name);
    let entry: Value = serde_json::from_str(&fs_err::read_to_string(checkout.path(&entry)).unwrap()).unwrap();
    let last = entry["steps"].as_array().unwrap().last().unwrap();
    let record = last["records"][0].as_str().unwrap();
    let kept = || fs_err::read_to_string(checkout.path("target/images/build-cache.json")).ok();
    // The list that is kept has it from now on, unless other tests never leave
    // the engine alone for two seconds.
    for _ in 0..10 {
        bench.xtask(&["explain"]).expect(0);
        if kept().is_some_and(|kept| kept.contains(record)) {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    docker(&["image", "rm", "--force", entry["image_id"].as_str().unwrap()]);
    docker(&[
        "builder",
        "prune",
        "--all",
        "--force",
        "--filter",
        &format!("id={record}"),
    ]);
    let pruned = build();
    pruned.is_whole();
    assert_eq!(pruned.document["cause"]["kind"], "image-pruned");
    assert_eq!(pruned.expected("production", &echo), "run");
    assert_eq!(
        (pruned.ran("production"), pruned.ran("python-app")),
        (vec![9], vec![])
    );
    // What it is for: the definition's differences between two runs.
    let between = bench
        .xtask(&["explain", "--from", "2", "--to", "4"])
        .expect(0)
        .stdout;
    for difference in [
        "argument UV_HASHES changed",
        "rootfs:etc/hive/unique",
        "+RUN echo ",
    ] {
        assert!(between.contains(difference), "{between}");
    }
}
