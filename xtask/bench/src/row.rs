//! What was measured of a row, and whether its goals are met. Pure.

use std::fmt;

use anyhow::{Context as _, Result};

use container::figure::{median, show};

/// One thing's samples, in the unit of the row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowFigure {
    /// Whose they are, such as `docker buildx bake`.
    pub(crate) label: String,
    /// One for each run; never empty.
    pub(crate) samples: Vec<f64>,
}

/// The samples of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The samples of this tool or its images.
    pub(crate) ours: RowFigure,
    /// The same of others, taken in the same run; empty where there are none.
    pub(crate) peers: Vec<RowFigure>,
    /// What a reader of the figures has to know, a line each.
    pub(crate) notes: Vec<String>,
}

/// What has to hold of a row. All compare medians.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// Ours is at most this, in the row's unit.
    AtMost(f64),
    /// Ours is at most this part of the best peer's.
    OfBest(f64),
    /// Ours is at most this part of the peer's with this label.
    OfPeer(&'static str, f64),
    /// Ours is at most this part of the peer's with this label, and as much more, in the
    /// row's unit.
    OfPeerAnd(&'static str, f64, f64),
}

/// A goal and whether it is met.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GoalOutcome {
    pub(crate) goal: Goal,
    /// What was compared: ours, or ours as a part of the peer's.
    pub(crate) value: f64,
    pub(crate) met: bool,
}

impl RowFigure {
    pub(crate) fn new(label: impl Into<String>, samples: Vec<f64>) -> Self {
        Self {
            label: label.into(),
            samples,
        }
    }

    /// The middle sample; NaN, which meets no goal, where there is none.
    pub(crate) fn median(&self) -> f64 {
        median(&self.samples).unwrap_or(f64::NAN)
    }

    /// The least sample; NaN where there is none.
    pub(crate) fn min(&self) -> f64 {
        self.samples.iter().copied().fold(f64::NAN, f64::min)
    }

    /// The largest sample; NaN where there is none.
    pub(crate) fn max(&self) -> f64 {
        self.samples.iter().copied().fold(f64::NAN, f64::max)
    }
}

impl Measured {
    /// Our samples, with no peer and no note yet.
    pub(crate) fn new(label: impl Into<String>, samples: Vec<f64>) -> Self {
        Self {
            ours: RowFigure::new(label, samples),
            peers: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds the samples of a peer, by the name that its row of the table has.
    #[must_use]
    pub(crate) fn peer(mut self, label: impl Into<String>, samples: Vec<f64>) -> Self {
        self.peers.push(RowFigure::new(label, samples));
        self
    }

    /// Adds a line for the reader of the figures.
    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Ours as a part of a peer's.
    pub(crate) fn ratio(&self, peer: &RowFigure) -> f64 {
        self.ours.median() / peer.median()
    }

    /// The peer with the least median.
    pub(crate) fn best(&self) -> Option<&RowFigure> {
        self.peers.iter().min_by(|a, b| a.median().total_cmp(&b.median()))
    }

    /// The peer that a goal compares with.
    pub(crate) fn reference(&self, goal: &Goal) -> Option<&RowFigure> {
        match goal {
            Goal::AtMost(_) => None,
            Goal::OfBest(_) => self.best(),
            Goal::OfPeer(label, _) | Goal::OfPeerAnd(label, ..) => {
                self.peers.iter().find(|peer| peer.label == *label)
            }
        }
    }

    /// Compares with the goals.
    ///
    /// # Errors
    /// A goal compares with a peer that was not measured: the row is wrong.
    pub(crate) fn judge(&self, goals: &[Goal]) -> Result<Vec<GoalOutcome>> {
        goals
            .iter()
            .map(|goal| {
                let peer = || {
                    self.reference(goal)
                        .with_context(|| format!("no peer was measured for the goal {:?}", goal))
                };
                let (value, limit) = match goal {
                    Goal::AtMost(limit) => (self.ours.median(), *limit),
                    Goal::OfBest(limit) | Goal::OfPeer(_, limit) => (self.ratio(peer()?), *limit),
                    Goal::OfPeerAnd(_, part, more) => {
                        let peer = peer()?;
                        (self.ratio(peer), part + more / peer.median())
                    }
                };
                Ok(GoalOutcome {
                    goal: *goal,
                    value,
                    met: value <= limit,
                })
            })
            .collect()
    }
}

impl Goal {
    /// `≤ 40 ms`, `≤ 0.1 × docker buildx bake`, `≤ 1.2 × the best peer`.
    pub(crate) fn shown(&self, unit: &str) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {}", show(*limit, unit)),
            Self::OfBest(part) => format!("≤ {} × the best peer", RowPart(*part)),
            Self::OfPeer(label, part) => format!("≤ {} × {label}", RowPart(*part)),
            Self::OfPeerAnd(label, part, more) => {
                format!("≤ {} × {label} + {}", RowPart(*part), show(*more, unit))
            }
        }
    }
}

/// A ratio, to two digits that count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowPart(pub(crate) f64);

impl fmt::Display for RowPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = match self.0.abs() {
            v if v >= 0.1 => 2,
            v if v >= 0.01 => 3,
            _ => 4,
        };
        let text = format!("{:.decimals$}", self.0);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        Measured::new("ours", vec![30.0, 20.0, 90.0])
            .peer("slow", vec![600.0])
            .peer("quick", vec![200.0, 400.0])
    }

    #[test]
    fn goals_compare_medians() {
        let goals = [
            Goal::AtMost(30.0),
            Goal::AtMost(29.9),
            Goal::OfBest(0.1),
            Goal::OfPeer("slow", 0.04),
            Goal::OfPeerAnd("slow", 0.04, 6.0),
            Goal::OfPeerAnd("slow", 0.04, 5.0),
        ];
        let judged = measured().judge(&goals).unwrap();
        let met: Vec<bool> = judged.iter().map(|judged| judged.met).collect();
        assert_eq!(met, [true, false, true, false, true, false]);
        assert!((judged[2].value - 0.1).abs() < 1e-9);
        assert!((judged[3].value - 0.05).abs() < 1e-9);
    }

    #[test]
    fn a_goal_without_its_peer_is_an_error() {
        let error = measured().judge(&[Goal::OfPeer("x", 1.0)]).unwrap_err();
        assert!(error.to_string().contains("no peer was measured"), "{error}");
        let alone = Measured::new("ours", vec![1.0]);
        assert!(alone.judge(&[Goal::OfBest(1.0)]).is_err());
    }

    #[test]
    fn no_samples_meet_no_goal() {
        let none = Measured::new("ours", Vec::new());
        assert!(!none.judge(&[Goal::AtMost(1e9)]).unwrap()[0].met);
    }

    #[test]
    fn goals_read_well() {
        assert_eq!(Goal::AtMost(40.0).shown("ms"), "≤ 40 ms");
        assert_eq!(Goal::OfPeer("bake", 0.1).shown("ms"), "≤ 0.1 × bake");
        assert_eq!(Goal::OfPeerAnd("tar", 1.3, 2.0).shown("s"), "≤ 1.3 × tar + 2 s");
        assert_eq!(Goal::OfBest(1.2).shown("s"), "≤ 1.2 × the best peer");
        assert_eq!(RowPart(0.0342).to_string(), "0.034");
        assert_eq!(RowPart(12.0).to_string(), "12");
    }
}
