//! The PostgreSQL that a project runs beside itself: the image in its compose files, its
//! development container or its CI.

use serde::Serialize;

use crate::place::{Choice, Detected, Place};
use crate::tree::{Tree, file_name, is_compose, is_yaml, reads_count};

/// An image of PostgreSQL that a project names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PostgresImage {
    /// As it stands there, without a digest: `postgis/postgis:16-3.4`.
    pub image: String,
    /// The major version, where the tag says it.
    pub major: Option<u32>,
    /// What it has beside PostgreSQL.
    pub extension: Option<ImageExtension>,
}

/// An extension that an image is made for, and that the images of this checkout lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ImageExtension {
    /// What people call it.
    pub title: &'static str,
    /// What `CREATE EXTENSION` calls it.
    pub name: &'static str,
    /// The distributions' package, after `postgresql-17-`; absent where there is none.
    package: Option<&'static str>,
    /// The extensions that have to be made before it.
    #[serde(skip)]
    after: &'static [&'static str],
}

/// What the numbers of a tag mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    /// `16.3-alpine` is PostgreSQL 16.
    Postgres,
    /// They are the extension's; `pg16` may stand among them.
    Other,
}

const fn extension(
    title: &'static str,
    name: &'static str,
    package: Option<&'static str>,
) -> Option<ImageExtension> {
    Some(ImageExtension {
        title,
        name,
        package,
        after: &[],
    })
}

const PGROUTING: ImageExtension = ImageExtension {
    title: "pgRouting",
    name: "pgrouting",
    package: Some("pgrouting"),
    after: &["postgis"],
};

/// Images by the end of their name.
const IMAGES: [(&str, Tag, Option<ImageExtension>); 17] = [
    ("pgvector/pgvector", Tag::Other, None),
    ("ankane/pgvector", Tag::Other, None),
    (
        "postgis/postgis",
        Tag::Postgres,
        extension("PostGIS", "postgis", Some("postgis-3")),
    ),
    (
        "imresamu/postgis",
        Tag::Postgres,
        extension("PostGIS", "postgis", Some("postgis-3")),
    ),
    (
        "kartoza/postgis",
        Tag::Postgres,
        extension("PostGIS", "postgis", Some("postgis-3")),
    ),
    ("pgrouting/pgrouting", Tag::Postgres, Some(PGROUTING)),
    (
        "timescale/timescaledb",
        Tag::Other,
        extension("TimescaleDB", "timescaledb", None),
    ),
    (
        "timescale/timescaledb-ha",
        Tag::Other,
        extension("TimescaleDB", "timescaledb", None),
    ),
    ("apache/age", Tag::Other, extension("Apache AGE", "age", None)),
    ("citusdata/citus", Tag::Other, extension("Citus", "citus", None)),
    (
        "paradedb/paradedb",
        Tag::Other,
        extension("ParadeDB's search", "pg_search", None),
    ),
    (
        "tensorchord/pgvecto-rs",
        Tag::Other,
        extension("pgvecto.rs", "vectors", None),
    ),
    (
        "tensorchord/vchord-postgres",
        Tag::Other,
        extension("VectorChord", "vchord", None),
    ),
    ("supabase/postgres", Tag::Postgres, None),
    ("postgres", Tag::Postgres, None),
    ("postgresql", Tag::Postgres, None),
    ("postgresql-repmgr", Tag::Postgres, None),
];

/// The image that the project's own database has. Compose files say it before what is for
/// developers, and that before CI; others that differ are told.
pub(crate) fn find(tree: &Tree) -> Choice<PostgresImage> {
    let own = tree.texts().filter(|(path, _)| reads_count(path));
    let files = own.chain(tree.of_tools()).filter(|(path, _)| has_images(path));
    let mut files: Vec<(&str, &str)> = files.collect();
    files.sort_by_key(|(path, _)| (rank(path), path.matches('/').count(), *path));
    let mut found: Vec<Detected<PostgresImage>> = Vec::new();
    for (path, text) in files {
        for (n, line) in text.lines().enumerate() {
            let Some(image) = named(path, line).and_then(|named| parse(&named)) else {
                continue;
            };
            let is_known = |one: &Detected<PostgresImage>| {
                (one.value.major, one.value.extension) == (image.major, image.extension)
            };
            let says_something = image.major.is_some() || image.extension.is_some();
            if says_something && !found.iter().any(is_known) {
                found.push(Detected::sure(image, Place::new(path, n + 1)));
            }
        }
    }
    let mut found = found.into_iter();
    Choice {
        chosen: found.next(),
        rule: "the project runs it beside itself".to_owned(),
        others: found.collect(),
    }
}

