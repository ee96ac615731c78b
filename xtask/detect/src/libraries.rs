//! Shared libraries that an installed package opens when it is used, and the packages
//! of the distribution that bring them.

use crate::built;
use crate::called::CalledProgram;
use crate::findings::Findings;
use crate::place::{Detected, Place};

const LIBRARIES: [(&str, &str); 16] = [
    ("libpq.so.5", "libpq5"),
    ("libGL.so.1", "libgl1"),
    ("libgomp.so.1", "libgomp1"),
    ("libgobject-2.0.so.0", "libglib2.0-0t64"),
    ("libglib-2.0.so.0", "libglib2.0-0t64"),
    ("libgthread-2.0.so.0", "libglib2.0-0t64"),
    // As cffi names them where WeasyPrint opens them: its package brings all of those.
    ("libgobject-2.0-0", "libpangoft2-1.0-0"),
    ("libpango-1.0-0", "libpangoft2-1.0-0"),
    ("libpangoft2-1.0-0", "libpangoft2-1.0-0"),
    ("libmagic.so.1", "libmagic1t64"),
    ("libxslt.so.1", "libxslt1.1"),
    ("libcairo.so.2", "libcairo2"),
    ("libmariadb.so.3", "libmariadb3"),
    ("libpython3.12.so", "libpython3.12t64"),
    ("libpython3.13.so", "libpython3.13"),
    ("libpython3.14.so", "libpython3.14"),
];

/// Packages that open a library of the distribution's, or call a program of it while they are
/// imported, and what brings it.
const OPENED: [(&str, &str); 5] = [
    ("cairocffi", "libcairo2"),
    ("cairosvg", "libcairo2"),
    ("gitpython", "git"),
    ("python-magic", "libmagic1t64"),
    ("weasyprint", "libpangoft2-1.0-0"),
];

/// What the image needs for packages that open a library or call a program, and where each is
/// asked for.
pub fn opened(findings: &Findings) -> Vec<(&'static str, Place)> {
    let mut found: Vec<(&'static str, Place)> = built::needed(findings)
        .into_iter()
        .filter(|one| one.is_used)
        .map(|one| (one.package, one.place))
        .collect();
    let opened = findings.in_image().into_iter().filter_map(|(name, place)| {
        let (_, package) = OPENED.iter().find(|(known, _)| *known == name)?;
        Some((*package, place))
    });
    let of_its_image = findings.of_its_image.iter().map(|one| (one.value, &one.place));
    // Its library has another name with each release of the distribution.
    let gdal = findings.geodjango.iter().map(|place| ("gdal-bin", place));
    for (package, place) in opened.chain(of_its_image).chain(gdal) {
        if found.iter().all(|(other, _)| *other != package) {
            found.push((package, place.clone()));
        }
    }
    found
}

/// The packages with programs that the code calls, each by the first of them: those that are not
/// among [`opened`].
pub(crate) fn called(findings: &Findings) -> Vec<&Detected<CalledProgram>> {
    let opened = opened(findings);
    let mut found: Vec<&Detected<CalledProgram>> = Vec::new();
    for one in &findings.called {
        let package = one.value.package;
        let is_there = opened.iter().any(|(other, _)| *other == package);
        if !is_there && found.iter().all(|other| other.value.package != package) {
            found.push(one);
        }
    }
    found
}

/// A sentence for the library that a loader did not find, as far as its package is known.
pub fn missing(text: &str) -> Option<String> {
    let mut lines = text
        .lines()
        .filter(|line| line.contains("cannot open shared object file"));
    let known = |line| LIBRARIES.iter().find(|(name, _)| str::contains(line, name));
    let (name, package) = lines.find_map(known)?;
    Some(format!(
        "the image has no {name}: `\"packages\": [\"{package}\"]` in the spec brings it"
    ))
}

/// The package with the library of a distribution's Python, such as `3.13.5`: what is
/// built with that as a part, as uWSGI is, opens it at each start.
pub fn of_python(version: &str) -> Option<&'static str> {
    let minor = version.split('.').take(2).collect::<Vec<_>>().join(".");
    let name = format!("libpython{minor}.so");
    let known = LIBRARIES.iter().find(|(library, _)| *library == name);
    known.map(|(_, package)| *package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_that_a_loader_misses_has_its_package() {
        let text = "uwsgi: error while loading shared libraries: libpython3.12.so.1.0: cannot open shared object file: \
                    No such file or directory";
        let said = missing(text).unwrap_or_default();
        assert!(said.contains(r#"`"packages": ["libpython3.12t64"]`"#), "{said}");
        let by_cffi = "OSError: cannot load library 'libgobject-2.0-0': libgobject-2.0-0: cannot open shared object file";
        let said = missing(by_cffi).unwrap_or_default();
        assert!(said.contains(r#"`"packages": ["libpangoft2-1.0-0"]`"#), "{said}");
        assert_eq!(missing("libpq.so.5 is there"), None);
        assert_eq!(of_python("3.13.5"), Some("libpython3.13"));
        assert_eq!(of_python("3.10"), None);
    }
}
