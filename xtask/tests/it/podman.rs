//! What `render --for` prints, run by Podman itself, in a container of the
//! distribution that the images stand on.

use std::process::{Command, Stdio};

use crate::build_images::docker;
use crate::sandbox::{self, Checkout, Run, skipped};
use xtask::scratch::TEST_IMAGES;

/// The base that a machine without a registry makes from packages.
const BASE: &str = "hive-base:debian";

/// Knows the API's schemas, pinned.
const VALIDATOR: &str = "kubernetes-validate==1.37.0";

/// Podman, and what it runs containers with where there is no systemd.
const INSTALL: &str = "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
     --no-install-recommends podman runc netavark aardvark-dns catatonit iptables nftables";

/// In a container there is no more to be had than the container has.
const SETTINGS: &str = r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"#;

/// A privileged container with Podman and images of ours; gone in the end.
struct Podman {
    container: String,
}

impl Podman {
    /// `None` where it cannot be had here, which is said.
    fn with(images: &[String]) -> Option<Self> {
        let mut look = sandbox::docker();
        if !look
            .args(["image", "inspect", BASE])
            .output()
            .unwrap()
            .status
            .success()
        {
            skipped(&format!("there is no {BASE} to install Podman in"));
            return None;
        }
        let container = format!("{TEST_IMAGES}-podman-{}", std::process::id());
        docker(&[
            "run",
            "--detach",
            // In a network of its own: what the engine forwards by its rules in the other one, it
            // would not for the bridges of Podman.
            "--privileged",
            "--name",
            &container,
            "--volume",
            "/var/lib/containers",
            BASE,
            "sleep",
            "900",
        ]);
        let podman = Self { container };
        if podman.sh(INSTALL).code != 0 {
            skipped("Podman cannot be installed");
            return None;
        }
        podman.write("/etc/containers/containers.conf", SETTINGS);
        let load = format!(
            "'{docker}' save {} | '{docker}' exec --interactive {} podman load",
            images.join(" "),
            podman.container,
            docker = sandbox::docker().get_program().display()
        );
        let mut bash = Command::new("bash");
        bash.args(["-o", "pipefail", "-c", &load]).stdin(Stdio::null());
        sandbox::finish(&mut bash).expect(0);
        for image in images {
            podman
                .sh(&format!("podman tag {image} localhost/{image}"))
                .expect(0);
        }
        Some(podman)
    }

    /// The objects of services, with a secret of theirs; and the units.
    fn write_files(&self, checkout: &Checkout, file: &str, services: &[&str]) {
        let render = |target: &str, name: &str| {
            let rendered = checkout.xtask(&["render", "--for", target, name]);
            rendered.expect(0).stdout
        };
        let mut objects = String::new();
        for name in services {
            // Podman plays no stateful sets; what one has beside its pod is this line.
            let set = format!("  serviceName: {name}\n");
            objects += &render("kubernetes", name).replace(&set, "");
            self.write(
                &format!("/etc/containers/systemd/{name}.container"),
                &render("quadlet", name),
            );
        }
        if let [_, database] = services {
            objects += &format!(
                "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: {database}-password\n\
                 stringData:\n  hive_database_password: of-the-objects\n"
            );
        }
        self.write(file, &objects.replace("kind: StatefulSet", "kind: Deployment"));
    }

    /// A script in the container.
    fn sh(&self, script: &str) -> Run {
        let mut exec = sandbox::docker();
        exec.args(["exec", &self.container, "timeout", "120", "bash", "-euc", script]);
        sandbox::finish(&mut exec)
    }

    fn write(&self, path: &str, text: &str) {
        let folder = path.rsplit_once('/').unwrap().0;
        let script = format!("mkdir -p {folder} && printf %s \"$TEXT\" > {path}");
        let text = format!("TEXT={text}");
        docker(&["exec", "--env", &text, &self.container, "bash", "-euc", &script]);
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let mut remove = sandbox::docker();
        remove.args(["rm", "--force", "--volumes", &self.container]);
        remove.output().unwrap();
    }
}

#[test]
fn a_unit_is_one_service_and_objects_may_be_many() {
    let checkout = Checkout::new();
    let unit = checkout.xtask(&["render", "--for", "quadlet", "genie"]).expect(0);
    assert!(unit.stdout.contains("\nNotify=healthy\n"), "{}", unit.stdout);
    checkout
        .xtask(&["render", "--for", "quadlet"])
        .expect(2)
        .says(&["agent, genie", "cargo xtask render --for quadlet agent"]);
    let all = checkout
        .xtask(&["render", "--for", "kubernetes"])
        .expect(0)
        .stdout;
    assert_eq!(all.matches("\nkind: StatefulSet\n").count(), 2, "{all}");
    checkout
        .xtask(&["render", "--for", "kubernetes", "nobody"])
        .expect(2);
    checkout.xtask(&["render", "genie"]).expect(2);
    checkout
        .xtask(&["render", "--check", "--for", "kubernetes"])
        .expect(2);
}

