//! What a logical line says: imports, definitions, assignments, calls.

use super::{Line, Token, TokenKind};

/// Where a sign stands outside of all brackets.
pub(crate) fn top_level<'a>(tokens: &'a [Token<'_>], sign: &'a str) -> impl Iterator<Item = usize> + 'a {
    let mut depth = 0_usize;
    tokens.iter().enumerate().filter_map(move |(n, token)| {
        let outside = depth == 0;
        if token.kind == TokenKind::Sign {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        (outside && token.is(sign)).then_some(n)
    })
}

/// Where a sign stands first outside of all brackets.
pub(crate) fn first(tokens: &[Token<'_>], sign: &str) -> Option<usize> {
    top_level(tokens, sign).next()
}

/// Whether a name is used: not as an attribute, and not as the name of an
/// argument.
pub(crate) fn uses(tokens: &[Token<'_>], name: &str) -> bool {
    let outside: Vec<usize> = top_level(tokens, "=").collect();
    tokens.iter().enumerate().any(|(n, token)| {
        let is_attribute = n > 0 && tokens[n - 1].is(".");
        let is_argument = tokens.get(n + 1).is_some_and(|next| next.is("=")) && !outside.contains(&(n + 1));
        token.is_name(name) && !is_attribute && !is_argument
    })
}

/// The parts between the commas outside of brackets; none is empty.
pub(crate) fn parts<'a, 't>(tokens: &'a [Token<'t>]) -> Vec<&'a [Token<'t>]> {
    let mut parts = Vec::new();
    let mut start = 0;
    for comma in top_level(tokens, ",").chain([tokens.len()]) {
        if comma > start {
            parts.push(&tokens[start..comma]);
        }
        start = comma + 1;
    }
    parts
}

/// The value of a string literal, also of one in pieces.
pub(crate) fn text_of(tokens: &[Token<'_>]) -> Option<String> {
    let inner = match tokens {
        [open, inner @ .., close] if open.is("(") && close.is(")") => inner,
        all => all,
    };
    let all_text = !inner.is_empty() && inner.iter().all(|token| token.kind == TokenKind::Text);
    all_text.then(|| inner.iter().map(|token| token.text).collect())
}

/// A name with dots at the beginning, and how many tokens it takes.
pub(crate) fn dotted(tokens: &[Token<'_>]) -> Option<(String, usize)> {
    let mut name = tokens
        .first()
        .filter(|token| token.kind == TokenKind::Name)?
        .text
        .to_owned();
    let mut length = 1;
    while let [dot, next, ..] = &tokens[length..]
        && dot.is(".")
        && next.kind == TokenKind::Name
    {
        name = format!("{name}.{}", next.text);
        length += 2;
    }
    Some((name, length))
}

/// More brackets within brackets Python itself refuses (MAXLEVEL).
const DEEPEST: usize = 200;

/// What stands in the brackets that open at the beginning, and the rest.
pub(crate) fn bracketed<'a, 't>(tokens: &'a [Token<'t>]) -> Option<(&'a [Token<'t>], &'a [Token<'t>])> {
    let mut depth = 0_usize;
    for (n, token) in tokens.iter().enumerate() {
        if token.kind == TokenKind::Sign {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if depth > DEEPEST {
            return None;
        }
        if depth == 0 {
            return (n > 0).then(|| (&tokens[1..n], &tokens[n + 1..]));
        }
    }
    None
}

/// One argument of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Argument<'a, 't> {
    pub(crate) name: Option<&'t str>,
    pub(crate) value: &'a [Token<'t>],
}

/// A call of something that has a name.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a, 't> {
    /// `a.b.c`; of `x().y(…)` only `y`, with a dot before it.
    pub(crate) path: String,
    pub(crate) arguments: Vec<Argument<'a, 't>>,
    pub(crate) line: usize,
}

impl<'a, 't> Call<'a, 't> {
    /// What is called, without what it belongs to.
    pub(crate) fn last(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    /// The argument of this name, or the one at this position.
    pub(crate) fn argument(&self, name: &str, position: usize) -> Option<&'a [Token<'t>]> {
        self.named(name).or_else(|| self.positional(position))
    }

    pub(crate) fn named(&self, name: &str) -> Option<&'a [Token<'t>]> {
        let mut all = self.arguments.iter();
        all.find(|one| one.name == Some(name)).map(|one| one.value)
    }

    pub(crate) fn positional(&self, position: usize) -> Option<&'a [Token<'t>]> {
        let one = self.arguments.get(position)?;
        one.name.is_none().then_some(one.value)
    }

    /// The text of the argument of this name, or at this position.
    pub(crate) fn text(&self, name: &str, position: usize) -> Option<String> {
        text_of(self.argument(name, position)?)
    }
}

