//! The house rules that no compiler checks.

use std::collections::BTreeSet;

use crate::sandbox::{self, repository, repository_files};

#[test]
fn every_module_says_what_it_is_for() {
    let mut silent = Vec::new();
    for path in repository_files("xtask", ".rs") {
        let text = fs_err::read_to_string(&path).unwrap();
        if !text.starts_with("//! ") {
            silent.push(path);
        }
    }
    assert!(silent.is_empty(), "no module doc: {silent:?}");
}

#[test]
fn no_junk_drawers() {
    for path in repository_files("xtask", ".rs") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            !["mod", "util", "utils", "common", "helpers", "manager"].contains(&name),
            "{}",
            path.display()
        );
    }
}

#[test]
fn links_in_markdown_lead_somewhere() {
    let mut dead = Vec::new();
    for path in repository_files(".", ".md") {
        let text = fs_err::read_to_string(&path).unwrap();
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            if !path.parent().unwrap().join(target).exists() {
                dead.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn fragments_and_rendered_files_need_no_frontend_image() {
    for path in repository_files("docker/stages", ".Dockerfile")
        .into_iter()
        .chain(repository_files("images", "Dockerfile"))
    {
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(
            !text.to_lowercase().contains("# syntax="),
            "{} needs a registry",
            path.display()
        );
    }
}

#[test]
fn architecture_shows_the_table_that_the_audit_proves() {
    let text = fs_err::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    let table = audit::facts::markdown();
    assert!(
        text.contains(&table),
        "what the fingerprint covers, for ARCHITECTURE.md:\n\n{table}"
    );
}

#[test]
fn changelog_has_the_version() {
    let text = fs_err::read_to_string(repository().join("CHANGELOG.md")).unwrap();
    assert!(text.contains(&format!("## {}", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn readme_lists_every_command_variable_and_exit_code() {
    let readme = fs_err::read_to_string(repository().join("README.md")).unwrap();
    let help = sandbox::xtask(["--help"]).stdout;
    let commands = help
        .split("Commands:")
        .nth(1)
        .unwrap()
        .split("Options:")
        .next()
        .unwrap();
    let commands: BTreeSet<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    let rows = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `cargo xtask "));
    let shown: Vec<&str> = rows.filter_map(|row| row.split([' ', '`']).next()).collect();
    assert_eq!(
        shown.iter().copied().collect::<BTreeSet<_>>(),
        commands,
        "the rows of README.md"
    );
    assert_eq!(shown.len(), 24, "README.md says six, twelve and six: {shown:?}");
    for line in help
        .split("Exit codes:")
        .nth(1)
        .unwrap()
        .lines()
        .filter(|line| !line.trim().is_empty())
    {
        let code = line.split_whitespace().next().unwrap();
        assert!(
            readme.contains(&format!("| {code} |")),
            "README.md does not explain exit code {code}"
        );
    }
    let entry = fs_err::read_to_string(repository().join("xtask/src/entry.rs")).unwrap();
    assert!(
        entry.contains("set(\"HOME\")"),
        "variables are read elsewhere now"
    );
    for part in entry.split("set(\"").chain(entry.split("text(\"")).skip(1) {
        let name = part.split('"').next().unwrap();
        if name.chars().all(|c| c.is_ascii_uppercase() || c == '_') && !name.is_empty() {
            assert!(
                readme.contains(&format!("`{name}`")),
                "README.md does not explain {name}"
            );
        }
    }
}
