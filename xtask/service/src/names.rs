//! What belongs to the service of an image: how its container, volume and
//! network are called, and the labels that they are known by.

use serde_json::Value;

use definition::spec::names::ImageName;
use deploy::names;
use engine::lasting::Labels;

pub use deploy::names::SERVICE_LABEL;

/// Label of a service's container: what was wanted of it, as JSON.
pub(crate) const WANTED_LABEL: &str = "dev.hive.wanted";

/// The names of one service. A dot is in no image's name, so that no container
/// of another image is called like that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceName(ImageName);

impl ServiceName {
    /// A service is called as its image is.
    pub fn of(image: &ImageName) -> Self {
        Self(image.clone())
    }

    /// The image's name, which is the container's, too.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The container that is to come.
    pub fn next(&self) -> String {
        format!("{}.next", self.0)
    }

    /// The container that was there before, until the new one is healthy.
    pub fn before(&self) -> String {
        format!("{}.before", self.0)
    }

    /// The volume that its data are on, which compose uses, too.
    pub fn volume(&self) -> String {
        names::volume(&self.0)
    }

    /// The volume of its archive, which compose uses, too.
    pub fn archive(&self) -> String {
        names::archive(&self.0)
    }

    /// The network that it is on, which compose uses, too.
    pub fn network(&self) -> String {
        names::network(&self.0)
    }

    /// The labels by which `up` and compose find its container again.
    pub(crate) fn container_labels(&self) -> Labels {
        self.labels(names::container_labels(&self.0))
    }

    /// The labels by which `up` and compose find its volume again.
    pub fn volume_labels(&self) -> Labels {
        self.labels(names::volume_labels(&self.0))
    }

    /// The labels by which `up` and compose find the volume of its archive again.
    pub(crate) fn archive_labels(&self) -> Labels {
        self.labels(names::archive_labels(&self.0))
    }

    /// The labels by which `up` and compose find its network again.
    pub(crate) fn network_labels(&self) -> Labels {
        self.labels(names::network_labels(&self.0))
    }

    /// Ours, and those by which compose takes it for its own.
    fn labels<const N: usize>(&self, of_compose: [(&'static str, String); N]) -> Labels {
        let all = of_compose.map(|(key, value)| (key.to_owned(), value));
        let mut all = Labels::from(all);
        all.insert(SERVICE_LABEL.to_owned(), self.0.to_string());
        all
    }

    /// Whether a container, as a list has it, is one of the service's own: by its
    /// label and by its name. One that somebody has renamed, or that was made of a
    /// committed image, bears the label and is not looked after.
    pub(crate) fn owns_container(&self, listed: &Value) -> bool {
        let known = [self.0.to_string(), self.next(), self.before()];
        let is_known = |name: &str| known.iter().any(|known| known == name);
        self.owns(listed.get("Labels")) && is_known(name_of(listed))
    }

    /// Whether the labels of something say that it belongs to this service.
    pub(crate) fn owns(&self, labels: Option<&Value>) -> bool {
        let value = labels.and_then(|labels| labels.get(SERVICE_LABEL)?.as_str());
        value == Some(self.as_str())
    }

    /// Whether the labels of a volume say that it is this service's. One of compose's
    /// has compose's labels alone.
    pub(crate) fn owns_volume(&self, labels: Option<&Value>) -> bool {
        let of_compose = |key: &str, value: &str| {
            let label = labels.and_then(|labels| labels.get(key)?.as_str());
            label == Some(value)
        };
        let all = names::volume_labels(&self.0);
        // In the file of an app alone the volume of its database has its whole name.
        let project = labels.and_then(|labels| labels.get(names::PROJECT_LABEL)?.as_str());
        let of_an_app = project.is_some_and(|project| project.starts_with("hive-"))
            && of_compose(names::VOLUME_LABEL, &self.volume());
        self.owns(labels) || of_an_app || all.iter().all(|(key, value)| of_compose(key, value))
    }

    /// The same of the volume of its archive.
    pub(crate) fn owns_archive(&self, labels: Option<&Value>) -> bool {
        let says = |key: &str| labels.and_then(|labels| labels.get(key)?.as_str());
        let of_compose = names::archive_labels(&self.0);
        self.owns(labels) || of_compose.iter().all(|(key, value)| says(key) == Some(value))
    }
}

/// The name of a container, as a list has it.
pub(crate) fn name_of(listed: &Value) -> &str {
    let name = listed.pointer("/Names/0").and_then(Value::as_str);
    name.unwrap_or_default().trim_start_matches('/')
}

impl std::fmt::Display for ServiceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
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
    fn a_volume_of_compose_belongs_to_the_service_of_its_project() {
        let name = ServiceName::of(&ImageName::parse("genie").unwrap());
        let of = |project: &str, key: &str| {
            let labels = json!({ "com.docker.compose.project": project, "com.docker.compose.volume": key });
            name.owns_volume(Some(&labels))
        };
        assert!(of("hive-genie", "data"));
        assert!(!of("hive-agent", "data") && !of("hive-genie", "cache"));
        assert!(of("hive-workspace", "genie-data"), "beside an app alone");
        assert!(!of("hive-workspace", "agent-data") && !of("shop", "genie-data"));
        assert!(name.owns_volume(Some(&json!({ "dev.hive.service": "genie" }))));
        assert!(!name.owns_volume(None));
        let key = |key: &str| json!({ "com.docker.compose.project": "hive-genie", "com.docker.compose.volume": key });
        assert!(name.owns_archive(Some(&key("archive"))) && !name.owns_archive(Some(&key("data"))));
        assert!(name.owns_archive(Some(&json!({ "dev.hive.service": "genie" }))));
        assert!(!name.owns_archive(None));
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
