//! Binary values in JSON, which are base64url without padding.

use base64::{
    alphabet::URL_SAFE,
    engine::{general_purpose::NO_PAD, DecodePaddingMode, GeneralPurpose},
    Engine,
};
use serde::{de::Error, Deserialize, Deserializer, Serialize, Serializer};

// The draft says nothing of padding, and some implementations write it.
const BASE64URL: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// Bytes of any number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64URL.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64URL.decode(&text).map_err(|error| D::Error::custom(format!("no base64url: {error}")))?;
        Ok(Self(bytes))
    }
}

/// The 32 bytes that a task, a batch or a collection has for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 32]);

impl Id {
    /// The ID in a path of a URL.
    pub fn parse(text: &str) -> Option<Self> {
        BASE64URL.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&BASE64URL.encode(self.0))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?.0;
        let count = bytes.len();
        bytes.try_into().map(Self).map_err(|_| D::Error::custom(format!("{count} bytes, an ID has 32")))
    }
}
