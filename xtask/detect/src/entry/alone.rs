//! Apps that have a server of their own, and what starts them.

use super::{AppObject, Framework};
use crate::modules::{Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement::{Call, text_of};
use crate::tree::is_of_the_app;

/// Notes in an app with a server of its own the module that starts it: what runs it, in its own
/// file before others, else its own module. Returns the port that is named there.
pub(super) fn take(modules: &Modules<'_>, app: &mut Detected<AppObject>) -> Option<Detected<u16>> {
    let framework = app.value.framework;
    if !framework.runs_by_itself() {
        return None;
    }
    let is_own = |module: &&Module<'_>| module.path == app.place.file;
    let (own, others): (Vec<_>, Vec<_>) = modules.all.iter().partition(is_own);
    let all = own.into_iter().chain(others);
    let start = all
        .filter(|module| is_of_the_app(module.path))
        .find_map(|module| {
            let mut calls = module.calls();
            let (line, call) = calls.find(|(_, call)| runs(framework, modules, module, call))?;
            Some((module, line, port(&call)))
        });
    let own_module = app.value.import.split(':').next().unwrap_or_default().to_owned();
    let (name, port) = match start {
        Some((module, line, port)) => {
            let path = module.path.strip_prefix(&app.value.path).unwrap_or(module.path);
            let name = super::dotted_name(path.trim_start_matches('/'), "");
            let place = Place::new(module.path, module.number(line));
            (name, port.map(|port| Detected::sure(port, place)))
        }
        None => (own_module, None),
    };
    app.value.started_by = Some(name);
    port
}

/// Whether a call serves for ever: `web.run_app(app)`, `app.listen(8888)`.
fn runs(framework: Framework, modules: &Modules<'_>, module: &Module<'_>, call: &Call<'_, '_>) -> bool {
    match framework {
        Framework::Aiohttp => {
            let is_its = |name: &str| name == "aiohttp.web.run_app" || name == "aiohttp.web._run_app";
            call.last() == "TCPSite"
                || matches!(modules.meaning(module, &call.path), Meaning::Outside(name) if is_its(&name))
        }
        Framework::Tornado => call.last() == "listen",
        _ => false,
    }
}

/// The port that such a call names by a number.
fn port(call: &Call<'_, '_>) -> Option<u16> {
    let position = if call.last() == "listen" { 0 } else { 2 };
    match call.argument("port", position)? {
        [number] if text_of(std::slice::from_ref(number)).is_none() => number.text.parse().ok(),
        _ => None,
    }
}
