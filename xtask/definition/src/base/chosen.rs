//! Which base set an image is built on, and which Python its app runs on.

use std::cmp::Reverse;

use pep440_rs::VersionSpecifiers;

use super::python::{self, PythonWish};
use super::{BaseSet, BaseSets};
use crate::spec::names::PYTHONS;

/// The base set that one image is built on.
#[derive(Clone, Debug, PartialEq)]
pub struct ChosenBase {
    /// Its name in `images/base-sets.json`.
    pub name: String,
    /// What it is.
    pub set: BaseSet,
    /// Whether it is the default one.
    pub is_default: bool,
    /// Why the app could not be built on the default one with its own Python, where
    /// nobody has named another: what follows "the app".
    pub why: Option<String>,
    /// The version of the app's Python, where uv fetches it.
    pub python: Option<String>,
    /// What is said of another Python that the app's developers have.
    passed_over: Option<String>,
}

impl ChosenBase {
    fn new(
        sets: &BaseSets,
        (name, set): (&str, &BaseSet),
        python: Option<&str>,
        wish: PythonWish<'_>,
    ) -> Self {
        let python = set.lacks(python).map(str::to_owned);
        let has = python.as_deref().unwrap_or(&set.python.version);
        // Who names one in the spec knows.
        let developed_on = wish.developed_on.filter(|_| wish.spec.is_none());
        Self {
            name: name.to_owned(),
            is_default: name == sets.default,
            why: None,
            passed_over: developed_on.and_then(|version| python::passed_over(version, has)),
            python,
            set: set.clone(),
        }
    }

    fn because(self, why: String) -> Self {
        Self {
            why: Some(why),
            ..self
        }
    }

    /// The version of Python that the app runs on.
    pub fn python_version(&self) -> &str {
        self.python.as_deref().unwrap_or(&self.set.python.version)
    }

