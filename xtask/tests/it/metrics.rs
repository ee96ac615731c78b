//! The metrics of a container, its alerts and its board, with Prometheus' own tool.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::build_images::docker;
use crate::packages;
use crate::sandbox::{self, Checkout, repository};

const NAME: &str = "test-genie";

fn is_content(promtool: &Path, args: &[&str], input: &str) {
    let mut child = Command::new(promtool)
        .args(args)
        .current_dir(repository())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    // Its lint writes to stderr and may still end with 0.
    assert!(
        output.status.success() && !said.contains("FAILED"),
        "{args:?}: {said}"
    );
}

/// The value of a metric, by its name and labels as they stand there.
fn value(scraped: &str, metric: &str) -> Option<f64> {
    let mut lines = scraped.lines().filter_map(|line| line.strip_prefix(metric));
    lines.find_map(|rest| rest.strip_prefix(' ')?.parse().ok())
}

fn scrape(port: u16) -> String {
    let mut curl = Command::new("curl");
    curl.args([
        "-sf",
        "--max-time",
        "20",
        &format!("http://127.0.0.1:{port}/metrics"),
    ]);
    sandbox::finish(curl.stdin(Stdio::null())).stdout
}

fn until(port: u16, is_so: impl Fn(&str) -> bool) -> String {
    let began = Instant::now();
    loop {
        let scraped = scrape(port);
        if is_so(&scraped) {
            return scraped;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{scraped}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Gone in the end, with its data.
struct Metered {
    checkout: Checkout,
    _alone: std::sync::MutexGuard<'static, ()>,
}

impl Drop for Metered {
    fn drop(&mut self) {
        sandbox::remove_service(NAME);
    }
}

#[test]
#[ignore = "needs an engine"]
fn a_scrape_tells_what_is_so_and_nothing_that_was() {
    let service = Metered {
        _alone: sandbox::service_of("genie"),
        checkout: Checkout::renamed(),
    };
    let listeners = [0, 0].map(|any| TcpListener::bind((Ipv4Addr::LOCALHOST, any)).unwrap());
    let [port, metrics] = listeners.each_ref().map(|one| one.local_addr().unwrap().port());
    drop(listeners);
    let up = ["up", NAME, "--port", &port.to_string()].map(str::to_owned);
    let with = [&up[..], &["--metrics-port".to_owned(), metrics.to_string()]].concat();
    let xtask = |args: &[String]| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        service.checkout.xtask(&args)
    };
    xtask(&with).expect(0);
    xtask(&with).expect(0).says(&["nothing to do"]);

    // A program runs for the supervisor when it has for a second.
    let scraped = until(metrics, |scraped| {
        ["pg_up", r#"hive_program_up{program="app"}"#]
            .iter()
            .all(|metric| value(scraped, metric) == Some(1.0))
    });
    for (metric, expected) in [
        ("hive_healthy", 1.0),
        (r#"hive_program_up{program="app"}"#, 1.0),
        (r#"hive_program_up{program="postgresql"}"#, 1.0),
        (r#"hive_program_starts_total{program="app"}"#, 1.0),
        ("hive_oom_kills_total", 0.0),
        ("hive_collation_mismatches", 0.0),
    ] {
        assert_eq!(value(&scraped, metric), Some(expected), "{metric} in:\n{scraped}");
    }
    let database = docker(&["exec", NAME, "psql", "-XAtqc", "SELECT current_database()"]);
    let size = format!("pg_database_size_bytes{{datname=\"{}\"}}", database.trim());
    assert!(value(&scraped, &size).unwrap() > 1e6, "{scraped}");
    assert!(value(&scraped, "hive_memory_used_bytes").unwrap() > 1e7);
    let size_of_disk = value(&scraped, "hive_volume_size_bytes").unwrap();
    assert!(value(&scraped, "hive_volume_free_bytes").unwrap() < size_of_disk);
    assert!((0.1..600.0).contains(&value(&scraped, "hive_ready_seconds").unwrap()));
    assert_eq!(
        value(&scraped, "hive_backup_last_success_timestamp_seconds"),
        None
    );
    let superuser = "PGSERVICE=superuser psql -XAtqc";
    let sql = |statement: &str| {
        docker(&["exec", NAME, "sh", "-ec", &format!("{superuser} \"{statement}\"")])
            .trim()
            .to_owned()
    };
    let rights = "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls, \
         (SELECT string_agg(roleid::regrole::text, ',') FROM pg_auth_members WHERE member = r.oid) \
         FROM pg_roles AS r WHERE rolname = 'hive_metrics'";
    assert_eq!(sql(rights), "f|pg_monitor");

    // With a backup there is its moment, and the old numbers go where nobody can ask.
    let backups = tempfile::tempdir().unwrap();
    let mut backup = service.checkout.command(&["backup", NAME, "--no-verify"]);
    sandbox::finish(backup.env("HIVE_BACKUP_DIR", backups.path())).expect(0);
    docker(&["exec", NAME, "supervisorctl", "restart", "app"]);
    sql("ALTER ROLE hive_metrics NOLOGIN");
    let scraped = until(metrics, |scraped| {
        value(scraped, r#"hive_program_starts_total{program="app"}"#) == Some(2.0)
    });
    assert_eq!(value(&scraped, "pg_up"), Some(0.0), "{scraped}");
    assert!(
        !scraped.contains("pg_database") && !scraped.contains("pg_stat"),
        "{scraped}"
    );
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let moment = value(&scraped, "hive_backup_last_success_timestamp_seconds").unwrap();
    assert!((0.0..600.0).contains(&(now.as_secs_f64() - moment)), "{moment}");
    assert_eq!(
        value(&scraped, "hive_backup_last_verified_timestamp_seconds"),
        None
    );

    if let Some(programs) = packages::programs("prometheus") {
        let promtool = programs.join("promtool");
        sql("ALTER ROLE hive_metrics LOGIN");
        let whole = until(metrics, |scraped| value(scraped, "pg_up") == Some(1.0));
        is_content(&promtool, &["check", "metrics"], &whole);
        is_content(&promtool, &["check", "rules", "docker/metrics/alerts.yaml"], "");
        let cases = repository().join("docker/metrics/alerts.test.yaml");
        is_content(&promtool, &["test", "rules", cases.to_str().unwrap()], "");
    }

    // Without the flag there is nothing left of it.
    xtask(&up).expect(0).says(&["metrics is gone"]);
    assert!(!docker(&["exec", NAME, "supervisorctl", "status"]).contains("metrics"));
    assert_eq!(
        sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'hive_metrics'"),
        "f"
    );
}

/// Boards and alerts name no metric that a container does not have.
#[test]
fn boards_and_alerts_ask_for_what_there_is() {
    let read = |path: &str| fs_err::read_to_string(repository().join(path)).unwrap();
    let package = "docker/rootfs/usr/local/lib/hive/hive_container";
    let code = read(&format!("{package}/readings.py")) + &read(&format!("{package}/statistics_sql.py"));
    let word = regex_lite::Regex::new(r"\b(?:pg|hive)_[a-z_]+").unwrap();
    let board: serde_json::Value = serde_json::from_str(&read("docker/metrics/board.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut asked: Vec<String> = targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect();
    asked.push(read("docker/metrics/alerts.yaml"));
    let named: BTreeSet<&str> = asked
        .iter()
        .flat_map(|text| word.find_iter(text).map(|found| found.as_str()))
        .collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        let there = match name.strip_prefix("pg_stat_database_") {
            Some(column) => code.contains(&format!("\"{column}\":")),
            None => code.contains(&format!("\"{name}\"")),
        };
        assert!(there, "no container has {name}");
    }
}
