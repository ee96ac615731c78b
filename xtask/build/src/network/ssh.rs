//! Git repositories that apps' dependencies come from by SSH. The keys stay with the
//! machine's agent, which BuildKit asks for each signature; who a host is says the
//! machine's `known_hosts`.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// The secret with the machine's known hosts.
pub(super) const KNOWN_HOSTS: &str = "known-hosts";

/// What git calls in a build step. A host that nobody knows is no host.
pub(super) const COMMAND: &str = "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=/dev/null \
     -o UserKnownHostsFile=/run/secrets/known-hosts";

/// What an app takes by SSH, and what the machine has for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GitBySsh {
    /// Each host, with the file that names it.
    wanted: Vec<(PathBuf, String)>,
    /// `SSH_AUTH_SOCK`, where an agent answers there.
    agent: Option<PathBuf>,
}

impl GitBySsh {
    /// Of the hosts that an app takes packages from, each with the file that names it.
    pub(super) fn of(wanted: Vec<(PathBuf, String)>, agent: Option<&String>) -> Self {
        let agent = agent.map(PathBuf::from);
        Self {
            agent: agent.filter(|socket| !wanted.is_empty() && UnixStream::connect(socket).is_ok()),
            wanted,
        }
    }

    /// Whether the app wants it.
    pub(super) fn is_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// The agent's socket, where the app wants it.
    pub(super) fn agent(&self) -> Option<&Path> {
        self.agent.as_deref()
    }

    /// The lines of a `known_hosts` that may be about the app's hosts: those of their
    /// names, of patterns, and those whose names are hashed.
    pub(super) fn known(&self, known_hosts: &str) -> String {
        let is_wanted = |line: &&str| {
            let mut words = line.split_whitespace().filter(|word| !word.starts_with('@'));
            let names = words.next().unwrap_or_default();
            names.split(',').any(|name| {
                let bare = name.strip_prefix('[').and_then(|rest| rest.split(']').next());
                let bare = bare.unwrap_or(name);
                name.starts_with('|')
                    || name.contains(['*', '?'])
                    || self
                        .wanted
                        .iter()
                        .any(|(_, host)| host.eq_ignore_ascii_case(bare))
            })
        };
        let lines = known_hosts
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        lines.filter(is_wanted).map(|line| format!("{line}\n")).collect()
    }

    /// Refuses an app that would wait for nobody's key.
    ///
    /// # Errors
    /// Where the app wants an agent and none answers.
    pub(super) fn check(&self) -> Result<()> {
        let (None, Some((file, host))) = (&self.agent, self.wanted.first()) else {
            return Ok(());
        };
        let message = format!(
            "{} takes a package from {host} by SSH, and no agent answers at SSH_AUTH_SOCK",
            file.display()
        );
        Err(failure::environment(message)
            .hint("start one and give it the key: eval \"$(ssh-agent)\" && ssh-add")
            .hint("or name the repository by https://, with its login in a netrc file")
            .into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn of_all_known_hosts_those_go_along_that_may_be_the_apps() {
        let ssh = GitBySsh {
            wanted: vec![(PathBuf::from("uv.lock"), "git.example".to_owned())],
            agent: None,
        };
        let lines = [
            "git.example,192.0.2.1 ssh-ed25519 A",
            "[git.example]:2222 ssh-ed25519 B",
            "@cert-authority *.example ssh-ed25519 C",
            "|1|c2FsdA==|aGFzaA== ssh-ed25519 D",
        ];
        let others = [
            "# mine",
            "other.example ssh-ed25519 E",
            "@revoked nogit.example ssh-rsa F",
        ];
        let all = [&others[..], &lines, &["third.example ssh-rsa G"; 4000]].concat();
        assert_eq!(ssh.known(&all.join("\n")), format!("{}\n", lines.join("\n")));
    }

    #[test]
    fn an_app_without_an_agent_is_refused_by_its_file_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("app/requirements/base.txt");
        let wanted = || vec![(file.clone(), "git.example".to_owned())];
        let socket = dir.path().join("agent");
        let named = socket.display().to_string();
        // A socket that nobody listens on is no agent.
        drop(UnixListener::bind(&socket).unwrap());
        for agent in [None, Some(&named)] {
            let found = GitBySsh::of(wanted(), agent);
            assert!(found.is_wanted());
            let error = found.check().unwrap_err();
            assert_eq!(failure::kind(&error), failure::FailureKind::Environment);
            let said = failure::render(&error).replace(&dir.path().display().to_string(), "");
            assert!(
                said.starts_with(
                    "error: /app/requirements/base.txt takes a package from git.example by SSH, and no agent answers at SSH_AUTH_SOCK"
                ),
                "{said}"
            );
        }
        fs_err::remove_file(&socket).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        let found = GitBySsh::of(wanted(), Some(&named));
        assert!(found.check().is_ok());
        assert_eq!(found.agent(), Some(socket.as_path()));
        // Nobody's else: neither another app, nor an image without one.
        let none = GitBySsh::of(Vec::new(), Some(&named));
        assert!(!none.is_wanted() && none.agent().is_none() && none.check().is_ok());
    }
}
