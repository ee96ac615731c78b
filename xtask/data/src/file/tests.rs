//! Names, wholeness and listings of backup files; what encrypted ones have beside them.

use super::*;
use crate::seal::sample;
use std::os::unix::fs::PermissionsExt as _;

pub(crate) fn written(folder: &Path, name: &str, contents: &[u8]) -> Backup {
    let mut partial = PartialBackup::create(&folder.join(name)).unwrap();
    partial.write_all(contents).unwrap();
    partial.seal(sealed).unwrap()
}

fn sealed(sha256: String, size: u64) -> Seal {
    Seal {
        sha256,
        size,
        ..sample(ProofLevel::Written)
    }
}

fn report() -> Report {
    Report::new(true, false)
}

fn runner() -> Runner {
    Runner::new(std::sync::Arc::default()).unwrap()
}

#[test]
fn names_sort_by_time_and_differ() {
    let name = |began: &str, run: &str, kind| {
        let mut origin = crate::facts::sample().origin;
        (origin.began, origin.kind) = (began.to_owned(), kind);
        super::name(&origin, run)
    };
    let first = name("2026-11-21T03:15:00.123Z", "1-2", BackupKind::Physical);
    assert!(first.starts_with("genie-20261121T031500.123Z-"), "{first}");
    assert!(first < name("2026-11-21T03:15:00.124Z", "1-2", BackupKind::Physical));
    assert_ne!(
        first,
        name("2026-11-21T03:15:00.123Z", "1-3", BackupKind::Physical)
    );
    let dump = name("2026-11-21T03:15:00.123Z", "1-2", BackupKind::Logical);
    assert_eq!(dump, first.replace(".tar.zst", ".dump.tar.zst"));
}

#[test]
fn a_backup_that_was_compressed_anew_is_told_the_way_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let told = |name: &str, contents: &[u8]| {
        let path = folder.path().join(name);
        fs_err::write(&path, contents).unwrap();
        failure::render(&Backup::open(&path).unwrap_err())
    };
    let anew = told("a.tar.zst", &[&ZSTD_MAGIC[..], &[0; 40_000]].concat());
    assert!(anew.contains("does not end in a seal"), "{anew}");
    assert!(
        anew.contains("pg_verifybackup --ignore=hive-files FOLDER"),
        "{anew}"
    );
    let other = told("b.tar.zst", &[b"PK\x03\x04", &[0; 40_000][..]].concat());
    assert!(!other.contains("pg_verifybackup"), "{other}");
    let damaged = [&ZSTD_MAGIC[..], &SEAL_MAGIC.to_le_bytes(), &[0; SEAL_SIZE - 4]].concat();
    let damaged = told("c.tar.zst", &damaged);
    assert!(damaged.contains("seal at its end is damaged"), "{damaged}");
    assert!(!damaged.contains("pg_verifybackup"), "{damaged}");
}

#[test]
fn only_what_has_its_own_name_is_of_a_series() {
    let origin = crate::facts::sample().origin;
    let of = |name: &str| Backup {
        path: Path::new("/some/where").join(name),
        seal: sample(ProofLevel::Written),
        identity: None,
    };
    let image = origin.image.as_str();
    let own = super::name(&origin, "1-2");
    assert!(of(&own).is_of_series(image) && of(&format!("{own}{ENCRYPTED}")).is_of_series(image));
    let dump = own.replace(".tar.zst", ".dump.tar.zst");
    assert!(of(&dump).is_of_series(image));
    assert!(!of(&own).is_of_series("shop"), "it is of another image");
    let mut later = origin.clone();
    later.began = "2027-01-01T00:00:00.000Z".to_owned();
    for other in [
        "before-the-fair.tar.zst".to_owned(),
        format!("copy-of-{own}"),
        own.replace(".tar.zst", "-1.tar.zst"),
        own.replace(".tar.zst", " (1).tar.zst"),
        super::name(&later, "1-2"),
    ] {
        assert!(!of(&other).is_of_series(image), "{other}");
    }
}

#[test]
fn a_file_is_there_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.tar.zst");
    let names = || fs_err::read_dir(folder.path()).unwrap().count();
    let mut partial = PartialBackup::create(&target).unwrap();
    partial.write_all(b"half").unwrap();
    assert!(!target.exists());
    drop(partial);
    assert_eq!(names(), 0);
    let whole = written(folder.path(), "a.tar.zst", b"whole");
    assert_eq!(names(), 1);
    assert_eq!(
        fs_err::metadata(&target).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(Backup::open(&target).unwrap(), whole);
    whole.check(&runner(), &report()).unwrap();
    let again = PartialBackup::create(&target).unwrap_err();
    assert_eq!(failure::kind(&again), failure::FailureKind::Usage);
}

