//! How a backup of this tool's is known, by its name and by the seal at its end:
//! what writes them is the crate `data`.

/// How all of them end, but for what stands behind that where they are encrypted.
pub const ENDING: &str = ".tar.zst";

/// Where one is encrypted.
pub const ENCRYPTED: &str = ".age";

/// The number that a seal begins with: one of the sixteen that zstd skips.
pub const SEAL_MAGIC: u32 = 0x184D_2A5B;

/// Bytes of a whole seal, the same for all backups.
pub const SEAL_SIZE: usize = 32 * 1024;

/// Whether a file is called as this tool calls its backups and what lies beside them:
/// `genie-20261121T031500.123Z-0123abcd.tar.zst`, with `.dump` before that, or with
/// `.age`, `.age.seal` or `.hive.partial` behind it.
pub(crate) fn is_named_as_one(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    let Some((stem, _)) = name.split_once(ENDING) else {
        return false;
    };
    let mut parts = stem.trim_end_matches(".dump").rsplit('-');
    let (Some(id), Some(began)) = (parts.next(), parts.next()) else {
        return false;
    };
    let is_id = id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let is_digit = |(at, byte): (usize, u8)| {
        if at == 8 {
            byte == b'T'
        } else {
            byte.is_ascii_digit()
        }
    };
    is_id && began.ends_with('Z') && began.len() >= 16 && began.bytes().take(15).enumerate().all(is_digit)
}

/// Whether the last bytes of a file are a seal.
pub(crate) fn begins_seal(end: &[u8]) -> bool {
    end.starts_with(&SEAL_MAGIC.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_are_known_by_their_names() {
        for name in [
            "genie-20261121T031500.123Z-0123abcd.tar.zst",
            "my-app-20261121T031500Z-0123abcd.dump.tar.zst",
            "genie-20261121T031500.123Z-0123abcd.tar.zst.age",
            "genie-20261121T031500.123Z-0123abcd.tar.zst.age.seal",
        ] {
            assert!(is_named_as_one(name.as_bytes()), "{name}");
        }
        for name in [
            "model.tar.zst",
            "model-20261121-0123abcd.tar.zst",
            "a-20261121T031500Z-xyz.tar.zst",
            "genie-20261121T031500.123Z-0123abcd.tar.gz",
        ] {
            assert!(!is_named_as_one(name.as_bytes()), "{name}");
        }
    }
}