    /// What a plan says of it; `None` for the default set with its own Python.
    pub fn told(&self) -> Option<String> {
        let python = self.python.as_ref();
        let python = python.map_or_else(String::new, |version| format!(" with Python {version} from uv"));
        let built = format!("is built on base set {}{python}", self.name);
        let told = match &self.why {
            Some(why) => Some(format!("{built}: the app {why}")),
            None => (!self.is_default || self.python.is_some()).then_some(built),
        };
        let all: Vec<String> = told.into_iter().chain(self.passed_over.clone()).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

impl BaseSets {
    /// A released set whose own Python is one such as `3.12`.
    pub fn released_with(&self, python: &str) -> Option<&str> {
        let has = |(_, set): &(&String, &BaseSet)| !set.unreleased && set.lacks(Some(python)).is_none();
        self.sets.iter().find(has).map(|(name, _)| name.as_str())
    }

    /// The set that an image is built on, and its Python: the set that `flag`
    /// (`--base`) names, else the spec's, else the default one, with the Python that
    /// the spec names. Where it names none and the set's own does not fit
    /// `requires-python`: the set with the newest Python that does, if nobody has
    /// named a set, else a Python of uv's.
    ///
    /// # Errors
    /// A sentence that says what does not fit, and what would do.
    pub fn choose_for(
        &self,
        flag: Option<&str>,
        spec: Option<&str>,
        wish: PythonWish<'_>,
    ) -> Result<ChosenBase, String> {
        let wanted = flag.or(spec);
        let name = wanted.unwrap_or(&self.default);
        let Some(set) = self.sets.get(name) else {
            return Err(format!("there is no base set {name:?}"));
        };
        let with = |python| ChosenBase::new(self, (name, set), python, wish);
        let Some(requires) = wish.requires else {
            return Ok(with(wish.spec));
        };
        let specifiers: VersionSpecifiers = requires
            .parse()
            .map_err(|error| format!("requires-python {requires:?} cannot be read: {error}"))?;
        match wish.spec {
            Some(version) if !python::fits(version, &specifiers) => {
                return Err(format!(
                    "requires Python {requires}, but `python` of the spec is {version}"
                ));
            }
            Some(version) => return Ok(with(Some(version))),
            None if set.python.fits(&specifiers) => return Ok(with(None)),
            None => {}
        }
        let unfit = format!(
            "requires Python {requires}, but base set {name} has Python {}",
            set.python.version
        );
        let mut others: Vec<(&String, &BaseSet)> = self.sets.iter().collect();
        others.retain(|(_, other)| !other.unreleased && other.python.fits(&specifiers));
        others.sort_by_key(|(_, other)| Reverse(other.python.parsed()));
        match (others.first(), python::of_uv(&specifiers, wish.developed_on)) {
            (Some((name, set)), _) if wanted.is_none() => {
                Ok(ChosenBase::new(self, (name, set), None, wish).because(unfit))
            }
            (None, Some(version)) => Ok(with(Some(version)).because(unfit)),
            (Some(_), of_uv) => {
                let way = |(name, other): &(&String, &BaseSet)| {
                    format!("`--base {name}` (Python {})", other.python.version)
                };
                let mut ways: Vec<String> = others.iter().map(way).collect();
                ways.extend(of_uv.map(|version| format!("`\"python\": {version:?}` in the spec")));
                Err(format!("{unfit}; {} would do", ways.join(" or ")))
            }
            (None, None) => {
                let all = self.sets.iter();
                let all = all.map(|(name, other)| format!("{name} has {}", other.python.version));
                let all: Vec<String> = all.collect();
                Err(format!(
                    "{unfit}; no base set would do: {}; and none that uv fetches: {}",
                    all.join(", "),
                    PYTHONS.join(", ")
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets() -> BaseSets {
        serde_json::from_str(include_str!("../../../../images/base-sets.json")).unwrap()
    }

    fn requiring(requires: Option<&str>) -> PythonWish<'_> {
        PythonWish {
            requires,
            ..PythonWish::default()
        }
    }

    #[test]
    fn a_python_that_does_not_fit_gets_another_base_or_says_which_would_do() {
        let sets = sets();
        let chosen = |flag, spec, requires| {
            let chosen = sets.choose_for(flag, spec, requiring(requires))?;
            assert_eq!(chosen.python, None);
            Ok::<_, String>((chosen.name, chosen.why.unwrap_or_default()))
        };
        let is = |name: &str, why: &str| Ok((name.to_owned(), why.to_owned()));
        assert_eq!(chosen(None, None, None), is("debian", ""));
        assert_eq!(chosen(None, None, Some(">=3.12")), is("debian", ""));
        assert_eq!(chosen(None, Some("ubuntu"), Some(">=3.12")), is("ubuntu", ""));
        assert_eq!(chosen(Some("debian"), Some("ubuntu"), None), is("debian", ""));
        assert_eq!(chosen(None, Some("forky"), Some(">=3.14")), is("forky", ""));
        let told = |spec, requires| sets.choose_for(None, spec, requiring(requires)).unwrap().told();
        assert_eq!(told(None, None), None);
        assert_eq!(told(Some("ubuntu"), None).unwrap(), "is built on base set ubuntu");
        let old = Some(">=3.11,<3.13");
        assert_eq!(
            told(None, old).unwrap(),
            "is built on base set ubuntu: the app requires Python >=3.11,<3.13, but base set debian has Python 3.13.5"
        );
        let unfit = "requires Python >=3.11,<3.13, but base set debian has Python 3.13.5";
        assert_eq!(chosen(None, None, old), is("ubuntu", unfit));
        for (flag, spec) in [
            (Some("debian"), None),
            (None, Some("debian")),
            (Some("debian"), Some("ubuntu")),
        ] {
            assert_eq!(
                chosen(flag, spec, old).unwrap_err(),
                format!(
                    "{unfit}; `--base ubuntu` (Python 3.12.3) or `\"python\": \"3.12\"` in the spec would do"
                )
            );
        }
        assert_eq!(
            chosen(None, None, Some(">=3.15")).unwrap_err(),
            "requires Python >=3.15, but base set debian has Python 3.13.5; no base set would do: debian has 3.13.5, \
             forky has 3.14.7, ubuntu has 3.12.3; and none that uv fetches: 3.14, 3.13, 3.12, 3.11"
        );
        assert_eq!(
            chosen(None, Some("alpine"), None).unwrap_err(),
            "there is no base set \"alpine\""
        );
    }

    #[test]
    fn a_base_is_known_by_its_python() {
        let sets = sets();
        assert_eq!(sets.released_with("3.12"), Some("ubuntu"));
        assert_eq!(sets.released_with("3.13"), Some("debian"));
        // One that is not released is taken by name alone.
        assert_eq!(sets.released_with("3.14"), None);
    }

    #[test]
    fn a_python_that_no_base_has_comes_from_uv_and_is_told() {
        let sets = sets();
        let chosen = |base, spec, requires, developed_on| {
            let wish = PythonWish {
                spec,
                requires,
                developed_on,
            };
            let chosen = sets.choose_for(None, base, wish)?;
            Ok::<_, String>((chosen.python.clone(), chosen.told().unwrap_or_default()))
        };
        let is = |python: &str, told: &str| Ok((Some(python.to_owned()), told.to_owned()));
        assert_eq!(
            chosen(None, Some("3.12"), Some(">=3.11"), Some("3.13")),
            is("3.12", "is built on base set debian with Python 3.12 from uv")
        );
        // What the base has needs no fetching.
        assert_eq!(chosen(None, Some("3.13"), None, None), Ok((None, String::new())));
        assert_eq!(
            chosen(Some("ubuntu"), Some("3.12.3"), None, None),
            Ok((None, "is built on base set ubuntu".to_owned()))
        );
        assert_eq!(
            chosen(None, Some("3.12.4"), None, None),
            is("3.12.4", "is built on base set debian with Python 3.12.4 from uv")
        );
        let unfit = "requires Python >=3.14, but base set debian has Python 3.13.5";
        assert_eq!(
            chosen(None, None, Some(">=3.14"), None),
            is(
                "3.14",
                &format!("is built on base set debian with Python 3.14 from uv: the app {unfit}")
            )
        );
        assert_eq!(
            chosen(Some("ubuntu"), None, Some("<3.12"), Some("3.11.2\n"))
                .unwrap()
                .0
                .unwrap(),
            "3.11"
        );
        assert_eq!(
            chosen(None, None, None, Some("3.11\n")),
            Ok((
                None,
                "runs on Python 3.13.5, and .python-version says 3.11: `\"python\": \"3.11\"` in the spec takes that one"
                    .to_owned()
            ))
        );
        assert_eq!(
            chosen(None, Some("3.12"), Some(">=3.13"), None).unwrap_err(),
            "requires Python >=3.13, but `python` of the spec is 3.12"
        );
    }
}
