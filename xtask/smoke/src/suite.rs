//! The suite as data. To add a check, write its judge in `checks/` and name it
//! in [`GATE`]; everything else follows from there.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

use crate::checks::{app, database, files, image, lifecycle, programs, upgrade};
use crate::facts::{Facts, GatePart, Moment};
use crate::names;
use container::ask::Answer;
use container::finding::Judged;
use definition::identity::{ImageId, SuiteKey};
use definition::spec::ImageSpec;
use definition::spec::kind::ImageKind;
use inputs::hex;

/// One thing that is proved of an image.
#[derive(Clone, Copy, Debug)]
pub struct CheckDef {
    /// Kebab-case, unique; others read it in `smoke --json`.
    pub name: &'static str,
    /// What holds when it passes, in one line.
    pub proves: &'static str,
    /// The kinds of image that it looks at.
    pub(crate) kinds: &'static [ImageKind],
    /// Checks whose failure explains a failure of this one, by their names.
    /// They come before it in the table: else it does not compile.
    pub(crate) needs: &'static [&'static str],
    /// Where the answer comes from.
    pub how: How,
}

/// Where a check's answer comes from.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// From what a part of the run saw.
    Watch(GatePart, fn(&Facts) -> Judged),
    /// From a shell script that is run inside the container at a moment; see
    /// [`container::ask`] for what it may use.
    Ask(Moment, &'static str, fn(&Facts, &Answer) -> Judged),
}

