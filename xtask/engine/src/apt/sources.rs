//! The machine's package sources: read from apt's two formats, narrowed to the
//! distribution's own archive, with the passwords of their mirrors kept apart.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use definition::base::Distribution;

/// One stanza: mirrors, suites and the key that signs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    /// A keyring's path, a fingerprint or a whole key block; apt's own trusted
    /// keys where it is absent.
    signed_by: Option<String>,
    /// The user's own decision for mirrors that stand still, such as snapshots: what
    /// is signed counts also when it is older than it says it may be.
    may_be_expired: bool,
    /// What stood before the `@` of the mirrors.
    logins: Vec<Login>,
}

/// A user and password of a mirror. They are for apt alone: no URI that is
/// shown or written into an image has them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// The mirror's URI without user and password.
    mirror: String,
    user: String,
    password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a login of {}", self.mirror)
    }
}

impl Login {
    /// Takes it out of a URI that has one.
    fn take(uri: &mut String) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        let host = rest.split('/').next()?;
        let (login, _) = host.rsplit_once('@')?;
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (user, password) = (unescaped(user), unescaped(password));
        let mirror = format!("{scheme}://{}", &rest[login.len() + 1..]);
        uri.clone_from(&mirror);
        Some(Self {
            mirror,
            user,
            password,
        })
    }
}

/// The logins of all sources, as a file that apt reads (apt_auth.conf(5)); none
/// where there are none.
pub fn auth_conf(sources: &[Source]) -> Option<String> {
    let mut lines: Vec<String> = sources
        .iter()
        .flat_map(|source| &source.logins)
        .map(|login| {
            format!(
                "machine {} login {} password {}\n",
                login.mirror, login.user, login.password
            )
        })
        .collect();
    lines.dedup();
    (!lines.is_empty()).then(|| lines.concat())
}

/// A part of a URI with its `%XX` as the bytes that they stand for.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.extend(code.or(Some(b'%')));
        bytes.extend(&part.as_bytes()[if code.is_some() { 2 } else { 0 }..]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What os-release says of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OsRelease {
    /// Absent for anything that is neither Debian nor Ubuntu.
    pub distribution: Option<Distribution>,
    /// `trixie`; empty where os-release has none.
    pub codename: String,
    /// Its name for people: `Debian GNU/Linux 12 (bookworm)`.
    pub pretty: String,
}

impl OsRelease {
    /// Reads `/etc/os-release` below `root`; a missing file gives an unknown
    /// system.
    pub fn read(root: &Path) -> Self {
        let text = fs_err::read_to_string(root.join("etc/os-release")).unwrap_or_default();
        Self::parse(&text)
    }

    fn parse(os_release: &str) -> Self {
        let field = |key: &str| {
            os_release
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .map(|value| value.trim_matches(['"', '\'']).to_owned())
                .unwrap_or_default()
        };
        Self {
            distribution: Distribution::parse(&field("ID")),
            codename: field("VERSION_CODENAME"),
            pretty: field("PRETTY_NAME"),
        }
    }
}

impl Source {
    /// The addresses of its mirrors.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        self.uris.iter().map(String::as_str)
    }

    /// As a stanza of a `.sources` file.
    pub fn to_stanza(&self) -> String {
        let mut text = format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: {}\n",
            self.uris.join(" "),
            self.suites.join(" "),
            self.components.join(" ")
        );
        if let Some(key) = &self.signed_by {
            text.push_str(&format!("Signed-By: {key}\n"));
        }
        if self.may_be_expired {
            text.push_str("Check-Valid-Until: no\n");
        }
        text
    }

    /// As one-line entries, one for each mirror and suite, with `keyring`.
    pub fn to_lines(&self, keyring: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let expired = if self.may_be_expired {
            "check-valid-until=no "
        } else {
            ""
        };
        for uri in &self.uris {
            for suite in &self.suites {
                let components = self.components.join(" ");
                lines.push(format!(
                    "deb [{expired}signed-by={keyring}] {uri} {suite} {components}"
                ));
            }
        }
        lines
    }

    /// The key block, where the source contains one, without apt's indentation.
    pub fn key_block(&self) -> Option<String> {
        let block = self
            .signed_by
            .as_deref()
            .filter(|key| key.contains("BEGIN PGP"))?;
        let lines = block.lines().map(|line| match line.trim() {
            "." => "",
            line => line,
        });
        Some(lines.collect::<Vec<_>>().join("\n").trim_start().to_owned() + "\n")
    }

    /// The keyring file, where the source names one.
    pub fn keyring(&self) -> Option<&str> {
        self.signed_by.as_deref().filter(|key| key.starts_with('/'))
    }
}

