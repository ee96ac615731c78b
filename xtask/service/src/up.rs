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

use crate::findings::{self, Obstacle};
use crate::handle::ServiceHandle;
use crate::wanted::ServiceOptions;
use definition::spec::ImageSpec;
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
}

/// What became of a service.
#[derive(Clone, Debug)]
pub struct UpOutcome {
    /// The service's name, which is its image's.
    pub name: String,
    /// `nothing to do`, `started`, `replaced`.
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

/// Brings up all services at the same time. What is in the way of one of them
/// stops all, before anything has changed.
///
/// # Errors
/// All that is in the way; a service that does not get healthy; an engine that
/// does not answer; Ctrl-C.
pub fn up(host: &Host, engine: &Engine, orders: &[UpOrder]) -> Result<Vec<UpOutcome>> {
    let began = Instant::now();
    let mut prepared = Vec::new();
    let mut found: Vec<(String, Obstacle)> = Vec::new();
    let mut locks: Vec<HeldLock> = Vec::new();
    // In one order, so that two runs never wait for each other.
    let mut orders: Vec<&UpOrder> = orders.iter().collect();
    orders.sort_by(|one, other| one.spec.name.cmp(&other.spec.name));
    for order in &orders {
        let handle = ServiceHandle::of(&order.spec.name, engine, &host.runner);
        locks.push(handle.lock(host)?);
    }
    for order in orders {
        let handle = ServiceHandle::of(&order.spec.name, engine, &host.runner);
        let one = prepare::prepare(host, handle, order);
        match one {
            Ok(one) => {
                let name = order.spec.name.to_string();
                found.extend(
                    one.obstacles
                        .iter()
                        .cloned()
                        .map(|obstacle| (name.clone(), obstacle)),
                );
                prepared.push(one);
            }
            Err(error) => {
                prepared.iter().for_each(prepare::Prepared::take_back);
                return Err(error);
            }
        }
    }
    found.extend(prepare::clashes(&prepared));
    if !found.is_empty() {
        prepared.iter().for_each(prepare::Prepared::take_back);
        return Err(findings::failure(&found).into());
    }
    let outcomes = all_at_once(host, prepared, began);
    drop(locks);
    outcomes
}

fn all_at_once(host: &Host, prepared: Vec<prepare::Prepared>, began: Instant) -> Result<Vec<UpOutcome>> {
    let interrupt = host.runner.interrupt();
    let results: Vec<Result<UpOutcome>> = std::thread::scope(|scope| {
        let threads: Vec<_> = prepared
            .into_iter()
            .filter_map(prepare::Prepared::apart)
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
