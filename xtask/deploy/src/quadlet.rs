//! The unit of a service for Podman's Quadlet.

use crate::names;
use crate::{CHECK, DATA, Deployment, LIMITS, SCRATCH, STOP_SECONDS};

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
    let mut text = format!(
        "# Do not edit: rendered by `cargo xtask render --for quadlet {name}` from {file}.
# As {name}.container in /etc/containers/systemd or ~/.config/containers/systemd; Podman 5.

[Unit]
Description={name} of {repository}

[Container]
Image=localhost/{release}
Pull=never
ContainerName={name}
HostName={name}
PublishPort=127.0.0.1:{published}:{port}
Network={network}
ReadOnly=true
# Else Podman mounts more than the container needs.
ReadOnlyTmpfs=false
DropCapability=all
NoNewPrivileges=true
PidsLimit={processes}
PodmanArgs=--memory={memory} --memory-reservation={reserved} --cpus={cpus}
StopTimeout={STOP_SECONDS}
",
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
ExecStartPre=/usr/bin/podman network create --ignore {network}
Restart=on-failure
# It cannot run like this: to try again does not help.
RestartPreventExitStatus=78
TimeoutStartSec=infinity
TimeoutStopSec={stop}

[Install]
WantedBy=default.target
",
        start = service.start_seconds,
        stop = STOP_SECONDS + 15,
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::spec;
    use std::path::Path;

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
