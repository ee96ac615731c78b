//! What a failed step means: its error in short, and what people do about it.

mod missing;

use super::one_line;
use definition::base::BaseSets;
use failure::Failure;

/// BuildKit repeats the whole script of a `RUN` in its error.
pub(crate) fn short(error: &str) -> String {
    match error.rsplit_once("did not complete successfully: ") {
        Some((_, end)) => format!("the step ended with {end}"),
        None => one_line(error, 300),
    }
}

/// Whether a line says what went wrong, wherever it stands: what follows it may be
/// as long as a compiler's output.
pub(super) fn is_telling(line: &str) -> bool {
    [
        "Failed to build",
        "Failed to download",
        "fatal error:",
        "error: ",
        "Error: ",
    ]
    .iter()
    .any(|sign| line.contains(sign))
}

/// The program that the last step found to be in no image.
fn without_program(text: &str) -> Option<&str> {
    text.lines()
        .filter(|line| line.contains("app.command: ") || line.contains("app.before_start: "))
        .find_map(|line| Some(line.split_once("no such program: ")?.1.trim()))
}

/// What to do about a file that a step of the app's may not write.
fn denied(text: &str) -> Option<String> {
    let (before, rest) = text.rsplit_once("PermissionError: [Errno 13] Permission denied: '")?;
    let path = rest.split('\'').next()?;
    let step = before
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("+ "));
    let is_open = |path: &str| ["/app/", "/tmp/"].iter().any(|open| path.starts_with(open));
    let Some((folder, inside)) = path.split_once("/site-packages/") else {
        return (path.starts_with('/') && !is_open(path)).then(|| {
            format!(
                "nothing of the app's may write in {path}: the setting that names that has to lead into the app's own folder, or \
                 `build.folders` has to name its folder, which is made for the steps then"
            )
        });
    };
    let package = inside.split('/').next().filter(|package| *package != inside)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || " -_./:=@,+%".contains(c);
    let step = step.filter(|step| step.chars().all(plain)).unwrap_or("…");
    Some(format!(
        "a step writes into the installed package {package}, which is root's: `[\"sh\", \"-c\", \"mkdir /tmp/own && cp -r \
         {folder}/site-packages/{package} /tmp/own && PYTHONPATH=/tmp/own:$PYTHONPATH {step}\"]` in its place in `build.steps` \
         has it write into a copy"
    ))
}

/// A folder that the project's own package takes in, and that nobody has made: of hatchling.
fn not_taken_in(text: &str) -> Option<String> {
    let (_, rest) = text.rsplit_once("Forced include not found: /app/")?;
    let path = rest.lines().next()?.trim();
    Some(format!(
        "the project's package takes in {path}, which is not in its folder: put there what is built for it, or nothing, by \
         `mkdir -p {path} && touch {path}/.gitkeep` in the app's folder"
    ))
}

/// `name==1.0`, of uv's sentence that there is no such version.
fn unknown_version(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("there is no version of ")?;
    let requirement = rest.split_whitespace().next()?;
    requirement.contains("==").then_some(requirement)
}

/// `name@1.0`, of npm's sentence that its registry has none; a lock names the file instead
/// of the version.
fn unknown_to_npm(text: &str) -> Option<&str> {
    let (before, _) = text.split_once("' is not in this registry")?;
    let (_, package) = before.rsplit_once('\'')?;
    (!package.contains(char::is_whitespace)).then_some(package)
}

/// The host that uv could not fetch something from.
fn host(text: &str) -> Option<&str> {
    host_of(text.split_once("Failed to fetch: ")?.1)
}

/// The package that comes from git, and the host that git could not reach.
fn of_git(text: &str) -> Option<(&str, &str)> {
    let (_, after) = text.split_once("Git operation failed")?;
    let (_, rest) = after.split_once("unable to access '")?;
    let package = text.split_once(" @ git+")?.0.rsplit('`').next()?;
    Some((package, host_of(rest)?))
}

/// The package that comes from git, and the host that lets nobody have it without a login. To whom
/// they have not let in, forges say that there is nothing.
fn wants_login_of_git(text: &str) -> Option<(&str, &str)> {
    let (_, after) = text.split_once("Git operation failed")?;
    let signs = [
        "could not read Username for '",
        "could not read Password for '",
        "Authentication failed for '",
        "repository '",
    ];
    let url = signs.iter().find_map(|sign| Some(after.split_once(sign)?.1))?;
    let package = text.split_once(" @ git+")?.0.rsplit('`').next()?;
    Some((package, host_of(url)?))
}

