//! The Python modules of a project, and what the names in them stand for.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::python::statement::{self, Assignment, Call, Imported};
use crate::python::{Line, Token, scan};
use crate::tree::{Tree, folder_of};

/// A function or a class, wherever in its module it stands.
#[derive(Debug)]
pub(crate) struct Definition<'t> {
    pub(crate) name: &'t str,
    pub(crate) is_class: bool,
    pub(crate) is_async: bool,
    /// Whether it can be called as it is, which uvicorn does with a factory.
    pub(crate) needs_no_argument: bool,
    /// The index of its first line.
    pub(crate) head: usize,
    pub(crate) decorators: Range<usize>,
    pub(crate) body: Range<usize>,
    /// The index of the definition around it in the module's `definitions`.
    pub(crate) within: Option<usize>,
}

/// One Python file, as lines of tokens and what they define.
#[derive(Debug)]
pub(crate) struct Module<'t> {
    pub(crate) path: &'t str,
    pub(crate) lines: Vec<Line<'t>>,
    pub(crate) definitions: Vec<Definition<'t>>,
    /// The innermost definition that each line lies in.
    scopes: Vec<Option<usize>>,
    imports: Vec<Imported>,
    /// What is assigned or defined at the top.
    own: BTreeSet<&'t str>,
    /// The text was understood to its end.
    is_whole: bool,
}

/// All modules of a project, for names that one takes from another.
#[derive(Debug)]
pub(crate) struct Modules<'t> {
    pub(crate) all: Vec<Module<'t>>,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Meaning<'m, 't> {
    /// Of a package that the project does not hold: `fastapi.FastAPI`.
    Outside(String),
    /// A name, with dots or not, at the top of a module of the project.
    Inside(&'m Module<'t>, String),
    Unknown,
}

impl<'t> Module<'t> {
    fn new(path: &'t str, text: &'t str) -> Self {
        let (lines, is_whole) = scan(text);
        let (definitions, scopes) = definitions(&lines);
        let top = lines.iter().zip(&scopes).filter(|(_, scope)| scope.is_none());
        let assigned = top
            .flat_map(|(line, _)| statement::assignments(line))
            .map(|one| one.target);
        let heads = definitions
            .iter()
            .filter(|one| one.within.is_none())
            .map(|one| one.name);
        let own = assigned.chain(heads).collect();
        let imports = lines.iter().flat_map(statement::imports).collect();
        Self {
            path,
            lines,
            definitions,
            scopes,
            imports,
            own,
            is_whole,
        }
    }

    /// Where a line of the list stands in the file.
    pub(crate) fn number(&self, line: usize) -> usize {
        self.lines
            .get(line)
            .and_then(|line| line.tokens.first())
            .map_or(1, |token| token.line)
    }

    /// What is assigned at the top, and in which line; `if` and `try` are no
    /// scopes of their own.
    pub(crate) fn assignments(&self) -> impl Iterator<Item = (usize, Assignment<'_, 't>)> {
        let top = (0..self.lines.len()).filter(|n| self.scopes[*n].is_none());
        top.flat_map(|n| {
            statement::assignments(&self.lines[n])
                .into_iter()
                .map(move |one| (n, one))
        })
    }

    /// The value that was last assigned to a name at the top.
    pub(crate) fn value(&self, name: &str) -> Option<&[Token<'t>]> {
        if !self.own.contains(name) {
            return None;
        }
        let mut values = self
            .assignments()
            .filter(|(_, one)| one.target == name && !one.value.is_empty());
        values.next().map(|(_, one)| one.value)
    }

