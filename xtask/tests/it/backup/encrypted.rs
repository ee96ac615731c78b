//! Backups that age encrypts.

use std::path::PathBuf;

use super::source::{SmallDisk, Source};
use crate::packages;
use crate::sandbox;

/// By age itself: what it decrypts is an ordinary backup, and nobody without the key reads
/// any of it. The image is started on it, too.
#[test]
#[ignore = "needs an engine"]
fn an_encrypted_backup_is_read_by_age_alone() {
    let keys = tempfile::tempdir().unwrap();
    let key = |name: &str| keys.path().join(name).to_str().unwrap().to_owned();
    if packages::programs("age").is_none() {
        return;
    }
    for name in ["ours", "theirs"] {
        let made = packages::age("age-keygen").args(["-o", &key(name)]).status();
        assert!(made.unwrap().success());
    }
    let public = packages::age("age-keygen")
        .args(["-y", &key("ours")])
        .output()
        .unwrap();
    fs_err::write(key("ours.pub"), public.stdout).unwrap();
    let source = Source::start("backup-age");
    source.sql("CREATE TABLE mark AS SELECT 'secret of the source' AS is");
    source
        .backup(&["--encrypt", "age1nobody"])
        .expect(2)
        .says(&["--encrypt age1nobody"]);
    if let Some(disk) = SmallDisk::mount() {
        disk.is_too_small(&source, &["--encrypt", &key("ours.pub")]);
    }
    is_kept_when_its_proof_is_killed(&source, &key("ours.pub"));
    let done = source
        .backup(&["--encrypt", &key("ours.pub"), "--boot"])
        .expect(0);
    done.says(&[
        "encrypted test-genie",
        "booted test-genie",
        "checks of the spec are met",
    ]);
    let file = PathBuf::from(done.stdout.trim());
    let path = file.to_str().unwrap();
    assert!(path.ends_with(".tar.zst.age"), "{path}");
    let dump = key("dump.age");
    source
        .backup(&["--logical", "--encrypt", &key("ours.pub"), "--to", &dump])
        .expect(0)
        .says(&["encrypted test-genie", "loaded, "]);
    let mut names: Vec<String> = fs_err::read_dir(file.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [path.to_owned(), format!("{path}.seal")],
        "nothing plain is left"
    );
    assert_eq!(source.listed(), [("booted".to_owned(), file.clone())]);

    let verify = |more: &[&str]| source.xtask(&[&["backup", "verify", path], more].concat());
    verify(&[]).expect(2).says(&["is encrypted", "--identity FILE"]);
    verify(&["--identity", &key("theirs")])
        .expect(2)
        .says(&["decrypt", "theirs"]);
    verify(&["--bytes"]).expect(0).says(&["whole"]);
    is_passed_on(&source, &key);
    let plain = key("plain.tar.zst");
    let decrypt = ["--decrypt", "--identity", &key("ours"), "--output", &plain, path];
    assert!(packages::age("age").args(decrypt).status().unwrap().success());
    source.xtask(&["backup", "verify", "--bytes", &plain]).expect(0);
    // Its seal is lost: what is in it is enough.
    fs_err::remove_file(format!("{path}.seal")).unwrap();
    let list = source.xtask(&["backup", "list", "test-genie"]).expect(0);
    assert!(
        list.stdout
            .contains(".seal, which says what it is, is not beside it"),
        "{}",
        list.stdout
    );
    // It was not proved yet when that went into it.
    verify(&["--identity", &key("ours")])
        .expect(0)
        .says(&["restored"]);
    assert_eq!(source.listed(), [("restored".to_owned(), file.clone())]);
    let mut bytes = fs_err::read(&file).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    fs_err::write(&file, bytes).unwrap();
    verify(&["--bytes"]).expect(2).says(&["is not what was written"]);
    verify(&["--identity", &key("ours")]).expect(2).says(&["decrypt"]);
}

/// The file is whole before anybody looks at what went into it.
fn is_kept_when_its_proof_is_killed(source: &Source, recipient: &str) {
    let args = ["backup", "test-genie", "--container", &source.name, "--encrypt"];
    let mut command = source.command(&args);
    sandbox::killed_at(command.arg(recipient), "test-genie", "encrypted");
    let listed = source.listed();
    assert_eq!(listed.len(), 1, "{listed:?}");
    let (level, file) = &listed[0];
    assert_eq!(level, "written");
    let path = file.to_str().unwrap();
    source.xtask(&["backup", "verify", "--bytes", path]).expect(0);
    fs_err::remove_file(format!("{path}.seal")).unwrap();
    fs_err::remove_file(file).unwrap();
}

/// What goes to stdout is the same, and decrypts to a backup.
fn is_passed_on(source: &Source, key: &dyn Fn(&str) -> String) {
    let (passed, plain) = (key("passed.age"), key("passed.tar.zst"));
    let args = ["backup", "test-genie", "--container", &source.name, "--to", "-"];
    let mut command = source.command(&args);
    command.args(["--encrypt", &key("ours.pub")]);
    let out = fs_err::File::create(&passed).unwrap().into_file();
    assert!(command.stdout(out).status().unwrap().success());
    let decrypt = [
        "--decrypt",
        "--identity",
        &key("ours"),
        "--output",
        &plain,
        &passed,
    ];
    assert!(packages::age("age").args(decrypt).status().unwrap().success());
    source.xtask(&["backup", "verify", "--bytes", &plain]).expect(0);
}
