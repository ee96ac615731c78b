//! The rows of the app's tables, counted before and after an upgrade.

use container::ask::Answer;
use container::finding::{Reached, flaw};

/// Prints name, OID and number of rows of each table in the app's database, a JSON
/// array a line. As the superuser, whom no row security hides a row from. The
/// partitions of a table count as its own; an extension's tables are not the app's.
pub(crate) const COUNT: &str = r"unset PGHOST PGPORT PGUSER PGPASSFILE PGDATABASE
PGSERVICE=superuser psql -XAtq -v ON_ERROR_STOP=1 <<'SQL'
SET search_path = pg_catalog, pg_temp;
SET statement_timeout = '10s';
SELECT format('SELECT json_build_array(%L::text, %s, (SELECT count(*) FROM %s %I.%I))',
    format('%I.%I', n.nspname, c.relname), c.oid,
    CASE c.relkind WHEN 'r' THEN 'ONLY' ELSE '' END, n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
AND NOT EXISTS (SELECT FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
\gexec
SQL";

/// A table and its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableRows {
    name: String,
    /// The same after a rename, another one after DROP and CREATE.
    oid: u32,
    rows: u64,
}

/// What [`COUNT`] printed.
///
/// # Errors
/// A flaw where psql failed or said something else.
pub(crate) fn counted(answer: &Answer) -> Reached<Vec<TableRows>> {
    let wrong = || flaw(format!("count the rows of the tables: {}", answer.shown()));
    if !answer.ok() {
        return Err(wrong());
    }
    let table = |line: &str| {
        let (name, oid, rows) = serde_json::from_str(line).map_err(|_| wrong())?;
        Ok(TableRows { name, oid, rows })
    };
    let lines = answer.text.lines().filter(|line| !line.is_empty());
    lines.map(table).collect()
}

/// What became of the rows that were there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowsFate {
    /// How many tables had rows before the upgrade.
    pub(crate) tables: usize,
    /// How many rows these had in all.
    pub(crate) rows: u64,
    /// Tables that had rows and are gone or empty, with the numbers.
    pub(crate) lost: Vec<String>,
    /// Tables that have fewer rows than they had, with the numbers.
    pub(crate) fewer: Vec<String>,
}

