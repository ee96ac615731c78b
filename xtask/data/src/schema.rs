//! The tables of a cluster with their columns, and what a migration did to them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::generations::run_in_for;
use crate::take::PYTHON;
use engine::container::Container;

/// Prints the tables and columns of each database of the app, as JSON.
const SCHEMA: &str = include_str!("inside/schema.py");

/// It reads catalogs alone, so that the number of rows does not count.
const DEADLINE: Duration = Duration::from_secs(120);

/// Database → table → column → type.
pub(crate) type TableColumns = BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>;

/// Those of the cluster that runs in a container.
///
/// # Errors
/// When PostgreSQL does not answer there.
pub(crate) fn of(container: &Container) -> Result<TableColumns> {
    let command = [&PYTHON[..], &[SCHEMA]].concat();
    let said = run_in_for(container, DEADLINE, &[], &command).context("read the schema")?;
    serde_json::from_str(&said).context("read the schema")
}

/// What differs, a line for each table.
pub(crate) fn changes(before: &TableColumns, after: &TableColumns) -> Vec<String> {
    let is_alone = before.len() <= 1 && after.len() <= 1;
    let flat = |all: &TableColumns| {
        let mut tables = BTreeMap::new();
        for (database, of_database) in all {
            for (table, columns) in of_database {
                let name = if is_alone {
                    table.clone()
                } else {
                    format!("{table} (database {database})")
                };
                tables.insert(name, columns.clone());
            }
        }
        tables
    };
    let (before, after) = (flat(before), flat(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut lines = Vec::new();
    for name in names {
        match (before.get(name), after.get(name)) {
            (None, _) => lines.push(format!("{name} is new")),
            (_, None) => lines.push(format!("{name} is gone")),
            (Some(was), Some(is)) if was != is => {
                lines.push(format!("{name}: {}", of_columns(was, is).join(", ")));
            }
            _ => {}
        }
    }
    lines
}

fn of_columns(was: &BTreeMap<String, String>, is: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let told = |name: &String| match (was.get(name), is.get(name)) {
        (None, Some(kind)) => Some(format!("{name} is new ({kind})")),
        (Some(_), None) => Some(format!("{name} is gone")),
        (Some(old), Some(new)) if old != new => Some(format!("{name} {old} → {new}")),
        _ => None,
    };
    names.into_iter().filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(text: &str) -> TableColumns {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_a_migration_did_is_told_by_tables_and_columns() {
        let before = tables(
            r#"{"d": {"public.a": {"id": "bigint", "x": "text"}, "public.b": {}, "public.same": {"y": "text"}}}"#,
        );
        let after = tables(
            r#"{"d": {"public.a": {"id": "bigint not null", "z": "integer"}, "public.c": {}, "public.same": {"y": "text"}}}"#,
        );
        assert_eq!(
            changes(&before, &after),
            [
                "public.a: id bigint → bigint not null, x is gone, z is new (integer)",
                "public.b is gone",
                "public.c is new",
            ]
        );
        assert!(changes(&before, &before).is_empty());
    }

    #[test]
    fn where_there_are_several_databases_each_table_names_its_own() {
        let before = tables(r#"{"d": {"public.a": {}}, "e": {}}"#);
        let after = tables(r#"{"d": {}, "e": {"public.a": {}}}"#);
        assert_eq!(
            changes(&before, &after),
            ["public.a (database d) is gone", "public.a (database e) is new"]
        );
    }
}
