//! Settings of machines, and what a build gets of them.

mod logins;

use super::settings::{SettingsFile, SettingsForm};
use super::*;
use toml::Table;

fn settings(variables: &[(&str, &str)], files: &[(&str, &str)]) -> Result<IndexSettings, String> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let files: Vec<SettingsFile> = files
        .iter()
        .map(|(path, text)| SettingsFile {
            path: PathBuf::from(path),
            text: (*text).to_owned(),
            form: match path.rsplit('/').next() {
                Some("uv.toml") => SettingsForm::Uv,
                Some("pyproject.toml") => SettingsForm::Project,
                _ => SettingsForm::Pip,
            },
        })
        .collect();
    IndexSettings::read(&variables, &files, &Table::new())
}

fn exported(settings: &IndexSettings) -> BTreeMap<String, String> {
    settings.variables().collect()
}

#[test]
fn a_machine_that_says_nothing_changes_nothing() {
    let found = settings(
        &[],
        &[(
            "/etc/pip.conf",
            "[global]\ntimeout = 9\n[list]\nindex-url = http://no\n",
        )],
    )
    .unwrap();
    assert_eq!(found.identity(), None);
    assert_eq!(found.uv_toml(), None);
    assert_eq!(exported(&found), BTreeMap::new());
}

#[test]
fn every_place_that_names_an_index_is_used() {
    let mirror = "https://me:s3cret@mirror.example/simple";
    for (variables, files) in [
        (vec![("UV_INDEX", mirror)], vec![]),
        (vec![("UV_DEFAULT_INDEX", mirror)], vec![]),
        (vec![("UV_INDEX_URL", mirror)], vec![]),
        (vec![("UV_EXTRA_INDEX_URL", mirror)], vec![]),
        (vec![("PIP_INDEX_URL", mirror)], vec![]),
        (vec![("PIP_EXTRA_INDEX_URL", mirror)], vec![]),
        (
            vec![],
            vec![("pip.conf", format!("[global]\nindex-url = {mirror}\n"))],
        ),
        (
            vec![],
            vec![(
                "pip.conf",
                format!("[install]\nextra_index_url:\n  https://a.example\n  {mirror}\n"),
            )],
        ),
        (
            vec![],
            vec![(
                "uv.toml",
                format!("[[index]]\nurl = \"{mirror}\"\ndefault = true\n"),
            )],
        ),
        (vec![], vec![("uv.toml", format!("index-url = \"{mirror}\"\n"))]),
        (
            vec![],
            vec![("uv.toml", format!("extra-index-url = [\"{mirror}\"]\n"))],
        ),
    ] {
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let found = settings(&variables, &files).unwrap();
        let of_uv = found.uv_toml().unwrap_or_default();
        let as_variable = exported(&found)
            .iter()
            .any(|(name, value)| name.starts_with("UV_") && value.split(' ').any(|url| url == mirror));
        assert!(as_variable || of_uv.contains(mirror), "{variables:?} {files:?}");
        let identity = found.identity().unwrap();
        assert!(identity.contains("https://mirror.example/simple"), "{identity}");
        assert!(!identity.contains("s3cret"), "{identity}");
        assert!(found.logins().contains(&"s3cret".to_owned()));
    }
}

#[test]
fn another_login_is_the_same_index_and_another_host_is_not() {
    let of = |url: &str| settings(&[("UV_INDEX", url)], &[]).unwrap().identity();
    assert_eq!(
        of("corp=https://a:b@x.example/"),
        of("corp=https://c:d@x.example/")
    );
    assert_ne!(of("https://x.example/"), of("https://y.example/"));
}

#[test]
fn settings_of_uv_go_before_those_of_pip() {
    let found = settings(
        &[
            ("UV_DEFAULT_INDEX", "https://uv.example"),
            ("PIP_INDEX_URL", "https://pip.example"),
        ],
        &[],
    )
    .unwrap();
    assert_eq!(exported(&found)["UV_DEFAULT_INDEX"], "https://uv.example");
    // pip, which installs uv, has its own.
    assert_eq!(exported(&found)["PIP_INDEX_URL"], "https://pip.example");
    let found = settings(&[("UV_DEFAULT_INDEX", "corp=https://uv.example")], &[]).unwrap();
    assert_eq!(exported(&found)["PIP_INDEX_URL"], "https://uv.example");
}

