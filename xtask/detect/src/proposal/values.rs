//! What a variable is given: a value for every image, or a stand-in for the gate.

use definition::spec::secret;

use crate::findings::Findings;
use crate::hosts;
use crate::place::Place;
use crate::secrets::{is_given_by_others, is_secret};
use crate::settings::{Form, ReadVariable};
use crate::stand_ins;
use crate::words::{escaped, is_off, off, stands_for_one};

/// A variable that whoever runs the image has to give a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedVariable<'f> {
    /// The variable's name, as the app's environment has it.
    pub name: &'f str,
    /// The line that reads it.
    pub place: &'f Place,
    /// Whether it has a default, with which the app does not start.
    pub is_refused: bool,
    /// Why what the project shows for it is not taken, where it shows something.
    pub not_taken: Option<String>,
    /// Who has its value.
    pub whose: Whose,
    /// What the gate gives in its place.
    pub stand_in: String,
}

/// Who has the value of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Another company or server: a secret, never made.
    Others,
    /// Whoever runs the image, and it must not be part of that.
    Secret,
    /// Whoever runs the image.
    Open,
}

/// Variables without a value in the file: those without which the app does not start before
/// those that it reads later on.
pub fn without_value(findings: &Findings) -> Vec<WantedVariable<'_>> {
    let wanted = findings.to_be_given().into_iter();
    let unknown = wanted.filter_map(|one| match known(&one.value) {
        Known::Not {
            not_taken,
            whose,
            stand_in,
        } => Some((
            !one.value.is_of_start,
            WantedVariable {
                name: &one.value.name,
                place: &one.place,
                is_refused: one.value.is_refused,
                not_taken,
                whose,
                stand_in,
            },
        )),
        Known::Value { .. } | Known::OfPython => None,
    });
    let mut unknown: Vec<_> = unknown.collect();
    unknown.sort_by_key(|(is_later, one)| (one.whose != Whose::Others, *is_later));
    unknown.into_iter().map(|(_, one)| one).collect()
}

/// The variable with the version of Python that the official images of Python set.
pub const PYTHON_VERSION: &str = "PYTHON_VERSION";

/// The line that reads [`PYTHON_VERSION`] and cannot do without.
pub fn wants_python_version(findings: &Findings) -> Option<&Place> {
    let wanted = findings.to_be_given().into_iter();
    let mut wanted = wanted.filter(|one| known(&one.value) == Known::OfPython);
    wanted.next().map(|one| &one.place)
}

/// What can be said of a variable's value without asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// The value, with the placeholders of a spec, and where it comes from.
    Value { value: String, why: String },
    /// What the image's Python says.
    OfPython,
    /// Nothing; as in [`WantedVariable`].
    Not {
        not_taken: Option<String>,
        whose: Whose,
        stand_in: String,
    },
}

