//! Addresses with a login in them: what of one is a secret, and how it is shown. Pure.

use std::net::IpAddr;

use definition::spec::secret::SHORTEST_TOKEN;

/// Host and port, and the login before them, of a URL; the whole text where it
/// has no scheme.
pub(super) fn authority(url: &str) -> (Option<&str>, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let mut authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    // `u:a/b@host`: a password that should have been encoded is one all the same.
    let is_no_port = |port: &str| !port.ends_with(']') && !port.bytes().all(|b| b.is_ascii_digit());
    if !authority.contains('@')
        && authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| is_no_port(port))
        && let Some(at) = rest.rfind('@')
    {
        let host = rest[at..].split(['/', '?', '#']).next().unwrap_or_default();
        authority = &rest[..at + host.len()];
    }
    match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    }
}

/// What stands before the `@` of a URL's host.
pub(crate) fn login_of_authority(url: &str) -> Option<&str> {
    authority(url).0
}

/// A URL as it may be shown.
pub(super) fn without_login(url: &str) -> String {
    match authority(url) {
        (Some(login), _) => url.replacen(&format!("{login}@"), "", 1),
        (None, _) => url.to_owned(),
    }
}

/// The secret parts of a URL, as they stand there and as they are meant.
pub(super) fn login_of(url: &str) -> Vec<String> {
    let (Some(login), _) = authority(url) else {
        return Vec::new();
    };
    // A token may stand in the place of the name, also with something for a password.
    let (name, password) = login.split_once(':').unwrap_or((login, ""));
    let parts = [name, password];
    let secrets = parts
        .into_iter()
        .filter(|part| !part.is_empty() && (*part == password || password.is_empty() || is_token(part)));
    let shown = secrets.flat_map(|secret| [secret.to_owned(), decoded(secret)]);
    [login.to_owned()].into_iter().chain(shown).collect()
}

/// Whether what stands in the place of a user's name is a secret itself. The address
/// of a mailbox is none, however long.
pub(crate) fn is_token(name: &str) -> bool {
    name.len() >= SHORTEST_TOKEN && !name.contains('@') && !name.contains("%40")
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%')
            .then(|| text.get(text.len() - after.len()..text.len() - after.len() + 2))
            .flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a URL's host is the machine itself, for itself alone: by a name of it, or an address,
/// `0.0.0.0` among them, where a program listens everywhere.
pub(super) fn is_loopback(url: &str) -> bool {
    let (_, host) = authority(url);
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    let host = host.trim_end_matches('.').to_lowercase();
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => {
            let names = ["localhost", "ip6-localhost", "ip6-loopback"];
            names.contains(&host.as_str()) || host.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_itself_has_many_names() {
        for own in [
            "http://localhost:3141/simple",
            "http://me:pw@LOCALHOST./simple",
            "http://index.localhost/",
            "http://ip6-localhost/",
            "http://127.1.2.3:80",
            "http://0.0.0.0:8080/",
            "http://[::1]/",
            "http://[::]:80/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert!(is_loopback(own), "{own}");
        }
        for other in [
            "https://pypi.org/simple",
            "http://localhost.example.com/",
            "http://10.0.0.1/",
            "http://127.example.com/",
            "http://[fe80::1]/",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