/// All enabled binary sources below `root` (`/` for the machine).
///
/// # Errors
/// When a file exists and cannot be read.
pub fn configured(root: &Path) -> Result<Vec<Source>> {
    let apt = root.join("etc/apt");
    let mut files = vec![apt.join("sources.list")];
    if let Ok(entries) = fs_err::read_dir(apt.join("sources.list.d")) {
        let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        found.sort();
        files.extend(found);
    }
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let text = fs_err::read_to_string(file)?;
        match file.extension().and_then(|end| end.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(parse_line)),
            Some("sources") => sources.extend(text.split("\n\n").filter_map(parse_stanza)),
            _ => {}
        }
    }
    for source in &mut sources {
        resolve_mirror_lists(root, &mut source.uris);
        source.logins = source.uris.iter_mut().filter_map(Login::take).collect();
    }
    Ok(sources)
}

/// Cloud images point to a list of mirrors in a file; an image built elsewhere
/// does not have that file, so its first mirror stands for the list.
fn resolve_mirror_lists(root: &Path, uris: &mut [String]) {
    for uri in uris {
        let Some(list) = uri.strip_prefix("mirror+file:") else {
            continue;
        };
        let path = root.join(list.trim_start_matches('/'));
        let text = fs_err::read_to_string(path).unwrap_or_default();
        let first = text
            .lines()
            .find_map(|line| line.split_whitespace().next().filter(|word| word.contains("://")));
        if let Some(first) = first {
            *uri = first.to_owned();
        }
    }
}

/// The sources of `distribution`'s own archive for `suite` (with its updates
/// and security suites): those that name it, or else derived from what is configured
/// for any suite, since a mirror carries them all.
pub fn of_suite(configured: &[Source], distribution: Distribution, suite: &str) -> Vec<Source> {
    let mut found: Vec<Source> = Vec::new();
    let owned = |source: &Source| -> Vec<String> {
        let uris = source.uris().filter(|uri| distribution.owns(uri));
        uris.map(str::to_owned).collect()
    };
    let is_of_it = |name: &&String| name.split('-').next() == Some(suite);
    let mut owning = configured.iter().filter(|source| !owned(source).is_empty());
    let is_named = owning
        .clone()
        .any(|source| source.suites.iter().any(|name| is_of_it(&name)));
    let all_may_be_expired = owning.all(|source| source.may_be_expired);
    for source in configured {
        if !source.components.iter().any(|component| component == "main") {
            continue;
        }
        // That was decided for the suites that it names.
        if source.may_be_expired && !is_named && !all_may_be_expired {
            continue;
        }
        let uris = owned(source);
        let suites = source.suites.iter().filter(|name| !is_named || is_of_it(name));
        let pockets: Vec<&str> = suites.filter_map(|suite| pocket(suite)).collect();
        if uris.is_empty() || pockets.is_empty() {
            continue;
        }
        let derived = Source {
            uris,
            suites: pockets.iter().map(|pocket| format!("{suite}{pocket}")).collect(),
            components: source.components.clone(),
            signed_by: source.signed_by.clone(),
            may_be_expired: source.may_be_expired,
            logins: source.logins.clone(),
        };
        if !found.contains(&derived) {
            found.push(derived);
        }
    }
    found
}

