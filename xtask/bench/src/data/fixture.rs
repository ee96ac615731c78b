//! A service with rows, and a backup of it.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::super::Bench;
use super::super::clock::Timed;
use super::super::service::fixture::ServicesFixture;
use definition::spec::patience;
use host::process::quote;
use xtask::scratch;

/// 1,000 bytes a row, of which half are letters by chance.
fn rows(number: u32) -> String {
    format!(
        "CREATE TABLE bench AS SELECT n AS id, \
        (SELECT string_agg(md5(random()::text || n || m), '') FROM generate_series(1, 15) m) || repeat('x', 500) AS text \
        FROM generate_series(1, {number}) n; ALTER TABLE bench ADD PRIMARY KEY (id)"
    )
}

/// Seconds for which a service is waited for whose app does not get healthy.
pub(super) const READY_LIMIT: f64 = patience::for_start(scratch::READY_SECONDS as f64);

/// Ten gigabytes, which compress to a tenth.
const MANY_ROWS: &str = "CREATE TABLE bench AS SELECT n AS id, repeat(md5(n::text), 28) AS text \
    FROM generate_series(1, 10000000) n; ALTER TABLE bench ADD PRIMARY KEY (id)";

/// As a table is that has been there for a while: what PostgreSQL does to a new one by itself
/// would be measured as a load.
const SETTLED: &str = "VACUUM (ANALYZE) bench";

/// An image whose app takes no connection: all of that time is waited for.
const HANGS: &str = r"USER 0:0
RUN printf 'import time\ntime.sleep(9999)\n' > /app/api/serve.py
USER 1000:1000
";

/// Good where a command ends as one whose image does not work.
const FAILS: &str = "\"$@\"; [ $? -eq 4 ]";

/// What the rows share. All of it goes with the services.
#[derive(Debug)]
pub(crate) struct DataFixture {
    pub(super) services: ServicesFixture,
    folder: PathBuf,
}

impl DataFixture {
    /// Both services run, ours with rows, and a proved backup of it is there.
    pub(super) fn open(bench: &Bench<'_>) -> Result<Self> {
        Self::with(bench, &rows(250_000))
    }

    /// The same with a gigabyte.
    pub(super) fn open_gigabyte(bench: &Bench<'_>) -> Result<Self> {
        Self::with(bench, &rows(1_000_000))
    }

    /// The same with so many rows that it takes minutes, and 40 GB of the disk.
    pub(super) fn open_large(bench: &Bench<'_>) -> Result<Self> {
        Self::with(bench, MANY_ROWS)
    }

    fn with(bench: &Bench<'_>, rows: &str) -> Result<Self> {
        let services = ServicesFixture::open(bench)?;
        services.both_up(bench)?;
        let folder = bench.folder.join("data");
        fs_err::create_dir_all(&folder)?;
        let fixture = Self { services, folder };
        bench
            .host
            .report
            .detail("fills the database and takes a backup first");
        let runner = &bench.host.runner;
        let name = fixture.services.ours.spec.name.as_str();
        fixture
            .services
            .xtask("rows", &["psql", name, "--", "-qX", "-c", rows, "-c", SETTLED])
            .run(runner)?;
        let file = fixture.proved()?;
        if std::path::Path::new(&file).exists() {
            fs_err::remove_file(&file)?;
        }
        fixture
            .ours("backup", &["backup", name, "--to", &file])
            .run(runner)?;
        Ok(fixture)
    }

    fn file(&self, name: &str) -> Result<String> {
        let path = self.folder.join(name);
        Ok(path.to_str().context("the path is not UTF-8")?.to_owned())
    }

    pub(super) fn ours(&self, label: &str, args: &[&str]) -> Timed {
        self.services
            .xtask(label, args)
            .args(["--engine", self.services.owner()])
    }

    fn name(&self) -> &str {
        self.services.ours.spec.name.as_str()
    }

    /// `docker` of a script, once the engine's variables are set.
    pub(super) fn docker_function(&self) -> Result<String> {
        let docker = self.services.engine.docker.to_str();
        let docker = quote(docker.context("docker's path is not UTF-8")?);
        Ok(format!("docker() {{ {docker} \"$@\"; }}"))
    }

    /// A script that calls docker on the engine.
    pub(super) fn docker(&self, label: &str, script: &str) -> Result<Timed> {
        let script = format!("{}; {script}", self.docker_function()?);
        Ok(Timed::new(label, "sh")
            .args(["-ec", &script])
            .on(&self.services.engine))
    }

