//! The compose files of a service: one for production, and overrides that say what
//! is different elsewhere. A second whole file would have to repeat the names and
//! the volume, and one with profiles cannot change a service at all.

use std::path::Path;

use crate::names::{self, ARCHIVE_KEY, DATA_KEY, SERVICE_LABEL};
use crate::{APP, ARCHIVE, DATA, Deployment, LIMITS, SCRATCH, SECRET, STOP_SECONDS, UID};

/// Where the files lie in a checkout.
pub const FOLDER: &str = "docker/compose";

/// What each of them begins with.
pub const MARK: &str = "# Do not edit: rendered by `cargo xtask render`";

/// The way from there to the top of the checkout.
const TOP: &str = "../..";

/// File within the checkout → what it has to hold.
pub fn files(service: &Deployment) -> Vec<(String, String)> {
    let named = |kind: &str, text: String| (format!("{FOLDER}/{}{kind}.yaml", service.name), text);
    let mut files = vec![named("", production(service))];
    if let Some(source) = &service.source {
        files.push(named(".dev", development(service, source)));
    }
    if service.keeps_data {
        files.push(named(".bind", bound(service)));
        files.push(named(".external", external(service)));
        files.push(named(".metrics", metrics(service)));
        files.push(named(".archive", archive(service)));
    }
    files
}

/// The file by which compose runs the service in earnest, volume and network
/// included; of an app alone also the database that it needs.
fn production(service: &Deployment) -> String {
    let Deployment { name, file, .. } = service;
    // A database has no variables of its own, and its settings are the spec's.
    let hint = match &service.source {
        Some(_) => {
            format!("# the app gets the variables of {name}.env beside this file, if there is one.\n")
        }
        None => "# Its password: see docker/README.md, \"A database alone\".\n".to_owned(),
    };
    let (image, bind, outside) = (
        service.variable("IMAGE"),
        service.variable("BIND"),
        service.variable("PORT"),
    );
    let mut text = format!(
        "{MARK} from {file}.
#   docker compose -f {FOLDER}/{name}.yaml up --detach --wait
# {image}, {bind} and {outside} change what they stand for below{sign}
{hint}{both}# No `healthcheck:` here: the image has its own.
name: {project}
services:
",
        sign = if service.source.is_some() { ';' } else { '.' },
        both = service
            .database
            .as_ref()
            .map_or(String::new(), |database| { with_database(service, database) }),
        project = names::project(name),
    );
    text += &block(service, service);
    if let Some(database) = &service.database {
        text += &block(database, service);
    }
    text += &format!(
        "networks:
  {name}:
    name: {network}
    labels:
      {SERVICE_LABEL}: {name}
",
        network = names::network(name),
    );
    let with_data = service.database.as_deref().unwrap_or(service);
    if with_data.keeps_data {
        text += &volumes(with_data, service);
    }
    if service.database.is_some() {
        let password = service.variable("PASSWORD");
        text += &format!("secrets:\n  {SECRET}:\n    file: ${{{password}:-./{name}.password}}\n");
    }
    text
}

/// What has to be known of a file with two services.
fn with_database(service: &Deployment, database: &Deployment) -> String {
    let name = &service.name;
    format!(
        "# Its database is the service {database} below: the same container and volume as those of
# {database}.yaml, so that one of the two files is in use at a time. Their password is a line in
# {name}.password beside this file, or where {variable} says. The containers' user has to own it:
#   head -c 24 /dev/urandom | base64 | install -m 600 -o {UID} -g {UID} /dev/stdin {FOLDER}/{name}.password
",
        database = database.name,
        variable = service.variable("PASSWORD"),
    )
}

/// One service as it stands in the file of an image, which is its own or that of an
/// app that needs it.
fn block(service: &Deployment, of: &Deployment) -> String {
    let Deployment {
        name,
        port,
        published,
        ..
    } = service;
    let mut text = format!(
        "  {name}:
    image: ${{{image}:-{release}}}
    pull_policy: never
    container_name: {name}
    hostname: {name}
    labels:
      {SERVICE_LABEL}: {name}
    restart: unless-stopped
    stop_grace_period: {STOP_SECONDS}s
",
        image = service.variable("IMAGE"),
        release = service.release(),
    );
    if let Some(database) = &service.database {
        text += &format!(
            "    depends_on:\n      {}:\n        condition: service_healthy\n",
            database.name
        );
    }
    if service.source.is_some() {
        text += &format!("    env_file:\n      - path: {name}.env\n        required: false\n");
    }
    text += &format!(
        "    ports:\n      - \"${{{bind}:-127.0.0.1}}:${{{outside}:-{published}}}:{port}\"\n",
        bind = service.variable("BIND"),
        outside = service.variable("PORT"),
    );
    if service.keeps_data {
        text += &data(service, of);
    }
    if of.database.is_some() {
        text += &format!("    secrets:\n      - {SECRET}\n");
    }
    text += "    read_only: true\n    tmpfs:\n";
    for (folder, size) in SCRATCH {
        let size = size.map_or(String::new(), |size| format!(":size={size}"));
        text += &format!("      - {folder}{size}\n");
    }
    text += &format!(
        "    cap_drop:
      - ALL
    security_opt:
      - no-new-privileges:true
    cpus: {cpus}
    mem_limit: {memory}
    mem_reservation: {reserved}
    pids_limit: {processes}
    logging:
      driver: local
      options:
        max-size: 10m
        max-file: \"4\"
    networks:
      {network}:
        aliases:
          - hive-{name}-unified
",
        cpus = LIMITS.cpus,
        memory = LIMITS.memory,
        reserved = LIMITS.reserved,
        processes = LIMITS.processes,
        network = of.name,
    );
    text
}

