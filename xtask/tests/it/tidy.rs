//! The house rules that no compiler checks.

use crate::sandbox::repository;

fn files(folder: &str, endings: &[&str]) -> Vec<std::path::PathBuf> {
    walkdir::WalkDir::new(repository().join(folder))
        .into_iter()
        .filter_entry(|entry| !["target", ".git"].contains(&entry.file_name().to_str().unwrap_or_default()))
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| {
            path.is_file()
                && endings
                    .iter()
                    .any(|ending| path.to_string_lossy().ends_with(ending))
        })
        .collect()
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut silent = Vec::new();
    for path in files("xtask", &[".rs"]) {
        let text = fs_err::read_to_string(&path).unwrap();
        if !text.starts_with("//! ") {
            silent.push(path);
        }
    }
    assert!(silent.is_empty(), "no module doc: {silent:?}");
}

#[test]
fn no_junk_drawers() {
    for path in files("xtask", &[".rs"]) {
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
    for path in files(".", &[".md"]) {
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
    for path in files("docker/stages", &[".Dockerfile"])
        .into_iter()
        .chain(files("images", &["Dockerfile"]))
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
    let help = crate::sandbox::xtask(["--help"]).stdout;
    let commands = help
        .split("Commands:")
        .nth(1)
        .unwrap()
        .split("Options:")
        .next()
        .unwrap();
    for line in commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
    {
        let name = line.split_whitespace().next().unwrap();
        if name != "help" {
            assert!(
                readme.contains(&format!("cargo xtask {name}")),
                "README.md does not show `cargo xtask {name}`"
            );
        }
    }
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
