//! `up`: whatever a service is, it is what is wanted afterwards, or what it was
//! before.
//!
//! Nothing that runs is touched before all services have been looked at. A
//! container that is replaced stays, stopped and under another name, until the new
//! one is healthy; a run that was killed in between is finished, or taken back, by
//! the next one ([`mend`]).

mod mend;
mod prepare;
mod replace;

use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use self::prepare::{Prepared, Stage};
use crate::database::DatabaseAccess;
use crate::findings::{self, Obstacle};
use crate::handle::ServiceHandle;
use crate::wanted::ServiceOptions;
use definition::spec::ImageSpec;
use definition::spec::names::ImageName;
use engine::{Engine, Image};
use failure::Failure;
use host::Host;
use host::lock::HeldLock;

/// What is asked for of one service.
#[derive(Clone, Debug)]
pub struct UpOrder {
    /// What the image has to be.
    pub spec: ImageSpec,
    /// The image as the user names it.
    pub reference: String,
    /// The image; `None` where the engine has none of that name.
    pub image: Option<Image>,
    /// Whether it has a proof.
    pub proved: bool,
    /// Whether it is started without a proof, too.
    pub unproved: bool,
    /// How it is to run.
    pub options: ServiceOptions,
    /// Of an app alone that is not told where its database is: the service that has
    /// it. Where that is among the orders, too, it is brought up before.
    pub database: Option<ImageName>,
    /// Whether its container stays as it is, image and settings included, where it has
    /// one: only another service asks for it.
    pub keeps: bool,
}

impl UpOrder {
    /// How it is to run, with the port that it is published on where nobody has named one.
    pub(crate) fn published(&self) -> ServiceOptions {
        let mut options = self.options.clone();
        if self.spec.app.is_none() {
            // Inside it is PostgreSQL's, which the machine may have on it, too.
            options.port.get_or_insert(self.spec.published_port());
        }
        options
    }
}

/// What became of a service.
#[derive(Clone, Debug)]
pub struct UpOutcome {
    /// The service's name, which is its image's.
    pub name: String,
    /// `nothing to do`, `started`, `replaced`, `updated`.
    pub done: &'static str,
    /// From the order to healthy.
    pub took: Duration,
    /// Where its app is published.
    pub address: String,
}

/// What has to happen to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
enum UpStep {
    /// It is what it has to be.
    Nothing,
    /// It runs and is not healthy yet.
    Wait,
    /// It is there and does not run.
    Start,
    /// There is no container of the service.
    Create,
    /// It has to be another container, for these differences.
    Replace(Vec<String>),
}

/// Puts the image of an order in the place of the one that runs, with these options and
/// with a way back that has the data, too: it knows more of data than this crate.
pub type ImageUpdate<'a> = &'a dyn Fn(&UpOrder, &ServiceHandle, &ServiceOptions) -> Result<()>;

/// Brings up all services, those at the same time that need no other one. What is in
/// the way of one of them stops all, before anything has changed. A healthy service whose
/// image has changed gets the new one by `update`.
///
/// # Errors
/// All that is in the way; a service that does not get healthy; an engine that
/// does not answer; Ctrl-C.
pub fn up(
    host: &Host,
    engine: &Engine,
    orders: &[UpOrder],
    update: ImageUpdate<'_>,
) -> Result<Vec<UpOutcome>> {
    let began = Instant::now();
    let mut locks: Vec<HeldLock> = Vec::new();
    // In one order, so that two runs never wait for each other.
    let mut orders: Vec<&UpOrder> = orders.iter().collect();
    orders.sort_by(|one, other| one.spec.name.cmp(&other.spec.name));
    for order in &orders {
        let handle = ServiceHandle::of(&order.spec.name, engine, &host.runner);
        locks.push(handle.lock(host)?);
    }
    let (first, second): (Vec<&UpOrder>, Vec<&UpOrder>) =
        orders.into_iter().partition(|order| order.database.is_none());
    let looked_at = looked_at(host, engine, &first, &second)?;
    let (looked_at, updated) = updated(host, looked_at, &first, update)?;
    let mut outcomes = all_at_once(host, looked_at, began)?;
    for outcome in outcomes.iter_mut().filter(|one| updated.contains(&one.name)) {
        outcome.done = "updated";
    }
    if !second.is_empty() {
        let prepared = beside(host, engine, &second)?;
        outcomes.extend(all_at_once(host, prepared, began)?);
    }
    drop(locks);
    Ok(outcomes)
}

