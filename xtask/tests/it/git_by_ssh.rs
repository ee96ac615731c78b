//! A package that comes from git by SSH, with a key that only the machine's agent has.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::build_images::{Bench, docker, fixture};
use crate::sandbox::{self, Run, copy, skipped};

/// Makes a repository with a package, and is its server. The first argument may log in.
const SERVER: &str = r#"
set -eu
mkdir -p /run/sshd /root/.ssh /srv/hello
printf '%s\n' "$1" > /root/.ssh/authorized_keys
ssh-keygen -q -t ed25519 -N "" -f /run/host-key
cd /srv/hello
cat > setup.py <<'PY'
from setuptools import setup
setup(name="hello-by-ssh", version="1", py_modules=["hello_by_ssh"])
PY
echo 'WORD = "from git"' > hello_by_ssh.py
git init --quiet .
git add .
git -c user.name=test -c user.email=test@localhost commit --quiet --message 'Say hello'
exec /usr/sbin/sshd -D -e -h /run/host-key -o UsePAM=no -o StrictModes=no
"#;

/// The server, gone with the test.
struct GitServer {
    name: String,
}

impl GitServer {
    fn start(bench: &Bench, key: &str) -> Self {
        let name = format!("git-by-ssh-{}", std::process::id());
        let image = format!("hive-{}:latest", bench.name);
        let server = Self { name: name.clone() };
        let run = [
            "run",
            "--detach",
            "--name",
            &name,
            "--user",
            "0",
            "--entrypoint",
            "sh",
        ];
        docker(&[&run[..], &[&image, "-c", SERVER, "sh", key]].concat());
        server
    }

    /// Build steps reach it there, too.
    fn address(&self) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        docker(&["inspect", "--format", format, &self.name])
            .trim()
            .to_owned()
    }

    /// What `known_hosts` has of it.
    fn known_as(&self, address: &str) -> String {
        let key = wait_for(|| {
            let read = ["exec", &self.name, "cat", "/run/host-key.pub"];
            let output = sandbox::docker().args(read).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            (output.status.success() && text.ends_with('\n')).then_some(text)
        });
        format!("{address} {key}")
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        docker(&["rm", "--force", "--volumes", &self.name]);
    }
}

/// An agent with a key of its own, gone with the test.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    /// `None` where this machine has no programs of OpenSSH.
    fn start(folder: &Path) -> Option<Self> {
        let socket = folder.join("agent");
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null());
        let child = command.spawn().ok()?;
        wait_for(|| UnixStream::connect(&socket).ok());
        Some(Self { child, socket })
    }

    /// The public half of a key that no file has once this returns.
    fn add_key(&self, folder: &Path) -> String {
        let file = folder.join("key");
        let run = |command: &mut Command| assert!(command.output().unwrap().status.success());
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&file));
        run(Command::new("ssh-add")
            .arg(&file)
            .env("SSH_AUTH_SOCK", &self.socket));
        fs_err::remove_file(&file).unwrap();
        fs_err::read_to_string(file.with_extension("pub")).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Looks until there is something, for a minute.
fn wait_for<T>(look: impl Fn() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("nothing came within a minute");
}

fn build(bench: &Bench, home: &Path, agent: Option<&Agent>) -> Run {
    let app = bench.checkout.path("app");
    let mut command = bench
        .checkout
        .command(&["build-images", "--app", app.to_str().unwrap()]);
    // The home folder has `known_hosts` and nothing else that counts.
    let old = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    if let Some(cache) = std::env::var_os("XDG_CACHE_HOME").or(old.map(Into::into)) {
        command.env("XDG_CACHE_HOME", cache);
    }
    command.env("HOME", home).env_remove("SSH_AUTH_SOCK");
    command.envs(agent.map(|agent| ("SSH_AUTH_SOCK", &agent.socket)));
    sandbox::finish(&mut command)
}

#[test]
#[ignore = "needs an engine"]
fn a_package_from_git_comes_with_the_agents_key_from_a_known_host() {
    let folder = tempfile::tempdir().unwrap();
    let Some(agent) = Agent::start(folder.path()) else {
        return skipped("no ssh-agent");
    };
    let key = agent.add_key(folder.path());
    let app = r#", "import": "main:create", "factory": true, "health_path": "/health""#;
    // The server is the same image with another program.
    let packages = r#", "packages": ["git", "openssh-server"], "build_packages": ["git", "openssh-client"]"#;
    let bench = Bench::new("by-ssh", app, packages);
    copy(
        Path::new(&fixture("requirements-app")),
        &bench.checkout.path("app"),
    );
    let home = folder.path();
    build(&bench, home, None).expect(0);
    let server = GitServer::start(&bench, &key);
    let address = server.address();
    let known = server.known_as(&address);
    // What BuildKit remembers of a server with this address asks none.
    let list = format!(
        "fastapi\npsycopg[binary]\nuvicorn\nhello-by-ssh @ git+ssh://root@{address}/srv/hello\n# {key}"
    );
    bench.checkout.write("app/requirements.txt", &list);
    let told = format!("takes a package from {address} by SSH, and no agent answers at SSH_AUTH_SOCK");
    build(&bench, home, None).expect(3).says(&[
        &told,
        "hint: start one and give it the key: eval \"$(ssh-agent)\" && ssh-add",
    ]);
    build(&bench, home, Some(&agent))
        .expect(1)
        .says(&["hint: ~/.ssh/known_hosts of this machine does not have that host"]);
    fs_err::create_dir(home.join(".ssh")).unwrap();
    fs_err::write(home.join(".ssh/known_hosts"), known).unwrap();
    build(&bench, home, Some(&agent)).expect(0);
    assert_eq!(
        bench.python("import hello_by_ssh; print(hello_by_ssh.WORD)"),
        "from git"
    );
    let left = bench.python("import glob; print(glob.glob('/run/secrets/*') + glob.glob('/tmp/ssh*'))");
    assert_eq!(left, "[]", "of the agent and the known hosts");
}
