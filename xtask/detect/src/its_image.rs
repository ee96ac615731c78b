//! Packages of the distribution that the project's own image has.

use std::collections::BTreeSet;

use crate::place::{Detected, Place};
use crate::tree::{Tree, file_name, folder_of, reads_count};

/// What an app opens or calls when it is used, by the names that Dockerfiles have for it, and the
/// package that all base sets have. What is for building alone, and what a start script calls, is
/// not here, but for libraries: many images have one by the package that is for building.
const USED: [(&[&str], &str); 27] = [
    (&["cairo", "libcairo2", "libcairo2-dev"], "libcairo2"),
    (&["exiftool", "libimage-exiftool-perl"], "libimage-exiftool-perl"),
    (&["ffmpeg"], "ffmpeg"),
    (
        &[
            "file-libs",
            "libmagic",
            "libmagic1",
            "libmagic1t64",
            "libmagic-dev",
        ],
        "libmagic1t64",
    ),
    (&["fonts-dejavu", "ttf-dejavu", "font-dejavu"], "fonts-dejavu"),
    (&["fonts-dejavu-core"], "fonts-dejavu-core"),
    (&["fonts-liberation", "ttf-liberation"], "fonts-liberation"),
    (&["fonts-noto-cjk", "font-noto-cjk"], "fonts-noto-cjk"),
    (&["fonts-noto-core", "font-noto"], "fonts-noto-core"),
    (&["gdal-bin"], "gdal-bin"),
    (&["gettext"], "gettext"),
    (&["ghostscript"], "ghostscript"),
    (&["gir1.2-appstream-1.0"], "gir1.2-appstream-1.0"),
    (&["gir1.2-ostree-1.0"], "gir1.2-ostree-1.0"),
    (&["gir1.2-pango-1.0"], "gir1.2-pango-1.0"),
    (&["graphviz"], "graphviz"),
    (&["imagemagick"], "imagemagick"),
    (&["libgl1", "libgl1-mesa-glx"], "libgl1"),
    (&["libglib2.0-0", "libglib2.0-0t64"], "libglib2.0-0t64"),
    (&["libgomp1", "libgomp"], "libgomp1"),
    (
        &[
            "libpango-1.0-0",
            "libpangocairo-1.0-0",
            "libpangoft2-1.0-0",
            "libpango1.0-dev",
            "pango",
        ],
        "libpangoft2-1.0-0",
    ),
    (&["libvips", "libvips-dev", "libvips42", "vips"], "libvips42t64"),
    (&["libzbar0", "zbar"], "libzbar0t64"),
    (&["mupdf-tools"], "mupdf-tools"),
    (&["pandoc"], "pandoc"),
    (&["poppler-utils"], "poppler-utils"),
    (&["tesseract-ocr"], "tesseract-ocr"),
];

/// Those of a Dockerfile's last stage and of the stages that it is made from, each by its first
/// line. `apps` are the files that have apps in them.
pub(crate) fn packages(tree: &Tree, apps: &BTreeSet<String>) -> Vec<Detected<&'static str>> {
    let mut found: Vec<Detected<&'static str>> = Vec::new();
    // The image of a service is the app's where no app lies elsewhere.
    let is_its = |path: &str| {
        let mut services = services(tree, path).into_iter();
        services.all(|folder| !apps.is_empty() && apps.iter().all(|app| app.starts_with(folder)))
    };
    let files = tree.texts().filter(|(path, _)| is_one(path) && is_its(path));
    for (path, text) in files {
        for (line, name) in of_last_stage(text) {
            let known = USED.iter().find(|(names, _)| names.contains(&name));
            let is_new = |package: &str| found.iter().all(|one| one.value != package);
            if let Some((_, package)) = known.filter(|(_, package)| is_new(package)) {
                found.push(Detected::sure(*package, Place::new(path, line)));
            }
        }
    }
    found
}

/// Whether a file describes an image that may be the app's own.
fn is_one(path: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "ci",
        "dev",
        "devcontainer",
        "development",
        "docs",
        "frontend",
        "local",
        "nginx",
        "test",
    ];
    let lower = path.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_ascii_alphanumeric());
    file_name(path).contains("Dockerfile") && reads_count(path) && !words.any(|word| OTHERS.contains(&word))
}

/// The folders around a file that are services by themselves, each with a `/` at its end: with
/// files of a project's own, or where several stand beside each other.
fn services<'p>(tree: &Tree, path: &'p str) -> Vec<&'p str> {
    const FILES: [&str; 7] = [
        "Cargo.toml",
        "Pipfile",
        "package.json",
        "pyproject.toml",
        "requirements.txt",
        "setup.cfg",
        "setup.py",
    ];
    const OF_SEVERAL: [&str; 3] = ["apps", "packages", "services"];
    let mut found = Vec::new();
    let mut folder = folder_of(path);
    while !folder.is_empty() {
        let above = folder_of(folder.trim_end_matches('/'));
        let has_project = FILES.iter().any(|name| tree.has(&format!("{folder}{name}")));
        if has_project || OF_SEVERAL.contains(&file_name(above.trim_end_matches('/'))) {
            found.push(folder);
        }
        folder = above;
    }
    found
}