    /// A function or class at the top: the last one of a name, as those before it are
    /// `@overload`s or were replaced.
    pub(crate) fn definition(&self, name: &str) -> Option<&Definition<'t>> {
        let mut all = self.definitions.iter().rev();
        all.find(|one| one.within.is_none() && one.name == name)
    }

    /// The lines of a definition's own, without those of functions in it.
    pub(crate) fn body(&self, definition: &Definition<'t>) -> &[Line<'t>] {
        &self.lines[definition.body.clone()]
    }

    /// All calls with the index of their line.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (usize, Call<'_, 't>)> {
        let lines = self.lines.iter().enumerate();
        lines.flat_map(|(n, line)| {
            statement::calls(&line.tokens)
                .into_iter()
                .map(move |call| (n, call))
        })
    }

    /// Whether a line runs when the module is imported; `if` and `try` are no scopes
    /// of their own.
    pub(crate) fn is_at_the_top(&self, line: usize) -> bool {
        self.scopes.get(line) == Some(&None)
    }

    /// The class that a line lies directly in.
    pub(crate) fn class_of(&self, line: usize) -> Option<&Definition<'t>> {
        let definition = &self.definitions[self.scopes[line]?];
        definition.is_class.then_some(definition)
    }

    /// Whether the module has a name at its top; `None` where that is not to be
    /// told from the text.
    pub(crate) fn binds(&self, name: &str) -> Option<bool> {
        const OTHER_WAYS: [&str; 8] = [
            "__dict__",
            "__getattr__",
            "exec",
            "globals",
            "locals",
            "modules",
            "setattr",
            "vars",
        ];
        if self.own.contains(name) || self.imports.iter().any(|one| one.name == name) || self.mentions(name) {
            return Some(true);
        }
        let mut tokens = self.lines.iter().flat_map(|line| &line.tokens);
        let dynamic = !self.is_whole
            || self.imports.iter().any(|one| one.name == "*")
            || tokens.any(|token| OTHER_WAYS.iter().any(|word| token.is_name(word)));
        (!dynamic).then_some(false)
    }

    /// Whether a statement that is no import or definition has the name at the
    /// top, or `global` has it anywhere. Python binds names in many forms, and
    /// where one is used without being bound the module fails by itself.
    fn mentions(&self, name: &str) -> bool {
        self.lines.iter().zip(&self.scopes).any(|(line, scope)| {
            let begins = |word: &str| line.tokens[0].is_name(word);
            let looked_at = match scope {
                Some(_) => begins("global"),
                None => !begins("import") && !begins("from") && statement::head(line).is_none(),
            };
            looked_at && statement::uses(&line.tokens, name)
        })
    }
}

type Scopes<'t> = (Vec<Definition<'t>>, Vec<Option<usize>>);

fn definitions<'t>(lines: &[Line<'t>]) -> Scopes<'t> {
    let mut found: Vec<Definition<'t>> = Vec::new();
    let mut scopes = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut decorators = 0..0;
    for (n, line) in lines.iter().enumerate() {
        while let Some(last) = open.last()
            && lines[found[*last].head].indent >= line.indent
        {
            found[*last].body.end = n;
            open.pop();
        }
        let within = open.last().copied();
        scopes.push(within);
        if line.tokens.first().is_some_and(|first| first.is("@")) {
            decorators = if decorators.end == n {
                decorators.start..n + 1
            } else {
                n..n + 1
            };
            continue;
        }
        if let Some(head) = statement::head(line) {
            open.push(found.len());
            found.push(Definition {
                name: head.name,
                is_class: head.is_class,
                is_async: head.is_async,
                needs_no_argument: head.needs_no_argument(),
                head: n,
                decorators: if decorators.end == n {
                    decorators.clone()
                } else {
                    n..n
                },
                body: n + 1..lines.len(),
                within,
            });
        }
    }
    (found, scopes)
}

impl<'t> Modules<'t> {
    pub(crate) fn of(tree: &'t Tree) -> Self {
        let sources = tree.texts().filter(|(path, _)| path.ends_with(".py"));
        Self {
            all: sources.map(|(path, text)| Module::new(path, text)).collect(),
        }
    }

