//! Public tools that figures are taken with or compared with: what `PATH` has
//! where it is new enough, else what `cargo install` makes of a pinned version.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use host::Host;

/// A release build of a small program on a slow machine.
const INSTALL_DEADLINE: Duration = Duration::from_secs(1200);

/// A program that crates.io has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    /// Of the crate and of the program.
    pub(crate) name: &'static str,
    /// What is installed, and the oldest that will do. It must compile with
    /// the `rust-version` of this workspace.
    pub(crate) version: &'static str,
}

/// Times commands. 1.20 is the first that tells each run's peak memory.
pub(crate) const HYPERFINE: Tool = Tool {
    name: "hyperfine",
    version: "1.20.0",
};

/// Hashes files: the peer of a first scan.
pub(crate) const B3SUM: Tool = Tool {
    name: "b3sum",
    version: "1.8.2",
};

impl Tool {
    /// Where it is, after installing it where needed: into `tools/` of the
    /// cache folder, once for all checkouts.
    ///
    /// # Errors
    /// When it cannot be installed.
    pub(crate) fn path(&self, host: &Host) -> Result<PathBuf> {
        let installed = host.cache_dir().join("tools/bin").join(self.name);
        for candidate in host.program(self.name).into_iter().chain([installed.clone()]) {
            if candidate.is_file() && self.will_do(host, &candidate)? {
                return Ok(candidate);
            }
        }
        let Self { name, version } = self;
        host.report
            .step("install", format!("{name} {version}, to measure with"));
        host.runner
            .cmd("cargo")
            .args(["install", "--quiet", "--locked", "--force", "--root"])
            .arg(host.cache_dir().join("tools"))
            .arg(format!("{name}@{version}"))
            .deadline(INSTALL_DEADLINE)
            .run()
            .with_context(|| format!("install {name} {version}, which the figures are taken with"))?;
        Ok(installed)
    }

    fn will_do(&self, host: &Host, program: &std::path::Path) -> Result<bool> {
        let said = host.runner.cmd(program).arg("--version").output()?;
        let version = said.stdout_text();
        let version = version.split_whitespace().nth(1).unwrap_or_default();
        Ok(said.success() && numbers(version) >= numbers(self.version))
    }
}

/// `1.20.0` as numbers, as many as there are.
fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(numbers("1.9.0") < numbers("1.20.0"));
        assert!(numbers("1.20.0") >= numbers("1.20.0"));
        assert!(numbers("2.0.0") >= numbers("1.20.0"));
        assert!(numbers("") < numbers("1.20.0"));
    }
}
