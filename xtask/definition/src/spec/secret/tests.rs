//! What is a secret, what only speaks of one, and what may be shown.

use super::*;

#[test]
fn what_stands_for_a_value_may_be_shown() {
    for (name, value) in [
        ("SMTP_PORT", "587"),
        ("USE_TLS", "false"),
        ("APP_ENV", "production"),
        ("SITE_URL", "http://localhost:8000"),
        ("MAIL_FROM", "App <given-at-start@example.com>"),
        ("ORIGINS", "[\"http://localhost\"]"),
        ("REPORT_DIR", "/tmp"),
        ("LAUNCH", "2026-01-01"),
        ("WITH_CREDENTIALS", "false"),
        ("QUEUE", "amqp://localhost:5672//"),
        ("ORIGINS", "[\"http://localhost\",\"https://127.0.0.1:8443/app\"]"),
        ("ADMINS", "[\"given-at-start@example.com\"]"),
        ("ALLOWED_HOSTS", "localhost,127.0.0.1"),
        ("NETWORK", "127.0.0.0/8"),
        ("OPENS", "00:00:00"),
        ("SINCE", "2026-01-01T00:00:00Z"),
        (
            "STATICFILES_STORAGE",
            "django.contrib.staticfiles.storage.StaticFilesStorage",
        ),
        ("TENANT", "00000000-0000-4000-8000-000000000000"),
        ("RATE", "-0.25000"),
        ("MAX_BYTES", "1073741824"),
        ("JWT_ALGORITHM", "HS256"),
        ("TOKEN_TTL", "86400000"),
        ("JWKS_BASE64", NO_KEYS_IN_BASE64),
        ("ENCRYPTION_KEY", BYTES_IN_BASE64),
        ("COOKIE_SECRET", BYTES_IN_HEX),
        ("ENCRYPT_KEY", "given-at-start-given-at-start-gi"),
    ] {
        assert!(is_open_to_all(name, value), "{name}");
    }
    for (name, value) in [
        ("OPENAI_API_KEY", "given-at-start"),
        ("PIN_SECRET", "x1"),
        ("LICENCE", "ABCD-EFGH-IJKL-MNOP"),
        ("BROKER_URL", "amqp://me:pw@localhost/"),
        ("HOOK", "https://hooks.example/T1/B2"),
        ("PEM", "localhost\nkey"),
        ("DB_PASSWORD", "20241127"),
        ("ENCRYPTION_KEY", "Z2l2ZW4tYXQtc3RhcnQtZ2l2ZW4tYXQtc3RhcnQtZ2k"),
        ("TELEGRAM_TOKEN", "1234567890"),
        ("OTP_SECRET", "1e10"),
        ("STRIPE_SECRET_KEY", "nan"),
        ("ADMIN_PIN", "1234"),
        ("DATABASE", "host=localhost user=app password=hunter2xyz"),
        ("LDAP_BIND", "cn=admin,dc=localhost:secretpw"),
        ("LICENCE", "abcdefghijklmnop"),
        ("CLIENT", "00:00:5e:hunter2"),
        ("CLIENT", "2026-01-01hunter2"),
        ("CLIENT", "00000000-hunter2"),
        ("CLIENT", "/tmp0hunter2"),
        ("CLIENT", "django.hunter2hunter2!x"),
        ("CLIENT", "given-at-start-hunter2"),
        ("ENCRYPT_KEY", "given-at-start-given-at-start-hu"),
        ("CLIENT", "123456789012345"),
        ("CLIENT", "infinity"),
        ("STORE", "redis://localhost/0?password=hunter2"),
        ("STORE", "redis://hunter2hunter2@localhost/0"),
        ("STORE", "https://localhost.example/T1/B2"),
        ("STORE", "localhost,hunter2hunter2"),
    ] {
        assert!(!is_open_to_all(name, value), "{name}");
    }
}

#[test]
fn a_number_is_a_secret_by_its_name() {
    for (name, value) in [
        ("ADMIN_PIN", "123456"),
        ("otp_seed", "42"),
        ("DB_PASSWORD", "20241127"),
    ] {
        assert!(is_secret_number(name, value), "{name}");
    }
    for (name, value) in [
        ("OTP_LENGTH", "10"),
        ("TOKEN_MINUTES", "30"),
        ("WITH_CREDENTIALS", "1"),
        ("PINS", "40"),
        ("ADMIN_PIN", "<pin>"),
    ] {
        assert!(!is_secret_number(name, value), "{name}");
    }
}

