//! What stands in the way of a migration, sentence by sentence.

use super::*;
use serde_json::{Value, json};

fn cluster() -> ForeignCluster {
    ForeignCluster {
        folder: "pgdata".into(),
        version: "16".to_owned(),
        bytes: 100_000_000,
        files: 1000,
        shut_down: true,
        ..ForeignCluster::default()
    }
}

fn facts(more: &Value) -> SourceFacts {
    let mut document = json!({
        "postgres": "16.9", "major": 16, "chosen": "agno",
        "databases": [
            { "name": "agno", "open": true, "collate": "C.UTF-8", "tables": 3, "rights": ["agno"],
              "extensions": [{ "name": "vector", "version": "0.6.0", "served": true }] },
            { "name": "postgres", "open": true, "collate": "C.UTF-8" },
        ],
        "roles": [{ "name": "agno", "super": false }, { "name": "postgres", "super": true }],
        "settings": [], "prepared": [], "subscriptions": [], "failed": [], "shown": ["work_mem"],
        "warnings": [],
    });
    for (key, value) in more.as_object().unwrap() {
        document[key] = value.clone();
    }
    serde_json::from_value(document).unwrap()
}

fn messages(found: &[Obstacle]) -> Vec<&str> {
    found.iter().map(|one| one.message.as_str()).collect()
}

#[test]
fn a_version_is_one_that_can_be_moved() {
    let of = |version: &str| {
        let cluster = ForeignCluster {
            version: version.to_owned(),
            ..cluster()
        };
        major(&cluster, 17).map_err(|found| found.message)
    };
    assert_eq!((of("17"), of("10")), (Ok(17), Ok(10)));
    assert!(
        of("18")
            .unwrap_err()
            .starts_with("the source is of PostgreSQL 18, the image has 17")
    );
    assert!(of("9.6").unwrap_err().contains("\"9.6\""));
}

#[test]
fn what_the_files_say_is_told_at_once() {
    assert!(of_files(&cluster(), true).is_empty());
    let bad = ForeignCluster {
        links: vec!["pg_tblspc/16400".to_owned(), "pg_wal".to_owned()],
        signals: vec!["standby.signal".to_owned()],
        ..cluster()
    };
    assert_eq!(
        messages(&of_files(&bad, false)),
        [
            "part of the source lies elsewhere, behind links: pg_tblspc/16400, pg_wal",
            "the source is a standby, or is being restored: standby.signal",
        ]
    );
}

#[test]
fn a_folder_that_a_server_of_this_machine_has_is_not_read() {
    let served = ForeignCluster {
        process: Some(42),
        ..cluster()
    };
    let of = |cluster: &ForeignCluster, is_postgres: fn(u32) -> bool| {
        of_server(cluster, Path::new("/srv/pg"), is_postgres).map(|found| found.message)
    };
    let told = format!(
        "PostgreSQL (process 42) works on /srv/pg/{}",
        cluster().folder.display()
    );
    assert_eq!(of(&served, |process| process == 42), Some(told));
    assert_eq!(of(&served, |_| false), None, "its number is another program's");
    assert_eq!(of(&cluster(), |_| true), None, "it was shut down");
}

#[test]
fn nothing_is_made_in_a_cluster_that_is_migrated() {
    let at_the_top = ForeignCluster {
        folder: ".".into(),
        ..cluster()
    };
    assert!(of_files(&at_the_top, false).is_empty());
    let found = of_files(&at_the_top, true);
    assert_eq!(
        messages(&found),
        ["the source lies at the top of the service's own volume, where nothing else fits"]
    );
}

#[test]
fn copies_want_their_room() {
    let of = |scratch, files, disk, free| {
        let volume = VolumeFindings {
            free_bytes: free,
            ..VolumeFindings::sample()
        };
        of_room(&cluster(), (scratch, files, disk), &volume).map(|found| found.message)
    };
    assert_eq!(of(700_000_000, Some(4000), 1, 700_000_000), None);
    let told = of(699_999_999, Some(3999), 1, 699_999_999).unwrap();
    assert!(
        told.contains("needed for copies of the source; room for 3999 more files"),
        "{told}"
    );
    // Two disks: each has its own part.
    assert_eq!(of(600_000_000, None, 2, 500_000_000), None);
    assert!(
        of(600_000_000, None, 2, 499_999_999)
            .unwrap()
            .contains("for the service's volume")
    );
}

