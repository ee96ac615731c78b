//! A FastAPI application as people write them (Alembic, async SQLAlchemy,
//! pgvector): its migrations run once in the life of a volume, and across
//! versions of the image.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::build_images::{Bench, docker, fixture};
use crate::sandbox;

/// What the second version of the app brings.
const SECOND: &str = r#"
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("notes", sa.Column("pinned", sa.Boolean, nullable=False, server_default="false"))
    op.execute("INSERT INTO ran VALUES ('0002')")
"#;

/// The versions of the image, a volume, and the container on it, if any.
struct Deployment {
    name: String,
    repository: String,
}

impl Deployment {
    fn new(bench: &Bench) -> Self {
        let deployment = Self {
            name: format!("{}-deployment", bench.name),
            repository: format!("hive-{}", bench.name),
        };
        docker(&["volume", "create", &deployment.name]);
        deployment
    }

    /// Puts a container of this version in the place of the one before.
    fn deploy(&self, version: &str) {
        docker(&["rm", "--force", &self.name]);
        let mount = format!("{}:/var/lib/postgresql/data", self.name);
        let image = format!("{}:{version}", self.repository);
        docker(&[
            "run", "--detach", "--name", &self.name, "--volume", &mount, &image,
        ]);
    }

    fn state(&self, field: &str) -> String {
        let format = format!("{{{{.State.{field}}}}}");
        docker(&["inspect", "--format", &format, &self.name])
            .trim()
            .to_owned()
    }

    fn until(&self, field: &str, value: &str) {
        let began = Instant::now();
        while self.state(field) != value {
            assert!(
                began.elapsed() < Duration::from_secs(90),
                "not {value}: {}",
                docker(&["logs", &self.name])
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// As the app's role, a row a line.
    fn sql(&self, sql: &str) -> Vec<String> {
        let out = docker(&["exec", &self.name, "psql", "-XAtqc", sql]);
        out.lines().map(str::to_owned).collect()
    }

    fn ran(&self) -> Vec<String> {
        self.sql("SELECT revision FROM ran ORDER BY 1")
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        for words in [["rm", "--force"], ["volume", "rm"]] {
            sandbox::docker().args(words).arg(&self.name).output().unwrap();
        }
    }
}

fn build(bench: &Bench, app: &Path, version: &str) {
    let app = app.to_str().unwrap();
    bench
        .xtask(&["build-images", "--app", app, "--tag", version])
        .expect(0);
}

#[test]
#[ignore = "needs an engine"]
fn migrations_run_once_and_across_upgrades() {
    let bench = Bench::new("alembic", "", "");
    let app = bench.checkout.path("alembic-app");
    sandbox::copy(Path::new(&fixture("alembic-app")), &app);
    build(&bench, &app, "first");

    let deployment = Deployment::new(&bench);
    deployment.deploy("first");
    deployment.until("Health.Status", "healthy");
    deployment.sql("INSERT INTO notes (title, embedding) VALUES ('kept', '[1,2,3]')");
    docker(&["restart", &deployment.name]);
    deployment.until("Health.Status", "healthy");
    deployment.deploy("first");
    deployment.until("Health.Status", "healthy");
    assert_eq!(deployment.ran(), ["0001"], "three starts");

    fs_err::write(app.join("migrations/versions/0002_pinned.py"), SECOND).unwrap();
    let models = "alembic-app/notes/models.py";
    bench.checkout.edit(
        models,
        "    title: Mapped[str]\n",
        "    title: Mapped[str]\n    pinned: Mapped[bool] = mapped_column(default=False)\n",
    );
    build(&bench, &app, "second");
    deployment.deploy("second");
    deployment.until("Health.Status", "healthy");
    assert_eq!(deployment.ran(), ["0001", "0002"]);
    assert_eq!(
        deployment.sql("SELECT title, embedding, pinned FROM notes"),
        ["kept|[1,2,3]|f"]
    );
    let current = docker(&["exec", &deployment.name, "run-app", "alembic", "current"]);
    assert_eq!(current.trim(), "0002 (head)");
    docker(&["restart", &deployment.name]);
    deployment.until("Health.Status", "healthy");
    assert_eq!(deployment.ran(), ["0001", "0002"], "and twice the second");

    // The app of before does not know the schema of now, and says so.
    deployment.deploy("first");
    deployment.until("Status", "exited");
    assert_eq!(deployment.state("ExitCode"), "78");
    let log = sandbox::docker()
        .args(["logs", &deployment.name])
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&[log.stdout, log.stderr].concat()).into_owned();
    assert!(
        log.contains("Can't locate revision identified by '0002'"),
        "{log}"
    );
    assert!(log.contains("before_start failed with status"), "{log}");
    deployment.deploy("second");
    deployment.until("Health.Status", "healthy");
    assert_eq!(deployment.ran(), ["0001", "0002"], "the refusal left no trace");
}
