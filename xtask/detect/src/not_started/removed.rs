//! What an app asks of Python that its image's Python has no more. Pure.

/// Modules by the version (the `12` of 3.12) that is the first without them.
const MODULES: [(u32, &[&str]); 2] = [
    (12, &["asynchat", "asyncore", "distutils", "imp", "smtpd"]),
    (
        13,
        &[
            "aifc",
            "audioop",
            "cgi",
            "cgitb",
            "chunk",
            "crypt",
            "imghdr",
            "lib2to3",
            "mailcap",
            "msilib",
            "nis",
            "nntplib",
            "ossaudiodev",
            "pipes",
            "sndhdr",
            "spwd",
            "sunau",
            "telnetlib",
            "uu",
            "xdrlib",
        ],
    ),
];

/// Names that no Python of an image has: the module, and what went.
const NAMES: [(&str, &[&str]); 3] = [
    (
        "collections",
        &[
            "Callable",
            "Hashable",
            "Iterable",
            "Iterator",
            "Mapping",
            "MutableMapping",
            "MutableSequence",
            "MutableSet",
            "Sequence",
            "Set",
            "Sized",
        ],
    ),
    ("inspect", &["formatargspec", "getargspec"]),
    ("asyncio", &["coroutine"]),
];

/// What to do about the last words of an app that asks for what is gone, in a sentence.
/// `image` is its name.
pub(super) fn way_out(words: &str, image: &str) -> Option<String> {
    words.lines().find_map(|line| {
        module(line, image)
            .or_else(|| name(line))
            .or_else(|| old_package(line, image))
    })
}

/// What a package of before the image's Python says as it is imported.
struct OldPackage {
    words: &'static str,
    /// The package, as a sentence begins with it, and its first version that runs.
    name: &'static str,
    runs_from: &'static str,
    /// The first Python that does not run it.
    since: u32,
}

const OLD: [OldPackage; 7] = [
    OldPackage {
        words: "directly inherits TypingOnly but has additional attributes",
        name: "SQLAlchemy",
        runs_from: "2.0.31",
        since: 13,
    },
    OldPackage {
        words: "Can't replace canonical symbol for '__firstlineno__'",
        name: "SQLAlchemy",
        runs_from: "2.0.31",
        since: 13,
    },
    OldPackage {
        words: "ForwardRef._evaluate() missing 1 required keyword-only argument: 'recursive_guard'",
        name: "pydantic",
        runs_from: "1.10.16",
        since: 13,
    },
    OldPackage {
        words: "type 'typing.TypeVar' is not an acceptable base type",
        name: "typing_extensions",
        runs_from: "4.6",
        since: 12,
    },
    OldPackage {
        words: "No module named 'six.moves'",
        name: "six",
        runs_from: "1.16",
        since: 12,
    },
    OldPackage {
        words: "No module named 'kafka.vendor.six.moves'",
        name: "kafka-python",
        runs_from: "2.0.3",
        since: 12,
    },
    OldPackage {
        words: "module 'ssl' has no attribute 'wrap_socket'",
        name: "eventlet",
        runs_from: "0.34.1",
        since: 12,
    },
];

/// Packages that fail as they are imported: the Python before, or a newer one of them.
fn old_package(line: &str, image: &str) -> Option<String> {
    let OldPackage {
        name,
        runs_from,
        since,
        ..
    } = OLD.iter().find(|old| line.contains(old.words))?;
    // That of a base set is no download.
    let file = format!("images/{image}/image.json");
    let before = match since {
        13 => format!("`\"base\": \"ubuntu\"` in {file}, which has Python 3.12"),
        _ => format!("`\"python\": \"3.{}\"` in {file}", since - 1),
    };
    Some(format!(
        "{name} before {runs_from} does not run on Python 3.{since} and newer: take a newer one, or {before}"
    ))
}

fn module(line: &str, image: &str) -> Option<String> {
    let (_, rest) = line.split_once("No module named '")?;
    let named = rest.split(['\'', '.']).next()?;
    if named == "pkg_resources" {
        return Some(
            "setuptools has pkg_resources, up to version 81: `\"with\": [\"setuptools<82\"]` of `app` installs it beside the app's \
             list"
                .to_owned(),
        );
    }
    let (gone, _) = MODULES.iter().find(|(_, names)| names.contains(&named))?;
    Some(format!(
        "Python has no {named} since 3.{gone}: `\"python\": \"3.{}\"` in images/{image}/image.json takes one that has, or a base \
         set that has one (`cargo xtask base list`)",
        gone - 1
    ))
}

fn name(line: &str) -> Option<String> {
    let (module, names) = NAMES.iter().find(|(module, names)| {
        names.iter().any(|name| {
            line.contains(&format!("module '{module}' has no attribute '{name}'"))
                || line.contains(&format!("cannot import name '{name}' from '{module}'"))
        })
    })?;
    let name = names.iter().find(|name| line.contains(&format!("'{name}'")))?;
    Some(format!(
        "no Python that an image can have has {module}.{name}: take newer versions of the app's packages"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_told_with_a_python_that_has_it() {
        let told = |words: &str| way_out(words, "shop").unwrap_or_default();
        assert_eq!(
            told("ModuleNotFoundError: No module named 'distutils'\nWorker failed to boot."),
            "Python has no distutils since 3.12: `\"python\": \"3.11\"` in images/shop/image.json takes one that has, \
             or a base set that has one (`cargo xtask base list`)"
        );
        assert!(told("No module named 'cgi'").contains("\"3.12\""));
        assert!(told("No module named 'distutils.version'").contains("no distutils since"));
        assert_eq!(
            told("TypeError: type 'typing.TypeVar' is not an acceptable base type"),
            "typing_extensions before 4.6 does not run on Python 3.12 and newer: take a newer one, or \
             `\"python\": \"3.11\"` in images/shop/image.json"
        );
        assert!(told("ModuleNotFoundError: No module named 'six.moves'").starts_with("six before 1.16 does"));
        assert!(
            told("TypeError: ForwardRef._evaluate() missing 1 required keyword-only argument: 'recursive_guard'")
                .contains("`\"base\": \"ubuntu\"`")
        );
        assert!(
            told(
                "AssertionError: Class <x> directly inherits TypingOnly but has additional attributes {'y'}."
            )
            .contains("SQLAlchemy before 2.0.31")
        );
        assert!(
            told("TypeError: Can't replace canonical symbol for '__firstlineno__' with new int value 615")
                .contains("SQLAlchemy before 2.0.31")
        );
        assert!(told("No module named 'pkg_resources'").contains("[\"setuptools<82\"]"));
        assert_eq!(
            told("AttributeError: module 'collections' has no attribute 'MutableMapping'"),
            "no Python that an image can have has collections.MutableMapping: take newer versions of the app's packages"
        );
        assert!(
            told("ImportError: cannot import name 'Mapping' from 'collections' (/usr/x.py)")
                .contains(".Mapping")
        );
        for own in [
            "No module named 'shop'",
            "module 'collections' has no attribute 'mine'",
            "",
        ] {
            assert_eq!(way_out(own, "shop"), None, "{own}");
        }
    }
}
