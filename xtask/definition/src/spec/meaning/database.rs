//! What is no name, role, setting or statement of PostgreSQL's, or not a spec's to give.

use super::Meaning;
use crate::spec::raw::RawSpec;
use crate::spec::sql;

/// What the container gives PostgreSQL on the command line, or relies on.
const SETTINGS_OF_THE_IMAGE: [&str; 12] = [
    "config_file",
    "data_directory",
    "dynamic_shared_memory_type",
    "hba_file",
    "ident_file",
    "listen_addresses",
    "log_destination",
    "logging_collector",
    "password_encryption",
    "port",
    "unix_socket_directories",
    "unix_socket_permissions",
];

/// PostgreSQL cuts longer identifiers off silently (`NAMEDATALEN` - 1).
const MAX_IDENTIFIER_BYTES: usize = 63;

impl Meaning {
    pub(super) fn database(&mut self, raw: &RawSpec) {
        for (path, name) in [
            ("database.name", &raw.database.name),
            ("database.role", &raw.database.role),
        ] {
            if name.is_empty() || name.len() > MAX_IDENTIFIER_BYTES {
                self.tell(path, format!("must have 1 to {MAX_IDENTIFIER_BYTES} bytes"));
            }
            if name.contains(|c: char| c.is_control()) {
                self.tell(path, "holds a control character");
            }
        }
        let role = raw.database.role.as_str();
        // `none` and `public` are words of GRANT, also in quotes.
        if ["postgres", "none", "public"].contains(&role) || role.starts_with("pg_") {
            self.tell(
                "database.role",
                "is reserved by PostgreSQL: choose a role of the app's own",
            );
        }
        if ["postgres", "template0", "template1"].contains(&raw.database.name.as_str()) {
            self.tell(
                "database.name",
                "is reserved by PostgreSQL: choose a database of the app's own",
            );
        }
        for (n, extension) in raw.database.extensions.iter().enumerate() {
            if !extension
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
                || extension.is_empty()
            {
                self.tell(&format!("database.extensions[{n}]"), "is no name of an extension");
            }
        }
        for (name, value) in &raw.database.settings {
            let path = format!("database.settings.{name}");
            let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.".contains(&b);
            if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.bytes().all(good) {
                self.tell(&path, "is no name of a setting");
            }
            if value.contains(char::is_control) {
                self.tell(&path, "must be one line of text");
            }
            if SETTINGS_OF_THE_IMAGE.contains(&name.as_str()) {
                self.tell(
                    &path,
                    "is the image's own: the container finds and checks its server by it",
                );
            }
        }
        for (n, sql) in raw.database.initial_sql.iter().enumerate() {
            let path = format!("database.initial_sql[{n}]");
            if sql.trim().is_empty() || sql.contains('\0') {
                self.tell(&path, "is no statement");
            } else {
                self.take(&path, sql::check(sql));
            }
        }
    }
}
