//! Bytes as lower-case hexadecimal digits: any, and the 32 of a digest both
//! ways, in JSON, too.

use std::fmt;

/// A text that is not 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotHex(String);

impl fmt::Display for NotHex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not 64 lower-case hexadecimal digits: {:?}", self.0)
    }
}

impl std::error::Error for NotHex {}

/// Two digits for each byte.
pub fn digits(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)])
        .collect()
}

pub(crate) fn write(bytes: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&blake3::Hash::from_bytes(*bytes).to_hex())
}

/// One spelling only, so that equal texts and equal values are the same.
pub(crate) fn read(text: &str) -> Result<[u8; 32], NotHex> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let hash = blake3::Hash::from_hex(text).ok();
    let hash = hash.filter(|_| text.bytes().all(is_digit));
    hash.map(|hash| *hash.as_bytes())
        .ok_or_else(|| NotHex(text.to_owned()))
}

/// Gives a type that is `Self([u8; 32])` its text, in both directions.
macro_rules! text_form {
    ($name:ident) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::hex::write(&self.0, f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::hex::NotHex;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::hex::read(text).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use text_form;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(digits(&[0, 9, 0x1f, 0xa0, 0xff]), "00091fa0ff");
    }

    #[test]
    fn one_spelling_is_read() {
        assert_eq!(read(&"00ff".repeat(16)).unwrap()[..2], [0, 0xff]);
        let (upper, accent) = ("00FF".repeat(16), "é".repeat(32));
        for text in ["", "00", upper.as_str(), accent.as_str(), &"+0".repeat(32)] {
            let error = read(text).unwrap_err().to_string();
            assert!(
                error.starts_with("not 64 lower-case hexadecimal digits: "),
                "{error}"
            );
        }
    }
}
