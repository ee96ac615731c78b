//! Which base an image is built on: by its app, its spec or a flag.

use crate::build_images::{Bench, docker, remove_images, spec};
use crate::sandbox::Checkout;

#[test]
fn a_base_that_is_none_is_told_with_its_file() {
    let checkout = Checkout::with_image(
        "elsewhere",
        r#"{"title": "x", "base": "alpine", "app": {"port": 18000}, "database": {"name": "a", "role": "a"}}"#,
    );
    checkout.xtask(&["plan"]).expect(2).says(&[
        "images/elsewhere/image.json: `base` is \"alpine\", which is no base set: there are debian, ubuntu",
    ]);
}

#[test]
#[ignore = "needs an engine"]
fn each_image_has_its_own_base_in_one_run() {
    let bench = Bench::new("on-ubuntu", "", r#", "base": "ubuntu""#);
    let other = format!("{}-not", bench.name);
    let text = spec("", "").replace("20000", "20001");
    bench.checkout.write(&format!("images/{other}/image.json"), &text);
    let plan = bench.xtask(&["plan"]).expect(0);
    let said = plan.stdout.matches("is built on base set ubuntu").count();
    assert_eq!(said, 1, "{}", plan.stdout);
    let run = bench.build().expect(0);
    run.says(&["proved and tagged on base debian, ubuntu"]);
    remove_images(&other);
    assert!(bench.python("import sys; print(sys.version)").starts_with("3.12"));
    let image = format!("hive-{}:latest", bench.name);
    let version = docker(&["run", "--rm", "--entrypoint", "postgres", &image, "--version"]);
    assert!(version.contains(" 16."), "{version}");
    // A flag wins over the spec.
    let plan = bench.xtask(&["plan", &bench.name, "--base", "debian", "--json"]);
    assert_eq!(plan.expect(0).json()["images"][0]["base_set"], "debian");
}
