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
use files::{Fate, OfBase, PlannedFile};
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
    let draft = |of_base: OfBase| {
        let planned = files::planned(args, host, &placement, &findings, &of_base)?;
        let next = next(host, &catalog, &placement, &findings, &planned)?;
        Ok(Draft {
            of_base,
            planned,
            next,
        })
    };
    let Draft {
        planned, mut next, ..
    } = settled(host, &findings, &findings.with_set(&set), draft)?;
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

/// The files as they would be, of what is known of the base so far.
struct Draft {
    of_base: OfBase,
    planned: Vec<PlannedFile>,
    next: Next,
}

impl Draft {
    /// Whether it is better than another one: its files say something else, and no more stands in
    /// their way. A file that stays has its own, and another requirement may stand against it.
    fn is_better_than(&self, other: &Self) -> bool {
        let mut both = self.planned.iter().zip(&other.planned);
        both.any(|(one, other)| one.text != other.text) && self.has_no_more_problems_than(other)
    }

    fn has_no_more_problems_than(&self, other: &Self) -> bool {
        self.next.problems == other.next.problems
    }
}

/// What is to be written, with what the base that it leads to has to bring: each is tried on a draft
/// of its own. `open` are the findings without what has a value already.
fn settled(
    host: &Host,
    findings: &Findings,
    open: &Findings,
    draft: impl Fn(OfBase) -> Result<Draft>,
) -> Result<Draft> {
    let mut best = draft(OfBase::default())?;
    for python in std::mem::take(&mut best.next.better_pythons) {
        let on_it = draft(OfBase {
            python: Some(python.clone()),
            ..OfBase::default()
        })?;
        if on_it.is_better_than(&best) && on_it.next.commands == best.next.commands {
            let (key, value) = python;
            let because = best.next.unsuited.join("; ");
            say(host, "found", &format!("{key} = {value} ({because})"));
            best = on_it;
            break;
        }
    }
    let known = best.next.built.iter();
    let known = known.filter(|(name, _)| built::takes(name).is_some());
    let (names, shown): (Vec<String>, Vec<String>) = known
        .map(|(name, version)| (name.clone(), format!("{name} {version}")))
        .unzip();
    if !names.is_empty() {
        let with_them = draft(OfBase {
            built: names,
            ..best.of_base.clone()
        })?;
        if with_them.is_better_than(&best) {
            let shown = shown.join(", ");
            let text = format!("what builds {shown} is in `build_packages`");
            say(host, "found", &text);
            best = with_them;
        }
    }
    let (extensions, packages): (Vec<_>, Vec<_>) = best.next.of_extensions.iter().cloned().unzip();
    if !extensions.is_empty() {
        let (names, of_them) = (extensions.join(", "), packages.join(", "));
        let with_them = draft(OfBase {
            of_extensions: packages,
            ..best.of_base.clone()
        })?;
        if with_them.has_no_more_problems_than(&best) && with_them.next.of_extensions.is_empty() {
            say(
                host,
                "found",
                &format!("the extension {names} comes with {of_them}"),
            );
            best = with_them;
        }
    }
    let library = best.next.library.filter(|_| proposal::embeds_python(findings));
    if let Some(library) = library {
        let with_it = draft(OfBase {
            python_library: Some(library),
            ..best.of_base.clone()
        })?;
        if with_it.has_no_more_problems_than(&best) {
            let text = format!("uwsgi has Python as a part of it: {library} is in the image");
            say(host, "found", &text);
            best = with_it;
        }
    }
    if let Some(place) = proposal::wants_python_version(open) {
        let name = proposal::PYTHON_VERSION;
        match best.next.python_version.clone() {
            Some(version) => {
                let text = format!("{place}  {name} = {version} (the image's)");
                say(host, "found", &text);
                best = draft(OfBase {
                    python_version: Some(version),
                    ..best.of_base
                })?;
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
    Ok(best)
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

/// What an image's own PostgreSQL is.
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
