//! Settings of pip, in its files. Pure.

use std::collections::BTreeMap;

use super::{SettingsFile, SettingsForm, is_off, no_index, of_code};

/// pip's keys that count, each with who names it and its value.
pub(super) type PipKeys = BTreeMap<&'static str, (String, String)>;

/// The keys that are read.
const KEYS: [&str; 4] = ["index-url", "extra-index-url", "find-links", "constraint"];

/// Reads `index-url`, `extra-index-url`, `find-links` and `constraint` of the files in pip's form: by
/// key the file and the value. Later files win, and over all of them what stands in
/// `[install]`.
///
/// # Errors
/// A sentence for a file that pip itself could not read, and for a setting that forbids
/// what a build does.
pub(super) fn read_pip(files: &[SettingsFile]) -> Result<PipKeys, String> {
    let (mut global, mut install) = (PipKeys::new(), PipKeys::new());
    for file in files.iter().filter(|file| file.form == SettingsForm::Pip) {
        let shown = file.path.display().to_string();
        let sections = sections(&file.text).map_err(|line| {
            format!(
                "{shown}:{line}: is nothing that pip reads, which ends there itself: packages would come from elsewhere \
                 without the index settings in it"
            )
        })?;
        for (name, taken) in [("global", &mut global), ("install", &mut install)] {
            // What stands in `[DEFAULT]` is said in each section that is there.
            let Some(own) = sections.get(name) else { continue };
            let of_all = sections.get("DEFAULT");
            for (key, value) in of_all.into_iter().chain([own]).flatten() {
                let key = key.replace('_', "-");
                if key == "no-index" && !is_off(value) {
                    return Err(no_index(&format!("`no-index` in {shown}")));
                }
                if OF_CODE.contains(&key.as_str()) && !is_off(value) {
                    return Err(of_code(&format!("`{key}` in {shown}")));
                }
                if let Some(key) = KEYS.into_iter().find(|known| *known == key) {
                    taken.insert(key, (shown.clone(), value.clone()));
                }
            }
        }
    }
    global.extend(install);
    Ok(global)
}

/// What decides whether code of packages runs, and which files of theirs count.
const OF_CODE: [&str; 3] = ["no-binary", "only-binary", "require-hashes"];

type Section = BTreeMap<String, String>;

/// The sections of a file as Python's `configparser` has them, the keys in small
/// letters: an indented line goes on with a value only where one stands before it with
/// less of a margin.
///
/// # Errors
/// The number of a line that is nothing of it, or that says again what is there.
fn sections(text: &str) -> Result<BTreeMap<String, Section>, usize> {
    let mut found: BTreeMap<String, Section> = BTreeMap::new();
    let mut section: Option<String> = None;
    let mut key: Option<String> = None;
    let mut margin = 0;
    for (number, line) in text.lines().enumerate() {
        let said = line.trim();
        if said.is_empty() || said.starts_with(['#', ';']) {
            continue;
        }
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        let current = section.as_ref().and_then(|name| found.get_mut(name));
        if let (Some(values), Some(key)) = (current, key.as_ref())
            && indent > margin
        {
            let value = values.entry(key.clone()).or_default();
            value.push_str(&format!(" {said}"));
            continue;
        }
        margin = indent;
        if let Some((name, _)) = said.strip_prefix('[').and_then(|rest| rest.rsplit_once(']'))
            && !name.is_empty()
        {
            if found.contains_key(name) && name != "DEFAULT" {
                return Err(number + 1);
            }
            found.entry(name.to_owned()).or_default();
            section = Some(name.to_owned());
            key = None;
            continue;
        }
        let current = section.as_ref().and_then(|name| found.get_mut(name));
        let (Some(values), Some((name, value))) = (current, said.split_once(['=', ':'])) else {
            return Err(number + 1);
        };
        let name = name.trim().to_lowercase();
        if name.is_empty() || values.insert(name.clone(), value.trim().to_owned()).is_some() {
            return Err(number + 1);
        }
        key = Some(name);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn read(text: &str) -> Result<Vec<(&'static str, String)>, String> {
        let file = SettingsFile {
            path: PathBuf::from("/x/pip.conf"),
            text: text.to_owned(),
            form: SettingsForm::Pip,
        };
        let found = read_pip(&[file])?;
        Ok(found.into_iter().map(|(key, (_, value))| (key, value)).collect())
    }

    #[test]
    fn a_file_is_read_as_pip_reads_it() {
        let one = |key, value: &str| Ok(vec![(key, value.to_owned())]);
        for (text, said) in [
            // The margin of a key is its own.
            (
                "[global]\n    index-url = https://a\n",
                one("index-url", "https://a"),
            ),
            (
                "  [global]\n  index-url = https://a\n",
                one("index-url", "https://a"),
            ),
            (
                "[global]\n    timeout = 1\n    index-url = https://a\n",
                one("index-url", "https://a"),
            ),
            (
                "[global]\n  timeout = 1\n index-url = https://a\n",
                one("index-url", "https://a"),
            ),
            ("[global]\ntimeout = 1\n  index-url = https://a\n", Ok(Vec::new())),
            // Keys have no case, sections have one.
            ("[global]\nIndex_URL : https://a\n", one("index-url", "https://a")),
            ("[Global]\nindex-url = https://a\n", Ok(Vec::new())),
            (
                "[DEFAULT]\nindex-url = https://a\n[global]\n",
                one("index-url", "https://a"),
            ),
            ("[DEFAULT]\nindex-url = https://a\n[list]\n", Ok(Vec::new())),
            (
                "[global]\nextra-index-url =\n    https://a\n\n    # b\n    https://c\n",
                one("extra-index-url", " https://a https://c"),
            ),
            (
                "[global]\nindex-url = https://a\n[install]\nindex-url = https://b\n",
                one("index-url", "https://b"),
            ),
            ("[global]\nno-index = false\nonly-binary =\n", Ok(Vec::new())),
        ] {
            assert_eq!(read(text), said, "{text}");
        }
    }

    #[test]
    fn what_pip_could_not_read_is_refused_with_its_line() {
        for (text, line) in [
            ("index-url = https://a\n", 1),
            ("[global]\nindex-url https\n", 2),
            ("[global]\n[list]\n[global]\nindex-url = https://a\n", 3),
            ("[global]\nindex-url = https://a\n\nIndex-url = https://b\n", 4),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.starts_with(&format!("/x/pip.conf:{line}: ")), "{told}");
        }
    }

    #[test]
    fn what_forbids_an_index_or_code_is_refused_by_name() {
        for (text, key) in [
            ("[global]\n  No-Index = true\n", "`no-index` in /x/pip.conf"),
            ("[install]\nonly_binary = :all:\n", "`only-binary` in /x/pip.conf"),
            (
                "[global]\nrequire-hashes = yes\n",
                "`require-hashes` in /x/pip.conf",
            ),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.starts_with(key), "{told}");
        }
    }
}
