//! The gate suite on real images: good ones pass, and each kind of broken one
//! fails with the check that is there for it.

use std::sync::Arc;

use xtask::engine::container::Lab;
use xtask::engine::{Engine, Owner, reaper};
use xtask::process::Runner;
use xtask::report::Report;
use xtask::smoke::{self, Subject, Verdict};
use xtask::spec::ImageSpec;
use xtask::spec::load::{SourceFile, load};

use crate::sandbox;

/// The images' specs of this checkout.
fn specs() -> Vec<ImageSpec> {
    let images = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../images");
    let file = |name: &str| SourceFile {
        shown: format!("images/{name}"),
        folder: images.clone(),
        text: fs_err::read_to_string(images.join(name)).unwrap(),
    };
    let of = |name: &str| (name.to_owned(), file(&format!("{name}/image.json")));
    load(Some(&file("defaults.json")), &[of("genie"), of("agent")]).unwrap()
}

fn lab() -> Lab {
    Lab {
        engine: Engine {
            owner: Owner::System,
            docker: "docker".into(),
            env: Vec::new(),
        },
        runner: Runner::new(Arc::default()).unwrap(),
        run: reaper::run_id().unwrap(),
        keep: false,
    }
}

/// The good image of a spec: `HIVE_TEST_IMAGE` with `{}` for the name, or the
/// release tag.
fn good(name: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "tests are a world of their own")]
    let pattern = std::env::var("HIVE_TEST_IMAGE").unwrap_or_else(|_| "hive-{}:latest".to_owned());
    pattern.replace("{}", name)
}

fn prove(lab: &Lab, references: &[&str]) -> Vec<Verdict> {
    let state = tempfile::tempdir().unwrap();
    let specs = specs();
    let subjects: Vec<Subject> = references
        .iter()
        .map(|reference| smoke::subject(&lab.engine, &lab.runner, reference, &specs).unwrap())
        .collect();
    let report = Report::new(true, true);
    let verdicts = smoke::run_all(&report, state.path(), lab, &subjects).unwrap();
    for verdict in &verdicts {
        eprintln!("{}", smoke::report::table(verdict));
    }
    verdicts
}

#[test]
fn good_images_pass_and_leave_nothing() {
    if !sandbox::engine_tests() {
        return;
    }
    let lab = lab();
    let verdicts = prove(&lab, &[&good("genie"), &good("agent")]);
    for verdict in verdicts {
        assert!(verdict.passed(), "{:?}", verdict.causes());
    }
    for kind in ["container", "volume"] {
        let filter = format!("label=dev.hive.run={}", lab.run);
        let mut args = vec![kind, "ls", "--quiet", "--filter", &filter];
        if kind == "container" {
            args.push("--all");
        }
        let left = lab.engine.cmd(&lab.runner, &args).read().unwrap();
        assert_eq!(left, "", "{kind}s are left");
    }
}
