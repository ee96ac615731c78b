//! The changes: each makes one on a probe that is as it was made.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Error, Result};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::FactChange::{self, Made, NotHere};
use super::probe::{AuditProbe, write};

// The build itself.

pub(super) fn instruction(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    probe.dockerfile = probe
        .dockerfile
        .replace("COPY dir /@/folder/", "COPY dir /@/folder2/");
    Ok(Made)
}

pub(super) fn comment(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    probe.dockerfile.push_str("# nothing\n");
    Ok(Made)
}

pub(super) fn target(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    probe.target = "another".to_owned();
    Ok(Made)
}

pub(super) fn argument(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    set(probe, "USED");
    Ok(Made)
}

pub(super) fn argument_removed(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    probe.arguments.remove("USED");
    Ok(Made)
}

pub(super) fn argument_unused(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    set(probe, "UNUSED");
    Ok(Made)
}

fn set(probe: &mut AuditProbe<'_>, name: &str) {
    let value = format!("changed-{}", probe.nonce);
    probe.arguments.insert(name.to_owned(), value);
}

pub(super) fn base(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    probe.base = probe.other_base()?;
    Ok(Made)
}

pub(super) fn base_user(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    inherited(probe, "USER nobody")
}

pub(super) fn base_folder(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    inherited(probe, "WORKDIR /srv")
}

