//! A cluster that is to be migrated: where it lies, who uses it, and which programs can
//! serve a copy of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

use definition::identity::ImageId;
use definition::labels::IMAGE_LABEL;
use engine::Inventory;
use engine::container::RunResources;
use service::handle::ServiceHandle;

/// Where containers that are known to hold PostgreSQL keep their data.
const USUAL_PGDATA: &str = "/var/lib/postgresql/data";

/// Names of images of others that have PostgreSQL with pgvector, with what stands in
/// their tags before the major version. The first one is what hints name.
const KNOWN_IMAGES: [(&str, &str); 3] = [
    ("pgvector/pgvector", "pg"),
    ("agnohq/pgvector", ""),
    ("postgres", ""),
];

/// Says where an image has the programs of a version, and nothing where it has none.
const HAS_PROGRAMS: &str = "for one in /usr/lib/postgresql/$1/bin /usr/local/bin /usr/lib/postgresql/bin; do \
    case $($one/postgres --version 2> /dev/null) in *' '$1.*) echo $one; exit;; esac; done";

/// What holds the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceMount {
    /// A volume of the engine.
    Volume(String),
    /// A folder of this machine.
    Folder(PathBuf),
}

/// Where a source lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForeignPlace {
    /// What holds it.
    pub(crate) mount: SourceMount,
    /// Where in that the cluster is, as a container says.
    pub(crate) inside: Option<PathBuf>,
    /// Containers that use it now.
    pub(crate) running: Vec<String>,
    /// Images of containers that use it, or have.
    pub(crate) images: Vec<ImageId>,
}

/// What `foreign.py` finds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct ForeignFindings {
    pub(crate) clusters: Vec<ForeignCluster>,
    pub(crate) free_bytes: u64,
    pub(crate) free_files: Option<u64>,
    pub(crate) disk: u64,
}

/// A cluster, as its files say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct ForeignCluster {
    /// Below the mount.
    pub(crate) folder: PathBuf,
    /// `PG_VERSION`.
    pub(crate) version: String,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
    /// What of it lies elsewhere: tablespaces, the log.
    pub(crate) links: Vec<String>,
    /// Of a standby, or of a recovery.
    pub(crate) signals: Vec<String>,
    pub(crate) shut_down: bool,
    /// The process that its lock file names.
    #[serde(default)]
    pub(crate) process: Option<u32>,
    /// The image of ours that made it.
    pub(crate) image: Option<String>,
    /// Secrets of the app that are kept beside it.
    pub(crate) secrets: Vec<String>,
    /// Where the app's own folders are that are kept beside it.
    pub(crate) directories: Vec<String>,
    /// Replication slots.
    pub(crate) slots: Vec<String>,
    /// What somebody has set for the whole server.
    pub(crate) settings: BTreeMap<String, String>,
}

/// Programs of the source's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OldPrograms {
    /// The image whose container they run in.
    pub(crate) image: ImageId,
    /// Where they are.
    pub(crate) folder: String,
    /// Whether they are this machine's own, which the container then sees.
    pub(crate) of_machine: bool,
}

impl ForeignPlace {
    /// What somebody means by the name of a container, of a volume, or of a folder.
    ///
    /// # Errors
    /// When there is nothing of that name, or a container has its data nowhere else.
    pub(crate) fn find(handle: &ServiceHandle, named: &str) -> Result<Self> {
        let (engine, runner) = (&handle.engine, &handle.runner);
        let is_path = named.contains('/') || named.starts_with('.');
        if !is_path && let Some(container) = engine.container(runner, named)? {
            let (mount, inside) = of_container(named, &container)?;
            return Self::used(handle, mount, Some(inside));
        }
        if !is_path && engine.volume(runner, named)?.is_some() {
            return Self::used(handle, SourceMount::Volume(named.to_owned()), None);
        }
        if !Path::new(named).is_dir() {
            let what = if is_path {
                "folder"
            } else {
                "container, volume or folder"
            };
            return Err(failure::usage(format!("--from: there is no {what} {named}")).into());
        }
        if !engine.api.is_local() {
            let message = format!("--from: the engine is of another machine and does not see {named}");
            return Err(failure::usage(message).into());
        }
        Self::used(handle, SourceMount::Folder(fs_err::canonicalize(named)?), None)
    }

