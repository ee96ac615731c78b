//! The machine's package indexes, proxies and logins reach the build, and no
//! login is anywhere afterwards.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::SystemTime;

use crate::build_images::{Bench, docker, fixture};
use crate::sandbox::{self, Checkout, Run, copy};

/// Nothing else on this machine has it.
const PASSWORD: &str = "pa55-that-nobody-sees";

/// As npm has it in its file, by Base64.
const PASSWORD_OF_NPM: &str = "cGE1NS10aGF0LW5vYm9keS1zZWVz";

/// As it goes over the line, with the name before it.
const LOGIN_OF_HTTP: &str = "c29tZW9uZTpwYTU1LXRoYXQtbm9ib2R5LXNlZXM";

/// A package of the private index, which somebody else has put into the public one, too.
const PACKAGE: &str = "hive-test-private-package";

/// An index and proxy on this machine, for as long as it is there.
struct Index {
    child: Child,
    output: BufReader<ChildStdout>,
    address: String,
}

impl Index {
    fn start() -> Self {
        let mut child = Command::new("python3")
            .args([&fixture("index.py"), PACKAGE, &format!("someone:{PASSWORD}")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        output.read_line(&mut port).unwrap();
        // The address that this machine has for others: containers reach it.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect("192.0.2.1:9").unwrap();
        let address = format!("{}:{}", socket.local_addr().unwrap().ip(), port.trim());
        Self {
            child,
            output,
            address,
        }
    }

    /// What it was asked for.
    fn asked(&mut self) -> String {
        self.child.kill().unwrap();
        let mut asked = String::new();
        self.output.read_to_string(&mut asked).unwrap();
        asked
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // It has ended already where its requests were looked at.
        drop(self.child.kill());
        self.child.wait().unwrap();
    }
}

/// What no build before had: one that BuildKit remembers asks no index.
fn unique() -> u128 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()
}

fn bench(name: &str) -> Bench {
    let app = r#", "import": "main:create", "factory": true, "health_path": "/health""#;
    // A step may write down all that it sees.
    let build = r#", "build": {"steps": [["sh", "-c", "env > /app/build-env.txt"]]}"#;
    let bench = Bench::new(name, app, build);
    copy(
        Path::new(&fixture("requirements-app")),
        &bench.checkout.path("app"),
    );
    // As PowerShell writes it.
    let list = format!(
        "\u{feff}fastapi\r\npsycopg[binary]\r\nuvicorn\r\n{PACKAGE}\r\n# {}\r\n",
        unique()
    );
    let list: Vec<u8> = list.encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs_err::write(bench.checkout.path("app/requirements.txt"), list).unwrap();
    bench
}

fn build(bench: &Bench, variables: &[(&str, &str)]) -> Run {
    let app = bench.checkout.path("app");
    let args = [
        "--verbose",
        "build-images",
        "--progress",
        "plain",
        "--app",
        app.to_str().unwrap(),
    ];
    let mut command = bench.checkout.command(&args);
    command.envs(variables.iter().copied());
    sandbox::finish(&mut command)
}

/// Looks for the password in all that a build leaves.
fn is_nowhere(bench: &Bench, run: &Run) {
    for text in [&run.stdout, &run.stderr] {
        assert!(!contains(text.as_bytes()), "{text}");
    }
    for entry in walkdir::WalkDir::new(bench.checkout.path("")) {
        let entry = entry.unwrap();
        let is_login = ["netrc", "npmrc"].iter().any(|name| entry.path().ends_with(name));
        if entry.file_type().is_file() && !is_login {
            let bytes = fs_err::read(entry.path()).unwrap();
            assert!(!contains(&bytes), "{}", entry.path().display());
        }
    }
    let image = format!("hive-{}:latest", bench.name);
    let history = docker(&["history", "--no-trunc", &image]);
    assert!(
        !contains(history.as_bytes()) && !history.contains("someone"),
        "{history}"
    );
    assert!(!contains(docker(&["inspect", &image]).as_bytes()));
    // Every file of the image; and the package's code was root in none of its steps.
    let everywhere = format!(
        "[ ! -e /usr/local/lib/hive/written ] && ! grep -rqs --exclude-dir=proc --exclude-dir=sys -e {} -e {} -e {} /",
        &PASSWORD[..8],
        &PASSWORD_OF_NPM[..12],
        &LOGIN_OF_HTTP[..16],
    );
    docker(&[
        "run",
        "--rm",
        "--user",
        "0",
        "--entrypoint",
        "sh",
        &image,
        "-c",
        &everywhere,
    ]);
    let saved = sandbox::docker().args(["save", &image]).output().unwrap();
    assert!(
        saved.status.success() && !contains(&saved.stdout),
        "in the layers"
    );
}

fn contains(bytes: &[u8]) -> bool {
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    has(PASSWORD) || has(PASSWORD_OF_NPM) || has(LOGIN_OF_HTTP)
}

/// The public index was asked, and not for the private package.
fn never_public(asked: &str) {
    assert!(asked.contains("public /public/simple/"), "{asked}");
    assert!(
        !asked.contains(&format!("public /public/simple/{PACKAGE}")),
        "{asked}"
    );
}

fn origin(bench: &Bench) -> String {
    let module = PACKAGE.replace('-', "_");
    bench.python(&format!("import {module} as it; print(it.ORIGIN)"))
}

/// A package in the app's folder whose build writes down what it sees.
fn tell_in_a_package(bench: &Bench) {
    let backend = r#"
import os, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "tell-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("told.py", f"ENVIRONMENT = {dict(os.environ)!r}")
        wheel.writestr("tell-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tell\nVersion: 1.0\n")
        wheel.writestr("tell-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tell-1.0.dist-info/RECORD", "")
    return name
"#;
    let project = "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\
         [project]\nname = \"tell\"\nversion = \"1.0\"\n";
    bench.checkout.write("app/tell/pyproject.toml", project);
    bench.checkout.write("app/tell/backend.py", backend);
    let list = bench.checkout.path("app/requirements.txt");
    let text: Vec<u8> = "./tell\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let more = [fs_err::read(&list).unwrap(), text].concat();
    fs_err::write(&list, more).unwrap();
}

/// The user's settings of docker, with a proxy in them; what they have otherwise is how the engine is
/// reached.
fn with_proxy_of_docker(proxy: &str) -> tempfile::TempDir {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    let folder = std::env::var_os("DOCKER_CONFIG").map(Into::into).or(home);
    let ours = tempfile::tempdir().unwrap();
    if let Some(folder) = folder.filter(|folder| folder.is_dir()) {
        copy(&folder, ours.path());
    }
    let file = ours.path().join("config.json");
    let text = fs_err::read_to_string(&file).unwrap_or_else(|_| "{}".to_owned());
    let mut settings: serde_json::Value = serde_json::from_str(&text).unwrap();
    settings["proxies"] = serde_json::json!({ "default": { "httpProxy": proxy } });
    fs_err::write(&file, settings.to_string()).unwrap();
    ours
}

#[test]
#[ignore = "needs an engine"]
fn a_private_index_with_a_login_is_used_and_the_login_is_nowhere() {
    let (bench, mut index) = (bench("private-index"), Index::start());
    let at = &index.address;
    let url = format!("corp=http://{at}/simple http://{at}/public/simple");
    let variables = [
        ("UV_INDEX", url.as_str()),
        ("UV_INDEX_CORP_USERNAME", "someone"),
        ("UV_INDEX_CORP_PASSWORD", PASSWORD),
    ];
    // Without the login it is asked all the same, and nobody else in its place.
    let refused = build(&bench, &variables[..1]).expect(1);
    refused.says(&["hint: the package index wants a login: "]);
    let run = build(&bench, &variables).expect(0);
    assert_eq!(origin(&bench), "the private index");
    is_nowhere(&bench, &run);
    // Nor does a file of the app have it.
    let by_hand = format!("[global]\nindex-url = http://someone:{PASSWORD}@packages.invalid/simple\n");
    bench.checkout.write("app/settings/index.ini", &by_hand);
    build(&bench, &variables)
        .expect(1)
        .says(&["lies in a file of the image: /app/settings/index.ini"]);
    fs_err::remove_dir_all(bench.checkout.path("app/settings")).unwrap();
    // Nor what a package writes down that is built there; nothing of it is kept for a build that
    // would not know what to look for.
    tell_in_a_package(&bench);
    build(&bench, &variables)
        .expect(1)
        .says(&["lies in a file of the image: /opt/venv/lib/python3."]);
    let run = build(&bench, &variables[..2]).expect(0);
    assert!(
        bench
            .python("import told; print(told.ENVIRONMENT)")
            .contains("UV_INDEX_CORP_USERNAME")
    );
    is_nowhere(&bench, &run);
    let asked = index.asked();
    assert!(asked.contains("direct /simple/"), "{asked}");
    never_public(&asked);
    // Another index is another image; the same one with another login is not.
    let reason = |variables: &[(&str, &str)]| {
        let app = bench.checkout.path("app");
        let mut command = bench.checkout.command(&["plan", "--app", app.to_str().unwrap()]);
        let run = sandbox::finish(command.envs(variables.iter().copied())).expect(0);
        run.stdout + &run.stderr
    };
    assert!(reason(&variables[..1]).contains("up to date"));
    let other = reason(&[("UV_INDEX", "https://packages.invalid/simple")]);
    assert!(other.contains("argument INDEX_SETTINGS changed"), "{other}");
}

#[test]
#[ignore = "needs an engine"]
fn a_proxy_and_an_index_of_pip_are_used_with_the_logins_of_netrc() {
    let (bench, mut index) = (bench("proxy"), Index::start());
    bench.checkout.write(
        "netrc",
        &format!("machine elsewhere.invalid login a password b\nmachine packages.invalid login someone password {PASSWORD}\n"),
    );
    bench.checkout.write(
        "pip.conf",
        "[global]\n  index-url = https://pypi.org/simple\n  extra-index-url =\n    http://packages.invalid/simple\n    \
         http://packages.invalid/public/simple\n",
    );
    let netrc = bench.checkout.path("netrc");
    let pip = bench.checkout.path("pip.conf");
    // Steps of the app's get none that wants a login, whoever names it.
    let settings = with_proxy_of_docker(&format!("http://someone:{PASSWORD}@{}", index.address));
    let run = build(
        &bench,
        &[
            ("DOCKER_CONFIG", settings.path().to_str().unwrap()),
            ("NETRC", netrc.to_str().unwrap()),
            ("PIP_CONFIG_FILE", pip.to_str().unwrap()),
        ],
    )
    .expect(0);
    assert_eq!(origin(&bench), "the private index");
    is_nowhere(&bench, &run);
    let asked = index.asked();
    assert!(asked.contains("proxied /simple/"), "{asked}");
    never_public(&asked);
}

#[test]
#[ignore = "needs an engine"]
fn a_registry_of_npm_is_used_with_its_login_and_the_login_is_nowhere() {
    let app = r#", "import": "main:create", "factory": true, "health_path": "/health""#;
    let front_end = r#", "build": {"node": {"folder": "web", "output": "web/dist"}}"#;
    let (bench, mut index) = (Bench::new("npm-registry", app, front_end), Index::start());
    copy(
        Path::new(&fixture("requirements-app")),
        &bench.checkout.path("app"),
    );
    // A name that the proxy alone knows, which wants a login itself.
    let at = "packages.invalid/npm";
    let proxy = format!("http://someone:{PASSWORD}@{}", index.address);
    for (path, text) in [
        (
            "web/package.json",
            format!(
                r#"{{"name": "web", "description": "{}", "scripts": {{"build": "node build.js"}},
                    "dependencies": {{"{PACKAGE}": "1.0.0"}}}}"#,
                unique()
            ),
        ),
        (
            "web/package-lock.json",
            format!(
                r#"{{"name": "web", "lockfileVersion": 3, "requires": true, "packages": {{
                    "": {{"name": "web", "dependencies": {{"{PACKAGE}": "1.0.0"}}}},
                    "node_modules/{PACKAGE}": {{"version": "1.0.0",
                        "resolved": "http://{at}/{PACKAGE}/-/{PACKAGE}-1.0.0.tgz"}}}}}}"#
            ),
        ),
        (
            "web/build.js",
            format!(
                "const fs = require('fs'); fs.mkdirSync('dist');\n\
                 fs.writeFileSync('dist/origin.txt', require('{PACKAGE}')); // {}\n\
                 // What the manager has left in its home folder is for the app's own code to see.\n\
                 const {{execSync}} = require('child_process');\n\
                 execSync('tar -c --ignore-failed-read -f dist/home.tar \"$HOME\"');\n",
                unique()
            ),
        ),
    ] {
        bench.checkout.write(&format!("app/{path}"), &text);
    }
    bench.checkout.write(
        "npmrc",
        &format!("registry=http://{at}/\n//{at}/:username=someone\n//{at}/:_password=${{NPM_PASSWORD}}\n"),
    );
    let npmrc = bench.checkout.path("npmrc");
    let settings = [
        ("http_proxy", proxy.as_str()),
        // Debian's packages are many, and no part of this.
        ("no_proxy", ".org,.com,.net"),
        ("NPM_CONFIG_USERCONFIG", npmrc.to_str().unwrap()),
        ("NPM_PASSWORD", PASSWORD_OF_NPM),
    ];
    build(&bench, &settings[..3])
        .expect(2)
        .says(&["has ${NPM_PASSWORD}, which is not set for npm here"]);
    let run = build(&bench, &settings).expect(0);
    let origin = bench.python("print(open('/app/web/dist/origin.txt').read())");
    assert_eq!(origin, "the private registry");
    is_nowhere(&bench, &run);
    let asked = index.asked();
    assert!(asked.contains("proxied /npm/"), "{asked}");
}

