//! Where a new image goes: its name, its port, and the way from it to its app.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cli::{NewArgs, OverwrittenFile};
use build::app::workspace::{self, Workspace};
use build::catalog::Catalog;
use definition::spec::ImageSpec;
use definition::spec::load::APP_FILE;
use definition::spec::names::ImageName;
use detect::proposal;
use host::Host;

/// The port of most servers' examples.
const FIRST_PORT: u16 = 8000;

/// PostgreSQL has it in the container.
const POSTGRESQL_PORT: u16 = 5432;

/// What is decided of an image before its app is known.
#[derive(Debug)]
pub(super) struct Placement {
    /// The app's folder, without links.
    pub(super) folder: PathBuf,
    /// The folder as the user names it.
    pub(super) shown: String,
    /// The member of the uv workspace in this folder that the app is, where the user
    /// means one: its image alone says how it is run, as each member has its own.
    pub(super) member: Option<String>,
    /// The image's name: of `--name`, of the image that has this folder, else made
    /// of the folder's.
    pub(super) name: String,
    /// The app's folder, from the image's.
    pub(super) source: String,
    /// The port; 0 until it is taken.
    pub(super) port: u16,
}

impl Placement {
    /// For a folder, or for the app of an image that there is. A new image is called as the
    /// folder is, or by `named_by`.
    pub(super) fn find(
        args: &NewArgs,
        host: &Host,
        catalog: &Catalog,
        named_by: Option<&str>,
    ) -> Result<Self> {
        let given = Path::new(&args.target);
        let mut of_image = catalog
            .images
            .iter()
            .find(|image| image.name.as_str() == args.target);
        of_image = of_image.filter(|_| !given.is_dir());
        let (folder, shown) = match of_image {
            Some(image) => match &image.app {
                Some(app) => (app.source.clone(), host.shown(&app.source)),
                None => return Err(no_app(image).into()),
            },
            None => (given.to_owned(), args.target.trim_end_matches('/').to_owned()),
        };
        if !folder.is_dir() {
            let known: Vec<&str> = catalog.images.iter().map(|image| image.name.as_str()).collect();
            let failure = failure::usage(format!("there is no folder {shown}, and no image of that name"));
            return Err(failure.hint(format!("known images: {}", known.join(", "))).into());
        }
        let given = fs_err::canonicalize(&folder)?;
        let root = fs_err::canonicalize(&host.root)?;
        let workspace = match of_image {
            // The app's file is of all images of its folder.
            Some(image) if !given.join(APP_FILE).exists() => member_of(image).map(|member| Workspace {
                root: given.clone(),
                member: member.to_owned(),
            }),
            Some(_) => None,
            None => workspace::in_place_of(&given),
        };
        let (folder, shown, member) = match workspace {
            Some(workspace) => {
                let shown = match workspace.root == given {
                    true => shown,
                    false => host.shown(&workspace.root),
                };
                (workspace.root, shown, Some(workspace.member))
            }
            None => (given.clone(), shown, None),
        };
        let has_file = folder.join(APP_FILE).exists();
        let is_meant = |image: &&ImageSpec| {
            let own = member_of(image);
            is_of(image, &folder) && (own == member.as_deref() || member.is_none() && has_file)
        };
        let known = of_image.or_else(|| catalog.images.iter().find(is_meant));
        let name = match (&args.name, known) {
            (Some(name), _) => name.clone(),
            (None, Some(known)) => known.name.to_string(),
            (None, None) => {
                let last = given.file_name().unwrap_or_default().to_string_lossy();
                proposal::image_name(named_by.unwrap_or(&last))
            }
        };
        ImageName::parse(&name)
            .map_err(|message| failure::usage(message).hint("give it a name with --name NAME"))?;
        if let Some(other) = catalog.images.iter().find(|image| image.name.as_str() == name)
            && !(is_of(other, &folder) && (member.is_none() || member_of(other) == member.as_deref()))
        {
            let failure = match &other.app {
                Some(app) => {
                    let source = host.shown(&app.source);
                    failure::usage(format!("{} is the image of another app, {source}", other.file))
                }
                None => no_app(other),
            };
            // As `new` wrote it while it took a member for a project alone.
            let is_of_the_member = member.is_some() && is_of(other, &given);
            if !is_of_the_member {
                let hint = "give this one a name of its own with --name NAME";
                return Err(failure.hint(hint).into());
            }
            if !args.overwrite.contains(&OverwrittenFile::Image) {
                let message = format!(
                    "{} has {} as its app, which is a member of the workspace in {shown}",
                    other.file, args.target
                );
                let hint = "give `--overwrite image.json`: it is then built as that member";
                return Err(failure::usage(message).hint(hint).into());
            }
        }
        let from = root.join("images").join(&name);
        let source = relative(&from, &folder).context("the folder's name is not UTF-8")?;
        Ok(Self {
            folder,
            shown,
            member,
            name,
            source,
            port: 0,
        })
    }

    /// The port that the image has already, the app's own where no other image
    /// has it, else the next that is free.
    pub(super) fn take_port(&mut self, catalog: &Catalog, wanted: Option<u16>) -> Result<()> {
        let mine = |image: &&ImageSpec| image.name.as_str() == self.name;
        if let Some(image) = catalog.images.iter().find(mine) {
            self.port = image.port();
            return Ok(());
        }
        let taken: BTreeSet<u16> = catalog.images.iter().map(ImageSpec::published_port).collect();
        let good = |port: &u16| *port >= 1024 && *port != POSTGRESQL_PORT && !taken.contains(port);
        let port = wanted.filter(good).or_else(|| (FIRST_PORT..=u16::MAX).find(good));
        self.port = port.context(failure::usage("every port from 8000 on belongs to an image"))?;
        Ok(())
    }
}

fn is_of(image: &ImageSpec, folder: &Path) -> bool {
    let source = image.app.as_ref().map(|app| fs_err::canonicalize(&app.source));
    source.is_some_and(|source| source.is_ok_and(|source| source == folder))
}

/// The member of a workspace that an image's app is.
fn member_of(image: &ImageSpec) -> Option<&str> {
    image.app.as_ref()?.install.package.as_deref()
}

fn no_app(image: &ImageSpec) -> failure::Failure {
    failure::usage(format!("{} says that its image has no app", image.file))
}

/// The way from a folder to another one, neither of which has links in it.
fn relative(from: &Path, to: &Path) -> Option<String> {
    let mut rest = to.components().peekable();
    let mut ours = from.components().peekable();
    while let (Some(one), Some(other)) = (ours.peek(), rest.peek())
        && one == other
    {
        ours.next();
        rest.next();
    }
    let up = ours.map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(rest).collect();
    path.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_leads_up_and_down() {
        let way = |from: &str, to: &str| relative(Path::new(from), Path::new(to)).unwrap();
        assert_eq!(way("/c/images/notes", "/notes"), "../../../notes");
        assert_eq!(way("/c/images/notes", "/c/apps/notes"), "../../apps/notes");
        assert_eq!(way("/c/images/notes", "/c/images/notes/app"), "app");
    }
}
