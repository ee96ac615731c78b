//! Logins of a netrc file, for the hosts that a build asks. Pure.

use super::address::is_token;

/// What of a netrc file a build gets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct NetrcEntries {
    /// The entries, as a netrc file.
    pub text: String,
    /// The passwords of all its entries, and tokens in the place of a name.
    pub secrets: Vec<String>,
}

/// The entries of the hosts that are wanted. What is said of every other host
/// (`default`) and macros are for no build.
pub(super) fn entries(netrc: &str, is_wanted: impl Fn(&str) -> bool) -> NetrcEntries {
    let mut found = NetrcEntries::default();
    let mut words = netrc
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(str::split_whitespace);
    let mut wanted = false;
    while let Some(word) = words.next() {
        match word {
            "machine" => {
                let machine = words.next().unwrap_or_default();
                wanted = is_wanted(machine);
                if wanted {
                    found.text.push_str(&format!("machine {machine}\n"));
                }
            }
            "default" | "macdef" => wanted = false,
            "login" | "password" | "account" if wanted => {
                let value = words.next().unwrap_or_default();
                found.text.push_str(&format!("{word} {value}\n"));
                let bare = value.trim_matches('"');
                if word == "password" || is_token(bare) {
                    found.secrets.push(bare.to_owned());
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_logins_of_hosts_that_are_asked_go_along() {
        let netrc = "# mine\nmachine a.example login me password one two\nmachine b.example\n  login you\n  password three\n\
                     default login x password four\nmacdef init\n  machine no\n";
        let found = entries(netrc, |host| host == "b.example");
        assert_eq!(found.text, "machine b.example\nlogin you\npassword three\n");
        assert_eq!(found.secrets, ["three"]);
        assert_eq!(entries(netrc, |_| false), NetrcEntries::default());
    }

    #[test]
    fn a_token_in_the_place_of_a_name_is_a_secret() {
        let netrc = "machine a.example login ghp_0123456789abcdef password x-oauth-basic\n\
                     machine b.example login someone.with.a.long.name@corp.example password one\n";
        let found = entries(netrc, |_| true);
        assert_eq!(found.secrets, ["ghp_0123456789abcdef", "x-oauth-basic", "one"]);
    }
}
