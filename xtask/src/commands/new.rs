//! `cargo xtask new`: looks at an app, says what it is, and writes the files that
//! make an image of its own of it.

mod files;
mod placement;

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::render;
use crate::cli::NewArgs;
use build::app::{Application, read_as_it_is, unlisted, workspace};
use build::catalog::{Apps, Catalog};
use build::request::{ImageRequest, Request, Selection};
use definition::base::PythonWish;
use definition::spec::ImageSpec;
use definition::spec::load::APP_FILE;
use detect::built;
use detect::entry::AppObject;
use detect::findings::{Findings, look_at, look_at_member};
use detect::place::Detected;
use detect::postgres::{self, OtherBase, OwnPostgres};
use detect::tree::Template;
use detect::{libraries, proposal, told};
use files::{Fate, OfPython, PlannedFile};
use host::Host;
use inputs::regular;
use placement::Placement;

/// Looks, tells, writes, and says what is next.
pub(super) fn run(args: &NewArgs, host: &Host) -> Result<()> {
    let mut args = args.clone();
    let (mut looked, mut named_by) = (None, None);
    let given = Path::new(&args.target).canonicalize().ok();
    let given = given.filter(|folder| folder.is_dir() && args.import.is_none());
    if let Some(folder) = given.filter(|folder| workspace::in_place_of(folder).is_none()) {
        let findings = look_at(&folder, None);
        match only_project(&findings) {
            Some(below) => {
                let top = args.target.trim_end_matches('/').to_owned();
                let text = format!("{top} is no project itself: {below}, which is one, has the app");
                say(host, "found", &text);
                args.target = format!("{top}/{below}");
                named_by = folder.file_name().map(|name| name.to_string_lossy().into_owned());
            }
            None => looked = Some(findings),
        }
    }
    let args = &args;
    let catalog = Catalog::read(&host.root, Apps::OfSpecs)?;
    let mut placement = Placement::find(args, host, &catalog, named_by.as_deref())?;
    if let Some(import) = args.import.as_ref().filter(|import| !import.contains(':')) {
        let message = format!("--import {import:?} is no `package.module:attribute`");
        return Err(failure::usage(message).into());
    }
    let import = args.import.as_deref();
    let look = || match &placement.member {
        Some(member) => look_at_member(&placement.folder, member, import),
        None => look_at(&placement.folder, import),
    };
    let mut findings = looked.unwrap_or_else(look);
    let undecided = undecided(args, &placement, &findings);
    if undecided.is_none() && write_list(args, host, &placement)? {
        findings = look();
    }
    let set = files::set_variables(args, host, &placement);
    for line in told::lines(&findings.with_set(&set)) {
        say(host, line.label, &line.text);
    }
    if let Some(failure) = undecided {
        if args.json {
            let document =
                json!({ "schema": 1, "findings": findings, "files": [], "problems": [], "next": [] });
            host.report.data(&serde_json::to_string_pretty(&document)?)?;
        }
        return Err(failure.into());
    }
    placement.take_port(&catalog, findings.port.as_ref().map(|port| port.value))?;
    let plan = |of_python: &OfPython| files::planned(args, host, &placement, &findings, of_python);
    let mut of_python = OfPython::default();
    let mut planned = plan(&of_python)?;
    let mut next = next(host, &catalog, &placement, &findings, &planned)?;
    for python in std::mem::take(&mut next.better_pythons) {
        let with_it = OfPython {
            python: Some(python.clone()),
            ..OfPython::default()
        };
        let on_it = plan(&with_it)?;
        let next_on_it = self::next(host, &catalog, &placement, &findings, &on_it)?;
        let is_new = on_it
            .iter()
            .zip(&planned)
            .any(|(one, other)| one.text != other.text);
        // A file that stays has its own, and another requirement may stand against it.
        if is_new && next_on_it.problems == next.problems && next_on_it.commands == next.commands {
            let (key, value) = python;
            let because = next.unsuited.join("; ");
            say(host, "found", &format!("{key} = {value} ({because})"));
            (of_python, planned, next) = (with_it, on_it, next_on_it);
            break;
        }
    }
    let known = next.built.iter().filter(|(name, _)| built::takes(name).is_some());
    let (names, shown): (Vec<String>, Vec<String>) = known
        .map(|(name, version)| (name.clone(), format!("{name} {version}")))
        .unzip();
    if !names.is_empty() {
        of_python.built = names;
        let with_it = plan(&of_python)?;
        let next_with_it = self::next(host, &catalog, &placement, &findings, &with_it)?;
        let is_new = with_it
            .iter()
            .zip(&planned)
            .any(|(one, other)| one.text != other.text);
        if is_new && next_with_it.problems == next.problems {
            let shown = shown.join(", ");
            say(
                host,
                "found",
                &format!("what builds {shown} is in `build_packages`"),
            );
            (planned, next) = (with_it, next_with_it);
        } else {
            of_python.built = Vec::new();
        }
    }
    if !next.of_extensions.is_empty() {
        let (extensions, packages): (Vec<_>, Vec<_>) = next.of_extensions.iter().cloned().unzip();
        of_python.of_extensions.clone_from(&packages);
        let with_it = plan(&of_python)?;
        let next_with_it = self::next(host, &catalog, &placement, &findings, &with_it)?;
        if next_with_it.problems == next.problems && next_with_it.of_extensions.is_empty() {
            let (names, packages) = (extensions.join(", "), packages.join(", "));
            say(
                host,
                "found",
                &format!("the extension {names} comes with {packages}"),
            );
            (planned, next) = (with_it, next_with_it);
        } else {
            of_python.of_extensions = Vec::new();
        }
    }
    let library = next.library.filter(|_| proposal::embeds_python(&findings));
    if let Some(library) = library {
        of_python.library = Some(library);
        let with_it = plan(&of_python)?;
        let next_with_it = self::next(host, &catalog, &placement, &findings, &with_it)?;
        if next_with_it.problems == next.problems {
            say(
                host,
                "found",
                &format!("uwsgi has Python as a part of it: {library} is in the image"),
            );
            (planned, next) = (with_it, next_with_it);
        } else {
            of_python.library = None;
        }
    }
    if let Some(place) = proposal::wants_python_version(&findings.with_set(&set)) {
        let name = proposal::PYTHON_VERSION;
        match next.python_version.clone() {
            Some(version) => {
                say(
                    host,
                    "found",
                    &format!("{place}  {name} = {version} (the image's)"),
                );
                of_python.version = Some(version);
                planned = plan(&of_python)?;
                next = self::next(host, &catalog, &placement, &findings, &planned)?;
            }
            // What stands in the way of a build is told below.
            None => say(
                host,
                "give",
                &format!(
                    "{place}  {name} has no default: give it the image's in `app.environment` of hive-app.json"
                ),
            ),
        }
    }
    next.notes.append(&mut next.without_wheel);
    next.problems.extend(files::of_all_members(&placement, &planned));
    let written = files::write(args, host, planned, next.rendered)?;
    for file in &written {
        let write = if args.dry_run && file.fate != Fate::Kept {
            "write "
        } else {
            ""
        };
        say(
            host,
            file.fate.label(args.dry_run),
            &format!("{write}{}", file.shown),
        );
        let is_of_others = placement.member.is_some() && file.name == APP_FILE;
        if file.fate == Fate::Kept && !is_of_others {
            host.report
                .detail(format!("--overwrite {} writes it anew", file.name));
        }
    }
    if args.json {
        let document = json!({
            "schema": 1, "image": placement.name, "findings": findings, "files": written,
            "notes": next.notes, "problems": next.problems, "next": next.commands,
        });
        host.report.data(&serde_json::to_string_pretty(&document)?)?;
    } else {
        for file in written.iter().filter(|file| file.fate != Fate::Kept) {
            host.report.data(&file.shown)?;
        }
    }
    for note in &next.notes {
        say(host, "note", note);
    }
    for problem in &next.problems {
        say(host, "first", problem);
    }
    for command in &next.commands {
        say(host, "next", command);
    }
    Ok(())
}