fn data(service: &Deployment, of: &Deployment) -> String {
    format!(
        "    volumes:
      - type: volume
        source: {}
        target: {DATA}
",
        key(service, of)
    )
}

/// What the volume of a service is called in a file: one name in its own, and one
/// that says whose it is in that of an app.
fn key(service: &Deployment, of: &Deployment) -> String {
    if service.name == of.name {
        DATA_KEY.to_owned()
    } else {
        names::volume(&service.name)
    }
}

/// A contract: compose deletes a volume whose declaration differs from the one it
/// was made by, without a question under `up --yes`. So it is a name and nothing
/// else, for ever.
fn volumes(service: &Deployment, of: &Deployment) -> String {
    format!(
        "volumes:\n  {}:\n    name: {}\n",
        key(service, of),
        names::volume(&service.name)
    )
}

/// The app from its folder, and no limits.
fn development(service: &Deployment, source: &Path) -> String {
    let name = &service.name;
    let mut text = head(
        service,
        "dev",
        &[
            "The app is that of the checkout. What was edited takes effect with",
            &format!("  docker compose -f {FOLDER}/{name}.yaml exec {name} supervisorctl restart app"),
            "and what its lock or the image's spec says with the next build.",
        ],
    );
    text += &format!(
        "    restart: \"no\"
    cpus: !reset null
    mem_limit: !reset null
    mem_reservation: !reset null
    volumes:
      - type: bind
        source: {}
        target: {APP}
        read_only: true
        bind:
          create_host_path: false
",
        quoted(&format!("{TOP}/{}", source.display()))
    );
    text
}

/// The container answers Prometheus, on the same port inside and outside.
fn metrics(service: &Deployment) -> String {
    let port = service.variable("METRICS_PORT");
    let mut text = head(
        service,
        "metrics",
        &[
            &format!(
                "Prometheus finds it at {}:9187/metrics in its own network, and on the",
                service.name
            ),
            &format!("address of {} on port {port}.", service.variable("BIND")),
        ],
    );
    text += &format!(
        "    environment:
      HIVE_METRICS_PORT: \"9187\"
    ports:
      - \"${{{bind}:-127.0.0.1}}:${{{port}:-9187}}:9187\"
",
        bind = service.variable("BIND")
    );
    text
}

/// PostgreSQL's log on a volume of its own. The block `volumes:` is as lasting as that of
/// the data.
fn archive(service: &Deployment) -> String {
    let mut text = head(
        service,
        "archive",
        &[
            "PostgreSQL's log is archived on a volume of its own, so that with a backup any",
            "moment since can be reached: see docker/README.md, \"The archive\".",
        ],
    );
    text += &format!(
        "    volumes:
      - type: volume
        source: {ARCHIVE_KEY}
        target: {ARCHIVE}
volumes:
  {ARCHIVE_KEY}:
    name: {}
",
        names::archive(&service.name)
    );
    text
}

/// A text in which nothing means anything, neither to YAML nor to compose.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', r"\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('$', "$$"))
}

/// The data in a folder of the host.
fn bound(service: &Deployment) -> String {
    let name = &service.name;
    let folder = format!("data/postgres-{name}");
    let mut text = head(
        service,
        "bind",
        &[
            "The data lie in a folder of the checkout. The container's user has to own it:",
            &format!("  install -d -m 700 -o {UID} -g {UID} {folder}"),
            &format!("{} names another one.", service.variable("DATA")),
        ],
    );
    text += &format!(
        "    volumes:
      - type: bind
        source: ${{{}:-{TOP}/{folder}}}
        target: {DATA}
        bind:
          create_host_path: false
",
        service.variable("DATA")
    );
    text
}

/// The data where compose deletes them under no circumstances.
fn external(service: &Deployment) -> String {
    let name = &service.name;
    let volume = names::volume(name);
    let mut text = comment(
        service,
        "external",
        &[
            "With it `docker compose down --volumes` leaves the data alone. The volume is made by",
            &format!("  docker volume create {volume}"),
        ],
    );
    text += &format!(
        "volumes:
  {DATA_KEY}:
    name: {volume}
    external: true
"
    );
    text
}

fn comment(service: &Deployment, kind: &str, about: &[&str]) -> String {
    let Deployment { name, file, .. } = service;
    let mut text = format!(
        "{MARK} from {file}.
#   docker compose -f {FOLDER}/{name}.yaml -f {FOLDER}/{name}.{kind}.yaml up --detach --wait
"
    );
    for line in about {
        text += &format!("# {line}\n");
    }
    text
}