#[test]
fn what_no_build_reaches_is_told_before_work() {
    let checkout = Checkout::new();
    let asked = |variables: &[(&str, &str)], code: i32| {
        let mut command = checkout.command(&["plan"]);
        sandbox::finish(command.envs(variables.iter().copied())).expect(code)
    };
    asked(&[("UV_INDEX", "http://me:s3cret@localhost:3141/simple")], 3).says(&[
        "UV_INDEX names the package index http://localhost:3141/simple, and no build step reaches this machine's loopback",
    ]);
    asked(&[("UV_NO_INDEX", "true")], 2).says(&["UV_NO_INDEX forbids every package index"]);
}

#[test]
#[ignore = "needs an engine"]
fn a_proxy_that_no_build_step_reaches_is_refused_once_there_is_something_to_build() {
    let bench = bench("loopback-proxy");
    let proxy = format!("http://me:{PASSWORD}@127.0.0.1:9");
    let run = build(&bench, &[("HTTPS_PROXY", &proxy)]).expect(3);
    run.says(&[
        "error: HTTPS_PROXY is http://127.0.0.1:9, and no build step reaches a proxy on this machine's loopback",
        "hint: let the proxy listen on an address of this machine too",
    ]);
    assert!(!run.stderr.contains(PASSWORD), "{}", run.stderr);
}
