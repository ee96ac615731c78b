//! The name of everything that decides an image's bytes.

pub mod encoding;

use crate::hex;

/// SHA-256 over the framed definition of an image; 64 lower-case hexadecimal
/// digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub(crate) [u8; 32]);

hex::text_form!(Fingerprint);

impl Fingerprint {
    /// The first twelve digits: enough for people, and for the name of a file.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_agree() {
        let text = "00ff".repeat(16);
        let fingerprint: Fingerprint = text.parse().unwrap();
        assert_eq!(fingerprint.to_string(), text);
        assert_eq!(fingerprint.short(), "00ff00ff00ff");
        let json = serde_json::to_string(&fingerprint).unwrap();
        assert_eq!(json, format!("{text:?}"));
        assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), fingerprint);
    }
}
