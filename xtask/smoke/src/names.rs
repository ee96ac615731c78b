//! Names of the checks that others refer to: a name that is gone does not compile.

/// The image brings a health check.
pub(crate) const IMAGE_HEALTH_CHECK: &str = "image-health-check";

/// The container starts and stays.
pub(crate) const STAYS_UP: &str = "stays-up";

/// No program was started twice.
pub(crate) const NOTHING_RESTARTED: &str = "nothing-restarted";

/// The supervisor's view of the programs.
pub(crate) const PROGRAMS_RUNNING: &str = "programs-running";

/// Who the processes run as.
pub(crate) const NO_ROOT_PROCESS: &str = "no-root-process";

/// The server takes connections, as `pg_isready` sees it.
pub(crate) const POSTGRESQL_READY: &str = "postgresql-ready";

/// The app's role logs in.
pub(crate) const SQL_LOGIN: &str = "sql-login";

/// The data directory lies on the volume.
pub(crate) const DATA_ON_VOLUME: &str = "data-on-volume";

/// A query for the nearest vectors gives the right ones.
pub(crate) const PGVECTOR: &str = "pgvector";

/// The app's health endpoint answers as it should.
pub(crate) const HEALTH: &str = "health";

/// From an empty volume to healthy.
pub(crate) const TIME_TO_READY: &str = "time-to-ready";

/// A new container on a volume of the image before.
pub(crate) const ROWS_OF_BEFORE: &str = "rows-of-before";

/// A new container on the same volume.
pub(crate) const RESTART: &str = "restart";

/// Checks that hold a budget, and its key in a spec.
pub(crate) const BUDGETS: [(&str, &str); 7] = [
    (TIME_TO_READY, "ready_seconds"),
    (RESTART, "restart_seconds"),
    ("clean-stop", "stop_seconds"),
    (HEALTH, "health_ms"),
    ("query-latency", "query_ms"),
    ("memory", "memory_mb"),
    ("image-size", "size_mb"),
];
