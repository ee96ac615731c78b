//! The objects of a service for Kubernetes.

use crate::names;
use crate::{ARCHIVE, CHECK, DATA, Deployment, LIMITS, SCRATCH, SECRET, SECRETS, STOP_SECONDS, UID};
use definition::spec::names::ImageName;

/// What the claim asks for: the cluster, its log and room. A claim can grow.
const STORAGE: &str = "10Gi";

/// Seconds between two start-up probes.
const STARTUP_PERIOD: u64 = 2;

/// A claim, a service and a stateful set, as YAML documents.
pub fn objects(service: &Deployment) -> String {
    let Deployment { name, file, port, .. } = service;
    let mut text =
        format!("# Do not edit: rendered by `cargo xtask render --for kubernetes {name}` from {file}.\n");
    if let Some(database) = service.shared_database() {
        text += &about_password(service, database);
    }
    if service.keeps_data {
        text += &claim(service, &names::volume(name));
    }
    if service.is_archived {
        text += &claim(service, &names::archive(name));
    }
    text += &format!(
        "---
apiVersion: v1
kind: Service
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: {name}
spec:
  selector:
    app.kubernetes.io/name: {name}
  ports:
    - name: {protocol}
      port: {port}
      targetPort: {protocol}
",
        protocol = service.protocol(),
    );
    text += &set(service);
    text
}

/// What has to be there before the objects.
fn about_password(service: &Deployment, database: &ImageName) -> String {
    let secret = names::password(database);
    let beside = match service.is_shared {
        true => String::new(),
        false => format!("# Its database is what `cargo xtask render --for kubernetes {database}` prints.\n"),
    };
    format!(
        "{beside}# The password of the database {database} is a line in a file:
#   kubectl create secret generic {secret} --from-file={SECRET}=FILE
"
    )
}

/// Not a template of the set: it has the name that the volume has everywhere, and
/// outlives the set whatever the set's policy is.
fn claim(service: &Deployment, volume: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {volume}
  labels:
    app.kubernetes.io/name: {name}
spec:
  accessModes:
    - ReadWriteOnce
  resources:
    requests:
      storage: {STORAGE}
",
        name = service.name,
    )
}

fn set(service: &Deployment) -> String {
    let Deployment { name, port, .. } = service;
    let mut text = format!(
        "---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: {name}
spec:
  serviceName: {name}
{why}  replicas: 1
  selector:
    matchLabels:
      app.kubernetes.io/name: {name}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: {name}
    spec:
      automountServiceAccountToken: false
      # Variables of other services, such as HIVE_API_PORT, are none of the app's.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {STOP_SECONDS}
      securityContext:
        runAsNonRoot: true
        runAsUser: {UID}
        runAsGroup: {UID}
        fsGroup: {UID}
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: {name}
          image: {release}
          imagePullPolicy: IfNotPresent
          ports:
            - name: {protocol}
              containerPort: {port}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop:
                - ALL
          resources:
            requests:
              cpu: 250m
              memory: {reserved}
            limits:
              cpu: \"{cpus}\"
              memory: {memory}
",
        why = match service.keeps_data {
            true => "  # One: two containers never use one cluster.\n",
            false => "",
        },
        release = service.release(),
        protocol = service.protocol(),
        reserved = quantity(LIMITS.reserved),
        cpus = LIMITS.cpus,
        memory = quantity(LIMITS.memory),
    );
    text += &probes(service);
    text += &mounts(service);
    text += &volumes(service);
    text
}

/// Where the set's container has its volumes.
fn mounts(service: &Deployment) -> String {
    let mut text = "          volumeMounts:\n".to_owned();
    if service.keeps_data {
        text += &format!("            - name: data\n              mountPath: {DATA}\n");
    }
    if service.is_archived {
        text += &format!("            - name: archive\n              mountPath: {ARCHIVE}\n");
    }
    if service.shared_database().is_some() {
        text += &format!(
            "            - name: password\n              mountPath: {SECRETS}\n              readOnly: true\n"
        );
    }
    for (folder, _) in SCRATCH {
        let name = scratch(folder);
        text += &format!("            - name: {name}\n              mountPath: {folder}\n");
    }
    text
}

