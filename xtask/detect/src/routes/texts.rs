//! What a path is made of: texts, names that stand for one, settings and f-strings.

use super::{Graph, Text};
use crate::modules::{Meaning, Module};
use crate::place::Certainty;
use crate::python::statement;
use crate::python::{Token, TokenKind, lines};

impl<'t> Graph<'_, 't> {
    /// A text, or a name or setting that stands for one.
    pub(super) fn text(&self, module: &Module<'t>, tokens: &[Token<'t>]) -> Option<Text> {
        self.text_of(module, tokens, 0)
    }

    fn text_of(&self, module: &Module<'t>, tokens: &[Token<'t>], depth: usize) -> Option<Text> {
        if let Some(text) = statement::text_of(tokens) {
            return Some(Text::sure(text));
        }
        if depth > 6 {
            return None;
        }
        if let Some(plus) = statement::first(tokens, "+") {
            let (left, right) = (&tokens[..plus], &tokens[plus + 1..]);
            let (left, right) = (
                self.text_of(module, left, depth + 1)?,
                self.text_of(module, right, depth + 1)?,
            );
            return Some(Text {
                text: left.text + &right.text,
                certainty: left.certainty.max(right.certainty),
            });
        }
        if let [one] = tokens
            && one.kind == TokenKind::Formatted
        {
            return self.formatted(module, one.text, depth);
        }
        let (name, length) = statement::dotted(tokens)?;
        if length != tokens.len() {
            return None;
        }
        match self.modules.meaning(module, &name) {
            Meaning::Inside(other, name) => match name.rsplit_once('.') {
                None => self.text_of(other, other.value(&name)?, depth + 1),
                // `settings.API_PREFIX`: the default in a class, which the environment may change.
                Some((_, setting)) => self.setting(setting),
            },
            // An object of settings that a function gets: `settings.api.prefix`.
            Meaning::Unknown => {
                let (object, rest) = name.split_once('.')?;
                let of_settings = object
                    .split('_')
                    .any(|word| ["config", "settings"].contains(&word));
                let setting = rest.rsplit('.').next().filter(|_| of_settings)?;
                self.setting(setting)
            }
            Meaning::Outside(_) => None,
        }
    }

    fn setting(&self, name: &str) -> Option<Text> {
        let mut values = self.modules.all.iter().flat_map(|module| {
            let lines = (0..module.lines.len()).filter(|n| module.class_of(*n).is_some());
            let assigned = lines.flat_map(|n| statement::assignments(&module.lines[n]));
            assigned
                .filter(|one| one.target == name)
                .filter_map(|one| statement::text_of(one.value))
        });
        let text = values.next()?;
        Some(Text {
            text,
            certainty: Certainty::Likely,
        })
    }

    fn formatted(&self, module: &Module<'t>, text: &'t str, depth: usize) -> Option<Text> {
        let mut whole = Text::sure("");
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (inside, after) = after.split_once('}')?;
            let expression = lines(inside);
            let value = self.text_of(module, &expression.first()?.tokens, depth + 1)?;
            whole.text += &format!("{before}{}", value.text);
            whole.certainty = whole.certainty.max(value.certainty);
            rest = after;
        }
        whole.text += rest;
        Some(whole)
    }
}
