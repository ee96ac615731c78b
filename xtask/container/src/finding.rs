//! What somebody who asked a container has to say: seen, or a flaw.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use failure::FailureKind;

use crate::figure::Figure;
use crate::http::one_line;

/// What a part of the run saw, or why it was not reached.
pub type Reached<T> = Result<T, Flaw>;

/// What a judge says of something good.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// One sentence: what was done and seen.
    pub detail: String,
    /// What was measured, where it is a matter of figures.
    pub figure: Option<Figure>,
}

/// What a judge says of something wrong, or of something it did not get to see.
#[derive(Clone, Debug, PartialEq)]
pub struct Flaw {
    /// One sentence: what was done and seen.
    pub detail: String,
    /// What was measured, where it is a matter of figures.
    pub figure: Option<Figure>,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// So that `?` carries it out of a fault.
impl std::error::Error for Flaw {}

/// The answer of a judge.
pub type Judged = Result<Observation, Flaw>;

/// Good, with no figure.
///
/// # Errors
/// Never; the type is a judge's.
pub fn seen(detail: impl Into<String>) -> Judged {
    Ok(Observation {
        detail: detail.into(),
        figure: None,
    })
}

/// A flaw with this detail, and no figure.
pub fn flaw(detail: impl Into<String>) -> Flaw {
    Flaw {
        detail: detail.into(),
        figure: None,
    }
}

/// Good or wrong by the figure alone.
///
/// # Errors
/// When the figure exceeds its limit.
pub fn measured(figure: Figure, detail: impl Into<String>) -> Judged {
    let (detail, figure_seen) = (detail.into(), Some(figure));
    if figure.is_within() {
        Ok(Observation {
            detail,
            figure: figure_seen,
        })
    } else {
        Err(Flaw {
            detail: format!(
                "{} is over the budget of {}; {detail}",
                figure.shown(),
                figure.shown_limit().trim_start_matches("≤ ")
            ),
            figure: figure_seen,
        })
    }
}

/// Wrong because something did not come about in time; `waited` is what the
/// run waited, at least `limit`.
pub fn late(waited: Duration, limit: Duration, detail: impl Into<String>) -> Flaw {
    // Where the wait was no longer than the limit, it is over it all the same.
    let waited = waited.max(limit + Duration::from_millis(1));
    Flaw {
        detail: detail.into(),
        figure: Some(Figure::new(waited.as_secs_f64(), Some(limit.as_secs_f64()), "s")),
    }
}

/// Why something cannot be tried on this engine. No flaw, and no proof either.
#[derive(Debug)]
pub struct Untried(pub String);

impl fmt::Display for Untried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Untried {}

/// Ctrl-C ends the run; any other error is something to report of the image.
pub fn settled<T>(result: Result<T>) -> Result<Result<T, String>> {
    match result {
        Err(error) if failure::kind(&error) == FailureKind::Interrupted => Err(error),
        Err(error) => Ok(Err(one_line(&format!("{error:#}")))),
        Ok(value) => Ok(Ok(value)),
    }
}
