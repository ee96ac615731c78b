//! Measured values: medians, percentiles, and whether a budget is kept.

use std::time::Duration;

/// A measured value beside the most it may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// What was measured, in the unit of `unit`.
    pub value: f64,
    /// The most it may be; absent where nothing limits it.
    pub limit: Option<f64>,
    /// `s`, `ms`, `MB` or what is counted.
    pub unit: &'static str,
}

impl Figure {
    /// A figure rounded to what its unit is worth: milliseconds of a second,
    /// microseconds of a millisecond, kilobytes of a megabyte.
    pub fn new(value: f64, limit: Option<f64>, unit: &'static str) -> Self {
        Self {
            value: (value * 1000.0).round() / 1000.0,
            limit,
            unit,
        }
    }

    /// Whether the limit is kept; a value that is no number keeps none.
    pub fn is_within(&self) -> bool {
        self.value.is_finite() && self.limit.is_none_or(|limit| self.value <= limit)
    }

    /// `1.42 s`, `0.85 ms`, `287 MB`.
    pub fn shown(&self) -> String {
        show(self.value, self.unit)
    }

    /// `≤ 10 s`, empty where nothing limits it.
    pub fn shown_limit(&self) -> String {
        self.limit
            .map_or_else(String::new, |limit| format!("≤ {}", show(limit, self.unit)))
    }
}

/// Three significant digits at least, no trailing zeros.
pub fn show(value: f64, unit: &str) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text} {unit}")
}

/// A duration in milliseconds, with their fraction.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The value that `share` (0 to 1) of all values do not exceed (nearest rank);
/// `None` for no values.
pub fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among some hundred values"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The middle value, the mean of the two middle ones for an even count.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.99), Some(99.0));
        assert_eq!(percentile(&values, 1.0), Some(100.0));
        assert_eq!(percentile(&values, 0.0), Some(1.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn budgets() {
        assert!(Figure::new(10.0, Some(10.0), "s").is_within());
        assert!(!Figure::new(10.001, Some(10.0), "s").is_within());
        assert!(Figure::new(1e9, None, "s").is_within());
        assert!(!Figure::new(f64::NAN, Some(10.0), "s").is_within());
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(show(1.4216, "s"), "1.42 s");
        assert_eq!(show(10.0, "s"), "10 s");
        assert_eq!(show(287.4, "MB"), "287 MB");
        assert_eq!(show(0.5, "ms"), "0.5 ms");
        assert_eq!(show(12.34, "ms"), "12.3 ms");
        assert_eq!(show(100.0, "ms"), "100 ms");
    }
}
