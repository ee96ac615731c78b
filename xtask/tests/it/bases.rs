//! Which base an image is built on, and which Python its app runs on: by its app, its
//! spec or a flag.

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::build_images::{Bench, docker, remove_images, spec};
use crate::sandbox::{self, Checkout};
use crate::smoke_gate::good;

/// A folder of this machine that builds reach by HTTP, for as long as it is there.
struct Mirror {
    child: Child,
    address: String,
}

impl Mirror {
    fn of(folder: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-u", "-m", "http.server", "0", "--directory"])
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        let port = said.split_whitespace().nth(5).unwrap();
        // The address that this machine has for others: containers reach it.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect("192.0.2.1:9").unwrap();
        let address = format!("http://{}:{port}", socket.local_addr().unwrap().ip());
        Self { child, address }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Makes Debian's own Python what uv fetches as 3.13: an archive of it, and the
/// description by which uv finds it below `mirror`.
fn python_for_uv(folder: &Path, mirror: &str) {
    let archive = folder.join("python.tar.gz");
    let python = [
        "-C",
        "/usr",
        "--transform",
        "s,^,python/,",
        "-cz",
        "bin/python3.13",
        "lib/python3.13",
    ];
    let image = good("genie");
    let status = sandbox::docker()
        .args([&["run", "--rm", "--entrypoint", "tar", &image], &python[..]].concat())
        .stdout(fs_err::File::create(&archive).unwrap().into_file())
        .status()
        .unwrap();
    assert!(status.success());
    let sum = Command::new("sha256sum").arg(&archive).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let (family, key) = match std::env::consts::ARCH {
        "aarch64" => ("aarch64", "cpython-3.13.5-linux-aarch64-gnu"),
        _ => ("x86_64", "cpython-3.13.5-linux-x86_64-gnu"),
    };
    let known = serde_json::json!({ key: {
        "name": "cpython", "arch": {"family": family, "variant": null}, "os": "linux", "libc": "gnu",
        "major": 3, "minor": 13, "patch": 5, "prerelease": "", "variant": null, "build": null,
        "url": format!("{mirror}/python.tar.gz"), "sha256": sum.split(' ').next().unwrap(),
    }});
    fs_err::write(folder.join("known.json"), known.to_string()).unwrap();
}

#[test]
fn a_base_that_is_none_is_told_with_its_file() {
    let checkout = Checkout::with_image(
        "elsewhere",
        r#"{"title": "x", "base": "alpine", "app": {"port": 18000}, "database": {"name": "a", "role": "a"}}"#,
    );
    checkout.xtask(&["plan"]).expect(2).says(&[
        "images/elsewhere/image.json: `base` is \"alpine\", which is no base set: there are debian, forky, ubuntu",
    ]);
}

/// A dump of the older base becomes the data of an image of the newer one, and not the other way
/// round.
fn is_loaded_by_a_newer_postgresql(bench: &Bench, newer: &str) {
    let (name, container) = (bench.name.as_str(), format!("{newer}-dumped"));
    let image = format!("hive-{name}:latest");
    docker(&["run", "--detach", "--name", &container, &image]);
    let wait = "for n in $(seq 300); do /usr/local/lib/hive/healthcheck && exit; sleep 0.2; done; exit 1";
    docker(&["exec", &container, "sh", "-c", wait]);
    let make = "CREATE TABLE mark AS SELECT n, md5(n::text) AS t FROM generate_series(1, 3000) n";
    docker(&["exec", &container, "psql", "-XAtqc", make]);
    let taken = bench.xtask(&["backup", name, "--container", &container, "--logical"]);
    let file = taken.expect(0).stdout.trim().to_owned();
    docker(&["rm", "--force", "--volumes", &container]);
    let restored = bench.xtask(&["restore", name, &file, "--as", newer]).expect(0);
    restored.says(&[&format!("restored {newer}")]);
    let volume = format!("{newer}-data:/var/lib/postgresql/data");
    let newest = format!("hive-{newer}:latest");
    docker(&[
        "run", "--detach", "--name", &container, "--volume", &volume, &newest,
    ]);
    docker(&["exec", &container, "sh", "-c", wait]);
    let ask = "SELECT count(*), min(current_setting('server_version_num')) FROM mark WHERE t = md5(n::text)";
    let said = docker(&["exec", &container, "psql", "-XAtqc", ask]);
    assert!(said.starts_with("3000|17"), "{said}");
    docker(&["rm", "--force", &container]);
    docker(&["volume", "rm", &format!("{newer}-data")]);
}

#[test]
#[ignore = "needs an engine"]
fn each_image_has_its_own_base_in_one_run() {
    let bench = Bench::new("on-ubuntu", "", r#", "base": "ubuntu""#);
    let other = format!("{}-not", bench.name);
    // A second Python takes its room.
    let python = r#", "python": "3.13", "budgets": {"size_mb": 400}"#;
    let text = spec("", python).replace("20000", "20001");
    bench.checkout.write(&format!("images/{other}/image.json"), &text);
    // As if the base had another one: uv has to fetch what it has.
    let sets = fs_err::read_to_string(bench.checkout.path("images/base-sets.json")).unwrap();
    bench
        .checkout
        .write("images/base-sets.json", &sets.replace("3.13.5", "3.12.9"));
    let mirror = tempfile::tempdir().unwrap();
    let served = Mirror::of(mirror.path());
    python_for_uv(mirror.path(), &served.address);
    let known = format!("{}/known.json", served.address);
    let plan = bench.xtask(&["plan"]).expect(0);
    for (told, times) in [
        ("is built on base set ubuntu", 1),
        ("is built on base set debian with Python 3.13 from uv", 1),
    ] {
        assert_eq!(plan.stdout.matches(told).count(), times, "{}", plan.stdout);
    }
    let mut build = bench.checkout.command(&["build-images"]);
    let run = sandbox::finish(build.env("UV_PYTHON_DOWNLOADS_JSON_URL", &known)).expect(0);
    run.says(&["proved and tagged on base debian, ubuntu"]);
    let prefix = "import sys, ssl, sqlite3; print(sys.base_prefix, sys.version_info[:2])";
    let image = format!("hive-{other}:latest");
    let options = ["run", "--rm", "--entrypoint", "python", &image, "-c", prefix];
    let printed = docker(&options);
    assert!(
        printed.starts_with("/opt/python/cpython-3.13") && printed.trim().ends_with("(3, 13)"),
        "{printed}"
    );
    // What nobody can fetch is one sentence, with who does not have it.
    let mut build = bench.checkout.command(&["build-images", &other]);
    build.env("UV_PYTHON_DOWNLOADS_JSON_URL", known.replace("known", "none"));
    let host = served.address.strip_prefix("http://").unwrap();
    sandbox::finish(&mut build).expect(1).says(&[
        &format!("uv cannot have Python 3.13 from {host}"),
        "UV_PYTHON_INSTALL_MIRROR names a place",
    ]);
    is_loaded_by_a_newer_postgresql(&bench, &other);
    remove_images(&other);
    assert!(bench.python("import sys; print(sys.version)").starts_with("3.12"));
    let image = format!("hive-{}:latest", bench.name);
    let version = docker(&["run", "--rm", "--entrypoint", "postgres", &image, "--version"]);
    assert!(version.contains(" 16."), "{version}");
    // A flag wins over the spec.
    let plan = bench.xtask(&["plan", &bench.name, "--base", "debian", "--json"]);
    assert_eq!(plan.expect(0).json()["images"][0]["base_set"], "debian");
}
