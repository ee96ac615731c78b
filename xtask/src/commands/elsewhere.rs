//! Commands that are programs of their own, compiled when they are used: what
//! only measures or explains is not part of the first build.

use std::ffi::{OsStr, OsString};

use anyhow::Result;

use crate::cli::ForwardedArgs;
use crate::{checkout, entry};
use host::Host;
use host::process;

/// Lets `cargo run` take this process's place with the program of a package.
pub(crate) fn run(package: &str, args: &ForwardedArgs, host: &Host) -> Result<()> {
    let called_in = host.env.cargo_manifest_dir.as_deref();
    let manifest = checkout::top(None, called_in, entry::compiled_in())?.join("Cargo.toml");
    let mut cargo = vec![
        OsStr::new("run"),
        OsStr::new("--quiet"),
        OsStr::new("--manifest-path"),
        manifest.as_os_str(),
        OsStr::new("--package"),
        OsStr::new(package),
        OsStr::new("--"),
        OsStr::new("--root"),
        host.root.as_os_str(),
    ];
    if host.report.is_verbose() {
        cargo.push(OsStr::new("--verbose"));
    }
    cargo.extend(args.args.iter().map(OsString::as_os_str));
    Err(process::replace("cargo", &cargo))
}
