//! Settings of pip, in its files. Pure.

use std::collections::BTreeMap;

use super::{SettingsFile, SettingsForm, is_off, no_index};

/// pip's keys that count, each with who names it and its value.
pub(super) type PipKeys = BTreeMap<&'static str, (String, String)>;

/// Reads `index-url`, `extra-index-url`, `find-links` and `constraint` of the files in pip's form: by
/// key the file and the value. Later files win, and over all of them what stands in
/// `[install]`.
pub(super) fn read_pip(files: &[SettingsFile]) -> Result<PipKeys, String> {
    let (mut global, mut install) = (PipKeys::new(), PipKeys::new());
    for file in files.iter().filter(|file| file.form == SettingsForm::Pip) {
        read_pip_file(file, &mut global, &mut install)?;
    }
    global.extend(install);
    Ok(global)
}

/// Sections with `key = value`, and lines that go on with a blank.
fn read_pip_file(file: &SettingsFile, global: &mut PipKeys, install: &mut PipKeys) -> Result<(), String> {
    let shown = file.path.display().to_string();
    let mut found: Option<&mut PipKeys> = None;
    let mut current: Option<&'static str> = None;
    for line in file.text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            let begun = found
                .as_mut()
                .and_then(|section| current.and_then(|key| section.get_mut(key)));
            if let Some((_, value)) = begun {
                value.push_str(&format!(" {trimmed}"));
            }
            continue;
        }
        current = None;
        if let Some(name) = trimmed.strip_prefix('[') {
            found = match name.trim_end_matches(']') {
                "global" => Some(&mut *global),
                "install" => Some(&mut *install),
                _ => None,
            };
            continue;
        }
        let (Some(section), Some((key, value))) = (found.as_mut(), trimmed.split_once(['=', ':'])) else {
            continue;
        };
        let key = key.trim().replace('_', "-");
        if key == "no-index" && !is_off(value.trim()) {
            return Err(no_index(&format!("`no-index` in {shown}")));
        }
        let key = ["index-url", "extra-index-url", "find-links", "constraint"]
            .into_iter()
            .find(|known| *known == key);
        if let Some(key) = key {
            section.insert(key, (shown.clone(), value.trim().to_owned()));
            current = Some(key);
        }
    }
    Ok(())
}
