//! The image before boots on an empty volume, the spec's checks leave their rows
//! in it, and the image under test boots on that volume: a migration that works
//! on empty tables only is found here, and not by the first user who has data. So is
//! one that takes the rows away, and an app that does not understand them.

use std::mem;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use anyhow::Result;
use serde_json::Value;

use super::UPGRADED;
use super::mortal::STOP_GRACE;
use super::strand::{SECRETS, Strand, TABLES};
use crate::facts::{FailedAgain, GatePart, Upgrade};
use crate::proof::image_before;
use crate::rows::TableRows;
use crate::verdict::CheckResult;
use crate::{Subject, container_prefix};
use container::boot::Boot;
use container::finding::{Reached, flaw, settled};
use container::http::one_line;
use container::look;
use container::timeline::Timeline;
use definition::identity::ImageId;
use definition::spec::ImageSpec;
use definition::spec::names::ImageName;
use engine::Image;
use engine::container::RunResources;

/// What a container says to a volume that is none to go on with: of another major
/// version, or of an image that had another database or role. Any other end is one
/// that users of the image before would meet.
const REFUSALS: [&str; 2] = [
    "the volume's cluster is of PostgreSQL ",
    "the volume belongs to image ",
];

/// Begins the one line of a container that refuses to start.
const CANNOT_START: &str = "hive: cannot start: ";

/// The exit code of a container that refuses to start: `EX_CONFIG` of
/// `sysexits.h`.
const EXIT_CONFIG: i64 = 78;

/// A volume that the image before has left.
#[derive(Debug)]
pub(super) struct VolumeOfBefore {
    image: ImageId,
    /// The spec's checks, in their order: whether each passed when it was asked, and
    /// when it was asked a second time.
    passed: Vec<(bool, bool)>,
    tables: Reached<Vec<TableRows>>,
}

/// The image before has had its turn, while the image under test was built.
#[derive(Debug)]
pub struct PreparedUpgrade<'a> {
    strand: Strand<'a>,
    left: VolumeOfBefore,
}

impl<'a> PreparedUpgrade<'a> {
    /// Boots the image before on an empty volume, which it leaves with rows in it. None
    /// where that does not work: the gate tries it again, and tells why.
    ///
    /// `before` is the image before with the spec of the one that is to come.
    ///
    /// # Errors
    /// On Ctrl-C, or when the engine does not answer.
    pub(crate) fn new(resources: &RunResources, before: &'a Subject) -> Result<Option<Self>> {
        let found = resources
            .engine
            .image(&resources.runner, before.image_id.as_str())?;
        let Some(image) = found else {
            return Ok(None);
        };
        let prefix = container_prefix(before.spec.name.as_str(), &resources.run);
        let mut strand = Strand::new(resources, before, &image, UPGRADED, &prefix, Timeline::default())?;
        strand.facts.spec = strand.spec_of(&before.image_id)?;
        let left = strand.leave_rows(before.image_id.clone())?;
        Ok(left.ok().map(|left| Self { strand, left }))
    }

    /// Of which image under test it is to become a part.
    pub(crate) fn is_of(&self, subject: &Subject) -> bool {
        self.strand.subject.spec.name == subject.spec.name
    }

    /// The image that left the volume.
    pub(super) fn image_id(&self) -> &ImageId {
        &self.left.image
    }

    /// What the gate on `subject` goes on with.
    pub(super) fn of_subject(
        self,
        subject: &'a Subject,
        image: &Image,
        timeline: Timeline,
    ) -> (Strand<'a>, VolumeOfBefore) {
        (self.strand.of_subject(subject, image, timeline), self.left)
    }
}

