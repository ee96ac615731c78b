//! The faults of the full suite as data, and the suite's key. To add one, see
//! [`fault`](super::fault).

pub mod processes;

use super::fault::FaultDef;
use super::suite::{self, framed};
use crate::spec::ImageSpec;

/// What an image has to bear before a release, after the gate.
pub const FULL: &[FaultDef] = &[FaultDef {
    name: "kill-postmaster",
    proves: "PostgreSQL is back by itself after kill -9 of the postmaster, with every committed row",
    alone: false,
    run: processes::postmaster,
}];

/// The suite's own source, see [`suite`].
const SOURCE: &[(&str, &str)] = &[
    ("fault.rs", include_str!("fault.rs")),
    ("faults.rs", include_str!("faults.rs")),
    ("scene.rs", include_str!("scene.rs")),
    ("faults/processes.rs", include_str!("faults/processes.rs")),
];

/// What an image is proved against by the full suite: the gate's key and all
/// faults. SHA-256 in hex.
///
/// # Errors
/// As [`suite::key`].
pub fn key(spec: &ImageSpec) -> serde_json::Result<String> {
    let gate = suite::key(spec)?;
    let mut fields = vec![("gate", gate.as_str())];
    fields.extend(FULL.iter().map(|fault| ("fault", fault.name)));
    fields.extend(SOURCE.iter().map(|(_, source)| ("source", *source)));
    Ok(framed(&fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_none_of_the_gate() {
        let mut known: BTreeSet<&str> = suite::GATE.iter().map(|check| check.name).collect();
        for fault in FULL {
            assert!(known.insert(fault.name), "{} twice", fault.name);
            assert!(fault.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
        }
    }

    #[test]
    fn the_key_covers_every_source_of_faults() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/smoke/faults");
        for entry in fs_err::read_dir(folder).unwrap() {
            let name = format!("faults/{}", entry.unwrap().file_name().to_string_lossy());
            assert!(SOURCE.iter().any(|(file, _)| *file == name), "{name}");
        }
    }

    #[test]
    fn the_key_is_the_gates_no_more() {
        let spec = crate::smoke::tests::spec();
        assert_ne!(key(&spec).unwrap(), suite::key(&spec).unwrap());
        let mut other = spec.clone();
        other.budgets.ready_seconds += 1.0;
        assert_ne!(key(&spec).unwrap(), key(&other).unwrap());
    }
}
