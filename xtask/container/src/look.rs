//! Looks at a volume from beside: a container of the same image that starts
//! nothing but a script.

use anyhow::Result;

use crate::ask;
use crate::boot::MOUNT;
use definition::identity::ImageId;
use definition::spec::ImageSpec;
use engine::container::{Container, RunResources};
use host::process::{Output, quote};

/// Prints the passwords that a volume keeps, one a line.
pub const PASSWORDS: &str = "cd /var/lib/postgresql/data; cat hive_database_password 2>/dev/null; \
    cd hive && cat database-password superuser-password; cat secret.* 2>/dev/null";

/// Runs a script of `sh` with the volume mounted where the image mounts it,
/// without network; whatever its exit code. `options` stand before the image,
/// such as `--user 0:0`.
///
/// # Errors
/// When the CLI cannot be started, on Ctrl-C, or past its deadline.
pub fn run(
    resources: &RunResources,
    name: &str,
    image_id: &ImageId,
    volume: &str,
    options: &[&str],
    script: &str,
) -> Result<Output> {
    let mount = format!("{volume}:{MOUNT}");
    let mut all = vec!["--entrypoint", "sh", "--network", "none", "--volume", &mount];
    all.extend(options);
    resources.call(name, image_id.as_str(), &all, &["-c", script])
}

/// A container beside that waits for questions: quicker where the moment to
/// look is known before.
///
/// # Errors
/// When the engine cannot start it.
pub fn beside(resources: &RunResources, name: &str, image_id: &ImageId, volume: &str) -> Result<Container> {
    let mount = format!("{volume}:{MOUNT}");
    let options = ["--entrypoint", "sleep", "--network", "none", "--volume", &mount];
    resources.start(name, image_id.as_str(), &options, &["3600"])
}

/// The script for all that `pg_controldata` says of a data directory.
pub fn control_data(spec: &ImageSpec, directory: &str) -> String {
    format!("{}pg_controldata -D {}", ask::prelude(spec), quote(directory))
}

/// `Database cluster state` of what [`control_data`] printed.
pub fn cluster_state(control_data: &str) -> Option<&str> {
    control_data
        .lines()
        .find_map(|line| line.strip_prefix("Database cluster state:"))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_found_among_the_rest() {
        let text = "pg_control version number:            1700\n\
                    Database cluster state:               shut down\n";
        assert_eq!(cluster_state(text), Some("shut down"));
        assert_eq!(cluster_state("pg_controldata: fatal"), None);
    }
}
