//! `status`: all services at one moment, as a table for 80 columns and as JSON.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use crate::archive::{self, ArchiveState};
use crate::handle::ServiceHandle;
use crate::names::ServiceName;
use crate::seen::{Condition, ContainerPlace, SeenContainer};
use container::ask;
use container::boot::MOUNT;
use container::programs;
use definition::identity::ImageId;
use deploy::compose::FOLDER;
use engine::Inventory;
use host::report::megabytes;
use inputs::clock;

/// What PostgreSQL says of the cluster first, on the volume.
const CONTROL: &str = "pgdata/global/pg_control";

/// The width of most terminals.
const COLUMNS: usize = 80;

/// A service at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ServiceStatus {
    /// The service's name, which is its image's.
    pub service: String,
    /// `healthy`, `starting`, `unhealthy`, `stopped`, `failed`, `not there`, …
    pub state: String,
    /// Why, where it is not healthy.
    pub reason: Option<String>,
    /// The programs that do not run.
    pub programs: Vec<String>,
    /// The image that it runs.
    pub image_id: Option<ImageId>,
    /// That image's version, by its names.
    pub version: Option<String>,
    /// Whether that image has a proof.
    pub proved: Option<bool>,
    /// The release that `up` would start in its place.
    pub(crate) newer: Option<ImageId>,
    /// Where the app is published: `127.0.0.1:48886`.
    pub address: Option<String>,
    /// Since when it runs, in seconds.
    pub(crate) uptime_seconds: Option<u64>,
    /// How often the engine has started it again.
    pub restarts: u64,
    /// What its processes hold, without files that the kernel can drop: as
    /// `docker stats` counts.
    pub(crate) memory_bytes: Option<u64>,
    /// What its volume takes; `None` where it cannot be looked at.
    pub(crate) volume_bytes: Option<u64>,
    /// How full the volume's disk is.
    pub(crate) disk_percent: Option<u64>,
    /// Data beside those that run, which an update or a restore has put aside.
    pub(crate) kept: Vec<String>,
    /// Which cluster runs, by the identifier that its backups have, too; `None` where it cannot
    /// be looked at.
    #[serde(skip)]
    pub cluster: Option<String>,
    /// When the last backup of it was begun that was proved by restoring it.
    pub last_good_backup: Option<String>,
    /// Whether the image was started on it, too.
    pub last_good_is_booted: bool,
    /// How many were begun since then that nobody has restored.
    pub backups_not_proved: usize,
    /// How far its archive reaches, where it has one.
    pub archive: Option<ArchiveState>,
    /// Of an app alone, which keeps no data: the image whose database it uses.
    pub database: Option<String>,
}

/// What decides of an image whether it has a proof.
pub type IsProved<'a> = &'a dyn Fn(&ServiceName, &ImageId) -> bool;

/// Asks for all that `status` shows of one service.
///
/// # Errors
/// When the engine does not answer.
pub fn of(
    handle: &ServiceHandle,
    inventory: &Inventory,
    is_proved: IsProved<'_>,
    release: Option<&ImageId>,
) -> Result<ServiceStatus> {
    let mut place = handle.place()?;
    let mut status = loop {
        match of_place(handle, &place) {
            Ok(status) => break status,
            Err(error) => {
                // Somebody may have ended or removed it between two questions.
                let now = handle.place()?;
                if is_same(&place, &now) {
                    return Err(error);
                }
                place = now;
            }
        }
    };
    if let Some(id) = &status.image_id {
        status.proved = Some(is_proved(&handle.name, id));
        let repository = format!("hive-{}:", handle.name);
        let named = inventory
            .names_of(id)
            .filter_map(|name| name.strip_prefix(repository.as_str()));
        let (mut versions, latest): (Vec<&str>, Vec<&str>) = named.partition(|tag| *tag != "latest");
        versions.extend(latest);
        status.version = versions.first().map(|&tag| tag.to_owned());
        status.newer = release.filter(|release| *release != id).cloned();
    }
    if place.own().is_some() {
        // Its data may lie elsewhere than on the volume.
        let (container, path) = (
            handle.container(handle.name.as_str()),
            format!("{MOUNT}/{CONTROL}"),
        );
        let engine = &handle.engine;
        let control = engine.read_bytes_in_container(&handle.runner, &container, &path)?;
        status.cluster = control.as_deref().and_then(identifier);
    }
    let volume = handle.engine.volume(&handle.runner, &handle.name.volume())?;
    let place = volume
        .as_ref()
        .and_then(|volume| volume.get("Mountpoint")?.as_str());
    if let (true, Some(place)) = (handle.engine.api.is_local(), place) {
        status.volume_bytes = size_of(Path::new(place));
        status.disk_percent = how_full(Path::new(place));
        status.kept = kept(Path::new(place));
        if status.cluster.is_none() {
            let control = fs_err::read(Path::new(place).join(CONTROL));
            status.cluster = control.ok().as_deref().and_then(identifier);
        }
    }
    Ok(status)
}

