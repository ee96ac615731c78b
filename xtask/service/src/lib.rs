//! The service of an image: its container, its volume and its network, started,
//! asked and stopped. What the verbs of `cargo xtask` do to it is here, what they
//! print is theirs.

pub mod archive;
pub mod database;
pub mod down;
pub mod findings;
pub mod handle;
pub mod health;
pub mod kept;
pub mod logs;
pub mod names;
pub mod next;
pub mod restart;
#[cfg(test)]
#[path = "../../definition/src/spec/sample.rs"]
mod sample;
pub mod seen;
pub mod status;
mod story;
pub mod trail;
pub mod trial;
pub mod up;
mod wait;
pub mod wanted;

#[cfg(test)]
mod sample_ids {
    use definition::identity::ImageId;

    /// The image ID that begins with these sixteen digits.
    pub(crate) fn image_id(digits: &str) -> ImageId {
        format!("sha256:{}", digits.repeat(4)).parse().unwrap()
    }
}
