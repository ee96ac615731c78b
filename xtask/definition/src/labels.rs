//! Labels of the images that this tool builds.

/// Label of images: the image's name.
pub const IMAGE_LABEL: &str = "dev.hive.image";

/// Label of images: the fingerprint of the definition they were built from.
pub const FINGERPRINT_LABEL: &str = "dev.hive.fingerprint";
