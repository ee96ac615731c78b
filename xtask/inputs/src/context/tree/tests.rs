//! Tests of `super`: small trees in temporary folders.

use std::fs::File;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::*;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(place.root()).unwrap();
        for (path, content) in files {
            place.write(path, content);
        }
        place
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn inputs(&self) -> Inputs {
        inputs(&self.root())
    }

    fn stage(&self) -> Tree {
        Tree::at(&self.folder.path().join("stage")).unwrap()
    }

    /// Stages, and proves that the tree is what was hashed.
    fn fill(&self) -> Filled {
        let stage = self.stage();
        let wanted = self.inputs();
        let filled = stage.fill(&self.root(), &wanted, &|| false).unwrap();
        assert_eq!(inputs(stage.path()), wanted);
        for input in &wanted {
            assert!(stage.has_mode(input).unwrap(), "{}", input.path);
        }
        filled
    }

    fn staged(&self, path: &str) -> PathBuf {
        self.stage().path().join(path)
    }

    fn modified(&self, path: &str) -> SystemTime {
        self.staged(path).symlink_metadata().unwrap().modified().unwrap()
    }
}

fn inputs(root: &Path) -> Inputs {
    walk(root, &Rules::exact(Ignore::default()), &WalkOptions::default())
        .unwrap()
        .inputs
}

fn filled(written: usize, removed: usize, kept: usize) -> Filled {
    Filled {
        written,
        removed,
        kept,
    }
}

#[test]
fn only_what_changed_is_touched() {
    let place = Place::new(&[("a", "1"), ("d/b", "2"), ("d/c", "3")]);
    assert_eq!(place.fill(), filled(4, 0, 0));
    assert_eq!(place.fill(), filled(0, 0, 4));
    let before = (place.modified("a"), place.modified("d/b"));
    place.write("a", "9");
    fs::remove_file(place.root().join("d/c")).unwrap();
    assert_eq!(place.fill(), filled(1, 1, 2));
    assert_ne!(place.modified("a"), before.0);
    assert_eq!(place.modified("d/b"), before.1);
}

/// What BuildKit would not notice: size and time of the source stay the same.
#[test]
fn same_size_and_time_of_the_source_make_a_new_time() {
    let place = Place::new(&[("a", "one")]);
    let source = place.root().join("a");
    let set = |time| {
        File::options()
            .write(true)
            .open(&source)
            .unwrap()
            .set_modified(time)
            .unwrap()
    };
    set(SystemTime::UNIX_EPOCH);
    place.fill();
    let before = place.modified("a");
    assert_ne!(before, SystemTime::UNIX_EPOCH);
    place.write("a", "two");
    set(SystemTime::UNIX_EPOCH);
    assert_eq!(place.fill(), filled(1, 0, 0));
    assert_ne!(place.modified("a"), before);
}

#[test]
fn kinds_take_each_others_place() {
    let place = Place::new(&[("a", "1"), ("b/c", "2"), ("d", "3"), ("e/f/g", "4")]);
    place.fill();
    let root = place.root();
    for path in ["a", "d"] {
        fs::remove_file(root.join(path)).unwrap();
    }
    for path in ["b", "e"] {
        remove(&root.join(path)).unwrap();
    }
    place.write("a/x", "5");
    place.write("b", "6");
    symlink("a", root.join("d")).unwrap();
    symlink("b", root.join("e")).unwrap();
    // Gone are `b/c`, `e/f` and `e/f/g`; new are `a`, `a/x`, `b`, `d` and `e`.
    assert_eq!(place.fill(), filled(5, 3, 0));
    fs::remove_file(root.join("d")).unwrap();
    symlink("b", root.join("d")).unwrap();
    assert_eq!(place.fill(), filled(1, 0, 4));
}

#[test]
fn modes_are_canonical_and_restored() {
    let place = Place::new(&[("a", "1"), ("run", "2"), ("d/x", "3")]);
    let mode = |path: PathBuf, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    mode(place.root().join("run"), 0o4701);
    mode(place.root().join("a"), 0o600);
    mode(place.root().join("d"), 0o2770);
    place.fill();
    assert_eq!(place.staged("run").metadata().unwrap().mode() & 0o7777, 0o755);
    mode(place.staged("a"), 0o666);
    mode(place.staged("d"), 0o700);
    assert_eq!(place.fill(), filled(2, 0, 2));
    mode(place.root().join("a"), 0o700);
    assert_eq!(place.fill(), filled(1, 0, 3));
}