#[test]
fn what_is_no_backup_file_is_wrong_input() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let link = |to: &str, name: &str| fs_err::os::unix::fs::symlink(to, at(name)).unwrap();
    link("nowhere", "dangling");
    link("loop", "loop");
    fs_err::write(at("file"), "text").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    for name in ["nothing", "dangling", "loop", "file/below", "socket", "", "file"] {
        let error = Backup::open(&at(name)).unwrap_err();
        assert_eq!(failure::kind(&error), failure::FailureKind::Usage, "{error:#}");
        let said = format!("{error:#}");
        assert!(said.contains(at(name).to_str().unwrap()), "{said}");
    }
    // A link counts, wherever it leads: no backup takes its place at the end.
    for name in ["dangling", "loop", "file", "socket", "file/below", "loop/below"] {
        let error = PartialBackup::create(&at(name)).unwrap_err();
        assert_eq!(failure::kind(&error), failure::FailureKind::Usage, "{error:#}");
    }
    let long = PartialBackup::create(&at(&"n".repeat(250))).unwrap_err();
    assert_eq!(failure::kind(&long), failure::FailureKind::Usage, "{long:#}");
    let listed = list(&at("file/test-genie")).unwrap_err();
    assert_eq!(failure::kind(&listed), failure::FailureKind::Usage, "{listed:#}");
    assert!(list(&at("nothing")).unwrap().is_empty());
}

#[test]
fn no_name_is_taken_that_something_has() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for give in [give_name, give_name_by_link, give_name_by_placeholder] {
        fs_err::write(at("new"), "new").unwrap();
        fs_err::write(at("theirs"), "theirs").unwrap();
        let error = give(&at("new"), &at("theirs")).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(fs_err::read(at("theirs")).unwrap(), b"theirs");
        give(&at("new"), &at("free")).unwrap();
        assert_eq!(fs_err::read(at("free")).unwrap(), b"new");
        assert!(!at("new").exists());
        // Where it cannot be given there is none.
        assert!(give(&at("missing"), &at("nothing")).is_err());
        assert!(!at("nothing").exists());
        fs_err::remove_file(at("free")).unwrap();
    }
}

#[test]
fn a_seal_of_somebody_elses_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (target, beside) = (folder.path().join("x"), folder.path().join("x.seal"));
    let partial = PartialBackup::create(&target).unwrap();
    fs_err::write(&beside, "theirs").unwrap();
    assert!(partial.seal_beside(sample(ProofLevel::Written)).is_err());
    let refused = PartialBackup::create(&target).unwrap_err();
    assert_eq!(failure::kind(&refused), failure::FailureKind::Usage);
    assert!(refused.to_string().ends_with("x.seal is there already"));
    assert_eq!(fs_err::read(&beside).unwrap(), b"theirs");
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_full_disk_leads_to_the_right_variable() {
    let mut partial = PartialBackup::create(&tempfile::tempdir().unwrap().keep().join("a.tar.zst")).unwrap();
    partial.file.target = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let folder = folder_of(&partial.target).to_owned();
    let error = partial.seal(sealed).unwrap_err();
    assert_eq!(failure::kind(&error), failure::FailureKind::Environment);
    assert!(
        failure::render(&error)
            .ends_with("hint: make room there, or write to another disk: `--to FILE`, or HIVE_BACKUP_DIR")
    );
    assert_eq!(
        fs_err::read_dir(&folder).unwrap().count(),
        0,
        "nothing half is left"
    );
    fs_err::remove_dir(&folder).unwrap();
}

