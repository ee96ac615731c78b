//! The machine's proxies, as programs spell them.

use std::collections::BTreeMap;

/// The variables, in small letters.
const NAMES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

/// A proxy of the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyVariable<'v> {
    /// The variable's name in small letters: apt reads no other, and curl and Python prefer it.
    pub name: &'static str,
    /// The variable that says so, in the spelling that the environment has.
    pub source: &'v str,
    /// Its value.
    pub value: &'v str,
}

/// What each of the variables has to say, whichever spelling the environment has. apt and npm
/// know nothing of `all_proxy`: it stands for those of http and https that nobody has set.
pub fn of(variables: &BTreeMap<String, String>) -> impl Iterator<Item = ProxyVariable<'_>> {
    NAMES.into_iter().filter_map(move |name| {
        let of_all = || match name {
            "no_proxy" => None,
            _ => named(variables, "all_proxy"),
        };
        let (source, value) = named(variables, name).or_else(of_all)?;
        Some(ProxyVariable { name, source, value })
    })
}

/// One of them in either spelling, and what it says; `name` is in small letters.
pub fn named<'v>(variables: &'v BTreeMap<String, String>, name: &str) -> Option<(&'v str, &'v str)> {
    let found = variables
        .get_key_value(name)
        .or_else(|| variables.get_key_value(&name.to_uppercase()))?;
    Some((found.0, found.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(variables: &[(&str, &str)]) -> Vec<String> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        of(&variables)
            .map(|one| format!("{}={} of {}", one.name, one.value, one.source))
            .collect()
    }

    #[test]
    fn either_spelling_counts_and_small_letters_win() {
        assert_eq!(
            said(&[
                ("HTTP_PROXY", "http://a"),
                ("HTTPS_PROXY", "http://b"),
                ("https_proxy", "http://c"),
                ("NO_PROXY", "10.0.0.1"),
            ]),
            [
                "http_proxy=http://a of HTTP_PROXY",
                "https_proxy=http://c of https_proxy",
                "no_proxy=10.0.0.1 of NO_PROXY",
            ]
        );
    }

    #[test]
    fn one_for_all_stands_for_those_that_nobody_has_set() {
        assert_eq!(
            said(&[("ALL_PROXY", "socks5h://a"), ("http_proxy", "http://b")]),
            [
                "http_proxy=http://b of http_proxy",
                "https_proxy=socks5h://a of ALL_PROXY",
                "all_proxy=socks5h://a of ALL_PROXY",
            ]
        );
        assert_eq!(said(&[]), [""; 0]);
    }
}
