//! Values that name a thing for good, read once: an image of an engine, what
//! an image is proved against, and what it is built for. As JSON they are the
//! texts that they are read from.

use std::fmt;
use std::str::FromStr;

use inputs::hex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What stands before the digits of an [`ImageId`].
const SHA256: &str = "sha256:";

/// What an engine calls an image, whatever its tags do meanwhile: `sha256:` and
/// 64 hexadecimal digits. Another engine may have another ID for the same
/// content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(String);

/// What an image is proved against: SHA-256 of the suite's sources and of all
/// that the suite looks at in a spec, as 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SuiteKey(String);

/// What images are built for, as `docker build --platform` takes it: an
/// operating system, a processor and perhaps its variant, such as `linux/amd64`
/// or `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform(String);

impl ImageId {
    /// The first twelve digits, as `docker images` lists it.
    pub fn short(&self) -> &str {
        &self.0[SHA256.len()..][..12]
    }

    fn is_one(text: &str) -> bool {
        text.strip_prefix(SHA256).is_some_and(is_digest)
    }
}

impl SuiteKey {
    /// The key whose hex digits are those of this SHA-256.
    pub fn of_digest(digest: &[u8; 32]) -> Self {
        Self(hex::digits(digest))
    }

    /// The first sixteen digits: enough for a tag.
    pub fn short(&self) -> &str {
        &self.0[..16]
    }

    fn is_one(text: &str) -> bool {
        is_digest(text)
    }
}

impl Platform {
    fn is_one(text: &str) -> bool {
        let is_word = |part: &str| {
            let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
            !part.is_empty() && part.bytes().all(good)
        };
        (2..=3).contains(&text.split('/').count()) && text.split('/').all(is_word)
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Gives a type that is `Self(String)` its text, in both directions. What is
/// none of its kind is refused as `what`.
macro_rules! text_form {
    ($name:ident, $what:literal) => {
        impl $name {
            /// The text that it was read from.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if Self::is_one(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(format!("{text:?} is no {}", $what))
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(de::Error::custom)
            }
        }
    };
}

text_form!(
    ImageId,
    "image ID: `sha256:` and 64 lower-case hexadecimal digits"
);
text_form!(SuiteKey, "key of a suite: 64 lower-case hexadecimal digits");
text_form!(Platform, "platform such as linux/amd64");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_none_is_refused_by_name() {
        let (digits, upper) = ("0a".repeat(32), "0A".repeat(32));
        for text in ["", "sha256:", "sha256:1", &digits, &format!("sha256:{upper}")] {
            let error = text.parse::<ImageId>().unwrap_err();
            assert!(
                error.starts_with(&format!("{text:?} is no image ID: ")),
                "{error}"
            );
        }
        for text in ["", "k", &upper, &format!("sha256:{digits}")] {
            assert!(text.parse::<SuiteKey>().is_err(), "{text}");
        }
        for text in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "Linux/amd64",
            "a/b/c/d",
            "linux/amd 64",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        for text in ["linux/amd64", "linux/arm/v7"] {
            assert_eq!(text.parse::<Platform>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn json_is_the_text() {
        let text = format!("sha256:{}", "0a1b".repeat(16));
        let id: ImageId = text.parse().unwrap();
        assert_eq!(id.short(), "0a1b0a1b0a1b");
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("{text:?}"));
        assert_eq!(serde_json::from_str::<ImageId>(&json).unwrap(), id);
        let error = serde_json::from_str::<ImageId>("\"x\"").unwrap_err();
        assert!(error.to_string().contains("is no image ID"), "{error}");
        assert_eq!(SuiteKey::of_digest(&[0xab; 32]).to_string(), "ab".repeat(32));
    }
}
