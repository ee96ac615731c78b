//! Git repositories that apps' dependencies come from by SSH. The keys stay with the
//! machine's agent, which BuildKit asks for each signature; who a host is says the
//! machine's `known_hosts`.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Result;

use inputs::regular;

/// The secret with the machine's known hosts.
pub(super) const KNOWN_HOSTS: &str = "known-hosts";

/// What git calls in a build step. A host that nobody knows is no host.
pub(super) const COMMAND: &str = "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=/dev/null \
     -o UserKnownHostsFile=/run/secrets/known-hosts";

/// What apps take by SSH, and what the machine has for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GitBySsh {
    /// The apps that do, each with the file that says so and the host.
    apps: Vec<(PathBuf, String, String)>,
    /// `SSH_AUTH_SOCK`, where an agent answers there.
    agent: Option<PathBuf>,
}

impl GitBySsh {
    /// Looks at the files in which apps name repositories.
    pub(super) fn of(apps: &[&Path], files: &[&str], agent: Option<&String>) -> Self {
        let named = |app: &Path| {
            let requirements = listed(app).chain(listed(&app.join("requirements")));
            let requirements = requirements.filter_map(|path| {
                let name = path.strip_prefix(app).ok()?.to_str()?.to_owned();
                (name.starts_with("requirements") && name.ends_with(".txt")).then_some(name)
            });
            let files = files.iter().map(|file| (*file).to_owned());
            let mut all = files.chain(requirements);
            all.find_map(|file| {
                let text = regular::read_to_string(&app.join(&file)).ok()?;
                Some((app.to_owned(), file, host(&text)?))
            })
        };
        let apps: Vec<_> = apps.iter().filter_map(|app| named(app)).collect();
        let agent = agent.map(PathBuf::from);
        Self {
            agent: agent.filter(|socket| !apps.is_empty() && UnixStream::connect(socket).is_ok()),
            apps,
        }
    }

    /// Whether any app wants it.
    pub(super) fn is_wanted(&self) -> bool {
        !self.apps.is_empty()
    }

    /// The agent's socket, where an app wants it.
    pub(super) fn agent(&self) -> Option<&Path> {
        self.agent.as_deref()
    }

    /// Refuses apps that would wait for nobody's key.
    ///
    /// # Errors
    /// Where no agent answers and one of these apps wants one.
    pub(super) fn check(&self, building: &[&Path]) -> Result<()> {
        if self.agent.is_some() {
            return Ok(());
        }
        let wanting = |(app, ..): &&(PathBuf, String, String)| building.contains(&app.as_path());
        let Some((app, file, host)) = self.apps.iter().find(wanting) else {
            return Ok(());
        };
        let message = format!(
            "{} takes a package from {host} by SSH, and no agent answers at SSH_AUTH_SOCK",
            app.join(file).display()
        );
        Err(failure::environment(message)
            .hint("start one and give it the key: eval \"$(ssh-agent)\" && ssh-add")
            .hint("or name the repository by https://, with its login in a netrc file")
            .into())
    }
}

fn listed(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// The host of the first repository in a text that is reached by SSH:
/// `git+ssh://git@host:22/path`, or `git@host:path` where a lock has a URL.
fn host(text: &str) -> Option<String> {
    let after = |(at, sign): (usize, &str)| text[at + sign.len()..].split(['/', '"', ' ', '\n']).next();
    let by_scheme = text.match_indices("ssh://").filter_map(after);
    let by_path = text.match_indices("\"git@").filter_map(after);
    let by_path = by_path.filter(|authority| authority.contains(':'));
    let authority = by_scheme.chain(by_path).next()?;
    let host = authority.rsplit('@').next()?.split(':').next()?;
    (!host.is_empty()).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn repositories_by_ssh_are_seen_in_each_list() {
        for (text, found) in [
            ("x @ git+ssh://git@git.example/org/x.git@v1", Some("git.example")),
            (
                "source = { git = \"ssh://git@git.example:2222/x?rev=1#0\" }",
                Some("git.example"),
            ),
            ("url = \"git@git.example:org/x.git\"", Some("git.example")),
            ("x @ git+https://git.example/x.git", None),
            ("email = \"git@example.org\" # https://example.org:1", None),
        ] {
            assert_eq!(host(text).as_deref(), found, "{text}");
        }
    }

    #[test]
    fn an_app_without_an_agent_is_refused_by_its_file_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let (app, other) = (dir.path().join("app"), dir.path().join("other"));
        for folder in [&app.join("requirements"), &other] {
            fs_err::create_dir_all(folder).unwrap();
        }
        fs_err::write(
            app.join("requirements/base.txt"),
            "x @ git+ssh://git@git.example/x\n",
        )
        .unwrap();
        let socket = dir.path().join("agent");
        let apps = [app.as_path(), other.as_path()];
        let of = |agent: Option<&Path>| {
            let agent = agent.map(|path| path.display().to_string());
            GitBySsh::of(&apps, &["uv.lock"], agent.as_ref())
        };
        // A socket that nobody listens on is no agent.
        drop(UnixListener::bind(&socket).unwrap());
        for agent in [None, Some(socket.as_path())] {
            let found = of(agent);
            assert!(found.is_wanted() && found.check(&[&other]).is_ok());
            let error = found.check(&apps).unwrap_err();
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
        let found = of(Some(&socket));
        assert!(found.check(&apps).is_ok());
        assert_eq!(found.agent(), Some(socket.as_path()));
        let none = GitBySsh::of(&[&other], &["uv.lock"], Some(&socket.display().to_string()));
        assert!(!none.is_wanted() && none.agent().is_none());
    }
}
