//! What would let an app go on, told from its last words and its own code.

mod files;
mod imports;
mod removed;

use definition::spec::secret;
use serde_json::Value;

use crate::extensions;
use crate::findings::Findings;
use crate::libraries;
use crate::place::Detected;
use crate::redis;
use crate::secrets::{is_given_by_others, is_secret};
use crate::settings::ReadVariable;
use crate::stand_ins;

/// One sentence for each cause that the words name. `given` says which variables the
/// image has a value of; `image` is its name.
pub fn advice(findings: &Findings, words: &str, given: impl Fn(&str) -> bool, image: &str) -> Vec<String> {
    let mut told: Vec<String> = variables(findings, words)
        .into_iter()
        .filter(|one| !given(&one.value.name))
        .map(|one| for_variable(one, words, image))
        .collect();
    let of_module = imports::for_module(findings, words).or_else(|| removed::way_out(words, image));
    told.extend(of_module.or_else(|| imports::for_no_package(findings, words)));
    told.extend(libraries::missing(words));
    told.extend(files::way_out(findings, words));
    told.extend(for_host(findings, words));
    told.extend(for_redis(words));
    told.extend(for_encryption(findings, words));
    told.extend(for_table(findings, words));
    told.extend(for_template(findings, words));
    told.extend(for_schema(words));
    told.extend(for_extension(words));
    told.extend(for_function(words, image));
    told
}

/// The variables that the words speak of: by their whole name, or as pydantic does
/// by the name of a field alone in its line.
fn variables<'f>(findings: &'f Findings, words: &str) -> Vec<&'f Detected<ReadVariable>> {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let all: Vec<&str> = words.split(|c| !is_of_a_name(c)).collect();
    let of_pydantic = words.contains("validation error");
    let fields: Vec<String> = words
        .lines()
        .filter(|line| of_pydantic && !line.is_empty() && line.chars().all(is_of_a_name))
        .map(str::to_uppercase)
        .collect();
    let is_named = |name: &str| {
        let is_telling = name.contains('_') || name.len() > 6;
        is_telling && all.contains(&name) || fields.iter().any(|field| field == name)
    };
    let found = findings.variables.iter();
    found.filter(|one| is_named(&one.value.name)).collect()
}

fn for_variable(variable: &Detected<ReadVariable>, words: &str, image: &str) -> String {
    let (name, place) = (&variable.value.name, &variable.place);
    let has = match variable.value.default {
        Some(_) => "has the value that stands in the code",
        None => "has no value in the image",
    };
    let read = format!("{name}, which {place} reads, {has}");
    let is_nothing = variable.value.default.is_none() && !is_secret(name);
    let length = length_of(words, name);
    if is_given_by_others(name) || is_nothing || length.is_some() {
        // Of a form that leads nowhere, as `new` has it; a secret that is made has its own length.
        let stand_in = length.map_or_else(|| stand_ins::of(&variable.value), secret::of_length);
        return format!(
            "{read}: `\"smoke\": {{\"environment\": {{\"{name}\": {}}}}}` in images/{image}/image.json gives the gate one, \
             `up {image} --env-file FILE` each start",
            Value::from(stand_in)
        );
    }
    let value = if is_secret(name) {
        format!("{{secret:{name}}}")
    } else {
        "…".to_owned()
    };
    format!(
        "{read}: `\"app\": {{\"environment\": {{\"{name}\": \"{value}\"}}}}` in hive-app.json gives it one"
    )
}

