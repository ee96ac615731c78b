//! What of a directory a build can read, and a copy of just that.
//!
//! [`ignore`] and [`rules`] say what counts, [`walk::walk`] turns a directory
//! into sorted [`Inputs`], [`tree::Tree`] makes a directory of them for
//! BuildKit, and [`sums`] is how a build step finds out that BuildKit got all of
//! it. [`source`] tells what of them one instruction reads.

mod contents;
pub mod ignore;
mod index;
pub(crate) mod input;
mod link;
mod listing;
pub mod pieces;
pub mod problem;
pub(crate) mod rules;
pub mod source;
pub mod sums;
pub mod tree;
pub mod walk;

pub use ignore::Ignore;
pub use input::{Digest, Input, InputKind, Inputs};
pub use problem::{InputProblem, Problems};
pub use rules::{ExclusionReason, Rules, holds_login};
pub use walk::{Found, LeftOut, WalkOptions};
