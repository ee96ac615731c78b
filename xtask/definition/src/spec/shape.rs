//! Checks a JSON value against the part of JSON Schema that `schemars` makes
//! of our types, and collects every problem.
//!
//! serde stops at the first wrong field; a user with five mistakes wants to
//! hear of five. The schema is the one that editors use, so both agree.

use serde_json::{Map, Value};
use strsim::levenshtein;

/// A problem and where it lies: `app.port`, `checks[2].http.path`; empty for
/// the whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShapeProblem {
    pub(crate) path: String,
    /// What is wrong, and what would be right.
    pub(crate) message: String,
}

/// What is said of a key that has to be there.
pub(crate) const MISSING: &str = "is missing";

/// All the ways in which `value` differs from `schema`.
pub(crate) fn problems(schema: &Value, value: &Value) -> Vec<ShapeProblem> {
    let mut shape = JsonShape {
        root: schema,
        found: Vec::new(),
    };
    shape.check(schema, value, "");
    shape.found
}

/// `path` with a key appended.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// The value at a path of [`join`], whose keys may hold dots themselves.
pub(super) fn lookup<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(value);
    }
    if let Some(rest) = path.strip_prefix('[') {
        let (index, rest) = rest.split_once(']')?;
        let value = value.get(index.parse::<usize>().ok()?)?;
        return lookup(value, rest.strip_prefix('.').unwrap_or(rest));
    }
    let keys = value.as_object()?.iter();
    let mut below = keys.filter_map(|(key, value)| Some((path.strip_prefix(key.as_str())?, value)));
    below.find_map(|(rest, value)| match rest.strip_prefix('.') {
        Some(rest) => lookup(value, rest),
        None if rest.is_empty() || rest.starts_with('[') => lookup(value, rest),
        None => None,
    })
}

/// Takes away what lies at a path of [`join`]; of an array all of it, so that what stays
/// has the place that it had.
pub(super) fn remove(value: &mut Value, path: &str) {
    let Some(map) = value.as_object_mut() else { return };
    let mut keys = map
        .keys()
        .filter_map(|key| Some((key, path.strip_prefix(key.as_str())?)));
    let found = keys.find(|(_, rest)| rest.is_empty() || rest.starts_with(['.', '[']));
    let Some((key, rest)) = found.map(|(key, rest)| (key.clone(), rest)) else {
        return;
    };
    match (rest.strip_prefix('.'), map.get_mut(&key)) {
        (Some(rest), Some(below)) => remove(below, rest),
        _ => drop(map.remove(&key)),
    }
}

struct JsonShape<'a> {
    root: &'a Value,
    found: Vec<ShapeProblem>,
}

impl<'a> JsonShape<'a> {
    fn check(&mut self, schema: &'a Value, value: &Value, path: &str) {
        let schema = self.resolve(schema);
        if let Some(options) = schema.get("anyOf").and_then(Value::as_array) {
            return self.check_any(options, value, path);
        }
        if !self.check_type(schema, value, path) {
            return;
        }
        self.check_allowed(schema, value, path);
        self.check_range(schema, value, path);
        match value {
            Value::Object(map) => self.check_object(schema, map, path),
            Value::Array(items) => {
                if let Some(item_schema) = schema.get("items") {
                    for (n, item) in items.iter().enumerate() {
                        self.check(item_schema, item, &format!("{path}[{n}]"));
                    }
                }
            }
            _ => {}
        }
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let Some(name) = schema.get("$ref").and_then(Value::as_str) else {
            return schema;
        };
        let pointer = name.strip_prefix('#').unwrap_or(name);
        self.root.pointer(pointer).unwrap_or(schema)
    }

    /// `Option<T>`: null, or the other one, whose problems are the ones to tell.
    fn check_any(&mut self, options: &'a [Value], value: &Value, path: &str) {
        let is_null = |option: &Value| option.get("type").and_then(Value::as_str) == Some("null");
        if value.is_null() && options.iter().any(is_null) {
            return;
        }
        if let Some(option) = options.iter().find(|option| !is_null(option)) {
            self.check(option, value, path);
        }
    }