#[test]
fn all_that_is_in_the_way_is_told_at_once() {
    assert!(
        facts(&json!({}))
            .in_the_way(None, &VolumeFindings::sample(), "")
            .is_empty()
    );
    let bad = facts(&json!({
        "databases": [{ "name": "agno", "open": true, "tables": 1,
            "extensions": [{ "name": "postgis", "version": "3", "served": false }],
            "with_oids": ["public.old"], "encoding": "SQL_ASCII", "no_utf8": ["public.t"] }],
        "prepared": [{ "name": "two", "database": "agno" }, { "name": "three", "database": "other" }],
        "failed": ["EVENT TRIGGER - e: permission denied"],
    }));
    let seen = VolumeFindings {
        missing_extensions: vec!["postgis".to_owned()],
        ..VolumeFindings::sample()
    };
    let found = bad.in_the_way(None, &seen, "install it");
    let told = messages(&found);
    assert_eq!(told.len(), 6, "{told:?}");
    assert!(told[0].ends_with("have no extension postgis"));
    assert_eq!(told[1], "the image has no extension postgis");
    assert!(told[2].ends_with("two (database agno)"));
    assert!(told[3].ends_with("would be lost: public.old"));
    assert!(told[4].ends_with("no UTF-8: public.t"));
    assert!(told[5].ends_with("EVENT TRIGGER - e: permission denied"));
}

#[test]
fn one_database_is_the_apps() {
    let several = json!({ "chosen": null, "databases": [
        { "name": "a", "open": true, "tables": 1 },
        { "name": "b", "open": true, "large_objects": 1 },
        { "name": "postgres", "open": true },
    ] });
    let of = |more: &Value, named| {
        let found = facts(more).in_the_way(named, &VolumeFindings::sample(), "");
        (found[0].message.clone(), found[0].hint.clone())
    };
    let (message, hint) = of(&several, None);
    assert!(message.ends_with("the app has one: a, b"), "{message}");
    assert_eq!(hint.unwrap(), "say which one is the app's: --database a");
    let (message, _) = of(&several, Some("c"));
    assert!(
        message.contains("no database c that can be read; it has a, b, postgres"),
        "{message}"
    );
    let empty = json!({ "chosen": null, "databases": [{ "name": "postgres", "open": true }] });
    assert_eq!(
        of(&empty, None).0,
        "no database of the source has a table: postgres"
    );
}

#[test]
fn what_stays_behind_is_told() {
    let quiet = facts(&json!({})).left_behind(&cluster(), "hive", true);
    assert_eq!(
        quiet,
        ["what these roles own and may do: all is owned by hive: agno"]
    );
    let all = facts(&json!({
        "databases": [
            { "name": "agno", "open": true, "collate": "en_US.utf8", "tables": 3, "rights": ["agno"],
              "unlogged": ["public.u"], "publications": ["p"], "roles": ["anon"], "labels": ["anon_masks"],
              "encoding": "LATIN1", "ran": true },
            { "name": "shut", "open": false, "collate": "C" },
        ],
        "roles": [{ "name": "agno", "super": true }],
        "settings": ["database agno: search_path=own"],
        "subscriptions": ["s"],
        "warnings": ["pg_dump: warning: of something"],
    }));
    let unclean = ForeignCluster {
        shut_down: false,
        slots: vec!["slot".to_owned()],
        secrets: vec!["SECRET_KEY".to_owned()],
        directories: vec!["app".to_owned()],
        settings: [
            ("work_mem".to_owned(), "1GB".to_owned()),
            (
                "primary_conninfo".to_owned(),
                "user=repl password=hidden".to_owned(),
            ),
        ]
        .into(),
        ..cluster()
    };
    let told = all.left_behind(&unclean, "hive", true).join("\n");
    assert!(!told.contains("hidden"), "{told}");
    for part in [
        "databases: shut",
        "superusers: agno",
        "database agno: search_path=own",
        "work_mem = 1GB",
        "primary_conninfo (its value is not shown)",
        "slots: slot",
        "publications: p",
        "which policies name: anon",
        "security labels of: anon_masks",
        "encoding LATIN1: text is UTF-8",
        "`database.initial_sql` is not run",
        "pg_dump: warning: of something",
        "subscriptions: s",
        "SECRET_KEY",
        "below: app",
        "public.u",
        "by en_US.utf8: it sorts by code point",
    ] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
}
