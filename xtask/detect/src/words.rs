//! A project's own commands and texts, as a spec has them.

use definition::spec::secret;

/// A line of shell as words; by a shell where it is more than words.
pub(crate) fn words(line: &str) -> Vec<String> {
    let is_plain = |c: char| c.is_alphanumeric() || " -_./:=@,+%".contains(c);
    let assigns = line.split(' ').next().is_some_and(|first| first.contains('='));
    let words: Vec<&str> = if line.chars().all(is_plain) && !assigns {
        line.split_whitespace().collect()
    } else {
        vec!["sh", "-c", line]
    };
    words.into_iter().map(str::to_owned).collect()
}

/// Whether a spec takes a command of the project's as it is: not one that has a secret
/// in it, which would be part of the image.
pub(crate) fn is_taken(words: &[String]) -> bool {
    let empty = words.first().is_none_or(String::is_empty);
    let odd = words.iter().any(|word| word.contains(char::is_control));
    !empty && !odd && secret::in_command(words).is_none()
}

/// Words of the project's as a spec writes them: a brace in them is no placeholder's.
pub(crate) fn literally(words: &[String]) -> Vec<String> {
    words.iter().map(|word| escaped(word)).collect()
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// Switches as people write them, on and off.
const ON_AND_OFF: [(&str, &str); 9] = [
    ("True", "False"),
    ("true", "false"),
    ("TRUE", "FALSE"),
    ("1", "0"),
    ("yes", "no"),
    ("Yes", "No"),
    ("on", "off"),
    ("On", "Off"),
    ("y", "n"),
];

/// The other one, in the form of a switch that is on.
pub(crate) fn off(on: &str) -> Option<&'static str> {
    ON_AND_OFF
        .iter()
        .find(|(known, _)| *known == on)
        .map(|(_, off)| *off)
}

/// Whether a text is a switch that is off.
pub(crate) fn is_off(text: &str) -> bool {
    ON_AND_OFF.iter().any(|(_, off)| *off == text)
}
