//! Which variables are secrets, and who can give them.

use std::collections::BTreeSet;

use crate::words::stands_for_one;
pub(crate) use definition::spec::secret::is_name_of_secret as is_secret;

/// Companies and services that give out keys of their own; one that is made at random
/// opens nothing there.
const GIVERS: [&str; 57] = [
    "ALGOLIA",
    "ANTHROPIC",
    "AUTH0",
    "AWS",
    "AZURE",
    "CLERK",
    "CLOUDFLARE",
    "CLOUDINARY",
    "COHERE",
    "DATADOG",
    "DEEPSEEK",
    "DISCORD",
    "ELEVENLABS",
    "EMAIL",
    "FIREBASE",
    "FIREWORKS",
    "GEMINI",
    "GH",
    "GITHUB",
    "GITLAB",
    "GOOGLE",
    "GROQ",
    "HF",
    "HUGGINGFACE",
    "LANGCHAIN",
    "LANGFUSE",
    "LANGSMITH",
    "LDAP",
    "LINEAR",
    "MAIL",
    "MAILGUN",
    "MINIO",
    "MISTRAL",
    "NOTION",
    "OPENAI",
    "OPENROUTER",
    "PAYPAL",
    "PERPLEXITY",
    "PINECONE",
    "POSTHOG",
    "POSTMARK",
    "REDIS",
    "REPLICATE",
    "RESEND",
    "S3",
    "SENDGRID",
    "SENTRY",
    "SHOPIFY",
    "SLACK",
    "SMTP",
    "STRIPE",
    "SUPABASE",
    "TAVILY",
    "TELEGRAM",
    "TWILIO",
    "WHATSAPP",
    "XAI",
];

/// What stands before `_API_KEY` where the key is the app's own.
const OWN: [&str; 12] = [
    "ACCESS", "ADMIN", "API", "APP", "AUTH", "BACKEND", "INTERNAL", "MASTER", "SECRET", "SERVER", "SERVICE",
    "WEB",
];

/// Whether a secret is another's to give: a key of a vendor's, a login of a mail
/// server.
pub(crate) fn is_given_by_others(name: &str) -> bool {
    let upper = name.to_uppercase();
    let of_a_giver = upper.split('_').any(|word| GIVERS.contains(&word));
    let key_of = ["_API_KEY", "_APIKEY"]
        .iter()
        .find_map(|end| upper.strip_suffix(end));
    let of_an_unknown = key_of.is_some_and(|whose| !whose.split('_').all(|word| OWN.contains(&word)));
    // A private key has a form, and a public one that others know.
    let by_its_kind = ["CLIENT_SECRET", "DSN", "BOT_TOKEN", "PRIVATE_KEY"]
        .iter()
        .any(|end| upper.ends_with(end));
    is_secret(name) && (of_a_giver || of_an_unknown || by_its_kind)
}

/// Whether the default of an app's own secret is one that everybody knows who has
/// seen the code, or that only stands for one.
pub(crate) fn is_known_to_all(name: &str, default: &str) -> bool {
    const SIGNS_WITH_IT: [&str; 6] = ["COOKIE", "CSRF", "JWT", "SECRET", "SESSION", "SIGNING"];
    /// It has to have a shape that a random text has not.
    const OF_A_SHAPE: [&str; 7] = ["AES", "ENCRYPT", "ENCRYPTION", "FERNET", "PEM", "PRIVATE", "RSA"];
    const NO_SECRETS: [&str; 4] = ["change", "dummy", "insecure", "replace"];
    let upper = name.to_uppercase();
    let any = |words: &[&str]| upper.split('_').any(|word| words.contains(&word));
    let is_own = is_secret(name) && !is_given_by_others(name) && !any(&OF_A_SHAPE);
    let is_file = default.starts_with(['/', '.']) || default.contains("://");
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    // It says which secrets there are: `SECRET_KEY,JWT_SECRET`.
    let is_list = default.contains(',') && default.split(',').map(str::trim).all(is_name);
    let lower = default.to_lowercase();
    let stands_for_one = stands_for_one(default) || NO_SECRETS.iter().any(|word| lower.contains(word));
    is_own
        && !default.is_empty()
        && !is_file
        && !is_list
        && (any(&SIGNS_WITH_IT) && !any(&["PASSWORD"]) || stands_for_one)
}

/// Whether a variable that settings take their `SECRET_KEY` from is the app's own secret, as
/// far as its name tells: each word of it is a general one, or is in `own_words`, those of the
/// project's name. A key with a form of its own, or of somebody else's service, has another word.
pub(crate) fn may_be_session_key(name: &str, own_words: &BTreeSet<String>) -> bool {
    const GENERAL: [&str; 24] = [
        "ADMIN",
        "API",
        "APP",
        "APPLICATION",
        "AUTH",
        "BACKEND",
        "COOKIE",
        "COOKIES",
        "CSRF",
        "DJANGO",
        "FLASK",
        "INTERNAL",
        "JWT",
        "KEY",
        "MASTER",
        "PROJECT",
        "QUART",
        "SECRET",
        "SERVER",
        "SERVICE",
        "SESSION",
        "SESSIONS",
        "SITE",
        "WEB",
    ];
    let upper = name.to_uppercase();
    let mut words = upper.split('_').filter(|word| !word.is_empty());
    let is_known = |word: &str| GENERAL.contains(&word) || own_words.contains(word);
    upper.split('_').any(|word| word == "SECRET") && !is_given_by_others(name) && words.all(is_known)
}

