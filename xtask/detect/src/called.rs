//! Programs of the distribution that the app's code calls, and what brings them.

use serde::Serialize;

use crate::modules::{Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::Token;
use crate::python::statement::{self, Call};

/// Programs that code and libraries call, and the packages of the distribution with them.
const PROGRAMS: [(&str, &str); 26] = [
    ("convert", "imagemagick"),
    ("curl", "curl"),
    ("dot", "graphviz"),
    ("exiftool", "libimage-exiftool-perl"),
    ("ffmpeg", "ffmpeg"),
    ("ffprobe", "ffmpeg"),
    ("git", "git"),
    ("gpg", "gpg"),
    ("gs", "ghostscript"),
    ("identify", "imagemagick"),
    ("mogrify", "imagemagick"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("pandoc", "pandoc"),
    ("pdfinfo", "poppler-utils"),
    ("pdftoppm", "poppler-utils"),
    ("pdftotext", "poppler-utils"),
    ("qpdf", "qpdf"),
    ("rsync", "rsync"),
    ("scp", "openssh-client"),
    ("soffice", "libreoffice"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("tesseract", "tesseract-ocr"),
    ("wget", "wget"),
    ("wkhtmltopdf", "wkhtmltopdf"),
];

/// A program that the code calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CalledProgram {
    /// Its name.
    pub name: &'static str,
    /// The package of the distribution that brings it.
    pub package: &'static str,
}

/// The package with a program.
pub(crate) fn package_of(program: &str) -> Option<&'static str> {
    let (_, package) = PROGRAMS.iter().find(|(known, _)| *known == program)?;
    Some(package)
}

/// Programs that the app calls and does not do without, by the first place of each.
pub(crate) fn programs(modules: &Modules<'_>, at_work: &[&Module<'_>]) -> Vec<Detected<CalledProgram>> {
    let mut found: Vec<Detected<CalledProgram>> = Vec::new();
    for module in at_work {
        for (n, call) in module.calls() {
            let Some(words) = words(modules, module, n, &call) else {
                continue;
            };
            let Some(program) = wanted(&words) else { continue };
            let is_known = found.iter().any(|one| one.value.name == program.name);
            if !is_known && !goes_on_without(module, n) {
                let place = Place::new(module.path, module.number(n));
                found.push(Detected::likely(program, place));
            }
        }
    }
    found
}

/// The program that these words begin with, where it is to be in the image. What builds front
/// ends is for developers; git is asked for the version of what is no checkout there; and
/// wkhtmltopdf is not in each distribution.
fn wanted(words: &[String]) -> Option<CalledProgram> {
    const NOT_AT_WORK: [&str; 4] = ["node", "npm", "soffice", "wkhtmltopdf"];
    const OF_VERSIONS: [&str; 8] = [
        "branch",
        "describe",
        "log",
        "rev-list",
        "rev-parse",
        "show",
        "status",
        "tag",
    ];
    let (first, rest) = words.split_first()?;
    let name = ["/usr/bin/", "/bin/", "/usr/local/bin/"]
        .iter()
        .find_map(|folder| first.strip_prefix(folder))
        .unwrap_or(first);
    let (name, package) = PROGRAMS.iter().find(|(known, _)| *known == name)?;
    let of_version = || rest.iter().any(|word| OF_VERSIONS.contains(&word.as_str()));
    let is_left = NOT_AT_WORK.contains(name) || *name == "git" && of_version();
    (!is_left).then_some(CalledProgram { name, package })
}

/// The first words of a command that a call runs: as far as they stand in the code.
fn words(
    modules: &Modules<'_>,
    module: &Module<'_>,
    line: usize,
    call: &Call<'_, '_>,
) -> Option<Vec<String>> {
    const LISTS: [&str; 5] = ["Popen", "call", "check_call", "check_output", "run"];
    const SHELLS: [&str; 4] = [
        "asyncio.create_subprocess_shell",
        "os.system",
        "subprocess.getoutput",
        "subprocess.getstatusoutput",
    ];
    let Meaning::Outside(name) = modules.meaning(module, &call.path) else {
        return None;
    };
    let of_text = |text: String| text.split_whitespace().map(str::to_owned).collect();
    if name == "asyncio.create_subprocess_exec" {
        let texts = call.arguments.iter().filter(|one| one.name.is_none());
        let texts = texts.map_while(|one| statement::text_of(one.value));
        return Some(texts.collect());
    }
    if SHELLS.contains(&name.as_str()) {
        return call.positional(0).and_then(statement::text_of).map(of_text);
    }
    let method = name.strip_prefix("subprocess.")?;
    let given = LISTS
        .contains(&method)
        .then(|| call.argument("args", 0))
        .flatten()?;
    let given = match given {
        [one] => named_before(module, line, one).unwrap_or(given),
        _ => given,
    };
    match statement::text_of(given) {
        Some(text) => Some(of_text(text)),
        None => {
            let (inside, _) = statement::bracketed(given).filter(|_| given[0].is("["))?;
            let texts = statement::parts(inside).into_iter();
            Some(texts.map_while(statement::text_of).collect())
        }
    }
}

