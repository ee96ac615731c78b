//! Values for variables that only whoever runs the image can give: with them the gate starts
//! the app. They have the form that the code asks for, and lead nowhere.

use crate::hosts;
use crate::secrets;
use crate::settings::{Form, ReadVariable};

/// What has no other form.
const TEXT: &str = "given-at-start";
const URL: &str = "http://localhost";
const MAIL: &str = "given-at-start@example.com";

/// The words of a name, in capitals.
fn words(name: &str) -> Vec<String> {
    name.to_uppercase().split('_').map(str::to_owned).collect()
}

/// Whether a name may be that of the hosts by which an app answers, as `ALLOWED_HOSTS`; or of
/// those that it trusts.
pub(crate) fn is_of_hosts(name: &str) -> bool {
    let words = words(name);
    let has = |names: &[&str]| words.iter().any(|word| names.contains(&word.as_str()));
    has(&["HOST", "HOSTS"]) && has(&["ALLOWED", "TRUSTED"])
}

/// The word of a list that means production.
pub(crate) fn for_production(form: &Form) -> Option<&str> {
    let Form::OneOf(words) = form else { return None };
    let is_it = |word: &&String| ["production", "prod"].contains(&word.to_lowercase().as_str());
    words.iter().find(is_it).map(String::as_str)
}

/// Whether a name is that of what an app runs as: `APP_ENV`.
pub(crate) fn is_of_stage(name: &str) -> bool {
    let words = words(name);
    ["ENV", "ENVIRONMENT", "STAGE", "MODE"]
        .iter()
        .any(|known| words.iter().any(|word| word == known))
}

/// Whether a variable is a switch that is on in production, by the whole of its name:
/// `PRODUCTION`, `IS_PROD`. `PROD_MAIL` is none.
pub(crate) fn is_for_production(variable: &ReadVariable) -> bool {
    let words = words(&variable.name);
    let last = words.iter().rev().find(|word| *word != "MODE");
    let is_word = last.is_some_and(|word| ["PROD", "PRODUCTION"].contains(&word.as_str()));
    variable.form == Form::Switch && is_word && !words.iter().any(|word| word == "NOT" || word == "NON")
}

/// Words of names of switches that developers alone have on.
const OF_DEVELOPERS: [&str; 3] = ["DEBUG", "RELOAD", "AUTORELOAD"];

/// Whether a variable is a switch that developers alone have on: by its form, or as a text by the
/// last word of its name. `DEBUG_EMAIL` and `RELOAD_SECONDS` are none.
pub(crate) fn is_for_developers(variable: &ReadVariable) -> bool {
    match variable.form {
        Form::Switch => speaks_of_developers(&variable.name),
        Form::Text => ends_as_of_developers(&variable.name),
        _ => false,
    }
}

/// Whether a word of a name is one of theirs.
pub(crate) fn speaks_of_developers(name: &str) -> bool {
    let upper = name.to_uppercase();
    upper.split('_').any(|word| OF_DEVELOPERS.contains(&word))
}

/// Whether the last one is.
pub(crate) fn ends_as_of_developers(name: &str) -> bool {
    let upper = name.to_uppercase();
    upper
        .rsplit('_')
        .next()
        .is_some_and(|last| OF_DEVELOPERS.contains(&last))
}

/// What the gate gives in place of a value.
pub(crate) fn of(variable: &ReadVariable) -> String {
    let name = variable.name.as_str();
    // A private key has a form that no other text has, and developers' own opens nothing.
    let known = variable.default.iter();
    let mut known = known.chain(variable.elsewhere.iter().map(|default| &default.value));
    if let Some(key) = known.find(|text| text.trim_start().starts_with("-----BEGIN ")) {
        return key.clone();
    }
    if variable.is_of_hosts || is_of_hosts(name) {
        return hosts::written(&variable.form, &[]);
    }
    match &variable.form {
        Form::Number(least) => least.to_string(),
        // Off it is refused.
        Form::Switch if variable.is_refused => "true".to_owned(),
        Form::Switch => "false".to_owned(),
        Form::OneOf(words) => {
            let first = words.first().map_or(TEXT, String::as_str);
            for_production(&variable.form).unwrap_or(first).to_owned()
        }
        Form::Url => url(name),
        Form::Email => MAIL.to_owned(),
        Form::Fixed(value) | Form::Encoded(value) => (*value).to_owned(),
        Form::Json(of) => {
            let one = of_one(of, name);
            match **of {
                Form::Number(_) | Form::Switch | Form::Json(_) => format!("[{one}]"),
                Form::Fixed(value) if value.starts_with(['{', '[']) => format!("[{one}]"),
                _ => format!("[\"{one}\"]"),
            }
        }
        Form::Text | Form::Separated(_) => by_name(name),
    }
}

/// One of the values of a list.
fn of_one(form: &Form, name: &str) -> String {
    match form {
        Form::Number(least) => least.to_string(),
        Form::Switch => "false".to_owned(),
        Form::OneOf(words) => words.first().map_or(TEXT, String::as_str).to_owned(),
        Form::Url => url(name),
        Form::Email => MAIL.to_owned(),
        Form::Fixed(value) | Form::Encoded(value) => (*value).to_owned(),
        Form::Json(_) => "[]".to_owned(),
        Form::Text | Form::Separated(_) => by_name(name),
    }
}

