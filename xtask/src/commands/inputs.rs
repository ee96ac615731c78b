//! `cargo xtask inputs`: what a build can read of a folder, fact by fact.

use std::path::Path;

use anyhow::Result;
use inputs::shown::one_line;
use serde_json::json;

use crate::cli::InputsArgs;
use crate::survey;
use build::context;
use host::Host;
use inputs::context::{Found, Input, InputKind, Rules, WalkOptions};

/// Lists the inputs, or their digest.
pub(crate) fn run(args: &InputsArgs, host: &Host) -> Result<()> {
    let folder = std::path::absolute(&args.folder)?;
    if !folder.is_dir() {
        return Err(failure::usage(format!("there is no folder {}", folder.display())).into());
    }
    let ignore = context::ignore(&folder, args.dockerfile.as_deref())?;
    let rules = if args.exact {
        Rules::exact(ignore)
    } else {
        Rules::safe(ignore).without(&folder, &survey::own_folders(host))
    };
    let interrupt = host.runner.interrupt();
    let options = WalkOptions {
        index: Some(&survey::index_file(host, &folder)),
        stop: &|| interrupt.is_set(),
        ..WalkOptions::default()
    };
    let found = context::scan(&folder, &rules, &options)?;
    if args.digest {
        return host.report.data(&found.inputs.digest().to_string());
    }
    if args.json {
        return host
            .report
            .data(&serde_json::to_string_pretty(&document(&folder, &found))?);
    }
    let lines: Vec<String> = found.inputs.iter().map(line).collect();
    if !lines.is_empty() {
        host.report.data(&lines.join("\n"))?;
    }
    for left_out in &found.left_out {
        host.report.detail(format!(
            "not in the image: {} ({})",
            one_line(&left_out.path),
            left_out.reason.as_str()
        ));
    }
    Ok(())
}

/// `644 <blake3> path`, `755 directory path`, `777 link path -> target`.
fn line(input: &Input) -> String {
    let (mode, path) = (input.mode(), one_line(&input.path));
    match &input.kind {
        InputKind::File { digest, .. } => format!("{mode:o} {digest} {path}"),
        InputKind::Directory => format!("{mode:o} directory {path}"),
        InputKind::Symlink { target } => format!("{mode:o} link {path} -> {}", one_line(target)),
    }
}

fn document(folder: &Path, found: &Found) -> serde_json::Value {
    let left_out: Vec<_> = found
        .left_out
        .iter()
        .map(|left_out| json!({ "path": left_out.path, "reason": left_out.reason.as_str(), "refused": left_out.refused }))
        .collect();
    json!({
        "schema": 1,
        "folder": folder,
        "digest": found.inputs.digest(),
        "inputs": found.inputs,
        "left_out": left_out,
    })
}
