//! What looks like a secret where everybody can read it.

/// Words of names that speak of something which must not be part of an image.
const WORDS: [&str; 7] = ["CREDENTIALS", "DSN", "KEY", "PASS", "PWD", "SALT", "SECRETS"];

/// What stands in a name before `PAT`, a token for access that a person has: else it is a pattern.
const OF_PERSONS: [&str; 8] = [
    "ACCESS",
    "ADO",
    "AZURE",
    "BITBUCKET",
    "DEVOPS",
    "GH",
    "GITHUB",
    "GITLAB",
];

/// Words that do so in whatever they end: `PGPASSWORD`, `GITHUBTOKEN`.
const ENDS: [&str; 7] = [
    "APIKEY",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "REQUIREPASS",
    "SECRET",
    "TOKEN",
];

/// Last words of names that speak of a secret, and are none: how long a token is
/// good for, by which algorithm a key works.
const ABOUT: [&str; 33] = [
    "AGE",
    "ALG",
    "ALGO",
    "ALGORITHM",
    "ATTEMPTS",
    "COUNT",
    "DAYS",
    "DURATION",
    "ENABLED",
    "EXPIRATION",
    "EXPIRE",
    "EXPIRES",
    "EXPIRY",
    "FILE",
    "HASHER",
    "HASHERS",
    "HEADER",
    "HOURS",
    "ISSUER",
    "ITERATIONS",
    "LENGTH",
    "LIFETIME",
    "MIN",
    "MINUTES",
    "MS",
    "POLICY",
    "PREFIX",
    "ROUNDS",
    "SECONDS",
    "TEMPLATE",
    "TIMEOUT",
    "TTL",
    "TYPE",
];

/// What stands before `KEY` in names of what opens nothing: everybody may know it, or
/// it says where something lies.
const PLAIN_KEYS: [&str; 20] = [
    "CACHE",
    "FOREIGN",
    "GPG",
    "GROUP",
    "HASH",
    "IDEMPOTENCY",
    "INDEX",
    "LOOKUP",
    "OBJECT",
    "PARTITION",
    "PRIMARY",
    "PUBLIC",
    "PUBLISHABLE",
    "RANGE",
    "REDIS",
    "ROUTING",
    "S3",
    "SHARD",
    "SITE",
    "SORT",
];

/// Whether a name speaks of something that must not be part of an image.
pub fn is_name_of_secret(name: &str) -> bool {
    let upper = name.to_uppercase();
    let words: Vec<&str> = upper.split('_').filter(|word| !word.is_empty()).collect();
    let about_it = words.last().is_some_and(|last| ABOUT.contains(last));
    let is_plain = |at: usize| at > 0 && words[at] == "KEY" && PLAIN_KEYS.contains(&words[at - 1]);
    let says_so = |at: usize| is_word_of_secret(words[at]) && !is_plain(at);
    let is_pat = words.last() == Some(&"PAT") && words.iter().any(|word| OF_PERSONS.contains(word));
    // A shell calls its folder so.
    name != "PWD" && !about_it && (is_pat || (0..words.len()).any(says_so))
}

/// Whether it is the secret's own name, and not that of something about it: spoken of
/// at its end.
fn ends_as_secret(name: &str) -> bool {
    let upper = name.to_uppercase();
    let last = upper.rsplit('_').next().unwrap_or_default();
    // An option `--key` may be anything.
    is_word_of_secret(last) && upper != "KEY" && is_name_of_secret(name)
}

fn is_word_of_secret(word: &str) -> bool {
    WORDS.contains(&word) || ENDS.iter().any(|end| word.ends_with(end))
}

/// Where the value of a `{secret:NAME}` comes from.
pub(crate) const GIVEN: &str = "(made at the first start, or given by a file)";

/// What is said of one in the variables of build steps.
pub(crate) const IN_BUILD_ENVIRONMENT: &str = "looks like a secret, and everybody who has the Dockerfile could read it: \
     logins are the machine's to give (README, \"Behind a proxy\"), and a step of `build.steps` has the variables of \
     `app.environment`, those with `{secret:NAME}` too";