fn head(service: &Deployment, kind: &str, about: &[&str]) -> String {
    format!(
        "{}services:\n  {}:\n",
        comment(service, kind, about),
        service.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::spec;
    use definition::spec::names::ImageName;
    use std::path::Path;

    fn file(name: &str, source: &str) -> String {
        let mut spec = spec();
        spec.app.as_mut().unwrap().source = source.into();
        let files = files(&Deployment::of(&spec, Path::new("/src")));
        let wanted = format!("{FOLDER}/{name}");
        let found = files.into_iter().find(|(path, _)| *path == wanted);
        found.unwrap().1
    }

    /// Never change what is expected here: compose would offer to delete the
    /// volumes of all who have run the file before.
    #[test]
    fn the_declaration_of_the_volume_stays_as_it_is() {
        let text = file("genie.yaml", "/src/app");
        let (_, block) = text.split_once("\nvolumes:\n").unwrap();
        assert_eq!(block, "  data:\n    name: genie-data\n");
        let external = file("genie.external.yaml", "/src/app");
        assert!(
            external.ends_with("volumes:\n  data:\n    name: genie-data\n    external: true\n"),
            "{external}"
        );
    }

    #[test]
    fn the_image_checks_its_health_and_makes_its_secrets() {
        let spec = spec();
        for (path, text) in files(&Deployment::of(&spec, Path::new("/src"))) {
            let has = |key: &str| text.lines().any(|line| line.trim() == format!("{key}:"));
            assert!(!has("healthcheck") && !has("secrets"), "{path}");
            // One number, and no secret.
            let metrics = "    environment:\n      HIVE_METRICS_PORT: \"9187\"\n    ports:";
            assert!(!has("environment") || text.contains(metrics), "{path}");
        }
    }

    #[test]
    fn an_image_without_data_has_no_volume() {
        let service = Deployment {
            keeps_data: false,
            ..Deployment::of(&spec(), Path::new("/src"))
        };
        let files = files(&service);
        let names: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            names,
            ["docker/compose/genie.yaml", "docker/compose/genie.dev.yaml"]
        );
        assert!(!files[0].1.contains("volume"), "{}", files[0].1);
    }

    #[test]
    fn an_app_alone_has_its_database_in_its_file_and_one_secret_of_the_two() {
        let spec = spec();
        let root = Path::new("/src");
        let named = |name: &str| ImageName::parse(name).unwrap();
        let service = Deployment {
            name: named("workspace"),
            keeps_data: false,
            database: Some(Box::new(Deployment {
                name: named("postgres"),
                port: 5432,
                published: 5532,
                source: None,
                ..Deployment::of(&spec, root)
            })),
            ..Deployment::of(&spec, root)
        };
        let files = files(&service);
        let names: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            names,
            [
                "docker/compose/workspace.yaml",
                "docker/compose/workspace.dev.yaml"
            ]
        );
        let whole = &files[0].1;
        for (text, times) in [
            ("\n  workspace:\n    image: ", 1),
            (
                "\n  postgres:\n    image: ${HIVE_POSTGRES_IMAGE:-hive-postgres:latest}",
                1,
            ),
            ("      postgres:\n        condition: service_healthy\n", 1),
            ("    secrets:\n      - hive_database_password\n", 2),
            ("    name: app_network\n", 1),
            ("    networks:\n      workspace:\n", 2),
            // As in the database's own file, but for the key.
            (
                "volumes:\n  postgres-data:\n    name: postgres-data\nsecrets:\n",
                1,
            ),
            ("    file: ${HIVE_WORKSPACE_PASSWORD:-./workspace.password}\n", 1),
        ] {
            assert_eq!(whole.matches(text).count(), times, "{text} in\n{whole}");
        }
    }

    #[test]
    fn a_database_alone_has_a_port_of_its_own_outside_and_no_app_to_develop() {
        let service = Deployment {
            port: 5432,
            published: 5532,
            source: None,
            ..Deployment::of(&spec(), Path::new("/src"))
        };
        let files = files(&service);
        let names: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        let kinds = ["", ".bind", ".external", ".metrics", ".archive"];
        assert_eq!(
            names,
            kinds.map(|kind| format!("docker/compose/genie{kind}.yaml"))
        );
        let whole = &files[0].1;
        let port = "- \"${HIVE_GENIE_BIND:-127.0.0.1}:${HIVE_GENIE_PORT:-5532}:5432\"";
        assert!(whole.contains(port), "{whole}");
        assert!(
            !whole.contains("env_file") && !whole.contains("the app"),
            "{whole}"
        );
    }

    #[test]
    fn a_folder_with_a_strange_name_is_named_as_it_is() {
        let text = file("genie.dev.yaml", "/a $HOME/\"q\" #");
        assert!(text.contains(r#"source: "../../../a $$HOME/\"q\" #""#), "{text}");
    }
}
