//! Classes of settings, such as pydantic's: each of their fields is a variable.

use super::forms;
use super::reads::{Default, Read, of_value, read_by};
use crate::modules::{Definition, Meaning, Module, Modules};
use crate::place::Place;
use crate::python::statement::{self, Assignment, Call};
use crate::python::{Line, Token, TokenKind};
use crate::tree::is_of_the_app;

/// A class on top of pydantic's settings, be it through others.
pub(super) fn is_settings(
    modules: &Modules<'_>,
    module: &Module<'_>,
    class: &Definition<'_>,
    depth: usize,
) -> bool {
    is_below(modules, module, class, "BaseSettings", depth)
}

/// A class on top of one of pydantic's, be it through others.
fn is_below(
    modules: &Modules<'_>,
    module: &Module<'_>,
    class: &Definition<'_>,
    top: &str,
    depth: usize,
) -> bool {
    bases(module, class)
        .iter()
        .any(|base| match modules.meaning(module, base) {
            Meaning::Outside(name) => {
                name.starts_with("pydantic") && name.rsplit('.').next() == Some(top) && name.contains('.')
            }
            Meaning::Inside(other, name) => {
                depth < 6
                    && other
                        .definition(&name)
                        .is_some_and(|base| is_below(modules, other, base, top, depth + 1))
            }
            Meaning::Unknown => false,
        })
}

fn bases(module: &Module<'_>, class: &Definition<'_>) -> Vec<String> {
    let head = statement::head(&module.lines[class.head]);
    let inside = head.map(|head| head.inside).unwrap_or_default();
    inside
        .into_iter()
        .filter_map(|base| Some(statement::dotted(base)?.0))
        .collect()
}

/// The variables of a settings class, each with its place. What it has of models that are
/// no settings by themselves is read by its names.
pub(super) fn fields(
    modules: &Modules<'_>,
    module: &Module<'_>,
    class: &Definition<'_>,
    guarded: &[String],
) -> Vec<(Place, Read)> {
    let own =
        |other: &Module<'_>, of: &Definition<'_>| fields_as(modules, (other, of), (module, class), guarded);
    let mut found = own(module, class);
    for (other, base) in models(modules, module, class, 0) {
        for (place, read) in own(other, base) {
            if !found.iter().any(|(_, known)| known.name == read.name) {
                found.push((place, read));
            }
        }
    }
    found
}

/// The models of pydantic's below a class that are no settings by themselves.
fn models<'m, 't>(
    modules: &'m Modules<'t>,
    module: &'m Module<'t>,
    class: &Definition<'t>,
    depth: usize,
) -> Vec<(&'m Module<'t>, &'m Definition<'t>)> {
    let mut found = Vec::new();
    for base in bases(module, class).iter().filter(|_| depth < 6) {
        if let Meaning::Inside(other, name) = modules.meaning(module, base)
            && let Some(base) = other.definition(&name).filter(|one| one.is_class)
            && !is_settings(modules, other, base, 0)
            && is_below(modules, other, base, "BaseModel", 0)
        {
            found.push((other, base));
            found.extend(models(modules, other, base, depth + 1));
        }
    }
    found
}

/// The variables of what stands in one class, as another one on top of it reads them.
fn fields_as(
    modules: &Modules<'_>,
    (module, class): (&Module<'_>, &Definition<'_>),
    (reader, settings): (&Module<'_>, &Definition<'_>),
    guarded: &[String],
) -> Vec<(Place, Read)> {
    let prefix = option(modules, reader, settings, "env_prefix", 0).unwrap_or_default();
    let refused = refused_where_empty(module, class);
    let mut found = Vec::new();
    for one in own_fields(module, class) {
        let place = place_of(module, &one);
        let nested = option(modules, reader, settings, "env_nested_delimiter", 0).and_then(|delimiter| {
            let (name, _) = statement::dotted(one.annotation)?;
            match modules.meaning(module, &name) {
                Meaning::Inside(other, name) => Some((delimiter, other, other.definition(&name)?)),
                _ => None,
            }
        });
        let name = format!("{prefix}{}", one.target).to_uppercase();
        match nested.filter(|(_, _, class)| class.is_class) {
            Some((delimiter, other, nested)) => {
                let begins = format!("{name}{delimiter}");
                let is_optional = !one.value.is_empty();
                found.extend(nested_fields(
                    modules,
                    (other, nested),
                    &begins,
                    &delimiter,
                    is_optional,
                    0,
                ));
            }
            // It reads its own variables, and code hands it over.
            None if is_settings_itself(modules, module, one.annotation) => {}
            // What the value itself reads is known from there.
            None if reads(modules, module, one.value, &name) => {}
            None => {
                let mut read = field(modules, module, &one, &prefix);
                let is_off = matches!(one.value, [value] if value.is_name("False"));
                let is_refused = is_empty(one.value) && refused.iter().any(|field| field == one.target);
                let is_guarded =
                    (is_empty(one.value) || is_off) && guarded.iter().any(|field| field == one.target);
                if is_refused || is_guarded {
                    read.default = Default::None;
                    read.is_refused = true;
                }
                found.push((place, read));
            }
        }
    }
    found
}