    fn used(handle: &ServiceHandle, mount: SourceMount, inside: Option<PathBuf>) -> Result<Self> {
        // A filter that all of them pass: by the folder of a bind none can be had.
        let all = handle.engine.containers(&handle.runner, "name", ".")?;
        let users: Vec<&Value> = all.iter().filter(|one| mount.is_used_by(one)).collect();
        let is_up = |one: &&Value| {
            let state = one.get("State").and_then(Value::as_str);
            matches!(state, Some("running" | "paused" | "restarting"))
        };
        let name = |one: &Value| {
            let name = one.pointer("/Names/0").and_then(Value::as_str);
            name.unwrap_or_default().trim_start_matches('/').to_owned()
        };
        let image = |one: &&Value| one.get("ImageID").and_then(Value::as_str)?.parse().ok();
        Ok(Self {
            inside,
            running: users.iter().copied().filter(is_up).map(name).collect(),
            images: users.iter().filter_map(image).collect(),
            mount,
        })
    }

    /// Which of the clusters is meant.
    ///
    /// # Errors
    /// When there is none, or more than one could be.
    pub(crate) fn choose<'a>(&self, named: &str, all: &'a [ForeignCluster]) -> Result<&'a ForeignCluster> {
        let at = |folder: &Path| -> Vec<&ForeignCluster> {
            all.iter().filter(|one| one.folder == folder).collect()
        };
        let meant = match self.inside.as_deref() {
            None => all.iter().collect(),
            // What a container says of itself comes before what was left beside it.
            Some(inside) => Some(at(inside))
                .filter(|known| !known.is_empty())
                .unwrap_or_else(|| at(Path::new("."))),
        };
        match meant.as_slice() {
            [one] => Ok(one),
            [] => Err(failure::usage(format!("--from: {named} has no PostgreSQL cluster")).into()),
            several => {
                let folders: Vec<String> = several
                    .iter()
                    .map(|one| one.folder.display().to_string())
                    .collect();
                let message = format!("--from: {named} has several clusters: {}", folders.join(", "));
                Err(failure::usage(message)
                    .hint("name the folder of one; of a volume: copy the one that is meant into a folder")
                    .into())
            }
        }
    }
}

impl SourceMount {
    /// The folder of this machine that it is.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Volume(_) => None,
            Self::Folder(path) => Some(path),
        }
    }

    /// As `docker run --mount` takes it.
    pub(crate) fn option(&self, target: &str) -> Result<String> {
        let (kind, source) = match self {
            Self::Volume(name) => ("volume", name.as_str()),
            Self::Folder(path) => ("bind", path.to_str().unwrap_or_default()),
        };
        // The option is a list with commas; quoted as CSV it would be, which older engines do not read.
        if source.is_empty() || source.contains(['"', ',', '\n']) {
            let message =
                "--from: docker cannot mount a folder with a comma, a quote or a line end in its name";
            return Err(failure::usage(message).into());
        }
        Ok(format!("type={kind},source={source},target={target},readonly"))
    }

    fn is_used_by(&self, listed: &Value) -> bool {
        let mounts = listed.get("Mounts").and_then(Value::as_array);
        mounts.into_iter().flatten().any(|mount| {
            let text = |key: &str| mount.get(key).and_then(Value::as_str);
            match self {
                Self::Volume(name) => text("Name") == Some(name),
                Self::Folder(path) => text("Source").map(Path::new).is_some_and(|source| {
                    // Whoever has all of a disk need not know of it.
                    let above = path
                        .strip_prefix(source)
                        .map(|inside| inside.components().count());
                    source.starts_with(path) || above.is_ok_and(|above| above <= 2)
                }),
            }
        })
    }
}

