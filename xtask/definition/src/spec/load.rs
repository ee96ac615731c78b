//! From texts to specs, with every problem of every file at once.

mod layers;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use self::layers::Layers;
use super::ImageSpec;
use super::kind;
use super::own_file;
use super::shape::ShapeProblem;
use crate::reference::Reference;

/// A file that was read.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// As users know it, such as `images/genie/image.json`.
    pub shown: String,
    /// The folder that relative paths inside start from.
    pub folder: PathBuf,
    /// The JSON as it was read.
    pub text: String,
}

/// A problem, with its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file as users know it.
    pub(crate) file: String,
    /// Where in it, and what.
    pub(crate) problem: ShapeProblem,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShapeProblem { path, message } = &self.problem;
        if path.is_empty() {
            write!(f, "{}: {message}", self.file)
        } else {
            write!(f, "{}: `{path}` {message}", self.file)
        }
    }
}

/// What one image is loaded from.
#[derive(Clone, Debug)]
pub struct ImageFiles {
    /// The folder's name below `images/`.
    pub name: String,
    /// The file of the image itself, `images/<name>/image.json`.
    pub own: SourceFile,
    /// The app's own [`APP_FILE`], where it has one.
    pub app: Option<SourceFile>,
}

/// The file by which an app's folder says how it wants to be run: keys of a
/// spec, over the defaults and under the image's own.
pub const APP_FILE: &str = "hive-app.json";

/// Parses the specs of all images over what their apps say and the defaults
/// that they share.
///
/// # Errors
/// Every problem found, in the order of the files.
pub fn load(defaults: Option<&SourceFile>, files: &[ImageFiles]) -> Result<Vec<ImageSpec>, Vec<Located>> {
    let mut problems = Vec::new();
    let shared = defaults.and_then(|file| parse(file, &mut problems).map(|value| (file, value)));
    let mut images = Vec::new();
    let before = problems.len();
    for files in files {
        let app = files
            .app
            .as_ref()
            .and_then(|file| parse(file, &mut problems).map(|value| (file, value)));
        let of_the_gate = app
            .as_ref()
            .and_then(|(file, value)| own_file::of_the_gate(file, value, &files.name));
        problems.extend(of_the_gate.filter(|problem| !problems.contains(problem)));
        if let Some((file, value)) = &app {
            let with_a_login = own_file::with_a_login(file, value, &files.name);
            let told: Vec<Located> = with_a_login
                .filter(|problem| !problems.contains(problem))
                .collect();
            problems.extend(told);
        }
        let Some(own) = parse(&files.own, &mut problems) else {
            continue;
        };
        let layers = Layers {
            own: (&files.own, own),
            app,
            shared: shared.as_ref(),
        };
        match layers.image(&files.name) {
            Ok(image) => images.push(image),
            Err(found) => {
                for problem in found {
                    // A mistake in the defaults would be told once per image.
                    if !problems.contains(&problem) {
                        problems.push(problem);
                    }
                }
            }
        }
    }
    if before == problems.len() {
        clashes(&images, &mut problems);
    }
    if problems.is_empty() {
        Ok(images)
    } else {
        Err(problems)
    }
}

fn parse(file: &SourceFile, problems: &mut Vec<Located>) -> Option<Value> {
    let message = match serde_json::from_str(without_mark(&file.text)) {
        Ok(value @ Value::Object(_)) => return Some(value),
        Ok(_) => "must be a JSON object".to_owned(),
        Err(error) => format!("is no valid JSON: {error}"),
    };
    let problem = whole(file, message);
    // Several images may have one app.
    if !problems.contains(&problem) {
        problems.push(problem);
    }
    None
}

/// Some editors put a byte order mark before a text, which JSON does not know.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn whole(file: &SourceFile, message: String) -> Located {
    Located {
        file: file.shown.clone(),
        problem: ShapeProblem {
            path: String::new(),
            message,
        },
    }
}

/// The image whose own repository, `hive-<image>`, a name lies in.
pub fn owner<'a>(name: &Reference, images: &'a [ImageSpec]) -> Option<&'a ImageSpec> {
    images
        .iter()
        .find(|image| image.name.repository() == name.repository())
}

/// What only all images together show.
fn clashes(images: &[ImageSpec], problems: &mut Vec<Located>) {
    let mut ports: BTreeMap<u16, &ImageSpec> = BTreeMap::new();
    let mut tags: BTreeMap<&Reference, &ImageSpec> = BTreeMap::new();
    for image in images {
        let mut clash = |path: String, message: String| {
            problems.push(Located {
                file: image.file.clone(),
                problem: ShapeProblem { path, message },
            });
        };
        let port = image.published_port();
        if let Some(other) = ports.insert(port, image) {
            let part = if image.app.is_some() { "app" } else { "database" };
            clash(
                format!("{part}.port"),
                format!("is {port}, which {} has too", other.file),
            );
        }
        if let Some((path, message)) = kind::companion_problem(image, images) {
            clash(path.to_owned(), message);
        }
        for (n, tag) in image.tags.iter().enumerate() {
            let other = tags.insert(tag.example(), image);
            let other = other.or_else(|| owner(tag.example(), images));
            if let Some(other) = other.filter(|other| other.name != image.name) {
                clash(
                    format!("tags[{n}]"),
                    format!("is \"{tag}\", which {} has too", other.file),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
