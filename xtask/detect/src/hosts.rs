//! The hosts by which Django answers, `ALLOWED_HOSTS`: what runs in an image is asked at
//! `localhost` and `127.0.0.1` by its own health check and by the gate.

use std::collections::BTreeSet;

use crate::database::GivenVariable;
use crate::debugging;
use crate::django::HOSTS;
use crate::modules::{Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement::{self, Call};
use crate::python::{Line, Token, TokenKind};
use crate::settings::{self, Form, ReadVariable};
use crate::tree::is_of_the_app;
use crate::words::escaped;

/// What has to be among them.
const OWN: [&str; 2] = ["localhost", "127.0.0.1"];

/// What stands for all there are.
pub(crate) const ALL: &str = "*";

/// Why a variable gets them.
pub(crate) const WHY: &str =
    "the container's own check asks there; the names by which others reach it belong there, too";

/// What the settings' list leads to.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// The variables that fill it, with a value that answers.
    pub(crate) given: Vec<Detected<GivenVariable>>,
    /// The variables that fill it in a way that nothing but all hosts answers in.
    pub(crate) wanted: Vec<String>,
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
    has(&[ALL]) || has(&[OWN[0], ".localhost"]) && has(&[OWN[1]])
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
        _ => ALL.to_owned(),
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
            let lets_in = |text: &str| answer(of_text(text)) && of_text(text).all(|host| host != ALL);
            let (value, why) = match example.filter(|example| lets_in(&example.value)) {
                Some(example) => (escaped(&example.value), format!("what {} shows", example.place)),
                None => (escaped(&written(&list.form, &list.constants)), WHY.to_owned()),
            };
            // In an image it would let in everybody, with any name.
            if value == ALL {
                found.wanted.push(name);
                continue;
            }
            found
                .given
                .push(Detected::likely(GivenVariable { name, value, why }, place));
        }
    }
    found
}

/// Marks the variables that lead to the hosts by which the app answers.
pub(crate) fn mark(modules: &Modules<'_>, variables: &mut [Detected<ReadVariable>]) {
    for name in leading(modules) {
        if let Some(variable) = called(variables, &name) {
            variable.is_of_hosts = true;
        }
    }
}

/// The variable of a name in the code: itself, or that of a field of settings, with the shortest
/// prefix that there is.
fn called<'v>(variables: &'v mut [Detected<ReadVariable>], name: &str) -> Option<&'v mut ReadVariable> {
    let upper = name.to_uppercase();
    let all = variables.iter_mut().map(|one| &mut one.value);
    let of_it = all.filter(|variable| {
        let whole = variable.name.to_uppercase();
        let prefix = whole.strip_suffix(&upper);
        prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('_'))
    });
    of_it.min_by_key(|variable| variable.name.len())
}

/// The names that the code makes the hosts of by which the app answers: of variables, and of
/// fields of settings, in what `ALLOWED_HOSTS` is assigned and what the middleware of Starlette's
/// that looks at them is given.
fn leading(modules: &Modules<'_>) -> BTreeSet<String> {
    const MIDDLEWARE: &str = "TrustedHostMiddleware";
    let mut names = BTreeSet::new();
    for module in modules.all.iter().filter(|module| is_of_the_app(module.path)) {
        for line in &module.lines {
            let assigned = statement::assignments(line).into_iter();
            let assigned = assigned.filter(|one| one.target == HOSTS).map(|one| one.value);
            let calls = statement::calls(&line.tokens);
            let of_middleware = calls.iter().filter(|call| {
                let first = call.positional(0).and_then(<[_]>::last);
                call.last() == MIDDLEWARE || first.is_some_and(|token| token.is_name(MIDDLEWARE))
            });
            let given = of_middleware.filter_map(|call| call.named("allowed_hosts"));
            for value in assigned.chain(given) {
                names.extend(List::of(modules, module, line, value).variable);
                names.extend(field(value));
            }
        }
    }
    names
}

/// The field of an object that is taken: `settings.allowed_hosts`, with what is called on it, as
/// `settings.hosts.split(",")`.
fn field(value: &[Token<'_>]) -> Option<String> {
    const METHODS: [&str; 3] = ["copy", "split", "strip"];
    let (dotted, length) = statement::dotted(value)?;
    let mut parts: Vec<&str> = dotted.split('.').collect();
    if value.len() > length {
        let method = parts.pop()?;
        METHODS.contains(&method).then_some(())?;
    }
    let last = parts.pop().filter(|_| !parts.is_empty())?;
    Some(last.to_owned())
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
            ("[os.environ.get('HOSTS')]", None),
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
        let one = found("ALLOWED_HOSTS = [os.environ.get('HOSTS')]");
        assert_eq!(one.wanted, ["HOSTS"]);
    }

    #[test]
    fn the_names_are_known_that_lead_to_the_list() {
        for (line, names) in [
            ("ALLOWED_HOSTS = settings.hosts.split(',')", &["hosts"][..]),
            ("ALLOWED_HOSTS = os.environ['HOSTS'].split(',')", &["HOSTS"]),
            (
                "app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.allowed_hosts)",
                &["allowed_hosts"],
            ),
            (
                "app = TrustedHostMiddleware(app, allowed_hosts=json.loads(os.environ['NAMES']))",
                &["NAMES"],
            ),
            (
                "app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_hosts)",
                &[],
            ),
            ("ALLOWED_REDIRECT_HOSTS = settings.allowed_redirect_hosts", &[]),
            ("ALLOWED_HOSTS = ['shop.example']", &[]),
        ] {
            let tree = Tree::single("settings.py", &format!("import json, os\n{line}\n"));
            let found = leading(&Modules::of(&tree));
            let found: Vec<&str> = found.iter().map(String::as_str).collect();
            assert_eq!(found, names, "{line}");
        }
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
