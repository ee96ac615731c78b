//! Tests of `super`: small trees in temporary folders.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::mkfifoat;

use super::*;
use crate::context::{Digest, Ignore, InputKind};

/// A tree from `path` or `path=content`; a path with a slash at its end is a
/// directory.
fn tree(entries: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in entries {
        let (path, content) = entry.split_once('=').unwrap_or((entry, "content"));
        let path = folder.path().join(path);
        if entry.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
    folder
}

fn exact(ignore: &str) -> Rules {
    Rules::exact(Ignore::parse(ignore.as_bytes()).unwrap())
}

fn paths(found: &Found) -> Vec<&str> {
    found.inputs.iter().map(|input| &*input.path).collect()
}

fn problems(root: &Path, rules: &Rules) -> Vec<String> {
    let problems = walk(root, rules, &WalkOptions::default()).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn sorted_with_kinds_and_facts() {
    let folder = tree(&["b/c=12", "a", "empty/", "b-d"]);
    symlink("../a", folder.path().join("b/link")).unwrap();
    fs::set_permissions(folder.path().join("a"), fs::Permissions::from_mode(0o4751)).unwrap();
    let found = walk(folder.path(), &exact(""), &WalkOptions::default()).unwrap();
    assert_eq!(paths(&found), ["a", "b", "b-d", "b/c", "b/link", "empty"]);
    assert_eq!(found.inputs[0].mode(), 0o755);
    assert_eq!(found.inputs[5].kind, InputKind::Directory);
    assert_eq!(
        found.inputs[4].kind,
        InputKind::Symlink {
            target: "../a".into()
        }
    );
    let digest = Digest(*blake3::hash(b"12").as_bytes());
    let file = InputKind::File {
        executable: false,
        size: 2,
        digest,
    };
    assert_eq!(found.inputs[3].kind, file);
    assert_eq!(found.hashed, 3);
}

/// Two clones of one commit differ in all of these.
#[test]
fn umask_times_and_place_do_not_count() {
    let (one, other) = (tree(&["a/b", "run"]), tree(&["a/b", "run"]));
    let set = |folder: &tempfile::TempDir, path: &str, mode| {
        let path = folder.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for (path, mode) in [("a", 0o700), ("a/b", 0o600), ("run", 0o700)] {
        set(&one, path, mode);
    }
    for (path, mode) in [("a", 0o2775), ("a/b", 0o664), ("run", 0o775)] {
        set(&other, path, mode);
    }
    let file = File::options()
        .write(true)
        .open(other.path().join("a/b"))
        .unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let inputs = |folder: &tempfile::TempDir| {
        walk(folder.path(), &exact(""), &WalkOptions::default())
            .unwrap()
            .inputs
    };
    assert_eq!(inputs(&one), inputs(&other));
    set(&other, "a/b", 0o744);
    assert_ne!(inputs(&one), inputs(&other));
}

#[test]
fn ways_to_what_is_kept() {
    let folder = tree(&["a/b/c.py", "a/b/d", "a/e/f", "g/h", "i.py"]);
    let found = walk(folder.path(), &exact("*\n!**/*.py"), &WalkOptions::default()).unwrap();
    assert_eq!(paths(&found), ["a", "a/b", "a/b/c.py", "i.py"]);
    let found = walk(folder.path(), &exact("a/*\n!a/e\ng"), &WalkOptions::default()).unwrap();
    assert_eq!(paths(&found), ["a", "a/e", "a/e/f", "i.py"]);
}

#[test]
fn all_problems_at_once() {
    let folder = tree(&["a", "d/b"]);
    let at = |path: &str| folder.path().join(path);
    let _socket = UnixListener::bind(at("d/socket")).unwrap();
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    symlink("/etc/passwd", at("absolute")).unwrap();
    symlink("../../x", at("d/out")).unwrap();
    fs::write(folder.path().join(OsStr::from_bytes(b"d/\xff\n")), "").unwrap();
    assert_eq!(
        problems(folder.path(), &exact("")),
        [
            "absolute: the link points out of the context, to \"/etc/passwd\"",
            "d/\\xff\\n: its name or target is not UTF-8",
            "d/out: the link points out of the context, to \"../../x\"",
            "d/socket: a socket cannot be built",
            "fifo: a fifo cannot be built",
        ]
    );
    let rules = exact("absolute\nd/o*\nd/s*\nd/*\n!d/b\nfifo");
    assert_eq!(
        paths(&walk(folder.path(), &rules, &WalkOptions::default()).unwrap()),
        ["a", "d", "d/b"]
    );
}

#[test]
fn odd_names() {
    let names = [
        "new\nline",
        " ",
        "é",
        "e\u{301}",
        "[a]",
        "\\",
        "*",
        &"n".repeat(255),
    ];
    let folder = tree(&names);
    let found = walk(folder.path(), &exact(""), &WalkOptions::default()).unwrap();
    let mut sorted = names;
    sorted.sort_unstable();
    assert_eq!(paths(&found), sorted);
}

#[test]
fn deep_trees() {
    let folder = tempfile::tempdir().unwrap();
    let deep = vec!["d"; 1000].join("/");
    fs::create_dir_all(folder.path().join(&deep)).unwrap();
    let found = walk(folder.path(), &exact(""), &WalkOptions::default()).unwrap();
    assert_eq!(found.inputs.len(), 1000);
    assert_eq!(*found.inputs[999].path, *deep);
}

#[test]
fn root_may_be_a_link_and_has_to_be_there() {
    let folder = tree(&["app/a"]);
    symlink("app", folder.path().join("link")).unwrap();
    let found = walk(&folder.path().join("link"), &exact(""), &WalkOptions::default()).unwrap();
    assert_eq!(paths(&found), ["a"]);
    let missing = problems(&folder.path().join("nowhere"), &exact(""));
    assert!(missing[0].contains("No such file"), "{missing:?}");
    let file = problems(&folder.path().join("app/a"), &exact(""));
    assert!(file[0].contains("Not a directory"), "{file:?}");
}

#[test]
fn links_are_followed_to_see_where_they_lead() {
    let folder = tree(&["a/b/c", "d/"]);
    let link = |target: &str, path: &str| symlink(target, folder.path().join(path)).unwrap();
    link("a/b", "inner");
    link("inner/../..", "root");
    link("loop", "loop");
    link("nowhere/../a", "dangling");
    link("..", "d/up");
    assert_eq!(
        walk(folder.path(), &exact(""), &WalkOptions::default())
            .unwrap()
            .inputs
            .len(),
        9
    );
    // Written, it stays inside; followed, it does not.
    link("up/../x", "d/out");
    link("d/up/../x", "out");
    link("nowhere/../../x", "gone");
    let found: Vec<String> = problems(folder.path(), &exact(""));
    let paths: Vec<&str> = found.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(paths, ["d/out", "gone", "out"]);
}

#[test]
fn emptied_files_are_named_with_their_pattern() {
    let folder = tree(&["foo/sub/deep.txt", "foo/sub/empty="]);
    let rules = exact("foo\n!foo/sub/deep.txt\n!foo/sub/empty\nfoo/sub");
    let found = problems(folder.path(), &rules);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("foo/sub/deep.txt: pattern \"foo/sub\" comes after"),
        "{found:?}"
    );
}

/// As another user: root may read everything.
fn as_nobody<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    let nobody = rustix::fs::Uid::from_raw(65534);
    if !rustix::process::getuid().is_root() {
        return act();
    }
    let become_nobody = move |_| rustix::thread::set_thread_uid(nobody).unwrap();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .start_handler(become_nobody)
        .build()
        .unwrap();
    pool.install(act)
}

#[test]
fn what_may_not_be_read() {
    let folder = tree(&["data/pg/base", "secret", "lock/x", "a"]);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for path in ["data/pg", "lock", "secret"] {
        let path = folder.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let (found, safe, passed) = as_nobody(|| {
        let safe = Rules::safe(Ignore::parse(b"lock\nsecret").unwrap());
        (
            problems(folder.path(), &exact("")),
            walk(folder.path(), &safe, &WalkOptions::default()).unwrap(),
            walk(folder.path(), &exact("*\n!**/a"), &WalkOptions::default()).unwrap(),
        )
    });
    assert_eq!(
        found,
        [
            "data/pg: permission denied",
            "lock: permission denied",
            "secret: permission denied",
        ]
    );
    assert_eq!(paths(&safe), ["a", "data"]);
    // Entered for the exception's sake; BuildKit passes over them as well.
    assert_eq!(paths(&passed), ["a"]);
    for path in ["data/pg", "lock"] {
        let path = folder.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn unreadable_data_is_left_out_and_said() {
    let folder = tree(&["data/mine/x", "app/data/x", "a"]);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mode = |path: &str, mode| {
        fs::set_permissions(folder.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("data/mine", 0o000);
    let rules = Rules::safe(Ignore::default());
    let found = as_nobody(|| walk(folder.path(), &rules, &WalkOptions::default())).unwrap();
    let left_out = LeftOut {
        path: "data/mine".to_owned(),
        reason: ExclusionReason::Unreadable,
        refused: Vec::new(),
    };
    assert_eq!(found.left_out, [left_out]);
    mode("app/data", 0o000);
    let problems = as_nobody(|| walk(folder.path(), &rules, &WalkOptions::default())).unwrap_err();
    assert_eq!(problems[0].path, "app/data");
    mode("app/data", 0o755);
    mode("data/mine", 0o755);
}

/// Makes all stats old enough to be trusted.
fn settle() {
    std::thread::sleep(Duration::from_millis(2100));
}

#[test]
fn index_spares_what_did_not_change() {
    let folder = tree(&["a=1", "b=2", "c/d=3"]);
    let state = tempfile::tempdir().unwrap();
    let index = state.path().join("new/index");
    let scan = || walk(folder.path(), &exact(""), &indexed(&index)).unwrap();
    // Too young to be trusted.
    assert_eq!(scan().hashed, 3);
    assert_eq!(scan().hashed, 3);
    settle();
    let first = scan();
    assert_eq!(first.hashed, 3);
    let again = scan();
    assert_eq!(again.hashed, 0);
    assert_eq!(again.inputs, first.inputs);

    // Same size and same time: the change time gives it away.
    let b = folder.path().join("b");
    let modified = b.metadata().unwrap().modified().unwrap();
    fs::write(&b, "9").unwrap();
    File::options()
        .write(true)
        .open(&b)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let changed = scan();
    assert_eq!(changed.hashed, 1);
    assert_ne!(changed.inputs, first.inputs);

    fs::remove_file(folder.path().join("a")).unwrap();
    let removed = scan();
    assert_eq!(paths(&removed), ["b", "c", "c/d"]);
    assert_eq!(removed.hashed, 1, "`b` is still young");
}

fn indexed(index: &Path) -> WalkOptions<'_> {
    WalkOptions {
        index: Some(index),
        ..WalkOptions::default()
    }
}

#[test]
fn stops_between_directories_files_and_blocks() {
    let folder = tree(&["a=1", "b/c=2"]);
    fs::write(folder.path().join("large"), vec![0; 4 << 20]).unwrap();
    let asked = AtomicUsize::new(0);
    let calls = |after: usize| {
        asked.store(0, Ordering::Relaxed);
        let options = WalkOptions {
            stop: &|| asked.fetch_add(1, Ordering::Relaxed) >= after,
            ..WalkOptions::default()
        };
        let problems = walk(folder.path(), &exact(""), &options).map(|_| ());
        (problems, asked.load(Ordering::Relaxed))
    };
    let (all, most) = calls(usize::MAX);
    assert!(all.is_ok());
    assert!(most > 32, "{most}: the large file alone has 32 blocks");
    for after in 0..most {
        let (problems, asked) = calls(after);
        let problems = problems.unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].what, What::Stopped);
        // Each of what is on its way at the same time asks once more.
        assert!(asked <= after + 8, "{asked} after {after}");
    }
}

#[test]
fn index_that_is_no_file_is_not_opened() {
    let folder = tree(&["a=1"]);
    let state = tempfile::tempdir().unwrap();
    let index = state.path().join("index");
    mkfifoat(CWD, &index, Mode::RUSR | Mode::WUSR).unwrap();
    assert_eq!(
        walk(folder.path(), &exact(""), &indexed(&index)).unwrap().hashed,
        1
    );
    fs::remove_file(&index).unwrap();
    symlink("/dev/zero", &index).unwrap();
    assert_eq!(
        walk(folder.path(), &exact(""), &indexed(&index)).unwrap().hashed,
        1
    );
}

#[test]
fn a_change_is_what_is_younger_than_the_index() {
    let folder = tree(&["a=1", "b=2"]);
    let state = tempfile::tempdir().unwrap();
    let index = state.path().join("index");
    let told = || {
        let told = AtomicBool::new(false);
        let tell = || told.store(true, Ordering::Relaxed);
        let options = WalkOptions {
            changed: &tell,
            ..indexed(&index)
        };
        walk(folder.path(), &exact("b"), &options).unwrap();
        told.into_inner()
    };
    settle();
    assert!(!told(), "there is no index yet");
    assert!(!told());
    // The clock of a file system ticks in steps of some milliseconds.
    std::thread::sleep(Duration::from_millis(50));
    fs::write(folder.path().join("b"), "3").unwrap();
    assert!(!told(), "`b` is no input");
    fs::write(folder.path().join("a"), "1").unwrap();
    assert!(told());
}

#[test]
fn index_that_is_no_good_counts_for_nothing() {
    let (folder, other) = (tree(&["a=1", "b=2"]), tree(&["a=1", "b=2"]));
    let state = tempfile::tempdir().unwrap();
    let index = state.path().join("index");
    let hashed = |root: &Path| walk(root, &exact(""), &indexed(&index)).unwrap().hashed;
    settle();
    assert_eq!((hashed(folder.path()), hashed(folder.path())), (2, 0));
    let good = fs::read(&index).unwrap();
    for at in [0, 20, good.len() / 2, good.len() - 40, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&index, bad).unwrap();
        assert_eq!(
            (hashed(folder.path()), hashed(folder.path())),
            (2, 0),
            "byte {at}"
        );
    }
    for length in [0, 10, good.len() / 2, good.len() - 1] {
        fs::write(&index, &good[..length]).unwrap();
        assert_eq!(
            (hashed(folder.path()), hashed(folder.path())),
            (2, 0),
            "length {length}"
        );
    }
    // Another tree's.
    assert_eq!(hashed(other.path()), 2);
    // A place where no index can be.
    fs::remove_file(&index).unwrap();
    fs::create_dir(&index).unwrap();
    assert_eq!(hashed(folder.path()), 2);
}