/// What holds the data of a container, and where in that they are.
fn of_container(named: &str, inspect: &Value) -> Result<(SourceMount, PathBuf)> {
    let variables = inspect.pointer("/Config/Env").and_then(Value::as_array);
    let mut variables = variables.into_iter().flatten().filter_map(Value::as_str);
    let pgdata = variables
        .find_map(|one| one.strip_prefix("PGDATA="))
        .unwrap_or(USUAL_PGDATA);
    let mounts = inspect.get("Mounts").and_then(Value::as_array);
    let inside = |mount: &Value| {
        let target = mount.get("Destination").and_then(Value::as_str)?;
        Path::new(pgdata).strip_prefix(target).ok().map(Path::to_owned)
    };
    let mut holders: Vec<(&Value, PathBuf)> = mounts
        .into_iter()
        .flatten()
        .filter_map(|mount| Some((mount, inside(mount)?)))
        .collect();
    // The innermost mount has them.
    holders.sort_by_key(|(_, inside)| inside.components().count());
    let Some((mount, inside)) = holders.into_iter().next() else {
        let message = format!("--from: the data of container {named} ({pgdata}) lie in no volume or folder");
        return Err(failure::usage(message)
            .hint(format!(
                "copy them while it is stopped: docker cp {named}:{pgdata} FOLDER; then --from FOLDER"
            ))
            .into());
    };
    let text = |key: &str| {
        mount
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let mount = match (text("Name"), text("Source")) {
        (Some(name), _) => SourceMount::Volume(name.to_owned()),
        (None, source) => SourceMount::Folder(source.unwrap_or_default().into()),
    };
    let inside = if inside.as_os_str().is_empty() {
        ".".into()
    } else {
        inside
    };
    Ok((mount, inside))
}

/// Programs of a version: of an image that has used the source, of one of ours, of one
/// that is known to have them, else of this machine.
pub(crate) fn programs(
    resources: &RunResources,
    inventory: &Inventory,
    image: &ImageId,
    place: &ForeignPlace,
    major: u32,
) -> Result<Option<OldPrograms>> {
    let ours = inventory.with_label(IMAGE_LABEL);
    let prefixes = KNOWN_IMAGES.map(|(name, tag)| format!("{name}:{tag}{major}"));
    let known = prefixes
        .iter()
        .flat_map(|prefix| inventory.names_from(prefix))
        .map(|(_, id)| id);
    let mut candidates: Vec<&ImageId> = Vec::new();
    for one in [image].into_iter().chain(&place.images).chain(ours).chain(known) {
        if !candidates.contains(&one) {
            candidates.push(one);
        }
    }
    for one in candidates {
        if let Some(folder) = folder_in(resources, one, major)? {
            return Ok(Some(OldPrograms {
                image: one.clone(),
                folder,
                of_machine: false,
            }));
        }
    }
    let folder = format!("/usr/lib/postgresql/{major}/bin");
    let is_here = resources.engine.api.is_local() && Path::new(&folder).join("postgres").is_file();
    Ok(is_here.then(|| OldPrograms {
        image: image.clone(),
        folder,
        of_machine: true,
    }))
}

/// Where to get programs of a version.
pub(crate) fn wanted_programs(major: u32) -> String {
    let (name, tag) = KNOWN_IMAGES[0];
    format!(
        "let the engine have an image with them: docker pull {name}:{tag}{major}; or install the package \
         postgresql-{major}, and postgresql-{major}-pgvector"
    )
}

fn folder_in(resources: &RunResources, image: &ImageId, major: u32) -> Result<Option<String>> {
    let name = format!("hive-programs-{}", std::process::id());
    let options = ["--entrypoint", "sh", "--network", "none"];
    let major = major.to_string();
    // An image without a shell has no such programs either.
    let Ok(said) = resources.call(
        &name,
        image.as_str(),
        &options,
        &["-c", HAS_PROGRAMS, "sh", &major],
    ) else {
        resources.runner.check_interrupt()?;
        return Ok(None);
    };
    let folder = said.stdout_text();
    Ok((said.success() && !folder.is_empty()).then_some(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(pgdata: Option<&str>, mounts: Value) -> Value {
        let variables: Vec<String> = pgdata.iter().map(|place| format!("PGDATA={place}")).collect();
        json!({ "Config": { "Env": variables }, "Mounts": mounts })
    }

    #[test]
    fn the_data_of_a_container_lie_in_its_innermost_mount() {
        let volume =
            json!({ "Type": "volume", "Name": "v", "Source": "/e/v", "Destination": "/var/lib/postgresql" });
        let folder =
            json!({ "Type": "bind", "Source": "/srv/pg", "Destination": "/var/lib/postgresql/data" });
        let of = |pgdata, mounts| of_container("old", &container(pgdata, mounts)).unwrap();
        assert_eq!(
            of(None, json!([volume, folder])),
            (SourceMount::Folder("/srv/pg".into()), ".".into())
        );
        assert_eq!(
            of(Some("/var/lib/postgresql/data/pgdata"), json!([folder])),
            (SourceMount::Folder("/srv/pg".into()), "pgdata".into())
        );
        assert_eq!(
            of(Some("/var/lib/postgresql/18/docker"), json!([folder, volume])),
            (SourceMount::Volume("v".to_owned()), "18/docker".into())
        );
        let refused = of_container("old", &container(None, json!([]))).unwrap_err();
        assert!(failure::render(&refused).contains("docker cp old:/var/lib/postgresql/data FOLDER"));
    }

    #[test]
    fn whoever_has_a_part_of_a_folder_uses_it() {
        let listed = |mount: Value| json!({ "Mounts": [{ "Source": "/srw" }, mount] });
        let folder = SourceMount::Folder("/srv/pg".into());
        for source in ["/srv/pg", "/srv", "/srv/pg/16/main"] {
            assert!(
                folder.is_used_by(&listed(json!({ "Source": source }))),
                "{source}"
            );
        }
        assert!(!folder.is_used_by(&listed(json!({ "Source": "/srv/pg2" }))));
        let volume = SourceMount::Volume("v".to_owned());
        assert!(volume.is_used_by(&listed(json!({ "Name": "v", "Source": "/e/v" }))));
        assert!(!volume.is_used_by(&listed(json!({ "Name": "w" }))));
    }

    #[test]
    fn one_cluster_has_to_be_meant() {
        let cluster = |folder: &str| ForeignCluster {
            folder: folder.into(),
            ..ForeignCluster::default()
        };
        let place = |inside: Option<&str>| ForeignPlace {
            mount: SourceMount::Volume("v".to_owned()),
            inside: inside.map(PathBuf::from),
            running: Vec::new(),
            images: Vec::new(),
        };
        let all = [cluster("15/main"), cluster("16/main")];
        assert_eq!(place(None).choose("v", &all[1..]).unwrap(), &all[1]);
        assert_eq!(place(Some("16/main")).choose("v", &all).unwrap(), &all[1]);
        let told = |inside, all: &[ForeignCluster]| place(inside).choose("v", all).unwrap_err().to_string();
        assert_eq!(
            told(None, &all),
            "--from: v has several clusters: 15/main, 16/main"
        );
        // One that was left at the top is not what the container has.
        let left = [cluster("."), cluster("pgdata")];
        assert_eq!(place(Some("pgdata")).choose("v", &left).unwrap(), &left[1]);
        assert_eq!(place(Some("pgdata")).choose("v", &left[..1]).unwrap(), &left[0]);
        assert_eq!(told(None, &left), "--from: v has several clusters: ., pgdata");
        assert_eq!(told(None, &[]), "--from: v has no PostgreSQL cluster");
        assert_eq!(told(Some("17/main"), &all), "--from: v has no PostgreSQL cluster");
    }

    #[test]
    fn what_docker_would_read_as_another_option_is_refused() {
        let folder = SourceMount::Folder("/a,readonly=false".into());
        assert!(folder.option("/s").is_err());
        let volume = SourceMount::Volume("v".to_owned());
        assert_eq!(
            volume.option("/s").unwrap(),
            "type=volume,source=v,target=/s,readonly"
        );
    }
}
