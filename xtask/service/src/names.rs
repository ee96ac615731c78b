//! What belongs to the service of an image: how its container, volume and
//! network are called, and the labels that they are known by.

use serde_json::Value;

use definition::spec::names::ImageName;
use engine::lasting::Labels;

/// Label of all that belongs to a service: its value is the image's name.
pub const SERVICE_LABEL: &str = "dev.hive.service";

/// Label of a service's container: what was wanted of it, as JSON.
pub(crate) const WANTED_LABEL: &str = "dev.hive.wanted";

/// The names of one service. A dot is in no image's name, so that no container
/// of another image is called like that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceName(String);

impl ServiceName {
    /// That of an image.
    pub fn of(image: &ImageName) -> Self {
        Self(image.to_string())
    }

    /// The image's name, which is the container's, too.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The container that is to come.
    pub fn next(&self) -> String {
        format!("{}.next", self.0)
    }

    /// The container that was there before, until the new one is healthy.
    pub fn before(&self) -> String {
        format!("{}.before", self.0)
    }

    /// Its data.
    pub fn volume(&self) -> String {
        format!("{}-data", self.0)
    }

    /// Its network.
    pub fn network(&self) -> String {
        format!("hive_{}_network", self.0)
    }

    /// What its volume and network bear.
    pub fn labels(&self) -> Labels {
        Labels::from([(SERVICE_LABEL.to_owned(), self.0.clone())])
    }

    /// Whether a container, as a list has it, is one of the service's own: by its
    /// label and by its name. One that somebody has renamed, or that was made of a
    /// committed image, bears the label and is not looked after.
    pub(crate) fn owns_container(&self, listed: &Value) -> bool {
        let known = [self.0.clone(), self.next(), self.before()];
        let is_known = |name: &str| known.iter().any(|known| known == name);
        self.owns(listed.get("Labels")) && is_known(name_of(listed))
    }

    /// Whether the labels of something say that it belongs to this service.
    pub(crate) fn owns(&self, labels: Option<&Value>) -> bool {
        let value = labels.and_then(|labels| labels.get(SERVICE_LABEL)?.as_str());
        value == Some(self.as_str())
    }
}

/// The name of a container, as a list has it.
pub(crate) fn name_of(listed: &Value) -> &str {
    let name = listed.pointer("/Names/0").and_then(Value::as_str);
    name.unwrap_or_default().trim_start_matches('/')
}

impl std::fmt::Display for ServiceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_bears_its_label_belongs_to_a_service() {
        let name = ServiceName::of(&ImageName::parse("genie").unwrap());
        assert!(name.owns(Some(&json!({ "dev.hive.service": "genie" }))));
        for other in [
            json!({ "dev.hive.service": "agent" }),
            json!({ "dev.hive.image": "genie" }),
            json!({}),
            Value::Null,
        ] {
            assert!(!name.owns(Some(&other)), "{other}");
        }
        assert!(!name.owns(None));
    }

    #[test]
    fn a_container_is_known_by_label_and_name() {
        let name = ServiceName::of(&ImageName::parse("genie").unwrap());
        let owns = |container: &str, service: &str| {
            name.owns_container(&json!({ "Names": [container], "Labels": { "dev.hive.service": service } }))
        };
        for known in ["/genie", "/genie.next", "/genie.before"] {
            assert!(owns(known, "genie") && !owns(known, "agent"), "{known}");
        }
        assert!(!owns("/mine", "genie"), "renamed by hand");
        assert!(!name.owns_container(&json!({ "Names": [] })));
    }

    #[test]
    fn no_other_image_has_a_container_of_these_names() {
        let name = ServiceName::of(&ImageName::parse("genie").unwrap());
        for container in [name.next(), name.before()] {
            assert!(ImageName::parse(&container).is_err(), "{container}");
        }
    }
}
