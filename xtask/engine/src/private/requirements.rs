//! What a machine must have for a private engine.

use std::path::Path;

use crate::INSTALL_ENGINE;
use crate::apt::sources::{self, OsRelease};
use definition::base::Distribution;
use failure::Failure;
use host::Host;

/// Something the machine lacks, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// A few words, such as `not root`.
    pub(crate) what: String,
    /// A whole instruction: what the user can do about it.
    pub(crate) remedy: String,
}

/// The machine, as far as the engine cares; read once, judged by
/// [`Machine::missing`].
#[derive(Debug)]
struct Machine {
    linux: bool,
    system: OsRelease,
    root: bool,
    /// `CapEff` of `/proc/self/status`, a bit for each capability.
    capabilities: u64,
    tun: bool,
    sources: usize,
    /// Tools that are not in `PATH`.
    tools: Vec<&'static str>,
}

/// All of these come with every Debian and Ubuntu; none needs a package that a
/// minimal system lacks.
const TOOLS: [&str; 11] = [
    "apt-get",
    "dpkg-deb",
    "unshare",
    "nsenter",
    "mount",
    "setsid",
    "flock",
    "readlink",
    "setpriv",
    "mountpoint",
    "xargs",
];

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;

/// Everything that is missing, at once.
pub(crate) fn missing(host: &Host) -> Vec<Missing> {
    read(host).missing()
}

/// One `Environment` failure for all of it.
pub(crate) fn refusal(missing: &[Missing]) -> Failure {
    let what: Vec<&str> = missing.iter().map(|missing| missing.what.as_str()).collect();
    let failure = failure::environment(format!("no private engine is possible here: {}", what.join("; ")));
    missing
        .iter()
        .fold(failure, |failure, missing| failure.hint(&missing.remedy))
}

fn read(host: &Host) -> Machine {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let is_there = |tool: &str| {
        let mut of_root = ["/usr/sbin", "/sbin"].iter().map(Path::new);
        host.program(tool).is_some() || of_root.any(|folder| folder.join(tool).is_file())
    };
    let system = OsRelease::read(Path::new("/"));
    let configured = sources::configured(Path::new("/")).unwrap_or_default();
    let sources = system.distribution.map_or(0, |distribution| {
        sources::of_suite(&configured, distribution, &system.codename).len()
    });
    Machine {
        linux: cfg!(target_os = "linux"),
        system,
        root: rustix::process::geteuid().is_root(),
        capabilities,
        tun: Path::new("/dev/net/tun").exists(),
        sources,
        tools: TOOLS.into_iter().filter(|tool| !is_there(tool)).collect(),
    }
}

impl Machine {
    fn missing(&self) -> Vec<Missing> {
        let mut list = Vec::new();
        let mut need = |ok: bool, what: String, remedy: &str| {
            if !ok {
                let remedy = remedy.to_owned();
                list.push(Missing { what, remedy });
            }
        };
        need(self.linux, "this is not Linux".to_owned(), INSTALL_ENGINE);
        let known = self.system.distribution.is_some();
        let name = if self.system.pretty.is_empty() {
            "an unknown system"
        } else {
            &self.system.pretty
        };
        need(
            known || !self.linux,
            format!("{name} is neither Debian nor Ubuntu"),
            INSTALL_ENGINE,
        );
        if !self.linux || !known {
            return list;
        }
        need(
            self.root,
            "not root".to_owned(),
            "run it as root, or have Docker Engine 25 or newer installed",
        );
        for (bit, capability) in [(CAP_NET_ADMIN, "CAP_NET_ADMIN"), (CAP_SYS_ADMIN, "CAP_SYS_ADMIN")] {
            need(
                !self.root || self.capabilities & (1 << bit) != 0,
                format!("root without {capability}"),
                "start this container with --privileged, or mount the socket of an engine into it",
            );
        }
        need(
            self.tun,
            "no /dev/net/tun".to_owned(),
            "load the module with `modprobe tun`; in a container, start it with --device /dev/net/tun",
        );
        let archive = self.system.distribution.map_or("", Distribution::name);
        need(
            self.sources > 0,
            format!("apt has no source for {archive} {}", self.system.codename),
            "add the distribution's archive to /etc/apt/sources.list.d",
        );
        for tool in &self.tools {
            need(
                false,
                format!("no {tool}"),
                "install the packages apt, dpkg, util-linux, mount, coreutils and findutils",
            );
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            linux: true,
            system: OsRelease {
                distribution: Some(Distribution::Debian),
                codename: "trixie".to_owned(),
                pretty: "Debian GNU/Linux 13 (trixie)".to_owned(),
            },
            root: true,
            capabilities: u64::MAX,
            tun: true,
            sources: 1,
            tools: Vec::new(),
        }
    }

    #[test]
    fn a_plain_machine_lacks_nothing() {
        assert_eq!(machine().missing(), []);
    }

    #[test]
    fn everything_is_named_at_once() {
        let poor = Machine {
            root: false,
            tun: false,
            sources: 0,
            ..machine()
        };
        let failure = refusal(&poor.missing());
        assert_eq!(failure.kind, failure::FailureKind::Environment);
        for part in [
            "not root",
            "no /dev/net/tun",
            "apt has no source for debian trixie",
        ] {
            assert!(failure.message.contains(part), "{}", failure.message);
        }
        assert_eq!(failure.hints.len(), 3);
    }

    #[test]
    fn a_container_without_rights_is_told_so() {
        let boxed = Machine {
            capabilities: 0,
            ..machine()
        };
        let whats: Vec<String> = boxed.missing().into_iter().map(|missing| missing.what).collect();
        assert_eq!(
            whats,
            ["root without CAP_NET_ADMIN", "root without CAP_SYS_ADMIN"]
        );
    }

    #[test]
    fn other_systems_get_one_answer() {
        let mut other = machine();
        other.system.distribution = None;
        other.system.pretty = "Fedora Linux 41".to_owned();
        let missing = other.missing();
        assert_eq!(missing.len(), 1);
        assert!(missing[0].what.contains("Fedora Linux 41"));
    }
}
