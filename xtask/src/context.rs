//! What of a directory a build can read, and a staged copy of just that.
//!
//! [`rules`] reads the ignore file, [`scan`] turns a directory into sorted
//! [`Input`]s, [`stage::Stage`] makes a directory of them for BuildKit. What is
//! hashed is thereby what is built.

pub mod ignore;
mod index;
pub mod input;
mod link;
pub mod problem;
pub mod rules;
pub mod stage;
pub mod walk;

use std::path::Path;

use anyhow::Result;

pub use ignore::Ignore;
pub use input::{Digest, Input, Kind};
pub use rules::Rules;
pub use walk::{Found, LeftOut};

use crate::failure::{self, Failure};
use crate::fingerprint::encoding::Frame;
use problem::{Problem, What};

/// As many problems as a message lists.
const LISTED: usize = 20;

/// The ignore file that counts for `context`, read. `dockerfile` is the one
/// that is built where `context` is its main context, `None` for a named one.
///
/// # Errors
/// A file that cannot be read, or lines that BuildKit refuses, as a usage
/// failure with the file and all the lines.
pub fn ignore(context: &Path, dockerfile: Option<&Path>) -> Result<Ignore> {
    let Some(file) = ignore::file_for(context, dockerfile) else {
        return Ok(Ignore::default());
    };
    let shown = file.display();
    let real = fs_err::canonicalize(&file)?;
    let folder = fs_err::canonicalize(file.parent().unwrap_or(context))?;
    if !real.starts_with(&folder) {
        // BuildKit would find nothing behind such a link and ignore nothing.
        return Err(failure::usage(format!("{shown}: the link points out of its directory")).into());
    }
    Ignore::parse(&fs_err::read(&file)?).map_err(|problems| {
        let lines = problems.iter().map(ToString::to_string);
        failure::usage(listed(&format!("{shown} cannot be used"), lines)).into()
    })
}

/// The inputs of a context. `index` is a file in the state folder that
/// remembers digests; losing it costs time only.
///
/// # Errors
/// A usage failure with all the entries that cannot be used.
pub fn scan(context: &Path, rules: &Rules, index: Option<&Path>) -> Result<Found> {
    walk::walk(context, rules, index).map_err(|problems| unusable(context, &problems))
}

/// All the problems as one usage failure.
fn unusable(context: &Path, problems: &[Problem]) -> anyhow::Error {
    let what = format!("the context {} cannot be used", context.display());
    let lines = problems.iter().map(ToString::to_string);
    with_hints(failure::usage(listed(&what, lines)), problems).into()
}

/// Adds inputs to a frame, in their order.
pub fn encode(inputs: &[Input], name: &str, frame: &mut Frame) {
    frame.frames(name, inputs.iter(), |frame, input| input.encode(frame));
}

fn listed(what: &str, lines: impl ExactSizeIterator<Item = String>) -> String {
    let count = lines.len();
    let mut text = format!("{what}:");
    for line in lines.take(LISTED) {
        text.push_str("\n  ");
        text.push_str(&line);
    }
    if count > LISTED {
        text.push_str(&format!("\n  and {} others", count - LISTED));
    }
    text
}

fn with_hints(mut failure: Failure, problems: &[Problem]) -> Failure {
    let any = |holds: fn(&What) -> bool| problems.iter().any(|problem| holds(&problem.what));
    if any(|what| matches!(what, What::Changed)) {
        failure = failure.hint("run again when nothing writes to the directory");
    }
    if any(|what| !matches!(what, What::Changed)) {
        failure = failure.hint("exclude what the image does not need in .dockerignore");
    }
    failure
}
