//! The proof that only a good verdict becomes, and the tags that keep it.

use anyhow::Result;

use definition::identity::{ImageId, SuiteKey};
use definition::labels::{APP_LABEL, IMAGE_LABEL};
use definition::reference::{OwnRepository, Reference, ReleaseTag};
use definition::spec::ImageSpec;
use engine::Inventory;
use engine::container::RunResources;

/// An image ID that passed every check of the suite. Made by a run of the
/// suite or from the proof tag of an earlier one, nowhere else.
#[derive(Clone, Debug)]
pub struct Verified {
    pub(super) image: String,
    pub(super) image_id: ImageId,
    pub(super) suite_key: SuiteKey,
    pub(super) full_key: Option<SuiteKey>,
}

impl Verified {
    /// Name of the image that passed.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// The ID that passed: the one to tag.
    pub fn image_id(&self) -> &ImageId {
        &self.image_id
    }

    /// The tag that keeps the proof: it names the very ID that passed, so that
    /// the engine knows what was proved and no side file has to be trusted.
    pub fn proof_tag(&self) -> Reference {
        proof_tag(&self.image, &self.suite_key, &self.image_id)
    }

    /// The tag that keeps the proof of the full suite, where it passed that: a
    /// release can ask for it.
    pub fn full_proof_tag(&self) -> Option<Reference> {
        let key = self.full_key.as_ref()?;
        Some(OwnRepository::ProofFull.tagged(tag(&self.image, key, &self.image_id)))
    }
}

/// `hive-proof:<image>-<suite key>.<image ID>`. With the ID in it, an image
/// keeps its proof when the next one passes the same suite.
pub(crate) fn proof_tag(image: &str, suite_key: &SuiteKey, image_id: &ImageId) -> Reference {
    OwnRepository::Proof.tagged(tag(image, suite_key, image_id))
}

/// Whether any proof tag of this image names this very ID, of whichever suite: what
/// was proved when it was released stays so when the suite has changed since.
pub fn is_proved(inventory: &Inventory, image: &str, image_id: &ImageId) -> bool {
    let end = format!(".{}", image_id.short());
    // A key has no dash: with one, the proof is of a longer name.
    let is_proof = |name: &str| {
        let key = name
            .strip_prefix(&proofs(image))
            .and_then(|rest| rest.strip_suffix(&end));
        key.is_some_and(|key| !key.is_empty() && !key.contains('-'))
    };
    inventory.names_of(image_id).any(is_proof)
}

/// What the tags of an image's proofs start with.
pub fn proofs(image: &str) -> String {
    format!("{}:{image}-", OwnRepository::Proof.name())
}

/// The same of the full suite.
pub fn full_proofs(image: &str) -> String {
    format!("{}:{image}-", OwnRepository::ProofFull.name())
}

fn tag(image: &str, key: &SuiteKey, image_id: &ImageId) -> String {
    format!("{image}-{}.{}", key.short(), image_id.short())
}

/// `hive-previous:<image>`: what had the release tags before, to go back to and
/// to try the upgrade from.
pub fn previous_tag(image: &str) -> Reference {
    OwnRepository::Previous.tagged(image)
}

/// The image of the same app that had the release tags before this one; where each
/// release has tags of its own, the newest release that has a proof.
///
/// # Errors
/// When the engine does not answer.
pub(crate) fn image_before(
    resources: &RunResources,
    spec: &ImageSpec,
    image_id: &ImageId,
) -> Result<Option<ImageId>> {
    let inventory = resources.engine.inventory(&resources.runner)?;
    let app = inventory.label_of(image_id, APP_LABEL);
    Ok(before_in(&inventory, spec, app, Some(image_id)).cloned())
}

/// The same while the image is not built yet.
///
/// # Errors
/// When the engine does not answer.
pub(crate) fn image_before_build(resources: &RunResources, spec: &ImageSpec) -> Result<Option<ImageId>> {
    let inventory = resources.engine.inventory(&resources.runner)?;
    let app = spec.app.as_ref().and_then(|app| app.name.as_deref());
    Ok(before_in(&inventory, spec, app, None).cloned())
}