    fn check_type(&mut self, schema: &Value, value: &Value, path: &str) -> bool {
        let allowed: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => return true,
        };
        let fits = allowed.iter().any(|name| match *name {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => false,
        });
        if !fits {
            let wanted: Vec<&str> = allowed.into_iter().filter(|name| *name != "null").collect();
            self.tell(
                path,
                format!("is {}, must be {}", kind_of(value), article(&wanted.join(" or "))),
            );
        }
        fits
    }

    fn check_allowed(&mut self, schema: &Value, value: &Value, path: &str) {
        let listed = schema.get("enum").and_then(Value::as_array).cloned();
        let constants = schema.get("oneOf").and_then(Value::as_array).and_then(|options| {
            options
                .iter()
                .map(|option| option.get("const").cloned())
                .collect::<Option<Vec<Value>>>()
        });
        let Some(allowed) = listed.or(constants) else {
            return;
        };
        if !allowed.contains(value) {
            let names: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            self.tell(path, format!("is {value}, must be one of {}", names.join(", ")));
        }
    }

    fn check_range(&mut self, schema: &Value, value: &Value, path: &str) {
        let Some(number) = value.as_f64() else { return };
        let low = schema.get("minimum").and_then(Value::as_f64);
        let high = schema.get("maximum").and_then(Value::as_f64);
        if low.is_some_and(|low| number < low) || high.is_some_and(|high| number > high) {
            let range = match (low, high) {
                (Some(low), Some(high)) => format!("between {low} and {high}"),
                (Some(low), None) => format!("at least {low}"),
                (None, Some(high)) => format!("at most {high}"),
                (None, None) => return,
            };
            self.tell(path, format!("is {value}, must be {range}"));
        }
    }

    fn check_object(&mut self, schema: &'a Value, map: &Map<String, Value>, path: &str) {
        // A flattened enum gives `oneOf` beside the object's own properties.
        let variants = self.variants(schema);
        let own = schema.get("properties").and_then(Value::as_object);
        let mut known: Vec<(&str, &'a Value)> =
            own.into_iter().flatten().map(|(k, v)| (k.as_str(), v)).collect();
        known.extend(variants.iter().copied());
        for key in schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !map.contains_key(key) {
                self.tell(&join(path, key), MISSING.to_owned());
            }
        }
        if !variants.is_empty()
            && map
                .keys()
                .filter(|key| variants.iter().any(|(name, _)| name == key))
                .count()
                != 1
        {
            let names: Vec<&str> = variants.iter().map(|(name, _)| *name).collect();
            self.tell(path, format!("must have exactly one of {}", names.join(", ")));
        }
        let open = schema.get("additionalProperties");
        for (key, value) in map {
            if let Some((_, property)) = known.iter().find(|(name, _)| name == key) {
                self.check(property, value, &join(path, key));
            } else if let Some(property @ Value::Object(_)) = open {
                self.check(property, value, &join(path, key));
            } else if !known.is_empty() {
                self.tell(&join(path, key), unknown_key(key, &known));
            }
        }
    }

    fn variants(&self, schema: &'a Value) -> Vec<(&'a str, &'a Value)> {
        let options = schema
            .get("oneOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        options
            .map(|option| self.resolve(option))
            .filter_map(|option| option.get("properties").and_then(Value::as_object))
            .flatten()
            .map(|(name, property)| (name.as_str(), property))
            .collect()
    }

    fn tell(&mut self, path: &str, message: String) {
        self.found.push(ShapeProblem {
            path: path.to_owned(),
            message,
        });
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

fn unknown_key(key: &str, known: &[(&str, &Value)]) -> String {
    // As documents write the place of a key.
    if let Some((outer, inner)) = key.split_once('.')
        && known.iter().any(|(name, _)| *name == outer)
    {
        return format!("is no known key: write {{\"{outer}\": {{\"{inner}\": …}}}}");
    }
    let near = known
        .iter()
        .map(|(name, _)| (levenshtein(key, name), *name))
        .min();
    match near {
        Some((..=2, name)) => format!("is no known key, did you mean `{name}`?"),
        _ => {
            let names: Vec<&str> = known
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| *name != "$schema")
                .collect();
            format!("is no known key; known are {}", names.join(", "))
        }
    }
}