/// Compares the tables before an upgrade with those after it.
///
/// A table is the same by its OID, whatever it is called and wherever it lies; else
/// by its name, for one that was made again and filled from the old one. Rows that
/// it lacks have moved where other tables have as many more: a migration may merge
/// tables and split them. What the image brings along on an empty volume (`fresh`),
/// such as the list of its migrations, is nothing that has moved.
///
/// Where rows have not moved, a table that is gone or empty is lost. One that only
/// has fewer is told and no more: apps take their old sessions and double rows away.
pub(crate) fn fate(before: &[TableRows], after: &[TableRows], fresh: &[TableRows]) -> RowsFate {
    let now = |was: &TableRows| {
        let is_new = |table: &&TableRows| !before.iter().any(|other| other.oid == table.oid);
        let same = after.iter().find(|table| table.oid == was.oid);
        same.or_else(|| after.iter().filter(is_new).find(|table| table.name == was.name))
    };
    let is_brought = |table: &TableRows| {
        let of_empty = fresh.iter().find(|other| other.name == table.name);
        of_empty.is_some_and(|other| other.rows == table.rows)
    };
    let had: Vec<&TableRows> = before.iter().filter(|table| table.rows > 0).collect();
    let mut fate = RowsFate {
        tables: had.len(),
        rows: had.iter().map(|table| table.rows).sum(),
        ..RowsFate::default()
    };
    let grown = after.iter().filter(|table| !is_brought(table)).map(|table| {
        let was = before.iter().find(|was| now(was) == Some(table));
        table.rows.saturating_sub(was.map_or(0, |was| was.rows))
    });
    let grown: u64 = grown.sum();
    let mut missing = 0;
    for was in had {
        let is = now(was);
        let rows = is.map_or(0, |is| is.rows);
        missing += was.rows.saturating_sub(rows);
        let had = format!("{} had {} rows", was.name, was.rows);
        match is {
            None => fate.lost.push(format!("{had} and is gone")),
            Some(_) if rows == 0 => fate.lost.push(format!("{had} and is empty")),
            Some(_) if rows < was.rows => fate.fewer.push(format!("{had} and has {rows}")),
            Some(_) => {}
        }
    }
    if grown >= missing {
        (fate.lost, fate.fewer) = (Vec::new(), Vec::new());
    }
    fate
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn tables(all: &[(&str, u32, u64)]) -> Vec<TableRows> {
        let table = |&(name, oid, rows): &(&str, u32, u64)| TableRows {
            name: name.into(),
            oid,
            rows,
        };
        all.iter().map(table).collect()
    }

    #[test]
    fn counts_are_read_and_anything_else_is_told() {
        let answer = |code, text: &str| Answer {
            code,
            text: text.into(),
            took: Duration::ZERO,
        };
        let two = "[\"public.\\\"a\\nb\\\"\", 16385, 2]\n[\"public.c\", 4294967295, 0]";
        assert_eq!(
            counted(&answer(0, two)).unwrap(),
            tables(&[("public.\"a\nb\"", 16385, 2), ("public.c", 4_294_967_295, 0)])
        );
        assert_eq!(counted(&answer(0, "")).unwrap(), []);
        for (code, text) in [(2, "psql: error"), (0, "lost|everything")] {
            let said = counted(&answer(code, text)).unwrap_err().detail;
            assert!(said.contains(text), "{said}");
        }
    }

    #[test]
    fn rows_are_lost_where_a_table_is_gone_or_empty_and_nothing_has_more() {
        let before = tables(&[("a", 1, 3), ("b", 2, 1), ("ledger", 3, 4), ("none", 4, 0)]);
        let ledger = ("ledger", 3, 5);
        let fresh = tables(&[("a", 1, 0), ("ledger", 3, 5), ("seed", 9, 50)]);
        let lost = |after: &[(&str, u32, u64)]| fate(&before, &tables(after), &fresh).lost;
        let none: [&str; 0] = [];
        for (what, after, said) in [
            ("kept", &[("a", 1, 3), ("b", 2, 1), ledger][..], &none[..]),
            ("renamed", &[("z", 1, 3), ("b", 2, 1), ledger], &none),
            (
                "made again and filled",
                &[("a", 8, 3), ("b", 2, 1), ledger],
                &none,
            ),
            ("merged", &[("a", 1, 4), ledger], &none),
            ("split", &[("a1", 7, 1), ("a2", 8, 2), ("b", 2, 1), ledger], &none),
            (
                "names exchanged, and one emptied",
                &[("b", 1, 3), ("a", 2, 0), ledger],
                &["b had 1 rows and is empty"],
            ),
            (
                "made again",
                &[("a", 8, 0), ("b", 2, 1), ledger],
                &["a had 3 rows and is empty"],
            ),
            (
                "dropped, with a migration more in the list",
                &[("a", 1, 3), ledger],
                &["b had 1 rows and is gone"],
            ),
            (
                "dropped, beside what comes along",
                &[("b", 2, 1), ledger, ("seed", 9, 50)],
                &["a had 3 rows and is gone"],
            ),
        ] {
            assert_eq!(lost(after), said, "{what}");
        }
        assert_eq!(lost(&[]).len(), 3);
    }

    #[test]
    fn fewer_rows_are_told_and_no_loss() {
        let before = tables(&[("a", 1, 3), ("b", 2, 1)]);
        let fate = fate(&before, &tables(&[("a", 1, 2), ("b", 2, 1)]), &[]);
        let expected = RowsFate {
            tables: 2,
            rows: 4,
            lost: Vec::new(),
            fewer: vec!["a had 3 rows and has 2".into()],
        };
        assert_eq!(fate, expected);
    }
}