/// The distribution's own servers, for a machine that has no source of it.
pub fn official(distribution: Distribution, suite: &str, architecture: &str) -> Vec<Source> {
    let source = |uri: &str, pockets: &[&str], components: &[&str]| Source {
        uris: vec![uri.to_owned()],
        suites: pockets.iter().map(|pocket| format!("{suite}{pocket}")).collect(),
        components: components.iter().map(|name| (*name).to_owned()).collect(),
        signed_by: None,
        may_be_expired: false,
        logins: Vec::new(),
    };
    match distribution {
        Distribution::Debian => vec![
            source("http://deb.debian.org/debian", &["", "-updates"], &["main"]),
            source("http://deb.debian.org/debian-security", &["-security"], &["main"]),
        ],
        Distribution::Ubuntu => {
            let uri = if matches!(architecture, "amd64" | "i386") {
                "http://archive.ubuntu.com/ubuntu"
            } else {
                "http://ports.ubuntu.com/ubuntu-ports"
            };
            vec![source(uri, &["", "-updates", "-security"], &["main", "universe"])]
        }
    }
}

/// What follows the codename: nothing, `-updates`, `-security`. Other pockets
/// (backports, proposed) are none of ours.
fn pocket(suite: &str) -> Option<&'static str> {
    match suite.split_once('-') {
        None => Some(""),
        Some((_, "updates")) => Some("-updates"),
        Some((_, "security")) => Some("-security"),
        Some(_) => None,
    }
}

fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("deb")?;
    let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(str::to_owned),
        may_be_expired: options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("check-valid-until="))
            .is_some_and(is_no),
        logins: Vec::new(),
    })
}

fn parse_stanza(stanza: &str) -> Option<Source> {
    let field = |name: &str| stanza_field(stanza, name);
    let words = |name: &str| -> Vec<String> {
        let value = field(name).unwrap_or_default();
        value.split_whitespace().map(str::to_owned).collect()
    };
    let enabled = field("Enabled").is_none_or(|value| !is_no(&value));
    if !enabled || !words("Types").iter().any(|kind| kind == "deb") {
        return None;
    }
    Some(Source {
        uris: words("URIs"),
        suites: words("Suites"),
        components: words("Components"),
        signed_by: field("Signed-By"),
        may_be_expired: field("Check-Valid-Until").is_some_and(|value| is_no(&value)),
        logins: Vec::new(),
    })
}

fn is_no(value: &str) -> bool {
    matches!(value, "no" | "false")
}