/// What a variable can be given without asking; a secret is never part of an image,
/// nor is what developers have for themselves.
pub(super) fn known(variable: &ReadVariable) -> Known {
    let name = variable.name.as_str();
    let value = |value: &str, why: String| Known::Value {
        value: value.to_owned(),
        why,
    };
    let not = |whose, not_taken, stand_in| Known::Not {
        not_taken,
        whose,
        stand_in,
    };
    if name == "PORT" {
        return value("{port}", "the image's port".to_owned());
    }
    if name == PYTHON_VERSION {
        return Known::OfPython;
    }
    if is_given_by_others(name) {
        return not(Whose::Others, None, stand_ins::of(variable));
    }
    if is_secret(name) && matches!(variable.form, Form::Encoded(_)) {
        return not(Whose::Secret, None, stand_ins::of(variable));
    }
    // `IS_ALLOWED_CREDENTIALS: bool` is a switch.
    let is_text = !matches!(variable.form, Form::Number(_) | Form::Switch);
    // Where to ask for a token; or it has one in it, as addresses of webhooks do.
    let is_address = ["_URL", "_URI", "_ENDPOINT"]
        .iter()
        .any(|end| name.to_uppercase().ends_with(end));
    if is_secret(name) && is_address {
        let why = variable.example.as_ref();
        let why = why.map(|one| format!("what {} shows may have a secret in it", one.place));
        return not(Whose::Secret, why, stand_ins::url(name));
    }
    if is_secret(name) && is_text {
        let why = format!("made at the first start, unless {name}_FILE names a file with it");
        return value(&format!("{{secret:{name}}}"), why);
    }
    let default = || {
        let default = variable.elsewhere.as_ref()?;
        (!default.value.is_empty()).then_some((default, "has where nobody sets it"))
    };
    let shows = variable.example.as_ref().map(|example| (example, "shows"));
    let Some((example, shows)) = shows.or_else(default) else {
        return match by_its_name(variable) {
            Some((known, why)) => value(&known, why.to_owned()),
            None => not(Whose::Open, None, stand_ins::of(variable)),
        };
    };
    let shown = example.value.as_str();
    let place = &example.place;
    let fits = variable.form.fits(shown);
    if secret::is_baked_in(name, shown) {
        let rest = stand_ins::without_login(shown);
        let is_url = rest != shown && !secret::is_baked_in(name, &rest);
        let stand_in = if is_url { rest } else { stand_ins::of(variable) };
        let why = format!("what {place} {shows} has a secret in it");
        return not(Whose::Secret, Some(why), stand_in);
    }
    if secret::is_secret_number(name, shown) {
        let why = format!("what {place} {shows} is a secret");
        // Of the same length, which the code may ask for.
        return not(Whose::Secret, Some(why), "1".repeat(shown.len()));
    }
    if stands_for_one(shown) {
        let why = format!("{shown}, as {place} {shows}, only stands for one");
        return not(Whose::Open, Some(why), stand_ins::of(variable));
    }
    if variable.is_of_hosts || stand_ins::is_of_hosts(name) {
        let all = hosts::of_text(shown);
        if all.clone().any(|host| host == hosts::ALL) {
            let why = format!("{shown}, as {place} {shows}, lets everybody in");
            return not(Whose::Open, Some(why), shown.to_owned());
        }
        if variable.is_of_hosts && hosts::answer(all) {
            return value(&escaped(shown), format!("what {place} {shows}"));
        }
    }
    let of_developers = || format!("{shown}, as {place} {shows}, is for developers");
    match switch(variable, shown) {
        Switch::Kept if fits => value(&escaped(shown), format!("what {place} {shows}")),
        Switch::Kept => {
            let why = format!("{shown}, as {place} {shows}, is none");
            not(Whose::Open, Some(why), stand_ins::of(variable))
        }
        Switch::Turned(instead) => value(&instead, of_developers()),
        Switch::Unknown => {
            let stand_in = if fits {
                shown.to_owned()
            } else {
                stand_ins::of(variable)
            };
            not(Whose::Open, Some(of_developers()), stand_in)
        }
    }
}

/// A value that is right in every image, of a variable for which nothing is shown.
fn by_its_name(variable: &ReadVariable) -> Option<(String, &'static str)> {
    let name = variable.name.as_str();
    if variable.is_of_hosts {
        let hosts = hosts::written(&variable.form, &[]);
        return (hosts != hosts::ALL).then(|| (escaped(&hosts), hosts::WHY));
    }
    if stand_ins::is_for_developers(variable) && !variable.is_refused {
        return Some(("False".to_owned(), "an image is for others"));
    }
    if stand_ins::is_for_production(variable) {
        return Some(("true".to_owned(), "an image is for others"));
    }
    let production = stand_ins::for_production(&variable.form).filter(|_| stand_ins::is_of_stage(name));
    production.map(|word| (word.to_owned(), "an image is for others"))
}

/// What becomes of an example's value.
enum Switch {
    Kept,
    /// It is for developers, and this is what others have.
    Turned(String),
    /// It is for developers, and what others have does not stand there.
    Unknown,
}

/// What an image has where an example shows what developers have: debugging, a server
/// that loads anew, their own machine.
fn switch(variable: &ReadVariable, shown: &str) -> Switch {
    const STAGES: [&str; 7] = [
        "debug",
        "dev",
        "develop",
        "development",
        "local",
        "test",
        "testing",
    ];
    // Of a name that goes on, a number may be one of seconds.
    let is_number = shown.bytes().all(|b| b.is_ascii_digit());
    if stand_ins::ends_as_of_developers(&variable.name)
        || stand_ins::speaks_of_developers(&variable.name) && !is_number
    {
        match off(shown) {
            Some(off) => return Switch::Turned(off.to_owned()),
            None if is_off(shown) => return Switch::Kept,
            None if stand_ins::is_for_developers(variable) => return Switch::Unknown,
            None => {}
        }
    }
    let lower = shown.to_lowercase();
    if stand_ins::is_of_stage(&variable.name) && STAGES.contains(&lower.as_str()) {
        let production = stand_ins::for_production(&variable.form);
        return production.map_or(Switch::Unknown, |word| Switch::Turned(word.to_owned()));
    }
    let own_machine = ["localhost", "127.0.0.1", "[::1]", "host.docker.internal"];
    match own_machine.iter().any(|host| lower.contains(host)) {
        true => Switch::Unknown,
        false => Switch::Kept,
    }
}