/// What every image has to pass before it gets a tag.
pub const GATE: &[CheckDef] = &[
    CheckDef {
        name: "image-user",
        proves: "the image runs as an ordinary user",
        kinds: ImageKind::EVERY,
        needs: &[],
        how: How::Watch(GatePart::Image, image::user),
    },
    CheckDef {
        name: "image-port",
        proves: "the image exposes the spec's port and no other",
        kinds: ImageKind::EVERY,
        needs: &[],
        how: How::Watch(GatePart::Image, image::port),
    },
    CheckDef {
        name: "image-labels",
        proves: "the image says which image it is and from which definition it was built",
        kinds: ImageKind::EVERY,
        needs: &[],
        how: How::Watch(GatePart::Image, image::labels),
    },
    CheckDef {
        name: names::IMAGE_HEALTH_CHECK,
        proves: "the image brings a health check of its own, for every engine and compose file",
        kinds: ImageKind::EVERY,
        needs: &[],
        how: How::Watch(GatePart::Image, image::health_check),
    },
    CheckDef {
        name: "image-secrets",
        proves: "no password, token or key lies in the image's environment, labels or history",
        kinds: ImageKind::EVERY,
        needs: &[],
        how: How::Watch(GatePart::Image, image::secrets),
    },
    CheckDef {
        name: "image-size",
        proves: "the image is no larger than its budget",
        kinds: ImageKind::EVERY,
        needs: &[],
        how: How::Watch(GatePart::Image, image::size),
    },
    CheckDef {
        name: names::STAYS_UP,
        proves: "the container starts and ends only when it is told to",
        kinds: ImageKind::EVERY,
        needs: &[],
        how: How::Watch(GatePart::Boot, lifecycle::stays_up),
    },
    CheckDef {
        name: names::NOTHING_RESTARTED,
        proves: "no program was started twice until some seconds after ready; own programs after each start",
        kinds: ImageKind::EVERY,
        needs: &[names::STAYS_UP],
        how: How::Ask(Moment::Settled, programs::PROCESSES, programs::nothing_restarted),
    },
    CheckDef {
        name: names::PROGRAMS_RUNNING,
        proves: "supervisord has postgresql, app and the spec's own programs, and every one is RUNNING",
        kinds: ImageKind::EVERY,
        needs: &[names::STAYS_UP, names::NOTHING_RESTARTED],
        how: How::Ask(Moment::Settled, container::programs::STATUS, programs::running),
    },
    CheckDef {
        name: names::NO_ROOT_PROCESS,
        proves: "not one process has a user id of root: real, effective, saved or file system",
        kinds: ImageKind::EVERY,
        needs: &[names::STAYS_UP],
        how: How::Ask(Moment::Fresh, programs::PROCESSES, programs::no_root),
    },
    CheckDef {
        name: names::POSTGRESQL_READY,
        proves: "pg_isready says that the server takes connections",
        kinds: ImageKind::WITH_DATABASE,
        needs: &[names::PROGRAMS_RUNNING, names::STAYS_UP],
        how: How::Ask(Moment::Fresh, database::ISREADY, database::is_ready),
    },
    CheckDef {
        name: names::SQL_LOGIN,
        proves: "the app's role logs in over TCP with its password and is no superuser",
        kinds: ImageKind::EVERY,
        needs: &[names::POSTGRESQL_READY, names::PROGRAMS_RUNNING],
        how: How::Ask(Moment::Fresh, database::LOGIN, database::login),
    },
    CheckDef {
        name: "wrong-password",
        proves: "a wrong password and none at all are refused over TCP",
        kinds: ImageKind::WITH_DATABASE,
        needs: &[names::POSTGRESQL_READY],
        how: How::Ask(Moment::Fresh, database::WRONG_PASSWORD, database::wrong_password),
    },
    CheckDef {
        name: "network-login",
        proves: "other containers log in as the role, and as nobody else; the published port is PostgreSQL's",
        kinds: &[ImageKind::Database],
        needs: &[names::SQL_LOGIN],
        how: How::Ask(Moment::Fresh, database::NETWORK_LOGIN, database::network_login),
    },
    CheckDef {
        name: names::DATA_ON_VOLUME,
        proves: "the running server's data directory lies on the mounted volume",
        kinds: ImageKind::WITH_DATABASE,
        needs: &[names::POSTGRESQL_READY],
        how: How::Ask(Moment::Fresh, database::DATA_DIRECTORY, database::data_on_volume),
    },
    CheckDef {
        name: names::PGVECTOR,
        proves: "exact and HNSW nearest neighbours are the known ones",
        kinds: ImageKind::WITH_DATABASE,
        needs: &[names::SQL_LOGIN],
        how: How::Ask(Moment::Fresh, database::VECTORS, database::vectors),
    },
    CheckDef {
        name: "query-latency",
        proves: "a nearest-neighbour query by index over TCP keeps its budget",
        kinds: ImageKind::WITH_DATABASE,
        needs: &[names::PGVECTOR],
        how: How::Ask(Moment::Quiet, database::LATENCY, database::latency),
    },
    CheckDef {
        name: names::HEALTH,
        proves: "the health endpoint says 200 each time, within its budget",
        kinds: ImageKind::WITH_APP,
        needs: &[names::STAYS_UP, names::PROGRAMS_RUNNING, names::POSTGRESQL_READY],
        how: How::Watch(GatePart::Health, app::health),
    },
    CheckDef {
        name: names::TIME_TO_READY,
        proves: "an empty volume is healthy within the budget",
        kinds: ImageKind::EVERY,
        needs: &[names::STAYS_UP, names::HEALTH],
        how: How::Watch(GatePart::Boot, lifecycle::time_to_ready),
    },
    CheckDef {
        name: "memory",
        proves: "the whole container, idle, keeps its budget",
        kinds: ImageKind::EVERY,
        needs: &[names::STAYS_UP],
        how: How::Ask(Moment::Fresh, programs::MEMORY, programs::memory),
    },
    CheckDef {
        name: "container-health",
        proves: "the image's own health check fails while PostgreSQL is stopped, and not after",
        kinds: ImageKind::EVERY,
        needs: &[names::IMAGE_HEALTH_CHECK, names::HEALTH, names::TIME_TO_READY],
        how: How::Watch(GatePart::Outage, app::container_health),
    },
    CheckDef {
        name: "health-honest",
        proves: "the app is back with PostgreSQL; an endpoint of `readiness` leaves 200 without it",
        kinds: ImageKind::WITH_APP,
        needs: &[names::HEALTH, names::TIME_TO_READY],
        how: How::Watch(GatePart::Outage, app::honest),
    },
    CheckDef {
        name: "clean-stop",
        proves: "docker stop with an open session is in time, exit code 0, and a clean shutdown",
        kinds: ImageKind::EVERY,
        needs: &[names::STAYS_UP, names::SQL_LOGIN, names::DATA_ON_VOLUME],
        how: How::Watch(GatePart::Stop, lifecycle::clean_stop),
    },
    CheckDef {
        name: names::RESTART,
        proves: "a new container on the same volume is healthy within the budget",
        kinds: ImageKind::EVERY,
        needs: &[names::STAYS_UP, names::TIME_TO_READY, names::HEALTH],
        how: How::Watch(GatePart::Again, lifecycle::restart),
    },
    CheckDef {
        name: "rows-survive",
        proves: "rows committed before the stop are there after it, and an open transaction's are not",
        kinds: ImageKind::WITH_DATABASE,
        needs: &[names::RESTART, names::SQL_LOGIN, names::DATA_ON_VOLUME],
        how: How::Ask(Moment::Again, database::ROWS, database::rows_survive),
    },
    CheckDef {
        name: "files-survive",
        proves: "files in the app's directories are there in a new container on the same volume",
        kinds: &[ImageKind::AllInOne],
        needs: &[names::RESTART],
        how: How::Ask(Moment::Again, files::READ, files::survive),
    },
    CheckDef {
        name: "no-way-to-root",
        proves: "no program becomes another user, and nobody but root writes to what watches over the app",
        kinds: ImageKind::EVERY,
        needs: &[names::RESTART],
        // Not sooner: what the kernel remembers of so many files counts as memory.
        how: How::Ask(Moment::Again, files::PRIVILEGED, files::none_is_privileged),
    },
    CheckDef {
        name: names::ROWS_OF_BEFORE,
        proves: "it starts on a volume of the image before, loses no row there, and its checks pass there",
        kinds: ImageKind::EVERY,
        needs: &[
            names::STAYS_UP,
            names::DATA_ON_VOLUME,
            names::PGVECTOR,
            names::TIME_TO_READY,
            names::HEALTH,
        ],
        how: How::Watch(GatePart::Upgrade, upgrade::rows_of_before),
    },
    CheckDef {
        name: "no-secret-leaked",
        proves: "the passwords made at first boot are in no log and in nothing docker inspect shows",
        kinds: ImageKind::EVERY,
        needs: &[names::STAYS_UP],
        how: How::Watch(GatePart::Stop, lifecycle::no_secret_leaked),
    },
];