fn say(host: &Host, label: &str, text: &str) {
    host.report.step(label, text);
}

/// Writes the list that a build reads where the project has one by another name alone. What is
/// looked at then has it.
fn write_list(args: &NewArgs, host: &Host, placement: &Placement) -> Result<bool> {
    let list = unlisted::requirements(&placement.folder).filter(|_| !args.dry_run);
    let Some((line, list)) = list else {
        return Ok(false);
    };
    let file = placement.folder.join("requirements.txt");
    regular::replace_shared(&file, format!("{line}\n").as_bytes())
        .with_context(|| format!("cannot write {}", host.shown(&file)))?;
    let text = format!(
        "{}/requirements.txt  {line} (no build reads {list} alone)",
        placement.shown
    );
    say(host, "wrote", &text);
    Ok(true)
}

/// The project below a folder that is none itself, where no other one has an app.
fn only_project(findings: &Findings) -> Option<&String> {
    let app = findings.app.chosen.as_ref()?;
    let has = |folder: &str, one: &Detected<AppObject>| one.place.file.starts_with(&format!("{folder}/"));
    let mut folders = findings.projects.iter().filter(|folder| has(folder, app));
    let folder = folders.next()?;
    let is_only = findings.app.others.iter().all(|other| has(folder, other));
    (folders.next().is_none() && is_only).then_some(folder)
}

