//! The hosts by which Django answers, `ALLOWED_HOSTS`: what runs in an image is asked at
//! `localhost` and `127.0.0.1` by its own health check and by the gate.

use crate::database::GivenVariable;
use crate::debugging;
use crate::django::HOSTS;
use crate::modules::{Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement::{self, Call};
use crate::python::{Line, Token, TokenKind};
use crate::settings::{self, Form, ReadVariable};
use crate::words::escaped;

/// What has to be among them.
const OWN: [&str; 2] = ["localhost", "127.0.0.1"];

/// Why a variable gets them.
const WHY: &str =
    "the container's own check asks there; the names by which others reach it belong there, too";

/// What the settings' list leads to.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// The variables that fill it, with a value that answers.
    pub(crate) given: Vec<Detected<GivenVariable>>,
    /// A list that no variable fills, and with which the app answers nobody in its container
    /// unless it is debugged.
    pub(crate) closed: Option<(Place, Vec<String>)>,
}

impl Hosts {
    /// What is said of a list that no variable fills, of an app that `is_debugged` or not: Django
    /// takes an empty one for its own machine then.
    pub(crate) fn note(&self, is_debugged: bool) -> Option<Detected<String>> {
        let (place, hosts) = self.closed.as_ref()?;
        let has = match hosts.as_slice() {
            [] if is_debugged => return None,
            [] => "is empty, and the app answers nobody".to_owned(),
            hosts => format!(
                "has {} alone, and the container's own check asks at localhost and 127.0.0.1",
                hosts.join(", ")
            ),
        };
        let note = format!("{HOSTS} {has}: let it read a variable, or add what is asked for there");
        Some(Detected::sure(note, place.clone()))
    }
}

/// Whether hosts let the container's own check in.
pub(crate) fn answer<'h>(hosts: impl Iterator<Item = &'h str> + Clone) -> bool {
    let has = |names: &[&str]| hosts.clone().any(|host| names.contains(&host.trim()));
    has(&["*"]) || has(&[OWN[0], ".localhost"]) && has(&[OWN[1]])
}

/// The hosts of a text, whatever stands between them.
pub(crate) fn of_text(text: &str) -> impl Iterator<Item = &str> + Clone {
    let parts = text.split([',', ' ', ';', '[', '"', '\'']);
    parts
        .map(|part| part.trim_end_matches(']'))
        .filter(|part| !part.is_empty())
}

/// Hosts, as a variable of this form has them: those of `others`, and the container's own.
pub(crate) fn written(form: &Form, others: &[String]) -> String {
    let others = others
        .iter()
        .map(String::as_str)
        .filter(|host| !OWN.contains(host));
    let all: Vec<&str> = others.chain(OWN).collect();
    match form {
        Form::Separated(sign) => all.join(&sign.to_string()),
        Form::Json(_) | Form::Fixed("{}" | "[]") => format!("[\"{}\"]", all.join("\",\"")),
        // Whatever is made of it.
        _ => "*".to_owned(),
    }
}

/// Looks at the settings that count.
pub(crate) fn find(
    modules: &Modules<'_>,
    variables: &[Detected<ReadVariable>],
    settings: Option<&Module<'_>>,
) -> Hosts {
    let mut found = Hosts::default();
    for module in debugging::counted(modules, settings, HOSTS) {
        for (n, one) in module.assignments().filter(|(_, one)| one.target == HOSTS) {
            let place = Place::new(module.path, module.number(n));
            let list = List::of(modules, module, &module.lines[n], one.value);
            let all = list.constants.iter().map(String::as_str);
            if answer(all) {
                continue;
            }
            let Some(name) = list.variable else {
                if list.is_whole {
                    found.closed.get_or_insert((place, list.constants));
                }
                continue;
            };
            if !settings::is_variable(&name) || found.given.iter().any(|known| known.value.name == name) {
                continue;
            }
            let known = variables.iter().find(|known| known.value.name == name);
            let example = known.and_then(|known| known.value.example.as_ref());
            let (value, why) = match example.filter(|example| answer(of_text(&example.value))) {
                Some(example) => (escaped(&example.value), format!("what {} shows", example.place)),
                None => (escaped(&written(&list.form, &list.constants)), WHY.to_owned()),
            };
            found
                .given
                .push(Detected::likely(GivenVariable { name, value, why }, place));
        }
    }
    found
}

/// What is assigned.
struct List {
    /// The hosts that stand there, as a default or beside what a variable adds.
    constants: Vec<String>,
    /// What fills it.
    variable: Option<String>,
    /// How that is read.
    form: Form,
    /// Nothing but what was understood is in it.
    is_whole: bool,
}