    pub(crate) fn at(&self, path: &str) -> Option<&Module<'t>> {
        let found = self.all.binary_search_by(|module| module.path.cmp(path)).ok()?;
        self.all.get(found)
    }

    /// The module of a dotted name, as a file in this place would import it.
    pub(crate) fn find(&self, from: &str, dotted: &str) -> Option<&Module<'t>> {
        let level = dotted.len() - dotted.trim_start_matches('.').len();
        let name = dotted.trim_start_matches('.').replace('.', "/");
        let mut folder = folder_of(from);
        if level > 0 {
            for _ in 1..level {
                folder = folder_of(folder.strip_suffix('/')?);
            }
            return self.in_folder(folder, &name);
        }
        // The file's own folder is last: a folder of the app is on the path, one in it is not.
        let mut folders = vec!["", "src/"];
        let mut ancestor = folder;
        while !ancestor.is_empty() {
            folders.push(ancestor);
            ancestor = folder_of(ancestor.strip_suffix('/').unwrap_or_default());
        }
        // `from celery import Celery` in `app/celery.py` means another one than itself.
        folders.into_iter().find_map(|folder| {
            let found = self.in_folder(folder, &name);
            found.filter(|one| one.path != from)
        })
    }

    fn in_folder(&self, folder: &str, name: &str) -> Option<&Module<'t>> {
        if name.is_empty() {
            return self.at(&format!("{folder}__init__.py"));
        }
        let file = self.at(&format!("{folder}{name}.py"));
        file.or_else(|| self.at(&format!("{folder}{name}/__init__.py")))
    }

    /// What a name with dots stands for in a module.
    pub(crate) fn meaning(&self, module: &Module<'t>, dotted: &str) -> Meaning<'_, 't> {
        self.meaning_of(module, dotted, 0)
    }

    fn meaning_of(&self, module: &Module<'t>, dotted: &str, depth: usize) -> Meaning<'_, 't> {
        let (first, rest) = dotted
            .split_once('.')
            .map_or((dotted, None), |(first, rest)| (first, Some(rest)));
        let with_rest = |name: &str| rest.map_or_else(|| name.to_owned(), |rest| format!("{name}.{rest}"));
        let own = module.own.contains(first);
        let imported = module.imports.iter().find(|one| one.name == first);
        if own && imported.is_none() {
            return self.at(module.path).map_or(Meaning::Unknown, |module| {
                Meaning::Inside(module, dotted.to_owned())
            });
        }
        let Some(imported) = imported.filter(|_| depth < 8) else {
            return self.by_star(module, dotted, depth);
        };
        match &imported.attribute {
            Some(attribute) => self.attribute(module, imported, &with_rest(attribute), depth),
            None => {
                let whole = with_rest(&imported.module);
                self.in_package(module, &whole, depth)
                    .unwrap_or(Meaning::Outside(whole))
            }
        }
    }

    /// `from a import b` means a module `a.b`, or a name in `a`.
    fn attribute(&self, from: &Module<'t>, imported: &Imported, name: &str, depth: usize) -> Meaning<'_, 't> {
        let dots = imported.module.ends_with('.');
        let whole = format!("{}{}{name}", imported.module, if dots { "" } else { "." });
        match self.in_package(from, &whole, depth) {
            Some(meaning) => meaning,
            None if imported.module.starts_with('.') => Meaning::Unknown,
            None => Meaning::Outside(whole),
        }
    }

    /// The longest part of a name that is a module of the project, and what the
    /// rest means there; `None` where no part is one.
    fn in_package(&self, from: &Module<'t>, whole: &str, depth: usize) -> Option<Meaning<'_, 't>> {
        let mut cut = whole.len();
        while let Some(dot) = whole[..cut].rfind('.') {
            let (module, name) = (&whole[..dot], &whole[dot + 1..]);
            let relative = module.is_empty() || module.ends_with('.');
            // `.x`: the dot belongs to the name of the package.
            let module = if relative { &whole[..=dot] } else { module };
            if let Some(found) = self.find(from.path, module)
                && !name.is_empty()
            {
                return Some(self.meaning_of(found, name, depth + 1));
            }
            if relative {
                return None;
            }
            cut = dot;
        }
        None
    }

    fn by_star(&self, module: &Module<'t>, dotted: &str, depth: usize) -> Meaning<'_, 't> {
        if depth < 8 {
            for star in module.imports.iter().filter(|one| one.name == "*") {
                if let Some(found) = self.find(module.path, &star.module)
                    && found.path != module.path
                    && let meaning @ (Meaning::Inside(..) | Meaning::Outside(_)) =
                        self.meaning_of(found, dotted, depth + 1)
                {
                    return meaning;
                }
            }
        }
        Meaning::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(files: &[(&str, &str)], path: &str, name: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let tree = Tree::read(folder.path());
        let modules = Modules::of(&tree);
        match modules.meaning(modules.at(path).unwrap(), name) {
            Meaning::Outside(name) => format!("outside {name}"),
            Meaning::Inside(module, name) => format!("{} {name}", module.path),
            Meaning::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn names_are_followed_to_where_they_are_bound() {
        let files = [
            ("app/__init__.py", ""),
            (
                "app/main.py",
                "import fastapi as f\nfrom fastapi import FastAPI\nfrom .core import settings, make\nfrom app.api import routes as r\nfrom app import core\nlocal = 1\n",
            ),
            (
                "app/core/__init__.py",
                "from app.core.config import *\nfrom .factory import make\n",
            ),
            ("app/core/config.py", "settings = 1\n"),
            ("app/core/factory.py", "def make(): pass\n"),
            ("app/api/routes.py", "router = 1\n"),
            ("app/celery.py", "from celery import Celery\n"),
        ];
        for (name, expected) in [
            ("f.FastAPI", "outside fastapi.FastAPI"),
            ("FastAPI", "outside fastapi.FastAPI"),
            ("settings.X", "app/core/config.py settings.X"),
            ("make", "app/core/factory.py make"),
            ("r.router", "app/api/routes.py router"),
            ("core.make", "app/core/factory.py make"),
            ("local", "app/main.py local"),
            ("nothing", "unknown"),
        ] {
            assert_eq!(meaning(&files, "app/main.py", name), expected, "{name}");
        }
        assert_eq!(
            meaning(&files, "app/celery.py", "Celery"),
            "outside celery.Celery",
            "a module does not import itself"
        );
    }

    #[test]
    fn a_name_that_cannot_be_told_is_neither_there_nor_not() {
        let bound = |text: &str, name: &str| {
            let folder = tempfile::tempdir().unwrap();
            fs_err::write(folder.path().join("m.py"), text).unwrap();
            let tree = Tree::read(folder.path());
            Modules::of(&tree).all[0].binds(name)
        };
        assert_eq!(
            bound("try:\n    app = 1\nexcept E:\n    pass\n", "app"),
            Some(true)
        );
        assert_eq!(bound("def f():\n    app = 1\n", "app"), Some(false));
        for text in [
            "(app, other) = make()\n",
            "[first, [app]] = make()\n",
            "first, *app = make()\n",
            "if (app := make()): pass\n",
            "for app in make(): pass\n",
            "with make() as (app, other): pass\n",
            "match make():\n    case {'app': app}: pass\n",
            "app: FastAPI = make()\n",
            "def init():\n    global app\n    app = make()\ninit()\n",
        ] {
            assert_eq!(bound(text, "app"), Some(true), "{text}");
        }
        for text in [
            "from x import *\n",
            "vars()['app'] = 1\n",
            "import sys\nsys.modules[__name__] = make()\n",
            "f\"{x:'<9}\"\n",
        ] {
            assert_eq!(bound(text, "app"), None, "{text}");
        }
        for text in [
            "from app.api import router\nrun(app=router)\n",
            "def run(app): app.get('/')\n",
            "other.app = 1\n",
        ] {
            assert_eq!(bound(text, "app"), Some(false), "{text}");
        }
        assert_eq!(bound("with x() as app: pass\n", "app"), Some(true));
    }
}
