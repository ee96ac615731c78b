//! Whether the app's folder has what `app.import` names: told before anything is
//! built, with what it has instead.

use std::path::Path;

use serde_json::Value;

use definition::spec::load::{self, APP_FILE};
use definition::spec::{App, ImageSpec};
use detect::import;
use host::Host;

/// What is wrong with the import of a spec, in a sentence.
pub(crate) fn problem(host: &Host, spec: &ImageSpec, app: &App, folder: &Path) -> Option<String> {
    // With a path of its own the module may be anywhere.
    if app.command.is_some() || app.environment.contains_key("PYTHONPATH") {
        return None;
    }
    let wrong = import::check(folder, &app.import)?;
    let shown = host.shown(folder);
    let from = said_in(host, spec, folder);
    let mut sentence = format!(
        "{shown}: {} (`app.import` of {from} is {:?})",
        wrong.missing, app.import
    );
    if let Some(instead) = wrong.instead {
        let app = if instead.factory {
            serde_json::json!({ "app": { "import": instead.import, "factory": true } })
        } else {
            serde_json::json!({ "app": { "import": instead.import } })
        };
        sentence += &format!(
            "; {} has {}: run `cargo xtask new {shown}`, or put {app} into {shown}/{APP_FILE}",
            instead.place, instead.import
        );
    }
    Some(sentence)
}

/// The file that decides the import, the last word first.
fn said_in(host: &Host, spec: &ImageSpec, folder: &Path) -> String {
    let says = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let value: Value = serde_json::from_str(load::without_mark(&text)).unwrap_or_default();
        value.pointer("/app/import").is_some()
    };
    let own = folder.join(APP_FILE);
    if says(&host.root.join(&spec.file)) {
        spec.file.clone()
    } else if says(&own) {
        host.shown(&own)
    } else {
        "images/defaults.json".to_owned()
    }
}