/// The call that the tokens begin with, and what follows it.
pub(crate) fn call_at<'a, 't>(tokens: &'a [Token<'t>]) -> Option<(Call<'a, 't>, &'a [Token<'t>])> {
    let (path, length) = dotted(tokens)?;
    let rest = &tokens[length..];
    if !rest.first()?.is("(") {
        return None;
    }
    let (inside, rest) = bracketed(rest)?;
    let arguments = parts(inside).into_iter().map(argument).collect();
    let line = tokens.first()?.line;
    Some((
        Call {
            path,
            arguments,
            line,
        },
        rest,
    ))
}

fn argument<'a, 't>(tokens: &'a [Token<'t>]) -> Argument<'a, 't> {
    match tokens {
        [name, equals, value @ ..] if name.kind == TokenKind::Name && equals.is("=") => Argument {
            name: Some(name.text),
            value,
        },
        value => Argument { name: None, value },
    }
}

/// All calls, those within calls included.
pub(crate) fn calls<'a, 't>(tokens: &'a [Token<'t>]) -> Vec<Call<'a, 't>> {
    let mut found = Vec::new();
    for (n, token) in tokens.iter().enumerate() {
        if token.kind != TokenKind::Name {
            continue;
        }
        let after_dot = n > 0 && tokens[n - 1].is(".");
        let after_name = after_dot && n > 1 && tokens[n - 2].kind == TokenKind::Name;
        if after_name {
            continue;
        }
        if let Some((mut call, _)) = call_at(&tokens[n..]) {
            if after_dot {
                call.path.insert(0, '.');
            }
            found.push(call);
        }
    }
    found
}

/// `target: annotation = value`, either of the latter left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assignment<'a, 't> {
    pub(crate) target: &'t str,
    pub(crate) annotation: &'a [Token<'t>],
    pub(crate) value: &'a [Token<'t>],
}

/// What a line binds to names by assignment: each target of `a = b = value`.
pub(crate) fn assignments<'a, 't>(line: &'a Line<'t>) -> Vec<Assignment<'a, 't>> {
    let tokens = line.tokens.as_slice();
    if let [target, colon, rest @ ..] = tokens
        && target.kind == TokenKind::Name
        && colon.is(":")
        && !["else", "try", "finally"].contains(&target.text)
    {
        let equals = first(rest, "=");
        let (annotation, value) = equals.map_or((rest, &rest[..0]), |n| (&rest[..n], &rest[n + 1..]));
        return vec![Assignment {
            target: target.text,
            annotation,
            value,
        }];
    }
    let mut targets = Vec::new();
    let mut value = tokens;
    while let Some(equals) = first(value, "=") {
        targets.extend(parts(&value[..equals]).into_iter().filter_map(|part| match part {
            [name] if name.kind == TokenKind::Name => Some(name.text),
            _ => None,
        }));
        value = &value[equals + 1..];
    }
    let bind = |target| Assignment {
        target,
        annotation: &tokens[..0],
        value,
    };
    targets.into_iter().map(bind).collect()
}

/// A name that an import binds, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Imported {
    /// The name as this module knows it; `*` where all names are bound.
    pub(crate) name: String,
    /// Leading dots count the levels of a relative import.
    pub(crate) module: String,
    /// What of the module; without it the module itself.
    pub(crate) attribute: Option<String>,
}

/// What an import line binds.
pub(crate) fn imports(line: &Line<'_>) -> Vec<Imported> {
    let tokens = line.tokens.as_slice();
    match tokens {
        [word, rest @ ..] if word.is_name("import") => {
            parts(rest).into_iter().filter_map(plain_import).collect()
        }
        [word, rest @ ..] if word.is_name("from") => imports_from(rest),
        _ => Vec::new(),
    }
}

/// `a.b as c`; without `as` the first name alone is bound.
fn plain_import(part: &[Token<'_>]) -> Option<Imported> {
    let (module, length) = dotted(part)?;
    let first = module.split('.').next()?.to_owned();
    Some(match &part[length..] {
        [word, name] if word.is_name("as") => Imported {
            name: name.text.to_owned(),
            module,
            attribute: None,
        },
        _ => Imported {
            name: first.clone(),
            module: first,
            attribute: None,
        },
    })
}

fn imports_from(tokens: &[Token<'_>]) -> Vec<Imported> {
    let Some(word) = tokens.iter().position(|token| token.is_name("import")) else {
        return Vec::new();
    };
    let module: String = tokens[..word].iter().map(|token| token.text).collect();
    let names = match &tokens[word + 1..] {
        [open, inner @ .., close] if open.is("(") && close.is(")") => inner,
        all => all,
    };
    let bound = |part: &[Token<'_>]| {
        let attribute = part.first()?.text.to_owned();
        Some(Imported {
            name: part.last()?.text.to_owned(),
            module: module.clone(),
            attribute: Some(attribute),
        })
    };
    parts(names).into_iter().filter_map(bound).collect()
}

/// The head of a function or class.
#[derive(Clone, Debug)]
pub(crate) struct Head<'a, 't> {
    pub(crate) is_class: bool,
    pub(crate) is_async: bool,
    pub(crate) name: &'t str,
    /// Parameters of a function, bases of a class.
    pub(crate) inside: Vec<&'a [Token<'t>]>,
    pub(crate) returns: &'a [Token<'t>],
}

