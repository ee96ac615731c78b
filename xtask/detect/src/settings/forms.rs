//! What a variable's value has to look like, as far as the code that reads it tells.

use definition::spec::secret;

use crate::modules::{Meaning, Module, Modules};
use crate::python::statement::{self, Call};
use crate::python::{Line, Token, TokenKind};

/// The kind of a variable's value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// Any text, as far as is known.
    #[default]
    Text,
    /// A number, not below this one.
    Number(i64),
    /// On or off.
    Switch,
    /// One of these words.
    OneOf(Vec<String>),
    /// A URL.
    Url,
    /// An address of e-mail.
    Email,
    /// Texts with this sign between them.
    Separated(char),
    /// A list in JSON, of such values.
    Json(Box<Form>),
    /// A kind of which one value is as good as another, such as an identifier.
    Fixed(&'static str),
    /// Bytes in an encoding that no secret has which a container makes, such as this.
    Encoded(&'static str),
}

impl Form {
    /// Whether a text is of this kind; of what is not looked into it is taken to be.
    pub(crate) fn fits(&self, text: &str) -> bool {
        match self {
            Self::Number(least) => text.parse().is_ok_and(|number: f64| number >= *least as f64),
            Self::Switch => ["0", "1", "false", "n", "no", "off", "on", "true", "y", "yes"]
                .contains(&text.to_lowercase().as_str()),
            Self::OneOf(words) => words.iter().any(|word| word == text),
            Self::Url => text.contains("://"),
            Self::Email => text.contains('@'),
            Self::Json(_) => text.starts_with('['),
            Self::Text | Self::Separated(_) | Self::Fixed(_) | Self::Encoded(_) => true,
        }
    }
}

/// Further kinds than [`Form`] has that a name of a type tells, by its last part.
fn of_type(name: &str) -> Form {
    match name {
        "int" | "float" | "Decimal" | "ByteSize" | "PositiveInt" | "PositiveFloat" | "NonNegativeInt"
        | "NonNegativeFloat" | "conint" | "confloat" => Form::Number(1),
        "NegativeInt" | "NegativeFloat" | "NonPositiveInt" => Form::Fixed("-1"),
        "bool" => Form::Switch,
        "AnyUrl" | "AnyHttpUrl" | "HttpUrl" | "Url" | "ParseResult" => Form::Url,
        "WebsocketUrl" | "AnyWebsocketUrl" => Form::Fixed("ws://localhost"),
        "FileUrl" => Form::Fixed("file:///tmp"),
        "RedisDsn" => Form::Fixed("redis://localhost:6379/0"),
        "AmqpDsn" => Form::Fixed("amqp://localhost:5672//"),
        "MongoDsn" => Form::Fixed("mongodb://localhost:27017/app"),
        "KafkaDsn" => Form::Fixed("kafka://localhost:9092"),
        "NatsDsn" => Form::Fixed("nats://localhost:4222"),
        "EmailStr" => Form::Email,
        "NameEmail" => Form::Fixed("App <given-at-start@example.com>"),
        "UUID" | "UUID1" | "UUID3" | "UUID4" | "UUID5" => Form::Fixed("00000000-0000-4000-8000-000000000000"),
        "date" => Form::Fixed("2026-01-01"),
        "datetime" | "AwareDatetime" => Form::Fixed("2026-01-01T00:00:00Z"),
        "time" => Form::Fixed("00:00:00"),
        "timedelta" => Form::Fixed("P1D"),
        "IPvAnyAddress" | "IPv4Address" => Form::Fixed("127.0.0.1"),
        "IPvAnyNetwork" | "IPv4Network" => Form::Fixed("127.0.0.0/8"),
        "Path" | "DirectoryPath" => Form::Fixed("/tmp"),
        "FilePath" => Form::Fixed("/etc/hostname"),
        "dict" | "Dict" | "Mapping" | "Json" => Form::Fixed("{}"),
        _ => Form::Text,
    }
}

/// The kind that an annotation of pydantic's asks for.
pub(super) fn of_annotation(modules: &Modules<'_>, module: &Module<'_>, tokens: &[Token<'_>]) -> Form {
    annotated(modules, module, tokens, 0)
}

fn annotated(modules: &Modules<'_>, module: &Module<'_>, tokens: &[Token<'_>], depth: usize) -> Form {
    const LISTS: [&str; 10] = [
        "FrozenSet",
        "List",
        "Sequence",
        "Set",
        "Tuple",
        "frozenset",
        "list",
        "set",
        "tuple",
        "conlist",
    ];
    if depth > 6 {
        return Form::Text;
    }
    let within = |tokens: &[Token<'_>]| annotated(modules, module, tokens, depth + 1);
    // `X | None`: what is not nothing.
    if let Some(bar) = statement::first(tokens, "|") {
        let (left, right) = (&tokens[..bar], &tokens[bar + 1..]);
        let is_none = matches!(left, [none] if none.is_name("None"));
        return within(if is_none { right } else { left });
    }
    let Some((name, length)) = statement::dotted(tokens) else {
        return Form::Text;
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let inside = statement::bracketed(&tokens[length..]).map(|(inside, _)| inside);
    let parts = inside.map(statement::parts).unwrap_or_default();
    let is_none = |part: &[Token<'_>]| matches!(part, [none] if none.is_name("None"));
    match last {
        "Literal" => {
            let words = parts.iter().filter_map(|part| statement::text_of(part));
            let words: Vec<String> = words.collect();
            return if words.is_empty() {
                Form::Text
            } else {
                Form::OneOf(words)
            };
        }
        "Optional" | "Union" | "Final" => {
            let first = parts.iter().find(|part| !is_none(part));
            return first.map_or(Form::Text, |part| within(part));
        }
        "Annotated" => {
            let form = parts.first().map_or(Form::Text, |part| within(part));
            return with_least(form, inside.unwrap_or_default());
        }
        _ if LISTS.contains(&last) => {
            return Form::Json(Box::new(parts.first().map_or(Form::Text, |part| within(part))));
        }
        _ => {}
    }
    if let Meaning::Inside(other, name) = modules.meaning(module, &name) {
        if let Some(members) = members(other, &name) {
            return Form::OneOf(members);
        }
        let alias = other.value(&name).unwrap_or_default();
        return annotated(modules, other, alias, depth + 1);
    }
    of_type(last)
}

/// The values of an enumeration of the project's.
fn members(module: &Module<'_>, name: &str) -> Option<Vec<String>> {
    let class = module.definition(name).filter(|one| one.is_class)?;
    let head = statement::head(&module.lines[class.head])?;
    let bases = head.inside.into_iter();
    let mut bases = bases.filter_map(|base| Some(statement::dotted(base)?.0));
    let is_enum = |base: String| {
        let last = base.rsplit('.').next().unwrap_or_default().to_owned();
        ["Enum", "IntEnum", "StrEnum"].contains(&last.as_str())
    };
    if !bases.any(is_enum) {
        return None;
    }
    let assigned = module.body(class).iter().flat_map(statement::assignments);
    let values: Vec<String> = assigned
        .filter_map(|one| match one.value {
            [number] if number.kind == TokenKind::Number => Some(number.text.to_owned()),
            value if statement::call_at(value).is_some_and(|(call, _)| call.last() == "auto") => {
                Some(one.target.to_lowercase())
            }
            value => statement::text_of(value),
        })
        .collect();
    (!values.is_empty()).then_some(values)
}

/// The number that `Field(ge=10)` asks for at least.
pub(super) fn with_least(form: Form, tokens: &[Token<'_>]) -> Form {
    let Form::Number(least) = form else { return form };
    let number = |value: &[Token<'_>]| match value {
        [one] => one.text.replace('_', "").parse::<i64>().ok(),
        _ => None,
    };
    let bound = statement::calls(tokens).into_iter().find_map(|call| {
        let not_below = call.named("ge").and_then(number);
        not_below.or_else(|| Some(call.named("gt").and_then(number)? + 1))
    });
    Form::Number(bound.unwrap_or(least).max(least))
}

/// The kind that a reader of the environment makes of a text: `env.int("X")`,
/// `config("X", cast=Csv())`, `env("X", bool)`.
pub(super) fn of_call(call: &Call<'_, '_>, scheme: Option<&[Token<'_>]>) -> Form {
    let by_method = match call.last() {
        "int" | "float" | "decimal" | "port" => Form::Number(1),
        "bool" => Form::Switch,
        "list" | "tuple" => Form::Separated(','),
        "json" => Form::Fixed("{}"),
        "url" => Form::Url,
        "email" => Form::Email,
        "email_url" => Form::Fixed("consolemail://"),
        "cache_url" | "cache" => Form::Fixed("locmemcache://"),
        "path" => Form::Fixed("/tmp"),
        "uuid" => of_type("UUID"),
        _ => Form::Text,
    };
    if by_method != Form::Text {
        return by_method;
    }
    let type_of = |value: &[Token<'_>]| match value {
        [one] if one.kind == TokenKind::Name => match one.text {
            "list" | "tuple" | "CommaSeparatedStrings" => Form::Separated(','),
            name => of_type(name),
        },
        [] => Form::Text,
        value if statement::call_at(value).is_some_and(|(call, _)| call.last() == "Csv") => {
            Form::Separated(',')
        }
        value => split_by(value).map_or(Form::Text, Form::Separated),
    };
    let given = call.named("cast").or_else(|| call.positional(1)).or(scheme);
    given.map_or(Form::Text, type_of)
}

/// What a text is split by.
pub(crate) fn split_by(tokens: &[Token<'_>]) -> Option<char> {
    let at = tokens
        .windows(3)
        .position(|three| three[0].is(".") && three[1].text == "split" && three[2].is("("))?;
    match &tokens[at + 3..] {
        [sign, ..] if sign.kind == TokenKind::Text => sign.text.chars().next(),
        _ => Some(' '),
    }
}

/// The kind that a line takes a variable for that it reads as a text: `int(os.environ["X"])`,
/// `os.environ["X"].split(",")`, `os.environ["X"] == "True"`.
pub(crate) fn of_line(line: &Line<'_>, name: &str) -> Form {
    let tokens = line.tokens.as_slice();
    let is_it = |token: &Token<'_>| token.kind == TokenKind::Text && token.text == name;
    let Some(at) = tokens.iter().position(is_it) else {
        return Form::Text;
    };
    let around = tokens[..at].iter().enumerate().rev().filter_map(|(n, token)| {
        let (inside, _) = statement::bracketed(&tokens[n + 1..])?;
        let has_it = token.kind == TokenKind::Name && tokens[n + 1].is("(") && at < n + 2 + inside.len();
        has_it.then_some(token.text)
    });
    let around: Vec<&str> = around.collect();
    if let Some(encoded) = of_an_encoding(&around) {
        return encoded;
    }
    for function in around {
        match function {
            "int" | "float" | "Decimal" => return Form::Number(1),
            "Path" => return Form::Fixed("/tmp"),
            "UUID" => return of_type("UUID"),
            "getaddresses" => return Form::Email,
            "literal_eval" => return Form::Fixed("[]"),
            "loads" => return Form::Fixed("{}"),
            // Every text but an empty one is true there.
            "bool" => return Form::Fixed(""),
            name if name.to_lowercase().contains("bool") => return Form::Switch,
            _ => {}
        }
    }
    let after = &tokens[at + 1..];
    if let Some(sign) = split_by(after) {
        return Form::Separated(sign);
    }
    let is_on = |token: &Token<'_>| {
        token.kind == TokenKind::Text
            && ["1", "on", "true", "yes"].contains(&token.text.to_lowercase().as_str())
    };
    let compared = after
        .iter()
        .skip_while(|token| !token.is("==") && !token.is_name("in"));
    match compared.skip(1).any(is_on) {
        true => Form::Switch,
        false => Form::Text,
    }
}

/// What a line takes out of an encoding by functions, the inner ones first: JSON in base64, a set
/// of public keys, the bytes of a key.
fn of_an_encoding(functions: &[&str]) -> Option<Form> {
    const OF_BASE64: [&str; 3] = ["b64decode", "decodebytes", "standard_b64decode"];
    let has = |names: &[&str]| functions.iter().any(|function| names.contains(function));
    let of_keys = functions.iter().any(|function| {
        let lower = function.to_lowercase();
        lower.contains("key_set") || lower.contains("keyset") || lower.contains("jwk")
    });
    let is_urlsafe = has(&["urlsafe_b64decode"]);
    Some(match (is_urlsafe || has(&OF_BASE64), has(&["loads"])) {
        (true, true) if of_keys => Form::Encoded(secret::NO_KEYS_IN_BASE64),
        (true, true) => Form::Encoded(secret::NOTHING_IN_BASE64),
        (true, false) if is_urlsafe => Form::Fixed(secret::BYTES_IN_BASE64),
        (true, false) => Form::Encoded(secret::BYTES_IN_BASE64),
        (false, true) if of_keys => Form::Encoded(secret::NO_KEYS),
        (false, _) if has(&["fromhex", "unhexlify"]) => Form::Encoded(secret::BYTES_IN_HEX),
        (false, _) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn annotations_tell_what_a_value_has_to_look_like() {
        let text = "from enum import Enum, StrEnum, auto\nfrom typing import *\n\
                    class Level(str, Enum):\n    LOW = \"low\"\n    HIGH = \"high\"\n\n\
                    class Stage(StrEnum):\n    Dev = auto()\n    Live = auto()\n\n\
                    Many = Annotated[list[str], 1]\n";
        let form = |annotation: &str| {
            let text = format!("{text}X: {annotation}\n");
            let tree = Tree::single("config.py", &text);
            let modules = Modules::of(&tree);
            let module = &modules.all[0];
            let last = module.lines.last().unwrap();
            let one = statement::assignments(last)[0];
            of_annotation(&modules, module, one.annotation)
        };
        let words = |words: &[&str]| Form::OneOf(words.iter().map(|word| (*word).to_owned()).collect());
        let list = |form| Form::Json(Box::new(form));
        for (annotation, expected) in [
            ("str", Form::Text),
            ("int", Form::Number(1)),
            ("None | int", Form::Number(1)),
            ("Optional[bool]", Form::Switch),
            ("Annotated[int, Field(ge=10)]", Form::Number(10)),
            ("Annotated[int, Field(gt=10)]", Form::Number(11)),
            ("Literal['a', \"b\"]", words(&["a", "b"])),
            ("Level", words(&["low", "high"])),
            ("Stage | None", words(&["dev", "live"])),
            ("list[HttpUrl]", list(Form::Url)),
            ("Many", list(Form::Text)),
            ("pydantic.EmailStr", Form::Email),
            ("dict[str, int]", Form::Fixed("{}")),
            ("timedelta", Form::Fixed("P1D")),
        ] {
            assert_eq!(form(annotation), expected, "{annotation}");
        }
    }

    #[test]
    fn a_line_tells_what_it_takes_a_text_for() {
        let form = |text: &str| {
            let tree = Tree::single("config.py", text);
            of_line(&Modules::of(&tree).all[0].lines[0], "X")
        };
        for (text, expected) in [
            ("A = os.environ['X']\n", Form::Text),
            ("A = int(os.environ['X'])\n", Form::Number(1)),
            ("A = print(1, int(2), os.environ['X'])\n", Form::Text),
            ("A = os.environ['X'].split(';')\n", Form::Separated(';')),
            (
                "A = [h.strip() for h in os.environ['X'].split(',')]\n",
                Form::Separated(','),
            ),
            ("A = os.getenv('X').split()\n", Form::Separated(' ')),
            ("A = os.environ['X'].lower() in ('true', '1')\n", Form::Switch),
            ("A = os.environ['X'] == 'True'\n", Form::Switch),
            ("A = os.environ['X'] == 'eu'\n", Form::Text),
            ("A = bool(strtobool(os.environ['X']))\n", Form::Switch),
            ("A = bool(os.environ['X'])\n", Form::Fixed("")),
            ("A = json.loads(os.environ['X'])\n", Form::Fixed("{}")),
            (
                "A = json.loads(base64.b64decode(os.environ['X']))\n",
                Form::Encoded("e30="),
            ),
            (
                "A = Key.import_key_set(json.loads(b64decode(os.environ['X'])))\n",
                Form::Encoded("eyJrZXlzIjogW119"),
            ),
            (
                "A = load_jwks(loads(os.environ['X']))\n",
                Form::Encoded(r#"{"keys": []}"#),
            ),
            (
                "A = base64.urlsafe_b64decode(os.environ['X'].encode())\n",
                Form::Fixed("Z2l2ZW4tYXQtc3RhcnQtZ2l2ZW4tYXQtc3RhcnQtZ2k="),
            ),
            (
                "A = base64.b64decode(os.environ['X'])\n",
                Form::Encoded("Z2l2ZW4tYXQtc3RhcnQtZ2l2ZW4tYXQtc3RhcnQtZ2k="),
            ),
            (
                "A = bytes.fromhex(os.environ['X'])\n",
                Form::Encoded("676976656e2d61742d73746172742d676976656e2d61742d73746172742d6769"),
            ),
        ] {
            assert_eq!(form(text), expected, "{text}");
        }
    }
}
