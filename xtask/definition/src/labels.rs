//! Labels of the images that this tool builds.

/// Label of images: the image's name.
pub const IMAGE_LABEL: &str = "dev.hive.image";

/// Label of images: what their proof says of the app's health endpoint,
/// `readiness`, `liveness` or `none`.
pub const HEALTH_LABEL: &str = "dev.hive.health";

/// Label of images: the app that they hold.
pub const APP_LABEL: &str = "dev.hive.app";

/// Label of images: the fingerprint of the definition they were built from.
pub const FINGERPRINT_LABEL: &str = "dev.hive.fingerprint";
