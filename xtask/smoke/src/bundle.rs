//! The failure bundle: everything one needs to find the cause without running
//! again, on disk, with no secret in it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

use crate::facts::Moment;
use crate::fixture::Fixture;
use crate::gate_run::GateRun;
use crate::names;
use crate::report;
use crate::secrets::scrub;
use crate::verdict::{CheckResult, Verdict};
use container::boot::MOUNT;
use container::finding::settled;
use container::look;
use engine::container::Container;
use host::disk;
use inputs::clock;

/// Where the container's programs write their logs.
const LOGS: &str = "/var/log/hive";

/// A folder for one failure, named by image and time.
pub(crate) fn folder(state_dir: &Path, image: &str) -> PathBuf {
    let time = clock::stamp(SystemTime::now());
    state_dir.join("smoke").join(format!("{image}-{time}"))
}

/// Fills `folder`. What cannot be got is named in `missing.txt`: a bundle must
/// not fail because the container did.
///
/// # Errors
/// When the folder cannot be written.
pub(crate) fn write(folder: &Path, gate_run: &GateRun<'_>, verdict: &Verdict) -> Result<()> {
    fs_err::create_dir_all(folder)?;
    let mut missing = Vec::new();
    let facts = &gate_run.facts;
    let hidden = facts.hidden();
    let put = |name: &str, text: &str| put(&folder.join(name), text, &hidden);
    put("timeline.txt", &gate_run.timeline.lines().join("\n"))?;
    write_verdict(folder, verdict)?;
    put("image-inspect.json", &format!("{:#}", facts.image.document()))?;
    if let Ok(history) = &facts.history {
        put("image-history.jsonl", history)?;
    }
    for ((when, name), answer) in &facts.answers {
        let text = match answer {
            Ok(answer) => format!(
                "exit code {}, {} ms\n{}",
                answer.code,
                answer.took.as_millis(),
                answer.text
            ),
            Err(why) => why.detail.clone(),
        };
        put(&format!("answers/{}-{name}.txt", when.as_str()), &text)?;
    }
    if let Ok(status) = facts.answer(Moment::Settled, names::PROGRAMS_RUNNING) {
        put("supervisorctl-status.txt", &status.text)?;
    }
    match gate_run.control_data() {
        Ok(Ok(text)) => put("pg_controldata.txt", &text)?,
        Ok(Err(why)) => missing.push(why.detail),
        Err(error) => missing.push(format!("pg_controldata: {error:#}")),
    }
    for instance in gate_run.instances() {
        let own = folder.join(instance.container.name());
        container(&own, &instance.container, &hidden, &mut missing)?;
    }
    if !missing.is_empty() {
        put("missing.txt", &missing.join("\n"))?;
    }
    Ok(())
}

/// The verdict in a bundle's folder, for people and for programs. Its checks
/// are without secrets already.
///
/// # Errors
/// When the folder cannot be written.
pub(crate) fn write_verdict(folder: &Path, verdict: &Verdict) -> Result<()> {
    let document = format!("{:#}", report::json(std::slice::from_ref(verdict)));
    put_in(folder, "verdict.json", &document, &[])?;
    put_in(folder, "verdict.txt", &report::table(verdict), &[])
}

/// Fills `folder` with what is known of a fault that failed.
///
/// # Errors
/// When the folder cannot be written, or on Ctrl-C.
pub(crate) fn write_scene(folder: &Path, fixture: &Fixture<'_>, result: &CheckResult) -> Result<()> {
    fs_err::create_dir_all(folder)?;
    let secrets = fixture.secrets()?;
    let mut missing = Vec::new();
    let put = |name: &str, text: &str| put(&folder.join(name), text, &secrets);
    put("timeline.txt", &fixture.timeline().join("\n"))?;
    put("result.json", &serde_json::to_string_pretty(result)?)?;
    for instance in fixture.instances() {
        let own = folder.join(instance.container.name());
        container(&own, &instance.container, &secrets, &mut missing)?;
        let inside = "/usr/local/bin/supervisorctl status; for stat in /proc/[0-9]*/stat; do cat $stat; done";
        match settled(fixture.shell(&instance, inside))? {
            Ok(answer) => put_in(&own, "inside.txt", &answer.text, &secrets)?,
            Err(why) => missing.push(why),
        }
    }
    for (n, beside) in fixture.neighbours().iter().enumerate() {
        write_scene(&folder.join(format!("beside-{}", n + 1)), beside, result)?;
    }
    for refused in fixture.refusals() {
        container(&folder.join(refused.name()), &refused, &secrets, &mut missing)?;
    }
    for volume in fixture.volumes() {
        let script = format!(
            "{}; df -h {MOUNT}; ls -lanR {MOUNT} | head -n 2000",
            look::control_data(fixture.spec(), &format!("{MOUNT}/pgdata"))
        );
        match settled(fixture.beside(&volume, &["--user", "0:0"], &script))? {
            Ok(output) => {
                let text = format!("{}\n{}", output.stdout_text(), output.stderr_text());
                put(&format!("{}.txt", volume.name()), &text)?;
            }
            Err(why) => missing.push(why),
        }
    }
    if !missing.is_empty() {
        put("missing.txt", &missing.join("\n"))?;
    }
    Ok(())
}