/// The volumes themselves: claims, the secret, and memory for what is written in passing.
fn volumes(service: &Deployment) -> String {
    let name = &service.name;
    let mut text = "      volumes:\n".to_owned();
    if service.keeps_data {
        text += &format!(
            "        - name: data\n          persistentVolumeClaim:\n            claimName: {}\n",
            names::volume(name)
        );
    }
    if service.is_archived {
        text += &format!(
            "        - name: archive\n          persistentVolumeClaim:\n            claimName: {}\n",
            names::archive(name)
        );
    }
    if let Some(database) = service.shared_database() {
        text += &format!(
            "        - name: password
          secret:
            secretName: {}
",
            names::password(database)
        );
    }
    for (folder, size) in SCRATCH {
        let limit = size.map_or(String::new(), |size| {
            format!("            sizeLimit: {}\n", quantity(size))
        });
        let name = scratch(folder);
        text += &format!("        - name: {name}\n          emptyDir:\n            medium: Memory\n{limit}");
    }
    text
}

/// The image's own check, three times: it waits for migrations, however long they
/// take, so that none of them is cut off.
fn probes(service: &Deployment) -> String {
    let probe = |kind: &str, rest: &str| {
        format!(
            "          {kind}:
            exec:
              command:
                - {CHECK}
{rest}"
        )
    };
    let times = service.start_seconds.div_ceil(STARTUP_PERIOD);
    let startup = format!(
        "            periodSeconds: {STARTUP_PERIOD}
            timeoutSeconds: 86400
            failureThreshold: {times}
"
    );
    let readiness = "            periodSeconds: 5
            timeoutSeconds: 10
            failureThreshold: 2
";
    // The container starts its programs again by itself: this is for when nothing
    // inside helps any more.
    let liveness = "            periodSeconds: 30
            timeoutSeconds: 10
            failureThreshold: 10
";
    [
        probe("startupProbe", &startup),
        probe("readinessProbe", readiness),
        probe("livenessProbe", liveness),
    ]
    .concat()
}

/// The name of a volume for a folder: `/run/hive` → `run-hive`.
fn scratch(folder: &str) -> String {
    folder.trim_start_matches('/').replace('/', "-")
}

/// `256m` of the engine as Kubernetes says it, where `m` are thousandths.
fn quantity(size: &str) -> String {
    format!("{}i", size.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::spec;
    use crate::tests::with_database;
    use std::path::Path;

    #[test]
    fn an_app_alone_and_its_database_have_one_secret() {
        let specs = with_database();
        let of = |n: usize| objects(&Deployment::among(&specs, &specs[n], Path::new("/src")));
        for (text, times) in [(of(0), 0), (of(1), 1)] {
            assert_eq!(
                text.matches("kind: PersistentVolumeClaim").count(),
                times,
                "{text}"
            );
            assert_eq!(text.matches("secretName: data-password").count(), 1, "{text}");
            assert_eq!(text.matches("mountPath: /run/secrets\n").count(), 1, "{text}");
        }
        assert!(of(0).contains("`cargo xtask render --for kubernetes data`"));
        let other = objects(&Deployment::among(&specs[1..], &specs[1], Path::new("/src")));
        assert!(!other.contains("secret"), "nobody shares it: {other}");
    }

    #[test]
    fn sizes_are_in_the_words_of_kubernetes() {
        assert_eq!(
            (quantity("256m"), quantity("2g")),
            ("256Mi".to_owned(), "2Gi".to_owned())
        );
        assert_eq!(scratch("/var/log/hive"), "var-log-hive");
    }

    #[test]
    fn the_log_has_a_claim_of_its_own_where_that_is_wanted() {
        let service = Deployment::of(&spec(), Path::new("/src"));
        assert!(!objects(&service).contains("archive"));
        let text = objects(&service.clone().archived());
        assert_eq!(text.matches("kind: PersistentVolumeClaim").count(), 2, "{text}");
        for line in [
            "  name: genie-archive",
            "              mountPath: /var/lib/postgresql/archive",
            "            claimName: genie-archive",
        ] {
            assert_eq!(
                text.lines().filter(|known| *known == line).count(),
                1,
                "{line}\n{text}"
            );
        }
    }

    #[test]
    fn a_set_without_data_has_no_claim() {
        let mut service = Deployment::of(&spec(), Path::new("/src"));
        assert!(objects(&service).contains("kind: PersistentVolumeClaim"));
        service.keeps_data = false;
        let text = objects(&service);
        assert!(
            !text.contains("PersistentVolumeClaim") && !text.contains(DATA),
            "{text}"
        );
    }
}
