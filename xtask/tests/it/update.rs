//! Updates on a real engine: an image that migrates the data, and one whose migration
//! fails after it has changed the schema.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::MutexGuard;

use crate::build_images::docker;
use crate::sandbox::{self, Checkout, Run};

const NAME: &str = "test-genie";

/// Adds a column and a table, in a transaction of its own.
const MIGRATES: &str = "RUN printf '%s\\n' \
    'with psycopg.connect(database_url()) as second:' \
    '    second.execute(\"ALTER TABLE documents ADD COLUMN IF NOT EXISTS source TEXT\")' \
    '    second.execute(\"CREATE TABLE IF NOT EXISTS tags (name TEXT PRIMARY KEY)\")' \
    >> /app/api/migrate.py\n";

/// Does so, too, and fails then.
const FAILS: &str = "RUN echo 'raise SystemExit(\"broken on purpose\")' >> /app/api/migrate.py\n";

/// The service of the image that all tests have, and two more images of it.
struct Updater {
    _alone: MutexGuard<'static, ()>,
    checkout: Checkout,
    port: String,
    migrating: String,
    broken: String,
}

impl Updater {
    fn start() -> Self {
        let alone = sandbox::service_of("genie");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        drop(listener);
        let first = format!("hive-{NAME}:latest");
        let migrating = image("migrating", &format!("FROM {first}\n{MIGRATES}"));
        let broken = image("broken", &format!("FROM {migrating}\n{FAILS}"));
        let one = Self {
            _alone: alone,
            checkout: Checkout::renamed(),
            port,
            migrating,
            broken,
        };
        let variables = one.checkout.path("x.env");
        fs_err::write(&variables, "TOKEN=of the service\n").unwrap();
        let file = variables.to_str().unwrap();
        one.xtask(&["up", NAME, "--port", &one.port, "--env-file", file])
            .expect(0);
        one
    }

    fn xtask(&self, args: &[&str]) -> Run {
        self.checkout.xtask(args)
    }

    fn update(&self, image: &str, more: &[&str]) -> Run {
        let args = ["update", NAME, "--image", image, "--unproved"];
        self.xtask(&[&args, more].concat())
    }

    fn sql(&self, statement: &str) -> String {
        docker(&["exec", NAME, "psql", "-XAtqc", statement])
            .trim()
            .to_owned()
    }

    /// What tells whether anything of the service was touched.
    fn container(&self) -> String {
        let format = "{{.Id}} {{.State.StartedAt}} {{.State.Health.Status}}";
        docker(&["inspect", "--format", format, NAME])
    }

    fn has_migrated(&self) -> bool {
        self.sql("SELECT to_regclass('tags') IS NOT NULL") == "t"
    }
}

/// Another image of the same name.
fn image(of: &str, dockerfile: &str) -> String {
    let tag = format!("hive-{NAME}-{of}:latest");
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
    docker(&["build", "--quiet", "--tag", &tag, folder.path().to_str().unwrap()]);
    tag
}

impl Drop for Updater {
    fn drop(&mut self) {
        // Any of them may be gone, and a test that fails has said why.
        for thing in [
            &["rm", "--force", NAME][..],
            &["network", "rm", &format!("hive_{NAME}_network")],
            &["volume", "rm", &format!("{NAME}-data")],
            &["image", "rm", &self.broken, &self.migrating],
        ] {
            let _ended = sandbox::docker().args(thing).output();
        }
    }
}

#[test]
#[ignore = "needs an engine"]
fn an_image_is_tried_out_on_a_copy_while_the_service_works() {
    let service = Updater::start();
    let touched = service.container();
    service
        .xtask(&["update", NAME, "--rehearse"])
        .expect(0)
        .says(&["nothing to do"]);
    service
        .xtask(&["update", NAME, "--rehearse", "--image", &service.migrating])
        .expect(2)
        .says(&["has no proof", "--unproved"]);
    service.sql("CREATE TABLE mark AS SELECT 'kept' AS is");
    let good = service.update(&service.migrating, &["--rehearse"]).expect(0);
    good.says(&[
        "rehearsed",
        "9 checks of the spec are met",
        "public.documents: source is new (text)",
        "public.tags is new",
    ]);
    assert!(!good.stderr.contains("mark"), "{}", good.stderr);
    let bad = service.update(&service.broken, &["--rehearse"]).expect(4);
    bad.says(&[
        "app | broken on purpose",
        "before_start failed",
        "does not work on a copy of the data",
        "the service was not touched",
    ]);
    assert!(!service.has_migrated());
    assert_eq!(service.container(), touched);
    let left = docker(&[
        "ps",
        "--all",
        "--quiet",
        "--filter",
        &format!("name={NAME}.rehearsal"),
    ]);
    assert_eq!(left, "", "containers");
    let left = docker(&[
        "volume",
        "ls",
        "--quiet",
        "--filter",
        &format!("name={NAME}.rehearsal"),
    ]);
    assert_eq!(left, "", "volumes");
}