/// How many characters a value has to have, by the words that name its variable: `KEY must be
/// exactly 32 characters long`.
fn length_of(words: &str, name: &str) -> Option<usize> {
    const LONGEST: usize = 1024;
    let (_, rest) = words.split_once(name)?;
    let (before, rest) = rest.split_once("exactly ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let unit = rest[digits.len()..].trim_start();
    let is_it = unit.starts_with("char") || unit.starts_with("bytes");
    let length = digits.parse().ok().filter(|length| *length <= LONGEST);
    length.filter(|_| is_it && !before.contains('\n'))
}

/// A host that is not there: most are names of compose's, and stand in a setting.
fn for_host(findings: &Findings, words: &str) -> Option<String> {
    let unresolved = [
        "Name or service not known",
        "Temporary failure in name resolution",
        "No address associated with hostname",
        "nodename nor servname",
        "Failed to resolve",
    ];
    if !unresolved.iter().any(|sign| words.contains(sign)) {
        return None;
    }
    let of = |sign: &str, end: char| Some(words.split_once(sign)?.1.split(end).next()?.to_owned());
    let host = of("could not translate host name \"", '"')
        .or_else(|| of("Failed to resolve '", '\''))
        .or_else(|| of("failed to resolve host '", '\''))
        .or_else(|| of("host='", '\''));
    let host = host.filter(|host| !host.is_empty());
    let shows = |one: &&Detected<ReadVariable>| {
        let default = one.value.default.as_deref().unwrap_or_default();
        host.as_deref().is_some_and(|host| {
            default == host || default.contains(&format!("//{host}")) || default.contains(&format!("@{host}"))
        })
    };
    Some(match (&host, findings.variables.iter().find(shows)) {
        (Some(host), Some(variable)) => format!(
            "{host} is the default of {}, which {} reads: give it a value in `app.environment` of hive-app.json; \
             `{{database_host}}` is the database's, 127.0.0.1 that of a program of the image",
            variable.value.name, variable.place
        ),
        (Some(host), None) => {
            format!("it asks {host} while it starts, which cannot be reached from a container here")
        }
        (None, _) => {
            "it asks another host while it starts, which cannot be reached from a container here".to_owned()
        }
    })
}

/// A Redis of the container's own, which nobody has started.
fn for_redis(words: &str) -> Option<String> {
    const HERE: [&str; 3] = ["127.0.0.1", "localhost", "::1"];
    let refused = ["Connection refused", "Connect call failed", "[Errno 111]"];
    let asks = |line: &str| {
        let is_here = HERE.iter().any(|host| line.contains(host));
        is_here && line.contains("6379") && refused.iter().any(|sign| line.contains(sign))
    };
    words.lines().any(asks).then(|| {
        format!(
            "it asks a Redis in its own container: `\"packages\": [\"{}\"], \"programs\": [{}]` in hive-app.json has one there, \
             which keeps nothing, beside what stands in both",
            redis::PACKAGE,
            redis::program()
        )
    })
}

/// TLS that an app asks for, and that nothing speaks inside of a container: the word for none
/// is libpq's, or asyncpg's.
fn for_encryption(findings: &Findings, words: &str) -> Option<String> {
    const SIGNS: [(&str, &str); 2] = [
        (
            "server does not support SSL, but SSL was required",
            "sslmode=disable",
        ),
        ("rejected SSL upgrade", "ssl=disable"),
    ];
    let (_, none) = SIGNS.iter().find(|(sign, _)| words.contains(sign))?;
    let url = findings
        .database
        .iter()
        .find(|one| one.value.value.starts_with("{database_url"));
    let (name, url) = url.map_or(("DATABASE_URL", "{database_url}"), |one| {
        (one.value.name.as_str(), one.value.value.as_str())
    });
    Some(format!(
        "the image's PostgreSQL is reached inside of the container, where nothing is encrypted: `\"app\": {{\"environment\": \
         {{\"{name}\": \"{url}?{none}\"}}}}` in hive-app.json says so, unless the code itself asks for it"
    ))
}

/// A page that nothing of the app's makes, such as that of a front end in another folder: Django's
/// own for those who log in tells as well that the app runs.
fn for_template(findings: &Findings, words: &str) -> Option<String> {
    let (_, rest) = words.split_once("TemplateDoesNotExist: ")?;
    let template = rest.lines().next()?.trim();
    let admin = findings.admin.as_ref()?;
    let path = format!("{}login/", admin.value);
    Some(format!(
        "the app has no template {template}, as a front end that is built elsewhere would: `\"app\": {{\"health_path\": \"{path}\"}}` \
         in hive-app.json asks for another page, which {} has",
        admin.place
    ))
}

/// Tables that nothing has made.
fn for_table(findings: &Findings, words: &str) -> Option<String> {
    let (_, rest) = words.split_once("relation \"")?;
    let (table, after) = rest.split_once('"')?;
    after.trim_start().starts_with("does not exist").then(|| {
        let command = findings.before_start.value().map(|words| words.join(" "));
        let way = command.map_or_else(
            || "the command that makes its tables belongs into `app.before_start`".to_owned(),
            |command| format!("`{command}` as `app.before_start` would make its tables"),
        );
        format!("there is no table {table}: {way} of hive-app.json")
    })
}

/// A schema that nothing has made.
fn for_schema(words: &str) -> Option<String> {
    let (_, rest) = words.split_once("schema \"")?;
    let (name, after) = rest.split_once('"')?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_it =
        after.trim_start().starts_with("does not exist") && !name.is_empty() && name.chars().all(plain);
    is_it.then(|| {
        format!(
            "nothing makes the schema {name} before it is used: `\"database\": {{\"initial_sql\": [\"CREATE SCHEMA \\\"{name}\\\"\"]}}` \
             in hive-app.json does, at the first start"
        )
    })
}

/// Functions and types of an extension that nobody has made, or of a newer PostgreSQL.
fn for_function(words: &str, image: &str) -> Option<String> {
    /// Of PostgreSQL 18.
    const NEW: [&str; 2] = ["uuidv7(", "uuidv4("];
    let line = words.lines().find(|line| line.contains(" does not exist"))?;
    let name = ["function ", "operator class ", "type "]
        .iter()
        .find_map(|kind| Some(line.split_once(kind)?.1))?;
    if NEW.iter().any(|new| name.starts_with(new)) {
        let function = name.split('(').next()?;
        return Some(format!(
            "{function}() is of PostgreSQL 18, and this image has an older one: `base` in images/{image}/image.json takes a base \
             set with it (`cargo xtask base list` tells what each has)"
        ));
    }
    let extension = extensions::that_brings(name)?;
    Some(format!(
        "that is of the extension {extension}: `\"database\": {{\"extensions\": [\"vector\", \"{extension}\"]}}` in hive-app.json \
         has it made before"
    ))
}

/// Extensions that only a superuser may make.
fn for_extension(words: &str) -> Option<String> {
    let (_, rest) = words.split_once("permission denied to create extension \"")?;
    let name = rest.split('"').next()?;
    Some(format!(
        "the app's role may not make the extension {name}: `\"database\": {{\"extensions\": [\"vector\", \"{name}\"]}}` in \
         hive-app.json has it made before"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a project with these files.
    fn told(files: &[(&str, &str)], words: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            fs_err::write(file, text).unwrap();
        }
        advice(
            &crate::findings::look(folder.path()),
            words,
            |name| name == "GIVEN_KEY",
            "shop",
        )
    }

    #[track_caller]
    fn says(files: &[(&str, &str)], words: &str, parts: &[&str]) {
        let told = told(files, words);
        assert_eq!(told.len(), 1, "{told:?}");
        for part in parts {
            assert!(told[0].contains(part), "{part:?} in {told:?}");
        }
    }

    const SETTINGS: (&str, &str) = (
        "settings.py",
        "import os\nfrom pydantic_settings import BaseSettings\n\n\nclass S(BaseSettings):\n    region: str = \"x\"\n    \
         stripe_api_key: str\n    given_key: str\n    db_host: str = \"db\"\n\n\nKEY = os.getenv(\"SIGNING_KEY\", \"dev\")\n\
         KEYS = os.environ.get(\"KEYS_ENDPOINT\")\n",
    );

    #[test]
    fn a_key_of_a_fixed_length_is_not_made() {
        let files = [(
            "settings.py",
            "import os\nKEY = os.environ.get(\"ENCRYPT_KEY\", \"none\")\n",
        )];
        let words = "Exception: ENCRYPT_KEY must be exactly 32 characters long";
        says(
            &files,
            words,
            &[r#""ENCRYPT_KEY": "given-at-start-given-at-start-gi""#, "images/"],
        );
        assert_eq!(
            length_of("KEY has exactly two parts\nexactly 3 chars", "KEY"),
            None
        );
    }

    #[test]
    fn a_variable_that_the_words_name_is_proposed_with_its_place() {
        let pydantic = "pydantic_core._pydantic_core.ValidationError: 1 validation error for S\nregion\n  Input should be 'eu'";
        says(
            &[SETTINGS],
            pydantic,
            &[
                "REGION, which settings.py:6 reads",
                r#""REGION": "…""#,
                "hive-app.json",
            ],
        );
        says(
            &[SETTINGS],
            "ValueError: set SIGNING_KEY",
            &[
                "has the value that stands in the code",
                r#""SIGNING_KEY": "{secret:SIGNING_KEY}""#,
            ],
        );
        says(
            &[SETTINGS],
            "KeyError: 'STRIPE_API_KEY'",
            &[
                "has no value in the image",
                "images/shop/image.json",
                "up shop --env-file FILE",
            ],
        );
        says(
            &[SETTINGS],
            "ImproperlyConfigured: KEYS_ENDPOINT is not configured",
            &[
                "KEYS_ENDPOINT, which settings.py:13 reads, has no value in the image",
                r#"`"smoke": {"environment": {"KEYS_ENDPOINT": "http://localhost"}}` in images/shop/image.json"#,
            ],
        );
        assert_eq!(
            told(&[SETTINGS], "ValueError: GIVEN_KEY is bad"),
            Vec::<String>::new()
        );
        assert_eq!(told(&[SETTINGS], "ValueError: no region"), Vec::<String>::new());
    }

    #[test]
    fn a_module_that_python_does_not_find_is_led_to() {
        let files = [("backend/core/db.py", ""), ("backend/main.py", "")];
        let words = "ModuleNotFoundError: No module named 'core.db'";
        says(
            &files,
            words,
            &["core lies in backend", r#""PYTHONPATH": "/app/backend""#],
        );
        assert_eq!(told(&[("core/db.py", "")], words), Vec::<String>::new());
        let psycopg = [("requirements.txt", "psycopg[binary]\n")];
        let words = "ModuleNotFoundError: No module named 'psycopg2'";
        says(&psycopg, words, &["`{database_url:psycopg}`"]);
        let of_parts = [
            ("requirements.txt", "psycopg2\nsqlalchemy\n"),
            (
                "models.py",
                "import os\nfrom sqlalchemy import create_engine\nHOST = os.environ.get(\"POSTGRES_HOST\")\n\
                 engine = create_engine(f\"postgresql://{HOST}/x\")\n",
            ),
        ];
        says(
            &of_parts,
            "ModuleNotFoundError: No module named 'psycopg'",
            &[r#"`"app": {"with": ["psycopg[binary]"]}`"#],
        );
        let flask = [("requirements.txt", "flask\n")];
        says(
            &flask,
            words,
            &["the module psycopg2", r#"`"app": {"with": ["psycopg2-binary"]}`"#],
        );
        let words = "ModuleNotFoundError: No module named 'haystack.query'";
        says(
            &flask,
            words,
            &["brings the module haystack: `app.with` in hive-app.json installs its package"],
        );
    }

    #[test]
    fn a_module_of_a_part_that_is_not_installed_is_led_to() {
        let project = "[project]\nname = 'shop'\ndependencies = ['django']\n\
                       [project.optional-dependencies]\nsearch = ['django-haystack']\n\
                       [dependency-groups]\ndev = ['pytest']\n";
        let files = [("pyproject.toml", project)];
        says(
            &files,
            "ModuleNotFoundError: No module named 'pytest'",
            &["pyproject.toml:7", r#"`"app": {"groups": ["dev"]}`"#],
        );
        says(
            &files,
            "ModuleNotFoundError: No module named 'haystack.query'",
            &["django-haystack", r#"`"app": {"extras": ["search"]}`"#],
        );
        let words = "ModuleNotFoundError: No module named 'django.nothing'";
        assert_eq!(told(&files, words), Vec::<String>::new());
    }

    #[test]
    fn a_module_that_python_has_no_more_has_a_python_unless_the_app_has_it() {
        let words = "ModuleNotFoundError: No module named 'imp'";
        says(
            &[],
            words,
            &[
                "Python has no imp since 3.12",
                r#"`"python": "3.11"` in images/shop/image.json"#,
            ],
        );
        says(&[("backend/imp.py", "")], words, &["imp lies in backend"]);
    }

    #[test]
    fn a_library_that_a_program_opens_has_its_package() {
        let words = "uwsgi: error while loading shared libraries: libpython3.13.so.1.0: cannot open shared object file";
        says(&[], words, &[r#""packages": ["libpython3.13"]"#]);
    }

    #[test]
    fn a_host_of_compose_is_led_to_its_setting() {
        let words = "psycopg.OperationalError: could not translate host name \"db\" to address: Name or service not known";
        says(
            &[SETTINGS],
            words,
            &[
                "db is the default of DB_HOST, which settings.py:9 reads",
                "{database_host}",
            ],
        );
        let words = "ConnectionError: HTTPSConnectionPool(host='a.example', port=443): Failed to resolve 'a.example' ([Errno -2])";
        says(&[SETTINGS], words, &["it asks a.example while it starts"]);
    }

    #[test]
    fn encryption_that_nothing_speaks_is_left_out_of_the_url() {
        let settings = (
            "settings.py",
            "import os\nimport dj_database_url\nURL = os.environ[\"SHOP_DATABASE_URL\"]\n",
        );
        let words = "OperationalError: connection to server at \"127.0.0.1\", port 5432 failed: server does not support SSL, \
                     but SSL was required";
        says(
            &[settings],
            words,
            &[r#""SHOP_DATABASE_URL": "{database_url}?sslmode=disable""#],
        );
        let words = "ConnectionError: PostgreSQL server at \"127.0.0.1:5432\" rejected SSL upgrade";
        says(&[], words, &[r#""DATABASE_URL": "{database_url}?ssl=disable""#]);
    }

    #[test]
    fn a_redis_of_the_container_that_is_not_there_is_one_of_its_programs() {
        for words in [
            "redis.exceptions.ConnectionError: Error 111 connecting to 127.0.0.1:6379. Connection refused.",
            "OSError: Multiple exceptions: [Errno 111] Connect call failed ('::1', 6379, 0, 0)",
        ] {
            says(
                &[],
                words,
                &[
                    r#"`"packages": ["redis-server"], "programs": [{"name":"redis","command":["redis-server","#,
                ],
            );
        }
        let elsewhere = "ConnectionError: Error 111 connecting to cache:6379. Connection refused.";
        assert_eq!(told(&[], elsewhere), Vec::<String>::new());
    }

    #[test]
    fn a_page_that_nothing_makes_is_not_asked_for() {
        let words = "django.template.exceptions.TemplateDoesNotExist: index.html";
        let urls =
            |line: &str| format!("from django.contrib import admin\nurlpatterns = [\n    {line},\n]\n");
        for line in [
            "path(\"manage/\", admin.site.urls)",
            "re_path(r\"^manage/\", admin.site.urls)",
        ] {
            says(
                &[("shop/urls.py", &urls(line))],
                words,
                &[
                    "no template index.html",
                    r#"`"app": {"health_path": "/manage/login/"}`"#,
                    "shop/urls.py:3",
                ],
            );
        }
        for line in ["path(\"x/\", other)", "re_path(r\"^(a|b)/\", admin.site.urls)"] {
            assert_eq!(
                told(&[("shop/urls.py", &urls(line))], words),
                Vec::<String>::new(),
                "{line}"
            );
        }
    }

    #[test]
    fn tables_and_extensions_that_are_not_there_have_a_key() {
        let alembic = [
            ("requirements.txt", "alembic\n"),
            ("alembic.ini", "[alembic]\nscript_location = m\n"),
        ];
        let words = "asyncpg.exceptions.UndefinedTableError: relation \"users\" does not exist";
        says(
            &alembic,
            words,
            &["no table users", "`alembic upgrade head` as `app.before_start`"],
        );
        says(&[], words, &["no table users", "belongs into `app.before_start`"]);
        let words =
            "psycopg.errors.UndefinedFunction: function uuid_generate_v4() does not exist\nHINT: none";
        says(&[], words, &[r#""extensions": ["vector", "uuid-ossp"]"#]);
        let words = "sqlalchemy.exc.ProgrammingError: (psycopg2.errors.InvalidSchemaName) schema \"party\" does not exist";
        says(&[], words, &[r#""initial_sql": ["CREATE SCHEMA \"party\""]"#]);
        says(
            &[],
            "UndefinedObject: type \"citext\" does not exist",
            &[r#"["vector", "citext"]"#],
        );
        says(
            &[],
            "UndefinedFunction: function uuidv7() does not exist",
            &["PostgreSQL 18", "base list"],
        );
        assert_eq!(
            told(&[], "UndefinedFunction: function of_my_own() does not exist"),
            Vec::<String>::new()
        );
        let words = "psycopg.errors.InsufficientPrivilege: permission denied to create extension \"postgis\"";
        says(&[], words, &[r#""extensions": ["vector", "postgis"]"#]);
    }
}