#[test]
#[ignore = "needs an engine"]
fn kubernetes_knows_every_word_of_its_objects() {
    let folder = tempfile::tempdir().unwrap();
    let python = |args: &[&str]| {
        let mut python = Command::new("python3");
        python
            .args(args)
            .env("PYTHONPATH", folder.path())
            .stdin(Stdio::null());
        sandbox::finish(&mut python)
    };
    let target = folder.path().to_str().unwrap();
    let install = ["-m", "pip", "install", "--quiet", "--target", target, VALIDATOR];
    if python(&install).code != 0 {
        skipped(&format!("pip gets no {VALIDATOR}"));
        return;
    }
    let objects = sandbox::xtask(["render", "--for", "kubernetes"]).expect(0).stdout;
    let file = folder.path().join("objects.yaml");
    let validate = |text: &str, version: &str| {
        fs_err::write(&file, text).unwrap();
        let program = folder.path().join("bin/kubernetes-validate");
        let (program, file) = (program.to_str().unwrap(), file.to_str().unwrap());
        python(&[program, "--strict", "-k", version, file])
    };
    for version in ["1.27", "1.37"] {
        validate(&objects, version).expect(0);
    }
    let wrong = objects.replace("readOnlyRootFilesystem", "readOnlyRoot");
    assert_ne!(validate(&wrong, "1.37").code, 0);
}

#[test]
#[ignore = "needs an engine"]
fn podman_runs_the_objects_and_the_unit_on_the_same_rows() {
    let checkout = Checkout::whole_renamed();
    let name = format!("{TEST_IMAGES}-genie");
    let (app, database) = (
        format!("{TEST_IMAGES}-workspace"),
        format!("{TEST_IMAGES}-postgres"),
    );
    let images = [&name, &app, &database].map(|name| format!("hive-{name}:latest"));
    let Some(podman) = Podman::with(&images) else {
        return;
    };
    podman.write_files(&checkout, "/root/objects.yaml", &[&name]);
    // There is no systemd that would ask for health: the script does.
    let script = r#"
pod=NAME-pod-NAME
healthy() { until podman healthcheck run "$1" > /dev/null 2>&1; do sleep 0.2; done; }
sql() { podman exec "$1" psql -XAtqc "$2"; }
podman kube play --quiet /root/objects.yaml > /dev/null
healthy $pod
sql $pod 'CREATE TABLE kept AS SELECT 42 AS n'
podman inspect $pod --format '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Memory}} {{.EffectiveCaps}} {{.Config.User}}'
podman kube down /root/objects.yaml > /dev/null
podman kube play --quiet /root/objects.yaml > /dev/null
healthy $pod
sql $pod 'SELECT n FROM kept'
podman kube down /root/objects.yaml > /dev/null

unit=$(/usr/libexec/podman/quadlet -dryrun 2> /dev/null)
line() { sed -n "s/^$1=//p" <<< "$unit"; }
line Type
line TimeoutStopSec
# `--cgroups=split` is between podman and systemd.
run=$(line ExecStart | sed 's#%t#/tmp#g; s#%N#NAME#g; s/--cgroups=split//')
eval "$(line ExecStartPre)" > /dev/null
$run > /dev/null &
until podman container exists NAME; do sleep 0.1; done
# It ends when the container is healthy, which nobody has asked yet.
sleep 2
kill -0 $! && echo waits
healthy NAME
wait $! && echo ready
sql NAME 'SELECT n FROM kept'
podman inspect NAME --format '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Memory}} {{.EffectiveCaps}} {{.Config.StopTimeout}}'
podman rm -v -f -i --cidfile=/tmp/NAME.cid > /dev/null
podman volume exists NAME-data && echo kept
"#;
    let run = podman.sh(&script.replace("NAME", &name)).expect(0);
    let printed: Vec<&str> = run.stdout.lines().collect();
    let expected = [
        "true 2147483648 [] 1000:1000",
        "42",
        "notify",
        "150",
        "waits",
        "ready",
        "42",
        "true 2147483648 [] 135",
        "kept",
    ];
    assert_eq!(printed, expected, "{}", run.stderr);
    an_app_alone_finds_its_database(&podman, &checkout, &app, &database);
}

/// Of the two services each has objects and a unit; one of the two ways begins with
/// another password than the other one ended with.
fn an_app_alone_finds_its_database(podman: &Podman, checkout: &Checkout, app: &str, database: &str) {
    podman.write_files(checkout, "/root/both.yaml", &[app, database]);
    let script = r#"
healthy() { until podman healthcheck run "$1" > /dev/null 2>&1; do sleep 0.2; done; }
podman kube play --quiet /root/both.yaml > /dev/null
healthy APP-pod-APP
podman exec APP-pod-APP psql -XAtqc 'CREATE TABLE kept AS SELECT 42 AS n'
podman kube down /root/both.yaml > /dev/null

head -c 24 /dev/urandom | base64 | podman secret create DATABASE-password - > /dev/null
for name in DATABASE APP; do
    unit=$(/usr/libexec/podman/quadlet -dryrun 2> /dev/null | sed -n "/^---$name.service---/,/^---/p")
    line() { sed -n "s/^$1=//p" <<< "$unit"; }
    line After
    eval "$(line ExecStartPre)" > /dev/null
    $(line ExecStart | sed "s#%t#/tmp#g; s#%N#$name#g; s/--cgroups=split//") > /dev/null &
    until podman container exists $name; do sleep 0.1; done
    healthy $name
done
podman exec APP psql -XAtqc 'SELECT n FROM kept'
podman exec APP stat --format '%a %u' /run/secrets/hive_database_password
podman inspect APP DATABASE | grep -c "$(podman exec APP cat /run/secrets/hive_database_password)" || true
"#;
    let script = script.replace("APP", app).replace("DATABASE", database);
    let run = podman.sh(&script).expect(0);
    let after = format!("{database}.service");
    let printed: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| !line.contains("network"))
        .collect();
    assert_eq!(printed, [&after, "42", "400 1000", "0"], "{}", run.stderr);
}