impl Strand<'_> {
    /// Waits until the first boots are over, so that nothing of this is in the way
    /// of what they take. `booted` says whether there is a boot to go on from, `left`
    /// is what the image before has left already.
    pub(super) fn upgrade(&mut self, booted: &Receiver<()>, left: Option<VolumeOfBefore>) -> Result<()> {
        if booted.recv().is_err() {
            return Ok(());
        }
        let began = Instant::now();
        self.facts.upgrade = match left {
            Some(left) => self.take_over(left)?,
            None => self.go_on_from_before()?,
        };
        self.facts.took.insert(GatePart::Upgrade, began.elapsed());
        // The log of the image before is not what is judged.
        self.close_from(1)
    }

    fn go_on_from_before(&mut self) -> Result<Reached<Upgrade>> {
        let (spec, id) = (&self.subject.spec, &self.subject.image_id);
        let Some(before) = image_before(&self.resources, spec, id)? else {
            return Ok(Ok(Upgrade::NoneBefore));
        };
        if let Err(why) = self.start_database()? {
            return Ok(Err(why));
        }
        // Asked by what it says of itself: its app may have had another port.
        let theirs = self.spec_of(&before)?;
        if theirs.database.elsewhere.is_some() != spec.database.elsewhere.is_some() {
            let why = "one of the two has its database in itself, and the other has it elsewhere";
            return Ok(Ok(Upgrade::BeforeFails(before, why.to_owned())));
        }
        let ours = mem::replace(&mut self.facts.spec, theirs);
        let left = self.leave_rows(before)?;
        self.facts.spec = ours;
        // Its own end is no end of the image under test.
        (self.facts.death, self.facts.last_words) = (None, None);
        match left {
            Err(given_up) => Ok(given_up),
            Ok(left) => self.take_over(left),
        }
    }

    /// The spec as the image before has it in itself.
    fn spec_of(&self, before: &ImageId) -> Result<ImageSpec> {
        let (name, volume) = (self.name("image-file"), self.volume.name());
        let script = "cat /etc/hive/image.json";
        let said = settled(look::run(&self.resources, &name, before, volume, &[], script))?;
        let document = said
            .ok()
            .and_then(|said| serde_json::from_slice(&said.stdout).ok());
        Ok(spec_by(&self.facts.spec, &document.unwrap_or_default()))
    }

    /// Boots the image before, lets the checks leave their rows, counts and stops it.
    fn leave_rows(&mut self, before: ImageId) -> Result<Result<VolumeOfBefore, Reached<Upgrade>>> {
        let budget = self.facts.spec.budgets.ready_seconds;
        self.facts.first = self.boot_image(&before, "the image before", budget)?;
        let why = match &self.facts.first {
            Ok(boot) if boot.ready.is_some() => None,
            Ok(boot) => Some(one_line(&boot.last_words)),
            Err(why) => Some(why.detail.clone()),
        };
        if let Some(why) = why {
            return Ok(Err(Ok(Upgrade::BeforeFails(before, why))));
        }
        let (first, second) = (self.run_own_checks()?, self.run_own_checks()?);
        let both = first.iter().zip(&second);
        let passed = both.map(|(first, second)| (!first.failed(), !second.failed()));
        let passed = passed.collect();
        let answers = self.exec(&[SECRETS, TABLES], "the image before")?;
        let answers = answers.unwrap_or_default();
        self.learn_secrets(&answers);
        let tables = self.tables(&answers)?;
        if let Some(instance) = self.instance()
            && let Err(error) = settled(instance.container.stop(STOP_GRACE))?
        {
            return Ok(Err(Err(flaw(format!("stop the image before: {error}")))));
        }
        Ok(Ok(VolumeOfBefore {
            image: before,
            passed,
            tables,
        }))
    }

    /// Boots the image under test on it, and asks it.
    fn take_over(&mut self, left: VolumeOfBefore) -> Result<Reached<Upgrade>> {
        let boot = self.boot("upgrade", self.facts.spec.budgets.ready_seconds)?;
        let refusal = match self.instance() {
            Some(instance) if self.facts.death.is_some() => {
                let log = settled(instance.container.logs())?.unwrap_or_default();
                refusal(instance.container.exit_code()?, &log)
            }
            _ => None,
        };
        if let Some(why) = refusal {
            return Ok(Ok(Upgrade::Refused(left.image, why)));
        }
        Ok(match boot {
            Ok(boot) => Ok(self.ask_on_it(left, boot)?),
            Err(why) => Err(flaw(format!(
                "on a volume of the image before ({}): {}{}",
                left.image.short(),
                why.detail,
                self.facts
                    .death
                    .as_ref()
                    .map_or_else(String::new, |death| format!("; last lines: {}", death.last_lines))
            ))),
        })
    }

    fn ask_on_it(&mut self, left: VolumeOfBefore, boot: Boot) -> Result<Upgrade> {
        let (mut has, mut failed) = (Err(flaw("not reached: the app is not healthy")), Vec::new());
        if boot.ready.is_some() {
            // Counted first: the checks leave rows of their own.
            let answers = self.exec(&[TABLES], "upgrade")?;
            has = match answers {
                Ok(answers) => self.tables(&answers)?,
                Err(why) => Err(why),
            };
            self.facts.first = Ok(boot.clone());
            let checks = self.run_own_checks()?;
            failed = failed_again(&checks, &left.passed);
            self.watch_programs("the upgrade")?;
        }
        Ok(Upgrade::Started {
            before: left.image,
            checks: left.passed.iter().filter(|(first, _)| *first).count(),
            boot: Box::new(boot),
            had: left.tables,
            has,
            failed,
        })
    }
}

fn failed_again(checks: &[CheckResult], passed: &[(bool, bool)]) -> Vec<FailedAgain> {
    let all = checks.iter().zip(passed).filter(|(check, _)| check.failed());
    let again = all.map(|(check, (_, second))| FailedAgain {
        said: format!("{}: {}", check.name, check.detail),
        held: *second,
    });
    again.collect()
}