/// What only the user can decide, with the command that does.
fn undecided(args: &NewArgs, placement: &Placement, findings: &Findings) -> Option<failure::Failure> {
    let shown = match placement.member {
        Some(_) => args.target.trim_end_matches('/'),
        None => &placement.shown,
    };
    if findings.app.chosen.is_some() && (findings.projects.is_empty() || args.import.is_some()) {
        return None;
    }
    if let [first, ..] = findings.projects.as_slice() {
        let all = findings.projects.join(", ");
        let failure = failure::usage(format!("{shown} is no project itself, and has some in it: {all}"));
        let of_app = findings.app.chosen.as_ref().and_then(|app| {
            let mut folders = findings.projects.iter();
            folders.find(|folder| app.place.file.starts_with(&format!("{folder}/")))
        });
        let meant = of_app.unwrap_or(first);
        return Some(failure.hint(format!("run `cargo xtask new {shown}/{meant}`")));
    }
    match findings.app.others.as_slice() {
        [] if let Some(template) = &findings.template => Some(of_a_template(shown, template)),
        [] => {
            let failure = failure::usage(format!("{shown}: no app was found in any Python file"));
            Some(failure.hint(format!(
                "if a package makes the app, name it: `cargo xtask new {shown} --import package.module:app`"
            )))
        }
        [first, ..] => {
            let others = &findings.app.others;
            let all: Vec<String> = others.iter().map(|one| named(one, others)).collect();
            let failure = failure::usage(format!("{shown}: which app is meant? {}", all.join(", ")));
            if placement.member.is_none()
                && let Some(members) = findings.members()
            {
                let all: Vec<String> = members
                    .iter()
                    .map(|folder| format!("`cargo xtask new {shown}/{folder}`"))
                    .collect();
                return Some(failure.hint(format!("give the member that is meant: {}", all.join(" or "))));
            }
            Some(failure.hint(format!(
                "for instance: `cargo xtask new {shown} --import {}`",
                named(first, others)
            )))
        }
    }
}