/// The host of a URL that a text begins with, without who asks it.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest
        .split(|c: char| c == '/' || c.is_whitespace() || "`'\")".contains(c))
        .next()?;
    let host = authority.rsplit('@').next()?;
    (!host.is_empty()).then_some(host)
}

/// What npm, pnpm and both kinds of Yarn say of a registry that takes nobody without a
/// login, in small letters.
const OF_NPM: [&str; 10] = [
    "npm err! code e401",
    "npm err! code e403",
    "npm error code e401",
    "npm error code e403",
    "npm error 401",
    "npm error 403",
    "err_pnpm_fetch_401",
    "err_pnpm_fetch_403",
    "request failed \"401",
    "yn0041",
];

/// Whether a line may be of what goes wrong with certificates: apt names the package of
/// the usual ones, and so does what that package runs.
fn is_of_certificates(line: &str) -> bool {
    let of_apt = ["ca-certificates", "updating certificates", "rehash: "];
    line.contains("verif") || !of_apt.iter().any(|sign| line.contains(sign))
}

/// What people do about the usual causes.
pub(crate) fn hints(failure: Failure, text: &str, bases: Option<&BaseSets>) -> Failure {
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&OF_NPM) && has(&["401", "403", "yn0041"]) {
        return failure.hint(
            "the npm registry wants a login: npm takes registries and logins of NPM_CONFIG_REGISTRY, of `.npmrc` in HOME (or \
             NPM_CONFIG_USERCONFIG) and of the front end's own, where a ${NAME} takes variables whose names start with NPM_",
        );
    }
    if has(&["401 unauthorized", "403 forbidden", "missing credentials"]) {
        return failure.hint(
            "the package index wants a login: a netrc file has one for any, UV_INDEX_<NAME>_USERNAME and \
             UV_INDEX_<NAME>_PASSWORD for one with a name (in UV_INDEX, `[[tool.uv.index]]`, or a source of Poetry's, PDM's or \
             pipenv's), or user and password in the URL of a variable. A build has neither a keyring nor what Poetry, PDM and \
             pipenv know in files of their own",
        );
    }
    if let Some((package, host)) = wants_login_of_git(text) {
        return failure.hint(format!(
            "{host}, which has {package} in git, wants a login, or does not have that repository: `.netrc` in HOME (or NETRC) \
             has one for a host, which a build gets where the app names it. A build has no credential helper of git's"
        ));
    }
    if let Some((_, rest)) = text.split_once("uv cannot have Python ")
        && !text.contains("Hash mismatch")
    {
        let python = rest.split_whitespace().next().unwrap_or_default();
        let base = bases.and_then(|bases| bases.released_with(python));
        let way = base.map_or_else(
            || "or leave `python` out of images/<image>/image.json: then packages without a wheel are built".to_owned(),
            |base| {
                format!(
                    "or, where the app takes the Python of that set, `\"base\": \"{base}\"` in place of `python` in \
                     images/<image>/image.json"
                )
            },
        );
        return failure.hint(format!(
            "UV_PYTHON_INSTALL_MIRROR names a place that the build reaches and that has it; {way}"
        ));
    }
    if let Some(program) = without_program(text) {
        return failure.hint(format!(
            "nothing that is installed brings {program}: add its package to the app's dependencies, or one of the \
             distribution to `packages` of the spec"
        ));
    }
    if has(&["host key verification failed"]) {
        return failure.hint(
            "~/.ssh/known_hosts of this machine does not have that host, or has another key of it: connect to it once by ssh",
        );
    }
    if has(&["permission denied (publickey"]) {
        return failure
            .hint("the SSH agent has no key that the host takes: `ssh-add -l` lists those that it has");
    }
    if let Some(advice) = missing::another_python(text, bases).or_else(|| missing::advice(text)) {
        return failure.hint(advice);
    }
    let of_certificates: String = lower.lines().filter(|line| is_of_certificates(line)).collect();
    if ["certificate", "unknownissuer", "self-signed", "ssl:"]
        .iter()
        .any(|word| of_certificates.contains(word))
    {
        return failure.hint(
            "the network seems to intercept TLS: pass its CA bundle with `--ca-bundle FILE` or SSL_CERT_FILE; a build has none of \
             pip's `cert` and `trusted-host`, of PIP_CERT, REQUESTS_CA_BUNDLE and UV_INSECURE_HOST",
        );
    }
    if has(&["no space left", "disk quota"]) {
        return failure.hint("the disk is full: `docker system df` shows what takes the room, `docker builder prune` frees build cache");
    }
    if has(&[
        "temporary failure in name resolution",
        "temporary failure resolving",
        "could not resolve",
        "failed to lookup address",
        "dns error",
        "network is unreachable",
    ]) {
        if let Some((package, host)) = of_git(text) {
            return failure.hint(format!(
                "the build could not reach {host}, which has {package} in git: check the network, or the proxy, and run the same \
                 command again; or let the app take a release of it that an index has"
            ));
        }
        return failure.hint(match host(text) {
            Some(host) => format!(
                "the build could not reach {host}: check the network, or the proxy, and run the same command again; \
                 an app's lock that names {host} is made anew for another index, and a line `--index-url` or `-i` of its \
                 list that does is taken out where the index settings of the machine are to count"
            ),
            None => "the build could not reach the network: check it, or the proxy, and run the same command again".to_owned(),
        });
    }
    if text.contains("first index that contains a given package") {
        return failure.hint(
            "an index that goes before has that name in other versions, and may have it from somebody else: name the one that \
             is meant first (UV_INDEX goes before UV_DEFAULT_INDEX), or for this package alone (`[tool.uv.sources]`, `index` \
             in Pipfile, `source` of Poetry's). UV_INDEX_STRATEGY=unsafe-best-match takes the highest version of anybody who \
             may put one into any of them",
        );
    }
    if text.contains("Git sources cannot be editable") {
        return failure.hint(
            "the list takes a repository with `-e`: take that out, an image's packages are not edited",
        );
    }
    if let Some(requirement) = unknown_version(text) {
        return failure.hint(format!(
            "the index has no {requirement} (any more), and no build can have it: change what asks for it"
        ));
    }
    if let Some(package) = unknown_to_npm(text) {
        // npm puts another registry in place of its own in a lock, and of no other one.
        let way = match host_of(package) {
            Some(host) if host != "registry.npmjs.org" => format!(
                "the app's lock names {host}: make it anew with a registry that has it, and can be asked without a login"
            ),
            _ => "name a registry that has it in NPM_CONFIG_REGISTRY, or let the app's lock take a version that this \
                     one has"
                .to_owned(),
        };
        return failure.hint(format!(
            "npm gets no {package}: the registry does not have it, or wants a login for it: {way}"
        ));
    }
    if has(&["the lockfile at `uv.lock` needs to be updated", "uv lock"]) {
        return failure.hint("run `uv lock` in the app's folder and commit uv.lock");
    }
    if let Some(advice) = denied(text).or_else(|| not_taken_in(text)) {
        return failure.hint(advice);
    }
    if let Some(module) = missing_module(text) {
        return failure.hint(format!(
            "nothing that is installed brings the module {module}: where an extra or a dependency group of the app's has its \
             package, `app.extras` or `app.groups` of the spec names that; else `app.with` names its package, or the app's own \
             dependencies do"
        ));
    }
    failure
}

