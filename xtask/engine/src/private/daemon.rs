//! One run of the private engine: its files, its start, its end.
//!
//! `launch.sh` puts it into process, mount and network namespaces of its own.
//! The first process keeps a lock for as long as it lives, which is the one
//! truth about "running": no stale pid file can say otherwise, after kill -9
//! or a reboot.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal};
use serde_json::json;

use crate::api::Api;
use crate::private::network::{self, Network};
use crate::private::packages::Packages;

use host::Host;
use inputs::regular;

const LAUNCH: &str = include_str!("launch.sh");

/// dockerd calls this in place of docker-proxy, next to what it needs.
const FORWARD: &str =
    "#!/bin/sh\nhere=${0%/*}\nexec \"$here/forwarder\" forward-port \"$here/host.net\" \"$@\"\n";

/// Containers get ten seconds to stop, dockerd a few more.
const STOP: Duration = Duration::from_secs(30);

/// Until the API answers; 1.5 s on a quiet machine.
const START: Duration = Duration::from_secs(90);

/// What a healthy engine needs for an answer is a thousandth of this.
const PATIENCE: Duration = Duration::from_secs(3);

/// The kernel refuses longer socket paths.
const SOCKET_PATH_LIMIT: usize = 107;

/// The folder of a run and what belongs to it.
#[derive(Debug)]
pub(crate) struct Daemon {
    run: PathBuf,
    data: PathBuf,
    cgroup: String,
}

impl Daemon {
    /// The engine whose files of one run lie in `run` and whose images,
    /// containers and volumes lie in `data`.
    pub(crate) fn new(run: PathBuf, data: PathBuf) -> Self {
        let id = blake3::hash(run.as_os_str().as_encoded_bytes()).to_hex();
        let cgroup = format!("hive-engine-{}", &id.as_str()[..8]);
        Self { run, data, cgroup }
    }