/// What an image of this kind has to pass of it.
pub fn gate(kind: ImageKind) -> impl Iterator<Item = &'static CheckDef> {
    GATE.iter().filter(move |check| check.kinds.contains(&kind))
}

const _: () = assert!(
    needs_come_first(GATE),
    "a check of the gate needs one that does not come before it"
);

const _: () = assert!(
    each_has_a_kind(GATE),
    "a check of the gate is for no kind of image"
);

/// One without would be asked of no image.
const fn each_has_a_kind(checks: &[CheckDef]) -> bool {
    let mut at = 0;
    while at < checks.len() {
        if checks[at].kinds.is_empty() {
            return false;
        }
        at += 1;
    }
    true
}

/// So there is no circle, and a reader knows the cause before its effects.
const fn needs_come_first(checks: &[CheckDef]) -> bool {
    let mut at = 0;
    while at < checks.len() {
        let needs = checks[at].needs;
        let mut n = 0;
        while n < needs.len() {
            let mut before = 0;
            while before < at && !same(checks[before].name, needs[n]) {
                before += 1;
            }
            if before == at {
                return false;
            }
            n += 1;
        }
        at += 1;
    }
    true
}

/// `==` of texts, which is not for constants yet.
const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// All sources that decide what a check or a fault says, as the build script
/// gathers them: see `sources`.
const SOURCES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/suite-sources"));