/// What uv is told of indexes: those that go before, and the last one.
fn asked(variables: &[(&str, &str)], files: &[(&str, &str)], own: &str) -> (String, String) {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let variables = variables.iter().map(owned).collect();
    let files: Vec<SettingsFile> = files
        .iter()
        .map(|(path, text)| SettingsFile {
            path: PathBuf::from(path),
            text: (*text).to_owned(),
            form: if path.ends_with("pip.conf") {
                SettingsForm::Pip
            } else {
                SettingsForm::Uv
            },
        })
        .collect();
    let found = IndexSettings::read(&variables, &files, &own.parse().unwrap()).unwrap();
    let exported = exported(&found);
    let of = |name: &str| exported.get(name).cloned().unwrap_or_default();
    (of("UV_INDEX"), of("UV_DEFAULT_INDEX"))
}

#[test]
fn no_index_of_pips_goes_before_one_that_is_to_be_asked_first() {
    const CORP: &str = "https://corp.example/simple";
    const MORE: &str = "https://more.example/simple";
    const PUBLIC: &str = "https://pypi.org/simple";
    let said = |more: &str, last: &str| (more.to_owned(), last.to_owned());
    let pip = |url: &str, more: &str| format!("[global]\n  index-url = {url}\n  extra-index-url = {more}\n");
    for (file, expected) in [
        (pip(CORP, PUBLIC), said(CORP, PUBLIC)),
        (pip(PUBLIC, CORP), said(CORP, PUBLIC)),
        (pip(CORP, MORE), said(CORP, MORE)),
        (
            pip(PUBLIC, &format!("{MORE} {CORP}")),
            said(&format!("{MORE} {CORP}"), PUBLIC),
        ),
        (format!("[global]\nextra-index-url = {CORP}\n"), said(CORP, "")),
        (
            format!("[global]\nextra-index-url = {PUBLIC}\n"),
            said("", PUBLIC),
        ),
        (format!("[global]\nindex-url = {CORP}\n"), said("", CORP)),
    ] {
        assert_eq!(asked(&[], &[("/x/pip.conf", &file)], ""), expected, "{file}");
    }
    // Beside any of uv's, of the machine or of the app, its more ones do not count, and its
    // first one only where uv names no last one.
    let file = pip(MORE, PUBLIC);
    let files = [("/x/pip.conf", file.as_str())];
    assert_eq!(asked(&[("UV_DEFAULT_INDEX", CORP)], &files, ""), said("", CORP));
    assert_eq!(asked(&[("UV_INDEX", CORP)], &files, ""), said(CORP, MORE));
    let of_user = format!("[pip]\nindex-url = \"{CORP}\"\n");
    let with_user = [files[0], ("/x/uv.toml", of_user.as_str())];
    assert_eq!(asked(&[], &with_user, ""), said("", ""));
    let own = format!("[[index]]\nurl = \"{CORP}\"\n");
    assert_eq!(
        asked(&[], &files, &format!("{own}default = true\n")),
        said("", "")
    );
    assert_eq!(asked(&[], &files, &own), said("", MORE));
    // One that only some packages come from is asked for no other.
    assert_eq!(
        asked(&[], &files, &format!("{own}explicit = true\n")),
        said(MORE, PUBLIC)
    );
}

#[test]
fn what_decides_on_code_of_packages_is_followed_or_refused() {
    let told = |variables: &[(&str, &str)], files: &[(&str, &str)]| settings(variables, files).unwrap_err();
    for name in ["UV_NO_BUILD", "PIP_ONLY_BINARY", "UV_REQUIRE_HASHES"] {
        assert!(told(&[(name, ":all:")], &[]).starts_with(&format!("{name} decides which")));
    }
    let of_pip = told(&[], &[("/x/uv.toml", "[pip]\nonly-binary = [\":all:\"]\n")]);
    assert!(
        of_pip.starts_with("`pip.only-binary` in /x/uv.toml decides"),
        "{of_pip}"
    );
    let text = "no-build-package = [\"a\"]\nno-build = false\n";
    let found = settings(&[("UV_NO_BUILD_PACKAGE", "b")], &[("/x/uv.toml", text)]).unwrap();
    assert_eq!(found.uv_toml().unwrap(), "no-build-package = [\"a\"]\n");
    assert_eq!(exported(&found)["UV_NO_BUILD_PACKAGE"], "b");
}