/// A URL of the service that a name speaks of.
pub(crate) fn url(name: &str) -> String {
    let words = words(name);
    let has = |names: &[&str]| words.iter().any(|word| names.contains(&word.as_str()));
    let url = match () {
        () if has(&["REDIS", "CACHE", "VALKEY"]) => "redis://localhost:6379/0",
        () if has(&["AMQP", "BROKER", "RABBIT", "RABBITMQ"]) => "amqp://localhost:5672//",
        () if has(&["MONGO", "MONGODB"]) => "mongodb://localhost:27017/app",
        () if has(&["SMTP"]) => "smtp://localhost:25",
        () if has(&["WEBSOCKET", "WS", "WSS"]) => "ws://localhost",
        () => URL,
    };
    url.to_owned()
}

/// A value of the form that a name speaks of.
fn by_name(name: &str) -> String {
    const URLS: [&str; 12] = [
        "ENDPOINT",
        "ENDPOINTS",
        "HREF",
        "LINK",
        "ORIGIN",
        "ORIGINS",
        "URI",
        "URIS",
        "URL",
        "URLS",
        "WEBHOOK",
        "ISSUER",
    ];
    const HOSTS: [&str; 9] = [
        "ADDR", "ADDRESS", "DOMAIN", "DOMAINS", "HOST", "HOSTNAME", "HOSTS", "SERVER", "SERVERS",
    ];
    const NUMBERS: [&str; 31] = [
        "AGE", "BYTES", "CAPACITY", "COUNT", "DAYS", "DELAY", "EXPIRE", "EXPIRES", "EXPIRY", "HOURS",
        "INTERVAL", "LENGTH", "LIMIT", "LIMITS", "MAX", "MB", "MIN", "MINUTES", "MS", "NUM", "PERIOD",
        "PORT", "PORTS", "RETRIES", "SECONDS", "SECS", "SIZE", "THREADS", "TIMEOUT", "TTL", "WORKERS",
    ];
    const SWITCHES: [&str; 10] = [
        "DEBUG", "DISABLE", "DISABLED", "ENABLE", "ENABLED", "IS", "SSL", "STARTTLS", "TLS", "USE",
    ];
    let words = words(name);
    let last = words.last().map_or("", String::as_str);
    let has = |names: &[&str]| words.iter().any(|word| names.contains(&word.as_str()));
    let ends = |names: &[&str]| names.contains(&last);
    let value = match () {
        () if secrets::signs_tokens(name) => "HS256",
        // Its client ends an app whose DSN is no URL of this form, and bears one that leads
        // nowhere.
        () if has(&["SENTRY"]) && last == "DSN" => "https://given-at-start@sentry.invalid/1",
        // Django loads the class that is named: its own.
        () if ends(&["BACKEND", "STORAGE"])
            && let Some(class) = class_of_django(&words) =>
        {
            class
        }
        () if ends(&URLS) => return url(name),
        () if ends(&["EMAIL", "EMAILS", "SENDER"]) || last == "MAIL" => MAIL,
        // `S3_BUCKET_NAME_FROM` is where something is copied from.
        () if ends(&["FROM"]) && (words.len() <= 2 || has(&["EMAIL", "MAIL"])) => MAIL,
        () if ends(&["ADDRESS"]) && has(&["EMAIL", "FROM", "MAIL", "SENDER"]) => MAIL,
        () if ends(&HOSTS) => "localhost",
        () if ends(&NUMBERS) => "1",
        () if ends(&SWITCHES) || ["USE", "ENABLE", "IS"].contains(&words[0].as_str()) => "false",
        () if ends(&["ENV", "ENVIRONMENT", "STAGE"]) => "production",
        () if ends(&["TIMEZONE", "TZ"]) => "UTC",
        () if ends(&["LANG", "LANGUAGE", "LOCALE"]) => "en",
        () if ends(&["DIR", "DIRECTORY", "FOLDER", "PATH", "ROOT"]) => "/tmp",
        () if ends(&["FILE"]) => "/tmp/given-at-start",
        () => TEXT,
    };
    value.to_owned()
}

/// The class of Django's that it takes by itself for a setting of this name.
fn class_of_django(words: &[String]) -> Option<&'static str> {
    const CLASSES: [(&str, &str); 5] = [
        ("EMAIL_BACKEND", "django.core.mail.backends.smtp.EmailBackend"),
        (
            "DEFAULT_FILE_STORAGE",
            "django.core.files.storage.FileSystemStorage",
        ),
        (
            "STATICFILES_STORAGE",
            "django.contrib.staticfiles.storage.StaticFilesStorage",
        ),
        ("CACHE_BACKEND", "django.core.cache.backends.locmem.LocMemCache"),
        ("FILE_STORAGE", "django.core.files.storage.FileSystemStorage"),
    ];
    let name = words.join("_");
    CLASSES
        .iter()
        .find(|(end, _)| name.ends_with(end))
        .map(|(_, class)| *class)
}

