//! `cargo xtask render`: Dockerfiles, compose files and the JSON schema, written or
//! compared.

use anyhow::Result;

use super::services;
use crate::cli::{RenderArgs, RenderTarget};
use build::catalog::{Apps, Catalog};
use definition::dockerfile;
use definition::spec::ImageSpec;
use definition::spec::raw;
use deploy::{Deployment, compose, kubernetes, quadlet};
use host::Host;

/// Writes every rendered file that differs, or names it with `--check`; prints
/// services with `--for`.
pub(crate) fn run(args: &RenderArgs, host: &Host) -> Result<()> {
    if let Some(target) = args.target {
        return print(target, &args.images, host);
    }
    let mut stale = Vec::new();
    for (shown, text) in rendered(host)? {
        let path = host.root.join(&shown);
        let there = fs_err::read_to_string(&path).ok();
        if there.as_ref() == Some(&text) {
            continue;
        }
        if !args.check {
            if let Some(folder) = path.parent() {
                fs_err::create_dir_all(folder)?;
            }
            fs_err::write(&path, &text)?;
            host.report.step("rendered", &shown);
        }
        stale.push(shown);
    }
    if args.check && !stale.is_empty() {
        let message = format!("not what the specs and fragments say: {}", stale.join(", "));
        return Err(failure::drift(message)
            .hint("run `cargo xtask render` and commit the result")
            .into());
    }
    if stale.is_empty() {
        host.report.step("rendered", "everything is up to date");
    }
    Ok(())
}

fn print(target: RenderTarget, images: &[String], host: &Host) -> Result<()> {
    let specs = services::specs(host, images)?;
    let mut all = specs.iter().map(|spec| Deployment::of(spec, &host.root));
    let text: String = match target {
        RenderTarget::Kubernetes => all.map(|service| kubernetes::objects(&service)).collect(),
        RenderTarget::Quadlet => {
            let (Some(service), None) = (all.next(), all.next()) else {
                let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
                let message = format!(
                    "a unit is a file of its own, and these are several: {}",
                    names.join(", ")
                );
                return Err(failure::usage(message)
                    .hint(format!("name one: cargo xtask render --for quadlet {}", names[0]))
                    .into());
            };
            quadlet::unit(&service)
        }
    };
    host.report.data(text.trim_end())
}

/// Path within the checkout → what the file has to hold.
fn rendered(host: &Host) -> Result<Vec<(String, String)>> {
    let catalog = Catalog::read(&host.root, Apps::OfSpecs)?;
    let schema = serde_json::to_string_pretty(&raw::file_schema())?;
    let mut files = vec![("images/image.schema.json".to_owned(), format!("{schema}\n"))];
    for spec in &catalog.images {
        files.extend(of_image(host, &catalog, spec)?);
    }
    Ok(files)
}

/// The files of one image.
pub(super) fn of_image(host: &Host, catalog: &Catalog, spec: &ImageSpec) -> Result<Vec<(String, String)>> {
    let (_, base) = catalog.bases.choose(None)?;
    let text = dockerfile::render(&catalog.fragments, spec, base, &catalog.lock)?;
    let mut files = vec![(format!("images/{}/Dockerfile", spec.name), text)];
    files.extend(compose::files(&Deployment::of(spec, &host.root)));
    Ok(files)
}
