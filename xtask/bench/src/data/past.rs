//! A cluster to migrate from, and the same by hand.

use anyhow::{Context as _, Result};

use super::super::Bench;
use super::super::clock::Timed;
use super::fixture::DataFixture;
use host::process::quote;

/// What the peer does, in a container of our image.
const SCRIPT: &str = include_str!("by_hand.sh");

/// The volume with the cluster.
const NAME: &str = "hive-bench-past";

/// The peer's container: not the volume's name, by which the cluster is meant.
const PEER: &str = "hive-bench-by-hand";

/// A cluster of the same version in a volume of its own.
pub(super) struct PastCluster<'a> {
    fixture: &'a DataFixture,
    database: String,
}

impl<'a> PastCluster<'a> {
    /// Makes it of the backup that all rows read.
    pub(super) fn make(bench: &Bench<'_>, fixture: &'a DataFixture) -> Result<Self> {
        let database = fixture.services.ours.spec.database.name.clone();
        let past = Self { fixture, database };
        bench.host.report.detail("makes a cluster to migrate from first");
        past.remove(bench)?;
        let proved = quote(&fixture.proved()?);
        let run = past.run("--rm --interactive", "make")?;
        let script = format!("docker volume create {NAME}; zstd -dcq {proved} | {run}");
        fixture.docker("make", &script)?.run(&bench.host.runner)?;
        Ok(past)
    }

    /// Nothing is left of it.
    pub(super) fn remove(&self, bench: &Bench<'_>) -> Result<()> {
        let script = format!("docker rm --force {PEER}; docker volume rm --force {NAME}");
        self.fixture.docker("remove", &script)?.run(&bench.host.runner)
    }

    /// The tool's own way, once nobody else uses the cluster.
    pub(super) fn migrate(&self, label: &str) -> Result<Timed> {
        let name = self.fixture.services.ours.spec.name.as_str();
        let args = ["migrate", name, "--from", NAME, "--database", &self.database];
        let docker = self.fixture.docker_function()?;
        let ours = self.fixture.ours(label, &args).on(&self.fixture.services.engine);
        Ok(ours.prepare(format!("{docker}; docker rm --force {PEER}")))
    }

    /// The peer, whose servers run when its time begins.
    pub(super) fn by_hand(&self, label: &str) -> Result<Timed> {
        let serve = self.run(&format!("--detach --name {PEER}"), "serve")?;
        let prepare = format!(
            "docker rm --force {PEER}; {serve}; until docker exec {PEER} test -e /tmp/ready; do sleep 0.1; done"
        );
        let timed = self.script("move").map(|script| {
            let script = format!("docker exec --user 0:0 {PEER} {script}");
            self.fixture.docker(label, &script)
        })??;
        let docker = self.fixture.docker_function()?;
        Ok(timed.prepare(format!("{docker}; {prepare}")))
    }

    fn run(&self, options: &str, verb: &str) -> Result<String> {
        let image = format!("{}:latest", self.fixture.services.ours.spec.name.repository());
        let script = self.script(verb)?;
        let (program, args) = script.split_once(' ').context("a script has no arguments")?;
        Ok(format!(
            "docker run {options} --network none --user 0:0 --volume {NAME}:/past --entrypoint {program} {image} {args}"
        ))
    }

    /// The words that call the script, in any container of the image.
    fn script(&self, verb: &str) -> Result<String> {
        // It calls itself as another user: it has to be a file.
        let start =
            format!("cat > /tmp/by_hand.sh <<'END'\n{SCRIPT}END\nexec sh /tmp/by_hand.sh {verb} \"$1\"");
        Ok(format!("sh -ec {} sh {}", quote(&start), quote(&self.database)))
    }
}
