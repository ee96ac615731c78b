//! What `engine purge` deletes, and what of others it leaves where it is.

use std::path::Path;
use std::process::Command;

use crate::sandbox;

/// A folder that the tool takes for an engine's, with data in it.
fn engine(folder: &Path) {
    for part in ["run", "data/volumes"] {
        fs_err::create_dir_all(folder.join(part)).unwrap();
    }
    fs_err::write(folder.join("hive-private-engine"), "").unwrap();
    fs_err::write(folder.join("data/volumes/row"), "data").unwrap();
}

fn purge(cache: &str, from: &Path) -> Command {
    let mut command = sandbox::command();
    command
        .args(["engine", "purge", "--delete-data"])
        .env("HIVE_CACHE_DIR", cache)
        .current_dir(from);
    command
}

#[test]
fn all_of_the_engine_goes_by_whatever_path() {
    for cache in ["real", "link", "x/../real", "../{top}/real", "./real/."] {
        let dir = tempfile::tempdir().unwrap();
        engine(&dir.path().join("real/engine"));
        fs_err::write(dir.path().join("real/bases"), "kept").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        let top = dir.path().file_name().unwrap().to_str().unwrap();
        let run = sandbox::finish(&mut purge(&cache.replace("{top}", top), dir.path())).expect(0);
        run.says(&["the private engine is gone"]);
        assert!(!dir.path().join("real/engine").exists(), "{cache}");
        assert!(dir.path().join("real/bases").exists(), "{cache}");
    }
}

fn may_mount() -> bool {
    let unshared = Command::new("unshare").args(["--mount", "true"]).status();
    let may = unshared.is_ok_and(|status| status.success());
    if !may {
        eprintln!("skipped: needs the right to mount");
    }
    may
}

/// The call in a mount namespace of its own, after `mounts`.
fn under(mounts: &str, tool: &Command, folder: &Path) -> Command {
    let mut inside = Command::new("unshare");
    inside
        .args(["--mount", "sh", "-ec"])
        .arg(format!("{mounts}; exec \"$@\""))
        .arg("sh")
        .arg(tool.get_program())
        .args(tool.get_args())
        .current_dir(folder);
    for (name, value) in tool.get_envs() {
        inside.env(name, value.unwrap_or_default());
    }
    inside
}

#[test]
fn a_file_system_that_runs_no_programs_is_named_before_any_is_fetched() {
    if !may_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut tool = sandbox::command();
    tool.args(["engine", "up"]).env("HIVE_CACHE_DIR", dir.path());
    let run = sandbox::finish(&mut under("mount -t tmpfs -o noexec tmpfs .", &tool, dir.path())).expect(3);
    run.says(&[
        "/engine lies on a file system that is mounted noexec",
        "hint: set HIVE_CACHE_DIR",
    ]);
    assert!(!run.stderr.contains("fetch packages"), "{}", run.stderr);
}

#[test]
fn a_mount_inside_stops_it_by_whatever_path() {
    if !may_mount() {
        return;
    }
    for cache in ["real", "link", "x/../real", "../{top}/real"] {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        engine(&at("real/engine"));
        std::os::unix::fs::symlink("real", at("link")).unwrap();
        fs_err::create_dir_all(at("real/engine/data/a mount")).unwrap();
        fs_err::create_dir(at("foreign")).unwrap();
        fs_err::write(at("foreign/row"), "foreign").unwrap();
        let top = dir.path().file_name().unwrap().to_str().unwrap();
        let tool = purge(&cache.replace("{top}", top), dir.path());
        let mounts = "mount --bind foreign 'real/engine/data/a mount'";
        let run = sandbox::finish(&mut under(mounts, &tool, dir.path())).expect(3);
        run.says(&["real/engine/data/a mount is a mount", "hint: nothing was deleted"]);
        for kept in ["foreign/row", "real/engine/data/volumes/row", "real/engine/run"] {
            assert!(at(kept).exists(), "{kept} by {cache}");
        }
    }
}

#[test]
fn what_lies_behind_a_link_or_is_not_ours_is_left_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    engine(&at("real/engine"));
    fs_err::rename(at("real/engine/data"), at("larger")).unwrap();
    std::os::unix::fs::symlink(at("larger"), at("real/engine/data")).unwrap();
    let run = sandbox::finish(&mut purge("real", dir.path())).expect(3);
    run.says(&["real/engine/data leads to", "hint: rm -r '"]);
    assert!(at("larger/volumes/row").exists() && at("real/engine/run").exists());

    fs_err::create_dir_all(at("project/engine/src")).unwrap();
    let run = sandbox::finish(&mut purge("project", dir.path())).expect(3);
    run.says(&["project/engine is not the folder of a private engine"]);
    assert!(at("project/engine/src").exists());
}
