//! The store on a folder of its own.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::history::tests::entry;
use crate::sample::sample;
use definition::plan::change::changes;
use host::Environment;
use host::disk;
use host::process::Runner;
use host::report::Report;
use inputs::context::InputKind;

pub(crate) fn host(folder: &Path) -> Host {
    Host {
        env: Environment::default(),
        root: folder.to_owned(),
        runner: Runner::new(Arc::new(AtomicBool::new(false))).unwrap(),
        report: Report::new(true, false),
    }
}

fn add(store: &Store<'_>, definition: &Definition) -> HistoryEntry {
    let made = store.add("genie", definition, |number, definition| HistoryEntry {
        definition,
        ..entry(number)
    });
    made.unwrap()
}

/// A definition with many files.
fn large() -> Definition {
    let mut definition = sample();
    let app = definition.contexts.get_mut("").unwrap();
    for n in 0..3000 {
        app.push(Input {
            path: format!("zz/{n:05}").into(),
            kind: InputKind::Directory,
        });
    }
    definition
}

fn objects(folder: &Path) -> usize {
    names_in(&folder.join("target/images/history/objects")).len()
}

#[test]
fn what_is_written_is_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let host = host(dir.path());
    let store = Store::of(&host);
    assert!(store.entries("genie").is_empty());
    assert!(store.images().is_empty());
    let first = add(&store, &sample());
    let mut second = add(&store, &sample());
    assert_eq!(store.entries("genie"), [first.clone(), second.clone()]);
    second.image_id = None;
    store.write("genie", &second).unwrap();
    assert_eq!(store.entries("genie"), [first, second]);
    assert_eq!(store.images(), ["genie"]);
}

#[test]
fn definitions_are_compared_by_what_they_do_not_share() {
    let dir = tempfile::tempdir().unwrap();
    let host = host(dir.path());
    let store = Store::of(&host);
    let old = large();
    let mut new = large();
    let app = new.contexts.get_mut("").unwrap();
    app.remove(1500);
    app[100].kind = InputKind::Symlink { target: "x".into() };
    new.dockerfile.push_str("RUN x\n");
    let (a, b) = (add(&store, &old), add(&store, &new));
    let whole = changes(&old, &new);
    assert_eq!(whole.len(), 3);
    let (x, y) = store.differing(&a.definition, &b.definition).unwrap();
    assert!(x.contexts[""].len() < 3000, "{}", x.contexts[""].len());
    assert_eq!(changes(&x, &y), whole);
    let (x, y) = store.differing_from(&a.definition, &new).unwrap();
    assert!(y.contexts[""].len() < 3000);
    assert_eq!(changes(&x, &y), whole);
    let (x, y) = store.differing_from(&b.definition, &new).unwrap();
    assert_eq!(changes(&x, &y), []);
}

#[test]
fn shared_contents_lie_there_once_and_go_with_their_last_entry() {
    let dir = tempfile::tempdir().unwrap();
    let host = host(dir.path());
    let store = Store::of(&host);
    add(&store, &large());
    let once = objects(dir.path());
    add(&store, &large());
    assert_eq!(objects(dir.path()), once);
    for _ in 0..KEPT {
        add(&store, &sample());
    }
    let numbers: Vec<u32> = store.entries("genie").iter().map(|entry| entry.number).collect();
    let last = u32::try_from(KEPT).unwrap() + 2;
    assert_eq!(numbers, (3..=last).collect::<Vec<_>>());
    // One Dockerfile, two contexts of one piece each.
    assert_eq!(objects(dir.path()), 3);
}

#[test]
fn what_is_broken_foreign_or_edited_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let host = host(dir.path());
    let store = Store::of(&host);
    let good = add(&store, &sample());
    let bad = add(&store, &large());
    let folder = dir.path().join("target/images/history");
    let file = folder.join("images/genie/000002.json");
    let text = fs::read_to_string(&file).unwrap();
    for broken in [
        text.replace("\"schema\": 1,\n  \"number\"", "\"schema\": 0,\n  \"number\""),
        text.replace("\"number\": 2", "\"number\": 3"),
        text[..text.len() / 2].to_owned(),
        "{\"passed\": true}".to_owned(),
        String::new(),
    ] {
        assert_ne!(broken, text);
        fs::write(&file, broken).unwrap();
        assert_eq!(store.entries("genie"), std::slice::from_ref(&good));
    }
    // Its number is not given away again.
    assert_eq!(add(&store, &sample()).number, 3);

    let piece = &bad.definition.contexts[""][0];
    fs::write(folder.join("objects").join(piece), "[]").unwrap();
    assert!(store.differing(&bad.definition, &good.definition).is_none());
    assert!(store.differing_from(&bad.definition, &sample()).is_none());
    let mut outside = good.definition.clone();
    outside.dockerfile = "../images/genie/000001.json".to_owned();
    assert!(store.differing(&outside, &good.definition).is_none());
    let mut foreign = good.definition.clone();
    foreign.schema += 1;
    assert!(store.differing(&foreign, &good.definition).is_none());
    // A damaged object is repaired by the next entry that has the same.
    let again = add(&store, &large());
    assert!(store.differing(&again.definition, &good.definition).is_some());

    disk::remove(&folder).unwrap();
    store.write("genie", &good).unwrap();
    assert_eq!(store.entries("genie"), [good]);
}

#[test]
fn what_lies_in_the_place_of_an_entry_neither_blocks_nor_overflows() {
    let dir = tempfile::tempdir().unwrap();
    let host = host(dir.path());
    let store = Store::of(&host);
    let good = add(&store, &sample());
    let folder = dir.path().join("target/images/history");
    // Nobody ever writes to it, so a plain read would wait for ever.
    let fifo = folder.join("images/genie/000002.json");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(store.entries("genie"), std::slice::from_ref(&good));
    fs::write(folder.join("images/genie/4294967295.json"), "{}").unwrap();
    assert_eq!(add(&store, &sample()).number, u32::MAX);
    assert_eq!(add(&store, &sample()).number, u32::MAX);
    assert_eq!(store.entries("genie")[0], good);
}
