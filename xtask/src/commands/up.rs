//! `cargo xtask up`: services that run and are healthy.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{services, update};
use crate::cli::service::UpArgs;
use ::engine::{Engine, Inventory, choose};
use ::service::database;
use ::service::handle::ServiceHandle;
use ::service::seen::ContainerPlace;
use ::service::up::{UpOrder, UpOutcome, up};
use ::service::wanted::{ServiceOptions, variables};
use build::catalog;
use data::update::UpdateChoices;
use definition::reference::Reference;
use definition::spec::ImageSpec;
use definition::spec::names::ImageName;
use host::Host;
use inputs::regular;
use smoke::proof::is_proved;

/// A secret is a password, a key or a certificate.
const LONGEST_SECRET: usize = 100_000;

/// Brings up the named services, or all.
pub(super) fn run(args: &UpArgs, host: &Host) -> Result<()> {
    let specs = services::specs(host, &args.selection.images)?;
    if let (true, Some(flag)) = (specs.len() != 1, for_one(args)) {
        let message = format!("{flag} is for one image, and {} are meant", specs.len());
        return Err(failure::usage(message).hint("name the image").into());
    }
    if let Some(reference) = &args.image {
        let name = reference
            .split_once('@')
            .map_or(reference.as_str(), |(name, _)| name);
        Reference::parse(name).map_err(|why| failure::usage(format!("--image: {why}")))?;
    }
    let options = ServiceOptions {
        bind: args.bind,
        port: args.port,
        metrics_port: args.metrics_port,
        archive: args.archive,
        environment: match &args.env_file {
            Some(file) => read_variables(file)?,
            None => Default::default(),
        },
        secrets: secrets(&args.secret)?,
    };
    let databases = databases(host, &specs, &options)?;
    let engine = choose::obtain(host, args.selection.engine.engine)?;
    // What a killed command works on a volume with would be in the way.
    super::reap(host, &engine)?;
    for spec in databases.iter().chain(&specs) {
        let handle = services::handle(host, &engine, spec);
        let _lock = handle.lock(host)?;
        services::mend_for_up(host, &handle, spec, args.take_over)?;
    }
    let inventory = engine.inventory(&host.runner)?;
    let orders = Orders {
        host,
        engine: &engine,
        inventory: &inventory,
        unproved: args.unproved,
    };
    let named = args.image.as_deref();
    let wanted = specs.iter().map(|spec| orders.of(spec, named, &options));
    let as_they_are = databases.iter().map(|spec| orders.as_it_is(spec));
    let orders: Vec<UpOrder> = wanted.chain(as_they_are).collect::<Result<_>>()?;
    for order in orders.iter().filter(|_| args.take_over) {
        if let Some(image) = &order.image {
            let handle = services::handle(host, &engine, &order.spec);
            let _lock = handle.lock(host)?;
            services::take_over(host, &handle, &order.spec, image.id())?;
        }
    }
    let choices = UpdateChoices {
        rehearses: !args.no_rehearsal,
        keeps: !args.no_way_back,
    };
    let update = |order: &UpOrder, handle: &ServiceHandle, options: &ServiceOptions| {
        update::by_up(host, handle, (order, options), choices)
    };
    let outcomes = up(host, &engine, &orders, &update)?;
    if args.json {
        let all: Vec<Value> = outcomes.iter().map(document).collect();
        let document = json!({ "schema": 1, "services": all });
        return host.report.data(&serde_json::to_string_pretty(&document)?);
    }
    for UpOutcome { name, address, .. } in &outcomes {
        host.report.data(&format!("{name} {address}"))?;
    }
    Ok(())
}

fn for_one(args: &UpArgs) -> Option<&'static str> {
    let flags = [
        ("--port", args.port.is_some()),
        ("--metrics-port", args.metrics_port.is_some()),
        ("--image", args.image.is_some()),
        ("--secret", !args.secret.is_empty()),
        ("--take-over", args.take_over),
    ];
    flags.iter().find(|(_, given)| *given).map(|(flag, _)| *flag)
}

