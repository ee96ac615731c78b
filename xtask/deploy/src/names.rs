//! How the parts of a service are called: the same for `cargo xtask up` and for
//! compose, so that each finds what the other has made.

use definition::spec::names::ImageName;

/// Label of all that belongs to a service: its value is the image's name. The
/// volume of a compose file has none: see [`crate::compose`].
pub const SERVICE_LABEL: &str = "dev.hive.service";

/// Label by which compose knows whose a container, volume or network is.
pub const PROJECT_LABEL: &str = "com.docker.compose.project";

/// Label by which compose knows by which key its file has a volume.
pub const VOLUME_LABEL: &str = "com.docker.compose.volume";

/// The key of the volume in a compose file.
pub const DATA_KEY: &str = "data";

/// The key of the archive's volume in a compose file.
pub const ARCHIVE_KEY: &str = "archive";

/// The compose project of an image's service.
pub fn project(image: &ImageName) -> String {
    format!("hive-{image}")
}

/// The volume with its data.
pub fn volume(image: &ImageName) -> String {
    format!("{image}-data")
}

/// What Podman and Kubernetes call the secret with the password of a database.
pub fn password(database: &ImageName) -> String {
    format!("{database}-password")
}

/// The volume with the archive of PostgreSQL's log, where somebody wants one.
pub fn archive(image: &ImageName) -> String {
    format!("{image}-archive")
}

/// The network that its container is on.
pub fn network(image: &ImageName) -> String {
    match image.as_str() {
        // As the documents call it.
        "workspace" => "app_network".to_owned(),
        other => format!("hive_{other}_network"),
    }
}

/// A variable of an image's compose files: `HIVE_GENIE_PORT`.
pub fn variable(image: &ImageName, what: &str) -> String {
    let name = image.as_str().to_ascii_uppercase().replace('-', "_");
    format!("HIVE_{name}_{what}")
}

/// What compose wants to see on a container to take it for its own. The hash of
/// its settings is none of compose's, so that `docker compose up` makes it anew as
/// its file says.
pub fn container_labels(image: &ImageName) -> [(&'static str, String); 5] {
    [
        (PROJECT_LABEL, project(image)),
        ("com.docker.compose.service", image.to_string()),
        ("com.docker.compose.container-number", "1".to_owned()),
        ("com.docker.compose.oneoff", "False".to_owned()),
        ("com.docker.compose.config-hash", "xtask".to_owned()),
    ]
}

/// What compose wants to see on the volume. Without a hash of its settings, which
/// compose would compare, and offer to delete the volume where it differs.
pub fn volume_labels(image: &ImageName) -> [(&'static str, String); 2] {
    [
        (PROJECT_LABEL, project(image)),
        (VOLUME_LABEL, DATA_KEY.to_owned()),
    ]
}

/// The same on the volume of the archive.
pub fn archive_labels(image: &ImageName) -> [(&'static str, String); 2] {
    [
        (PROJECT_LABEL, project(image)),
        (VOLUME_LABEL, ARCHIVE_KEY.to_owned()),
    ]
}

/// What compose wants to see on the network.
pub fn network_labels(image: &ImageName) -> [(&'static str, String); 2] {
    [
        (PROJECT_LABEL, project(image)),
        ("com.docker.compose.network", image.to_string()),
    ]
}