/// The module that the code of a step does not find; what builds a package is told by its own
/// words.
fn missing_module(text: &str) -> Option<&str> {
    let of_a_build = ["build backend", "Failed to build"];
    if of_a_build.iter().any(|sign| text.contains(sign)) {
        return None;
    }
    let (_, rest) = text.rsplit_once("ModuleNotFoundError: No module named '")?;
    rest.split('\'').next().filter(|module| !module.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn hint(text: &str) -> String {
        hints(failure::build("x"), text, None).hints.join("\n")
    }

    #[test]
    fn a_host_that_cannot_be_reached_is_named() {
        let said = "error: Failed to download `x==1`\n  cause: Failed to fetch: https://me@mirror.example:8080/x.whl\n  cause: dns error";
        for part in [
            "could not reach mirror.example:8080: ",
            "a line `--index-url` or `-i` of its list that does is taken out",
        ] {
            assert!(hint(said).contains(part), "{}", hint(said));
        }
        assert!(hint("dns error").contains("could not reach the network"));
    }

    #[test]
    fn a_package_of_git_is_named_with_its_host() {
        let said = "error: Failed to download and build `utils @ git+https://code.example/u/utils.git@a9af`\n  cause: Git \
                    operation failed\n  fatal: unable to access 'https://code.example/u/utils.git/': Could not resolve host: \
                    code.example";
        assert!(
            hint(said).starts_with("the build could not reach code.example, which has utils in git: "),
            "{}",
            hint(said)
        );
    }

    #[test]
    fn a_git_server_that_lets_nobody_in_wants_a_login() {
        for said in [
            "could not read Username for 'https://code.example:8443': terminal prompts disabled",
            "Authentication failed for 'https://code.example:8443/u/utils.git/'",
            "repository 'https://code.example:8443/u/utils.git/' not found",
        ] {
            let text = format!(
                "error: Failed to download and build `utils @ git+https://code.example:8443/u/utils.git@a9af`\n  cause: Git \
                 operation failed\n  fatal: {said}"
            );
            let start = "code.example:8443, which has utils in git, wants a login, ";
            assert!(hint(&text).starts_with(start), "{}", hint(&text));
        }
    }

    #[test]
    fn a_python_that_cannot_be_fetched_is_one_of_a_base_set_where_one_has_it() {
        let sets = include_str!("../../../../../images/base-sets.json");
        let sets: BaseSets = serde_json::from_str(sets).unwrap();
        let told = |python: &str| {
            let said = format!("  uv cannot have Python {python} from h.example\n  the step ended");
            hints(failure::build("x"), &said, Some(&sets)).hints.join("\n")
        };
        let known = told("3.12");
        assert!(
            known.contains(
                "or, where the app takes the Python of that set, `\"base\": \"ubuntu\"` in place of `python`"
            ),
            "{known}"
        );
        let unknown = told("3.11");
        assert!(unknown.contains("or leave `python` out"), "{unknown}");
        assert!(!unknown.contains("base"), "{unknown}");
    }

    #[test]
    fn a_folder_that_a_package_takes_in_is_asked_for() {
        let said = "    raise FileNotFoundError(msg)\n  FileNotFoundError: Forced include not found: /app/web/public\n  hint: \
                    Build failures";
        assert!(
            hint(said).contains("`mkdir -p web/public && touch web/public/.gitkeep`"),
            "{}",
            hint(said)
        );
    }

    #[test]
    fn what_a_step_may_not_write_is_led_elsewhere() {
        let said = "+ python manage.py collectstatic --noinput\n  with open(path, \"w\") as css:\nPermissionError: [Errno 13] \
                    Permission denied: '/opt/venv/lib/python3.13/site-packages/bulma/css/x.css'\nthe step ended";
        assert_eq!(
            hint(said),
            "a step writes into the installed package bulma, which is root's: `[\"sh\", \"-c\", \"mkdir /tmp/own && cp -r \
             /opt/venv/lib/python3.13/site-packages/bulma /tmp/own && PYTHONPATH=/tmp/own:$PYTHONPATH python manage.py \
             collectstatic --noinput\"]` in its place in `build.steps` has it write into a copy"
        );
        let said = "PermissionError: [Errno 13] Permission denied: '/public_collected'";
        assert!(
            hint(said).starts_with("nothing of the app's may write in /public_collected: "),
            "{}",
            hint(said)
        );
        assert_eq!(hint(&said.replace("/public", "/app/public")), "");
    }

    #[test]
    fn a_module_of_a_part_that_is_not_installed_is_led_to() {
        let said = "  File \"/app/shop/hooks.py\", line 3, in <module>\n    import pytest\n\
                    ModuleNotFoundError: No module named 'pytest'\n";
        let hint_of_it = hint(said);
        assert!(hint_of_it.contains("brings the module pytest: "), "{hint_of_it}");
        assert!(hint_of_it.contains("`app.groups`"), "{hint_of_it}");
        assert_eq!(hint(&format!("The build backend returned an error\n{said}")), "");
    }

    #[test]
    fn npm_is_told_by_its_own_settings() {
        for said in [
            "npm error code E401\nnpm error 401 Unauthorized - GET https://npm.example/@corp%2fx - unauthenticated",
            "npm ERR! code E403\nnpm ERR! 403 403 Forbidden - GET https://npm.example/x",
            " ERR_PNPM_FETCH_401  GET https://npm.example/x: Unauthorized - 401",
            "error Error: https://npm.example/x: Request failed \"401 Unauthorized\"",
            "YN0041: x@npm:1: Invalid authentication (as an anonymous user)",
        ] {
            let hint = hint(said);
            assert!(hint.starts_with("the npm registry wants a login: "), "{hint}");
            assert!(!hint.contains("UV_"), "{hint}");
        }
        let of_uv = "Failed to fetch: `https://h.example/simple/x/`\n  cause: HTTP status client error (401 Unauthorized)";
        assert!(
            hint(of_uv).starts_with("the package index wants a login: "),
            "{}",
            hint(of_uv)
        );
    }

    #[test]
    fn the_package_of_certificates_is_no_certificate_that_is_wrong() {
        let of_apt = "Setting up ca-certificates (20230311) ...\nUpdating certificates in /etc/ssl/certs...\n\
                      rehash: warning: skipping ca-certificates.crt,it does not contain exactly one certificate or CRL\n";
        for (said, begin) in [
            ("dpkg: error: No space left on device", "the disk is full"),
            (
                "W: Temporary failure resolving 'deb.debian.org'",
                "the build could not reach the network",
            ),
            (
                "server certificate verification failed. CAfile: /etc/ssl/certs/ca-certificates.crt CRLfile: none",
                "the network seems to intercept TLS",
            ),
            (
                "cause: invalid peer certificate: UnknownIssuer",
                "the network seems to intercept TLS",
            ),
        ] {
            let hint = hint(&format!("{of_apt}{said}"));
            assert!(hint.starts_with(begin), "{said}: {hint}");
        }
    }

    #[test]
    fn a_version_that_another_index_hides_is_not_told_as_gone() {
        let said = "cause: Because there is no version of numpy==2.1.0 and you require numpy==2.1.0, we can conclude that \
                    your requirements are unsatisfiable.\n\nhint: `numpy` was found on https://h.example/whl/cpu, but not \
                    at the requested version (numpy==2.1.0). A compatible version may be available on a subsequent index \
                    (e.g., https://pypi.org/simple). By default, uv will only consider versions that are published on the \
                    first index that contains a given package, to avoid dependency confusion attacks.";
        let hint = hint(said);
        assert!(
            hint.starts_with("an index that goes before has that name in other versions"),
            "{hint}"
        );
        // What keeps the order comes before what gives it up.
        let at = |words: &str| hint.find(words).unwrap_or_else(|| panic!("{hint}"));
        assert!(at("`[tool.uv.sources]`") < at("UV_INDEX_STRATEGY=unsafe-best-match"));
        assert!(at("UV_INDEX goes before UV_DEFAULT_INDEX") < at("the highest version of anybody"));
    }

    #[test]
    fn a_repository_that_cannot_be_edited_is_told() {
        let said = "error: Unsupported editable requirement in `requirements.txt` at line 1: `git+https://h.example/x`\n  \
                    cause: Git sources cannot be editable\n\nhint: Editable requirements must refer to a local directory";
        assert!(hint(said).contains("with `-e`: take that out"), "{}", hint(said));
    }

    #[test]
    fn a_version_that_is_gone_is_named() {
        let said =
            "cause: Because there is no version of granian==1.5.1 and you require granian==1.5.1, we can";
        assert!(
            hint(said).starts_with("the index has no granian==1.5.1 (any more)"),
            "{}",
            hint(said)
        );
        assert_eq!(hint("Because there is no version of granian and you"), "");
        let said = "npm ERR! code E404\nnpm ERR! 404  '@a/b@https://registry.example/@a/b/-/b-1.0.tgz' is not in this registry.";
        assert_eq!(
            hint(said),
            "npm gets no @a/b@https://registry.example/@a/b/-/b-1.0.tgz: the registry does not have it, or wants a login for \
             it: the app's lock names registry.example: make it anew with a registry that has it, and can be asked without a \
             login"
        );
        let said = "npm error code E404\nnpm error 404  '@a/b@^9.0.0' is not in this registry.";
        assert!(
            hint(said).contains("name a registry that has it in NPM_CONFIG_REGISTRY"),
            "{}",
            hint(said)
        );
    }
}