fn read_variables(file: &Path) -> Result<BTreeMap<String, String>> {
    let shown = file.display().to_string();
    let bytes = regular::read(file).context(failure::usage(format!("cannot read {shown}")))?;
    let text = String::from_utf8(bytes).context(failure::usage(format!("{shown} is not UTF-8")))?;
    variables(&shown, &text).map_err(|problems| catalog::invalid(&problems))
}

/// Reads the files of `--secret NAME=FILE`. What is wrong is told of all of them.
fn secrets(given: &[String]) -> Result<BTreeMap<String, String>> {
    let (mut all, mut problems) = (BTreeMap::new(), Vec::new());
    for one in given {
        match secret(one) {
            Ok((name, _)) if all.contains_key(&name) => {
                problems.push(format!("--secret {name} is given twice"));
            }
            Ok((name, text)) => {
                all.insert(name, text);
            }
            Err(problem) => problems.push(problem),
        }
    }
    match problems.is_empty() {
        true => Ok(all),
        false => Err(catalog::invalid(&problems)),
    }
}

/// The name of a secret and what its file holds.
fn secret(given: &str) -> Result<(String, String), String> {
    // Not what was given: without its `=` it may be the secret itself.
    let (name, file) = given
        .split_once('=')
        .ok_or("--secret is NAME=FILE, and one of them has no `=`")?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_name) {
        return Err("--secret is NAME=FILE, and NAME has letters, digits, `_`, `-` and `.` alone".to_owned());
    }
    let bytes = regular::read(Path::new(file))
        .map_err(|error| format!("--secret {name}: cannot read {file}: {error}"))?;
    if bytes.len() > LONGEST_SECRET {
        return Err(format!(
            "--secret {name}: {file} is longer than {LONGEST_SECRET} bytes"
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("--secret {name}: {file} is not UTF-8"))?;
    Ok((name.to_owned(), text))
}

/// The databases of apps alone that are meant, where they are not meant themselves and
/// nothing says that they are elsewhere.
fn databases(host: &Host, specs: &[ImageSpec], options: &ServiceOptions) -> Result<Vec<ImageSpec>> {
    let is_meant = |name: &ImageName| specs.iter().any(|spec| spec.name == *name);
    let missing: Vec<String> = specs
        .iter()
        .filter_map(|spec| database_of(spec, options))
        .filter(|name| !is_meant(name))
        .map(|name| name.to_string())
        .collect();
    match missing.is_empty() {
        true => Ok(Vec::new()),
        false => services::specs(host, &missing),
    }
}

/// The service whose database an app alone uses.
fn database_of(spec: &ImageSpec, options: &ServiceOptions) -> Option<ImageName> {
    let database = spec.database.elsewhere.clone()?;
    (!database::is_told(options)).then_some(database)
}

/// Makes orders of specs.
struct Orders<'a> {
    host: &'a Host,
    engine: &'a Engine,
    inventory: &'a Inventory,
    unproved: bool,
}

impl Orders<'_> {
    /// The released image of a spec, or the one that is `named`.
    fn of(&self, spec: &ImageSpec, named: Option<&str>, options: &ServiceOptions) -> Result<UpOrder> {
        let reference = named.map_or_else(|| services::release(spec), str::to_owned);
        let image = self.engine.image(&self.host.runner, &reference)?;
        let proved = image
            .as_ref()
            .is_some_and(|image| is_proved(self.inventory, spec.name.as_str(), image.id()));
        Ok(UpOrder {
            spec: spec.clone(),
            reference,
            image,
            proved,
            unproved: self.unproved,
            options: options.clone(),
            database: database_of(spec, options),
            keeps: false,
        })
    }

    /// A database that only another service asks for: where it has a container it stays
    /// as that is, image and settings included.
    fn as_it_is(&self, spec: &ImageSpec) -> Result<UpOrder> {
        let mut order = self.of(spec, None, &ServiceOptions::default())?;
        order.keeps = true;
        let handle = services::handle(self.host, self.engine, spec);
        if let ContainerPlace::Own(seen) = handle.place()? {
            order.proved = is_proved(self.inventory, spec.name.as_str(), &seen.image_id);
        }
        Ok(order)
    }
}

fn document(outcome: &UpOutcome) -> Value {
    json!({
        "service": outcome.name,
        "done": outcome.done,
        "address": outcome.address,
        "took_ms": u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX),
    })
}