fn is_of_ci(path: &str) -> bool {
    path.starts_with(".github/") || path.starts_with(".circleci/") || path == ".gitlab-ci.yml"
}

fn has_images(path: &str) -> bool {
    is_yaml(path) || file_name(path).contains("Dockerfile")
}

fn rank(path: &str) -> u8 {
    let name = file_name(path);
    let for_others = ["test", "dev", "ci", "local", "override"];
    let is_for_others = name.split(['.', '-', '_']).any(|part| for_others.contains(&part));
    match path {
        _ if is_of_ci(path) => 4,
        _ if path.starts_with(".devcontainer/") => 3,
        _ if is_compose(name) => u8::from(is_for_others),
        _ => 2,
    }
}

/// The image that a line names, with the defaults of its variables.
fn named(path: &str, line: &str) -> Option<String> {
    let line = line.trim();
    let value = if is_yaml(path) {
        let item = line.strip_prefix("- ").unwrap_or(line);
        let key = ["image:", "name:"].iter().find_map(|key| item.strip_prefix(key));
        // GitLab's services are a list of images.
        key.or_else(|| (is_of_ci(path) && item != line).then_some(item))?
    } else {
        let rest = line
            .get(5..)
            .filter(|_| line.len() > 5 && line[..5].eq_ignore_ascii_case("from "))?;
        // `--platform=…` stands before it.
        rest.split_whitespace().find(|word| !word.starts_with("--"))?
    };
    let value = value.split(" #").next().unwrap_or_default().trim();
    Some(with_defaults(value.trim_matches(['"', '\''])))
}

/// `${POSTGRES_VERSION:-16}` is 16, where nobody says otherwise; without a default it is
/// nothing.
fn with_defaults(text: &str) -> String {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        whole.push_str(before);
        let Some((variable, after)) = after.split_once('}') else {
            return whole;
        };
        let default = variable.split_once(":-").or_else(|| variable.split_once('-'));
        whole.push_str(default.map_or("", |(_, default)| default));
        rest = after;
    }
    whole + rest
}

/// An image of PostgreSQL's by its name; `None` for any other.
fn parse(text: &str) -> Option<PostgresImage> {
    let text = text.split('@').next()?;
    let slash = text.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match text[slash..].find(':') {
        Some(colon) => (&text[..slash + colon], &text[slash + colon + 1..]),
        None => (text, ""),
    };
    let is_of = |name: &str| repository == name || repository.ends_with(&format!("/{name}"));
    let (_, meaning, extension) = IMAGES.iter().find(|(name, ..)| is_of(name))?;
    let lower = tag.to_lowercase();
    let after_pg = lower.match_indices("pg").map(|(n, _)| leading(&lower[n + 2..]));
    // No version of PostgreSQL is written as `24.04`.
    let is_date = tag
        .split_once('.')
        .is_some_and(|(_, minor)| minor.starts_with('0') && leading(minor) != Some(0));
    let by_tag = (*meaning == Tag::Postgres && !is_date).then(|| leading(tag));
    let mut majors = after_pg.chain(by_tag).flatten();
    Some(PostgresImage {
        image: text.to_owned(),
        major: majors.find(|major| (9..40).contains(major)),
        extension: *extension,
    })
}

fn leading(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// The PostgreSQL that an image of this checkout gets.
#[derive(Clone, Copy, Debug)]
pub struct OwnPostgres<'a> {
    /// The base set that it is of.
    pub base: &'a str,
    /// Its major version.
    pub major: u32,
    /// The file whose `base` takes another one.
    pub file: &'a str,
    /// The packages of its spec.
    pub packages: &'a [String],
    /// The extensions that it makes.
    pub extensions: &'a [String],
}