#[test]
fn a_login_that_poetry_has_in_a_variable_is_uvs_for_the_source_of_that_name() {
    let variables = [
        ("POETRY_HTTP_BASIC_CORP_USERNAME", "me"),
        ("POETRY_HTTP_BASIC_CORP_PASSWORD", "of-poetry"),
        ("UV_INDEX_CORP_PASSWORD", "of-uv"),
    ];
    let found = exported(&settings(&variables, &[]).unwrap());
    assert_eq!(found["UV_INDEX_CORP_USERNAME"], "me");
    assert_eq!(found["UV_INDEX_CORP_PASSWORD"], "of-uv");
    assert!(found.keys().all(|name| !name.starts_with("POETRY")));
}

#[test]
fn an_index_that_only_the_locks_own_tool_reads_is_refused_until_uv_has_one() {
    let dir = tempfile::tempdir().unwrap();
    let variables = |names: &[&str]| {
        names
            .iter()
            .map(|name| ((*name).to_owned(), "https://m".to_owned()))
            .collect()
    };
    let told = |names: &[&str]| {
        let variables = variables(names);
        let settings = IndexSettings::read(&variables, &[], &Table::new()).unwrap();
        of_another_tool(&variables, dir.path(), &settings)
    };
    assert_eq!(told(&["PIPENV_PYPI_MIRROR"]), None);
    fs_err::write(dir.path().join("Pipfile.lock"), "{}").unwrap();
    assert!(
        told(&["PIPENV_PYPI_MIRROR"])
            .unwrap()
            .starts_with("PIPENV_PYPI_MIRROR names a package index")
    );
    assert_eq!(told(&["PIPENV_PYPI_MIRROR", "UV_DEFAULT_INDEX"]), None);
    assert_eq!(told(&["PDM_PYPI_URL"]), None);
}

#[test]
fn packages_beside_the_indexes_are_refused_where_there_are_some() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display().to_string();
    let told = |variables: &[(&str, &str)], files: &[(&str, &str)]| {
        beside_indexes(
            &settings(variables, files).unwrap().find_links,
            Path::new("/nonexistent"),
        )
    };
    let all = || {
        [
            told(&[("PIP_FIND_LINKS", &format!("/none {place}"))], &[]),
            told(&[("UV_FIND_LINKS", &format!("/none,{place}"))], &[]),
            told(
                &[],
                &[("/x/pip.conf", &format!("[install]\nfind-links =\n  {place}\n"))],
            ),
            told(&[], &[("/x/uv.toml", &format!("find-links = ['{place}']\n"))]),
        ]
    };
    // An empty folder has nothing that could be missed.
    assert_eq!(all(), [None, None, None, None]);
    fs_err::write(dir.path().join("a-1-py3-none-any.whl"), "").unwrap();
    let sources = [
        "PIP_FIND_LINKS",
        "UV_FIND_LINKS",
        "`find-links` in /x/pip.conf",
        "`find-links` in /x/uv.toml",
    ];
    for (source, told) in sources.iter().zip(all()) {
        let told = told.unwrap();
        assert!(
            told.starts_with(&format!("{source} names packages in {place}, and")),
            "{told}"
        );
    }
    let page = told(&[("UV_FIND_LINKS", "https://me:secret@h.example/wheels")], &[]).unwrap();
    assert!(
        page.contains("h.example/wheels") && !page.contains("secret"),
        "{page}"
    );
}

