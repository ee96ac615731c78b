//! What becomes of images without a proof when their run has ended.

use build::candidate;
use definition::reference::Reference;
use engine::reaper;

use crate::build_images::{docker, id_of};
use crate::engine_api::runner;
use crate::sandbox;

#[test]
#[ignore = "needs an engine"]
fn the_last_one_without_a_proof_stays_and_those_of_the_living_are_left_alone() {
    sandbox::xtask(["base", "make"]).expect(0);
    let (engine, runner) = (sandbox::engine(), runner());
    let image = format!("candidate-{}", std::process::id());
    let living = reaper::run_id().unwrap();
    let dead = living.replacen(&std::process::id().to_string(), "4194305", 1);
    // An image of its own whose only name is that of a run's candidate.
    let commit = |content: &str, tag: &str| {
        let container = docker(&["create", "--pull", "never", "hive-base:debian", "true"]);
        let change = format!("LABEL dev.hive.test={image}-{content}");
        let id = docker(&["commit", "--change", &change, container.trim(), tag]);
        docker(&["rm", container.trim()]);
        id.trim().to_owned()
    };
    let retire = || candidate::retire(&engine, &runner, |run| !reaper::is_alive(run)).unwrap();
    let unproved = candidate::unproved_tag(&image).to_string();
    let of_run = |run: &str| candidate::tag(&image, run).to_string();
    let build = |content: &str, run: &str| commit(content, &of_run(run));

    let going_on = build("living", &living);
    let first = build("first", &dead);
    retire();
    assert_eq!(id_of(&unproved), Some(first.clone()));
    assert_eq!(id_of(&of_run(&dead)), None);

    let second = build("second", &dead);
    retire();
    assert_eq!(id_of(&unproved), Some(second.clone()));
    assert_eq!(id_of(&first), None, "they pile up");

    // It got a proof before its run was killed. Whatever is done next cleans up,
    // also where nothing is built.
    let proof = format!("hive-api-test:proof-{}", std::process::id());
    let proved = commit("proved", &proof);
    let reference = |name: &str| Reference::parse(name).unwrap();
    engine
        .tag(&runner, &proved, &candidate::tag(&image, &dead))
        .unwrap();
    sandbox::xtask(["smoke", "hive-api-test:none"]).expect(2);
    retire();
    assert_eq!(id_of(&unproved), Some(second));
    assert_eq!(id_of(&of_run(&dead)), None);
    assert_eq!(id_of(&proof), Some(proved));

    assert_eq!(id_of(&of_run(&living)), Some(going_on));
    for tag in [&unproved, &proof, &of_run(&living)] {
        engine.untag(&runner, &reference(tag)).unwrap();
    }
}
