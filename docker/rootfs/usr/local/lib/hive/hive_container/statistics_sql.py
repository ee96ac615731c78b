"""What PostgreSQL is asked for metrics, and what its answers are called.

Each row of an answer is a JSON array: the metric, its labels, its value. The names and labels are
postgres_exporter's where it has the same (its collectors, as of 2026); where it splits a number by
more labels ours is the sum of its. No label is a table or a statement: they are the app's, and
have no bound.
"""

from collections.abc import Iterable

from hive_container.exposition import COUNTER, GAUGE, UNTYPED, Family

#: Of pg_stat_database, with what each is.
OF_DATABASES = {
    "numbackends": "Sessions in this database.",
    "xact_commit": "Transactions that were committed.",
    "xact_rollback": "Transactions that were rolled back.",
    "blks_read": "Blocks read from outside of the shared buffers.",
    "blks_hit": "Blocks found in the shared buffers.",
    "tup_returned": "Rows that scans went over.",
    "tup_fetched": "Rows that index scans fetched.",
    "tup_inserted": "Rows inserted.",
    "tup_updated": "Rows updated.",
    "tup_deleted": "Rows deleted.",
    "conflicts": "Queries cancelled by recovery.",
    "temp_files": "Temporary files that queries made.",
    "temp_bytes": "Bytes in temporary files.",
    "deadlocks": "Deadlocks found.",
    "blk_read_time": "Milliseconds spent reading blocks, where track_io_timing is on.",
    "blk_write_time": "Milliseconds spent writing blocks, where track_io_timing is on.",
    "checksum_failures": "Pages whose checksum did not fit.",
}

#: All others. Of what ends in `_total` the exporter has it, too.
OTHERS = {
    "pg_database_size_bytes": (GAUGE, "Size of the database."),
    "pg_database_connection_limit": (GAUGE, "Sessions the database may have; -1 for no limit."),
    "pg_stat_activity_count": (UNTYPED, "Sessions by state."),
    "pg_stat_activity_max_tx_duration": (GAUGE, "Age of the oldest transaction in seconds."),
    "pg_locks_count": (UNTYPED, "Locks held or waited for, by mode."),
    "pg_long_running_transactions": (GAUGE, "Transactions older than a minute."),
    "pg_long_running_transactions_oldest_timestamp_seconds": (
        GAUGE,
        "Age of the oldest of them in seconds.",
    ),
    "pg_wal_segments": (GAUGE, "Files of the write-ahead log."),
    "pg_wal_size_bytes": (GAUGE, "Size of the write-ahead log."),
    "pg_stat_bgwriter_buffers_clean_total": (COUNTER, "Buffers the background writer wrote."),
    "pg_stat_bgwriter_maxwritten_clean_total": (
        COUNTER,
        "Times it had written enough.",
    ),
    "pg_stat_bgwriter_buffers_alloc_total": (COUNTER, "Buffers allocated."),
    "pg_stat_checkpointer_num_timed_total": (COUNTER, "Checkpoints because of time."),
    "pg_stat_checkpointer_num_requested_total": (COUNTER, "Checkpoints that were asked for."),
    "pg_stat_checkpointer_write_time_total": (COUNTER, "Milliseconds writing in checkpoints."),
    "pg_stat_checkpointer_sync_time_total": (COUNTER, "Milliseconds syncing in checkpoints."),
    "pg_stat_checkpointer_buffers_written_total": (COUNTER, "Buffers written in checkpoints."),
    "pg_stat_archiver_archived_count": (UNTYPED, "Files of the log that were archived."),
    "pg_stat_archiver_failed_count": (UNTYPED, "Failed attempts to archive one."),
    "pg_stat_archiver_last_archive_age": (GAUGE, "Seconds since the last one was archived."),
    "pg_postmaster_start_time_seconds": (GAUGE, "When PostgreSQL was started."),
    "pg_database_wraparound_age_datfrozenxid_seconds": (GAUGE, "Age of the oldest transaction ID."),
    "pg_database_wraparound_age_datminmxid_seconds": (GAUGE, "Age of the oldest multixact ID."),
    "hive_collation_mismatches": (
        GAUGE,
        "Databases made with another version of their collation than the image has.",
    ),
}