#[test]
fn only_what_dead_runs_left_is_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let dead = [
        "my-shop-20261121T031500.123Z-0123abcd.tar.zst",
        "shop-20261121T031500.123Z-0123abcd.dump.tar.zst.age",
        "own name",
    ];
    let of_others = [
        "own name.partial",
        "shop-20261121T031500.123Z-0123abcd.tar.zst.partial",
        "photos.tar.zst.hive.partial",
        "dead-20261121T031500.123Z.tar.zst.hive.partial",
        "-20261121T031500.123Z-0123abcd.tar.zst.hive.partial",
        "shop-20261121T031500.123Z-0123abcg.tar.zst.hive.partial",
        "shop-2026112xT031500.123Z-0123abcd.tar.zst.hive.partial",
        "shop-20261121T031500.123Z-0123abcd.tar.zst",
    ];
    for name in dead {
        fs_err::write(at(&format!("{name}.hive.partial")), "half").unwrap();
    }
    for name in of_others {
        fs_err::write(at(name), "somebody's").unwrap();
    }
    let ours = name(&crate::facts::sample().origin, "1-2");
    let _alive = PartialBackup::create(&at(&ours)).unwrap();
    let _other = PartialBackup::create(&at("own name")).unwrap();
    for name in &dead[..2] {
        assert!(!at(&format!("{name}.hive.partial")).exists(), "{name}");
    }
    // Made anew by the one that has this name.
    assert_eq!(fs_err::read(at("own name.hive.partial")).unwrap(), b"");
    for name in of_others {
        assert_eq!(fs_err::read(at(name)).unwrap(), b"somebody's", "{name}");
    }
    assert!(at(&format!("{ours}.hive.partial")).exists());
}

#[test]
fn a_proof_takes_the_place_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut backup = written(folder.path(), "a.tar.zst", b"contents");
    let length = fs_err::metadata(&backup.path).unwrap().len();
    let refused = ProofLevel::Refused {
        at: String::new(),
        why: "no reason".to_owned(),
    };
    for proof in [refused, ProofLevel::Written] {
        backup.prove(proof.clone()).unwrap();
        assert_eq!(Backup::open(&backup.path).unwrap().seal.proof, proof);
    }
    assert_eq!(fs_err::metadata(&backup.path).unwrap().len(), length);
    backup.check(&runner(), &report()).unwrap();
}

#[test]
fn a_kill_while_a_proof_is_written_leaves_a_good_backup() {
    let folder = tempfile::tempdir().unwrap();
    let mut backup = written(folder.path(), "a.tar.zst", b"contents");
    let before = fs_err::read(&backup.path).unwrap();
    let count = || fs_err::read_dir(folder.path()).unwrap().count();
    let refused = ProofLevel::Refused {
        at: String::new(),
        why: "no reason".to_owned(),
    };
    backup.prove(refused.clone()).unwrap();
    let after = fs_err::read(&backup.path).unwrap();
    assert_eq!(count(), 1);
    // What lies there between the two: the new seal beside it, and of it in its place so much.
    let beside = folder.path().join("a.tar.zst.seal");
    let start = before.len() - SEAL_SIZE;
    let differs = (0..SEAL_SIZE)
        .find(|n| before[start + n] != after[start + n])
        .unwrap();
    for (written, proof) in [
        (differs, ProofLevel::Written),
        (differs + 1, refused.clone()),
        (4096, refused.clone()),
        (SEAL_SIZE, refused.clone()),
    ] {
        let start = before.len() - SEAL_SIZE + written;
        fs_err::write(&backup.path, [&after[..start], &before[start..]].concat()).unwrap();
        fs_err::write(&beside, &after[before.len() - SEAL_SIZE..]).unwrap();
        let mut read = Backup::open(&backup.path).unwrap();
        assert_eq!(read.seal.proof, proof, "{written}");
        read.check(&runner(), &report()).unwrap();
        assert_eq!(list(folder.path()).unwrap().len(), 1);
        read.prove(ProofLevel::Written).unwrap();
        assert_eq!(fs_err::read(&backup.path).unwrap(), before, "{written}");
        assert_eq!(count(), 1);
    }
    // One of another file's makes no backup of what is cut off.
    fs_err::write(&beside, &after[before.len() - SEAL_SIZE..]).unwrap();
    fs_err::write(&backup.path, &before[..before.len() - 1]).unwrap();
    let error = Backup::open(&backup.path).unwrap_err();
    assert!(error.to_string().contains("does not end in a seal"), "{error:#}");
    backup.remove().unwrap();
    assert_eq!(count(), 0);
}

