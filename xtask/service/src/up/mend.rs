//! What a run that was killed has left, put right before anything else.

use anyhow::Result;

use crate::handle::ServiceHandle;
use crate::seen::{Condition, ContainerPlace};
use crate::wanted::ShownSettings;

/// What is left to be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mended {
    /// Nothing was left, or it is put right.
    Whole,
    /// The container from before has its name back and does not run, though it
    /// did before a replacement began.
    Returned,
    /// The new container is there and is not known to be healthy; the one from
    /// before is still there to go back to.
    OnTrial,
}

/// Removes what was never used, and goes on or back where a replacement broke
/// off. `wanted` is what is asked for now, `without_password` where it does not have
/// that of the database yet.
pub(super) fn mend(handle: &ServiceHandle, wanted: &ShownSettings, without_password: bool) -> Result<Mended> {
    let (main, next, before) = (handle.name.as_str(), handle.name.next(), handle.name.before());
    // It has never been started under this name.
    if handle.place_of(&next)?.own().is_some() {
        handle.remove(&next)?;
    }
    let ContainerPlace::Own(_) = handle.place_of(&before)? else {
        return Ok(Mended::Whole);
    };
    let mut place = handle.place()?;
    if let (true, ContainerPlace::Own(new)) = (without_password, &mut place) {
        new.forget_password();
    }
    match place {
        ContainerPlace::Empty => {
            handle.rename(&before, main)?;
            Ok(Mended::Returned)
        }
        ContainerPlace::Own(new) if new.condition == Condition::Healthy => {
            handle.remove(&before)?;
            Ok(Mended::Whole)
        }
        ContainerPlace::Own(new) if new.is(wanted) => Ok(Mended::OnTrial),
        ContainerPlace::Own(_) => {
            handle.remove(main)?;
            handle.rename(&before, main)?;
            Ok(Mended::Returned)
        }
        ContainerPlace::Foreign(_) => Ok(Mended::Whole),
    }
}