/// Prepares the first, and looks at those that come after them as far as that can be
/// without their database: whatever is in the way is told before anything has changed.
fn looked_at(host: &Host, engine: &Engine, first: &[&UpOrder], second: &[&UpOrder]) -> Result<Vec<Prepared>> {
    let mut all = Vec::new();
    for order in first.iter().chain(second) {
        let handle = ServiceHandle::of(&order.spec.name, engine, &host.runner);
        let stage = match order.database {
            None => Stage::Make(None),
            Some(_) => Stage::Look,
        };
        all.push(prepare::prepare(host, handle, order, stage));
    }
    let mut all = whole(all)?;
    let (first, second) = (all.drain(..first.len()).collect(), all);
    // Nothing was made of these yet.
    second.iter().for_each(Prepared::take_back);
    Ok(first)
}

/// Has those updated that run another image on data; then all else is as wanted, too. The
/// names of those that were.
fn updated(
    host: &Host,
    mut looked_at: Vec<Prepared>,
    orders: &[&UpOrder],
    update: ImageUpdate<'_>,
) -> Result<(Vec<Prepared>, Vec<String>)> {
    let mut names = Vec::new();
    for n in 0..looked_at.len() {
        let (one, order) = (&looked_at[n], orders[n]);
        let Some(handle) = one.handle_of_update() else {
            continue;
        };
        one.take_back();
        let done = update(order, &handle, &order.published())
            .and_then(|()| prepare::prepare(host, handle.clone(), order, Stage::Make(None)));
        match done {
            Ok(again) => looked_at[n] = again,
            Err(error) => {
                looked_at.iter().for_each(Prepared::take_back);
                return Err(error);
            }
        }
        names.push(handle.name.to_string());
    }
    Ok((whole(looked_at.into_iter().map(Ok).collect())?, names))
}

/// Prepares those whose database runs by now.
fn beside(host: &Host, engine: &Engine, orders: &[&UpOrder]) -> Result<Vec<Prepared>> {
    let one = |order: &UpOrder| {
        let handle = |name: &ImageName| ServiceHandle::of(name, engine, &host.runner);
        let database = order
            .database
            .as_ref()
            .map(|name| DatabaseAccess::of(&handle(name)));
        let database = database.transpose()?;
        prepare::prepare(host, handle(&order.spec.name), order, Stage::Make(database))
    };
    whole(orders.iter().map(|order| one(order)).collect())
}

/// All of them with nothing in the way, or none.
fn whole(all: Vec<Result<Prepared>>) -> Result<Vec<Prepared>> {
    let (mut prepared, mut failed) = (Vec::new(), None);
    for one in all {
        match one {
            Ok(one) => prepared.push(one),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let mut found: Vec<(String, Obstacle)> = prepared.iter().flat_map(Prepared::found).collect();
    found.extend(prepare::clashes(&prepared));
    if failed.is_none() && found.is_empty() {
        return Ok(prepared);
    }
    prepared.iter().for_each(Prepared::take_back);
    Err(failed.unwrap_or_else(|| findings::failure(&found).into()))
}

fn all_at_once(host: &Host, prepared: Vec<Prepared>, began: Instant) -> Result<Vec<UpOutcome>> {
    let interrupt = host.runner.interrupt();
    let results: Vec<Result<UpOutcome>> = std::thread::scope(|scope| {
        let threads: Vec<_> = prepared
            .into_iter()
            .filter_map(Prepared::apart)
            .map(|(handle, ready)| {
                let (interrupt, report, state) = (interrupt.clone(), host.report.clone(), host.state_dir());
                // A runner stays in its thread.
                let ServiceHandle { name, engine, .. } = handle;
                scope.spawn(move || {
                    let runner = interrupt.runner()?;
                    let handle = ServiceHandle { name, engine, runner };
                    ready.on_record(&handle, &report, &state, began)
                })
            })
            .collect();
        threads.into_iter().map(joined).collect()
    });
    together(results)
}

/// What a thread gave.
///
/// # Errors
/// Its own error, or that it panicked.
pub fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread
        .join()
        .unwrap_or_else(|_| Err(anyhow!("a thread that worked on a service panicked")))
}

/// All good outcomes, or one failure of all bad ones.
///
/// # Errors
/// As the results; the first one decides the exit code.
pub fn together<T>(results: Vec<Result<T>>) -> Result<Vec<T>> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(error) => bad.push(error),
        }
    }
    match bad.len() {
        0 => Ok(good),
        1 => Err(bad.remove(0)),
        _ => {
            let kind = failure::kind(&bad[0]);
            let messages: Vec<String> = bad.iter().map(|error| format!("{error:#}")).collect();
            let mut failure = Failure::new(kind, messages.join("\n"));
            let hints = bad.iter().filter_map(|error| error.downcast_ref::<Failure>());
            failure.hints = hints.flat_map(|failure| failure.hints.clone()).collect();
            Err(failure.into())
        }
    }
}
