//! The faults of the full suite as data. To add one, see
//! [`fault`](super::fault).

pub mod crash;
pub(crate) mod disk;
pub(crate) mod endings;
pub(crate) mod files;
pub(crate) mod own_programs;
pub(crate) mod power;
pub mod processes;
pub(crate) mod refusals;
pub(crate) mod restarts;
pub(crate) mod running;
pub(crate) mod sql;
pub(crate) mod surroundings;
pub(crate) mod volumes;

use crate::fault::FaultDef;
use definition::spec::kind::ImageKind;

/// What an image has to bear before a release, after the gate.
pub const FULL: &[FaultDef] = &[
    // The longest first: then the others fill the time beside them.
    FaultDef {
        name: "power-cut-first-boot",
        proves: "a disk that loses all that was not synced, at any moment of the first boot, has nothing or a good cluster",
        kinds: ImageKind::WITH_DATABASE,
        run: power::cut_while_new,
    },
    FaultDef {
        name: "kill-container",
        proves: "kill -9 of the container under a write load loses no committed row, round after round",
        kinds: ImageKind::WITH_DATABASE,
        run: crash::killed_under_load,
    },
    FaultDef {
        name: "kill-first-boot",
        proves: "kill -9 at any moment of the first boot leaves nothing or a good cluster",
        kinds: ImageKind::WITH_DATABASE,
        run: crash::killed_while_new,
    },
    FaultDef {
        name: "power-cut",
        proves: "a disk that loses all that was not synced, under a write load, loses no committed row",
        kinds: ImageKind::WITH_DATABASE,
        run: power::cut_under_load,
    },
    FaultDef {
        name: "stop-first-boot",
        proves: "docker stop at any moment of the first boot is quick and leaves nothing or a good cluster",
        kinds: ImageKind::WITH_DATABASE,
        run: crash::stopped_while_new,
    },
    FaultDef {
        name: "slowly-flapping-app",
        proves: "an app that runs for a while each time and ends takes the container down with exit code 1",
        kinds: ImageKind::WITH_APP,
        run: endings::slowly_flapping_app,
    },
    FaultDef {
        name: "frozen-app",
        proves: "health leaves 200 when the app hangs, and the app is restarted as the spec says, or goes on",
        kinds: ImageKind::WITH_APP,
        run: processes::frozen_app,
    },
    FaultDef {
        name: "kill-postmaster",
        proves: "PostgreSQL is back by itself after kill -9 of the postmaster, with every committed row",
        kinds: ImageKind::WITH_DATABASE,
        run: processes::postmaster,
    },
    FaultDef {
        name: "kill-backend",
        proves: "PostgreSQL is back by itself after kill -9 of a session's backend",
        kinds: ImageKind::WITH_DATABASE,
        run: processes::backend,
    },
    FaultDef {
        name: "kill-servants",
        proves: "PostgreSQL is back by itself after kill -9 of each of its own processes",
        kinds: ImageKind::WITH_DATABASE,
        run: processes::servants,
    },
    FaultDef {
        name: "kill-app",
        proves: "the app is back by itself after kill -9",
        kinds: ImageKind::WITH_APP,
        run: processes::app,
    },
    FaultDef {
        name: "kill-monitor",
        proves: "the health monitor is back by itself after kill -9",
        kinds: ImageKind::EVERY,
        run: processes::monitor,
    },
    FaultDef {
        name: "kill-supervisord",
        proves: "kill -9 of PID 1 ends the container, and a restart policy brings it back with every row",
        kinds: ImageKind::EVERY,
        run: processes::supervisord,
    },
    FaultDef {
        name: "frozen-postgresql",
        proves: "health leaves 200 when PostgreSQL hangs, and comes back when it goes on",
        kinds: ImageKind::WITH_DATABASE,
        run: processes::frozen_postgresql,
    },
    FaultDef {
        name: "kill-programs",
        proves: "each program of the image's own is back by itself after kill -9",
        kinds: ImageKind::WITH_APP,
        run: own_programs::killed,
    },
    FaultDef {
        name: "frozen-programs",
        proves: "programs of the image's own that hang take neither the app nor the clean stop with them",
        kinds: ImageKind::WITH_APP,
        run: own_programs::frozen,
    },
    FaultDef {
        name: "fatal-programs",
        proves: "a program of the image's own that cannot be started ends the container, or is done without, as the spec says",
        kinds: ImageKind::WITH_APP,
        run: own_programs::beyond_help,
    },
    FaultDef {
        name: "kept-files",
        proves: "files in the app's directories outlive a container that is killed, also of an arbitrary uid with a read-only root",
        kinds: &[ImageKind::AllInOne],
        run: files::kept,
    },
    FaultDef {
        name: "fatal-app",
        proves: "an app that cannot be started takes the container down with exit code 1",
        kinds: ImageKind::WITH_APP,
        run: endings::fatal_app,
    },
    FaultDef {
        name: "fatal-postgresql",
        proves: "a PostgreSQL that cannot be started takes the container down with exit code 1",
        kinds: ImageKind::WITH_DATABASE,
        run: endings::fatal_postgresql,
    },
    FaultDef {
        name: "hopeless-app",
        proves: "a program that exits with 78 takes the container down with 78, at once",
        kinds: ImageKind::WITH_APP,
        run: endings::hopeless_app,
    },
    FaultDef {
        name: "flapping-app",
        proves: "an app that ends again and again takes the container down with exit code 1",
        kinds: ImageKind::WITH_APP,
        run: endings::flapping_app,
    },
    FaultDef {
        name: "stop-under-load",
        proves: "docker stop with open sessions and writers is a clean shutdown within the budget",
        kinds: ImageKind::WITH_DATABASE,
        run: crash::stopped_under_load,
    },
    FaultDef {
        name: "hardened",
        proves: "it works with a read-only root, no capabilities, no new privileges, few processes and little memory",
        kinds: ImageKind::EVERY,
        run: running::hardened,
    },
    FaultDef {
        name: "small-shared-memory",
        proves: "parallel HNSW builds and hash joins work in the 64 MB of shared memory that engines give",
        kinds: ImageKind::WITH_DATABASE,
        run: running::small_shared_memory,
    },
    FaultDef {
        name: "side-by-side",
        proves: "two containers on one network and other ports share no password, no data and no database port",
        kinds: ImageKind::WITH_DATABASE,
        run: running::side_by_side,
    },
    FaultDef {
        name: "restarts",
        proves: "docker stop, restart and kill, again and again, and docker pause lose nothing, leave nothing and stay quick",
        kinds: ImageKind::EVERY,
        run: restarts::restarts,
    },
    FaultDef {
        name: "logs",
        proves: "docker logs has every line with its program's name, and the files rotate",
        kinds: ImageKind::EVERY,
        run: running::logs,
    },
    FaultDef {
        name: "disk-full-at-first-boot",
        proves: "without room for a cluster nothing is made, and it is said; with room it boots",
        kinds: ImageKind::WITH_DATABASE,
        run: disk::full_at_first_boot,
    },
    FaultDef {
        name: "disk-full-while-writing",
        proves: "a disk that fills up, WAL included, costs no acknowledged row",
        kinds: ImageKind::WITH_DATABASE,
        run: disk::full_while_writing,
    },
    FaultDef {
        name: "foreign-volumes",
        proves: "a volume of another owner, version or image, or at another path, is refused and stays as it is",
        kinds: ImageKind::WITH_DATABASE,
        run: refusals::of_somebody_else,
    },
    FaultDef {
        name: "half-copied-volumes",
        proves: "a cluster that is not whole is refused before PostgreSQL touches it",
        kinds: ImageKind::WITH_DATABASE,
        run: refusals::copied_in_part,
    },
    FaultDef {
        name: "wrong-settings",
        proves: "settings, users and roots that cannot work are refused in one line",
        kinds: ImageKind::EVERY,
        run: refusals::settings,
    },
    FaultDef {
        name: "wrong-password-files",
        proves: "a password file that is no password is refused in one line",
        kinds: ImageKind::EVERY,
        run: refusals::password_files,
    },
    FaultDef {
        name: "sql-attacks",
        proves: "an app's role that does all it can by SQL becomes no superuser and keeps no container from starting",
        kinds: ImageKind::WITH_DATABASE,
        run: sql::attacks,
    },
    FaultDef {
        name: "alter-system",
        proves: "ALTER SYSTEM moves nothing that the container relies on, and a bad value is told with the way back",
        kinds: ImageKind::WITH_DATABASE,
        run: sql::alter_system,
    },
    FaultDef {
        name: "volume-in-use",
        proves: "a second container on a volume ends at once and harms nothing",
        kinds: ImageKind::WITH_DATABASE,
        run: volumes::in_use,
    },
    FaultDef {
        name: "harmless-volumes",
        proves: "what a fresh disk or an orchestrator leaves on a volume stops nothing",
        kinds: ImageKind::WITH_DATABASE,
        run: volumes::harmless,
    },
    FaultDef {
        name: "restored-volume",
        proves: "a copy of the cluster and a dump both bring back the rows",
        kinds: ImageKind::WITH_DATABASE,
        run: volumes::restored,
    },
    FaultDef {
        name: "lost-table",
        proves: "a table or index without its file is found at start",
        kinds: ImageKind::WITH_DATABASE,
        run: volumes::lost_table,
    },
    FaultDef {
        name: "collation-versions",
        proves: "an order of text that changed is told, with the commands that mend it",
        kinds: ImageKind::WITH_DATABASE,
        run: volumes::collations,
    },
    FaultDef {
        name: "upgrade",
        proves: "the volume of the image that was promoted before works, with its rows",
        kinds: ImageKind::WITH_DATABASE,
        run: volumes::upgrade,
    },
    FaultDef {
        name: "odd-password",
        proves: "a password with any character works everywhere, and reaches no log",
        kinds: ImageKind::EVERY,
        run: surroundings::odd_password,
    },
    FaultDef {
        name: "arbitrary-user",
        proves: "any uid runs it, with a read-only root and without capabilities",
        kinds: ImageKind::EVERY,
        run: surroundings::arbitrary_user,
    },
    FaultDef {
        name: "clock-and-zone",
        proves: "time zones, locales and clocks that are wrong stop nothing and move no instant",
        kinds: ImageKind::EVERY,
        run: surroundings::clock_and_zone,
    },
    FaultDef {
        name: "moved-port",
        proves: "HIVE_API_PORT moves the app, and libpq's variables for other servers change nothing",
        kinds: ImageKind::WITH_APP,
        run: surroundings::moved_port,
    },
    FaultDef {
        name: "bare-surroundings",
        proves: "without a name for loopback, under an init and with stray signals it works; an emptied run directory is told",
        kinds: ImageKind::EVERY,
        run: surroundings::bare,
    },
    FaultDef {
        name: "reserved-port",
        proves: "no connection gets the app's port while the app does not listen yet",
        kinds: ImageKind::WITH_APP,
        run: surroundings::reserved_port,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Faults;
    use crate::suite;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_none_of_the_gate() {
        let mut known: BTreeSet<&str> = suite::GATE.iter().map(|check| check.name).collect();
        for fault in FULL {
            assert!(known.insert(fault.name), "{} twice", fault.name);
            assert!(fault.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
        }
    }

    #[test]
    fn a_kind_bears_the_faults_of_what_it_runs() {
        let of = |kind| -> BTreeSet<&str> {
            let fitting = FULL.iter().filter(|fault| fault.fits(kind));
            fitting.map(|fault| fault.name).collect()
        };
        assert_eq!(of(ImageKind::AllInOne).len(), FULL.len());
        let (app, database) = (of(ImageKind::App), of(ImageKind::Database));
        // What an app keeps is kept on the volume of a database.
        let of_both = BTreeSet::from(["kept-files"]);
        assert_eq!(&(&app | &database) | &of_both, of(ImageKind::AllInOne));
        for (name, of_an_app, of_a_database) in [
            ("kill-app", true, false),
            ("kill-postmaster", false, true),
            ("hardened", true, true),
        ] {
            assert_eq!(
                (app.contains(name), database.contains(name)),
                (of_an_app, of_a_database),
                "{name}"
            );
        }
    }

    #[test]
    fn the_key_is_the_gates_no_more() {
        let spec = crate::sample::spec();
        let key = |spec| {
            Faults {
                all: FULL,
                only: &[],
                second_try: true,
            }
            .key(spec, None)
        };
        assert_ne!(key(&spec).unwrap(), suite::key(&spec, None).unwrap());
        let mut other = spec.clone();
        other.budgets.ready_seconds += 1.0;
        assert_ne!(key(&spec).unwrap(), key(&other).unwrap());
    }
}