/// The part of a key that is the image whose database an app alone is proved with.
const DATABASE: &str = "database";

/// What an image is proved against: the suite, of the spec whatever the suite looks
/// at, and of an app alone the image whose database it is proved with. Together with
/// an image ID it decides whether an old verdict still says something. SHA-256 in hex.
///
/// # Errors
/// When the spec cannot be written as JSON, which a valid one always can.
pub(crate) fn key(spec: &ImageSpec, database: Option<&ImageId>) -> serde_json::Result<SuiteKey> {
    let spec_parts = LookedAt::of(spec)?;
    let mut fields = vec![
        ("image", spec.name.as_str()),
        ("budgets", &spec_parts.budgets),
        ("checks", &spec_parts.checks),
        ("runtime", &spec_parts.runtime),
        ("tool", tool()),
    ];
    fields.extend(database.map(|id| (DATABASE, id.as_str())));
    Ok(SuiteKey::of_digest(&digest(&fields)))
}

/// The key's parts, each as SHA-256 in hex: which of them changed says why an
/// old verdict no longer counts.
///
/// # Errors
/// As [`key`].
pub fn parts(spec: &ImageSpec, database: Option<&ImageId>) -> serde_json::Result<BTreeMap<String, String>> {
    let spec_parts = LookedAt::of(spec)?;
    let one = |text: &str| hex::digits(&digest(&[("part", text)]));
    let mut parts = BTreeMap::from([
        ("tool".to_owned(), tool().to_owned()),
        ("budgets".to_owned(), one(&spec_parts.budgets)),
        ("checks".to_owned(), one(&spec_parts.checks)),
        ("app".to_owned(), one(&spec_parts.runtime)),
    ]);
    if spec.database.elsewhere.is_some() {
        let id = database.map_or("not built yet", ImageId::as_str);
        parts.insert(DATABASE.to_owned(), one(id));
    }
    Ok(parts)
}

/// What the suite looks at of a spec, as JSON.
struct LookedAt {
    budgets: String,
    checks: String,
    runtime: String,
}

impl LookedAt {
    fn of(spec: &ImageSpec) -> serde_json::Result<Self> {
        // No `..`: whether the suite looks at a field that is new is decided here.
        let ImageSpec {
            name: _,
            budgets,
            checks,
            // The container's part of these is in `runtime`.
            app: _,
            database: _,
            programs: _,
            // A change of these is a change of the image.
            build: _,
            base: _,
            python: _,
            labels: _,
            packages: _,
            build_packages: _,
            title: _,
            // What it is called, and by whom.
            file: _,
            version: _,
            tags: _,
            overruled: _,
            smoke_environment,
        } = spec;
        // Which app it is called no check looks at, and `smoke` does not know it.
        let mut nameless = spec.clone();
        let health = nameless.app.as_mut().and_then(|app| {
            app.name = None;
            app.health
        });
        Ok(Self {
            budgets: serde_json::to_string(budgets)?,
            checks: serde_json::to_string(checks)?,
            runtime: serde_json::to_string(&(nameless.runtime(), health, smoke_environment))?,
        })
    }
}

/// The tool's own part of the key, which is the same for all images: BLAKE3 in
/// hex, since it is over a megabyte in each run.
fn tool() -> &'static str {
    static TOOL: LazyLock<String> = LazyLock::new(|| blake3::hash(SOURCES).to_hex().to_string());
    &TOOL
}