/// Whether a name is that of the key which an app signs its sessions with. Where
/// nobody sets it, the code has none, or makes another one at each start.
pub(crate) fn signs_sessions(name: &str) -> bool {
    let upper = name.to_uppercase();
    let whose = upper
        .strip_suffix("SECRET_KEY")
        .map(|rest| rest.trim_end_matches('_'));
    let own = [
        "APP", "AUTH", "BACKEND", "COOKIE", "COOKIES", "CSRF", "DJANGO", "FLASK", "JWT", "QUART", "SERVER",
        "SESSION", "SESSIONS", "SITE", "TOKEN", "WEB",
    ];
    let is_own = |whose: &str| OWN.contains(&whose) || whose.split('_').all(|word| own.contains(&word));
    whose.is_some_and(|whose| whose.is_empty() || is_own(whose))
}

/// Whether a name is that of the algorithm which tokens are signed by.
pub(crate) fn signs_tokens(name: &str) -> bool {
    let upper = name.to_uppercase();
    let mut words = upper.rsplit('_');
    let ends = words
        .next()
        .is_some_and(|last| ["ALG", "ALGO", "ALGORITHM"].contains(&last));
    let of_tokens = ["AUTH", "JWT", "SIGNING", "TOKEN"];
    ends && (upper == "ALGORITHM" || words.any(|word| of_tokens.contains(&word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_the_code_is_none() {
        for (name, default) in [
            ("SECRET_KEY", "s3cr3t"),
            (
                "JWT_SECRET",
                "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
            ),
            ("API_KEY", "your-key"),
            ("FIRST_SUPERUSER_PASSWORD", "changethis"),
        ] {
            assert!(is_known_to_all(name, default), "{name}");
        }
        for (name, default) in [
            ("SECRET_KEY", ""),
            ("ADMIN_PASSWORD", "admin"),
            ("API_KEY", "k"),
            ("STRIPE_SECRET_KEY", "sk_test"),
            ("JWT_PRIVATE_KEY", "change-me"),
            ("JWT_SECRET_FILE", "/run/secrets/jwt"),
            ("SECRET_ENCRYPTION_KEY", "change-me"),
            ("SESSION_SECONDS", "60"),
            ("REQUIRED_SECRET_KEYS", "SECRET_KEY, JWT_SECRET"),
        ] {
            assert!(!is_known_to_all(name, default), "{name}");
        }
    }

    #[test]
    fn keys_of_others_are_told_from_those_of_the_app() {
        for name in [
            "OPENAI_API_KEY",
            "openai_api_key",
            "APP_OPENAI_API_KEY",
            "ACME_API_KEY",
            "WEATHER_APIKEY",
            "STRIPE_SECRET_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "GITHUB_TOKEN",
            "SENTRY_DSN",
            "OIDC_CLIENT_SECRET",
            "SMTP_PASSWORD",
            "MY_BOT_TOKEN",
            "JWT_PRIVATE_KEY",
            "ADMIN_GH_PAT",
        ] {
            assert!(is_given_by_others(name), "{name}");
        }
        for name in [
            "SECRET_KEY",
            "API_KEY",
            "APP_API_KEY",
            "INTERNAL_API_KEY",
            "JWT_SECRET",
            "ADMIN_PASSWORD",
            "SESSION_TOKEN",
            "PASSWORD_SALT",
            "GITHUB_TOKEN_TTL",
            "GITHUB_ORGANISATION",
            "STRIPE_PUBLIC_KEY",
        ] {
            assert!(!is_given_by_others(name), "{name}");
        }
    }

    #[test]
    fn the_key_of_sessions_is_the_apps_own() {
        for name in [
            "SECRET_KEY",
            "DJANGO_SECRET_KEY",
            "APP_SECRET_KEY",
            "APP_AUTH_JWT_SECRET_KEY",
            "flask_secret_key",
        ] {
            assert!(signs_sessions(name), "{name}");
        }
        for name in [
            "RECAPTCHA_SECRET_KEY",
            "AWS_SECRET_KEY",
            "APP_AWS_SECRET_KEY",
            "SECRET",
            "KEY",
        ] {
            assert!(!signs_sessions(name), "{name}");
        }
    }

    #[test]
    fn settings_take_their_key_from_a_secret_of_the_apps_own() {
        let own = BTreeSet::from(["BOARD".to_owned(), "STRIPE".to_owned()]);
        for name in [
            "SECRET_KEY",
            "BOARD_COOKIE_SECRET",
            "board_secret_key",
            "SESSION_SECRET",
            "DJANGO_SECRET_KEY",
        ] {
            assert!(may_be_session_key(name, &own), "{name}");
        }
        for name in [
            "PAYSTACK_SECRET_KEY",
            "RECAPTCHA_SECRET",
            "RAZORPAY_KEY_SECRET",
            "R2_SECRET_ACCESS_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "SECRET_ACCESS_KEY",
            "STRIPE_SECRET_KEY",
            "FERNET_KEY",
            "SECRET_ENCRYPTION_KEY",
            "BOARD_KEY",
        ] {
            assert!(!may_be_session_key(name, &own), "{name}");
        }
    }

    #[test]
    fn what_is_said_about_a_secret_is_none() {
        for name in [
            "ACCESS_TOKEN_EXPIRE_MINUTES",
            "REFRESH_TOKEN_EXPIRES",
            "TOKEN_TTL",
            "PASSWORD_MIN_LENGTH",
            "API_KEY_HEADER",
            "TOKEN_ALGORITHM",
            "JWT_PUBLIC_KEY",
            "TOKEN_EXPIRY_DURATION",
            "PASSWORD_CHANGE_TEMPLATE",
            "EXCLUDE_PAT",
            "PWD",
        ] {
            assert!(!is_secret(name), "{name}");
        }
        for name in [
            "ACCESS_TOKEN",
            "DB_PASS",
            "token_salt",
            "SECRET_KEY_BASE",
            "ADMIN_PWD",
        ] {
            assert!(is_secret(name), "{name}");
        }
    }
}