/// A folder of which projects are made holds none yet.
fn of_a_template(shown: &str, template: &Template) -> failure::Failure {
    let of = template
        .generator
        .map_or_else(String::new, |name| format!(" of {name}"));
    let failure = failure::usage(format!(
        "{shown} is a template{of} ({}), and no app before it is filled in",
        template.file
    ));
    let folder = template.file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let source = if folder.is_empty() {
        shown.to_owned()
    } else {
        format!("{shown}/{folder}")
    };
    let first = match template.generator {
        Some("copier") => format!("run `copier copy {source} FOLDER`"),
        Some(name) => format!("run `{name} {source}`"),
        None => "fill it in with the program that it is made for".to_owned(),
    };
    failure.hint(format!(
        "{first}, and give what comes of it to `cargo xtask new FOLDER`"
    ))
}

/// How `--import` names an app: by its file where several have the same import string.
fn named(one: &Detected<AppObject>, all: &[Detected<AppObject>]) -> String {
    let import = &one.value.import;
    match all.iter().filter(|other| other.value.import == *import).count() {
        0 | 1 => import.clone(),
        _ => {
            let attribute = import.split(':').next_back().unwrap_or_default();
            format!("{}:{attribute}", one.place.file)
        }
    }
}

/// What stands between the files and an image, and the commands that make one.
struct Next {
    /// What a plan would warn of.
    notes: Vec<String>,
    problems: Vec<String>,
    /// What is pinned and has no wheel for the Python of the image, or does not run on it:
    /// with a way out, and without.
    without_wheel: Vec<String>,
    unsuited: Vec<String>,
    /// Its names, each with its version.
    built: Vec<(String, String)>,
    /// Keys of a spec and their values that bring Pythons which suit it better.
    better_pythons: Vec<(&'static str, String)>,
    /// Extensions that the database makes and the image lacks, each with its package.
    of_extensions: Vec<(&'static str, String)>,
    /// The package with the library of the Python of the base.
    library: Option<&'static str>,
    /// The version of the image's Python as far as it stays the same, such as `3.13`.
    python_version: Option<String>,
    commands: Vec<String>,
    /// What `render --check` wants to be there: path within the checkout → text.
    rendered: Vec<(String, String)>,
}

fn own_postgres(job: &ImageRequest) -> OwnPostgres<'_> {
    OwnPostgres {
        base: &job.base.name,
        major: job.base.set.postgres.major,
        file: &job.spec.file,
        packages: &job.spec.packages,
        extensions: &job.spec.database.extensions,
    }
}

/// What the image's PostgreSQL is otherwise than that of the project's own container.
fn other_postgres(catalog: &Catalog, job: &ImageRequest, findings: &Findings) -> Vec<String> {
    let own = own_postgres(job);
    let sets = catalog.bases.sets.iter();
    let others = sets.map(|(name, set)| OtherBase {
        name,
        title: &set.title,
        major: set.postgres.major,
        python: python_with(catalog, job, name),
    });
    let others: Vec<OtherBase<'_>> = others.collect();
    match job.spec.database.elsewhere {
        Some(_) => Vec::new(),
        None => postgres::against(&findings.postgres, own, &others),
    }
}

/// The Python of an image where the one that another base set has suits its app less:
/// nobody is sent back to that for its PostgreSQL.
fn python_with(catalog: &Catalog, job: &ImageRequest, base: &str) -> Option<&'static str> {
    let app = job.app.as_ref().filter(|_| job.spec.python.is_none())?;
    let wish = PythonWish::default();
    let other = catalog.bases.choose_for(None, Some(base), wish).ok()?;
    let own = format!("{}.", job.base.python_version());
    let mut better = app.better_pythons(other.python_version(), |_| true).into_iter();
    better.find(|one| own.starts_with(&format!("{one}.")))
}

