//! Variables that an image needs a value of, as far as the code and its examples tell.

use std::collections::BTreeSet;

use crate::place::Detected;
use crate::secrets;
use crate::settings::ReadVariable;
use crate::stand_ins;

/// Variables that each container has.
const OF_THE_SYSTEM: [&str; 8] = [
    "HOME",
    "HOSTNAME",
    "LANG",
    "PATH",
    "PWD",
    "PYTHONPATH",
    "TZ",
    "USER",
];

/// Whether the app cannot do without a variable, or is better off with one: a secret that stands in
/// the code, or that it makes anew at each start. `all` are the variables that it reads.
pub(super) fn is_wanted(variable: &ReadVariable, all: &[Detected<ReadVariable>]) -> bool {
    let is_meant = is_to_be_made(variable) || is_as_shown(variable) || is_of_first_user(variable, all);
    (variable.required || is_meant) && !OF_THE_SYSTEM.contains(&variable.name.as_str())
}

/// Whether a secret of the app's own is better made for each service than left to the
/// code.
fn is_to_be_made(variable: &ReadVariable) -> bool {
    match variable.default.as_deref() {
        None | Some("") => variable.is_session_key || secrets::signs_sessions(&variable.name),
        Some(text) => secrets::is_known_to_all(&variable.name, text),
    }
}

/// Whether a variable that is nothing where nobody sets it is meant to be what the project's
/// example shows: the app's own secret, a switch of developers, which an image has off, one that
/// is off there, too; and a switch or number without which the code raises an error that names
/// it. Whatever else stands there may turn on what an app does without, such as a bucket of
/// developers', or a login that is left out.
fn is_as_shown(variable: &ReadVariable) -> bool {
    const OFF: [&str; 3] = ["false", "no", "off"];
    const ON: [&str; 3] = ["on", "true", "yes"];
    let Some(example) = &variable.example else {
        return false;
    };
    if variable.default.is_some() {
        return false;
    }
    let (name, shown) = (variable.name.as_str(), example.value.trim());
    let lower = shown.to_lowercase();
    let is_off = OFF.contains(&lower.as_str());
    let is_switch = is_off || ON.contains(&lower.as_str());
    let is_number = !shown.is_empty() && shown.bytes().all(|b| b.is_ascii_digit());
    let is_wanted = variable.is_of_an_error && (is_switch || is_number);
    let is_meant =
        is_off && !protects(name) || is_switch && stand_ins::is_for_developers(variable) || is_wanted;
    let is_key = || secrets::may_be_session_key(name, &BTreeSet::new());
    is_meant || !shown.is_empty() && is_key()
}

/// Whether a variable is a part of the user whom an app makes for itself and who is nobody where
/// no one sets it: `FIRST_USER_EMAIL` beside `FIRST_USER_PASSWORD`, each as an example shows it.
/// Without the password nobody is made: anyone could be that user.
fn is_of_first_user(variable: &ReadVariable, all: &[Detected<ReadVariable>]) -> bool {
    const PARTS: [&str; 4] = ["EMAIL", "LOGIN", "USER", "USERNAME"];
    const PASSWORDS: [&str; 4] = ["PASS", "PASSWD", "PASSWORD", "PWD"];
    let part = |one: &ReadVariable| {
        let shown = one.example.as_ref()?.value.trim();
        let upper = one.name.to_uppercase();
        let (whose, part) = upper.rsplit_once('_')?;
        let is_first = ["FIRST_ADMIN", "FIRST_SUPERUSER", "FIRST_USER", "SUPERUSER"]
            .iter()
            .any(|user| whose == *user || whose.ends_with(&format!("_{user}")));
        let is_empty = one.default.as_deref() == Some("") && !shown.is_empty();
        (is_first && is_empty).then(|| (whose.to_owned(), part.to_owned()))
    };
    let Some((whose, own)) = part(variable) else {
        return false;
    };
    let mut others = all.iter().filter_map(|one| part(&one.value));
    let has_password = others.any(|(of, part)| of == whose && PASSWORDS.contains(&part.as_str()));
    has_password && PARTS.iter().chain(&PASSWORDS).any(|part| *part == own)
}

/// Whether a name is that of something that keeps others out, and is seldom meant to be off.
fn protects(name: &str) -> bool {
    const WORDS: [&str; 14] = [
        "AUTH", "CHECK", "CSRF", "ENFORCE", "HTTPS", "PROTECT", "REQUIRE", "REQUIRED", "SAFE", "SECURE",
        "SSL", "TLS", "VALIDATE", "VERIFY",
    ];
    name.to_uppercase().split('_').any(|word| WORDS.contains(&word))
}
