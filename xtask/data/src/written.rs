//! What was written to a generation while it ran and somebody may have been served by it:
//! counted when it is put aside, and told with the way to get it out.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::generations::VolumeKeeper;
use crate::take::on_a_copy;

/// Starts a server on the generation and counts.
const WRITTEN: &str = include_str!("inside/written.py");

/// So many tables are told by name.
const MOST: usize = 10;

/// What is there of what was inserted or changed since a generation took its place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct WrittenRows {
    /// Rows by table, the most first; a table without any is not among them.
    tables: Vec<(String, u64)>,
    /// Tables that were written to and could not be read, each with why.
    not_counted: Vec<(String, String)>,
    /// Files of the app's folders; none where their times say nothing of it.
    files: Option<u64>,
}

/// Counts them in a generation that nobody runs on. It stays as it is but for what a server
/// writes down of its own start and stop.
///
/// # Errors
/// When its server does not start, or the generation does not say since when it ran.
pub(crate) fn count(keeper: &VolumeKeeper, generation: &str) -> Result<WrittenRows> {
    let said = keeper.runs(&on_a_copy(WRITTEN, &[generation]))?;
    let counted: Option<WrittenRows> = serde_json::from_str(&said).context("read what was counted")?;
    counted.context("it does not say which transaction was its first")
}

/// The same in words, also where it is not known.
pub(crate) fn told(counted: &Result<WrittenRows>) -> String {
    match counted {
        Ok(rows) => rows.told(),
        Err(error) => format!("what was written there could not be counted: {error:#}"),
    }
}

/// The command that gets it out; none where nothing is there.
pub(crate) fn way_out(service: &str, generation: &str, counted: &Result<WrittenRows>) -> Option<String> {
    let is_nothing = counted.as_ref().is_ok_and(WrittenRows::is_nothing);
    let command = format!("cargo xtask backup {service} --generation {generation}");
    (!is_nothing).then(|| format!("to get it out: {command}"))
}

/// What ran until somebody wanted the data from before.
#[derive(Debug)]
pub struct PutAside {
    /// How long the service was away, where it ran.
    pub away: Option<Duration>,
    /// Whether it runs now.
    pub runs: bool,
    /// What it is called now.
    pub(crate) generation: String,
    /// What it holds that the data from before do not.
    pub(crate) written: Result<WrittenRows>,
}

impl PutAside {
    /// What is kept, what is in it, and the commands for it.
    pub fn told(&self, service: &str) -> String {
        let generation = &self.generation;
        let written = told(&self.written);
        let way_out = way_out(service, generation, &self.written);
        let way_out = way_out.map_or(String::new(), |way_out| format!("; {way_out}"));
        format!(
            "{service}: what ran until now, as {generation}; {written}{way_out}; to delete it: cargo xtask restore \
             {service} --forget {generation}"
        )
    }
}

impl WrittenRows {
    fn is_nothing(&self) -> bool {
        self.tables.is_empty() && self.not_counted.is_empty() && self.files == Some(0)
    }

    fn told(&self) -> String {
        let number = |count: u64, one: &str| match count {
            1 => format!("1 {one} was"),
            count => format!("{count} {one}s were"),
        };
        let mut parts = Vec::new();
        let rows: u64 = self.tables.iter().map(|(_, rows)| rows).sum();
        if rows > 0 {
            let names = self.tables.iter().take(MOST);
            let mut names: Vec<String> = names.map(|(table, rows)| format!("{table} {rows}")).collect();
            if let Some(more) = self.tables.len().checked_sub(MOST).filter(|more| *more > 0) {
                names.push(format!("{more} more tables"));
            }
            parts.push(format!(
                "{} written there: {}",
                number(rows, "row"),
                names.join(", ")
            ));
        } else if self.not_counted.is_empty() {
            parts.push("no row was written there".to_owned());
        }
        match self.files {
            Some(0) => {}
            Some(count) => parts.push(format!("{} written to the app's folders", number(count, "file"))),
            None => parts.push(
                "whether a file was written to the app's folders is not known, since the clock was set back"
                    .to_owned(),
            ),
        }
        let not_counted = self.not_counted.iter();
        parts.extend(
            not_counted.map(|(table, why)| format!("{table} was written to, and not counted: {why}")),
        );
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(tables: &[(&str, u64)]) -> WrittenRows {
        WrittenRows {
            tables: tables
                .iter()
                .map(|&(name, rows)| (name.to_owned(), rows))
                .collect(),
            not_counted: Vec::new(),
            files: Some(0),
        }
    }

    #[test]
    fn rows_are_told_by_table() {
        assert_eq!(rows(&[]).told(), "no row was written there");
        assert_eq!(
            rows(&[("public.a", 1)]).told(),
            "1 row was written there: public.a 1"
        );
        let some = rows(&[("public.a", 11), ("public.\"b\" (database c)", 2)]);
        assert_eq!(
            some.told(),
            "13 rows were written there: public.a 11, public.\"b\" (database c) 2"
        );
        let many = rows(&[("t", 1); 12]).told();
        assert!(
            many.starts_with("12 rows") && many.ends_with("t 1, 2 more tables"),
            "{many}"
        );
    }

    #[test]
    fn what_is_not_known_is_not_told_as_nothing() {
        let mut some = WrittenRows {
            not_counted: vec![("public.a".to_owned(), "it took too long".to_owned())],
            ..rows(&[])
        };
        let not_counted = "public.a was written to, and not counted: it took too long";
        assert_eq!(some.told(), not_counted);
        some.files = Some(2);
        assert_eq!(
            some.told(),
            format!("2 files were written to the app's folders; {not_counted}")
        );
        let mut unknown = rows(&[]);
        assert!(way_out("genie", "failed-1", &Ok(unknown.clone())).is_none());
        unknown.files = None;
        assert!(
            unknown
                .told()
                .ends_with("is not known, since the clock was set back")
        );
        assert!(way_out("genie", "failed-1", &Ok(unknown)).is_some());
        let error = Err(anyhow::anyhow!("no server").context("start it"));
        assert_eq!(
            told(&error),
            "what was written there could not be counted: start it: no server"
        );
    }
}
