//! All images of an engine at one moment. What one listing says answers all
//! questions about names, labels and IDs without asking again.
//!
//! Pure. A decision that moves tags takes a fresh one.

use serde::Deserialize;

use definition::identity::ImageId;
use definition::reference::Reference;

/// All images of an engine at one moment, newest first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Vec<Listed>")]
pub struct Inventory {
    images: Vec<Listed>,
}

/// One image, as `GET /images/json` lists it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: ImageId,
    /// Seconds since 1970 (UTC).
    #[serde(default)]
    created: i64,
    /// Missing, null or with `<none>:<none>` for an image without a name.
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<std::collections::BTreeMap<String, String>>,
}

impl From<Vec<Listed>> for Inventory {
    fn from(mut images: Vec<Listed>) -> Self {
        // Stable: the engine's own order counts for images of one second.
        images.sort_by_key(|image| std::cmp::Reverse(image.created));
        Self { images }
    }
}

impl Inventory {
    /// The ID of the image with this name.
    pub fn id_of(&self, reference: &Reference) -> Option<&ImageId> {
        let name = reference.to_string();
        self.images
            .iter()
            .find(|image| image.names().any(|known| known == name))
            .map(|image| &image.id)
    }

    /// A label of the image with this ID.
    pub fn label_of(&self, id: &ImageId, label: &str) -> Option<&str> {
        let image = self.images.iter().find(|image| image.id == *id)?;
        image.labels.as_ref()?.get(label).map(String::as_str)
    }

    /// IDs of the images with all these labels, newest first, each once.
    pub fn with_labels(&self, labels: &[(&str, &str)]) -> Vec<&ImageId> {
        let mut ids: Vec<&ImageId> = Vec::new();
        for image in &self.images {
            let has = |(key, value): &(&str, &str)| {
                let labels = image.labels.as_ref();
                labels.and_then(|labels| labels.get(*key)).map(String::as_str) == Some(*value)
            };
            // The containerd store may list an image once for each name.
            if labels.iter().all(has) && !ids.contains(&&image.id) {
                ids.push(&image.id);
            }
        }
        ids
    }

    /// IDs of the images with this label, whatever it says, newest first, each once.
    pub fn with_label(&self, label: &str) -> Vec<&ImageId> {
        let has = |image: &&Listed| {
            image
                .labels
                .as_ref()
                .is_some_and(|labels| labels.contains_key(label))
        };
        let mut ids: Vec<&ImageId> = Vec::new();
        for image in self.images.iter().filter(has) {
            if !ids.contains(&&image.id) {
                ids.push(&image.id);
            }
        }
        ids
    }

    /// All names of the image with this ID.
    pub fn names_of<'a>(&'a self, id: &'a ImageId) -> impl Iterator<Item = &'a str> {
        let listed = self.images.iter().filter(move |image| image.id == *id);
        listed.flat_map(Listed::names)
    }

    /// Names that start with `prefix`, with their images' IDs.
    pub fn names_from<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a ImageId)> {
        self.images.iter().flat_map(move |image| {
            let names = image.names().filter(move |name| name.starts_with(prefix));
            names.map(|name| (name, &image.id))
        })
    }
}

impl Listed {
    fn names(&self) -> impl Iterator<Item = &str> {
        let tags = self.repo_tags.iter().flatten();
        tags.map(String::as_str).filter(|tag| *tag != "<none>:<none>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: u8 = 1;
    const BASE: u8 = 2;
    const NONE: u8 = 3;
    const NEW: u8 = 5;

    fn id(n: u8) -> ImageId {
        format!("sha256:{n:064}").parse().unwrap()
    }

    fn inventory() -> Inventory {
        let mut text = r#"[
              {"Id": "sha256:old", "Created": 5, "RepoTags": ["hive-genie:1"], "Labels": {"a": "1", "b": "2"}},
              {"Id": "sha256:base", "Created": 1, "RepoTags": ["hive-base:debian", "localhost:5000/x:latest"], "Labels": null},
              {"Id": "sha256:none", "Created": 7, "RepoTags": ["<none>:<none>"], "Labels": {"a": "1"}},
              {"Id": "sha256:null", "Created": 8, "RepoTags": null},
              {"Id": "sha256:new", "Created": 9, "RepoTags": ["hive-genie:latest"], "Labels": {"a": "1", "b": "2"}},
              {"Id": "sha256:new", "Created": 9, "RepoTags": ["hive-proof:genie-1"], "Labels": {"a": "1", "b": "2"}}
            ]"#
        .to_owned();
        for (n, name) in (1..).zip(["old", "base", "none", "null", "new"]) {
            text = text.replace(&format!("sha256:{name}"), id(n).as_str());
        }
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn names_are_found_however_they_are_written() {
        let all = inventory();
        for (reference, wanted) in [
            ("hive-genie:latest", Some(NEW)),
            ("hive-genie", Some(NEW)),
            ("docker.io/library/hive-genie", Some(NEW)),
            ("index.docker.io/library/hive-genie:1", Some(OLD)),
            ("localhost:5000/x", Some(BASE)),
            ("hive-proof:genie-1", Some(NEW)),
            ("hive-genie:2", None),
            ("library/hive-genie:1", Some(OLD)),
        ] {
            let name = Reference::parse(reference).unwrap();
            assert_eq!(all.id_of(&name), wanted.map(id).as_ref(), "{reference}");
        }
    }

    #[test]
    fn labels_select_newest_first_and_each_image_once() {
        let all = inventory();
        assert_eq!(all.with_labels(&[("a", "1"), ("b", "2")]), [&id(NEW), &id(OLD)]);
        assert_eq!(all.with_labels(&[("a", "1")]), [&id(NEW), &id(NONE), &id(OLD)]);
        assert!(all.with_labels(&[("a", "2")]).is_empty());
    }

    #[test]
    fn names_are_listed_by_their_beginning() {
        let all = inventory();
        let found: Vec<_> = all.names_from("hive-genie:").collect();
        assert_eq!(
            found,
            [("hive-genie:latest", &id(NEW)), ("hive-genie:1", &id(OLD))]
        );
        assert_eq!(all.names_from("<none>").count(), 0);
        let (new, none) = (id(NEW), id(NONE));
        let names: Vec<&str> = all.names_of(&new).collect();
        assert_eq!(names, ["hive-genie:latest", "hive-proof:genie-1"]);
        assert_eq!(all.names_of(&none).count(), 0);
    }
}
