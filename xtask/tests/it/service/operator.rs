//! A service of an image of a test's own, and what a test asks of it.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use crate::build_images::{Bench, docker};
use crate::sandbox::{self, Run};

/// A service of an image that no other test has; all of it goes in the end.
pub(crate) struct Operator {
    pub(crate) bench: Bench,
    pub(crate) port: String,
}

impl Operator {
    /// The image is built and proved.
    pub(crate) fn new(name: &str) -> Self {
        let bench = Bench::new(name, "", "");
        bench.build().expect(0);
        Self::of(bench)
    }

    /// The image is the caller's to build.
    pub(crate) fn of(bench: Bench) -> Self {
        Self {
            bench,
            port: free_port(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.bench.name
    }

    pub(crate) fn xtask(&self, args: &[&str]) -> Run {
        // Two tests have two services, and one cache folder.
        self.bench.xtask(args)
    }

    /// `up` of its port, with more.
    pub(crate) fn up(&self, more: &[&str]) -> Run {
        let args = ["up", self.name(), "--port", &self.port];
        self.xtask(&[&args, more].concat())
    }

    pub(crate) fn start_up(&self, port: &str) -> Child {
        let mut command = self.bench.checkout.command(&["up", self.name(), "--port", port]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    pub(crate) fn container(&self) -> String {
        inspect(self.name(), "{{.Id}}")
    }

    pub(crate) fn sql(&self, statement: &str) -> String {
        docker(&["exec", self.name(), "psql", "-XAtqc", statement])
            .trim()
            .to_owned()
    }

    /// Another image of the same name, on which the app does not work.
    pub(crate) fn broken(&self) -> String {
        let line = "RUN echo 'raise RuntimeError(\"broken on purpose\")' > /app/api/serve.py";
        self.made("broken", line)
    }

    /// Another image of the same name and content.
    pub(crate) fn other(&self) -> String {
        self.made("other", "LABEL dev.hive.test=other")
    }

    /// The released image with one more line, by its name.
    pub(crate) fn made(&self, kind: &str, line: &str) -> String {
        let tag = format!("hive-{}-{kind}:latest", self.name());
        let folder = tempfile::tempdir().unwrap();
        let text = format!("FROM hive-{}:latest\n{line}\n", self.name());
        fs_err::write(folder.path().join("Dockerfile"), text).unwrap();
        docker(&["build", "--quiet", "--tag", &tag, folder.path().to_str().unwrap()]);
        tag
    }

    /// All containers whose names begin like the service's: name and state.
    pub(crate) fn containers(&self) -> Vec<String> {
        let filter = format!("name={}", self.name());
        let format = "{{.Names}} {{.State}}";
        let listed = docker(&["ps", "--all", "--filter", &filter, "--format", format]);
        let mut all: Vec<String> = listed.lines().map(str::to_owned).collect();
        all.sort();
        all
    }

    pub(crate) fn answers(&self, port: &str) -> bool {
        let url = format!("http://127.0.0.1:{port}/api/v1/health");
        Command::new("curl")
            .args(["-sf", "-o", "/dev/null", &url])
            .status()
            .unwrap()
            .success()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        for container in self.containers() {
            let name = container.split(' ').next().unwrap();
            sandbox::docker()
                .args(["rm", "--force", "--volumes", name])
                .output()
                .unwrap();
        }
        let network = format!("hive_{}_network", self.name());
        sandbox::docker()
            .args(["network", "rm", &network])
            .output()
            .unwrap();
        let volume = format!("{}-data", self.name());
        sandbox::docker()
            .args(["volume", "rm", &volume])
            .output()
            .unwrap();
    }
}

pub(crate) fn free_port() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port().to_string()
}

pub(crate) fn inspect(container: &str, format: &str) -> String {
    docker(&["inspect", "--format", format, container])
        .trim()
        .to_owned()
}