/// A URL without the login in it, which is somebody's own; what is no URL is itself.
pub(crate) fn without_login(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, form: Form) -> ReadVariable {
        ReadVariable {
            name: name.to_owned(),
            required: true,
            default: None,
            example: None,
            annotation: String::new(),
            is_made: false,
            is_refused: false,
            is_session_key: false,
            form,
            elsewhere: None,
            is_of_start: true,
            is_of_an_error: false,
            is_of_hosts: false,
        }
    }

    #[test]
    fn a_stand_in_has_the_form_that_its_name_speaks_of() {
        for (name, value) in [
            ("FRONTEND_URL", "http://localhost"),
            ("CORS_ORIGINS", "http://localhost"),
            ("CELERY_BROKER_URL", "amqp://localhost:5672//"),
            ("DEFAULT_FROM_EMAIL", "given-at-start@example.com"),
            ("MAIL_FROM", "given-at-start@example.com"),
            ("EMAIL_HOST", "localhost"),
            ("MAIL_SERVER", "localhost"),
            ("DOMAIN", "localhost"),
            ("EMAIL_PORT", "1"),
            ("TOKEN_EXPIRE_MINUTES", "1"),
            ("EMAIL_USE_TLS", "false"),
            ("USE_S3", "false"),
            ("APP_ENV", "production"),
            ("SENTRY_DSN", "https://given-at-start@sentry.invalid/1"),
            ("REPORT_DIR", "/tmp"),
            ("BUCKET_NAME", "given-at-start"),
            ("BUCKET_NAME_FROM", "given-at-start"),
            (
                "DJANGO_EMAIL_BACKEND",
                "django.core.mail.backends.smtp.EmailBackend",
            ),
            ("VECTOR_STORAGE", "given-at-start"),
            ("JWT_ALGORITHM", "HS256"),
            ("TRUSTED_HOST", "*"),
        ] {
            assert_eq!(of(&variable(name, Form::Text)), value, "{name}");
        }
    }

    #[test]
    fn what_the_code_asks_for_goes_before_the_name() {
        let list = |form| Form::Json(Box::new(form));
        let words = Form::OneOf(vec!["local".to_owned(), "prod".to_owned()]);
        for (name, form, value) in [
            ("SITE_URL", Form::Number(3), "3"),
            ("KIND", words, "prod"),
            (
                "KIND",
                Form::OneOf(vec!["s3".to_owned(), "disk".to_owned()]),
                "s3",
            ),
            ("CORS_ORIGINS", list(Form::Text), "[\"http://localhost\"]"),
            ("ADMINS", list(Form::Email), "[\"given-at-start@example.com\"]"),
            ("SIZES", list(Form::Number(1)), "[1]"),
            ("TABLE", list(list(Form::Text)), "[[]]"),
            ("MAP", Form::Fixed("{}"), "{}"),
            ("LIVE", Form::Switch, "false"),
        ] {
            assert_eq!(of(&variable(name, form)), value, "{name}");
        }
        let mut key = variable("SIGNING_PRIVATE_KEY", Form::Text);
        key.default = Some("-----BEGIN PRIVATE KEY-----\nMII".to_owned());
        assert_eq!(of(&key), "-----BEGIN PRIVATE KEY-----\nMII");
        let mut refused = variable("LIVE", Form::Switch);
        refused.is_refused = true;
        assert_eq!(of(&refused), "true");
    }

    #[test]
    fn a_switch_of_developers_is_told_by_its_form_and_name() {
        for (name, form, is_it) in [
            ("DEBUG_TOOLBAR", Form::Switch, true),
            ("APP_DEBUG", Form::Text, true),
            ("UVICORN_RELOAD", Form::Text, true),
            ("DEBUG_EMAIL", Form::Text, false),
            ("DEBUG_EMAIL", Form::Email, false),
            ("CONFIG_RELOAD_URL", Form::Url, false),
            ("PRICE_RELOAD_SECONDS", Form::Number(1), false),
            ("LIVE", Form::Switch, false),
        ] {
            assert_eq!(is_for_developers(&variable(name, form)), is_it, "{name}");
        }
    }

    #[test]
    fn a_switch_of_production_is_told_by_its_form_and_name() {
        for (name, form, is_it) in [
            ("PRODUCTION", Form::Switch, true),
            ("IS_PROD", Form::Switch, true),
            ("production_mode", Form::Switch, true),
            ("PRODUCTION", Form::Text, false),
            ("PROD_MAIL", Form::Switch, false),
            ("NOT_PRODUCTION", Form::Switch, false),
        ] {
            assert_eq!(is_for_production(&variable(name, form)), is_it, "{name}");
        }
    }

    #[test]
    fn a_login_goes_out_of_a_url() {
        for (url, without) in [
            ("amqp://me:pw@mq:5672/a@b", "amqp://mq:5672/a@b"),
            ("https://key@host?x", "https://host?x"),
            ("https://host", "https://host"),
            ("plain", "plain"),
        ] {
            assert_eq!(without_login(url), without);
        }
    }
}