/// A secret by its name, unless the value is empty or says where the secret
/// lies; or a URL with a password in it.
pub fn is_secret(name: &str, value: &str) -> bool {
    if has_url_password(value) {
        return true;
    }
    let upper = name.to_uppercase();
    let is_reference = upper.ends_with("_FILE") || value.starts_with(['/', '$', '{']);
    // Of a single word, as programs call their arguments, only what leaves no doubt.
    let is_named = ENDS.iter().any(|word| upper.contains(word)) || name.contains('_') && ends_as_secret(name);
    !value.is_empty() && !is_reference && is_named && !is_open(&upper, value)
}

/// Whether a value shows that a name promises too much: an address that needs no login,
/// or a file's name.
fn is_open(upper: &str, value: &str) -> bool {
    let is_address = value.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split('/').next().unwrap_or_default();
        authority
            .rsplit_once('@')
            .is_none_or(|(name, _)| name.len() < SHORTEST_TOKEN)
    });
    upper.ends_with("DSN") && is_address || upper.ends_with("CREDENTIALS") && value.ends_with(".json")
}

/// The fewest characters by which what stands in the place of a user's name is taken
/// for a key or token: names of users are shorter.
pub const SHORTEST_TOKEN: usize = 16;

fn has_url_password(text: &str) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let rest = &text[at + 3..];
        let authority = rest.split(['/', ' ', '"', '\'']).next().unwrap_or_default();
        authority.split_once('@').is_some_and(|(login, _)| {
            login
                .split_once(':')
                .is_some_and(|(_, password)| !password.is_empty() && !password.starts_with(['$', '{', '*']))
        })
    })
}

/// Whether a value of a spec's own variables is a secret that would be part of
/// the image. Numbers and switches are settings, whatever they are called.
pub fn is_baked_in(name: &str, value: &str) -> bool {
    if has_url_password(value) {
        return true;
    }
    let is_reference = value.is_empty() || value.starts_with(['/', '$', '{']);
    ends_as_secret(name) && !is_setting(value) && !is_reference && !is_open(&name.to_uppercase(), value)
}

fn is_setting(value: &str) -> bool {
    value.parse::<f64>().is_ok()
        || ["true", "false", "yes", "no", "none", "null"].contains(&value.to_lowercase().as_str())
}

/// Whether a name speaks of a secret, or of one that is made of digits: a PIN, a password for
/// once.
fn is_kept(name: &str) -> bool {
    is_name_of_secret(name) || is_of_digits(name)
}

/// Whether a name is that of a secret made of digits: `ADMIN_PIN`, `OTP_SEED`.
fn is_of_digits(name: &str) -> bool {
    const SECRETS: [&str; 5] = ["HOTP", "OTP", "PASSCODE", "PIN", "TOTP"];
    let upper = name.to_uppercase();
    let about_it = ABOUT.iter().any(|last| upper.ends_with(&format!("_{last}")));
    !about_it && upper.split('_').any(|word| SECRETS.contains(&word))
}

/// Whether a number is a secret, by its name: `ADMIN_PIN=123456`. One of 0 and 1 is a switch.
pub fn is_secret_number(name: &str, value: &str) -> bool {
    let is_number = value.len() > 1 && value.bytes().all(|b| b.is_ascii_digit());
    is_number && (ends_as_secret(name) || is_of_digits(name))
}

/// What stands for bytes in an encoding: that of `{"keys": []}`, of `{}`, and of as many bytes as
/// most ciphers want of a key; and that set of keys itself.
pub const NO_KEYS_IN_BASE64: &str = "eyJrZXlzIjogW119";
/// As [`NO_KEYS_IN_BASE64`].
pub const NOTHING_IN_BASE64: &str = "e30=";
/// As [`NO_KEYS_IN_BASE64`].
pub const BYTES_IN_BASE64: &str = "Z2l2ZW4tYXQtc3RhcnQtZ2l2ZW4tYXQtc3RhcnQtZ2k=";
/// As [`NO_KEYS_IN_BASE64`].
pub const BYTES_IN_HEX: &str = "676976656e2d61742d73746172742d676976656e2d61742d73746172742d6769";
/// As [`NO_KEYS_IN_BASE64`].
pub const NO_KEYS: &str = r#"{"keys": []}"#;

