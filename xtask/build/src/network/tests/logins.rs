//! Which logins go along with a build, and where they are looked for.

use super::*;

#[test]
fn a_token_for_a_user_is_a_secret_in_variables_too() {
    let of = |user: &str| {
        let variables = [("UV_INDEX_CORP_USERNAME", user), ("UV_INDEX_CORP_PASSWORD", "pw")];
        settings(&variables, &[]).unwrap().logins()
    };
    assert_eq!(of("glpat-0123456789ab"), ["pw", "glpat-0123456789ab"]);
    assert_eq!(of("robot"), ["pw"]);
}

#[test]
fn hosts_are_looked_for_in_lists_that_are_included_too() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir(dir.path().join("requirements")).unwrap();
    for (path, text) in [
        ("requirements.txt", "-r requirements/base.txt\n"),
        ("requirements/base.txt", "a\n"),
        ("requirements-dev.txt", "b\n"),
        ("constraints.txt", "c\n"),
        ("uv.toml", "d"),
        ("notes.txt", "e"),
    ] {
        fs_err::write(dir.path().join(path), text).unwrap();
    }
    let found: Vec<String> = naming_hosts(dir.path())
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(
        found,
        [
            "requirements.txt",
            "uv.toml",
            "constraints.txt",
            "requirements-dev.txt",
            "requirements/base.txt"
        ]
    );
}

/// `docker build` would give them to each step, with their logins.
#[test]
fn a_registry_of_the_front_ends_own_settings_gets_the_login_of_the_machine() {
    let user = npm::NpmFile {
        path: "/home/me/.npmrc".into(),
        text: "//npm.corp.example/:_authToken=t0ken\n//elsewhere.example/:_authToken=never\n".to_owned(),
        is_own: false,
    };
    let settings = NpmSettings::read(&BTreeMap::new(), &[user]).unwrap();
    let given = |file: &str, text: &str| {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("pnpm-lock.yaml"), "lockfileVersion: '9.0'\n").unwrap();
        fs_err::write(folder.path().join(file), text).unwrap();
        settings.npmrc(&front_end_texts(folder.path()))
    };
    let login = Some("//npm.corp.example/:_authToken=t0ken\n".to_owned());
    for (file, text) in [
        (".npmrc", "@corp:registry=https://npm.corp.example\n"),
        (".npmrc", "@corp:registry=https://npm.corp.example/"),
        (".yarnrc", "\"@corp:registry\" \"https://npm.corp.example\"\n"),
        (
            "bunfig.toml",
            "[install.scopes]\ncorp = \"https://npm.corp.example\"\n",
        ),
    ] {
        assert_eq!(given(file, text), login, "{file}: {text}");
    }
    assert_eq!(given(".npmrc", "registry=https://corp.example/\n"), None);
    // A file with logins of its own is read as settings, and not for hosts to publish to.
    assert_eq!(given(".npmrc", "//npm.corp.example/:_authToken=abc\n"), None);
}

#[test]
fn proxies_of_dockers_settings_are_secrets_where_they_have_a_login() {
    let home = tempfile::tempdir().unwrap();
    let mut env = host::Environment {
        docker_config: Some(home.path().to_owned()),
        ..host::Environment::default()
    };
    let file = home.path().join("config.json");
    let with_login = "http://me:0123456789secret@proxy:3128";
    let text = format!(
        r#"{{"proxies": {{"default": {{"httpsProxy": "{with_login}", "httpProxy": "http://127.0.0.1:3128"}}}}}}"#
    );
    fs_err::write(&file, text).unwrap();
    let seen = |env: &host::Environment| {
        let docker = DockerProxies::of(env);
        let mut network = BuildNetwork::default();
        network.take_proxies(&docker.beside(&env.network), &docker);
        network.close();
        network
    };
    let network = seen(&env);
    let open = &network.secrets["proxies"];
    assert!(
        !open.contains("secret") && open.contains("HTTP_PROXY='http://127.0.0.1:3128'"),
        "{open}"
    );
    for id in ["logins", "python-logins", "npm-logins"] {
        assert!(network.secrets[id].contains("0123456789secret"), "{id}");
    }
    let (source, at) = network.loopback_proxy.unwrap();
    assert_eq!(source, format!("httpProxy of {}", file.display()));
    assert_eq!(at, "http://127.0.0.1:3128");
    // Whoever sets a variable means that.
    env.network
        .insert("HTTPS_PROXY".to_owned(), "http://other:3128".to_owned());
    env.network.insert("http_proxy".to_owned(), String::new());
    let network = seen(&env);
    assert!(network.logins.is_empty() && network.loopback_proxy.is_none());
}

/// No step sees more than it needs.
#[test]
fn each_step_looks_for_the_logins_that_it_sees() {
    let mut network = BuildNetwork {
        of_python: vec!["0123456789-of-python".to_owned(), "abc".to_owned()],
        of_npm: vec!["0123456789-of-npm".to_owned()],
        ..BuildNetwork::default()
    };
    network.close();
    assert_eq!(network.secrets["python-logins"], "0123456789-of-python\n");
    assert_eq!(network.secrets["npm-logins"], "0123456789-of-npm\n");
    assert_eq!(
        network.secrets["logins"],
        "0123456789-of-npm\n0123456789-of-python\n"
    );
}

#[test]
fn logins_go_along_for_whatever_host_a_build_asks() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir(dir.path().join("deps")).unwrap();
    for (path, text) in [
        ("requirements.txt", "-r deps/prod.in\n"),
        (
            "deps/prod.in",
            "-i https://of-list.example/simple\nx @ git+https://of-git.example/x\n",
        ),
        ("deps/other.in", "-i https://elsewhere.example/simple\n"),
    ] {
        fs_err::write(dir.path().join(path), text).unwrap();
    }
    let variables = BTreeMap::from([(
        "UV_PYTHON_INSTALL_MIRROR".to_owned(),
        "https://of-python.example/builds".to_owned(),
    )]);
    let python = PythonSource::read(&variables, &[]).unwrap();
    let settings = settings(&[("UV_INDEX", "https://of-machine.example/simple")], &[]).unwrap();
    let lists = ["requirements.txt", "deps/prod.in"].map(PathBuf::from).into();
    let named = naming(Some(dir.path()), &lists, &settings, &python);
    let is_asked = |host: &str| named.iter().any(|text| names_host(text, host));
    for host in ["of-list", "of-git", "of-python", "of-machine"] {
        assert!(is_asked(&format!("{host}.example")), "{host}");
    }
    assert!(!is_asked("elsewhere.example"));
}
