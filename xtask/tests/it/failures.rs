//! Builds and suites that fail: what is said, what is kept, and that no tag
//! moves.

use serde_json::Value;

use crate::build_images::{Bench, docker, id_of, leftovers, remove_images, spec, tagged};
use crate::sandbox;

#[test]
#[ignore = "needs an engine"]
fn a_candidate_that_fails_moves_no_tag() {
    let bench = Bench::new("broken", "", "");
    bench.build().expect(0);
    let good = bench.id("latest").unwrap();

    // A lying health endpoint: 200 whatever the database does.
    bench.checkout.write(
        "images/sample-app/api/health.py",
        "from fastapi import APIRouter\n\nrouter = APIRouter()\n\n\n@router.get('/api/v1/health')\ndef health() -> dict:\n    return {'status': 'healthy'}\n",
    );
    let run = bench.build().expect(4);
    run.says(&[
        "FAIL health-honest",
        "hint: no tag has moved",
        "everything known about the failure is in",
    ]);
    assert_eq!(run.stdout, "");
    assert_eq!(bench.id("latest").unwrap(), good, "the tag moved without a proof");
    assert_eq!(bench.id("0.1.0").unwrap(), good);
    // The candidate is there: what failed is not built again.
    assert_eq!(bench.plan().0, "retest");
    let (action, reason) = bench.plan();
    assert_eq!(action, "retest");
    assert!(
        reason.starts_with("smoke failed 20") && reason.ends_with(": health-honest"),
        "{reason}"
    );
    // Nothing of the state folder can talk it good: not an entry that claims a
    // pass, not one that is broken, not none.
    let entries = bench
        .checkout
        .path(&format!("target/images/history/images/{}", bench.name));
    let entry = entries.join("000002.json");
    let text = fs_err::read_to_string(&entry).unwrap();
    let mut forged: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(forged["outcome"]["kind"], "stopped");
    forged["outcome"] = serde_json::json!({"kind": "tagged"});
    forged["verdict"]["failed"] = serde_json::json!([]);
    fs_err::write(&entry, forged.to_string()).unwrap();
    assert_eq!(
        bench.plan(),
        (
            "retest".to_owned(),
            "the image's proof is gone from the engine".to_owned()
        )
    );
    fs_err::write(&entry, "{\"schema\":1,\"passed\":true}").unwrap();
    assert_eq!(bench.plan().0, "retest");
    fs_err::remove_dir_all(&entries).unwrap();
    assert_eq!(bench.plan().0, "retest");
    bench.build().expect(4);
    assert_eq!(bench.id("latest").unwrap(), good);
    assert_eq!(leftovers(&bench.name), "");
}

#[test]
#[ignore = "needs an engine"]
fn what_passed_is_kept_when_another_image_fails() {
    let bench = Bench::new("sibling", "", "");
    let other = format!("{}-other", bench.name);
    let set_other = |answer: &str| {
        let check = format!(
            r#", "checks": [{{"name": "arithmetic", "sql": {{"query": "select 1 + 1", "expect": "{answer}"}}}}]"#
        );
        let spec = spec("", &check).replace("20000", "20001");
        bench.checkout.write(&format!("images/{other}/image.json"), &spec);
    };
    let unproved = format!("hive-unproved:{other}");
    let mut before: Option<[String; 2]> = None;
    set_other("3");
    for content in ["ONE", "TWO"] {
        bench
            .checkout
            .write("images/sample-app/api/extra.py", &format!("{content} = 1\n"));
        let run = bench.build().expect(4);
        run.says(&[
            "FAIL spec: arithmetic",
            &format!("image {other} failed 1 of "),
            "hint: no tag has moved",
            &format!("hint: look inside until another {other} fails: "),
            &format!("docker run --rm -it {unproved} bash"),
        ]);
        assert_eq!(bench.id("latest"), None);
        let plan = bench.xtask(&["plan", "--json"]).expect(0).json();
        let actions = [0, 1].map(|n| plan["images"][n]["action"].as_str().unwrap().to_owned());
        assert_eq!(actions, ["retag", "retest"], "{plan}");
        let ids = [0, 1].map(|n| plan["images"][n]["image_id"].as_str().unwrap().to_owned());
        assert_eq!(id_of(&unproved).as_ref(), Some(&ids[1]));
        assert_eq!(
            docker(&["run", "--rm", &unproved, "cat", "/app/api/extra.py"]),
            format!("{content} = 1\n")
        );
        // They do not pile up: neither what failed nor what passed for nothing.
        for old in before.iter().flatten() {
            assert_eq!(id_of(old), None, "{old} is still there");
        }
        assert_eq!(tagged("hive-candidate", &bench.name), "");
        before = Some(ids);
    }

    set_other("2");
    let run = bench.build().expect(0);
    run.says(&[&format!("smoke {other}: "), "1 proved again and tagged, 1 tagged"]);
    assert!(
        !run.stderr.contains(&format!("smoke {}: ", bench.name)),
        "proved twice:\n{}",
        run.stderr
    );
    let [id, id_of_other] = before.unwrap();
    assert_eq!(bench.id("latest"), Some(id));
    assert_eq!(id_of(&format!("hive-{other}:latest")), Some(id_of_other));
    assert_eq!(id_of(&unproved), None, "it is proved now");
    remove_images(&other);
}