/// The names that the last stage of a Dockerfile installs, and those of the stages it is made
/// from, with their lines.
fn of_last_stage(text: &str) -> Vec<(usize, &str)> {
    struct Stage<'t> {
        base: &'t str,
        name: Option<&'t str>,
        installed: Vec<(usize, &'t str)>,
    }
    let mut stages: Vec<Stage<'_>> = Vec::new();
    let mut installs = false;
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [from, rest @ ..] = words.as_slice()
            && from.eq_ignore_ascii_case("from")
        {
            let mut named = rest.iter().copied().filter(|word| !word.starts_with("--"));
            stages.push(Stage {
                base: named.next().unwrap_or_default(),
                name: named.nth(1),
                installed: Vec::new(),
            });
        }
        let mut before = "";
        for word in words {
            let is_end = word.contains([';', '&', '|', '<', '>']);
            let plain = word.trim_end_matches([';', '\\', '&', '|']);
            match (before, plain) {
                ("apt-get" | "apt", "install") | ("apk", "add") => installs = true,
                // `apt-get -y install`.
                ("apt-get" | "apt" | "apk", option) if option.starts_with('-') => continue,
                (_, name) if installs && name.starts_with(|c: char| c.is_ascii_lowercase()) => {
                    let name = name.split(['=', ':', '@', '~']).next().unwrap_or_default();
                    if let Some(stage) = stages.last_mut() {
                        stage.installed.push((n + 1, name));
                    }
                }
                _ => {}
            }
            installs &= !is_end;
            before = plain;
        }
        installs &= line.ends_with('\\');
    }
    let mut found = Vec::new();
    let mut next = stages.pop();
    while let Some(stage) = next {
        found.extend(stage.installed);
        // Docker takes names of stages in whatever case.
        let is_base = |one: &Stage<'_>| one.name.is_some_and(|name| name.eq_ignore_ascii_case(stage.base));
        let base = stages.iter().rposition(is_base);
        next = base.map(|at| stages.swap_remove(at));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry;
    use crate::modules::Modules;

    #[test]
    fn what_the_last_stage_installs_is_told_from_what_builds() {
        let text = "FROM python:3.13 AS base\n\
                    RUN apt-get update && apt-get install -y --no-install-recommends \\\n    \
                    # for images\n    libcairo2 libmagic1=1:5.46 && rm -rf /var/lib/apt/lists/* gettext\n\
                    FROM base AS build\nRUN apt-get -y install gcc graphviz; echo ffmpeg\n\
                    FROM --platform=linux/amd64 BASE AS web\nRUN apk add ffmpeg:amd64\nCOPY --from=build /x /x\n";
        let names: Vec<_> = of_last_stage(text);
        assert_eq!(names, [(8, "ffmpeg"), (4, "libcairo2"), (4, "libmagic1")]);
        assert!(is_one("api.Dockerfile") && is_one("backend/Dockerfile"));
        assert!(!is_one("Dockerfile.dev") && !is_one("frontend/Dockerfile") && !is_one("Makefile"));
    }
    #[test]
    fn the_image_of_another_service_is_not_the_apps() {
        const APP: &str = "from fastapi import FastAPI\napp = FastAPI()\n";
        const IMAGE: &str = "FROM python:3.13\nRUN apt-get install -y ffmpeg\n";
        let found = |image: &str, files: &[&str]| {
            let mut tree = Tree::single(image, IMAGE);
            for path in files {
                tree.add_copy(path, if path.ends_with(".py") { APP } else { "" });
            }
            let apps = entry::with_apps(&tree, &Modules::of(&tree));
            packages(&tree, &apps)
                .iter()
                .map(|one| one.value)
                .collect::<Vec<_>>()
        };
        for (image, files) in [
            ("Dockerfile", &["main.py", "services/video/main.py"][..]),
            ("api.Dockerfile", &["main.py"]),
            ("docker/Dockerfile", &["main.py", "requirements.txt"]),
            ("docker/web/Dockerfile", &["shop/main.py"]),
            (
                "backend/Dockerfile",
                &["backend/requirements.txt", "backend/app/main.py"],
            ),
            (
                "services/api/Dockerfile",
                &["services/api/main.py", "services/video/package.json"],
            ),
        ] {
            assert_eq!(found(image, files), ["ffmpeg"], "{image}");
        }
        for (image, files) in [
            ("services/video/Dockerfile", &["main.py"][..]),
            ("services/video/docker/Dockerfile", &["services/api/main.py"]),
            ("video/Dockerfile", &["shop/main.py", "video/package.json"]),
            (
                "video/Dockerfile",
                &[
                    "api/main.py",
                    "api/pyproject.toml",
                    "video/pyproject.toml",
                    "video/main.py",
                ],
            ),
            ("services/video/Dockerfile", &["services/readme.txt"]),
        ] {
            assert_eq!(found(image, files), [""; 0], "{image}");
        }
    }
}