/// That of the image `of`, which has this app.
fn before_in<'i>(
    inventory: &'i Inventory,
    spec: &ImageSpec,
    app: Option<&str>,
    of: Option<&ImageId>,
) -> Option<&'i ImageId> {
    // A candidate is not promoted yet: then it is the one that is.
    let of_release = spec.tags.iter().filter_map(ReleaseTag::fixed);
    let before = previous_tag(spec.name.as_str());
    let ids = of_release.chain([&before]).filter_map(|tag| inventory.id_of(tag));
    let name = spec.name.as_str();
    let is_release = |known: &str| {
        let known = Reference::parse(known);
        let of = |tag: &ReleaseTag| {
            known
                .as_ref()
                .is_ok_and(|known| known.repository() == tag.repository())
        };
        spec.tags.iter().any(of)
    };
    let mut released = inventory.with_labels(&[(IMAGE_LABEL, name)]);
    released.retain(|id| is_proved(inventory, name, id) && inventory.names_of(id).any(is_release));
    // Another app's data is none to go on with.
    ids.chain(released)
        .find(|id| Some(*id) != of && inventory.label_of(id, APP_LABEL) == app)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Faults;
    use crate::faults::FULL;
    use crate::suite;
    use crate::verdict::tests::verdict;
    use crate::verdict::{CheckResult, Full, Verdict};
    use container::finding::{flaw, seen};
    use serde_json::json;
    use std::time::Duration;

    /// The results of the whole full suite on an image that bears everything.
    fn all() -> Vec<CheckResult> {
        let gate = suite::gate(crate::sample::spec().kind()).map(|check| check.name);
        let names = gate.chain(FULL.iter().map(|fault| fault.name));
        let good = |name| CheckResult::new(name, Duration::ZERO, seen("fine"));
        names.map(good).collect()
    }

    /// A full suite's verdict with these results.
    fn full(checks: Vec<CheckResult>) -> Verdict {
        let spec = crate::sample::spec();
        let faults = Faults {
            all: FULL,
            only: &[],
            second_try: true,
        };
        let full = Full::of(
            faults.key(&spec, None).unwrap(),
            &checks,
            faults.names(spec.kind()),
        );
        Verdict {
            full: Some(full),
            ..verdict(checks)
        }
    }

    #[test]
    fn a_whole_pass_of_the_full_suite_is_a_proof_of_both() {
        let verified = full(all()).verified().unwrap();
        assert_eq!(
            verified.proof_tag().to_string(),
            "hive-proof:genie-abababababababab.0123456789ab"
        );
        let key = verified.full_key.clone().unwrap();
        let tag = format!("hive-proof-full:genie-{}.0123456789ab", key.short());
        assert_eq!(verified.full_proof_tag().map(|kept| kept.to_string()), Some(tag));
    }

    #[test]
    fn the_image_before_had_the_tags_or_is_the_newest_proved_release() {
        let id = |n: u8| format!("sha256:{}", format!("{n:02x}").repeat(32));
        let image = |n: u8, tags: &[&str], app: &str| {
            json!({ "Id": id(n), "Created": n, "RepoTags": tags,
                "Labels": { IMAGE_LABEL: "genie", APP_LABEL: app } })
        };
        let inventory: Inventory = serde_json::from_value(json!([
            image(1, &["hive-genie:0.9", "hive-proof:genie-ab.010101010101"], "shop"),
            image(2, &["hive-genie:1.0", "hive-proof:genie-ab.020202020202"], "shop"),
            image(3, &["hive-genie:1.1"], "shop"),
            image(
                4,
                &["hive-genie:1.2", "hive-proof:genie-ab.040404040404"],
                "other"
            ),
            image(5, &["hive-proof:genie-ab.050505050505"], "shop"),
            image(6, &["hive-candidate:genie-x"], "shop"),
        ]))
        .unwrap();
        let mut spec = crate::sample::spec();
        let before = |spec: &ImageSpec, of: u8| {
            let of: ImageId = id(of).parse().unwrap();
            let app = inventory.label_of(&of, APP_LABEL);
            before_in(&inventory, spec, app, Some(&of)).map(ToString::to_string)
        };
        let tags = |all: &[&str]| all.iter().map(|tag| ReleaseTag::parse(tag).unwrap()).collect();
        spec.tags = tags(&["hive-genie:{version}"]);
        assert_eq!(before(&spec, 6), Some(id(2)));
        assert_eq!(before(&spec, 2), Some(id(1)));
        let to_come = |app| before_in(&inventory, &spec, app, None).map(ToString::to_string);
        assert_eq!(to_come(Some("shop")), Some(id(2)));
        assert_eq!(to_come(None), None);
        spec.tags = tags(&["hive-genie:1.1", "hive-genie:{version}"]);
        assert_eq!(before(&spec, 6), Some(id(3)));
        spec.tags = tags(&["x/genie:{version}"]);
        assert_eq!(before(&spec, 6), None);
    }

    #[test]
    fn a_proof_is_of_one_image_and_one_name() {
        let id = |digits: &str| -> ImageId { format!("sha256:{}", digits.repeat(4)).parse().unwrap() };
        let (id, another) = (id("0123456789abcdef"), id("fedcba9876543210"));
        let listed = |tag: &str| {
            let image = serde_json::json!([{ "Id": id, "RepoTags": [tag] }]);
            serde_json::from_value::<Inventory>(image).unwrap()
        };
        assert!(is_proved(
            &listed("hive-proof:genie-k.0123456789ab"),
            "genie",
            &id
        ));
        for other in [
            "hive-proof:genie-k.fedcba987654",
            "hive-proof:genie-.0123456789ab",
            "hive-proof:genie-two-k.0123456789ab",
            "hive-unproved:genie-k.0123456789ab",
            "hive-genie:latest",
        ] {
            assert!(!is_proved(&listed(other), "genie", &id), "{other}");
        }
        assert!(!is_proved(
            &listed("hive-proof:genie-k.0123456789ab"),
            "genie",
            &another
        ));
    }

    #[test]
    fn one_failed_fault_is_no_proof_of_anything() {
        for n in 0..all().len() {
            let mut checks = all();
            let name = checks[n].name.clone();
            checks[n] = CheckResult::new(&name, Duration::ZERO, Err(flaw("lost a row")));
            let said = full(checks).verified().unwrap_err().to_string();
            assert!(said.ends_with(&format!("smoke checks: {name}")), "{said}");
        }
    }

    #[test]
    fn a_part_of_the_full_suite_is_no_proof() {
        let gate = suite::gate(crate::sample::spec().kind()).count();
        let all = all();
        for n in 0..all.len() {
            let mut without = all.clone();
            let missing = without.remove(n).name;
            let said = full(without).verified().map(|_| missing).unwrap_err();
            assert!(
                said.to_string()
                    .ends_with("only a part of the suite and no proof"),
                "{said}"
            );
        }
        // With `--only`, and the gate under the full suite's name.
        assert!(full(all[gate..=gate].to_vec()).verified().is_err());
        assert!(full(all[gate..].to_vec()).verified().is_err());
        assert!(full(all[..gate].to_vec()).verified().is_err());
        assert!(full(Vec::new()).verified().is_err());
    }

    #[test]
    fn the_gate_is_a_proof_of_the_gate_alone() {
        let good = verdict(vec![CheckResult::new("image-user", Duration::ZERO, seen("1000"))]);
        let verified = good.verified().unwrap();
        assert_eq!(
            verified.proof_tag().to_string(),
            "hive-proof:genie-abababababababab.0123456789ab"
        );
        assert_eq!(verified.full_proof_tag(), None);
        let key = "0123456789abcdef".repeat(4).parse().unwrap();
        let id = format!("sha256:{}", "fedcba9876543210".repeat(4))
            .parse()
            .unwrap();
        assert_eq!(
            proof_tag("agent", &key, &id).to_string(),
            "hive-proof:agent-0123456789abcdef.fedcba987654"
        );
    }
}
