//! Packages that are built from source when they are installed, and what of the distribution that
//! takes. Names are those of Debian and Ubuntu, of packages that both have.

use crate::findings::Findings;
use crate::place::Place;

/// A package, and what it takes beside a compiler of C and Python's headers.
struct Built {
    name: &'static str,
    /// While it is built.
    build: &'static [&'static str],
    /// When it is used.
    used: &'static [&'static str],
    /// Whether no version of it has a wheel for Linux, as the index listed them on 2026-11-27:
    /// else a lock has to say so.
    is_always: bool,
}

const fn always(name: &'static str, build: &'static [&'static str], used: &'static [&'static str]) -> Built {
    Built {
        name,
        build,
        used,
        is_always: true,
    }
}

const fn where_it_has_no_wheel(
    name: &'static str,
    build: &'static [&'static str],
    used: &'static [&'static str],
) -> Built {
    Built {
        name,
        build,
        used,
        is_always: false,
    }
}

const BUILT: [Built; 48] = [
    always(
        "dbus-python",
        &["pkg-config", "libdbus-1-dev", "libglib2.0-dev"],
        &["libdbus-1-3", "libglib2.0-0t64"],
    ),
    // Brings python-ldap.
    always("django-auth-ldap", &["libldap-dev", "libsasl2-dev"], &[]),
    always("gssapi", &["libkrb5-dev"], &["libgssapi-krb5-2"]),
    always("kerberos", &["libkrb5-dev"], &["libgssapi-krb5-2"]),
    always("krb5", &["libkrb5-dev"], &["libgssapi-krb5-2"]),
    always("mod-wsgi", &["apache2-dev"], &[]),
    always(
        "mysqlclient",
        &["pkg-config", "default-libmysqlclient-dev"],
        &["libmariadb3"],
    ),
    always("psycopg-c", &["libpq-dev"], &[]),
    always("psycopg2", &["libpq-dev"], &[]),
    always("pyaudio", &["portaudio19-dev"], &["libportaudio2"]),
    always("pycairo", &["pkg-config", "libcairo2-dev"], &["libcairo2"]),
    always("pycups", &["libcups2-dev"], &["libcups2t64"]),
    always(
        "pygobject",
        &["pkg-config", "libcairo2-dev", "libgirepository-2.0-dev"],
        &["libgirepository-2.0-0"],
    ),
    always("pyicu", &["g++", "pkg-config", "libicu-dev"], &[]),
    always("pykerberos", &["libkrb5-dev"], &["libgssapi-krb5-2"]),
    always("python-ldap", &["libldap-dev", "libsasl2-dev"], &[]),
    // Brings gssapi.
    always("requests-gssapi", &["libkrb5-dev"], &["libgssapi-krb5-2"]),
    always("sasl", &["g++", "libsasl2-dev"], &[]),
    always("systemd-python", &["pkg-config", "libsystemd-dev"], &[]),
    always("uwsgi", &[], &[]),
    // Brings pycairo.
    always("xhtml2pdf", &["pkg-config", "libcairo2-dev"], &["libcairo2"]),
    always("annoy", &["g++"], &[]),
    always("fasttext", &["g++"], &[]),
    always("hnswlib", &["g++"], &[]),
    where_it_has_no_wheel("asyncpg", &[], &[]),
    where_it_has_no_wheel("cffi", &["libffi-dev"], &[]),
    where_it_has_no_wheel("cryptography", &["cargo", "libssl-dev", "pkg-config"], &[]),
    where_it_has_no_wheel("frozenlist", &[], &[]),
    where_it_has_no_wheel("greenlet", &["g++"], &[]),
    where_it_has_no_wheel("hiredis", &[], &[]),
    where_it_has_no_wheel("httptools", &[], &[]),
    where_it_has_no_wheel("lxml", &["libxml2-dev", "libxslt1-dev"], &["libxslt1.1"]),
    where_it_has_no_wheel("markupsafe", &[], &[]),
    where_it_has_no_wheel("multidict", &[], &[]),
    where_it_has_no_wheel("netifaces", &[], &[]),
    where_it_has_no_wheel("pillow", &["libjpeg-dev", "zlib1g-dev"], &[]),
    where_it_has_no_wheel("psutil", &[], &[]),
    where_it_has_no_wheel("psycopg2-binary", &["libpq-dev"], &[]),
    where_it_has_no_wheel(
        "pycurl",
        &["libcurl4-openssl-dev", "libssl-dev"],
        &["libcurl4t64"],
    ),
    where_it_has_no_wheel(
        "pylibmc",
        &["libmemcached-dev", "zlib1g-dev"],
        &["libmemcached11t64"],
    ),
    where_it_has_no_wheel("python-snappy", &["g++", "libsnappy-dev"], &["libsnappy1v5"]),
    where_it_has_no_wheel("pyyaml", &[], &[]),
    where_it_has_no_wheel("regex", &[], &[]),
    where_it_has_no_wheel("ruamel-yaml-clib", &[], &[]),
    where_it_has_no_wheel("ujson", &["g++"], &[]),
    where_it_has_no_wheel("wrapt", &[], &[]),
    where_it_has_no_wheel("xmlsec", &["pkg-config", "libxmlsec1-dev"], &[]),
    where_it_has_no_wheel("yarl", &[], &[]),
];

/// What every build from source takes: the headers bring those of the system's C library.
const COMPILER: [&str; 2] = ["gcc", "python3-dev"];

fn known(name: &str) -> Option<&'static Built> {
    BUILT.iter().find(|built| built.name == name)
}

/// What the distribution has to bring for a package, by its name in small letters, to be built;
/// `None` of one of which nothing is known.
pub fn takes(name: &str) -> Option<Vec<&'static str>> {
    known(name).map(|built| COMPILER.iter().chain(built.build).copied().collect())
}

/// What the image has to have for a package that was built, to be used.
pub(crate) fn uses(name: &str) -> &'static [&'static str] {
    known(name).map_or(&[], |built| built.used)
}

/// What of the distribution's the image needs because a package of the app's is built from source.
pub struct Needed {
    /// Its name there.
    pub package: &'static str,
    /// Whether the image has it, too, and not only the build.
    pub is_used: bool,
    /// Where the package is named that wants it.
    pub place: Place,
}

/// What is to be built, directly asked for or brought by something else that the lock installs.
pub fn needed(findings: &Findings) -> Vec<Needed> {
    let dependencies = &findings.dependencies;
    let with_c = findings
        .installed()
        .filter(|one| one.value.name == "psycopg" && one.value.extras.iter().any(|extra| extra == "c"))
        .map(|one| ("psycopg-c", &one.place));
    let all = findings.in_image().into_iter().chain(with_c);
    let mut found: Vec<Needed> = Vec::new();
    for (name, place) in all {
        let is_built = |built: &&Built| built.is_always || dependencies.source_only.contains(name);
        let Some(built) = known(name).filter(is_built) else {
            continue;
        };
        let build = COMPILER
            .iter()
            .chain(built.build)
            .map(|package| (*package, false));
        for (package, is_used) in build.chain(built.used.iter().map(|package| (*package, true))) {
            if !found.iter().any(|one| one.package == package) {
                found.push(Needed {
                    package,
                    is_used,
                    place: place.clone(),
                });
            }
        }
    }
    found
}