pub(super) fn base_shell(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    inherited(probe, r#"SHELL ["/bin/sh", "-ec"]"#)
}

pub(super) fn base_trigger(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    let trigger = format!("ONBUILD RUN true {}", probe.nonce);
    inherited(probe, &trigger)
}

pub(super) fn base_label(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    inherited(probe, "LABEL audit=1")
}

pub(super) fn base_port(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    inherited(probe, "EXPOSE 9999")
}

pub(super) fn base_volume(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    inherited(probe, "VOLUME /srv/data")
}

pub(super) fn base_entrypoint(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    inherited(probe, r#"ENTRYPOINT ["/bin/true"]"#)
}

pub(super) fn base_command(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    inherited(probe, r#"CMD ["/bin/true"]"#)
}

pub(super) fn base_health_check(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    inherited(probe, "HEALTHCHECK CMD true")
}

pub(super) fn base_stop_signal(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    inherited(probe, "STOPSIGNAL SIGQUIT")
}

fn inherited(probe: &mut AuditProbe<'_>, instruction: &str) -> Result<FactChange> {
    probe.base = probe.base_with(instruction)?;
    Ok(Made)
}

pub(super) fn base_reference(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    probe.base.reference = probe.name_base(&probe.base.reference, "same")?;
    probe.base.identity = probe.identity(&probe.base.reference)?;
    Ok(Made)
}

pub(super) fn platform(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    probe.platform = "linux/s390x".parse().map_err(Error::msg)?;
    Ok(Made)
}

pub(super) fn schema(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    probe.schema += 1;
    Ok(Made)
}

pub(super) fn secret_value(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    write(&probe.secret, "two", 0o600)?;
    Ok(Made)
}

pub(super) fn cache_mount(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    let nonce = &probe.nonce;
    probe.build_other(&format!(
        "RUN --mount=type=cache,id=hive-audit,target=/cache echo {nonce} > /cache/{nonce}"
    ))?;
    Ok(Made)
}

pub(super) fn tag(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    probe.tag = "-again".to_owned();
    Ok(Made)
}

// Files.

pub(super) fn content(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    let text = format!("longer than before {}", probe.nonce);
    write(&probe.app.join("dir/file"), &text, 0o644)?;
    Ok(Made)
}

pub(super) fn content_disguised(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    let path = probe.app.join("dir/file");
    let before = fs_err::metadata(&path)?;
    let text = fs_err::read_to_string(&path)?.replace("file", "life");
    write(&path, &text, 0o644)?;
    fs_err::File::options()
        .write(true)
        .open(&path)?
        .set_modified(before.modified()?)?;
    let after = fs_err::metadata(&path)?;
    if (before.len(), before.modified()?) != (after.len(), after.modified()?) {
        return Ok(NotHere("the file system rounds the times of files".to_owned()));
    }
    Ok(Made)
}

pub(super) fn emptied(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    write(&probe.app.join("dir/file"), "", 0o644)?;
    Ok(Made)
}

pub(super) fn swapped(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    rename(probe, "dir/file", "dir/between")?;
    rename(probe, "dir/other", "dir/file")?;
    rename(probe, "dir/between", "dir/other")
}

pub(super) fn added(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    write(&probe.app.join("dir/new"), &probe.nonce, 0o644)?;
    Ok(Made)
}

pub(super) fn added_empty(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    write(&probe.app.join("dir/new"), "", 0o644)?;
    Ok(Made)
}

pub(super) fn removed(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    fs_err::remove_file(probe.app.join("dir/file"))?;
    Ok(Made)
}

pub(super) fn renamed(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    rename(probe, "dir/file", "dir/life")
}

pub(super) fn renamed_case(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    rename(probe, "dir/file", "dir/File")
}

pub(super) fn renamed_form(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    rename(probe, "dir/caf\u{e9}", "dir/cafe\u{301}")
}

pub(super) fn moved(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    rename(probe, "dir/file", "dir/sub/file")
}

fn rename(probe: &AuditProbe<'_>, from: &str, to: &str) -> Result<FactChange> {
    fs_err::rename(probe.app.join(from), probe.app.join(to))?;
    Ok(Made)
}

pub(super) fn file_to_directory(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    removed(probe)?;
    fs_err::create_dir(probe.app.join("dir/file"))?;
    Ok(Made)
}

pub(super) fn file_to_link(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    link(probe, "dir/twin-b", "twin-a")
}

pub(super) fn link_to_file(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    let path = probe.app.join("dir/link");
    let text = fs_err::read_to_string(&path)?;
    fs_err::remove_file(&path)?;
    write(&path, &text, 0o644)?;
    Ok(Made)
}

pub(super) fn named_content(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    let text = format!("changed {}", probe.nonce);
    write(&probe.named.join("conf"), &text, 0o644)?;
    Ok(Made)
}

pub(super) fn named_added(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    write(&probe.named.join("new"), &probe.nonce, 0o644)?;
    Ok(Made)
}

// Modes.

pub(super) fn executable_set(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    mode(&probe.app.join("dir/file"), 0o755)
}

pub(super) fn executable_cleared(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    mode(&probe.app.join("dir/tool"), 0o644)
}

pub(super) fn named_executable(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    mode(&probe.named.join("tool"), 0o644)
}

pub(super) fn group_write(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    mode(&probe.app.join("dir/file"), 0o664)
}

pub(super) fn setuid(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    mode(&probe.app.join("dir/tool"), 0o4755)
}

pub(super) fn group_execute(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    mode(&probe.app.join("dir/file"), 0o654)
}

pub(super) fn directory_mode(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    mode(&probe.app.join("dir/sub"), 0o700)
}

pub(super) fn root_mode(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    mode(&probe.app, 0o750)
}

pub(super) fn umask(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    for folder in [&probe.app, &probe.named] {
        for entry in walkdir::WalkDir::new(folder) {
            let entry = entry?;
            if !entry.file_type().is_symlink() {
                let bits = entry.metadata()?.permissions().mode();
                mode(entry.path(), bits & 0o700)?;
            }
        }
    }
    Ok(Made)
}

fn mode(path: &Path, mode: u32) -> Result<FactChange> {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(Made)
}

// Links and directories.

pub(super) fn link_target(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    link(probe, "dir/link", "twin-b")
}

pub(super) fn link_dangling(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    link(probe, "dir/link", "nowhere")
}

fn link(probe: &AuditProbe<'_>, path: &str, target: &str) -> Result<FactChange> {
    let path = probe.app.join(path);
    fs_err::remove_file(&path)?;
    fs_err::os::unix::fs::symlink(target, &path)?;
    Ok(Made)
}

pub(super) fn directory_added(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    fs_err::create_dir(probe.app.join("dir/new"))?;
    Ok(Made)
}

pub(super) fn directory_removed(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    fs_err::remove_dir(probe.app.join("dir/empty"))?;
    Ok(Made)
}

// What differs between clones.

pub(super) fn time_of_file(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    time(&probe.app.join("dir/file"))
}

pub(super) fn time_of_directory(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    time(&probe.app.join("dir/sub"))
}

pub(super) fn time_of_link(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    time(&probe.app.join("dir/link"))
}

fn time(path: &Path) -> Result<FactChange> {
    let day = Timespec {
        tv_sec: 1_000_000_000,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: day,
        last_modification: day,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(Made)
}

pub(super) fn owner(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    for entry in walkdir::WalkDir::new(&probe.app) {
        match std::os::unix::fs::lchown(entry?.path(), Some(12345), Some(12345)) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Ok(NotHere("only root may give files away".to_owned()));
            }
            other => other?,
        }
    }
    Ok(Made)
}

pub(super) fn inode(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    let path = probe.app.join("dir/file");
    let text = fs_err::read_to_string(&path)?;
    write(&probe.app.join("dir/.new"), &text, 0o644)?;
    fs_err::rename(probe.app.join("dir/.new"), path)?;
    Ok(Made)
}

pub(super) fn hard_link(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    fs_err::remove_file(probe.app.join("dir/twin-b"))?;
    fs_err::hard_link(probe.app.join("dir/twin-a"), probe.app.join("dir/twin-b"))?;
    Ok(Made)
}

pub(super) fn path(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    let folder = probe.app.with_file_name("elsewhere");
    fs_err::create_dir(&folder)?;
    let moved = folder.join("my app");
    fs_err::rename(&probe.app, &moved)?;
    probe.app = moved;
    Ok(Made)
}

pub(super) fn attribute_of_file(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    attribute(&probe.app.join("dir/file"))
}

pub(super) fn attribute_of_directory(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    attribute(&probe.app.join("dir/sub"))
}

fn attribute(path: &Path) -> Result<FactChange> {
    match rustix::fs::setxattr(path, OsStr::new("user.audit"), b"1", XattrFlags::empty()) {
        Err(Errno::NOTSUP | Errno::PERM) => Ok(NotHere("the file system has no user attributes".to_owned())),
        other => Ok(other.map(|()| Made)?),
    }
}

// Ignore rules.

pub(super) fn ignored_content(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    write(&probe.app.join("dir/ignored.log"), "other", 0o644)?;
    Ok(Made)
}

pub(super) fn pattern_without_effect(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    let text = format!("**/ignored*\nnothing-{}\n", probe.nonce);
    write(&probe.app.join(".dockerignore"), &text, 0o644)?;
    Ok(Made)
}

pub(super) fn pattern_with_effect(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    write(
        &probe.app.join(".dockerignore"),
        "**/ignored*\ndir/other\n",
        0o644,
    )?;
    Ok(Made)
}

pub(super) fn pattern_removed(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    fs_err::remove_file(probe.app.join(".dockerignore"))?;
    Ok(Made)
}

pub(super) fn git(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    write(&probe.app.join(".git/HEAD"), &probe.nonce, 0o644)?;
    Ok(Made)
}

pub(super) fn secret_file(probe: &mut AuditProbe<'_>) -> Result<FactChange> {
    write(&probe.app.join("dir/.env"), &probe.nonce, 0o600)?;
    Ok(Made)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn times_can_be_set_on_links() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        time(&link).unwrap();
        let modified = link.symlink_metadata().unwrap().modified().unwrap();
        assert_eq!(
            modified,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
        );
    }
}
