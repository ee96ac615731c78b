//! Which recorded run is meant: a number, `last`, or a fingerprint's beginning.
//! Pure.

use std::str::FromStr;

use super::HistoryEntry;

/// Fewer digits of a fingerprint say too little.
const FEWEST_DIGITS: usize = 4;

/// A run as users name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `last`: the latest run that is recorded.
    Last,
    /// By its number, or else by the first digits of its fingerprint.
    Named(String),
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let number = text.parse::<u32>().is_ok();
        match text {
            "last" => Ok(Self::Last),
            _ if number || (digits && text.len() >= FEWEST_DIGITS) => Ok(Self::Named(text.to_owned())),
            _ => Err(format!(
                "{text:?} is no number, not `last`, and not {FEWEST_DIGITS} or more digits of a fingerprint"
            )),
        }
    }
}

impl Selector {
    /// The entry that is meant; of several with one fingerprint the latest.
    ///
    /// # Errors
    /// A sentence that says what is there.
    pub fn find<'e>(&self, image: &str, entries: &'e [HistoryEntry]) -> Result<&'e HistoryEntry, String> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Err(format!("nothing is recorded of {image}"));
        };
        let Self::Named(name) = self else {
            return Ok(last);
        };
        let numbered = entries.iter().find(|entry| entry.number.to_string() == *name);
        if let Some(entry) = numbered {
            return Ok(entry);
        }
        let mut matching: Vec<&HistoryEntry> = entries
            .iter()
            .filter(|entry| name.len() >= FEWEST_DIGITS && entry.fingerprint.to_string().starts_with(name))
            .collect();
        let latest = matching.pop().ok_or_else(|| {
            format!(
                "{image} has no run {name}: {} to {} are recorded",
                first.number, last.number
            )
        })?;
        match matching
            .iter()
            .find(|other| other.fingerprint != latest.fingerprint)
        {
            None => Ok(latest),
            Some(other) => Err(format!(
                "{name} is the beginning of several fingerprints of {image}: of the runs {} and {}",
                other.number, latest.number
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::entry;

    fn found(text: &str, entries: &[HistoryEntry]) -> Result<u32, String> {
        text.parse::<Selector>()?
            .find("genie", entries)
            .map(|entry| entry.number)
    }

    #[test]
    fn by_number_last_and_fingerprint() {
        let mut entries: Vec<HistoryEntry> = (3..7).map(entry).collect();
        entries[0].fingerprint = "aa11".repeat(16).parse().unwrap();
        entries[1].fingerprint = "0005".repeat(16).parse().unwrap();
        entries[2].fingerprint = "aa12".repeat(16).parse().unwrap();
        entries[3].fingerprint = "aa12".repeat(16).parse().unwrap();
        assert_eq!(found("last", &entries), Ok(6));
        assert_eq!(found("4", &entries), Ok(4));
        assert_eq!(found("0005", &entries), Ok(4));
        assert_eq!(found("aa12", &entries), Ok(6));
        assert_eq!(
            found("1", &entries).unwrap_err(),
            "genie has no run 1: 3 to 6 are recorded"
        );
        assert_eq!(found("last", &[]).unwrap_err(), "nothing is recorded of genie");
        assert!(
            found("aa1", &entries)
                .unwrap_err()
                .starts_with("\"aa1\" is no number")
        );
        entries[3].fingerprint = "aa12aa13".repeat(8).parse().unwrap();
        assert_eq!(
            found("aa12", &entries).unwrap_err(),
            "aa12 is the beginning of several fingerprints of genie: of the runs 5 and 6"
        );
    }
}
