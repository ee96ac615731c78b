//! A root file system as an image that every engine loads under the same ID.
//!
//! `docker import` would stamp the time of the import into the image, giving
//! each engine another ID and with it another build cache. An archive in the
//! engine's own format, made by us, is the same bytes everywhere.

use std::fs::Permissions;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use inputs::hex;

/// How many bytes are read and hashed at a time.
const READ_SIZE: usize = 128 << 10;

/// The time in the image: constant, so that equal content is equal bytes.
pub(crate) const EPOCH: u64 = 1_700_000_000;

/// [`EPOCH`] as the image configuration writes it.
const CREATED: &str = "2023-11-14T22:13:20Z";

/// What containers of a bare base run with.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an image says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label<'a> {
    /// In the engine's words: `amd64`.
    pub(crate) architecture: &'a str,
    /// The line of `docker history`.
    pub(crate) created_by: &'a str,
}

/// SHA-256 of a file, in hex.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn digest(layer: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut file = fs_err::File::open(layer)?;
    let mut buffer = vec![0; READ_SIZE];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::digits(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Writes the archive of a one-layer image named `reference` to `out`. A
/// function of its arguments: the same layer gives the same bytes.
///
/// # Errors
/// When the layer cannot be read or `out` not written.
pub(crate) fn write(layer: &Path, digest: &str, reference: &str, label: Label<'_>, out: &Path) -> Result<()> {
    let file = fs_err::File::open(layer)?;
    let bytes = file.metadata()?.len();
    let created = fs_err::File::create(out)?;
    created.set_permissions(Permissions::from_mode(0o600))?;
    let writer = BufWriter::with_capacity(1 << 20, created);
    let finished = build(
        BufReader::with_capacity(1 << 20, file),
        bytes,
        digest,
        reference,
        label,
        writer,
    )
    .with_context(|| format!("write {}", out.display()))?;
    let file = finished
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(())
}

fn build<W: Write>(
    layer: impl Read,
    bytes: u64,
    digest: &str,
    reference: &str,
    label: Label<'_>,
    out: W,
) -> Result<W> {
    let config = serde_json::to_vec(&json!({
        "architecture": label.architecture,
        "os": "linux",
        "created": CREATED,
        "config": {"Env": [format!("PATH={SEARCH_PATH}")], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        "history": [{"created": CREATED, "created_by": label.created_by}],
    }))?;
    let config_name = format!("{}.json", hex::digits(&Sha256::digest(&config)));
    let layer_name = format!("{digest}/layer.tar");
    let manifest = serde_json::to_vec(&json!([
        {"Config": config_name, "RepoTags": [reference], "Layers": [layer_name]}
    ]))?;
    let mut archive = tar::Builder::new(out);
    append(&mut archive, &config_name, config.len() as u64, config.as_slice())?;
    append(&mut archive, &layer_name, bytes, layer)?;
    append(
        &mut archive,
        "manifest.json",
        manifest.len() as u64,
        manifest.as_slice(),
    )?;
    Ok(archive.into_inner()?)
}

fn append<W: Write>(archive: &mut tar::Builder<W>, name: &str, bytes: u64, data: impl Read) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_mtime(EPOCH);
    header.set_uid(0);
    header.set_gid(0);
    archive.append_data(&mut header, name, data)?;
    Ok(())
}

/// BLAKE3 of a whole file, in hex: a quick proof that it is what was written.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn checksum(path: &Path) -> Result<String> {
    let mut file = fs_err::File::open(path)?;
    let mut hash = blake3::Hasher::new();
    std::io::copy(&mut file, &mut hash).with_context(|| format!("read {}", path.display()))?;
    Ok(hash.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label<'_> = Label {
        architecture: "amd64",
        created_by: "test",
    };

    fn archive(dir: &Path, name: &str, content: &[u8]) -> Vec<u8> {
        let layer = dir.join("layer");
        fs_err::write(&layer, content).unwrap();
        let out = dir.join(name);
        write(&layer, &digest(&layer).unwrap(), "hive-base:x", LABEL, &out).unwrap();
        fs_err::read(out).unwrap()
    }

    #[test]
    fn same_layer_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let first = archive(dir.path(), "a", b"one");
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert_eq!(first, archive(dir.path(), "b", b"one"));
        assert_ne!(first, archive(dir.path(), "c", b"two"));
    }

    #[test]
    fn parts_name_each_other_by_digest() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = archive(dir.path(), "a", b"one");
        let mut parts = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            parts.insert(name, data);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&parts["manifest.json"]).unwrap();
        let config_name = manifest[0]["Config"].as_str().unwrap();
        let config = &parts[config_name];
        assert_eq!(
            config_name,
            format!("{}.json", hex::digits(&Sha256::digest(config)))
        );
        let config: serde_json::Value = serde_json::from_slice(config).unwrap();
        let layer = &parts[manifest[0]["Layers"][0].as_str().unwrap()];
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            format!("sha256:{}", hex::digits(&Sha256::digest(layer)))
        );
        assert_eq!(manifest[0]["RepoTags"][0], "hive-base:x");
    }

    #[test]
    fn checksum_sees_a_flipped_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs_err::write(&path, b"abc").unwrap();
        let before = checksum(&path).unwrap();
        fs_err::write(&path, b"abd").unwrap();
        assert_ne!(before, checksum(&path).unwrap());
    }
}