#[test]
fn what_no_build_can_follow_is_refused_by_name() {
    for (variables, files) in [
        (vec![("UV_NO_INDEX", "1")], vec![]),
        (vec![], vec![("/x/pip.conf", "[global]\nno-index = true\n")]),
        (vec![], vec![("/x/uv.toml", "no-index = true\n")]),
        (vec![], vec![("/x/uv.toml", "[[index\n")]),
    ] {
        let told = settings(&variables, &files).unwrap_err();
        let name = variables.first().map_or_else(|| files[0].0, |(name, _)| *name);
        assert!(told.contains(name), "{told}");
    }
    assert!(settings(&[("UV_NO_INDEX", "0")], &[]).is_ok());
    for url in [
        "http://localhost:3141/",
        "http://a:b@127.0.0.1/x",
        "https://[::1]:8/",
    ] {
        let found = settings(&[("UV_INDEX", url)], &[]).unwrap();
        assert_eq!(found.on_loopback().unwrap().0, "UV_INDEX", "{url}");
    }
    assert!(
        settings(&[("UV_INDEX", "https://localhost.example/")], &[])
            .unwrap()
            .on_loopback()
            .is_none()
    );
}

#[test]
fn logins_are_known_as_written_and_as_meant() {
    assert_eq!(
        address::login_of("https://a:p%40ss@h/"),
        ["a:p%40ss", "p%40ss", "p@ss"]
    );
    assert_eq!(address::login_of("https://token@h/")[1], "token");
    let token = "0123456789abcdef0123";
    for (url, secret) in [
        (format!("https://{token}:x-oauth-basic@h/"), token),
        ("http://a:p/ss@h:3128/".to_owned(), "p/ss"),
        ("http://a:p#s?s@h".to_owned(), "p#s?s"),
    ] {
        let known = address::login_of(&url);
        assert!(known.contains(&secret.to_owned()), "{known:?}");
        assert!(!address::without_login(&url).contains(secret), "{url}");
    }
    for url in ["https://h:8080/a@b", "https://[::1]/a@b", "https://h/x:y@z"] {
        assert_eq!(address::without_login(url), url);
    }
    assert_eq!(address::login_of("https://h/a@b"), Vec::<String>::new());
    assert_eq!(address::without_login("https://a:b@h/x"), "https://h/x");
}

#[test]
fn no_name_is_exported_that_a_shell_refuses() {
    assert!(settings::is_credential("UV_INDEX_MY_CORP_PASSWORD"));
    for name in [
        "UV_INDEX_my-corp_PASSWORD",
        "UV_INDEX_a b_USERNAME",
        "UV_INDEX_a;b_PASSWORD",
    ] {
        assert!(!settings::is_credential(name), "{name}");
    }
}

#[test]
fn a_host_is_named_by_a_url_alone() {
    for text in [
        "https://h.example/x",
        "git+https://me@h.example:8/x",
        "\"https://h.example\"",
    ] {
        assert!(names_host(text, "h.example"), "{text}");
    }
    for text in ["https://not-h.example/", "https://h.example.org/", "h.example"] {
        assert!(!names_host(text, "h.example"), "{text}");
    }
}