    /// A backup into a file that is not there yet.
    pub(super) fn backup(&self, label: &str) -> Result<Timed> {
        let file = self.file("taken.tar.zst")?;
        let args = ["backup", self.name(), "--no-verify", "--to", &file];
        let remove = format!("rm -f {}", quote(&file));
        Ok(self.ours(label, &args).prepare(remove))
    }

    /// PostgreSQL's own program in the same container, compressing as ours does.
    pub(super) fn bare(&self, label: &str) -> Result<Timed> {
        let inside = "PGSERVICEFILE=/run/hive/pg_service.conf PGSERVICE=superuser pg_basebackup --pgdata=- --format=tar \
             --wal-method=fetch --checkpoint=fast --manifest-checksums=SHA256 --no-password --compress=client-zstd:level=3";
        let file = quote(&self.file("bare.tar.zst")?);
        self.docker(
            label,
            &format!("docker exec {} sh -c '{inside}' > {file}", self.name()),
        )
    }

    /// The backup that all rows read.
    pub(super) fn proved(&self) -> Result<String> {
        self.file("proved.tar.zst")
    }

    /// The proof of the backup that is there.
    pub(super) fn verify(&self, label: &str) -> Result<Timed> {
        Ok(self.ours(label, &["backup", "verify", &self.proved()?]))
    }

    /// The least that anybody who restores a backup to look at it has to do.
    pub(super) fn amcheck(&self, label: &str) -> Result<Timed> {
        let image = format!("{}:latest", self.services.ours.spec.name.repository());
        // The image's variables name a service file that only its own start writes.
        let inside = "unset PGSERVICE PGSERVICEFILE; mkdir -m 700 /tmp/d; tar -x -C /tmp/d; cd /tmp; \
             printf \"local all all trust\\n\" > hba; \
             postgres -D /tmp/d -c unix_socket_directories=/tmp -c listen_addresses= -c hba_file=/tmp/hba \
                 -c config_file=/etc/hive/postgresql.conf -c data_directory=/tmp/d > log 2>&1 & \
             until pg_isready -q -h /tmp; do sleep 0.1; done; \
             pg_amcheck -h /tmp -U postgres --all --heapallindexed --install-missing; \
             kill -INT $!; wait";
        let file = quote(&self.proved()?);
        self.docker(
            label,
            &format!(
                "zstd -dcq {file} | docker run --rm --interactive --network none --entrypoint sh {image} -ec '{inside}'"
            ),
        )
    }

    /// The backup in the place of the data.
    pub(super) fn restore(&self, label: &str) -> Result<Timed> {
        self.after_forgetting(self.ours(label, &["restore", self.name(), &self.proved()?]))
    }

    /// What was put aside before is deleted first: it takes as much room each time.
    fn after_forgetting(&self, timed: Timed) -> Result<Timed> {
        let name = self.name();
        let forget = self
            .ours("forget", &["restore", name])
            .args(["--forget"])
            .quoted()?;
        let docker = self.docker_function()?;
        let listed = format!("docker exec {name} sh -c 'ls /var/lib/postgresql/data/generations || true'");
        let script = format!("{docker}; for one in $({listed}); do {forget} $one; done");
        Ok(timed.on(&self.services.engine).prepare(script))
    }

    /// The bytes of the backup as files, and nothing more.
    pub(super) fn unpack(&self, label: &str) -> Result<Timed> {
        let (file, folder) = (quote(&self.proved()?), quote(&self.file("unpacked")?));
        let script = format!("zstd -dcq {file} | tar -x -C {folder}");
        let prepare = format!("rm -rf {folder}; mkdir {folder}");
        Ok(Timed::new(label, "sh").args(["-ec", &script]).prepare(prepare))
    }

    /// Another image on the data; without one the service's own again.
    pub(super) fn update(&self, label: &str, image: Option<&str>) -> Result<Timed> {
        let update = self.ours(label, &["update", self.name(), "--no-rehearsal"]);
        self.after_forgetting(match image {
            Some(image) => update.args(["--unproved", "--image", image]),
            None => update,
        })
    }

    /// An image that never gets healthy, by its name.
    pub(super) fn hanging(&self) -> Result<String> {
        self.services.made_of(&self.services.ours, "hanging", HANGS)
    }

    /// An update to it, which has to fail.
    pub(super) fn failed_update(&self, label: &str, image: &str) -> Result<Timed> {
        let update = self.update(label, Some(image))?;
        Ok(Timed::new(label, "sh")
            .args(["-c", FAILS, "sh"])
            .following(update))
    }
}
