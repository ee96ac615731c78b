//! Looks at one service and gets the container ready that may take the place of
//! the one that runs, which goes on meanwhile.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::mend::{Mended, mend};
use super::{UpOrder, UpStep};
use crate::database::DatabaseAccess;
use crate::findings::{self, Obstacle};
use crate::handle::ServiceHandle;
use crate::next;
use crate::seen::{Condition, ContainerPlace, SeenContainer};
use crate::wait;
use crate::wanted::{self, WantedContainer, differences};
use host::Host;

/// A service that was looked at.
#[derive(Debug)]
pub(super) struct Prepared {
    handle: ServiceHandle,
    pub(super) obstacles: Vec<Obstacle>,
    mended: Mended,
    /// Made by this run, and gone with it where nothing comes of it.
    new_volume: bool,
    new_archive: bool,
    new_network: bool,
    rest: Option<Ready>,
}

/// What is known once nothing is in the way.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) step: UpStep,
    pub(super) wanted: WantedContainer,
    pub(super) main: Option<SeenContainer>,
    /// The one before is still there, under its other name.
    pub(super) on_trial: bool,
    pub(super) proved: bool,
    pub(super) reference: String,
    /// Variables that the image was proved with stand-ins for, and that nobody has given.
    pub(super) lacks: Vec<String>,
    pub(super) limit: Duration,
    /// What is spoken on its port, as a URL begins.
    pub(super) protocol: &'static str,
}

impl Ready {
    /// Where the app is published: `127.0.0.1:48886`.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.wanted.bind, self.wanted.port)
    }
}

/// How far a service is prepared.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Its database is to come: what can be said without it.
    Look,
    /// All of it; of an app alone with the way to its database.
    Make(Option<DatabaseAccess>),
}

/// Looks at everything and makes what can be made beside what runs.
pub(super) fn prepare(host: &Host, handle: ServiceHandle, order: &UpOrder, stage: Stage) -> Result<Prepared> {
    let kept = kept(&handle, order)?;
    let order = kept.as_ref().unwrap_or(order);
    let mut one = Prepared {
        handle,
        obstacles: Vec::new(),
        mended: Mended::Whole,
        new_volume: false,
        new_archive: false,
        new_network: false,
        rest: None,
    };
    let (is_look, database) = match stage {
        Stage::Look => (true, None),
        Stage::Make(database) => (false, database),
    };
    let Some(mut wanted) = one.wanted(order) else {
        return Ok(one);
    };
    if let Some(database) = &database {
        let password = wanted.secrets.entry(wanted::DATABASE_PASSWORD.to_owned());
        password.or_insert_with(|| database.password.clone());
    }
    one.mended = mend(&one.handle, &wanted.settings(), is_look)?;
    if one.mended != Mended::Whole {
        let what = format!(
            "{}: an `up` that was ended before its time is put right",
            wanted.name
        );
        host.report.step("mend", what);
    }
    let mut main = match one.handle.place()? {
        ContainerPlace::Own(seen) => Some(*seen),
        ContainerPlace::Empty | ContainerPlace::Foreign(_) => None,
    };
    if let (true, Some(main)) = (is_look, &mut main) {
        main.forget_password();
    }
    let step = match step(main.as_ref(), &wanted, kept.is_some()) {
        // A container knows its network by an ID that does not come back.
        UpStep::Start if one.has_lost_network(main.as_ref())? => {
            UpStep::Replace(vec![format!("network {} is gone", one.handle.name.network())])
        }
        UpStep::Nothing | UpStep::Wait | UpStep::Start
            if !shares_network(main.as_ref(), database.as_ref()) =>
        {
            UpStep::Replace(vec!["it is on no network of its database".to_owned()])
        }
        step => step,
    };
    if !order.proved && !order.unproved && step != UpStep::Nothing {
        one.obstacles.push(no_proof(order, &wanted));
    }
    if main
        .as_ref()
        .is_some_and(|main| main.condition == Condition::Paused)
    {
        let name = &wanted.name;
        one.obstacles.push(
            Obstacle::environment(format!("container {name} is paused"))
                .hint(format!("docker unpause {name}")),
        );
    }
    if matches!(step, UpStep::Replace(_)) {
        one.obstacles.extend(findings::data_elsewhere(&one.handle)?);
    }
    if matches!(step, UpStep::Create | UpStep::Replace(_)) {
        one.obstacles.extend(findings::foreign_containers(&one.handle)?);
        one.obstacles.extend(findings::foreign_network(&one.handle)?);
        one.obstacles
            .extend(findings::ports(&one.handle, &wanted, main.as_ref())?);
        if !is_look {
            one.make_next(&wanted, database.as_ref())?;
        }
    }
    if step == UpStep::Start {
        one.obstacles
            .extend(findings::ports(&one.handle, &wanted, main.as_ref())?);
        one.obstacles
            .extend(findings::volume(&one.handle, one.handle.name.as_str(), &wanted)?);
    }
    one.rest = Some(Ready {
        step,
        main,
        on_trial: one.mended == Mended::OnTrial,
        proved: order.proved,
        reference: order.reference.clone(),
        lacks: lacks(&order.spec.given_at_start(), &order.options.environment),
        limit: wait::limit(&order.spec.budgets),
        protocol: match order.spec.app {
            Some(_) => "http",
            None => "postgresql",
        },
        wanted,
    });
    Ok(one)
}

