//! The image before boots on an empty volume, the spec's checks leave their rows
//! in it, and the image under test boots on that volume: a migration that works
//! on empty tables only is found here, and not by the first user who has data.

use std::sync::mpsc::Receiver;
use std::time::Instant;

use anyhow::Result;

use super::mortal::STOP_GRACE;
use super::strand::{SECRETS, Strand};
use crate::facts::{GatePart, Upgrade};
use crate::proof::image_before;
use container::finding::{Reached, flaw, settled};
use container::http::one_line;

/// What a container says to a volume that is none to go on with: of another major
/// version, or of an image that had another database or role. Any other end is one
/// that users of the image before would meet.
const REFUSALS: [&str; 2] = [
    "the volume's cluster is of PostgreSQL ",
    "the volume belongs to image ",
];

impl Strand<'_> {
    /// Waits until the first boots are over, so that nothing of this is in the way
    /// of what they take. `booted` says whether there is a boot to go on from.
    pub(super) fn upgrade(&mut self, booted: &Receiver<()>) -> Result<()> {
        if booted.recv().is_err() {
            return Ok(());
        }
        let began = Instant::now();
        self.facts.upgrade = self.go_on_from_before()?;
        self.facts.took.insert(GatePart::Upgrade, began.elapsed());
        self.close()
    }

    fn go_on_from_before(&mut self) -> Result<Reached<Upgrade>> {
        let (spec, id) = (&self.subject.spec, &self.subject.image_id);
        let Some(before) = image_before(&self.resources, spec, id)? else {
            return Ok(Ok(Upgrade::NoneBefore));
        };
        let budget = self.facts.spec.budgets.ready_seconds;
        self.facts.first = self.boot_image(&before, "the image before", budget)?;
        let why = match &self.facts.first {
            Ok(boot) if boot.ready.is_some() => None,
            Ok(boot) => Some(one_line(&boot.last_words)),
            Err(why) => Some(why.detail.clone()),
        };
        if let Some(why) = why {
            return Ok(Ok(Upgrade::BeforeFails(before, why)));
        }
        let checks = self.run_own_checks()?;
        let checks = checks.iter().filter(|check| !check.failed()).count();
        let answers = self.exec(&[SECRETS], "the image before")?;
        self.learn_secrets(&answers.unwrap_or_default());
        if let Some(instance) = self.instance()
            && let Err(error) = settled(instance.container.stop(STOP_GRACE))?
        {
            return Ok(Err(flaw(format!("stop the image before: {error}"))));
        }
        // Its own end is no end of the image under test.
        (self.facts.death, self.facts.last_words) = (None, None);
        let boot = self.boot("upgrade", budget)?;
        let is_refusal = |said: &str| REFUSALS.iter().any(|refusal| said.contains(refusal));
        let death = self.facts.death.as_ref();
        let refusal = death.filter(|death| is_refusal(&death.last_lines));
        Ok(match (boot, refusal) {
            (_, Some(death)) => Ok(Upgrade::Refused(before, one_line(&death.last_lines))),
            (Ok(boot), None) => Ok(Upgrade::Started { before, checks, boot }),
            (Err(why), None) => Err(flaw(format!(
                "on a volume of the image before ({}): {}{}",
                before.short(),
                why.detail,
                self.facts
                    .death
                    .as_ref()
                    .map_or_else(String::new, |death| format!("; last lines: {}", death.last_lines))
            ))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_what_the_container_says() {
        let code = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docker/rootfs/usr/local/lib/hive/hive_container"
        );
        let said = ["cluster.py", "volume.py"]
            .map(|file| std::fs::read_to_string(format!("{code}/{file}")).unwrap())
            .concat();
        for refusal in REFUSALS {
            assert!(said.contains(refusal), "{refusal}");
        }
    }
}
