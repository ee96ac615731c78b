//! TLS that the code asks of PostgreSQL, and that nothing speaks inside of a container.

use std::collections::BTreeSet;

use super::{DATABASE, GivenVariable, Part, words};
use crate::dependencies::Dependencies;
use crate::modules::{Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement::{self, Call};
use crate::python::{Token, TokenKind};
use crate::settings::{self, ReadVariable};
use crate::tree::is_of_the_app;

/// What turns it off.
#[derive(Debug, Default)]
pub(crate) struct Encryption {
    /// Variables, and their values without it.
    pub(crate) given: Vec<Detected<GivenVariable>>,
    /// Variables with a URL that may say so, each with the place that looks for that.
    pub(crate) said_by_url: Vec<(String, Place)>,
    /// A sentence where the code alone could leave it out.
    pub(crate) note: Option<Detected<String>>,
}

const WHY: &str = "nothing is encrypted inside of the container";

/// How the code comes to ask for it of the database that the image gives: what other services and
/// a second database are asked for stays.
pub(crate) fn asked(modules: &Modules<'_>, variables: &[Detected<ReadVariable>]) -> Encryption {
    let own = OwnDatabase::of(modules, variables);
    let of_its_mode = variables.iter().filter(|one| own.has(&one.value.name));
    let mut found = Encryption {
        given: of_its_mode.filter_map(by_its_mode).collect(),
        ..Encryption::default()
    };
    let of_the_app = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let calls = of_the_app.flat_map(|module| module.calls().map(move |(n, call)| (module, n, call)));
    let of_urls = calls.filter(|(module, _, call)| {
        matches!(modules.meaning(module, &call.path), Meaning::Outside(name) if name.starts_with("dj_database_url."))
    });
    let of_urls: Vec<_> = of_urls.collect();
    for (module, n, call) in &of_urls {
        let Some(required) = call.named("ssl_require") else {
            continue;
        };
        let url = url(modules, module, call);
        let leads = url.as_ref().map(|name| own.is_url(name));
        if leads == Some(false) {
            continue;
        }
        let place = Place::new(module.path, module.number(*n));
        let is_looked_for = required
            .iter()
            .any(|token| token.kind == TokenKind::Text && token.text.contains("sslmode"));
        let switch = || of_variable(modules, module, call, variables);
        match required {
            [no] if no.is_name("False") || no.is_name("None") => {}
            _ if is_looked_for => found.said_by_url.extend(url.map(|name| (name, place))),
            _ => match switch() {
                Some(Switch::Off) => {}
                Some(Switch::On(given)) => {
                    let is_its = leads.is_some() || own.has(&given.value.name);
                    found.given.extend(is_its.then_some(given));
                }
                // Of several databases nothing says which one it is.
                None if leads.is_none() && of_urls.len() > 1 => {}
                None => {
                    let note = "dj_database_url asks PostgreSQL for TLS here, whatever a variable says, and nothing is encrypted \
                                inside of the container: the app will not reach it; `ssl_require=os.environ.get(\"DATABASE_SSL\") \
                                == \"true\"` in its place asks for it where somebody sets that";
                    found.note.get_or_insert(Detected::sure(note.to_owned(), place));
                }
            },
        }
    }
    found
}

/// The variable that a call of dj-database-url takes the URL from, where that can be told.
fn url(modules: &Modules<'_>, module: &Module<'_>, call: &Call<'_, '_>) -> Option<String> {
    if call.last() == "config" {
        return match call.argument("env", 0) {
            Some(name) => statement::text_of(name),
            None => Some("DATABASE_URL".to_owned()),
        };
    }
    let read = read_within(modules, module, call.argument("url", 0)?);
    read.into_iter().next()
}

/// Words for TLS in the name of a variable.
const OF_TLS: [&str; 4] = ["SSL", "SSLMODE", "TLS", "TLSMODE"];

/// The names that belong to the database of the image.
struct OwnDatabase {
    /// The words of each variable that leads there.
    leading: Vec<Vec<String>>,
    urls: Vec<String>,
    /// What those of Django's `DATABASES` read that lead there, and what the others do.
    of_its_own: BTreeSet<String>,
    of_others: BTreeSet<String>,
}

impl OwnDatabase {
    fn of(modules: &Modules<'_>, variables: &[Detected<ReadVariable>]) -> Self {
        let none = Dependencies::default();
        let leading = variables.iter().filter_map(|one| {
            let part = super::part_of(&one.value, &words(&one.value.name), &none)?;
            let is_its = !super::kinds::is_of_another(modules, one, variables);
            is_its.then_some((one.value.name.as_str(), part))
        });
        let leading: Vec<(&str, Part)> = leading.collect();
        let (mut of_its_own, mut of_others) = (BTreeSet::new(), BTreeSet::new());
        let all = modules.all.iter().filter(|module| is_of_the_app(module.path));
        for module in all {
            let inside = module.value("DATABASES").and_then(statement::bracketed);
            for entry in inside.map_or_else(Vec::new, |(inside, _)| statement::parts(inside)) {
                let read = read_within(modules, module, entry);
                let is_default = entry.first().is_some_and(|key| key.text == "default");
                // Another one may have its user or its name from the same variable.
                let leads = leading.iter().any(|(name, part)| {
                    let is_whole = is_default || matches!(part, Part::Host | Part::Url);
                    is_whole && read.iter().any(|one| one == name)
                });
                match (leads, is_default) {
                    (true, _) => of_its_own.extend(read),
                    (false, true) => {}
                    (false, false) => of_others.extend(read),
                }
            }
        }
        let urls = leading.iter().filter(|(_, part)| *part == Part::Url);
        Self {
            urls: urls.map(|(name, _)| (*name).to_owned()).collect(),
            leading: leading.iter().map(|(name, _)| words(name)).collect(),
            of_its_own,
            of_others,
        }
    }

    /// Whether a variable with its URL is this one; the container itself sets the first.
    fn is_url(&self, name: &str) -> bool {
        name == "DATABASE_URL" || self.urls.iter().any(|url| url == name)
    }

    /// Whether a variable of TLS is of this database, by where it is read or by its name:
    /// `DB_SSLMODE` beside `DB_HOST`.
    fn has(&self, name: &str) -> bool {
        const MORE: [&str; 5] = ["ENABLE", "REQUIRE", "REQUIRED", "REQUIRES", "USE"];
        if self.of_its_own.contains(name) || self.of_others.contains(name) {
            return self.of_its_own.contains(name);
        }
        let words = words(name);
        let before = words.iter().take_while(|word| !OF_TLS.contains(&word.as_str()));
        let before: Vec<&String> = before.filter(|word| !MORE.contains(&word.as_str())).collect();
        let is_general = |word: &String| DATABASE.contains(&word.as_str());
        let (is_named, all_general) = (
            before.iter().any(|word| is_general(word)),
            before.iter().all(|word| is_general(word)),
        );
        let is_beside = |leading: &Vec<String>| {
            let begins = leading.iter().zip(&before).all(|(one, other)| one == *other);
            let more = leading.len().saturating_sub(before.len());
            // `DB_SSLMODE` beside `DATABASE_URL`: both say no more than that it is a database.
            let is_general = all_general
                && leading
                    .split_last()
                    .is_some_and(|(_, rest)| rest.iter().all(is_general));
            (begins && (more == 1 || (more == 2 && is_named))) || is_general
        };
        !before.is_empty() && self.leading.iter().any(is_beside)
    }
}

/// The variables that a value reads, by itself or by the names of settings in it.
fn read_within(modules: &Modules<'_>, module: &Module<'_>, value: &[Token<'_>]) -> Vec<String> {
    let names = value.iter().filter(|token| token.kind == TokenKind::Name);
    let behind = names.filter_map(|token| match modules.meaning(module, token.text) {
        Meaning::Inside(other, name) => Some((other, other.value(&name)?)),
        _ => None,
    });
    let mut found = Vec::new();
    for (module, value) in std::iter::once((module, value)).chain(behind) {
        let calls = statement::calls(value).into_iter();
        found.extend(calls.filter_map(|call| Some(settings::read_by(modules, module, &call)?.name)));
        let subscripted = settings::all_subscripted(modules, module, value);
        found.extend(subscripted.into_iter().map(|(name, _)| name));
    }
    found
}

/// Of a variable with libpq's word for TLS, as `DB_SSLMODE`, where its default or example asks for
/// it: the word for none.
fn by_its_mode(variable: &Detected<ReadVariable>) -> Option<Detected<GivenVariable>> {
    const ASK: [&str; 3] = ["require", "verify-ca", "verify-full"];
    let words = words(&variable.value.name);
    let is_one = words.iter().any(|word| OF_TLS.contains(&word.as_str()));
    // Other services have words of their own.
    let asks = super::texts(&variable.value).any(|text| ASK.contains(&text));
    (is_one && asks).then(|| given(&variable.value, &variable.place, "disable"))
}

fn given(variable: &ReadVariable, place: &Place, value: &str) -> Detected<GivenVariable> {
    let given = GivenVariable {
        name: variable.name.clone(),
        value: value.to_owned(),
        why: WHY.to_owned(),
    };
    Detected::likely(given, place.clone())
}

/// A variable that says whether it is asked for.
enum Switch {
    Off,
    On(Detected<GivenVariable>),
}

/// The one that `ssl_require` goes by, where its name says so: `ssl_require=not DEBUG` goes by
/// something else.
fn of_variable(
    modules: &Modules<'_>,
    module: &Module<'_>,
    call: &Call<'_, '_>,
    variables: &[Detected<ReadVariable>],
) -> Option<Switch> {
    const OFF: [&str; 4] = ["0", "false", "no", "off"];
    let required = call.named("ssl_require")?;
    let read = statement::calls(required).into_iter();
    let mut read = read.filter_map(|call| Some(settings::read_by(modules, module, &call)?.name));
    let name = read
        .next()
        .or_else(|| settings::read_at_end(modules, module, required))?;
    let of_tls = words(&name)
        .iter()
        .any(|word| ["SSL", "TLS"].contains(&word.as_str()));
    let turned = required.first().is_some_and(|word| word.is_name("not"));
    let variable = variables.iter().find(|one| one.value.name == name)?;
    if !of_tls || turned {
        return None;
    }
    let default = variable
        .value
        .default
        .as_deref()
        .unwrap_or_default()
        .to_lowercase();
    Some(match OFF.contains(&default.as_str()) {
        true => Switch::Off,
        false => Switch::On(given(&variable.value, &variable.place, "false")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    fn asked_by(text: &str) -> Encryption {
        let tree = Tree::single("shop/settings.py", text);
        let modules = Modules::of(&tree);
        let variables = settings::variables(&tree, &modules, &BTreeSet::new(), &BTreeSet::new());
        asked(&modules, &variables)
    }

    fn shown(text: &str) -> Vec<String> {
        let given = asked_by(text).given.into_iter();
        given
            .map(|one| format!("{}={}", one.value.name, one.value.value))
            .collect()
    }

    const HEAD: &str = "import os\nimport dj_database_url\nDEBUG = os.environ.get('DEBUG') == 'True'\n";

    #[test]
    fn a_variable_that_asks_for_it_does_so_no_more() {
        for (line, expected) in [
            (
                "X = (os.environ['DB_HOST'], os.environ.get('DB_SSLMODE', 'require'))",
                "DB_SSLMODE=disable",
            ),
            (
                "X = os.environ['DATABASE_URL'], os.getenv('POSTGRES_SSL_MODE', 'verify-full')",
                "POSTGRES_SSL_MODE=disable",
            ),
            (
                "X = (os.environ['SHOP_DB_HOST'], os.environ.get('SHOP_DB_SSLMODE', 'require'))",
                "SHOP_DB_SSLMODE=disable",
            ),
            (
                "X = dj_database_url.config()\nY = os.environ.get('DATABASE_SSLMODE', 'require')",
                "DATABASE_SSLMODE=disable",
            ),
            (
                "DATABASES = {'default': {'HOST': os.environ['DB_HOST']}, 'more': {'HOST': os.environ['MORE_DB_HOST'], \
                 'OPTIONS': {'sslmode': os.environ.get('MORE_SSLMODE', 'require')}}}",
                "MORE_SSLMODE=disable",
            ),
            (
                "DATABASES = {'default': {'HOST': os.environ['DB_HOST'], 'OPTIONS': {'sslmode': \
                 os.environ.get('SSLMODE', 'require')}}, 'old': {'HOST': os.environ['OLD_HOST'], 'OPTIONS': \
                 {'sslmode': os.environ.get('OLD_SSLMODE', 'verify-full')}}}",
                "SSLMODE=disable",
            ),
            (
                "X = dj_database_url.config(ssl_require=os.environ.get('DB_SSL', 'True') == 'True')",
                "DB_SSL=false",
            ),
            (
                "URL = os.environ['DB_URL']\nSSL = os.getenv('DB_TLS', '1') == '1'\nX = dj_database_url.parse(URL, ssl_require=SSL)",
                "DB_TLS=false",
            ),
        ] {
            assert_eq!(shown(&format!("{HEAD}{line}\n")), [expected], "{line}");
        }
        for line in [
            "X = os.environ.get('DB_SSLMODE', 'prefer')",
            "X = os.environ.get('LOGIN', 'require')",
            "X = dj_database_url.config(ssl_require=os.environ.get('DB_SSL', 'false') == 'true')",
            "X = dj_database_url.config(ssl_require=False)",
        ] {
            let found = asked_by(&format!("{HEAD}{line}\n"));
            assert!(found.given.is_empty() && found.note.is_none(), "{line}");
        }
    }

    #[test]
    fn what_other_services_are_asked_for_stays() {
        for line in [
            "X = (os.environ['WAREHOUSE_HOST'], os.environ.get('WAREHOUSE_SSLMODE', 'require'))",
            "X = os.environ.get('SMTP_TLS', 'require')",
            "X = os.environ.get('REDIS_TLS_MODE', 'require')",
            "X = os.environ.get('MONEY_TLS_MODE', 'verify-full')",
            "X = os.environ.get('SSL_MODE', 'require')",
            "DATABASES = {'default': {'NAME': os.environ['DB_NAME']}, 'old': {'NAME': os.environ['DB_NAME'], 'OPTIONS': \
             {'sslmode': os.environ.get('DB_OLD_SSLMODE', 'require')}}}",
            "X = dj_database_url.parse(os.environ['BANK_URL'], ssl_require=os.environ.get('BANK_SSL', '1') == '1')",
            "X = dj_database_url.parse(os.environ['LEDGER_URL'], ssl_require=True)",
            "BOOKS = os.environ['LEDGER_URL']\nX = dj_database_url.parse(BOOKS, ssl_require=True)",
            "X = dj_database_url.config(env='LEDGER_URL', ssl_require=True)",
            "X = dj_database_url.config(); Y = dj_database_url.parse(given(), ssl_require=True)",
        ] {
            let found = asked_by(&format!("{HEAD}URL = os.environ['DATABASE_URL']\n{line}\n"));
            assert!(found.given.is_empty() && found.note.is_none(), "{line}");
        }
    }

    #[test]
    fn a_url_that_may_say_so_says_it() {
        let text = format!(
            "{HEAD}X = dj_database_url.config(env='SHOP_DB_URL', ssl_require='sslmode' not in os.environ.get('SHOP_DB_URL', ''))\n"
        );
        let found = asked_by(&text);
        let place = Place::new("shop/settings.py", 4);
        assert_eq!(found.said_by_url, [("SHOP_DB_URL".to_owned(), place)]);
        assert!(found.note.is_none());
    }

    #[test]
    fn what_the_code_alone_can_leave_out_is_told() {
        for call in [
            "config(ssl_require=True)",
            "config(ssl_require=not DEBUG)",
            "parse(os.environ['SHOP_DB_URL'], ssl_require=True)",
            "parse(given(), ssl_require=True)",
        ] {
            let found = asked_by(&format!("{HEAD}X = dj_database_url.{call}\n"));
            let note = found.note.unwrap();
            assert_eq!(note.place, Place::new("shop/settings.py", 4), "{call}");
            assert!(
                note.value.contains("`ssl_require=os.environ.get("),
                "{}",
                note.value
            );
            assert!(found.given.is_empty() && found.said_by_url.is_empty());
        }
    }
}