/// The value that a name was last given above a line, in the same function or at the top.
fn named_before<'m, 't>(module: &'m Module<'t>, line: usize, name: &Token<'_>) -> Option<&'m [Token<'t>]> {
    let indent = module.lines[line].indent;
    let above = module.lines[..line].iter().rev();
    let own = above.take_while(|above| statement::head(above).is_none() || above.indent > indent);
    let mut given = own.flat_map(statement::assignments);
    let own = given.find(|one| name.is_name(one.target)).map(|one| one.value);
    own.or_else(|| module.value(name.text))
}

/// Whether the code goes on where a program is not there: an `except` of the `try:` around it
/// says so.
fn goes_on_without(module: &Module<'_>, line: usize) -> bool {
    const SAID: [&str; 3] = ["FileNotFoundError", "IOError", "OSError"];
    let mut indent = module.lines[line].indent;
    for (n, above) in module.lines[..line].iter().enumerate().rev() {
        if above.indent >= indent {
            continue;
        }
        indent = above.indent;
        if !above.tokens.first().is_some_and(|word| word.is_name("try")) {
            continue;
        }
        let after = module.lines[n + 1..].iter();
        let after = after.take_while(|line| line.indent >= indent);
        let mut handlers = after.filter(|line| {
            line.indent == indent && line.tokens.first().is_some_and(|word| word.is_name("except"))
        });
        let is_caught = |line: &&crate::python::Line<'_>| {
            line.tokens.len() == 2 || line.tokens.iter().any(|token| SAID.contains(&token.text))
        };
        if handlers.any(|line| is_caught(&line)) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    fn found(text: &str) -> Vec<String> {
        let tree = Tree::single("shop/__init__.py", text);
        let modules = Modules::of(&tree);
        let at_work: Vec<_> = modules.all.iter().collect();
        let all = programs(&modules, &at_work).into_iter();
        all.map(|one| format!("{} {}", one.value.name, one.value.package))
            .collect()
    }

    #[test]
    fn a_program_that_the_code_calls_has_its_package() {
        for (call, expected) in [
            ("subprocess.run(['ffmpeg', '-i', path])", "ffmpeg ffmpeg"),
            (
                "subprocess.run(args=[\"/usr/bin/pdftotext\", path], check=True)",
                "pdftotext poppler-utils",
            ),
            (
                "subprocess.check_output('convert a b', shell=True)",
                "convert imagemagick",
            ),
            ("os.system('rsync -a x y')", "rsync rsync"),
            (
                "asyncio.create_subprocess_exec('ssh', host)",
                "ssh openssh-client",
            ),
            ("subprocess.Popen(['git', 'clone', url])", "git git"),
        ] {
            let text = format!("import asyncio, os, subprocess\n\ndef go(path):\n    {call}\n");
            assert_eq!(found(&text), [expected], "{call}");
        }
        let named = "import subprocess\n\ndef go(path):\n    words = ['tesseract', path]\n    words = words + ['x']\n    \
                     command = ['pandoc', path]\n    return subprocess.run(command)\n";
        assert_eq!(found(named), ["pandoc pandoc"]);
        let at_the_top =
            "from subprocess import run\nKEYGEN = ['ssh-keygen', '-t']\n\ndef go():\n    run(KEYGEN)\n";
        assert_eq!(found(at_the_top), ["ssh-keygen openssh-client"]);
    }

    #[test]
    fn what_the_app_does_without_is_not_brought() {
        for call in [
            "subprocess.run(['git', 'rev-parse', 'HEAD'])",
            "subprocess.run(['npm', 'ci'])",
            "subprocess.run([name, 'ffmpeg'])",
            "subprocess.run(command)",
            "print(['ffmpeg'])",
            "shutil.which('ffmpeg')",
        ] {
            let text = format!("import shutil, subprocess\n\ndef go(command):\n    {call}\n");
            assert_eq!(found(&text), [""; 0], "{call}");
        }
        let caught = |what: &str| {
            format!(
                "import subprocess\ndef go():\n    try:\n        subprocess.run(['ssh', '-V'])\n    except ValueError:\n        \
                 pass\n    except {what}:\n        pass\n"
            )
        };
        assert_eq!(found(&caught("(FileNotFoundError, KeyError)")), [""; 0]);
        assert_eq!(
            found(&caught("subprocess.CalledProcessError")),
            ["ssh openssh-client"]
        );
    }
}
