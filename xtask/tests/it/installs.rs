//! What an app says of its dependencies is what its image has.

use std::path::Path;

use crate::build_images::{Bench, docker, fixture};
use crate::sandbox::{Checkout, Run, copy};

/// A bench with an app of its own that a test may change.
fn bench_with(name: &str, app: &str, fixture_name: &str) -> Bench {
    let bench = Bench::new(name, app, "");
    copy(Path::new(&fixture(fixture_name)), &bench.checkout.path("app"));
    bench
}

fn build(bench: &Bench) -> Run {
    let app = bench.checkout.path("app");
    bench.xtask(&["build-images", "--app", app.to_str().unwrap()])
}

/// What Python in the image prints.
fn python(bench: &Bench, code: &str) -> String {
    let image = format!("hive-{}:latest", bench.name);
    let args = [
        "run",
        "--rm",
        "--network",
        "none",
        "--entrypoint",
        "python",
        &image,
        "-c",
        code,
    ];
    docker(&args).trim().to_owned()
}

#[test]
fn a_member_given_as_the_app_is_sent_to_its_workspace() {
    let checkout = Checkout::new();
    let given = |app: &str| checkout.xtask(&["plan", "genie", "--app", app]).expect(2).stderr;
    let root = fixture("workspace-app");
    let said = given(&format!("{root}/apps/api"));
    let advice = format!("give {root} as the app's folder, with `\"package\": \"api\"` in the spec's `app`");
    assert!(said.contains(&advice), "{said}");
}

#[test]
#[ignore = "needs an engine"]
fn a_member_of_a_workspace_is_built_with_its_extra_and_group() {
    let choice = r#", "package": "api", "extras": ["server"], "groups": ["database"], "import": "web:app", "health_path": "/health""#;
    let bench = bench_with("member", choice, "workspace-app");
    build(&bench).expect(0);
    assert!(bench.id("3.0").is_some(), "the member's version");
    assert_eq!(
        python(&bench, "import greeting; print(greeting.__file__)"),
        "/app/libs/greeting/src/greeting/__init__.py"
    );
}