fn place_of(module: &Module<'_>, field: &Assignment<'_, '_>) -> Place {
    let line = field.annotation.first().map_or(1, |token| token.line);
    Place::new(module.path, line)
}

/// The variables of a model within settings, and of those within it: `DATABASE__POOL__SIZE`.
fn nested_fields(
    modules: &Modules<'_>,
    (module, class): (&Module<'_>, &Definition<'_>),
    begins: &str,
    delimiter: &str,
    is_optional: bool,
    depth: usize,
) -> Vec<(Place, Read)> {
    let mut found = Vec::new();
    for one in own_fields(module, class) {
        let mut read = field(modules, module, &one, "");
        let name = format!("{begins}{}", one.target).to_uppercase();
        let inner =
            statement::dotted(one.annotation).and_then(|(name, _)| match modules.meaning(module, &name) {
                Meaning::Inside(other, name) => Some((other, other.definition(&name)?)),
                Meaning::Outside(_) | Meaning::Unknown => None,
            });
        let model = inner.filter(|(other, class)| {
            class.is_class && depth < 4 && is_below(modules, other, class, "BaseModel", 0)
        });
        if let Some(model) = model {
            let begins = format!("{name}{delimiter}");
            let is_optional = is_optional || !one.value.is_empty();
            found.extend(nested_fields(
                modules,
                model,
                &begins,
                delimiter,
                is_optional,
                depth + 1,
            ));
            continue;
        }
        read.name = name;
        if is_optional && matches!(read.default, Default::None) {
            read.default = Default::Other;
        }
        found.push((place_of(module, &one), read));
    }
    found
}

fn is_empty(value: &[Token<'_>]) -> bool {
    matches!(value, [one] if one.is_name("None"))
        || statement::text_of(value).is_some_and(|text| text.is_empty())
}

/// Fields that a class does not take without a value although they have a default:
/// `if self.debug is False and not self.DSN:` and then `raise`.
fn refused_where_empty(module: &Module<'_>, class: &Definition<'_>) -> Vec<String> {
    let of_class = |one: &&Definition<'_>| {
        let around = one.within.and_then(|around| module.definitions.get(around));
        !one.is_class && around.is_some_and(|around| around.head == class.head)
    };
    let mut found = Vec::new();
    for check in module.definitions.iter().filter(of_class) {
        let decorators = module.lines[check.decorators.clone()].iter();
        let decorators = decorators.filter_map(|line| Some(statement::call_at(line.tokens.get(1..)?)?.0));
        let of_fields: Vec<String> = decorators
            .filter(|call| ["field_validator", "validator"].contains(&call.last()))
            .flat_map(|call| call.arguments)
            .filter_map(|argument| statement::text_of(argument.value))
            .collect();
        let body = module.body(check);
        for (n, condition) in body.iter().enumerate() {
            let begins = condition.tokens.first();
            // Its text is often made in a line of its own.
            let then = body[n + 1..]
                .iter()
                .find(|line| statement::assignments(line).is_empty());
            let raises =
                then.is_some_and(|line| line.tokens.first().is_some_and(|first| first.is_name("raise")));
            if !raises || !begins.is_some_and(|first| first.is_name("if") || first.is_name("elif")) {
                continue;
            }
            for (n, token) in condition.tokens.iter().enumerate() {
                let Some((name, length)) = statement::dotted(&condition.tokens[n..]) else {
                    continue;
                };
                let is_negated = n > 0 && condition.tokens[n - 1].is_name("not");
                let after = &condition.tokens[n + length..];
                let is_none = matches!(after, [is, none, ..] if is.is_name("is") && none.is_name("None"));
                if !is_negated && !is_none || token.is_name("not") {
                    continue;
                }
                match name.strip_prefix("self.") {
                    Some(field) => found.push(field.to_owned()),
                    None if !name.contains('.') => found.extend(of_fields.iter().cloned()),
                    None => {}
                }
            }
        }
    }
    found
}

/// Attributes without which a module ends the app while it is imported:
/// `if not settings.region:` and then `sys.exit(1)`.
pub(super) fn guarded(modules: &Modules<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for module in modules.all.iter().filter(|module| is_of_the_app(module.path)) {
        for (n, condition) in module.lines.iter().enumerate() {
            let [first, negation, rest @ .., _] = condition.tokens.as_slice() else {
                continue;
            };
            if !first.is_name("if") || !negation.is_name("not") || !module.is_at_the_top(n) {
                continue;
            }
            let block = module.lines[n + 1..].iter();
            let mut block = block.take_while(|line| line.indent > condition.indent);
            let one_condition = !rest
                .iter()
                .any(|token| token.is_name("and") || token.is_name("or"));
            if let [.., dot, name] = rest
                && dot.is(".")
                && one_condition
                && block.any(ends_the_app)
            {
                found.push(name.text.to_owned());
            }
        }
    }
    found
}

