//! What the API says is what the CLI says, over both ways to it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use definition::reference::Reference;
use engine::api::{Api, Endpoint};
use engine::{Engine, Owner, reaper};
use failure::FailureKind;
use host::process::Runner;

use crate::sandbox;

fn reference(name: &str) -> Reference {
    Reference::parse(name).unwrap()
}

pub(crate) fn runner() -> Runner {
    Runner::new(Arc::default()).unwrap()
}

#[track_caller]
fn docker(args: &[&str]) -> String {
    let run = sandbox::finish(sandbox::docker().args(args)).expect(0);
    run.stdout.trim().to_owned()
}

/// The engine's socket behind a TCP port, which only the CLI knows to reach.
fn behind_tcp(engine: &Engine) -> Engine {
    let Endpoint::Socket(socket) = engine.api.endpoint().clone() else {
        panic!("engine tests run on a socket");
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("tcp://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for one in listener.incoming() {
            let (one, other) = (one.unwrap(), UnixStream::connect(&socket).unwrap());
            let (mut from, mut to) = (one.try_clone().unwrap(), other.try_clone().unwrap());
            thread::spawn(move || {
                pump(&mut from, &mut to);
                to.shutdown(Shutdown::Write).ok();
            });
            thread::spawn(move || {
                let (mut from, mut to) = (other, one);
                pump(&mut from, &mut to);
                to.shutdown(Shutdown::Write).ok();
            });
        }
    });
    let env = vec![("DOCKER_HOST".to_owned(), host)];
    Engine {
        api: Api::new(Endpoint::Dial {
            docker: engine.docker.clone(),
            env: env.clone(),
        }),
        env,
        ..engine.clone()
    }
}

fn pump(from: &mut impl Read, to: &mut impl Write) {
    std::io::copy(from, to).ok();
}

#[test]
#[ignore = "needs an engine"]
fn api_and_command_agree() {
    sandbox::xtask(["base", "make"]).expect(0);
    let name = format!("hive-api-test:{}", std::process::id());
    let direct = sandbox::engine();
    for engine in [behind_tcp(&direct), direct] {
        let runner = runner();
        let base = docker(&["image", "inspect", "--format", "{{.Id}}", "hive-base:debian"]);
        let image = engine.image(&runner, "hive-base:debian").unwrap().unwrap();
        assert_eq!(image.id().as_str(), base);
        let layers = docker(&["image", "inspect", "--format", "{{json .RootFS.Layers}}", &base]);
        assert_eq!(serde_json::to_string(&image.layers()).unwrap(), layers);
        assert!(engine.image(&runner, "hive-api-test:none").unwrap().is_none());
        let private = Engine {
            owner: Owner::Private,
            ..engine.clone()
        };
        for engine in [&engine, &private] {
            assert_eq!(
                engine.platform(&runner).unwrap().as_str(),
                docker(&["version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"])
            );
        }

        let tag = reference(&name);
        assert_eq!(engine.inventory(&runner).unwrap().id_of(&tag), None);
        engine.tag(&runner, &base, &tag).unwrap();
        let inventory = engine.inventory(&runner).unwrap();
        assert_eq!(inventory.id_of(&tag), Some(image.id()));
        assert_eq!(docker(&["image", "inspect", "--format", "{{.Id}}", &name]), base);
        engine.untag(&runner, &tag).unwrap();
        engine.untag(&runner, &tag).unwrap();
        assert_eq!(engine.inventory(&runner).unwrap().id_of(&tag), None);
        let nobodys = format!("sha256:{}", "0".repeat(64));
        let error = engine.tag(&runner, &nobodys, &tag).unwrap_err();
        assert_eq!(failure::kind(&error), FailureKind::Build);
        let error = format!("{error:#}");
        assert!(
            error.contains("Error response from daemon: No such image"),
            "{error}"
        );
    }
}

#[test]
#[ignore = "needs an engine"]
fn the_last_tag_of_an_image_in_use_stays() {
    sandbox::xtask(["base", "make"]).expect(0);
    let (engine, runner) = (sandbox::engine(), runner());
    let name = format!("api-used-{}", std::process::id());
    let [one, other] = ["one", "other"].map(|tag| format!("hive-api-test:{tag}-{}", std::process::id()));
    // An image of its own, with no other tag.
    docker(&[
        "create",
        "--pull",
        "never",
        "--name",
        &name,
        "hive-base:debian",
        "true",
    ]);
    docker(&["commit", "--change", &format!("ENV USED={name}"), &name, &one]);
    docker(&["rm", &name]);
    docker(&["create", "--pull", "never", "--name", &name, &one, "true"]);
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", &one]);
    let [one, other] = [one, other].map(|name| reference(&name));
    engine.tag(&runner, &id, &other).unwrap();
    let known = |tag| engine.inventory(&runner).unwrap().id_of(tag).is_some();

    engine.untag_unused(&runner, &other).unwrap();
    assert!(!known(&other), "the image has another one");
    engine.untag_unused(&runner, &one).unwrap();
    assert!(
        known(&one),
        "a container would be left on an image without a name"
    );
    let error = format!("{:#}", engine.untag(&runner, &one).unwrap_err());
    assert!(error.starts_with(&format!("remove tag {one}: ")), "{error}");
    docker(&["rm", &name]);
    engine.untag_unused(&runner, &one).unwrap();
    assert!(!known(&one));
    assert!(engine.image(&runner, &id).unwrap().is_none());
}

#[test]
#[ignore = "needs an engine"]
fn all_kinds_of_leftovers_are_reaped_and_nothing_of_the_living() {
    sandbox::xtask(["base", "make"]).expect(0);
    let engine = sandbox::engine();
    let living = reaper::run_id().unwrap();
    let dead = living.replacen(&std::process::id().to_string(), "4194305", 1);
    let mut expected = Vec::new();
    for (run, word) in [(&living, "living"), (&dead, "dead")] {
        let label = format!("dev.hive.run={run}");
        let name = format!("reap-{word}-{}", std::process::id());
        docker(&["volume", "create", "--label", &label, &name]);
        docker(&["network", "create", "--label", &label, &name]);
        docker(&[
            "create",
            "--pull",
            "never",
            "--name",
            &name,
            "--label",
            &label,
            "hive-base:debian",
            "true",
        ]);
        expected.push(name);
    }
    assert!(reaper::reap(&engine, &runner()).unwrap() >= 3);
    let left = |kind: &[&str]| {
        let mut args = kind.to_vec();
        args.extend(["ls", "--filter", "label=dev.hive.run"]);
        let listed = docker(&args);
        [listed.contains(&expected[0]), listed.contains(&expected[1])]
    };
    let all = [left(&["volume"]), left(&["network"]), {
        let listed = docker(&["ps", "--all", "--filter", "label=dev.hive.run"]);
        [listed.contains(&expected[0]), listed.contains(&expected[1])]
    }];
    for kind in ["container", "volume", "network"] {
        let options: &[&str] = if kind == "network" { &[] } else { &["--force"] };
        let args: Vec<&str> = [kind, "rm"].iter().chain(options).copied().collect();
        docker(&[args.as_slice(), &[&expected[0]]].concat());
    }
    assert_eq!(all, [[true, false]; 3]);
}
