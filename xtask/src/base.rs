//! Base images: where the operating system below an image comes from.

pub mod archive;
pub mod bootstrap;