/// Removes what a fault left that failed at first and passed when it was run
/// again: a bundle is about failures.
///
/// # Errors
/// When the folder cannot be removed.
pub(crate) fn forget_scene(folder: &Path) -> Result<()> {
    if folder.exists() {
        disk::remove(folder)?;
        // The bundle itself, where nothing else failed.
        if let Some(bundle) = folder.parent() {
            std::fs::remove_dir(bundle).ok();
        }
    }
    Ok(())
}

/// What the engine knows of a container, and the files of its logs.
fn container(
    folder: &Path,
    container: &Container,
    secrets: &[String],
    missing: &mut Vec<String>,
) -> Result<()> {
    let name = container.name();
    match container.logs() {
        Ok(log) => put_in(folder, "docker-logs.txt", &log, secrets)?,
        Err(error) => missing.push(format!("{name}: docker logs: {error:#}")),
    }
    match container.inspect() {
        Ok(document) => {
            put_in(folder, "inspect.json", &format!("{document:#}"), secrets)?;
            let health = document.pointer("/State/Health");
            let health = health.map_or_else(String::new, |health| format!("{health:#}"));
            put_in(folder, "health.json", &health, secrets)?;
        }
        Err(error) => missing.push(format!("{name}: docker inspect: {error:#}")),
    }
    let logs = folder.join("log");
    fs_err::create_dir_all(folder)?;
    match container.copy_out(LOGS, &logs) {
        Ok(()) => scrub_files(&logs, secrets)?,
        Err(error) => missing.push(format!("{name}: {LOGS}: {error:#}")),
    }
    Ok(())
}

fn put_in(folder: &Path, name: &str, text: &str, secrets: &[String]) -> Result<()> {
    put(&folder.join(name), text, secrets)
}

/// Writes a text without its secrets, with the folders above it.
fn put(path: &Path, text: &str, secrets: &[String]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent)?;
    }
    Ok(fs_err::write(path, scrub(text, secrets))?)
}

fn scrub_files(folder: &Path, secrets: &[String]) -> Result<()> {
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry?;
        // A link made in the container could point anywhere on this host.
        if entry.file_type().is_symlink() {
            fs_err::remove_file(entry.path())?;
        } else if entry.file_type().is_file() {
            let bytes = fs_err::read(entry.path())?;
            fs_err::write(entry.path(), scrub(&String::from_utf8_lossy(&bytes), secrets))?;
            fs_err::set_permissions(entry.path(), Permissions::from_mode(0o600))?;
        } else {
            // Theirs are 1777, and this is not the container's own file system.
            fs_err::set_permissions(entry.path(), Permissions::from_mode(0o700))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passed_in_the_end_leaves_no_bundle() {
        let state = tempfile::tempdir().unwrap();
        let bundle = state.path().join("genie-1");
        for fault in ["kill-app", "logs"] {
            fs_err::create_dir_all(bundle.join(fault).join("log")).unwrap();
        }
        forget_scene(&bundle.join("kill-app")).unwrap();
        assert!(bundle.join("logs").is_dir() && !bundle.join("kill-app").exists());
        forget_scene(&bundle.join("logs")).unwrap();
        assert!(!bundle.exists());
        forget_scene(&bundle.join("never")).unwrap();
    }

    #[test]
    fn files_are_scrubbed_and_closed_and_links_removed() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs_err::create_dir(&open).unwrap();
        fs_err::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
        fs_err::write(folder.path().join("app.log"), b"\xffpw=s3cret\n").unwrap();
        fs_err::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        scrub_files(folder.path(), &["s3cret".to_owned()]).unwrap();
        let text = fs_err::read_to_string(folder.path().join("app.log")).unwrap();
        assert_eq!(text, "\u{fffd}pw=[scrubbed]\n");
        assert!(!folder.path().join("link").exists());
        let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&open), 0o700);
        assert_eq!(mode(&folder.path().join("app.log")), 0o600);
    }
}