#: Of any major that an image has.
_SQL = """
    SELECT json_build_array(metric, labels, value) FROM (
        SELECT 'pg_database_size_bytes' AS metric, json_build_object('datname', datname) AS labels,
                pg_database_size(oid)::float8 AS value
            FROM pg_database WHERE datconnlimit <> -2
        UNION ALL SELECT 'pg_database_connection_limit', json_build_object('datname', datname),
                datconnlimit
            FROM pg_database WHERE datconnlimit <> -2
        UNION ALL SELECT 'pg_database_wraparound_age_' || kind || '_seconds',
                json_build_object('datname', datname), age
            FROM pg_database, LATERAL (VALUES ('datfrozenxid', age(datfrozenxid)),
                ('datminmxid', mxid_age(datminmxid))) AS ages (kind, age)
        UNION ALL SELECT 'hive_collation_mismatches', '{{}}', count(*) FROM pg_database
            WHERE datcollversion <> pg_database_collation_actual_version(oid)
        UNION ALL SELECT 'pg_stat_database_' || name,
                json_build_object('datid', datid::text, 'datname', coalesce(datname, '')), number
            FROM pg_stat_database, LATERAL (VALUES {of_databases}) AS numbers (name, number)
        UNION ALL SELECT 'pg_stat_activity_count',
                json_build_object('datname', datname, 'state', state), count(*)
            FROM pg_stat_activity WHERE datname IS NOT NULL AND state IS NOT NULL
            GROUP BY datname, state
        UNION ALL SELECT 'pg_stat_activity_max_tx_duration',
                json_build_object('datname', datname, 'state', state),
                max(extract(epoch FROM now() - xact_start))
            FROM pg_stat_activity WHERE datname IS NOT NULL AND state IS NOT NULL
            GROUP BY datname, state
        UNION ALL SELECT 'pg_locks_count',
                json_build_object('datname', datname, 'mode', lower(mode)), count(*)
            FROM pg_locks JOIN pg_database ON database = pg_database.oid GROUP BY datname, mode
        UNION ALL SELECT kind, '{{}}', value FROM (
                SELECT count(*) AS many, coalesce(max(extract(epoch FROM now() - xact_start)), 0)
                    AS oldest FROM pg_stat_activity
                WHERE state IS DISTINCT FROM 'idle' AND now() - xact_start > interval '1 minute'
            ) AS long, LATERAL (VALUES ('pg_long_running_transactions', many),
                ('pg_long_running_transactions_oldest_timestamp_seconds', oldest))
                AS both_of_them (kind, value)
        UNION ALL SELECT kind, '{{}}', value
            FROM (SELECT count(*) AS many, sum(size) AS bytes FROM pg_ls_waldir()) AS wal,
                LATERAL (VALUES ('pg_wal_segments', many), ('pg_wal_size_bytes', bytes))
                AS both_of_them (kind, value)
        UNION ALL SELECT 'pg_stat_bgwriter_' || name || '_total', '{{}}', number
            FROM pg_stat_bgwriter, LATERAL (VALUES ('buffers_clean', buffers_clean),
                ('maxwritten_clean', maxwritten_clean), ('buffers_alloc', buffers_alloc))
                AS numbers (name, number)
        UNION ALL SELECT 'pg_stat_checkpointer_' || name || '_total', '{{}}', number
            FROM {checkpointer}, LATERAL (VALUES {of_checkpointer}) AS numbers (name, number)
        UNION ALL SELECT 'pg_stat_archiver_' || name, '{{}}', number
            FROM pg_stat_archiver, LATERAL (VALUES ('archived_count', archived_count),
                ('failed_count', failed_count),
                ('last_archive_age', extract(epoch FROM now() - last_archived_time)))
                AS numbers (name, number)
        UNION ALL SELECT 'pg_postmaster_start_time_seconds', '{{}}',
            extract(epoch FROM pg_postmaster_start_time())
    ) AS all_of_them WHERE value IS NOT NULL
"""

#: The checkpointer's numbers by their present names: of pg_stat_checkpointer, and of what
#: pg_stat_bgwriter had before it.
_CHECKPOINTER_SINCE = 17
_CHECKPOINTER = {
    "num_timed": "checkpoints_timed",
    "num_requested": "checkpoints_req",
    "write_time": "checkpoint_write_time",
    "sync_time": "checkpoint_sync_time",
    "buffers_written": "buffers_checkpoint",
}


def of(major: int) -> str:
    """One statement for everything: to begin a session takes longer than what it asks."""
    is_new = major >= _CHECKPOINTER_SINCE
    columns = (f"('{name}', {name if is_new else old})" for name, old in _CHECKPOINTER.items())
    return _SQL.format(
        of_databases=", ".join(f"('{name}', {name})" for name in OF_DATABASES),
        checkpointer="pg_stat_checkpointer" if is_new else "pg_stat_bgwriter",
        of_checkpointer=", ".join(columns),
    )


def families(rows: Iterable[tuple[str, dict[str, str], float]]) -> list[Family]:
    """What PostgreSQL said, by metric, in the order in which it said it."""
    known = {f"pg_stat_database_{name}": (UNTYPED, says) for name, says in OF_DATABASES.items()}
    known["pg_stat_database_numbackends"] = (GAUGE, OF_DATABASES["numbackends"])
    known |= OTHERS
    found: dict[str, Family] = {}
    for name, labels, value in rows:
        kind, says = known[name]
        found.setdefault(name, Family(name, kind, says)).add(value, **labels)
    return list(found.values())