/// A base set that could be taken.
#[derive(Clone, Copy, Debug)]
pub struct OtherBase<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is said of it.
    pub title: &'a str,
    /// The major version of its PostgreSQL.
    pub major: u32,
    /// The Python that has to be named with it, where its own does not suit the app.
    pub python: Option<&'a str>,
}

/// The packages with extensions that an image makes and has not, as far as they are known; each with
/// the extension.
pub fn lacking(own: OwnPostgres<'_>) -> Vec<(&'static str, String)> {
    let is_made = |one: &ImageExtension| own.extensions.iter().any(|name| name == one.name);
    let known = IMAGES.iter().filter_map(|(_, _, extension)| *extension);
    let mut packages = own.packages.to_vec();
    let lacking = known.filter(is_made).filter_map(|extension| {
        let package = format!("postgresql-{}-{}", own.major, extension.package?);
        add(&mut packages, &package).then_some((extension.name, package))
    });
    lacking.collect()
}

/// What the image has otherwise than the project's own database, a sentence each, with
/// the keys that change it.
pub fn against(
    project: &Choice<PostgresImage>,
    own: OwnPostgres<'_>,
    others: &[OtherBase<'_>],
) -> Vec<String> {
    let mut notes = match &project.chosen {
        Some(chosen) => against_chosen(project, chosen, own, others),
        None => Vec::new(),
    };
    // What the project makes, and no image of its own told of.
    let mut packages = own.packages.to_vec();
    for (extension, package) in lacking(own) {
        packages.push(package.clone());
        if !notes.iter().any(|note| note.contains(&package)) {
            notes.push(format!(
                "the extension {extension} is made, and this image lacks it: `\"packages\": {packages:?}` has it"
            ));
        }
    }
    notes
}

/// The same of the project's own database.
fn against_chosen(
    project: &Choice<PostgresImage>,
    chosen: &Detected<PostgresImage>,
    own: OwnPostgres<'_>,
    others: &[OtherBase<'_>],
) -> Vec<String> {
    let mut notes = Vec::new();
    let newest = others.iter().map(|other| other.major).fold(own.major, u32::max);
    // A project's own tag may be any number.
    let is_version = |major: &u32| *major <= newest + 1;
    let rank_of = |one: &Detected<PostgresImage>| rank(&one.place.file);
    let is_tried = project
        .others
        .iter()
        .any(|one| one.value.major == Some(own.major) && rank_of(one) == rank_of(chosen));
    let theirs = chosen.value.major.filter(is_version);
    if let Some(theirs) = theirs.filter(|major| *major != own.major && !is_tried) {
        let other = others.iter().find(|other| other.major == theirs);
        let way = match other {
            Some(other) => {
                let python = other
                    .python
                    .map(|python| format!(" with `\"python\": {python:?}`"));
                format!(
                    "`\"base\": {:?}`{} in {} has that ({})",
                    other.name,
                    python.unwrap_or_default(),
                    own.file,
                    other.title
                )
            }
            None => format!("no base set has {theirs}"),
        };
        let data = if theirs < own.major {
            "data of an older one come by `cargo xtask migrate`"
        } else {
            "a dump of a newer one may not load into it"
        };
        notes.push(format!(
            "{} names PostgreSQL {theirs}, and this image has {} (base set {}): {way}; {data}",
            chosen.place, own.major, own.base
        ));
    }
    let all = std::iter::once(chosen).chain(&project.others);
    let (mut packages, mut extensions) = (own.packages.to_vec(), own.extensions.to_vec());
    let mut told = Vec::new();
    for (one, extension) in all.filter_map(|one| Some((one, one.value.extension?))) {
        if told.contains(&extension.name) {
            continue;
        }
        told.push(extension.name);
        let Some(package) = extension.package else {
            if !extensions.iter().any(|name| name == extension.name) {
                notes.push(format!(
                    "{} names an image with {}, which this image lacks: no package of the distribution has it",
                    one.place, extension.title
                ));
            }
            continue;
        };
        // What is advised is the whole list, as it stands in place of the one that is there.
        let package = format!("postgresql-{}-{package}", own.major);
        let lacks_package = add(&mut packages, &package);
        let mut lacks_extension = false;
        for name in extension.after.iter().chain([&extension.name]) {
            lacks_extension |= add(&mut extensions, name);
        }
        let has_it = format!("`\"packages\": {packages:?}` has it");
        let makes_it = format!("`\"extensions\": {extensions:?}` of `database` makes it");
        let way = match (lacks_package, lacks_extension) {
            (true, true) => format!("lacks: {has_it}, and {makes_it}"),
            (true, false) => format!("lacks: {has_it}"),
            (false, true) => format!("has and does not make: {makes_it}"),
            (false, false) => continue,
        };
        notes.push(format!(
            "{} names an image with {}, which this image {way}",
            one.place, extension.title
        ));
    }
    notes
}

/// Whether a list lacked a name, which it has then.
fn add(list: &mut Vec<String>, name: &str) -> bool {
    let is_new = !list.iter().any(|known| known == name);
    if is_new {
        list.push(name.to_owned());
    }
    is_new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_each_kind_are_read() {
        let read = |text: &str| {
            let image = parse(&with_defaults(text))?;
            Some((image.major, image.extension.map(|extension| extension.name)))
        };
        for (text, major, extension) in [
            ("postgres:16-alpine", Some(16), None),
            ("postgres:9.6", Some(9), None),
            ("postgres", None, None),
            ("postgres:latest", None, None),
            ("postgres@sha256:12ab", None, None),
            (
                "docker.io/library/postgres:17.2-bookworm@sha256:12ab",
                Some(17),
                None,
            ),
            ("registry.example:5000/base/postgres:15", Some(15), None),
            ("postgres:${POSTGRES_VERSION:-14}", Some(14), None),
            ("postgres:${POSTGRES_VERSION-14}-alpine", Some(14), None),
            ("${IMAGE:-postgres:13}", Some(13), None),
            ("postgres:${POSTGRES_VERSION}", None, None),
            ("postgres:${{ matrix.postgres }}", None, None),
            ("bitnami/postgresql:15.4.0", Some(15), None),
            ("cimg/postgres:14.0", Some(14), None),
            ("pgvector/pgvector:pg16", Some(16), None),
            ("pgvector/pgvector:0.8.0-pg17-bookworm", Some(17), None),
            ("ankane/pgvector:v0.5.1", None, None),
            ("postgis/postgis:16-3.4", Some(16), Some("postgis")),
            ("timescale/timescaledb:latest-pg15", Some(15), Some("timescaledb")),
            ("timescale/timescaledb:2.17.2-pg16", Some(16), Some("timescaledb")),
            ("citusdata/citus:12.1", None, Some("citus")),
            ("apache/age:release_PG16_1.5.0", Some(16), Some("age")),
            ("registry.example/app/postgres:1.4.2", None, None),
            ("registry.example/app/postgres:24.04", None, None),
            ("postgres:17.0", Some(17), None),
        ] {
            assert_eq!(read(text), Some((major, extension)), "{text}");
        }
        for other in [
            "redis:7",
            "postgrest/postgrest:v12",
            "my-postgres:16",
            "dpage/pgadmin4:8",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn what_the_image_has_otherwise_is_told_with_the_key() {
        let own = OwnPostgres {
            base: "debian",
            major: 17,
            file: "images/x/image.json",
            packages: &[],
            extensions: &["vector".to_owned()],
        };
        let others = [
            OtherBase {
                name: "forky",
                title: "F",
                major: 18,
                python: Some("3.13"),
            },
            OtherBase {
                name: "ubuntu",
                title: "U",
                major: 16,
                python: None,
            },
        ];
        let said_by = |own: OwnPostgres<'_>, images: &[&str]| {
            let images = images.iter().enumerate();
            let mut images = images
                .map(|(n, image)| Detected::sure(parse(image).unwrap(), Place::new("compose.yaml", n + 4)));
            let project = Choice {
                chosen: images.next(),
                others: images.collect(),
                ..Choice::default()
            };
            against(&project, own, &others).join("\n")
        };
        let said = |image: &str| said_by(own, &[image]);
        assert_eq!(said("postgres:17"), "");
        assert_eq!(said("pgvector/pgvector:pg17"), "");
        assert_eq!(
            said("postgres:16"),
            "compose.yaml:4 names PostgreSQL 16, and this image has 17 (base set debian): `\"base\": \"ubuntu\"` in \
             images/x/image.json has that (U); data of an older one come by `cargo xtask migrate`"
        );
        assert_eq!(
            said("postgres:18"),
            "compose.yaml:4 names PostgreSQL 18, and this image has 17 (base set debian): `\"base\": \"forky\"` with \
             `\"python\": \"3.13\"` in images/x/image.json has that (F); a dump of a newer one may not load into it"
        );
        assert_eq!(
            said("postgres:13"),
            "compose.yaml:4 names PostgreSQL 13, and this image has 17 (base set debian): no base set has 13; data of \
             an older one come by `cargo xtask migrate`"
        );
        assert_eq!(
            said("postgis/postgis:17-3.5"),
            "compose.yaml:4 names an image with PostGIS, which this image lacks: `\"packages\": \
             [\"postgresql-17-postgis-3\"]` has it, and `\"extensions\": [\"vector\", \"postgis\"]` of `database` makes it"
        );
        assert_eq!(
            said("timescale/timescaledb:latest-pg17"),
            "compose.yaml:4 names an image with TimescaleDB, which this image lacks: no package of the distribution has it"
        );
        // Of several versions that are tried one is the image's; a tag of the project's own.
        assert_eq!(said_by(own, &["postgres:13", "postgres:17"]), "");
        assert_eq!(said("registry.example/app/postgres:20"), "");
        let lists = |packages: &[&str], extensions: &[&str]| {
            [packages, extensions]
                .map(|list| list.iter().map(|one| (*one).to_owned()).collect::<Vec<String>>())
        };
        let [packages, extensions] = lists(&["git"], &["vector", "postgres_fdw"]);
        let with = |packages, extensions| OwnPostgres {
            packages,
            extensions,
            ..own
        };
        assert_eq!(
            said_by(
                with(&packages, &extensions),
                &[
                    "postgis/postgis:17-3.5",
                    "postgis/postgis:15-3.4",
                    "pgrouting/pgrouting:17"
                ]
            ),
            "compose.yaml:4 names an image with PostGIS, which this image lacks: `\"packages\": [\"git\", \
             \"postgresql-17-postgis-3\"]` has it, and `\"extensions\": [\"vector\", \"postgres_fdw\", \"postgis\"]` of \
             `database` makes it\n\
             compose.yaml:6 names an image with pgRouting, which this image lacks: `\"packages\": [\"git\", \
             \"postgresql-17-postgis-3\", \"postgresql-17-pgrouting\"]` has it, and `\"extensions\": [\"vector\", \
             \"postgres_fdw\", \"postgis\", \"pgrouting\"]` of `database` makes it"
        );
        let [packages, extensions] = lists(&["gdal-bin"], &["vector", "postgis"]);
        for images in [&[][..], &["postgres:17"]] {
            assert_eq!(
                said_by(with(&packages, &extensions), images),
                "the extension postgis is made, and this image lacks it: `\"packages\": [\"gdal-bin\", \
                 \"postgresql-17-postgis-3\"]` has it"
            );
        }
        let [packages, _] = lists(&["postgresql-17-postgis-3"], &[]);
        assert_eq!(said_by(with(&packages, &extensions), &[]), "");
        let routing = said("pgrouting/pgrouting:17");
        assert!(
            routing.contains(r#"["vector", "postgis", "pgrouting"]"#),
            "{routing}"
        );
        let [packages, extensions] = lists(&["postgresql-17-postgis-3"], &["vector", "postgis"]);
        let of_postgis = |own| said_by(own, &["postgis/postgis:17-3.5"]);
        assert_eq!(of_postgis(with(&packages, &extensions)), "");
        assert_eq!(
            of_postgis(with(&[], &extensions)),
            "compose.yaml:4 names an image with PostGIS, which this image lacks: `\"packages\": \
             [\"postgresql-17-postgis-3\"]` has it"
        );
        assert_eq!(
            of_postgis(with(&packages, own.extensions)),
            "compose.yaml:4 names an image with PostGIS, which this image has and does not make: `\"extensions\": \
             [\"vector\", \"postgis\"]` of `database` makes it"
        );
    }
}