/// Checks the files as a build would: nothing is told to be next that would be
/// refused.
fn next(
    host: &Host,
    catalog: &Catalog,
    placement: &Placement,
    findings: &Findings,
    planned: &[PlannedFile],
) -> Result<Next> {
    let spec = files::load(host, placement, planned)?;
    let rendered = render::of_image(host, catalog, &spec)?;
    let mut with_it = catalog.clone();
    with_it.images.retain(|image| image.name != spec.name);
    with_it.images.push(spec);
    let resolve = |base: Option<&str>| {
        let selection = Selection {
            images: vec![placement.name.clone()],
            base: base.map(str::to_owned),
            ..Selection::default()
        };
        Request::resolve(host, &with_it, &selection)
    };
    let mut next = Next {
        notes: Vec::new(),
        problems: Vec::new(),
        without_wheel: Vec::new(),
        unsuited: Vec::new(),
        built: Vec::new(),
        better_pythons: Vec::new(),
        of_extensions: Vec::new(),
        library: None,
        python_version: None,
        commands: vec![format!("cargo xtask build-images {}", placement.name)],
        rendered,
    };
    let resolved = resolve(None);
    if let Ok(request) = &resolved {
        let apps = request.jobs.iter().filter_map(|job| job.app.as_ref());
        next.notes = apps
            .flat_map(|app| app.unlocked().into_iter().chain(app.disagreeing_lists()))
            .collect();
        for job in &request.jobs {
            let Some(app) = &job.app else { continue };
            let is_of_base = job.base.python.is_none();
            let version = job.base.python_version().splitn(3, '.').take(2);
            next.python_version = Some(version.collect::<Vec<_>>().join("."));
            next.library = libraries::of_python(job.base.python_version()).filter(|_| is_of_base);
            next.hold_pins(catalog, app, job.base.python_version());
        }
        for job in &request.jobs {
            next.notes.extend(other_postgres(catalog, job, findings));
            if job.spec.database.elsewhere.is_none() {
                next.of_extensions.extend(postgres::lacking(own_postgres(job)));
            }
        }
        let bases = request.jobs.iter().filter_map(|job| job.base.told());
        next.notes
            .extend(bases.map(|told| format!("{} {told}", placement.name)));
    }
    if let Err(error) = resolved {
        let mut others = catalog
            .bases
            .sets
            .keys()
            .filter(|name| **name != catalog.bases.default);
        match others.find(|base| resolve(Some(base)).is_ok()) {
            Some(base) => next.commands[0] += &format!(" --base {base}"),
            None => {
                let message = error.to_string();
                next.problems = message
                    .lines()
                    .skip(1)
                    .map(|line| line.trim().to_owned())
                    .collect();
                // What is to be done first changes no pin, and the files are written now.
                let images = with_it.images.iter();
                for spec in images.filter(|image| image.name.as_str() == placement.name) {
                    next.hold_pins_of(catalog, spec);
                }
            }
        }
    }
    Ok(next)
}

impl Next {
    /// Takes in how what an app pins suits a Python such as `3.13.5`.
    fn hold_pins(&mut self, catalog: &Catalog, app: &Application, python: &str) {
        self.without_wheel.extend(app.without_wheel(python));
        self.unsuited.extend(app.unsuited(python));
        let built = app.built_on(python).into_iter();
        self.built
            .extend(built.map(|(name, version)| (name.to_owned(), version.to_owned())));
        let of_a_base = |version: &str| catalog.bases.released_with(version);
        let better = app.better_pythons(python, |version| of_a_base(version).is_some());
        self.better_pythons = better
            .into_iter()
            .map(|version| match of_a_base(version) {
                Some(base) => ("base", base.to_owned()),
                None => ("python", version.to_owned()),
            })
            .collect();
    }

    /// The same of an app that no build takes yet.
    fn hold_pins_of(&mut self, catalog: &Catalog, spec: &ImageSpec) {
        let of_spec = spec.app.as_ref();
        let Some(app) = of_spec.and_then(|app| read_as_it_is(&app.source, app)) else {
            return;
        };
        let wish = PythonWish {
            spec: spec.python.as_deref(),
            requires: app.requires_python.as_deref(),
            developed_on: None,
        };
        match catalog.bases.choose_for(None, spec.base.as_deref(), wish) {
            Ok(base) => self.hold_pins(catalog, &app, base.python_version()),
            Err(problem) => self.problems.push(problem),
        }
    }
}