pub(super) fn ends_the_app(line: &Line<'_>) -> bool {
    let raises = line.tokens.first().is_some_and(|first| first.is_name("raise"));
    let calls = statement::calls(&line.tokens);
    let exits = ["sys.exit", "os._exit", "exit", "quit"];
    raises || calls.iter().any(|call| exits.contains(&call.path.as_str()))
}

/// Whether a field's type is a class of settings of the project's.
fn is_settings_itself(modules: &Modules<'_>, module: &Module<'_>, annotation: &[Token<'_>]) -> bool {
    let Some((name, _)) = statement::dotted(annotation) else {
        return false;
    };
    match modules.meaning(module, &name) {
        Meaning::Inside(other, name) => {
            let class = other.definition(&name).filter(|one| one.is_class);
            class.is_some_and(|class| is_settings(modules, other, class, 0))
        }
        Meaning::Outside(_) | Meaning::Unknown => false,
    }
}

/// Whether a value is `config("NAME")`, of this name.
fn reads(modules: &Modules<'_>, module: &Module<'_>, value: &[Token<'_>], name: &str) -> bool {
    let calls = statement::calls(value);
    let mut read = calls.iter().filter_map(|call| read_by(modules, module, call));
    read.any(|read| read.name == name)
}

/// Annotated names, without what pydantic does not take for a field.
fn own_fields<'m, 't>(module: &'m Module<'t>, class: &Definition<'t>) -> Vec<Assignment<'m, 't>> {
    let within = |n: &usize| module.class_of(*n).is_some_and(|one| one.head == class.head);
    let lines = class.body.clone().filter(within);
    let all = lines.flat_map(|n| statement::assignments(&module.lines[n]));
    all.filter(|one| {
        let fixed = one
            .annotation
            .first()
            .is_none_or(|first| first.text == "ClassVar");
        !fixed && one.target != "model_config" && !one.target.starts_with('_')
    })
    .collect()
}

fn field(modules: &Modules<'_>, module: &Module<'_>, one: &Assignment<'_, '_>, prefix: &str) -> Read {
    let name = format!("{prefix}{}", one.target).to_uppercase();
    let annotation: String = one.annotation.iter().map(|token| token.text).collect();
    let described = |tokens| {
        statement::call_at(tokens)
            .map(|(call, _)| call)
            .filter(|call| call.last() == "Field")
    };
    // `Annotated[str, Field(alias="X")]` describes in the annotation.
    let in_annotation = statement::calls(one.annotation)
        .into_iter()
        .find(|call| call.last() == "Field");
    let in_value = described(one.value);
    let alias = [&in_value, &in_annotation].into_iter().flatten().find_map(alias);
    let default = match &in_value {
        None if one.value.is_empty() => Default::None,
        None => of_value(one.value),
        Some(call) if call.named("default_factory").is_some() => Default::Other,
        Some(call) => match call.argument("default", 0) {
            None => Default::None,
            Some([dots]) if dots.is("...") => Default::None,
            Some(value) => of_value(value),
        },
    };
    let of_parts = |token: &Token<'_>| {
        token.kind == TokenKind::Formatted && token.text.contains('{') && token.text.contains('@')
    };
    Read {
        name: alias.unwrap_or(name),
        default,
        annotation,
        form: forms::with_least(forms::of_annotation(modules, module, one.annotation), one.value),
        is_made: one.value.iter().any(of_parts),
        is_refused: false,
    }
}

fn alias(call: &Call<'_, '_>) -> Option<String> {
    let given = ["validation_alias", "alias", "env"]
        .iter()
        .find_map(|name| call.named(name))?;
    // `AliasChoices("A", "B")` and `["A", "B"]` take the first that is set.
    let text = given.iter().find(|token| token.kind == TokenKind::Text)?;
    Some(text.text.to_uppercase())
}

/// A setting of a settings class, its own or one that it inherits.
fn option(
    modules: &Modules<'_>,
    module: &Module<'_>,
    class: &Definition<'_>,
    key: &str,
    depth: usize,
) -> Option<String> {
    let own = module.body(class).iter().find_map(|line| {
        line.tokens.windows(3).find_map(|three| {
            let named = three[0].text == key && (three[1].is("=") || three[1].is(":"));
            (named && three[2].kind == TokenKind::Text).then(|| three[2].text.to_owned())
        })
    });
    own.or_else(|| {
        bases(module, class)
            .iter()
            .filter(|_| depth < 6)
            .find_map(|base| match modules.meaning(module, base) {
                Meaning::Inside(other, name) => {
                    option(modules, other, other.definition(&name)?, key, depth + 1)
                }
                _ => None,
            })
    })
}