/// The order for what is there, of a service whose container stays as it is.
fn kept(handle: &ServiceHandle, order: &UpOrder) -> Result<Option<UpOrder>> {
    let ContainerPlace::Own(seen) = handle.place()? else {
        return Ok(None);
    };
    if !order.keeps {
        return Ok(None);
    }
    let reference = seen.image_id.to_string();
    Ok(Some(UpOrder {
        options: next::options(handle, &seen)?,
        image: handle.engine.image(&handle.runner, &reference)?,
        reference,
        ..order.clone()
    }))
}

/// Of what an image was proved with stand-ins for, what its container is to have no value of.
/// The path of a file stands for one in many apps.
fn lacks(stand_ins: &[&str], given: &BTreeMap<String, String>) -> Vec<String> {
    let is_given = |name: &str| given.contains_key(name) || given.contains_key(&format!("{name}_FILE"));
    let names = stand_ins.iter().filter(|name| !is_given(name));
    names.map(|name| (*name).to_owned()).collect()
}

/// What has to happen, by what is there and what is wanted; to what is `kept` as it is
/// no more than a start.
fn step(main: Option<&SeenContainer>, wanted: &WantedContainer, kept: bool) -> UpStep {
    let Some(main) = main else {
        return UpStep::Create;
    };
    let settings = wanted.settings();
    if !kept && !main.is(&settings) {
        let mut differs = differences(&main.settings(&settings), &settings);
        if main.by_compose {
            differs.push("docker compose made it: what its file says goes with it".to_owned());
        }
        return UpStep::Replace(differs);
    }
    match main.condition {
        // The last word of a start that was cut off: see `trial`.
        Condition::Healthy if main.restart_policy == crate::trial::POLICY => UpStep::Nothing,
        Condition::Healthy | Condition::Starting | Condition::Unhealthy | Condition::Running => UpStep::Wait,
        _ => UpStep::Start,
    }
}

/// Whether a container reaches the database that it is to use.
fn shares_network(main: Option<&SeenContainer>, database: Option<&DatabaseAccess>) -> bool {
    let (Some(main), Some(database)) = (main, database) else {
        return true;
    };
    let of_database = |(name, id): (&String, &String)| database.networks.get(name) == Some(id);
    main.networks.iter().any(of_database)
}

/// Ports that more than one of these services is to have.
pub(super) fn clashes(all: &[Prepared]) -> Vec<(String, Obstacle)> {
    let wanted: Vec<(&str, SocketAddr)> = all
        .iter()
        .filter_map(|one| Some((one.handle.name.as_str(), one.rest.as_ref()?.address())))
        .collect();
    let mut found = Vec::new();
    for (n, (name, address)) in wanted.iter().enumerate() {
        let Some((other, _)) = wanted[..n].iter().find(|(_, before)| before == address) else {
            continue;
        };
        let hint = format!("give one a port of its own: cargo xtask up {name} --port PORT");
        let clash = Obstacle::usage(format!("port {address} is what {other} is to have"));
        found.push(((*name).to_owned(), clash.hint(hint)));
    }
    found
}

fn no_proof(order: &UpOrder, wanted: &WantedContainer) -> Obstacle {
    let name = &order.spec.name;
    Obstacle::usage(format!(
        "{} ({}) has no proof",
        order.reference,
        wanted.image_id.short()
    ))
    .hint(format!(
        "prove it: cargo xtask build-images {name}; or start it all the same: cargo xtask up {name} --unproved"
    ))
}

impl Prepared {
    /// What is in the way, with the service that it is in the way of.
    pub(super) fn found(&self) -> Vec<(String, Obstacle)> {
        let name = self.handle.name.as_str();
        let all = self.obstacles.iter().cloned();
        all.map(|obstacle| (name.to_owned(), obstacle)).collect()
    }