/// 200 single flipped bits and 50 cuts, spread over the whole file.
#[test]
fn no_bit_and_no_length_can_change_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let contents: Vec<u8> = (0..150_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let backup = written(folder.path(), "a.tar.zst", &contents);
    let whole = fs_err::read(&backup.path).unwrap();
    let damaged = folder.path().join("damaged.tar.zst");
    let is_found = |bytes: &[u8]| {
        fs_err::write(&damaged, bytes).unwrap();
        Backup::open(&damaged)
            .and_then(|one| one.check(&runner(), &report()))
            .is_err()
    };
    assert!(!is_found(&whole));
    for n in 0..200 {
        let mut bytes = whole.clone();
        let place = n * (whole.len() - 1) / 199;
        bytes[place] ^= 1 << (n % 8);
        assert!(is_found(&bytes), "bit {} of byte {place}", n % 8);
    }
    for n in 0..50 {
        let length = n * (whole.len() - 1) / 49;
        assert!(is_found(&whole[..length]), "cut at {length}");
    }
    let longer = [whole.as_slice(), b"\0"].concat();
    assert!(is_found(&longer) && is_found(&[whole.as_slice(), &whole].concat()));
}

#[test]
fn who_has_read_an_archive_knows_whether_it_is_the_one_that_was_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let backup = written(folder.path(), "a.tar.zst", b"contents");
    let read = |length: u64| {
        let (archive, sum) = backup.sealed_contents(&runner(), &report()).unwrap();
        archive.take(length).read_to_end(&mut Vec::new()).unwrap();
        backup.was_sealed(&sum)
    };
    read(u64::MAX).unwrap();
    assert!(read(backup.seal.size - 1).is_err());
    let mut bytes = fs_err::read(&backup.path).unwrap();
    bytes[3] ^= 1;
    fs_err::write(&backup.path, bytes).unwrap();
    let told = read(u64::MAX).unwrap_err().to_string();
    let checked = backup.check(&runner(), &report()).unwrap_err().to_string();
    assert_eq!(told, checked);
}

#[test]
fn a_folder_tells_what_is_not_whole() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), "a.tar.zst", b"contents");
    fs_err::write(folder.path().join("b.tar.zst"), "cut off").unwrap();
    fs_err::write(folder.path().join("c.txt"), "").unwrap();
    let all = list(folder.path()).unwrap();
    let told: Vec<bool> = all.iter().map(|(_, read)| read.is_ok()).collect();
    assert_eq!(told, [false, true], "what is not known comes first");
    let error = all[0].1.as_ref().unwrap_err().to_string();
    assert!(error.contains("b.tar.zst: it does not end in a seal"), "{error}");
    assert!(list(&folder.path().join("missing")).unwrap().is_empty());
}

#[test]
fn an_encrypted_file_is_known_by_the_seal_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.tar.zst.age");
    let mut partial = PartialBackup::create(&target).unwrap();
    partial.write_all(crate::age::MAGIC).unwrap();
    partial.write_all(b"that nobody here can read").unwrap();
    let mut whole = partial.seal_beside(sample(ProofLevel::Written)).unwrap();
    for entry in fs_err::read_dir(folder.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    whole.check(&runner(), &report()).unwrap();
    let refused = ProofLevel::Refused {
        at: String::new(),
        why: "it is not whole".to_owned(),
    };
    let before = fs_err::read(&target).unwrap();
    whole.prove(refused).unwrap();
    assert_eq!(fs_err::read(&target).unwrap(), before);
    let listed = list(folder.path()).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].1.as_ref().unwrap(), &whole);

    let open = |path: &Path, identity| Backup::open_with(path, identity, &runner(), &report());
    let key = Path::new("key");
    let wanting = failure::render(&open(&target, None).unwrap_err());
    assert!(
        wanting.contains("is encrypted") && wanting.contains("--identity FILE"),
        "{wanting}"
    );
    let plain = written(folder.path(), "b.tar.zst", b"whole");
    let needless = open(&plain.path, Some(key)).unwrap_err();
    assert!(needless.to_string().contains("is not encrypted"), "{needless:#}");

    fs_err::write(&target, [&before[..], b"more"].concat()).unwrap();
    let longer = Backup::open(&target).unwrap_err();
    assert!(longer.to_string().contains("another length"), "{longer:#}");
    let mut changed = before;
    *changed.last_mut().unwrap() ^= 1;
    fs_err::write(&target, changed).unwrap();
    let changed = Backup::open(&target).unwrap().check(&runner(), &report());
    assert_eq!(failure::kind(&changed.unwrap_err()), failure::FailureKind::Usage);

    whole.remove().unwrap();
    plain.remove().unwrap();
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
}
