//! What instructions set for the steps after them: variables, user, folder,
//! shell. Pure.

use super::dockerfile::{Dockerfile, Instruction};
use super::variables::{Values, expand};

/// What the next step runs with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Of `ENV`: name → value.
    pub(crate) environment: Values,
    /// Of `ARG`, in this stage.
    pub(crate) arguments: Values,
    /// Of `WORKDIR`, `/` where there is none.
    pub(crate) workdir: String,
    /// Of `USER`, with variables filled in; empty where there is none.
    pub(crate) user: String,
    /// Of `SHELL`, as it is written.
    pub(crate) shell: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            environment: Values::new(),
            arguments: Values::new(),
            workdir: "/".to_owned(),
            user: String::new(),
            shell: String::new(),
        }
    }
}

impl Settings {
    /// Variables in scope: `ENV` wins over `ARG`.
    pub(crate) fn scope(&self) -> Values {
        let mut values = self.arguments.clone();
        values.extend(self.environment.clone());
        values
    }

    /// An instruction that is no step: what it sets counts in later ones.
    pub(crate) fn set(&mut self, instruction: &Instruction, given: &Values, globals: &Values) -> Option<()> {
        let text = instruction.text.trim();
        match instruction.keyword.as_str() {
            "ARG" => {
                argument(instruction, given, globals, &mut self.arguments)?;
            }
            "ENV" => {
                let scope = self.scope();
                let words = instruction.words();
                if words.first().is_some_and(|word| !word.contains('=')) {
                    // The old form: `ENV NAME the rest of the line`.
                    let (name, value) = text.split_once(char::is_whitespace)?;
                    let value = expand(value.trim_start(), &scope)?;
                    self.environment.insert(name.to_owned(), value);
                } else {
                    for word in words {
                        let (name, value) = word.split_once('=')?;
                        let value = expand(value, &scope)?;
                        self.environment.insert(name.to_owned(), value);
                    }
                }
            }
            "USER" => self.user = expand(text, &self.scope())?,
            "SHELL" => self.shell = text.to_owned(),
            // Labels, ports, commands: the image's settings, and no file.
            _ => {}
        }
        Some(())
    }

    /// The folder that a `WORKDIR` leads to.
    pub(crate) fn folder(&self, instruction: &Instruction) -> Option<String> {
        let folder = expand(instruction.text.trim(), &self.scope())?;
        Some(joined(&self.workdir, &folder))
    }
}

/// `ARG`s before the first stage, with the values of the build.
pub(crate) fn globals(file: &Dockerfile, given: &Values) -> Option<Values> {
    let mut values = Values::new();
    for instruction in &file.globals {
        argument(instruction, given, &Values::new(), &mut values)?;
    }
    Some(values)
}

/// Adds what an `ARG` declares: the build's value, else its own, else that of
/// the global one.
fn argument(instruction: &Instruction, given: &Values, globals: &Values, values: &mut Values) -> Option<()> {
    for word in instruction.words() {
        let (name, default) = match word.split_once('=') {
            Some((name, default)) => (name, Some(expand(default, values)?)),
            None => (word.as_str(), None),
        };
        let value = given.get(name).cloned().or(default);
        if let Some(value) = value.or_else(|| globals.get(name).cloned()) {
            values.insert(name.to_owned(), value);
        }
    }
    Some(())
}

/// A folder as `cd` would take it, without `.` and double slashes.
pub(crate) fn joined(folder: &str, path: &str) -> String {
    let whole = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{folder}/{path}")
    };
    let parts: Vec<&str> = whole
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    format!("/{}", parts.join("/"))
}