/// Each field as name, length and bytes, so that no two lists of fields give
/// one stream.
pub(super) fn digest(fields: &[(&str, &str)]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"hive-smoke-suite-1\0");
    for (name, value) in fields {
        for part in [name, value] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use definition::spec::HealthMeaning;

    #[test]
    fn names_are_unique() {
        for (n, check) in GATE.iter().enumerate() {
            assert!(
                !GATE[..n].iter().any(|other| other.name == check.name),
                "{}",
                check.name
            );
            assert!(
                check.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{}",
                check.name
            );
        }
    }

    #[test]
    fn a_kind_gets_the_checks_of_what_it_runs() {
        let left_out = |kind| -> Vec<&str> {
            let not_for = GATE.iter().filter(|check| !check.kinds.contains(&kind));
            not_for.map(|check| check.name).collect()
        };
        assert_eq!(left_out(ImageKind::AllInOne), ["network-login"]);
        assert_eq!(
            left_out(ImageKind::Database),
            ["health", "health-honest", "files-survive"]
        );
        assert_eq!(
            left_out(ImageKind::App),
            [
                "postgresql-ready",
                "wrong-password",
                "network-login",
                "data-on-volume",
                "pgvector",
                "query-latency",
                "rows-survive",
                "files-survive",
            ]
        );
        for &kind in ImageKind::EVERY {
            let names: Vec<&str> = gate(kind).map(|check| check.name).collect();
            assert_eq!(names.len() + left_out(kind).len(), GATE.len());
            assert!(names.contains(&"image-user"), "{kind:?}");
        }
    }

    #[test]
    fn a_need_that_does_not_come_first_is_noticed() {
        let check = |name: &'static str, needs: &'static [&'static str]| CheckDef {
            name,
            needs,
            ..GATE[0]
        };
        let (one, other) = (check("one", &[]), check("other", &["one"]));
        assert!(needs_come_first(&[one, other]));
        assert!(!needs_come_first(&[other, one]));
        assert!(!needs_come_first(&[one, check("itself", &["itself"])]));
        assert!(!needs_come_first(&[one, check("other", &["on"])]));
    }

    #[test]
    fn framing_is_stable_and_unambiguous() {
        assert_eq!(
            hex::digits(&digest(&[("a", "b")])),
            "5fabcdd8f8eef49d366167c78ccde3d190996b18405659e4126e0311918b25f4"
        );
        assert_ne!(digest(&[("ab", "c")]), digest(&[("a", "bc")]));
        assert_ne!(digest(&[("a", "b"), ("c", "d")]), digest(&[("a", "bcd")]));
    }

    #[test]
    fn another_database_beside_it_is_another_proof() {
        let mut spec = crate::sample::spec();
        spec.database.elsewhere = Some(spec.name.clone());
        let id = |n: u8| -> ImageId { format!("sha256:{n:064}").parse().unwrap() };
        let (one, other) = (id(1), id(2));
        assert_ne!(key(&spec, Some(&one)).unwrap(), key(&spec, Some(&other)).unwrap());
        let parts = |database| parts(&spec, database).unwrap();
        assert_ne!(parts(Some(&one))["database"], parts(Some(&other))["database"]);
        assert_ne!(parts(None)["database"], parts(Some(&one))["database"]);
    }

    #[test]
    fn the_key_moves_with_budgets_checks_and_spec_and_its_parts_say_by_which() {
        let spec = crate::sample::spec();
        let before = (key(&spec, None).unwrap(), parts(&spec, None).unwrap());
        assert_eq!(before.0, key(&spec.clone(), None).unwrap());
        let changed = |change: fn(&mut ImageSpec)| {
            let mut other = spec.clone();
            change(&mut other);
            other
        };
        for (part, other) in [
            ("budgets", changed(|spec| spec.budgets.ready_seconds += 1.0)),
            ("checks", changed(|spec| drop(spec.checks.pop()))),
            (
                "app",
                changed(|spec| spec.app.as_mut().unwrap().health_path = None),
            ),
            (
                "app",
                changed(|spec| drop(spec.smoke_environment.insert("A".into(), "b".into()))),
            ),
            (
                "app",
                changed(|spec| spec.app.as_mut().unwrap().health = Some(HealthMeaning::Liveness)),
            ),
        ] {
            assert_ne!(before.0, key(&other, None).unwrap());
            let after = parts(&other, None).unwrap();
            let moved: Vec<&String> = after
                .keys()
                .filter(|name| before.1[*name] != after[*name])
                .collect();
            assert_eq!(moved, [part]);
        }
    }
}