    fn wanted(&mut self, order: &UpOrder) -> Option<WantedContainer> {
        let Some(image) = &order.image else {
            let missing = Obstacle::usage(format!("the engine has no image {}", order.reference));
            let hint = format!("build it: cargo xtask build-images {}", order.spec.name);
            self.obstacles.push(missing.hint(hint));
            return None;
        };
        match WantedContainer::of(&self.handle.name, image, &order.published()) {
            Ok(wanted) => Some(wanted),
            Err(problems) => {
                self.obstacles.extend(problems.into_iter().map(Obstacle::usage));
                None
            }
        }
    }

    /// Makes the container under its name for later, with volume and network where
    /// they are missing, and looks at the volume through it.
    fn make_next(&mut self, wanted: &WantedContainer, database: Option<&DatabaseAccess>) -> Result<()> {
        let name = self.handle.name.clone();
        let (engine, runner) = (&self.handle.engine, &self.handle.runner);
        if !self.obstacles.is_empty() && self.foreign_next()? {
            return Ok(());
        }
        if wanted.keeps_data && engine.volume(runner, &name.volume())?.is_none() {
            engine.create_volume(runner, &name.volume(), &name.volume_labels())?;
            self.new_volume = true;
        }
        self.new_archive = self.handle.make_archive(wanted)?;
        if engine.network(runner, &name.network())?.is_none() {
            engine.create_network(runner, &name.network(), &name.network_labels())?;
            self.new_network = true;
        }
        let made = self.handle.create(&name.next(), wanted);
        let connected = made.and_then(|()| match database {
            Some(database) => self.connect(database),
            None => Ok(()),
        });
        let looked = connected.and_then(|()| findings::volume(&self.handle, &name.next(), wanted));
        match looked {
            Ok(found) => self.obstacles.extend(found),
            Err(error) => {
                self.take_back();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Puts the container for later on the networks of its database, where its own is
    /// none of them.
    fn connect(&self, database: &DatabaseAccess) -> Result<()> {
        let ServiceHandle { name, engine, runner } = &self.handle;
        if database.networks.contains_key(&name.network()) {
            return Ok(());
        }
        // On the engine's own bridge nobody has a name.
        let mut networks = database.networks.keys().filter(|name| *name != "bridge");
        networks.try_for_each(|network| engine.connect_network(runner, network, &name.next()))
    }

    /// Whether the network that a container had is no longer there, or is another
    /// one of the same name.
    fn has_lost_network(&self, main: Option<&SeenContainer>) -> Result<bool> {
        let ServiceHandle { name, engine, runner } = &self.handle;
        let network = engine.network(runner, &name.network())?;
        let id = network.as_ref().and_then(|network| network.get("Id")?.as_str());
        let had = main.and_then(|main| main.networks.get(&name.network()));
        let had = had.filter(|had| !had.is_empty());
        Ok(id.is_none() || had.is_some_and(|had| id != Some(had)))
    }

    fn foreign_next(&self) -> Result<bool> {
        let place = self.handle.place_of(&self.handle.name.next())?;
        Ok(matches!(place, ContainerPlace::Foreign(_)))
    }

    /// As it was before, as far as this run has changed anything. What cannot be
    /// removed now is so by the next run.
    pub(super) fn take_back(&self) {
        let handle = self.handle.for_cleanup();
        let name = &handle.name;
        if handle
            .place_of(&name.next())
            .is_ok_and(|place| place.own().is_some())
        {
            handle.remove(&name.next()).ok();
        }
        if self.new_volume {
            handle.engine.remove_volume(&handle.runner, &name.volume()).ok();
        }
        if self.new_archive {
            handle.engine.remove_volume(&handle.runner, &name.archive()).ok();
        }
        if self.new_network {
            handle.engine.remove_network(&handle.runner, &name.network()).ok();
        }
        // It ran when a run that was killed stopped it.
        if self.mended == Mended::Returned {
            handle.container(name.as_str()).start().ok();
        }
    }

    /// The handle, where another image is to work on the data of a service that works: its
    /// migrations are tried out before, and what it makes of the data can be taken back.
    /// What is not healthy has nothing that it could go back to.
    pub(super) fn handle_of_update(&self) -> Option<ServiceHandle> {
        let ready = self.rest.as_ref()?;
        let main = ready.main.as_ref()?;
        let works = main.condition == Condition::Healthy && !main.by_compose && !ready.on_trial;
        let changes = matches!(ready.step, UpStep::Replace(_)) && main.image_id != ready.wanted.image_id;
        (works && changes && ready.wanted.keeps_data).then(|| self.handle.clone())
    }

    /// The handle, and what is left to do with it.
    pub(super) fn apart(self) -> Option<(ServiceHandle, Ready)> {
        Some((self.handle, self.rest?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::WANTED_LABEL;
    use crate::sample_ids::image_id;
    use crate::wanted::ServiceOptions;
    use container::boot::MOUNT;
    use definition::spec::names::ImageName;
    use engine::Image;
    use serde_json::json;

    fn wanted(port: Option<u16>) -> WantedContainer {
        let document = json!({
            "Id": image_id("0123456789abcdef"),
            "Config": { "Labels": { "dev.hive.image": "genie" }, "ExposedPorts": { "48886/tcp": {} }, "Volumes": { MOUNT: {} } },
        });
        let image = Image::from_document(document).unwrap();
        let name = crate::names::ServiceName::of(&ImageName::parse("genie").unwrap());
        let options = ServiceOptions {
            port,
            ..ServiceOptions::default()
        };
        WantedContainer::of(&name, &image, &options).unwrap()
    }

    fn seen(state: &serde_json::Value, policy: &str) -> SeenContainer {
        let label = json!(wanted(None).settings()).to_string();
        let inspect = json!({
            "Image": image_id("0123456789abcdef"),
            "State": state,
            "Config": { "Labels": { WANTED_LABEL: label } },
            "HostConfig": { "RestartPolicy": { "Name": policy } },
        });
        SeenContainer::of(&inspect).unwrap()
    }

    #[test]
    fn what_has_to_happen_follows_from_what_is_there() {
        let healthy = json!({ "Status": "running", "Health": { "Status": "healthy" } });
        let starting = json!({ "Status": "running", "Health": { "Status": "starting" } });
        let ended = json!({ "Status": "exited", "ExitCode": 78 });
        let same = wanted(None);
        assert_eq!(step(None, &same, false), UpStep::Create);
        assert_eq!(
            step(Some(&seen(&healthy, "unless-stopped")), &same, false),
            UpStep::Nothing
        );
        assert_eq!(step(Some(&seen(&healthy, "no")), &same, false), UpStep::Wait);
        assert_eq!(step(Some(&seen(&starting, "no")), &same, false), UpStep::Wait);
        assert_eq!(
            step(Some(&seen(&ended, "unless-stopped")), &same, false),
            UpStep::Start
        );
        let differs = vec!["port 127.0.0.1:48886 → 127.0.0.1:5000".to_owned()];
        assert_eq!(
            step(
                Some(&seen(&healthy, "unless-stopped")),
                &wanted(Some(5000)),
                false
            ),
            UpStep::Replace(differs)
        );
        // What only another service needs stays.
        let kept =
            |state: &serde_json::Value| step(Some(&seen(state, "unless-stopped")), &wanted(Some(5000)), true);
        assert_eq!(kept(&healthy), UpStep::Nothing);
        assert_eq!(kept(&ended), UpStep::Start);
    }

    #[test]
    fn what_nobody_has_given_is_lacking_and_a_file_is_given() {
        let given = ["DOMAIN", "LLM_KEY_FILE"].map(|name| (name.to_owned(), "x".to_owned()));
        let lacking = lacks(&["DOMAIN", "LLM_KEY", "MAIL_FROM"], &BTreeMap::from(given));
        assert_eq!(lacking, ["MAIL_FROM"]);
    }

    #[test]
    fn a_container_of_compose_stays_while_image_and_address_are_what_is_wanted() {
        let made = |image: &str| {
            let inspect = json!({
                "Image": image_id(image),
                "State": { "Status": "running", "Health": { "Status": "healthy" } },
                "Config": { "Labels": { "com.docker.compose.project": "hive-genie" } },
                "HostConfig": {
                    "RestartPolicy": { "Name": "unless-stopped" },
                    "PortBindings": { "48886/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "48886" }] },
                },
            });
            SeenContainer::of(&inspect).unwrap()
        };
        let (same, other) = ("0123456789abcdef", "fedcba9876543210");
        assert_eq!(step(Some(&made(same)), &wanted(None), false), UpStep::Nothing);
        let goes = "docker compose made it: what its file says goes with it";
        for (image, port, differs) in [
            (other, None, "image fedcba987654 → 0123456789ab"),
            (same, Some(5000), "port 127.0.0.1:48886 → 127.0.0.1:5000"),
        ] {
            let step = step(Some(&made(image)), &wanted(port), false);
            assert_eq!(step, UpStep::Replace(vec![differs.to_owned(), goes.to_owned()]));
        }
    }
}