/// What stands for a text of so many characters.
pub fn of_length(length: usize) -> String {
    "given-at-start-".chars().cycle().take(length).collect()
}

/// Whether a text is [`of_length`], of more characters than any name alone would have.
fn is_of_length(value: &str) -> bool {
    value.len() > "given-at-start-".len() && of_length(value.len()) == value
}

/// Whether a variable that the gate alone is given may be shown to everybody: a switch, or bytes or
/// a text that stand for some in an encoding or of a length, which a step of the build has to have so, too; and under
/// a name that speaks of no secret a number, something short, a word where the name asks for one,
/// something on this machine, or what only stands for a value.
pub fn is_open_to_all(name: &str, value: &str) -> bool {
    const SWITCHES: [&str; 10] = [
        "0", "1", "false", "no", "none", "null", "off", "on", "true", "yes",
    ];
    const ENCODED: [&str; 5] = [
        NO_KEYS_IN_BASE64,
        NOTHING_IN_BASE64,
        BYTES_IN_BASE64,
        BYTES_IN_HEX,
        NO_KEYS,
    ];
    if SWITCHES.contains(&value.to_lowercase().as_str()) || ENCODED.contains(&value) || is_of_length(value) {
        return true;
    }
    if is_kept(name) || has_url_password(value) || value.contains(char::is_control) {
        return false;
    }
    value.len() < SHORTEST_SECRET
        || is_plain_number(value)
        || is_word_of(name, value)
        || is_of_nobody(value)
        || is_list_of_this_machine(value)
}

/// A number as settings have it, no longer than those are.
fn is_plain_number(value: &str) -> bool {
    const LONGEST: usize = 10;
    let digits = value.strip_prefix('-').unwrap_or(value);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.len() <= LONGEST && is_digits(whole) && is_digits(part)
}

/// Whether a value is one word, and the name that of a setting which has one of a few.
fn is_word_of(name: &str, value: &str) -> bool {
    const OF_WORDS: [&str; 20] = [
        "ALG",
        "ALGORITHM",
        "BACKEND",
        "DRIVER",
        "ENGINE",
        "ENV",
        "ENVIRONMENT",
        "FORMAT",
        "KIND",
        "LANG",
        "LANGUAGE",
        "LEVEL",
        "LOCALE",
        "MODE",
        "PROVIDER",
        "STAGE",
        "STORAGE",
        "TIMEZONE",
        "TYPE",
        "TZ",
    ];
    const LONGEST: usize = 20;
    let last = name.rsplit('_').next().unwrap_or_default().to_uppercase();
    let is_word = value.len() <= LONGEST && value.bytes().all(|b| b.is_ascii_alphabetic());
    is_word && OF_WORDS.contains(&last.as_str())
}

/// What only stands for a value, from its first character to its last.
fn is_of_nobody(value: &str) -> bool {
    const WHOLE: [&str; 12] = [
        "/etc/hostname",
        "/tmp",
        "/tmp/given-at-start",
        "00000000-0000-0000-0000-000000000000",
        "00000000-0000-4000-8000-000000000000",
        "00:00:00",
        "2026-01-01",
        "2026-01-01T00:00:00Z",
        "App <given-at-start@example.com>",
        "given-at-start",
        "given-at-start@example.com",
        "https://given-at-start@sentry.invalid/1",
    ];
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._".contains(&b);
    // A class of Django's own.
    WHOLE.contains(&value) || value.starts_with("django.") && value.bytes().all(plain)
}

/// Addresses of this machine, and what stands for one, with commas between them or as a list in
/// JSON.
fn is_list_of_this_machine(value: &str) -> bool {
    let inside = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let (list, is_json) = inside.map_or((value, false), |list| (list, true));
    list.split(',').all(|one| {
        let one = one.trim();
        let quoted = one.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let one = quoted.filter(|_| is_json).unwrap_or(one);
        is_this_machine(one) || is_of_nobody(one)
    })
}