#[test]
#[ignore = "needs an engine"]
fn a_build_failure_names_step_lines_and_log() {
    let bench = Bench::new(
        "nobuild",
        r#", "import": "api.serve:app""#,
        r#", "packages": ["no-such-package-anywhere"]"#,
    );
    let run = bench.build().expect(1);
    run.says(&[
        "failed at [postgres-base",
        "no-such-package-anywhere",
        "hint: the whole log: ",
        "build.log",
    ]);
    assert!(!run.stderr.contains("intercept TLS"), "{}", run.stderr);
    assert_eq!(bench.id("latest"), None);
    assert!(run.stderr.lines().count() < 60, "a wall:\n{}", run.stderr);

    // With another image: it is built and proved, and nothing is promoted.
    let other = format!("{}-other", bench.name);
    bench.checkout.write(
        &format!("images/{other}/image.json"),
        &spec("", "").replace("20000", "20001"),
    );
    let run = bench.xtask(&["build-images", "--keep-going"]).expect(1);
    run.says(&[
        &format!("build of {} failed at [postgres-base", bench.name),
        &format!("smoke {other}: "),
        " checks passed in ",
        "hint: no tag has moved",
    ]);
    let released = format!("reference=hive-{other}");
    assert_eq!(docker(&["image", "ls", "--quiet", "--filter", &released]), "");
    remove_images(&other);
}

#[test]
#[ignore = "needs an engine"]
fn a_name_of_one_image_proves_nothing_of_another() {
    sandbox::xtask(["base", "make"]).expect(0);
    let bench = Bench::new("claimed", "", "");
    let other = format!("{}-other", bench.name);
    let of_other = spec("", "").replace("20000", "20001");
    bench
        .checkout
        .write(&format!("images/{other}/image.json"), &of_other);
    let container = docker(&["create", "--pull", "never", "hive-base:debian", "true"]);
    let label = format!("LABEL dev.hive.image={}", bench.name);
    let tag = format!("hive-{other}:latest");
    docker(&["commit", "--change", &label, container.trim(), &tag]);
    docker(&["rm", container.trim()]);
    for reference in [&other, &tag, &format!("library/{tag}")] {
        bench.xtask(&["smoke", reference]).expect(2).says(&[
            &format!(
                "{tag} is a name of image {other}, and the image behind it says that it is {}",
                bench.name
            ),
            &format!("hint: give the name back to its image: cargo xtask build-images {other}"),
        ]);
    }
}

#[test]
#[ignore = "needs an engine"]
fn a_password_in_the_apps_answer_gets_into_no_record() {
    let bench = Bench::new("leaky", "", "");
    bench.checkout.write(
        "images/sample-app/api/health.py",
        "import os\nfrom urllib.parse import unquote, urlsplit\n\n\
         from fastapi import APIRouter, Response\n\nrouter = APIRouter()\n\n\n\
         @router.get('/api/v1/health')\ndef health() -> Response:\n    \
         password = unquote(urlsplit(os.environ['DATABASE_URL']).password)\n    \
         return Response(f'planted {password} here', status_code=503)\n",
    );
    let run = bench.build().expect(4);
    let state = bench.checkout.path("target/images");
    let mut places = vec![(run.stdout, "stdout".into()), (run.stderr, "stderr".into())];
    for entry in walkdir::WalkDir::new(&state) {
        let path = entry.unwrap().into_path();
        if path.is_file() {
            let bytes = fs_err::read(&path).unwrap();
            places.push((String::from_utf8_lossy(&bytes).into_owned(), path));
        }
    }
    let mut told = Vec::new();
    for (text, place) in &places {
        // Not the source, which the stage has.
        for answer in text
            .split("planted ")
            .skip(1)
            .filter(|rest| !rest.starts_with('{'))
        {
            assert!(answer.starts_with("[scrubbed] here"), "in {}", place.display());
            told.push(place.file_name().unwrap().to_str().unwrap());
        }
    }
    for place in ["stderr", "verdict.txt", "verdict.json"] {
        assert!(told.contains(&place), "the answer is not in {place}: {told:?}");
    }
}