    /// The socket that dockerd serves its API on.
    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("docker.sock")
    }

    /// What dockerd, containerd and slirp4netns print.
    pub(crate) fn log(&self) -> PathBuf {
        self.run.join("engine.log")
    }

    /// `DOCKER_CONFIG` for its command: knows where buildx lies.
    pub(crate) fn client_config(&self) -> PathBuf {
        self.run.join("client")
    }

    /// The process at the top, if the engine lives: the file may be of an
    /// earlier run, so it has to hold the lock.
    pub(crate) fn pid(&self) -> Option<Pid> {
        let text = fs_err::read_to_string(self.run.join("pid")).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?)?;
        holds_lock(pid, &self.lock()).then_some(pid)
    }

    /// Held for as long as any process of the engine lives.
    fn lock(&self) -> PathBuf {
        self.run.join("alive")
    }

    /// Whether any process of it lives, answering or not.
    pub(crate) fn is_alive(&self) -> bool {
        let Ok(lock) = File::options().read(true).write(true).open(self.lock()) else {
            return false;
        };
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
    }

    /// Whether dockerd answers on its socket in time.
    pub(crate) fn answers(&self) -> bool {
        Api::at_socket(self.socket()).answers(PATIENCE)
    }

    /// An error where the kernel has no room for the socket's path.
    ///
    /// # Errors
    /// `Environment`, with the path.
    pub(crate) fn socket_fits(&self) -> Result<()> {
        let socket = self.socket();
        if socket.as_os_str().len() > SOCKET_PATH_LIMIT {
            return Err(failure::environment(format!(
                "the engine's socket path is too long for the kernel (limit {SOCKET_PATH_LIMIT}): {}",
                socket.display()
            ))
            .hint("set HIVE_CACHE_DIR to a folder with a shorter path")
            .into());
        }
        Ok(())
    }

    /// Starts it and waits until the API answers. `program` is a copy of this
    /// tool, which forwards published ports.
    ///
    /// # Errors
    /// `Environment` with the end of the log when it does not come up.
    pub(crate) fn start(&self, packages: &Packages, program: &Path, host: &Host) -> Result<()> {
        self.socket_fits()?;
        let routes = fs_err::read_to_string("/proc/net/route").unwrap_or_default();
        let network = network::choose(&routes);
        self.write_files(packages, program, network)?;
        let log = self.new_log()?;
        let libraries: Vec<String> = packages
            .libraries()
            .iter()
            .map(|dir| dir.display().to_string())
            .collect();
        let modules: Vec<String> = libraries.iter().map(|dir| format!("{dir}/xtables")).collect();
        let modules = modules.iter().find(|dir| Path::new(dir).is_dir());
        let mut command = host
            .runner
            .cmd("setsid")
            .arg("sh")
            .arg(self.run.join("launch.sh"))
            .arg("processes")
            .env("PATH", packages.path())
            .env("LD_LIBRARY_PATH", libraries.join(":"))
            .env("HIVE_RUN", &self.run)
            .env("HIVE_CIDR", network.cidr())
            .env("HIVE_PORTS", self.random_ports())
            .env("HIVE_LEGACY", packages.legacy_iptables())
            .env_remove("DOCKER_HOST")
            .env_remove("NOTIFY_SOCKET");
        if let Some(modules) = modules {
            command = command.env("XTABLES_LIBDIR", modules);
        }
        // setsid leaves at once; the engine is no child of ours.
        command.detach(log)?.wait().context("wait for setsid")?;
        self.wait_until_up(host)
    }

    /// An empty log. The one before stays beside it: where an engine has ended by
    /// itself, the next command starts it again, and why it ended stands there.
    fn new_log(&self) -> Result<File> {
        let log = self.log();
        match std::fs::rename(&log, log.with_extension("log.before")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("rename {}", log.display()));
            }
            _ => {}
        }
        File::create(&log).with_context(|| format!("create {}", log.display()))
    }

    /// Stops it with everything in it and removes what it left on the host.
    /// Returns whether it was running.
    ///
    /// # Errors
    /// When it survives even SIGKILL.
    pub(crate) fn stop(&self, host: &Host) -> Result<bool> {
        let was_alive = self.is_alive();
        if let Some(top) = self.pid() {
            if let Some(init) = child_of(top) {
                // It may have ended meanwhile.
                rustix::process::kill_process(init, Signal::TERM).ok();
                self.wait_until_gone(STOP);
            }
            if self.is_alive() {
                host.report.warn("the engine does not stop, killing it");
                rustix::process::kill_process(top, Signal::KILL).ok();
                self.wait_until_gone(Duration::from_secs(10));
            }
        }
        if self.is_alive() {
            let message = format!("the engine in {} cannot be stopped", self.run.display());
            return Err(failure::environment(message)
                .hint(format!("what holds its lock: fuser -v {}", self.lock().display()))
                .into());
        }
        self.remove_cgroups();
        for file in ["docker.sock", "pid", "host.net", "engine.net"] {
            match fs_err::remove_file(self.run.join(file)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(was_alive)
    }

    /// Waits until the API answers, for as long as the engine lives.
    ///
    /// # Errors
    /// `Environment` with the end of the log.
    pub(crate) fn wait_until_up(&self, host: &Host) -> Result<()> {
        let started = Instant::now();
        let mut seen_alive = false;
        while started.elapsed() < START {
            if self.answers() {
                return Ok(());
            }
            let alive = self.is_alive();
            if !alive && (seen_alive || started.elapsed() > Duration::from_secs(8)) {
                break;
            }
            seen_alive |= alive;
            host.runner.sleep(Duration::from_millis(20))?;
        }
        let log = fs_err::read(self.log()).unwrap_or_default();
        Err(failure::environment(format!(
            "the private engine did not start{}",
            host::process::tail(&log)
        ))
        .hint(format!("its whole log: {}", self.log().display()))
        .hint("start afresh, deleting its images and volumes: cargo xtask engine purge --delete-data")
        .into())
    }

    /// `first last`, as the kernel wants it.
    fn random_ports(&self) -> String {
        let table = |name: &str| fs_err::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
        // Hex digits of a hash, so a number.
        let seed = u64::from_str_radix(self.id(), 16).unwrap_or(0);
        let ports = network::random_ports(seed, &(table("tcp") + &table("tcp6")));
        format!("{} {}", ports.start(), ports.end())
    }

    /// The eight hex digits by which this engine differs from others of the
    /// machine: they follow from its folder.
    fn id(&self) -> &str {
        self.cgroup.rsplit('-').next().unwrap_or_default()
    }

    fn wait_until_gone(&self, patience: Duration) {
        let started = Instant::now();
        while self.is_alive() && started.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn write_files(&self, packages: &Packages, program: &Path, network: Network) -> Result<()> {
        fs_err::create_dir_all(&self.data)?;
        fs_err::create_dir_all(self.client_config())?;
        // It has the lock, the socket, and logins of `docker login`.
        for folder in [&self.run, &self.client_config()] {
            fs_err::set_permissions(folder, Permissions::from_mode(0o700))?;
        }
        let daemon = self.configuration(packages, network);
        fs_err::write(self.run.join("daemon.json"), serde_json::to_vec_pretty(&daemon)?)?;
        // The file may hold registry logins by now; only our key is ours.
        let client = self.client_config().join("config.json");
        let mut config: serde_json::Value = fs_err::read(&client)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_else(|| json!({}));
        config["cliPluginsExtraDirs"] = json!([packages.cli_plugins()]);
        // The docker command keeps the mode of a file that is there.
        regular::replace(&client, &serde_json::to_vec_pretty(&config)?)
            .with_context(|| format!("write {}", client.display()))?;
        let resolv = fs_err::read_to_string("/etc/resolv.conf").unwrap_or_default();
        fs_err::write(self.run.join("resolv.conf"), resolver(&resolv, network))?;
        fs_err::write(self.run.join("launch.sh"), LAUNCH)?;
        // By rename: the old one may still be mapped by a dying process.
        let copy = self.run.join("forwarder.new");
        fs_err::copy(program, &copy)?;
        fs_err::rename(copy, self.run.join("forwarder"))?;
        let script = self.run.join("port-forward");
        fs_err::write(&script, FORWARD)?;
        for file in ["forwarder", "port-forward"] {
            fs_err::set_permissions(self.run.join(file), Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    fn configuration(&self, packages: &Packages, network: Network) -> serde_json::Value {
        json!({
            "data-root": self.data,
            // Both in the /run that only the engine sees.
            "exec-root": "/run/docker",
            "pidfile": "/run/docker.pid",
            "hosts": [format!("unix://{}", self.socket().display())],
            "userland-proxy-path": self.run.join("port-forward"),
            "init-path": packages.init(),
            "cgroup-parent": format!("/{}", self.cgroup),
            // systemd would take the pids of the engine's namespace for its own.
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "dns": [network.dns()],
            // The image ID is the config's digest, the same on every engine.
            "features": {"containerd-snapshotter": false},
        })
    }

    /// Empty groups stay after the engine was killed.
    fn remove_cgroups(&self) {
        let top = Path::new("/sys/fs/cgroup");
        let mut hierarchies = vec![top.to_owned()];
        if let Ok(entries) = fs_err::read_dir(top) {
            hierarchies.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        }
        for hierarchy in hierarchies {
            remove_group(&hierarchy.join(&self.cgroup));
        }
    }
}

fn remove_group(group: &Path) {
    let Ok(entries) = fs_err::read_dir(group) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    // A group that is still in use goes with the next stop.
    fs_err::remove_dir(group).ok();
}

/// The host's search list and options, the engine's name server.
fn resolver(host: &str, network: Network) -> String {
    let kept = host
        .lines()
        .filter(|line| !line.trim_start().starts_with("nameserver"));
    let kept = kept.filter(|line| !line.trim().is_empty() && !line.starts_with(['#', ';']));
    let mut text = format!("nameserver {}\n", network.dns());
    for line in kept {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Whether a process has the file open with a lock on it: `lock:` lines of
/// `/proc/PID/fdinfo` (proc(5)) are of that very handle.
fn holds_lock(pid: Pid, file: &Path) -> bool {
    let Ok(wanted) = std::fs::metadata(file) else {
        return false;
    };
    let process = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let handles = std::fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    handles.into_iter().any(|handle| {
        let open = std::fs::metadata(handle.path());
        let info = || std::fs::read_to_string(process.join("fdinfo").join(handle.file_name()));
        open.is_ok_and(|open| (open.dev(), open.ino()) == (wanted.dev(), wanted.ino()))
            && info().is_ok_and(|info| info.contains("FLOCK"))
    })
}

/// The first child of a process: of `unshare --fork`, the first process of the
/// engine's namespace, which forwards signals to dockerd.
fn child_of(parent: Pid) -> Option<Pid> {
    let wanted = format!("PPid:\t{}", parent.as_raw_nonzero());
    let processes = fs_err::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let status = fs_err::read_to_string(entry.path().join("status")).ok()?;
        status
            .lines()
            .any(|line| line == wanted)
            .then(|| Pid::from_raw(pid))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolver_keeps_search_and_replaces_servers() {
        let host = "# made by x\nnameserver 127.0.0.53\noptions edns0\nsearch corp.example\n";
        let network = network::choose("");
        assert_eq!(
            resolver(host, network),
            "nameserver 10.0.2.3\noptions edns0\nsearch corp.example\n"
        );
    }

    #[test]
    fn alive_is_what_the_lock_says() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::new(dir.path().to_owned(), dir.path().join("data"));
        assert!(!daemon.is_alive());
        let lock = File::create(dir.path().join("alive")).unwrap();
        let pid = |pid: u32| {
            fs_err::write(dir.path().join("pid"), format!("{pid}\n")).unwrap();
            daemon.pid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned())
        };
        let us = std::process::id();
        assert_eq!(pid(us), None, "a stale pid must not count");
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
        assert!(daemon.is_alive());
        assert_eq!(pid(us), Some(us));
        assert_eq!(pid(1), None, "nor may somebody else be killed for the holder");
        // Not by closing it: until it has started its program, a child that another test starts at
        // this moment has the file open, too.
        rustix::fs::flock(&lock, FlockOperation::Unlock).unwrap();
        assert!(!daemon.is_alive());
    }

    #[test]
    fn the_log_of_the_engine_before_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::new(dir.path().to_owned(), dir.path().join("data"));
        drop(daemon.new_log().unwrap());
        fs_err::write(daemon.log(), "why it ended").unwrap();
        drop(daemon.new_log().unwrap());
        let read = |name: &str| fs_err::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(
            (read("engine.log").as_str(), read("engine.log.before").as_str()),
            ("", "why it ended")
        );
    }

    #[test]
    fn two_engines_never_share_a_cgroup() {
        let daemon = |dir: &str| Daemon::new(PathBuf::from(dir), PathBuf::from("/d"));
        assert_ne!(daemon("/a/run").cgroup, daemon("/b/run").cgroup);
        assert_eq!(daemon("/a/run").cgroup, daemon("/a/run").cgroup);
    }

    #[test]
    fn children_are_found() {
        let own = rustix::process::getpid();
        let parent = rustix::process::getppid().unwrap();
        assert!(child_of(parent).is_some());
        assert_ne!(child_of(parent), Some(parent));
        assert!(own.as_raw_nonzero().get() > 0);
    }
}