fn of_place(handle: &ServiceHandle, place: &ContainerPlace) -> Result<ServiceStatus> {
    let mut status = ServiceStatus {
        service: handle.name.to_string(),
        ..ServiceStatus::default()
    };
    match place {
        ContainerPlace::Empty => "not there".clone_into(&mut status.state),
        ContainerPlace::Foreign(image) => {
            "not ours".clone_into(&mut status.state);
            status.reason = Some(format!(
                "container {} (of {image}) was not made by `up`",
                handle.name
            ));
        }
        ContainerPlace::Own(seen) => fill(&mut status, handle, seen)?,
    }
    Ok(status)
}

/// Whether nothing has happened to the service's container from one look to the
/// other.
fn is_same(before: &ContainerPlace, now: &ContainerPlace) -> bool {
    let shown = |place: &ContainerPlace| place.own().map(|seen| (seen.id.clone(), seen.condition.clone()));
    shown(before) == shown(now)
}

fn fill(status: &mut ServiceStatus, handle: &ServiceHandle, seen: &SeenContainer) -> Result<()> {
    seen.condition.shown().clone_into(&mut status.state);
    status.image_id = Some(seen.image_id.clone());
    status.restarts = seen.restarts;
    status.address = seen.published.map(|address| address.to_string());
    if seen.archives {
        status.archive = Some(archive::state(handle)?);
    }
    match &seen.condition {
        // Where a program is done without, the check says so.
        Condition::Healthy => status.reason = done_without(&seen.health_said),
        Condition::Starting | Condition::Unhealthy => {
            status.reason = Some(seen.health_said.clone()).filter(|said| !said.is_empty());
        }
        Condition::Ended { code, out_of_memory } if *code != 0 => {
            let memory = if *out_of_memory { ", out of memory" } else { "" };
            let last = handle.container(handle.name.as_str()).last_lines(1)?;
            let last = last.split_once(' ').map_or("", |(_, line)| line);
            status.reason = Some(format!("exit code {code}{memory}: {last}"));
        }
        _ => {}
    }
    if !seen.condition.runs() {
        return Ok(());
    }
    let since = seen
        .started
        .and_then(|at| SystemTime::now().duration_since(at).ok());
    status.uptime_seconds = since.map(|since| since.as_secs());
    let path = format!("/containers/{}/stats?stream=false&one-shot=true", handle.name);
    let stats: Value = handle.engine.api.document(&handle.runner, &path)?;
    status.memory_bytes = memory(&stats);
    if seen.condition == Condition::Unhealthy {
        let container = handle.container(handle.name.as_str());
        let said = container.exec(ask::DEADLINE, &[], &["sh", "-c", programs::STATUS], None)?;
        let text = said.stdout_text();
        let down = programs::states(&text)
            .into_iter()
            .filter(|(_, state)| *state != "RUNNING");
        status.programs = down.map(|(name, state)| format!("{name} is {state}")).collect();
    }
    Ok(())
}

/// What a container that is healthy is without, in the words of its health check.
fn done_without(said: &str) -> Option<String> {
    said.strip_prefix("healthy, ").map(str::to_owned)
}

/// As `docker stats` counts: without files that can be dropped.
fn memory(stats: &Value) -> Option<u64> {
    let number = |pointer: &str| stats.pointer(pointer).and_then(Value::as_u64);
    let used = number("/memory_stats/usage")?;
    let cached = number("/memory_stats/stats/inactive_file")
        .or_else(|| number("/memory_stats/stats/total_inactive_file"));
    Some(used.saturating_sub(cached.unwrap_or(0)))
}

/// Bytes on disk, as `du` counts; `None` where we may not look.
fn size_of(folder: &Path) -> Option<u64> {
    let mut sum = 0;
    for entry in walkdir::WalkDir::new(folder) {
        match entry.map(|entry| entry.metadata()) {
            Ok(Ok(meta)) => sum += meta.blocks() * 512,
            Ok(Err(error)) | Err(error) => {
                // PostgreSQL removes files all the time.
                let gone = error
                    .io_error()
                    .is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound);
                if error.depth() == 0 || !gone {
                    return None;
                }
            }
        }
    }
    Some(sum)
}

/// The system identifier, with which `pg_control` begins.
fn identifier(control: &[u8]) -> Option<String> {
    let first = control.first_chunk()?;
    Some(u64::from_ne_bytes(*first).to_string())
}

