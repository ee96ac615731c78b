//! `cargo xtask base`: list, make, pin.

use anyhow::Result;

use crate::cli::{BaseAction, BaseArgs, EngineOption};
use build::base::obtain::{self, WantedBase};
use build::catalog::{Apps, Catalog};
use definition::base::BaseSetsLock;
use engine::choose;

use host::Host;

pub(crate) fn run(args: &BaseArgs, host: &Host) -> Result<()> {
    let catalog = Catalog::read(&host.root, Apps::OfSpecs)?;
    match &args.action {
        BaseAction::List(option) => list(*option, &catalog, host),
        BaseAction::Make {
            set,
            from,
            again,
            engine,
        } => {
            let (name, set) = catalog.bases.choose(set.as_deref())?;
            let engine = choose::obtain(host, engine.engine)?;
            let wanted = WantedBase {
                name,
                set,
                lock: &catalog.lock,
                from: *from,
            };
            let base = if *again {
                obtain::make(host, &engine, wanted, true)?
            } else {
                obtain::get(host, &engine, wanted)?
            };
            host.report.data(&format!("{} {}", base.reference, base.identity))
        }
        BaseAction::Lock(option) => lock(*option, catalog, host),
    }
}

fn list(option: EngineOption, catalog: &Catalog, host: &Host) -> Result<()> {
    let engine = choose::find(host, option.engine)?;
    for (name, set) in &catalog.bases.sets {
        let default = if *name == catalog.bases.default {
            " (default)"
        } else {
            ""
        };
        let there = match &engine {
            None => "no engine runs".to_owned(),
            Some(engine) => {
                let wanted = WantedBase {
                    name,
                    set,
                    lock: &catalog.lock,
                    from: None,
                };
                match obtain::known(host, engine, wanted)? {
                    Some(base) => format!("{} from {:?}", base.reference, base.origin).to_lowercase(),
                    None => "not in the engine".to_owned(),
                }
            }
        };
        host.report.data(&format!(
            "{name}{default}: {}; {}; {there}",
            set.title,
            catalog.lock.pinned(&set.image)
        ))?;
    }
    Ok(())
}

fn lock(option: EngineOption, mut catalog: Catalog, host: &Host) -> Result<()> {
    let engine = choose::obtain(host, option.engine)?;
    let mut pinned: BaseSetsLock = catalog.lock.clone();
    for (name, set) in &catalog.bases.sets {
        host.report
            .step("lock", format!("{name}: ask the registry for {}", set.image));
        let digest = engine
            .registry_digest(&host.runner, &set.image)
            .map_err(|error| {
                error.context(failure::environment(format!(
                    "no registry answers for {}",
                    set.image
                )))
            })?;
        pinned.images.insert(set.image.clone(), digest);
    }
    let path = host.root.join("images/base-sets.lock.json");
    fs_err::write(&path, format!("{}\n", serde_json::to_string_pretty(&pinned)?))?;
    catalog.lock = pinned;
    for (image, digest) in &catalog.lock.images {
        host.report.data(&format!("{image} {digest}"))?;
    }
    Ok(())
}