#[test]
fn what_somebody_did_to_the_tree_is_undone() {
    let place = Place::new(&[("a", "1"), ("b", "2")]);
    place.fill();
    // Behind our back, with size and time kept.
    let time = place.modified("a");
    fs::write(place.staged("a"), "9").unwrap();
    File::options()
        .write(true)
        .open(place.staged("a"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    fs::write(place.staged("extra"), "").unwrap();
    assert_eq!(place.fill(), filled(1, 1, 1));
    assert_ne!(place.modified("a"), time);
    // What the walk cannot understand costs the whole tree.
    symlink("/etc", place.staged("out")).unwrap();
    assert_eq!(place.fill(), filled(2, 0, 0));
    let tree = place.stage().path().to_owned();
    remove(&tree).unwrap();
    fs::write(tree, "").unwrap();
    assert_eq!(place.fill(), filled(2, 0, 0));
}

/// What a killed run may leave: no manifest, half a tree, half a file.
#[test]
fn after_a_kill() {
    let place = Place::new(&[("a", "1"), ("b", "2"), ("c", "3")]);
    place.fill();
    let stage = place.folder.path().join("stage");
    remove(&stage.join("manifest")).unwrap();
    fs::remove_file(place.staged("b")).unwrap();
    fs::write(place.staged("c"), "half").unwrap();
    fs::create_dir_all(stage.join("tmp")).unwrap();
    fs::write(stage.join("tmp/0"), "ha").unwrap();
    assert_eq!(place.fill(), filled(2, 0, 1));
    assert_eq!(fs::read_dir(stage.join("tmp")).unwrap().count(), 0);
}

#[test]
fn manifest_spares_reading_the_tree() {
    let place = Place::new(&[("a", "1"), ("b", "2")]);
    place.fill();
    std::thread::sleep(Duration::from_millis(2100));
    place.fill();
    let stage = place.stage();
    let manifest = stage.folder.join("manifest");
    let rules = Rules::exact(Ignore::default());
    let options = WalkOptions {
        index: Some(&manifest),
        ..WalkOptions::default()
    };
    assert_eq!(walk(stage.path(), &rules, &options).unwrap().hashed, 0);
}

#[test]
fn changed_since_it_was_hashed() {
    let place = Place::new(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")]);
    let wanted = place.inputs();
    place.write("a", "9");
    fs::remove_file(place.root().join("b")).unwrap();
    place.write("c", "longer");
    fs::remove_file(place.root().join("e")).unwrap();
    mkfifoat(CWD, place.root().join("e"), Mode::RUSR).unwrap();
    let stage = place.stage();
    let error = stage.fill(&place.root(), &wanted, &|| false).unwrap_err();
    let problems = error.downcast_ref::<Problems>().unwrap();
    let text: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
    for path in ["a", "b", "c", "e"] {
        assert!(
            text.contains(&format!("{path}: changed while it was read")),
            "{text:?}"
        );
    }
    assert_eq!(text.len(), 4, "{text:?}");
    assert!(
        !stage.path().join("a").exists(),
        "an unproved file must not be staged"
    );
    drop(stage);
    fs::remove_file(place.root().join("e")).unwrap();
    assert_eq!(place.fill().kept, 1);
}

/// BuildKit knows a context by the last part of its path.
#[test]
fn no_two_stages_share_a_name() {
    let (one, other) = (Place::new(&[]), Place::new(&[]));
    let name = |place: &Place| place.stage().path().file_name().map(ToOwned::to_owned);
    assert_eq!(name(&one), name(&one));
    assert_ne!(name(&one), name(&other));
}

/// Two versions within one tick of the clock.
#[test]
fn equal_times_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::create(folder.path().join("a")).unwrap();
    let before = file.metadata().unwrap().modified().unwrap();
    renew(&file, before).unwrap();
    assert!(file.metadata().unwrap().modified().unwrap() > before);
    renew(&file, before).unwrap();
    assert_eq!(
        file.metadata().unwrap().modified().unwrap(),
        before + Duration::from_secs(1)
    );
}

#[test]
fn stopped_before_all_was_copied() {
    let place = Place::new(&[("a", "1"), ("b", "2")]);
    let (stage, wanted) = (place.stage(), place.inputs());
    let error = stage.fill(&place.root(), &wanted, &|| true).unwrap_err();
    assert_eq!(error.to_string(), ".: interrupted");
    assert_eq!(place.fill(), filled(2, 0, 0));
    let error = stage.fill(&place.root(), &wanted, &|| true).unwrap_err();
    assert_eq!(error.to_string(), ".: interrupted");
    assert_eq!(place.fill(), filled(0, 0, 2), "what was staged stays");
}
