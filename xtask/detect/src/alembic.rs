//! Where Alembic's scripts have the URL of the database from.

use crate::modules::Modules;
use crate::place::Place;
use crate::python::statement::Call;
use crate::python::{Token, TokenKind};
use crate::tree::Tree;

/// The key of `alembic.ini`, and of the settings that it becomes.
const KEY: &str = "sqlalchemy.url";

/// A URL of PostgreSQL that stands in the settings, and that nothing puts another one in
/// place of.
pub(crate) struct FixedUrl {
    /// Such as `postgresql+asyncpg`.
    scheme: String,
    pub(crate) place: Place,
}

impl FixedUrl {
    /// A program of Python's that puts the image's database in its place, and migrates up
    /// to `head`. It is run in the folder from which the settings are `ini`.
    pub(crate) fn upgrade(&self, ini: &str, head: &str) -> String {
        let ini = ini.replace('\\', "\\\\").replace('\'', "\\'");
        format!(
            "import os; from alembic import command, config; c = config.Config('{ini}'); \
             c.set_main_option('{KEY}', '{}://' + os.environ['DATABASE_URL'].split('://')[1].replace('%', '%%')); \
             command.upgrade(c, '{head}')",
            self.scheme
        )
    }
}

/// The URL of `settings`, an `alembic.ini`, where `env.py` in the folder of its scripts
/// takes that one alone.
pub(crate) fn fixed_url(
    tree: &Tree,
    modules: &Modules<'_>,
    settings: &str,
    scripts: &str,
) -> Option<FixedUrl> {
    let text = tree.text(settings)?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(KEY)?.trim_start().strip_prefix('='))?;
    // One that is put together from other settings has no value of its own.
    let (scheme, _) = value.trim().split_once("://").filter(|_| !value.contains("%("))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '+';
    let is_ours = scheme.starts_with("postgres") && scheme.chars().all(plain);
    let environment = modules.at(&format!("{scripts}/env.py")).filter(|_| is_ours)?;
    let mut of_settings = environment
        .calls()
        .filter(|(_, call)| ["engine_from_config", "async_engine_from_config"].contains(&call.last()));
    let (_, engine) = of_settings.next()?;
    if engine.named("url").is_some() || environment.calls().any(|(_, call)| has_another(&call)) {
        return None;
    }
    // Whatever else speaks of the key than asking for it may put another value there.
    let key = |token: &&Token<'_>| token.kind == TokenKind::Text && token.text == KEY;
    let spoken = environment.lines.iter().flat_map(|line| &line.tokens).filter(key);
    let asked = environment.calls().filter(|(_, call)| {
        call.last() == "get_main_option"
            && call
                .positional(0)
                .is_some_and(|value| value.iter().any(|one| key(&one)))
    });
    (spoken.count() == asked.count()).then(|| FixedUrl {
        scheme: scheme.to_owned(),
        place: Place::of(settings, text, KEY),
    })
}

/// Whether a call sets a URL, or makes an engine by another one.
fn has_another(call: &Call<'_, '_>) -> bool {
    [
        "set_main_option",
        "set_section_option",
        "create_engine",
        "create_async_engine",
    ]
    .contains(&call.last())
}
