//! One image's file over its app's over the shared one.

use serde_json::Value;

use super::{Located, SourceFile};
use crate::spec::ImageSpec;
use crate::spec::meaning::validate;
use crate::spec::own_file;
use crate::spec::raw::{self, RawSpec};
use crate::spec::shape::{self, ShapeProblem};

/// One image's file over its app's over the shared one.
pub(super) struct Layers<'a> {
    pub(super) own: (&'a SourceFile, Value),
    pub(super) app: Option<(&'a SourceFile, Value)>,
    pub(super) shared: Option<&'a (&'a SourceFile, Value)>,
}

impl Layers<'_> {
    pub(super) fn image(&self, name: &str) -> Result<ImageSpec, Vec<Located>> {
        let mut merged = Value::Object(serde_json::Map::new());
        for (_, value) in self.lowest_first() {
            merge(&mut merged, value);
        }
        let mut found = self.each_alone();
        // What is wrong with a file is known by then; not what all of them lack.
        let of_all = self.locate(shape::problems(raw::schema(), &merged));
        let alone = found.len();
        let is_lacking = |one: &Located| alone == 0 || one.problem.message == shape::MISSING;
        found.extend(of_all.into_iter().filter(is_lacking));
        if !found.is_empty() {
            let of_rest = self.meaning_of_rest(name, &merged, &found);
            found.extend(of_rest);
            return Err(found);
        }
        let raw: RawSpec = serde_json::from_value(merged).map_err(|error| {
            self.locate(vec![ShapeProblem {
                path: String::new(),
                message: format!("cannot be read: {error}"),
            }])
        })?;
        let source_folder = &self.file_of("app.source").folder;
        let mut image =
            validate(name, raw, &self.own.0.shown, source_folder).map_err(|found| self.locate(found))?;
        if let Some((file, value)) = &self.app {
            image.overruled = own_file::overruled((file, value), (self.own.0, &self.own.1));
        }
        Ok(image)
    }

    /// What is wrong with the meaning of what is left without the values that have been
    /// found wrong; nothing where too much is gone to know.
    fn meaning_of_rest(&self, name: &str, merged: &Value, found: &[Located]) -> Vec<Located> {
        let mut rest = merged.clone();
        for one in found {
            shape::remove(&mut rest, &one.problem.path);
        }
        // What was wrong in one file may hide a good value of another.
        let is_sound = shape::problems(raw::schema(), &rest).is_empty();
        let Some(raw) = is_sound
            .then(|| serde_json::from_value::<RawSpec>(rest).ok())
            .flatten()
        else {
            return Vec::new();
        };
        let source_folder = &self.file_of("app.source").folder;
        let validated = validate(name, raw, &self.own.0.shown, source_folder);
        let mut more = validated.err().map_or_else(Vec::new, |more| self.locate(more));
        // One that is not there any more may be missed by its neighbour.
        more.retain(|one| shape::lookup(merged, &one.problem.path).is_some());
        more
    }

    /// What is wrong with each file by itself, also where another one has the
    /// last word.
    fn each_alone(&self) -> Vec<Located> {
        let schema = raw::file_schema();
        let alone = |(file, value): (&SourceFile, &Value)| {
            let found = shape::problems(&schema, value).into_iter();
            let located = found.map(|problem| Located {
                file: file.shown.clone(),
                problem,
            });
            located.collect::<Vec<_>>()
        };
        self.lowest_first().rev().flat_map(alone).collect()
    }

    fn lowest_first(&self) -> impl DoubleEndedIterator<Item = (&SourceFile, &Value)> {
        let layers = [self.shared, self.app.as_ref(), Some(&self.own)];
        layers.into_iter().flatten().map(|(file, value)| (*file, value))
    }

    /// The highest file that has this path; the image's own where none has.
    fn file_of(&self, path: &str) -> &SourceFile {
        let mut layers = self.lowest_first().rev();
        layers
            .find(|(_, value)| shape::lookup(value, path).is_some())
            .map_or(self.own.0, |(file, _)| file)
    }

    fn locate(&self, found: Vec<ShapeProblem>) -> Vec<Located> {
        found
            .into_iter()
            .map(|problem| Located {
                file: self.file_of(&problem.path).shown.clone(),
                problem,
            })
            .collect()
    }
}

/// Objects key by key, everything else whole.
fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}