#[test]
fn a_password_in_sql_is_told_from_a_column() {
    for (text, found) in [
        ("CREATE ROLE r LOGIN PASSWORD 'hunter2'", "PASSWORD '…'"),
        ("alter role r encrypted password  'hunter2'", "PASSWORD '…'"),
        ("OPTIONS (user 'r', password 'hunter2')", "PASSWORD '…'"),
        ("host=db user=r password=hunter2", "password=…"),
        ("host=db password='hunter two'", "password=…"),
        (
            "SELECT dblink('postgresql://r:hunter2@db/x')",
            "a URL with a password",
        ),
    ] {
        assert_eq!(in_sql(text), Some(found), "{text}");
    }
    for text in [
        "CREATE TABLE users (password text NOT NULL, password_hash text)",
        "ALTER ROLE r PASSWORD NULL",
        "COMMENT ON COLUMN users.password IS 'hashed'",
        "SELECT 1 WHERE password = 'x'",
        "UPDATE users SET password=''",
        "PREPARE p AS UPDATE users SET password=$1",
        "INSERT INTO users (name, password) VALUES ('a', NULL)",
        "SELECT 'password', 'x'",
        "host=db passfile=/run/secrets/x",
    ] {
        assert_eq!(in_sql(text), None, "{text}");
    }
}

#[test]
fn a_secret_in_a_spec_is_told_from_a_setting() {
    for (name, value) in [
        ("OPENAI_API_KEY", "sk-live-1"),
        ("DJANGO_SECRET_KEY", "changethis"),
        ("ADMIN_PASSWORD", "admin"),
        ("OTHER_DB", "postgresql://me:hunter2@db/x"),
        ("SMTP_PASS", "hunter2"),
        ("DB_PASS", "hunter2"),
        ("FERNET_KEY", "hunter2"),
        ("ENCRYPTION_KEY", "hunter2"),
        ("JWT_KEY", "hunter2"),
        ("APP_KEY", "base64:hunter2"),
        ("HASH_SALT", "hunter2"),
        (
            "SENTRY_DSN",
            "https://0123456789abcdef0123456789abcdef@o1.ingest.example/1",
        ),
        ("PGPASSWORD", "hunter2"),
        ("GITHUBTOKEN", "hunter2"),
    ] {
        assert!(is_baked_in(name, value), "{name}={value}");
    }
    for (name, value) in [
        ("SECRET_KEY", "{secret:SECRET_KEY}"),
        ("PGPASSWORD", "{database_password}"),
        ("MAX_TOKENS", "many"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "30"),
        ("REFRESH_TOKEN", "60"),
        ("PASSWORD_HASHER", "argon2"),
        ("JWT_SECRET", ""),
        ("API_KEY_FILE", "run/secrets/x"),
        ("DATABASE_URL", "{database_url}"),
        ("STRIPE_PUBLIC_KEY", "pk_1"),
        ("JWT_PUBLIC_KEY", "abc"),
        ("PRIMARY_KEY", "id"),
        ("CACHE_KEY", "shop"),
        ("KEY_PREFIX", "shop"),
        ("TOKEN_LIFETIME", "1h"),
        ("AWS_ACCESS_KEY_ID", "AKIA"),
        ("BYPASS", "nothing"),
        ("KEYCLOAK_REALM", "shop"),
        ("REPORT_DSN", "https://reports.example/1"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "service.json"),
        ("CORS_ALLOW_CREDENTIALS", "true"),
    ] {
        assert!(!is_baked_in(name, value), "{name}={value}");
    }
}
#[test]
fn a_secret_among_the_words_of_a_command_is_found() {
    let found = |words: &[&str]| named_in(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    for (words, what) in [
        (
            &["redis-server", "--requirepass", "hunter2"][..],
            "--requirepass …",
        ),
        (
            &["worker", "--broker", "redis://:hunter2@redis/0"],
            "a URL with a password",
        ),
        (&["worker", "--api-key=sk-1"], "--api-key=…"),
        (&["env", "SECRET_KEY=abc", "serve"], "SECRET_KEY=…"),
        (
            &["sh", "-c", "export PGPASSWORD='hunter2'; exec serve"],
            "PGPASSWORD=…",
        ),
        (&["sh", "-c", "curl https://h.example/?token=abc"], "token=…"),
        (&["sh", "-c", "mysql --password hunter2 < x.sql"], "--password …"),
    ] {
        assert_eq!(found(words).as_deref(), Some(what), "{words:?}");
    }
    for words in [
        &["redis-server", "--requirepass", "{secret:REDIS}"][..],
        &["worker", "--broker", "redis://:{secret:REDIS}@redis/0"],
        &[
            "worker",
            "--api-key-file",
            "key.txt",
            "--max-tokens=5",
            "--token",
            "--verbose",
        ],
        &[
            "sh",
            "-c",
            "PGPASSWORD=\"$OTHER\" TOKEN=$(cat /run/secrets/x) exec serve",
        ],
        &[
            "python",
            "manage.py",
            "createsuperuser",
            "--no-input",
            "--password-stdin",
        ],
        &["serve", "--reset-password", "{secret:X}", "--access-token", "60"],
        &["sh", "-c", "sort --key name", "--partition-key", "user"],
    ] {
        assert_eq!(found(words), None, "{words:?}");
    }
}