/// The spec with what `/etc/hive/image.json` of another image says of its app's
/// port, health endpoint and programs, and of its database.
fn spec_by(spec: &ImageSpec, document: &Value) -> ImageSpec {
    let mut theirs = spec.clone();
    let text = |at: &str| document.pointer(at).and_then(Value::as_str).map(str::to_owned);
    let port = document.pointer("/app/port").and_then(Value::as_u64);
    let port = port.and_then(|port| u16::try_from(port).ok());
    match (&mut theirs.app, port) {
        (Some(app), Some(port)) => {
            app.port = port;
            app.health_path = text("/app/health_path");
        }
        (app, None) if document.get("app") == Some(&Value::Null) => *app = None,
        // Of an app that this one has not there is nothing to ask.
        _ => {}
    }
    if let (Some(name), Some(role)) = (text("/database/name"), text("/database/role")) {
        (theirs.database.name, theirs.database.role) = (name, role);
        let elsewhere = text("/database/elsewhere").and_then(|name| ImageName::parse(&name).ok());
        theirs.database.elsewhere = elsewhere;
    }
    let programs = document.get("programs").cloned().unwrap_or_default();
    if let Ok(programs) = serde_json::from_value(programs) {
        theirs.programs = programs;
    }
    theirs
}

/// Why a container refused its volume. Only the entrypoint's own line counts, said
/// before there was an app whose words it could be.
fn refusal(code: Option<i64>, log: &str) -> Option<String> {
    let mut lines = log
        .lines()
        // `docker logs --timestamps` puts a time before each.
        .filter_map(|line| Some(line.split_once(' ')?.1))
        .filter(|line| !line.trim().is_empty());
    let line = lines.next().filter(|_| code == Some(EXIT_CONFIG))?;
    let why = line.strip_prefix(CANNOT_START)?;
    let is_refusal = REFUSALS.iter().any(|refusal| why.starts_with(refusal));
    (is_refusal && lines.next().is_none()).then(|| one_line(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use container::finding::seen;
    use std::time::Duration;

    #[test]
    fn refusals_are_what_the_container_says() {
        let code = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docker/rootfs/usr/local/lib/hive"
        );
        let said = [
            "hive_container/cluster.py",
            "hive_container/volume.py",
            "entrypoint",
        ]
        .map(|file| std::fs::read_to_string(format!("{code}/{file}")).unwrap())
        .concat();
        for words in REFUSALS.iter().chain([&CANNOT_START]) {
            assert!(said.contains(words), "{words}");
        }
    }

    #[test]
    fn only_the_containers_own_words_are_a_refusal() {
        let line = "2026-11-26T05:00:00Z hive: cannot start: the volume belongs to image 'a'; hint: x";
        let why = "the volume belongs to image 'a'; hint: x";
        assert_eq!(refusal(Some(78), line).as_deref(), Some(why));
        assert_eq!(refusal(Some(78), &format!("\n{line}\n")).as_deref(), Some(why));
        let app = "t app | hive: cannot start: the volume belongs to image 'a'";
        for (code, log) in [
            (Some(1), line.to_owned()),
            (None, line.to_owned()),
            (Some(78), app.to_owned()),
            (Some(78), format!("{app}\n{line}")),
            (Some(78), format!("{line}\nt hive: stopped: app")),
            (Some(78), "t hive: cannot start: the volume is full".to_owned()),
            (Some(78), String::new()),
        ] {
            assert_eq!(refusal(code, &log), None, "{log}");
        }
    }

    #[test]
    fn the_image_before_is_asked_by_its_own_file() {
        let spec = crate::sample::spec();
        let own = serde_json::json!({
            "app": { "port": 9001, "health_path": null },
            "database": { "name": "other", "role": "them" },
            "programs": [{ "name": "worker", "command": ["sleep", "inf"] }],
        });
        let theirs = spec_by(&spec, &own);
        let app = theirs.app.as_ref().unwrap();
        assert_eq!((app.port, &app.health_path), (9001, &None));
        let alone = spec_by(&spec, &serde_json::json!({ "app": null }));
        assert_eq!((alone.port(), alone.app), (5432, None));
        let database = (theirs.database.name.as_str(), theirs.database.role.as_str());
        assert_eq!(database, ("other", "them"));
        assert_eq!(theirs.programs[0].name, "worker");
        let elsewhere = serde_json::json!({
            "database": { "name": "other", "role": "them", "elsewhere": "postgres" },
        });
        let elsewhere = spec_by(&spec, &elsewhere).database.elsewhere;
        assert_eq!(elsewhere.unwrap().as_str(), "postgres");
        // Said again in full, it is the same spec.
        assert_eq!(spec_by(&theirs, &theirs.runtime()).runtime(), theirs.runtime());
        assert_eq!(spec_by(&spec, &Value::Null).runtime(), spec.runtime());
    }

    #[test]
    fn a_check_counts_again_where_it_can_be_asked_twice() {
        let check = |name: &str, judged| CheckResult::new(name, Duration::ZERO, judged);
        let checks = [
            check("fine", seen("")),
            check("held", Err(flaw("got 500"))),
            check("once", Err(flaw("got 409"))),
        ];
        let failed = failed_again(&checks, &[(true, true), (true, true), (true, false)]);
        let told: Vec<(&str, bool)> = failed.iter().map(|one| (one.said.as_str(), one.held)).collect();
        assert_eq!(told, [("held: got 500", true), ("once: got 409", false)]);
    }
}