/// The generations beside the cluster of a volume; none where we may not look.
fn kept(volume: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(volume.join("generations")) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let mut kept: Vec<String> = names
        .filter(|name| name.starts_with("before-") || name.starts_with("failed-"))
        .collect();
    kept.sort();
    kept
}

fn how_full(place: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(place).ok()?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    // As `df` counts: of what users can have.
    (used * 100).div_ceil(used + stat.f_bavail).into()
}

/// All services as a table, notes below the rows that they are about.
pub fn table(all: &[ServiceStatus]) -> Vec<String> {
    let head = [
        "SERVICE", "STATE", "VERSION", "PORT", "UP", "MEMORY", "DATA", "DISK",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(all.iter().map(cells));
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &[String; 8]| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        fit(cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut lines = vec![line(&rows[0])];
    for (row, status) in rows[1..].iter().zip(all) {
        lines.push(line(row));
        lines.extend(notes(status).iter().map(|note| fit(&format!("  {note}"))));
    }
    lines
}

fn cells(status: &ServiceStatus) -> [String; 8] {
    let none = || "-".to_owned();
    [
        status.service.chars().take(16).collect(),
        status.state.clone(),
        status
            .version
            .clone()
            .or_else(|| status.image_id.as_ref().map(|id| id.short().to_owned()))
            .unwrap_or_else(none),
        status.address.clone().unwrap_or_else(none),
        status
            .uptime_seconds
            .map_or_else(none, |seconds| age(Duration::from_secs(seconds))),
        status.memory_bytes.map_or_else(none, megabytes),
        status.volume_bytes.map_or_else(none, megabytes),
        status
            .disk_percent
            .map_or_else(none, |percent| format!("{percent} %")),
    ]
}

fn notes(status: &ServiceStatus) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(status.reason.clone());
    if !status.programs.is_empty() {
        notes.push(status.programs.join(", "));
    }
    if status.restarts > 0 {
        notes.push(format!(
            "the engine has started it again {} times",
            status.restarts
        ));
    }
    if status.proved == Some(false) {
        notes.push("its image has no proof".to_owned());
    }
    notes.extend(backup_note(status, SystemTime::now()));
    notes.extend(status.archive.iter().map(|state| state.note(&status.service)));
    notes.extend(status.kept.iter().map(|name| format!("data put aside: {name}")));
    if let Some(newer) = &status.newer {
        let name = &status.service;
        let up = match &status.database {
            Some(_) => format!("docker compose -f {FOLDER}/{name}.yaml up --detach --wait"),
            None => format!("cargo xtask up {name}"),
        };
        notes.push(format!("another image is released ({}): {up}", newer.short()));
    }
    notes
}

/// How old the last good backup is, of a service that has data.
fn backup_note(status: &ServiceStatus, now: SystemTime) -> Option<String> {
    let last = status.last_good_backup.as_deref();
    if status.database.is_some() || last.is_none() && status.state == "not there" {
        return None;
    }
    let not_proved = match status.backups_not_proved {
        0 => String::new(),
        count => format!("; {count} since that are not proved"),
    };
    let since = last
        .and_then(clock::parse)
        .map(|at| now.duration_since(at).unwrap_or_default());
    Some(match since {
        Some(since) => {
            let booted = if status.last_good_is_booted {
                ", booted"
            } else {
                ""
            };
            format!("last proved backup: {} ago{booted}{not_proved}", age(since))
        }
        None => format!(
            "no proved backup: cargo xtask backup {}{not_proved}",
            status.service
        ),
    })
}

/// As much of a text as one line of a terminal takes.
pub fn fit(line: &str) -> String {
    let line: String = line
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.chars().count() <= COLUMNS {
        return line;
    }
    let cut: String = line.chars().take(COLUMNS - 1).collect();
    format!("{cut}…")
}

/// `42 s`, `3 min`, `5 h`, `12 d`.
pub fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_ids::image_id;
    use serde_json::json;

    fn status() -> ServiceStatus {
        ServiceStatus {
            service: "genie".to_owned(),
            state: "unhealthy".to_owned(),
            reason: Some(format!("unhealthy: app: {}\n", "é".repeat(100))),
            programs: vec!["app is BACKOFF".to_owned()],
            image_id: Some(image_id("0123456789abcdef")),
            proved: Some(false),
            newer: Some(image_id("fedcba9876543210")),
            address: Some("127.0.0.1:48886".to_owned()),
            uptime_seconds: Some(200_000),
            restarts: 2,
            memory_bytes: Some(123_456_789),
            volume_bytes: Some(1_234_567_890),
            disk_percent: Some(100),
            version: None,
            kept: vec!["before-20261121T031500Z-0123abcd".to_owned()],
            cluster: None,
            last_good_backup: None,
            last_good_is_booted: false,
            backups_not_proved: 0,
            archive: None,
            database: None,
        }
    }

    #[test]
    fn a_program_that_is_done_without_is_a_reason() {
        let said = "healthy, without worker could not be started: no such queue";
        let reason = "without worker could not be started: no such queue";
        assert_eq!(done_without(said).as_deref(), Some(reason));
        assert_eq!(done_without("healthy"), None);
    }

    #[test]
    fn the_table_fits_80_columns_and_names_what_is_wrong() {
        let empty = ServiceStatus {
            service: "agent".to_owned(),
            state: "not there".to_owned(),
            ..ServiceStatus::default()
        };
        let lines = table(&[status(), empty]);
        for line in &lines {
            assert!(line.chars().count() <= 80 && !line.contains('\n'), "{line}");
        }
        let text = lines.join("\n");
        for part in [
            "genie    unhealthy  0123456789ab  127.0.0.1:48886  2 d  123 MB  1235 MB  100 %",
            "app is BACKOFF",
            "started it again 2 times",
            "its image has no proof",
            "data put aside: before-20261121T031500Z-0123abcd",
            "another image is released (fedcba987654): cargo xtask up genie",
            "agent    not there  -",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn the_age_of_the_last_good_backup_is_told() {
        let now = clock::parse("2026-11-21T05:15:00Z").unwrap();
        let note = |last: Option<&str>, backups_not_proved| {
            let last_good_backup = last.map(str::to_owned);
            let status = ServiceStatus {
                last_good_backup,
                backups_not_proved,
                ..status()
            };
            backup_note(&status, now).unwrap()
        };
        let at = Some("2026-11-21T03:15:00Z");
        assert_eq!(note(at, 0), "last proved backup: 2 h ago");
        assert_eq!(
            note(at, 3),
            "last proved backup: 2 h ago; 3 since that are not proved"
        );
        let booted = ServiceStatus {
            last_good_backup: at.map(str::to_owned),
            last_good_is_booted: true,
            ..status()
        };
        let told = backup_note(&booted, now).unwrap();
        assert_eq!(told, "last proved backup: 2 h ago, booted");
        assert_eq!(note(None, 0), "no proved backup: cargo xtask backup genie");
        let gone = ServiceStatus {
            state: "not there".to_owned(),
            ..ServiceStatus::default()
        };
        assert_eq!(backup_note(&gone, now), None);
        let alone = ServiceStatus {
            state: "healthy".to_owned(),
            newer: Some(image_id("fedcba9876543210")),
            database: Some("postgres".to_owned()),
            service: "workspace".to_owned(),
            ..ServiceStatus::default()
        };
        let way = "docker compose -f docker/compose/workspace.yaml up --detach --wait";
        assert_eq!(
            notes(&alone),
            [format!("another image is released (fedcba987654): {way}")]
        );
    }

    #[test]
    fn memory_is_what_docker_stats_says() {
        let v2 = json!({ "memory_stats": { "usage": 100, "stats": { "inactive_file": 30 } } });
        let v1 = json!({ "memory_stats": { "usage": 100, "stats": { "total_inactive_file": 40 } } });
        assert_eq!(
            (memory(&v2), memory(&v1), memory(&json!({}))),
            (Some(70), Some(60), None)
        );
    }

    #[test]
    fn sizes_are_those_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("a"), vec![1; 100_000]).unwrap();
        let size = size_of(folder.path()).unwrap();
        assert!((100_000..300_000).contains(&size), "{size}");
        assert_eq!(size_of(&folder.path().join("missing")), None);
        for name in ["before-2", "failed-1", "new-3", "journal.json"] {
            fs_err::create_dir_all(folder.path().join("generations").join(name)).unwrap();
        }
        assert_eq!(kept(folder.path()), ["before-2", "failed-1"]);
        assert!(kept(&folder.path().join("missing")).is_empty());
        assert!(how_full(folder.path()).is_some_and(|percent| percent <= 100));
    }

    #[test]
    fn a_cluster_is_known_by_the_number_that_it_begins_with() {
        let control = [7_575_757_575_757_575_757_u64.to_ne_bytes(), [1; 8]].concat();
        assert_eq!(identifier(&control).as_deref(), Some("7575757575757575757"));
        assert_eq!(identifier(&control[..7]), None);
    }

    #[test]
    fn ages_are_short() {
        let of = |seconds| age(Duration::from_secs(seconds));
        assert_eq!(
            [of(119), of(120), of(7200), of(172_800)],
            ["119 s", "2 min", "2 h", "2 d"]
        );
    }
}
