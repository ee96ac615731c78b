//! The unit of a service for Podman's Quadlet.

use crate::names;
use crate::{ARCHIVE, CHECK, DATA, Deployment, LIMITS, SCRATCH, SECRET, SECRETS, STOP_SECONDS, UID};

/// What `<image>.container` has to hold, for Podman to make a systemd unit of it.
pub fn unit(service: &Deployment) -> String {
    let Deployment {
        name,
        file,
        port,
        published,
        ..
    } = service;
    let network = names::network(name);
    let mut networks = vec![network.clone()];
    let (mut about, mut needs) = (String::new(), String::new());
    if let Some(database) = service.shared_database() {
        about = format!(
            "# The password of the database {database} is a line in a file:
#   podman secret create {} FILE
",
            names::password(database)
        );
    }
    if let Some(database) = &service.database {
        let database = &database.name;
        networks.push(names::network(database));
        about += &format!("# Its database is the unit {database}.container.\n");
        needs = format!("Requires={database}.service\nAfter={database}.service\n");
    }
    let mut text = format!(
        "# Do not edit: rendered by `cargo xtask render --for quadlet {name}` from {file}.
# As {name}.container in /etc/containers/systemd or ~/.config/containers/systemd; Podman 5.
{about}
[Unit]
Description={name} of {repository}
{needs}
[Container]
Image=localhost/{release}
Pull=never
ContainerName={name}
HostName={name}
PublishPort=127.0.0.1:{published}:{port}
{on}ReadOnly=true
# Else Podman mounts more than the container needs.
ReadOnlyTmpfs=false
DropCapability=all
NoNewPrivileges=true
PidsLimit={processes}
PodmanArgs=--memory={memory} --memory-reservation={reserved} --cpus={cpus}
StopTimeout={STOP_SECONDS}
",
        on = networks
            .iter()
            .map(|network| format!("Network={network}\n"))
            .collect::<String>(),
        repository = name.repository(),
        release = service.release(),
        processes = LIMITS.processes,
        memory = LIMITS.memory,
        reserved = LIMITS.reserved,
        cpus = LIMITS.cpus,
    );
    if service.keeps_data {
        text += &format!("Volume={}:{DATA}\n", names::volume(name));
    }
    if service.is_archived {
        text += &format!("Volume={}:{ARCHIVE}\n", names::archive(name));
    }
    if let Some(database) = service.shared_database() {
        text += &format!(
            "Secret={},type=mount,target={SECRET},uid={UID},gid={UID},mode=0400
# Podman makes no place for it in a root that is read-only.
Tmpfs={SECRETS}:rw,mode=0755
",
            names::password(database)
        );
    }
    for (folder, size) in SCRATCH {
        let size = size.map_or(String::new(), |size| format!(",size={size}"));
        text += &format!("Tmpfs={folder}:rw,mode=1777{size}\n");
    }
    text += &format!(
        "# The image's own check, which Podman does not find in an image that it has converted.
# It waits for migrations, however long they take.
HealthCmd={CHECK}
HealthInterval=5s
HealthRetries=2
HealthTimeout=24h
HealthStartPeriod={start}s
Notify=healthy

[Service]
{made}Restart=on-failure
# It cannot run like this: to try again does not help.
RestartPreventExitStatus=78
TimeoutStartSec=infinity
TimeoutStopSec={stop}

[Install]
WantedBy=default.target
",
        made = networks
            .iter()
            .map(|network| format!("ExecStartPre=/usr/bin/podman network create --ignore {network}\n"))
            .collect::<String>(),
        start = service.start_seconds,
        stop = STOP_SECONDS + 15,
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::spec;
    use crate::tests::with_database;
    use std::path::Path;

    #[test]
    fn the_log_goes_to_a_volume_of_its_own_where_that_is_wanted() {
        let service = Deployment::of(&spec(), Path::new("/src"));
        let line = "Volume=genie-archive:/var/lib/postgresql/archive";
        assert!(!unit(&service).contains(line));
        let archived = unit(&service.archived());
        assert!(archived.lines().any(|known| known == line), "{archived}");
        let specs = with_database();
        let app = Deployment::among(&specs, &specs[0], Path::new("/src"));
        assert!(!unit(&app.archived()).contains("archive"), "it has no log");
    }

    #[test]
    fn an_app_alone_comes_after_its_database_and_is_on_its_network() {
        let specs = with_database();
        let of = |n: usize| unit(&Deployment::among(&specs, &specs[n], Path::new("/src")));
        let secret =
            "Secret=data-password,type=mount,target=hive_database_password,uid=1000,gid=1000,mode=0400";
        for line in [
            "Requires=data.service",
            "After=data.service",
            "Network=hive_genie_network",
            "Network=hive_data_network",
            "ExecStartPre=/usr/bin/podman network create --ignore hive_data_network",
            secret,
        ] {
            let app = of(0);
            assert!(app.lines().any(|known| known == line), "{line}\n{app}");
        }
        let database = of(1);
        assert!(database.lines().any(|known| known == secret), "{database}");
        assert_eq!(database.matches("Network=").count(), 1, "{database}");
    }

    #[test]
    fn the_unit_is_ready_when_the_container_is_healthy() {
        let text = unit(&Deployment::of(&spec(), Path::new("/src")));
        for line in [
            "Image=localhost/hive-genie:latest",
            "ContainerName=genie",
            "Volume=genie-data:/var/lib/postgresql/data",
            "Tmpfs=/tmp:rw,mode=1777,size=256m",
            "StopTimeout=135",
            "TimeoutStopSec=150",
            "HealthCmd=/usr/local/lib/hive/healthcheck",
            "Notify=healthy",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
    }
}
