//! TLS that the code asks of PostgreSQL, and that nothing speaks inside of a container.

use super::{GivenVariable, words};
use crate::modules::{Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::TokenKind;
use crate::python::statement::{self, Call};
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

/// How the code comes to ask for it.
pub(crate) fn asked(modules: &Modules<'_>, variables: &[Detected<ReadVariable>]) -> Encryption {
    let mut found = Encryption {
        given: variables.iter().filter_map(by_its_mode).collect(),
        ..Encryption::default()
    };
    let of_the_app = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let calls = of_the_app.flat_map(|module| module.calls().map(move |(n, call)| (module, n, call)));
    for (module, n, call) in calls {
        if !matches!(modules.meaning(module, &call.path), Meaning::Outside(name) if name.starts_with("dj_database_url."))
        {
            continue;
        }
        let Some(required) = call.named("ssl_require") else {
            continue;
        };
        let place = Place::new(module.path, module.number(n));
        let is_looked_for = required
            .iter()
            .any(|token| token.kind == TokenKind::Text && token.text.contains("sslmode"));
        let switch = || of_variable(modules, module, &call, variables);
        match required {
            [no] if no.is_name("False") || no.is_name("None") => {}
            _ if is_looked_for => {
                let name = call.text("env", usize::MAX);
                let name = name.unwrap_or_else(|| "DATABASE_URL".to_owned());
                found.said_by_url.push((name, place));
            }
            _ => match switch() {
                Some(Switch::Off) => {}
                Some(Switch::On(given)) => found.given.push(given),
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

/// Of a variable with libpq's word for TLS, as `DB_SSLMODE`, where its default or example asks for
/// it: the word for none.
fn by_its_mode(variable: &Detected<ReadVariable>) -> Option<Detected<GivenVariable>> {
    const ASK: [&str; 3] = ["require", "verify-ca", "verify-full"];
    const OF_TLS: [&str; 4] = ["SSL", "SSLMODE", "TLS", "TLSMODE"];
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
    use std::collections::BTreeSet;

    fn asked_by(text: &str) -> Encryption {
        let tree = Tree::single("shop/settings.py", text);
        let modules = Modules::of(&tree);
        let variables = settings::variables(&tree, &modules, &BTreeSet::new());
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
                "X = os.environ.get('DB_SSLMODE', 'require')",
                "DB_SSLMODE=disable",
            ),
            (
                "X = os.getenv('POSTGRES_SSL_MODE', 'verify-full')",
                "POSTGRES_SSL_MODE=disable",
            ),
            (
                "X = dj_database_url.config(ssl_require=os.environ.get('DB_SSL', 'True') == 'True')",
                "DB_SSL=false",
            ),
            (
                "SSL = os.getenv('DB_TLS', '1') == '1'\nX = dj_database_url.parse(URL, ssl_require=SSL)",
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
    fn a_url_that_may_say_so_says_it() {
        let text = format!(
            "{HEAD}X = dj_database_url.config(env='SHOP_URL', ssl_require='sslmode' not in os.environ.get('SHOP_URL', ''))\n"
        );
        let found = asked_by(&text);
        let place = Place::new("shop/settings.py", 4);
        assert_eq!(found.said_by_url, [("SHOP_URL".to_owned(), place)]);
        assert!(found.note.is_none());
    }

    #[test]
    fn what_the_code_alone_can_leave_out_is_told() {
        for asks in ["True", "not DEBUG"] {
            let found = asked_by(&format!("{HEAD}X = dj_database_url.config(ssl_require={asks})\n"));
            let note = found.note.unwrap();
            assert_eq!(note.place, Place::new("shop/settings.py", 4), "{asks}");
            assert!(
                note.value.contains("`ssl_require=os.environ.get("),
                "{}",
                note.value
            );
            assert!(found.given.is_empty() && found.said_by_url.is_empty());
        }
    }
}