impl Head<'_, '_> {
    /// Whether it can be called without an argument.
    pub(crate) fn needs_no_argument(&self) -> bool {
        let optional = |part: &&[Token<'_>]| {
            let starred = part
                .first()
                .is_some_and(|first| first.is("*") || first.is("**") || first.is("/"));
            starred || first(part, "=").is_some()
        };
        self.inside.iter().all(optional)
    }
}

/// What a line begins to define.
pub(crate) fn head<'a, 't>(line: &'a Line<'t>) -> Option<Head<'a, 't>> {
    let (is_async, tokens) = match line.tokens.as_slice() {
        [word, rest @ ..] if word.is_name("async") => (true, rest),
        all => (false, all),
    };
    let [word, name, rest @ ..] = tokens else {
        return None;
    };
    let is_class = word.is_name("class");
    if !is_class && !word.is_name("def") {
        return None;
    }
    let open = rest
        .iter()
        .position(|token| token.is("("))
        .filter(|_| !rest.is_empty());
    let (inside, after) = match open.and_then(|open| bracketed(&rest[open..])) {
        Some((inside, after)) => (parts(inside), after),
        None => (Vec::new(), &rest[..0]),
    };
    let returns = match after {
        [arrow, returns @ .., colon] if arrow.is("->") && colon.is(":") => returns,
        _ => &after[..0],
    };
    Some(Head {
        is_class,
        is_async,
        name: name.text,
        inside,
        returns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::lines;

    #[test]
    fn imports_bind_names() {
        let bound = |text: &str| {
            let show = |one: &Imported| {
                format!(
                    "{}={}:{}",
                    one.name,
                    one.module,
                    one.attribute.as_deref().unwrap_or("-")
                )
            };
            imports(&lines(text)[0])
                .iter()
                .map(show)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(bound("import a.b, c.d as e"), "a=a:- e=c.d:-");
        assert_eq!(bound("from ..x.y import (z as w, v,)"), "w=..x.y:z v=..x.y:v");
        assert_eq!(bound("from . import *"), "*=.:*");
    }

    #[test]
    fn assignments_have_target_annotation_and_value() {
        let targets = |text: &str| {
            let lines = lines(text);
            let show = |one: Assignment<'_, '_>| {
                format!("{}:{}={}", one.target, one.annotation.len(), one.value.len())
            };
            assignments(&lines[0])
                .into_iter()
                .map(show)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            targets("app = application = FastAPI()"),
            "app:0=3 application:0=3"
        );
        assert_eq!(targets("app: FastAPI = make(a=1)"), "app:1=6");
        assert_eq!(targets("name: str"), "name:1=0");
        assert_eq!(targets("a, b = 1, 2"), "a:0=3 b:0=3");
        assert_eq!(targets("f(a=1)"), "");
        assert_eq!(targets("self.app = 1"), "");
    }

    #[test]
    fn calls_within_calls_and_after_calls() {
        let lines = lines("x = a.b(c('t', k=d()), *e).f(1)");
        let paths: Vec<String> = calls(&lines[0].tokens)
            .iter()
            .map(|call| call.path.clone())
            .collect();
        assert_eq!(paths, ["a.b", "c", "d", ".f"]);
        let all = calls(&lines[0].tokens);
        assert_eq!(all[1].text("nope", 0).as_deref(), Some("t"));
        assert!(all[1].named("k").is_some());
    }

    #[test]
    fn heads_of_functions_and_classes() {
        let lines = lines("async def make(a, *, b=1, **c) -> FastAPI: pass\nclass S(Base, x=1):\n");
        let made = head(&lines[0]).unwrap();
        assert!(made.is_async && !made.is_class && !made.needs_no_argument());
        assert_eq!((made.name, made.returns[0].text), ("make", "FastAPI"));
        let class = head(&lines[2]).unwrap();
        assert_eq!((class.name, class.inside.len()), ("S", 2));
    }
}