impl List {
    fn of(modules: &Modules<'_>, module: &Module<'_>, line: &Line<'_>, value: &[Token<'_>]) -> Self {
        let mut list = Self {
            constants: Vec::new(),
            variable: None,
            form: Form::Text,
            is_whole: true,
        };
        // `hosts = os.environ[…]`, and then `hosts.split(",")`.
        let named = value.iter().filter(|token| token.kind == TokenKind::Name);
        let named = named.filter_map(|token| match modules.meaning(module, token.text) {
            Meaning::Inside(other, name) => Some((other, other.value(&name)?)),
            Meaning::Outside(_) | Meaning::Unknown => None,
        });
        let sources = std::iter::once((module, value)).chain(named).collect::<Vec<_>>();
        for (module, source) in &sources {
            list.read(modules, module, source);
        }
        let name = list.variable.clone().unwrap_or_default();
        if list.form == Form::Text {
            list.form = settings::form_of_line(line, &name);
        }
        let splits = sources.iter().find_map(|(_, source)| settings::split_by(source));
        if let (Form::Text, Some(sign)) = (&list.form, splits) {
            list.form = Form::Separated(sign);
        }
        list
    }

    fn read(&mut self, modules: &Modules<'_>, module: &Module<'_>, source: &[Token<'_>]) {
        if let [open, ..] = source
            && (open.is("[") || open.is("("))
            && let Some((inside, rest)) = statement::bracketed(source)
            && rest.is_empty()
        {
            for part in statement::parts(inside) {
                match statement::text_of(part) {
                    Some(host) => self.constants.push(host),
                    None => self.is_whole = false,
                }
            }
        } else {
            self.is_whole = false;
        }
        for call in statement::calls(source) {
            if let Some(read) = settings::read_by(modules, module, &call)
                && self.variable.is_none()
            {
                self.variable = Some(read.name);
                self.form = read.form;
                self.constants.extend(default(&call));
            }
        }
        if self.variable.is_none() {
            self.variable = settings::subscripted(modules, module, source);
        }
    }
}

/// The hosts of a call's default.
fn default(call: &Call<'_, '_>) -> Vec<String> {
    let named = call.named("default");
    let given = named.into_iter().chain((1..3).filter_map(|n| call.positional(n)));
    given
        .flat_map(|value| match statement::text_of(value) {
            Some(text) => of_text(&text).map(str::to_owned).collect(),
            None => {
                let inside = statement::bracketed(value).map(|(inside, _)| inside);
                let parts = inside.map(statement::parts).unwrap_or_default();
                parts
                    .into_iter()
                    .filter_map(statement::text_of)
                    .collect::<Vec<_>>()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    fn found(lines: &str) -> Hosts {
        let text = format!(
            "import os, json\nimport environ\nfrom decouple import config, Csv\nenv = environ.Env()\n{lines}\n"
        );
        let tree = Tree::single("settings.py", &text);
        find(&Modules::of(&tree), &[], None)
    }

    #[test]
    fn a_variable_that_fills_the_list_lets_the_containers_check_in() {
        for (value, expected) in [
            ("env.list('HOSTS')", Some("localhost,127.0.0.1")),
            ("env.list('HOSTS', default=[])", Some("localhost,127.0.0.1")),
            (
                "env.list('HOSTS', default=['shop.example', 'localhost', gethostname()])",
                Some("shop.example,localhost,127.0.0.1"),
            ),
            ("env.list('HOSTS', default=['*'])", None),
            ("os.environ['HOSTS'].split(' ')", Some("localhost 127.0.0.1")),
            (
                "os.environ.get('HOSTS', '').split(',')",
                Some("localhost,127.0.0.1"),
            ),
            ("os.getenv('HOSTS', '.localhost,127.0.0.1').split(',')", None),
            (
                "[h.strip() for h in os.getenv('HOSTS', 'a.example').split(',')]",
                Some("a.example,localhost,127.0.0.1"),
            ),
            (
                "json.loads(os.environ['HOSTS'])",
                Some("[\"localhost\",\"127.0.0.1\"]"),
            ),
            ("[os.environ.get('HOSTS')]", Some("*")),
            ("['localhost', '127.0.0.1', os.environ.get('HOSTS')]", None),
            ("config('HOSTS', cast=Csv())", Some("localhost,127.0.0.1")),
        ] {
            let given = found(&format!("ALLOWED_HOSTS = {value}")).given;
            let given = given
                .first()
                .map(|one| (one.value.name.as_str(), one.value.value.as_str()));
            assert_eq!(given, expected.map(|value| ("HOSTS", value)), "{value}");
        }
        let two =
            found("hosts = os.environ['HOSTS']\nALLOWED_HOSTS = list(map(str.strip, hosts.split(',')))");
        assert_eq!(two.given[0].value.value, "localhost,127.0.0.1");
    }

    #[test]
    fn a_list_that_no_variable_fills_is_told() {
        for (value, debugged, otherwise) in [
            ("[]", false, true),
            ("['shop.example']", true, true),
            ("['*']", false, false),
            ("['localhost', '127.0.0.1']", false, false),
            ("HOSTS_OF_MINE", false, false),
            ("['shop.example', name()]", false, false),
        ] {
            let hosts = found(&format!("ALLOWED_HOSTS = {value}"));
            assert!(hosts.given.is_empty());
            let noted = [true, false].map(|is_debugged| hosts.note(is_debugged).is_some());
            assert_eq!(noted, [debugged, otherwise], "{value}");
        }
    }
}
