//! What lies in the image, as `docker export` and `docker save` show it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use crate::build_images::{Bench, docker};

/// Bytes that a later layer may store again: the accounts, the records of
/// packages, and the programs that lost their setuid bit.
const STORED_TWICE: u64 = 1_000_000;

/// Programs that build, install or change users, and what packages leave.
const UNWANTED: &str = "\
    for name in gcc cc make pip pip3 uv sudo curl wget ssh git; do command -v $name; done\n\
    # perl-base is what dpkg needs; the rest of Perl is not.\n\
    find /usr/share/perl -mindepth 1 2>/dev/null\n\
    find / -xdev -type f -perm /6000\n\
    find / -xdev '(' -path '*/.cache/*' -o -path '/var/cache/*' -o -path '/var/lib/apt/lists/*' \
        -o -path '/tmp/*' -o -path '/var/log/*' -o -path '/usr/share/man/*' -o -name '*.a' \
        -o -name '*-old' -o -name '*.dpkg-*' ')' -type f -size +0\n\
    find / -xdev -type d -perm -2 ! -perm -1000\n\
    find / -xdev -nouser -o -xdev -nogroup\n\
    true";

/// Bytecode whose source is another one by now, or gone.
const STALE: &str = "\
import importlib.util, pathlib, sys
count = 0
for pyc in pathlib.Path('/').rglob('*.pyc'):
    if pyc.parts[1] in ('proc', 'sys'):
        continue
    count += 1
    source = pyc.parent.parent / (pyc.name.split('.')[0] + '.py')
    head = pyc.read_bytes()[:16]
    if head[4] & 1 == 0:
        print('by time:', pyc)
    elif not source.exists():
        print('without source:', pyc)
    elif head[8:16] != importlib.util.source_hash(source.read_bytes()):
        print('stale:', pyc)
print(count if count > 500 else 'hardly any bytecode')
";

#[test]
#[ignore = "needs an engine"]
fn nothing_is_in_the_image_without_need_or_twice() {
    let bench = Bench::new("contents", "", "");
    bench.xtask(&["build-images"]).expect(0);
    let image = format!("hive-{}:latest", bench.name);
    let run = |command: &[&str]| {
        let start = ["run", "--rm", "--user", "0:0", "--network", "none"];
        docker(&[&start[..], &["--entrypoint", command[0], &image], &command[1..]].concat())
    };
    assert_eq!(run(&["sh", "-c", UNWANTED]), "");
    let bytecode = run(&["python3", "-I", "-c", STALE]);
    assert!(bytecode.trim().parse::<u32>().is_ok(), "{bytecode}");

    let archive = bench.checkout.path("image.tar");
    docker(&["save", "--output", archive.to_str().unwrap(), &image]);
    let twice = stored_twice(&archive);
    let bytes: u64 = twice.values().sum();
    assert!(bytes < STORED_TWICE, "{bytes} bytes: {twice:#?}");
}

/// Files of a layer that a later one has again: path → bytes of the first.
fn stored_twice(archive: &Path) -> BTreeMap<PathBuf, u64> {
    let manifest: serde_json::Value = serde_json::from_slice(&entry(archive, "manifest.json")).unwrap();
    let layers = manifest[0]["Layers"].as_array().unwrap().clone();
    assert!(layers.len() > 3, "{manifest}");
    let mut seen: BTreeMap<PathBuf, u64> = BTreeMap::new();
    let mut again = BTreeMap::new();
    for layer in layers {
        let bytes = entry(archive, layer.as_str().unwrap());
        for file in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let file = file.unwrap();
            let normal = |part: &Component<'_>| matches!(part, Component::Normal(_));
            let path: PathBuf = file.path().unwrap().components().filter(normal).collect();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if let Some(gone) = name.strip_prefix(".wh.") {
                // What the base has and the image has not is stored once.
                let gone = path.with_file_name(gone);
                seen.retain(|path, _| !path.starts_with(&gone));
            } else if let Some(bytes) = seen.insert(path.clone(), file.size()) {
                again.insert(path, bytes);
            }
        }
    }
    again
}

/// One file of an archive.
fn entry(archive: &Path, name: &str) -> Vec<u8> {
    let file = fs_err::File::open(archive).unwrap();
    for entry in tar::Archive::new(file).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().as_ref() == Path::new(name) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            return bytes;
        }
    }
    panic!("{} has no {name}", archive.display());
}
