//! Values with placeholders, as the container's launcher reads them.

use super::is_variable;

/// The placeholders of environment values and commands.
const PLACEHOLDERS: [&str; 8] = [
    "database_url",
    "database_host",
    "database_port",
    "database_name",
    "database_user",
    "database_password",
    "database_password_urlencoded",
    "port",
];

/// Checks that each `{…}` is a known placeholder and each other brace doubled,
/// as the container's launcher reads them.
pub(super) fn check_template(text: &str) -> Result<(), String> {
    let known = || {
        format!(
            "known are {}, {{database_url:asyncpg}} for a driver and {{secret:NAME}}; write `{{{{` for a brace",
            PLACEHOLDERS.map(|p| format!("{{{p}}}")).join(", ")
        )
    };
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let tail = &rest[at..];
        if tail.starts_with("{{") || tail.starts_with("}}") {
            rest = &tail[2..];
            continue;
        }
        let name = tail.strip_prefix('{').and_then(|tail| tail.split_once('}'));
        let Some((name, after)) = name else {
            return Err(format!("has a brace without its partner; {}", known()));
        };
        match name.split_once(':') {
            None if PLACEHOLDERS.contains(&name) => {}
            Some(("database_url", driver)) => check_driver(driver)?,
            Some(("secret", name)) if is_variable(name) => {}
            _ => return Err(format!("has the unknown placeholder {{{name}}}; {}", known())),
        }
        rest = after;
    }
    Ok(())
}

/// Checks what stands behind `database_url:`: a driver as SQLAlchemy names
/// them, or a scheme as it begins a URL.
fn check_driver(driver: &str) -> Result<(), String> {
    let word = |text: &str, more: &[u8]| {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || more.contains(&b))
    };
    if let Some(scheme) = driver.strip_suffix("://") {
        return if word(scheme, b"+.-") {
            Ok(())
        } else {
            Err(format!(
                "has {{database_url:{driver}}}, and {scheme:?} is no scheme of a URL"
            ))
        };
    }
    let is_scheme = driver.contains('+') || ["postgres", "postgresql", "postgis", "psql"].contains(&driver);
    if is_scheme && word(driver, b"+.-") {
        return Err(format!(
            "has {{database_url:{driver}}}, which is no driver but a scheme: write {{database_url:{driver}://}}"
        ));
    }
    if word(driver, b"_") {
        Ok(())
    } else {
        Err(format!(
            "has {{database_url:{driver}}}: write a driver such as {{database_url:asyncpg}}, or a scheme such as {{database_url:postgis://}}"
        ))
    }
}
