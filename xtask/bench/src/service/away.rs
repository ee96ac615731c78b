//! For how long nobody answers while a service gets another image.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::super::Bench;
use super::super::clock::Timed;
use super::super::row::Measured;
use super::UP;
use super::fixture::{BenchedService, ServicesFixture};
use container::http::Client;

/// Between two requests to the service.
const PAUSE: Duration = Duration::from_millis(5);

/// For an answer after the command has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// There and back, in turns; each way is a sample's command.
pub(crate) fn new_image(bench: &Bench<'_>, fixture: &ServicesFixture) -> Result<Measured> {
    fixture.both_up(bench)?;
    let (ours, peer) = (fixture.other(&fixture.ours)?, fixture.other(&fixture.peer)?);
    let (mut of_ours, mut of_peer) = (Vec::new(), Vec::new());
    for turn in 0..bench.runs {
        bench.host.runner.check_interrupt()?;
        let there = turn % 2 == 0;
        let up = match there {
            true => fixture.up("up", &["--no-rehearsal", "--unproved", "--image", &ours]),
            false => fixture.up("up", &["--no-rehearsal"]),
        };
        of_ours.push(gap(bench, &fixture.ours, &up)?);
        let compose = fixture.compose(UP, &["up", "--detach"]);
        let compose = match there {
            true => compose.env(fixture.variable("IMAGE"), &peer),
            false => compose,
        };
        of_peer.push(gap(bench, &fixture.peer, &compose)?);
    }
    Ok(Measured::new("up", of_ours).peer(UP, of_peer))
}

/// The longest time between two answers from before a command until after it, in
/// seconds.
pub(crate) fn gap(bench: &Bench<'_>, service: &BenchedService, command: &Timed) -> Result<f64> {
    Ok(watch(bench, service, command, PAUSE)?.longest.as_secs_f64())
}

/// What a client sees while a command runs.
pub(crate) struct Watch {
    /// The longest time between two answers.
    pub(crate) longest: Duration,
    /// How long each answer took.
    pub(crate) took: Vec<Duration>,
}

/// Asks a service again and again from before a command until after it.
pub(crate) fn watch(
    bench: &Bench<'_>,
    service: &BenchedService,
    command: &Timed,
    pause: Duration,
) -> Result<Watch> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, service.port));
    let app = service
        .spec
        .app
        .as_ref()
        .context("a database alone has no peer here")?;
    let path = app.asked_path();
    let answers = || {
        let reply = Client::at(address, false).get(path, Duration::from_secs(1));
        reply.is_ok_and(|reply| app.is_answer(reply.status))
    };
    if !answers() {
        bail!("{} does not answer on {address}", service.spec.name);
    }
    command.make_ready(&bench.host.runner)?;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = Watch {
                longest: Duration::ZERO,
                took: Vec::new(),
            };
            let mut last = Instant::now();
            loop {
                let over = ended.load(Ordering::Acquire);
                let asked = Instant::now();
                if answers() {
                    seen.took.push(asked.elapsed());
                    seen.longest = seen.longest.max(last.elapsed());
                    last = Instant::now();
                    if over {
                        return Some(seen);
                    }
                } else if over && last.elapsed() > PATIENCE {
                    return None;
                }
                std::thread::sleep(pause);
            }
        });
        let ran = command.run(&bench.host.runner);
        ended.store(true, Ordering::Release);
        let seen = watch.join();
        ran?;
        match seen {
            Ok(Some(seen)) => Ok(seen),
            _ => bail!("{} does not answer any more", service.spec.name),
        }
    })
}
