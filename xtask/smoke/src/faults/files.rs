//! The app's folders on the volume. An image without any passes, and says so.

use anyhow::{Result, bail};

use super::surroundings::WITHOUT_RIGHTS;
use crate::checks::files;
use crate::fixture::Fixture;
use container::finding::{Observation, flaw, seen};

/// Files are there after kill -9 of the container, in a new one.
pub(crate) fn kept(fixture: &Fixture<'_>) -> Result<Observation> {
    let own = &fixture.app()?.directories;
    if own.is_empty() {
        return Ok(files::of_spec(own, "")?);
    }
    let volume = fixture.volume()?;
    let first = fixture.boot(&volume, &WITHOUT_RIGHTS)?;
    fixture.must(&first, files::WRITE)?;
    for path in own {
        let folder = fixture.must(&first, &format!("stat -c '%u %a' {path}/"))?;
        if folder.trim() != "12345 750" {
            bail!(flaw(format!("{path} is of {}", folder.trim())));
        }
    }
    first.container.kill("KILL")?;
    fixture.remove(&first)?;
    let again = fixture.boot(&volume, &WITHOUT_RIGHTS)?;
    let said = fixture.must(&again, files::READ)?;
    let kept = files::of_spec(own, said.trim())?;
    Ok(seen(format!(
        "uid 12345, read-only root, kill -9: {} in a new container",
        kept.detail
    ))?)
}
