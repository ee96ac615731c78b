//! One line of the app has changed: to the promoted tag.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::super::Bench;
use super::super::clock::{self, Timed};
use super::super::row::Measured;
use super::super::sequence;
use super::fixture::{BenchedBuild, CheckoutFixture};
use build::catalog::{Apps, Catalog};
use engine::reaper;

/// The peer: what one would type without this tool.
pub(super) const BY_HAND: &str = "bake, then the gate in sequence";

/// Changes a line of the app.
fn edit(app: &Path) -> Result<String> {
    let file = walkdir::WalkDir::new(app)
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .find(|path| path.extension().is_some_and(|extension| extension == "py"))
        .with_context(|| format!("{} has no Python file", app.display()))?;
    Ok(format!("echo \"# $(date +%s%N)\" >> '{}'", file.display()))
}

/// Two copies of the app: the peer must not find our steps in its cache.
fn subjects(fixture: &CheckoutFixture) -> Result<[BenchedBuild; 2]> {
    let images = vec![fixture.one_image()?];
    let subject = |name: &str| {
        let app = fixture.folder(name);
        fixture.copy_sample_app(&app)?;
        Ok::<BenchedBuild, anyhow::Error>(BenchedBuild {
            images: images.clone(),
            app: Some(app),
        })
    };
    Ok([subject("edited-by-us")?, subject("edited-by-hand")?])
}

/// Beside bake of the same change and the gate in sequence.
pub(super) fn one_line(bench: &Bench<'_>, fixture: &CheckoutFixture) -> Result<Measured> {
    let [ours, theirs] = subjects(fixture)?;
    let app = |subject: &BenchedBuild| subject.app.clone().unwrap_or_default();
    fixture.build(bench, &ours)?;
    let bake = fixture.bake(bench, &theirs)?;
    let image = fixture.one_image()?;
    let specs = Catalog::read(fixture.root(), Apps::OfSpecs)?.images;
    let spec = specs.iter().find(|spec| spec.name.as_str() == image);
    let spec = spec.with_context(|| format!("there is no spec of {image}"))?;
    let gate = [
        "sh".to_owned(),
        "-ec".to_owned(),
        sequence::script(spec, &reaper::run_id()?),
        "sh".to_owned(),
        fixture.docker(),
        CheckoutFixture::baked_reference(&image),
    ];
    let by_hand = bake
        .then(&gate)
        .labelled(BY_HAND)
        .env("HIVE_STATE_DIR", fixture.state())
        .prepare(edit(&app(&theirs))?);
    let build: Timed = fixture
        .xtask("build-images", "build-images", &ours)
        .prepare(edit(&app(&ours))?);
    let [build, by_hand] = clock::pair(bench, build, by_hand)?;
    Ok(Measured::new("build-images", build.seconds).peer(BY_HAND, by_hand.seconds))
}

/// Steps before the one that copies the app, in its stage and in others, that
/// ran again: the dependencies have to come from the cache.
pub(super) fn dependencies(bench: &Bench<'_>, fixture: &CheckoutFixture) -> Result<Measured> {
    let [ours, _] = subjects(fixture)?;
    let app = ours.app.clone().unwrap_or_default();
    fixture.build(bench, &ours)?;
    let edit = edit(&app)?;
    let mut before = 0;
    let samples = bench.repeat(|| {
        bench.host.runner.cmd("sh").args(["-ec", &edit]).run()?;
        fixture.build_again(bench, &ours)?;
        let log = fixture.state().join(fixture.one_image()?).join("build.log");
        let (ran, all) = ran_before(&fs_err::read_to_string(&log)?, "COPY . /app")
            .with_context(|| format!("{} has no step `COPY . /app`", log.display()))?;
        before = all;
        Ok(f64::from(ran))
    })?;
    Ok(Measured::new("steps that ran", samples).note(format!("of {before} steps before `COPY . /app`")))
}

/// How many steps of the stage that has `instruction` ran before it, and how
/// many there are; from lines as `[stage 3/9] COPY . /app done 0.1 s`.
fn ran_before(log: &str, instruction: &str) -> Option<(u32, u32)> {
    let steps: Vec<(&str, u32, &str)> = log.lines().filter_map(step).collect();
    let (stage, number, _) = steps
        .iter()
        .find(|(_, _, text)| text.starts_with(&format!("{instruction} ")))?;
    let before: Vec<&str> = steps
        .iter()
        .filter(|(other, n, text)| other == stage && n < number && !text.starts_with("FROM "))
        .map(|(_, _, text)| *text)
        .collect();
    let ran = before.iter().filter(|text| !text.contains(" cached ")).count();
    Some((u32::try_from(ran).ok()?, u32::try_from(before.len()).ok()?))
}

fn step(line: &str) -> Option<(&str, u32, &str)> {
    let (place, text) = line.strip_prefix('[')?.split_once("] ")?;
    let (stage, number) = place.rsplit_once(' ')?;
    let (number, _) = number.split_once('/')?;
    Some((stage.trim_end(), number.parse().ok()?, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "[internal] load build context done 0.0 s\n\
        [deps  1/10] FROM base done 0.0 s\n\
        [deps  2/10] RUN apt cached 0.0 s\n\
        [deps  5/10] COPY [p]yproject.toml [u]v.lock ./ cached 0.0 s\n\
        [deps  7/10] RUN uv sync done 3.0 s\n\
        [deps  9/10] COPY . /app done 0.1 s\n\
        [deps 10/10] RUN compile done 0.4 s\n\
        [other 2/3] RUN x done 0.1 s\n";

    #[test]
    fn steps_before_the_app_are_counted() {
        assert_eq!(ran_before(LOG, "COPY . /app"), Some((1, 3)));
        let cached = LOG.replace("uv sync done", "uv sync cached");
        assert_eq!(ran_before(&cached, "COPY . /app"), Some((0, 3)));
        assert_eq!(ran_before(LOG, "COPY . /elsewhere"), None);
    }
}