#[test]
fn a_step_of_the_apps_own_gets_the_proxies_without_a_login_alone() {
    let variables = BTreeMap::from(
        [
            ("HTTP_PROXY", "http://proxy:3128"),
            ("https_proxy", "http://robot:pw@proxy:3128"),
            ("no_proxy", "localhost,.corp"),
            ("UV_INDEX", "https://robot:pw@host/simple"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let open = proxy_lines(&variables, |value| address::login_of(value).is_empty());
    assert_eq!(
        open,
        "export http_proxy='http://proxy:3128'\nexport HTTP_PROXY='http://proxy:3128'\n\
         export no_proxy='localhost,.corp'\nexport NO_PROXY='localhost,.corp'\n"
    );
    let all = proxy_lines(&variables, |_| true);
    assert!(
        all.contains("export HTTPS_PROXY='http://robot:pw@proxy:3128'\n"),
        "{all}"
    );
    assert!(!all.contains("UV_INDEX"), "{all}");
}

#[test]
fn what_could_be_a_word_is_not_looked_for_in_files() {
    let logins = [
        "robot:pw",
        "pw",
        "database",
        "0123456789abcdef",
        "a\nlong enough to be one",
    ];
    assert_eq!(
        sought_in_files(&logins.map(str::to_owned)),
        "robot:pw\n0123456789abcdef\n"
    );
}

#[test]
fn what_uv_pip_alone_obeys_counts_too() {
    let text = "index-url = \"https://a.example/simple\"\n[pip]\nindex-url = \"https://me:s3cret@b.example/simple\"\n\
                extra-index-url = [\"https://c.example/simple\"]\nstrict = true\n";
    let found = settings(
        &[],
        &[
            ("/etc/uv/uv.toml", text),
            ("uv.toml", "[pip]\nindex-strategy = \"first-index\"\n"),
        ],
    )
    .unwrap();
    assert_eq!(
        found.uv_toml().unwrap(),
        "index-url = \"https://a.example/simple\"\n[pip]\nextra-index-url = [\"https://c.example/simple\"]\n\
         index-strategy = \"first-index\"\nindex-url = \"https://me:s3cret@b.example/simple\"\n"
    );
    assert!(found.logins().contains(&"s3cret".to_owned()));
    assert!(!found.identity().unwrap().contains("s3cret"));
    assert_eq!(found.urls().filter(|url| url.contains("c.example")).count(), 1);
    let told = settings(&[], &[("uv.toml", "[pip]\nno-index = true\n")]).unwrap_err();
    assert!(
        told.starts_with("`pip.no-index` in uv.toml forbids every package index"),
        "{told}"
    );
    let found = settings(&[], &[("uv.toml", "[pip]\nfind-links = [\"/wheels\"]\n")]).unwrap();
    assert_eq!(
        found.find_links,
        [("`pip.find-links` in uv.toml".to_owned(), "/wheels".to_owned())]
    );
}

#[test]
fn packages_beside_the_indexes_are_found_wherever_pip_finds_them() {
    let home = tempfile::tempdir().unwrap();
    fs_err::create_dir(home.path().join("wheels")).unwrap();
    fs_err::create_dir(home.path().join("empty")).unwrap();
    fs_err::write(home.path().join("wheels/x-1.tgz"), "").unwrap();
    fs_err::write(home.path().join("links.html"), "").unwrap();
    let told = |place: &str| beside_indexes(&[("PIP_FIND_LINKS".to_owned(), place.to_owned())], home.path());
    let whole = home.path().join("wheels").display().to_string();
    for place in [
        "~/wheels",
        "~/links.html",
        "~other/wheels",
        "https://me:pw@h.example/links",
        &whole,
    ] {
        let said = told(place).unwrap();
        assert!(said.starts_with("PIP_FIND_LINKS names packages in "), "{said}");
        assert!(!said.contains("pw@"), "{said}");
    }
    for place in ["~/empty", "~", "/nowhere"] {
        assert_eq!(told(place), None, "{place}");
    }
}

#[test]
fn lists_of_several_files_are_joined_as_uv_joins_them() {
    let index = |name: &str| format!("[[index]]\nname = \"{name}\"\nurl = \"https://{name}.example\"\n");
    let (system, user) = (
        format!(
            "index-url = \"https://a.example\"\n{}default = true\n",
            index("internal")
        ),
        format!(
            "index-url = \"https://b.example\"\nextra-index-url = [\"https://c.example\"]\n{}",
            index("more")
        ),
    );
    let nearest = "[project]\nname = \"x\"\n[tool.uv]\nextra-index-url = [\"https://d.example\"]\n\
                   [tool.uv.pip]\nextra-index-url = [\"https://e.example\"]\n";
    let found = settings(
        &[],
        &[
            ("/etc/uv/uv.toml", &system),
            ("/home/me/uv.toml", &user),
            ("/mono/pyproject.toml", nearest),
        ],
    );
    assert_eq!(
        found.unwrap().uv_toml().unwrap(),
        "extra-index-url = [\"https://d.example\",\"https://c.example\"]\nindex-url = \"https://b.example\"\n\
         [[index]]\nname = \"more\"\nurl = \"https://more.example\"\n\
         [[index]]\ndefault = true\nname = \"internal\"\nurl = \"https://internal.example\"\n\
         [pip]\nextra-index-url = [\"https://e.example\"]\n"
    );
}

#[test]
fn which_versions_count_goes_along_and_counts_for_the_image() {
    let system = "exclude-newer = \"7 days\"\nconstraint-dependencies = [\"a<2\"]\n\
                  exclude-newer-package = { a = \"2024-01-01\", b = false }\n[pip]\nprerelease = \"disallow\"\n\
                  [pip.exclude-newer-package]\n\"c.d\" = \"2024-01-01\"\n";
    let user = "constraint-dependencies = [\"b<3\"]\n[exclude-newer-package]\na = \"2025-01-01\"\n\
                [[index]]\nurl = \"https://h.example\"\ncache-control = { api = \"max-age=600\" }\n";
    let found = settings(
        &[("UV_EXCLUDE_NEWER", "3 days")],
        &[("/etc/uv/uv.toml", system), ("/home/me/uv.toml", user)],
    );
    let found = found.unwrap();
    let text = found.uv_toml().unwrap();
    assert_eq!(
        text,
        "constraint-dependencies = [\"b<3\",\"a<2\"]\nexclude-newer = \"7 days\"\n\
         [exclude-newer-package]\na = \"2025-01-01\"\nb = false\n\
         [[index]]\nurl = \"https://h.example\"\n\
         [pip]\nprerelease = \"disallow\"\n[pip.exclude-newer-package]\n\"c.d\" = \"2024-01-01\"\n"
    );
    assert!(text.parse::<toml::Table>().is_ok());
    assert_eq!(exported(&found)["UV_EXCLUDE_NEWER"], "3 days");
    assert!(found.identity().unwrap().contains("3 days"));
    assert_eq!(found.urls().collect::<Vec<_>>(), ["https://h.example"]);
}

#[test]
fn a_file_that_says_which_versions_count_is_known_by_who_names_it() {
    let named = |variables: &[(&str, &str)], files: &[(&str, &str)]| {
        settings(variables, files).unwrap().versions_in_file
    };
    let said = |who: &str, file: &str| Some((who.to_owned(), file.to_owned()));
    for name in ["UV_CONSTRAINT", "UV_OVERRIDE", "PIP_CONSTRAINT"] {
        assert_eq!(named(&[(name, "/srv/c.txt")], &[]), said(name, "/srv/c.txt"));
    }
    let file = "[global]\nconstraint = /srv/c.txt\n";
    assert_eq!(
        named(&[], &[("/etc/pip.conf", file)]),
        said("`constraint` in /etc/pip.conf", "/srv/c.txt")
    );
    assert_eq!(
        named(&[], &[("/etc/pip.conf", "[wheel]\nconstraint = x\n")]),
        None
    );
}

#[test]
fn pips_section_of_installing_goes_before_the_one_of_all_commands() {
    let of = |files: &[(&str, &str)]| exported(&settings(&[], files).unwrap())["PIP_INDEX_URL"].clone();
    let install = "[install]\nindex-url = https://internal.example\n";
    let global = "[global]\nindex-url = https://public.example\n";
    let (both, turned) = (format!("{install}{global}"), format!("{global}{install}"));
    for files in [
        &[("/etc/pip.conf", both.as_str())][..],
        &[("/etc/pip.conf", turned.as_str())],
        &[("/etc/pip.conf", install), ("/home/me/pip.conf", global)],
        &[("/etc/pip.conf", global), ("/home/me/pip.conf", install)],
    ] {
        assert_eq!(of(files), "https://internal.example", "{files:?}");
    }
    assert_eq!(of(&[("/etc/pip.conf", global)]), "https://public.example");
}

#[test]
fn an_index_of_files_is_refused_by_name() {
    for (variables, files, who) in [
        (
            vec![("UV_INDEX", "corp=file:///srv/simple")],
            vec![],
            "UV_INDEX names the package index file:///srv/simple,",
        ),
        (
            vec![],
            vec![("/x/uv.toml", "index-url = \"./simple\"\n")],
            "uv.toml names the package index ./simple,",
        ),
        (
            vec![],
            vec![("/x/pip.conf", "[global]\nindex-url = /srv/simple\n")],
            "/x/pip.conf names the package index /srv/",
        ),
    ] {
        let told = settings(&variables, &files).unwrap_err();
        assert!(told.starts_with(who), "{told}");
    }
}