/// `localhost` with or without a port, a network of it, or a URL to it with nothing of a login.
fn is_this_machine(address: &str) -> bool {
    const LOGINS: [&str; 7] = ["auth", "key", "pass", "pwd", "secret", "sig", "token"];
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = authority.split_once(':').unwrap_or((authority, "0"));
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let lower = path.to_lowercase();
    let is_open = match scheme {
        "" => path.is_empty() || path == "/8",
        _ => !path.contains([' ', '@']) && !LOGINS.iter().any(|word| lower.contains(word)),
    };
    ["127.0.0.0", "127.0.0.1", "localhost"].contains(&host) && is_port && is_open
}

/// The fewest characters of what is taken for a secret in a log.
pub const SHORTEST_SECRET: usize = 6;

/// A password in a statement of SQL or in a setting of PostgreSQL's, named without its value: a
/// URL with one, `PASSWORD '…'` as roles and user mappings have it, `password=…` as libpq does.
pub(crate) fn in_sql(text: &str) -> Option<&'static str> {
    const WORD: &str = "password";
    if has_url_password(text) {
        return Some("a URL with a password");
    }
    let lower = text.to_ascii_lowercase();
    let is_of_a_name = |c: char| c.is_alphanumeric() || c == '_';
    lower.match_indices(WORD).find_map(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + WORD.len()..]);
        let stands_for_one = |value: &str| value.starts_with(['$', '{', ':', '%']);
        let literal = after
            .trim_start()
            .strip_prefix('\'')
            .map(|rest| rest.trim_start_matches('\''));
        let given = after.strip_prefix('=').map(|rest| rest.trim_start_matches('\''));
        let is_given = |value: &&str| {
            !value.is_empty() && !value.starts_with([' ', ',', ')', ';', '\'']) && !stands_for_one(value)
        };
        match (literal.filter(is_given), given.filter(is_given)) {
            _ if before.ends_with(is_of_a_name) => None,
            (Some(_), _) => Some("PASSWORD '…'"),
            (_, Some(_)) => Some("password=…"),
            _ => None,
        }
    })
}

/// The path of a login in the body of a request, where a file that is part of the image has it: a
/// text under a name of a secret, or a URL with a password. What a check has saved is none.
pub(crate) fn in_json(value: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let is_secret = value.as_str().is_some_and(|text| is_baked_in(name, text));
            let below = || Some(format!("{name}.{}", in_json(value)?));
            is_secret.then(|| name.clone()).or_else(below)
        }),
        Value::Array(values) => {
            let mut all = values.iter().enumerate();
            all.find_map(|(n, value)| Some(format!("{n}.{}", in_json(value)?)))
        }
        _ => None,
    }
}

/// What is said of a secret among a command's words, which would be part of the
/// image.
pub fn in_command(words: &[String]) -> Option<String> {
    let found = named_in(words)?;
    Some(format!(
        "what looks like a secret ({found}), and everybody who has the image could read it"
    ))
}

/// It, named without its value: a URL with a password, `--token …`, `NAME=…`. A word
/// may be a script.
fn named_in(words: &[String]) -> Option<String> {
    if words.iter().any(|word| has_url_password(word)) {
        return Some("a URL with a password".to_owned());
    }
    let apart = |c: char| c.is_whitespace() || ";|&?()`".contains(c);
    let parts = words.iter().flat_map(|word| word.split(apart)).map(unquoted);
    // An option whose value is the next word.
    let mut option: Option<&str> = None;
    for part in parts.filter(|part| !part.is_empty()) {
        if let Some(name) = option.take().filter(|_| !part.starts_with('-'))
            && is_baked_in(&variable_name(name), part)
        {
            return Some(format!("{name} …"));
        }
        match part.split_once('=') {
            Some((name, value)) if is_baked_in(&variable_name(name), unquoted(value)) => {
                return Some(format!("{name}=…"));
            }
            Some(_) => {}
            None if part.starts_with("--") => option = Some(part),
            None => {}
        }
    }
    None
}

/// A word of a script without the quotes around it.
fn unquoted(word: &str) -> &str {
    word.trim_matches(['"', '\''])
}

/// `--api-key` as a variable is called.
fn variable_name(option: &str) -> String {
    option.trim_start_matches('-').replace('-', "_")
}

#[cfg(test)]
mod tests;
