//! `cargo xtask render`: Dockerfiles, compose files and the JSON schema, written or
//! compared.

use std::path::Path;

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
        return print(target, (&args.images, args.archive), host);
    }
    let mut stale = Vec::new();
    let rendered = rendered(host)?;
    let orphans = orphans(&host.root, &rendered)?;
    for (shown, text) in rendered {
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
    if !orphans.is_empty() {
        let files = orphans.join(" ");
        let message = format!("no image has these any more: {files}");
        if args.check {
            return Err(failure::drift(message).hint(format!("git rm {files}")).into());
        }
        host.report.warn(message);
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

/// Compose files that an image had which is gone: `make` and people take them for
/// services.
fn orphans(root: &Path, rendered: &[(String, String)]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let folder = root.join(compose::FOLDER);
    if !folder.is_dir() {
        return Ok(found);
    }
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.ends_with(".yaml")) else {
            continue;
        };
        let shown = format!("{}/{name}", compose::FOLDER);
        let is_ours = || {
            let text = fs_err::read_to_string(entry.path()).unwrap_or_default();
            text.starts_with(compose::MARK)
        };
        if !rendered.iter().any(|(path, _)| *path == shown) && is_ours() {
            found.push(shown);
        }
    }
    found.sort();
    Ok(found)
}

fn print(target: RenderTarget, (images, archive): (&[String], bool), host: &Host) -> Result<()> {
    let specs = services::specs(host, images)?;
    // What shares a password with which is of all images, whichever are printed.
    let catalog = services::specs(host, &[])?;
    let mut all = specs
        .iter()
        .map(|spec| Deployment::among(&catalog, spec, &host.root))
        .map(|service| if archive { service.archived() } else { service });
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
    let (_, base) = catalog.bases.choose(spec.base.as_deref())?;
    let text = dockerfile::render(&catalog.fragments, spec, base, &catalog.lock)?;
    let mut files = vec![(format!("images/{}/Dockerfile", spec.name), text)];
    let service = Deployment::among(&catalog.images, spec, &host.root);
    files.extend(compose::files(&service));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_image_that_is_gone_is_found_and_nobody_elses() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(compose::FOLDER);
        fs_err::create_dir_all(&folder).unwrap();
        for (name, text) in [
            ("genie.yaml", compose::MARK),
            ("gone.yaml", compose::MARK),
            ("own.yaml", "services: {}"),
            ("gone.env", compose::MARK),
        ] {
            fs_err::write(folder.join(name), text).unwrap();
        }
        let rendered = [("docker/compose/genie.yaml".to_owned(), String::new())];
        let found = orphans(root.path(), &rendered).unwrap();
        assert_eq!(found, ["docker/compose/gone.yaml"]);
    }
}