/// A field's value; further lines of it begin with a space and keep it, as a
/// key block has to.
fn stanza_field(stanza: &str, name: &str) -> Option<String> {
    let mut value: Option<String> = None;
    for line in stanza.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with([' ', '\t']) {
            if let Some(value) = &mut value {
                value.push('\n');
                value.push_str(line);
            }
        } else if value.is_some() {
            break;
        } else if let Some((key, text)) = line.split_once(':')
            && key.eq_ignore_ascii_case(name)
        {
            value = Some(text.trim().to_owned());
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "Types: deb deb-src\n# a comment\nURIs: http://deb.debian.org/debian\nSuites: bookworm \
                          bookworm-updates bookworm-backports\nComponents: main\nSigned-By: \
                          /usr/share/keyrings/debian-archive-keyring.gpg\n";

    #[test]
    fn suites_are_derived_from_another_release() {
        let configured = vec![parse_stanza(DEBIAN).unwrap()];
        let found = of_suite(&configured, Distribution::Debian, "trixie");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].suites, ["trixie", "trixie-updates"]);
        assert_eq!(
            found[0].keyring(),
            Some("/usr/share/keyrings/debian-archive-keyring.gpg")
        );
    }

    #[test]
    fn foreign_repositories_are_left_out() {
        let configured = vec![
            parse_line("deb [signed-by=/k.gpg arch=amd64] https://apt.example.com bookworm main").unwrap(),
            parse_line("deb https://download.docker.com/linux/debian bookworm stable").unwrap(),
            parse_line("deb http://mirror.local/debian/ bookworm main contrib # ours").unwrap(),
        ];
        let found = of_suite(&configured, Distribution::Debian, "bookworm");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].uris, ["http://mirror.local/debian/"]);
        assert_eq!(of_suite(&configured, Distribution::Ubuntu, "noble"), []);
    }

    #[test]
    fn a_source_that_names_the_suite_goes_before_others_and_may_be_expired_where_it_says_so() {
        let stanza = "Types: deb\nURIs: http://snapshot.example/debian\nSuites: forky\nComponents: main\nCheck-Valid-Until: no\n";
        let line = "deb [arch=amd64 check-valid-until=no] http://snapshot.example/debian forky main";
        for named in [parse_stanza(stanza), parse_line(line)] {
            let configured = vec![parse_stanza(DEBIAN).unwrap(), named.unwrap()];
            let found = of_suite(&configured, Distribution::Debian, "forky");
            assert_eq!(
                found
                    .iter()
                    .flat_map(|source| source.to_lines("/k.gpg"))
                    .collect::<Vec<_>>(),
                ["deb [check-valid-until=no signed-by=/k.gpg] http://snapshot.example/debian forky main"]
            );
            assert!(found[0].to_stanza().ends_with("\nCheck-Valid-Until: no\n"));
            let other = of_suite(&configured, Distribution::Debian, "bookworm");
            assert!(
                !other[0].to_stanza().contains("Valid") && other.len() == 1,
                "{other:?}"
            );
            assert_eq!(of_suite(&configured, Distribution::Debian, "trixie").len(), 1);
            let derived = of_suite(&configured[1..], Distribution::Debian, "trixie");
            assert_eq!(derived[0].suites, ["trixie"]);
        }
    }

    #[test]
    fn disabled_and_source_only_entries_are_none() {
        assert_eq!(parse_stanza(&format!("Enabled: no\n{DEBIAN}")), None);
        assert_eq!(parse_line("deb-src http://x/debian sid main"), None);
        assert_eq!(parse_line("# deb http://x/debian sid main"), None);
    }

    #[test]
    fn a_key_block_survives() {
        let stanza = "Types: deb\nURIs: http://x/ubuntu\nSuites: noble\nComponents: main\nSigned-By:\n -----BEGIN \
                      PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----\n";
        let source = parse_stanza(stanza).unwrap();
        assert_eq!(source.keyring(), None);
        let block = source.key_block().unwrap();
        assert_eq!(
            block,
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n"
        );
        assert!(
            source.to_stanza().contains("Signed-By: \n -----BEGIN PGP"),
            "{}",
            source.to_stanza()
        );
    }

    #[test]
    fn passwords_are_for_apt_alone() {
        let dir = tempfile::tempdir().unwrap();
        let lists = dir.path().join("etc/apt/sources.list.d");
        fs_err::create_dir_all(&lists).unwrap();
        fs_err::write(
            lists.join("x.list"),
            "deb https://me:s%40cret%21@mirror.example:8443/debian trixie main\n",
        )
        .unwrap();
        fs_err::write(lists.join("y.sources"), DEBIAN).unwrap();
        let configured = configured(dir.path()).unwrap();
        let found = of_suite(&configured, Distribution::Debian, "trixie");
        assert_eq!(found[0].uris, ["https://mirror.example:8443/debian"]);
        let shown = format!(
            "{found:?} {} {:?}",
            found[0].to_stanza(),
            found[0].to_lines("/k.gpg")
        );
        assert!(
            !shown.contains("s@c") && !shown.contains("s%40c") && !shown.contains("me:"),
            "{shown}"
        );
        assert_eq!(
            auth_conf(&found).unwrap(),
            "machine https://mirror.example:8443/debian login me password s@cret!\n"
        );
        assert_eq!(auth_conf(&found[1..]), None);
    }

    #[test]
    fn official_servers_by_architecture() {
        let uri = |architecture| {
            official(Distribution::Ubuntu, "noble", architecture)[0]
                .uris
                .clone()
        };
        assert_eq!(uri("amd64"), ["http://archive.ubuntu.com/ubuntu"]);
        assert_eq!(uri("arm64"), ["http://ports.ubuntu.com/ubuntu-ports"]);
    }

    #[test]
    fn os_release() {
        let system = OsRelease::parse("PRETTY_NAME=\"Ubuntu 24.04\"\nID=ubuntu\nVERSION_CODENAME=noble\n");
        assert_eq!(system.distribution, Some(Distribution::Ubuntu));
        assert_eq!(system.codename, "noble");
        assert_eq!(OsRelease::parse("ID=alpine").distribution, None);
    }
}
