//! Words of the policy language, e.g. operators: each has one canonical spelling and further accepted ones.
//! A word that the language does not have is kept as written, so that it can be refused by its path.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest word that an API server accepts.
const MAX_WORD: usize = 64;

/// A closed set of words.
pub trait Vocabulary: Copy + PartialEq + 'static {
    /// Every word, in the order of the documentation.
    const ALL: &'static [Self];
    /// Every accepted spelling; letter case is ignored.
    const SPELLINGS: &'static [(&'static str, Self)];

    /// The canonical spelling.
    fn as_str(self) -> &'static str;

    /// The word with this spelling.
    fn parse(spelling: &str) -> Option<Self> {
        Self::SPELLINGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(spelling)).map(|(_, word)| *word)
    }
}

/// Declares an enum and its spellings: `Variant = "Canonical" | "alias"`.
macro_rules! vocabulary {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$variant_meta:meta])+ $variant:ident = $canonical:literal $(| $alias:literal)*,)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_meta])+ $variant,)+
        }

        impl $crate::policy::Vocabulary for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];
            const SPELLINGS: &'static [(&'static str, Self)] =
                &[$(($canonical, Self::$variant), $(($alias, Self::$variant),)*)+];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $canonical,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::policy::Vocabulary::as_str(*self))
            }
        }
    };
}
pub(crate) use vocabulary;

/// A field that holds a word of a vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word<T> {
    /// A word of the language, however it was spelled.
    Known(T),
    /// Something else, as written; a checked policy has none.
    Unknown(String),
}

impl<T: Vocabulary> Word<T> {
    /// The word, if the language has it.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(word) => Some(*word),
            Self::Unknown(_) => None,
        }
    }

    /// The canonical spelling; what was written, where the language does not have it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(word) => word.as_str(),
            Self::Unknown(text) => text,
        }
    }

    /// Reads a spelling.
    pub fn read(text: &str) -> Self {
        T::parse(text).map_or_else(|| Self::Unknown(text.into()), Self::Known)
    }
}

impl<T> From<T> for Word<T> {
    fn from(word: T) -> Self {
        Self::Known(word)
    }
}

impl<T: Default> Default for Word<T> {
    fn default() -> Self {
        Self::Known(T::default())
    }
}

impl<T: Vocabulary> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, T: Vocabulary> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::read(&String::deserialize(deserializer)?))
    }
}

impl<T> JsonSchema for Word<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": MAX_WORD })
    }
}

/// Reads a word whose default is written as an empty string too, as Tetragon's API server may do.
pub(super) fn default_if_empty<'de, T, D>(deserializer: D) -> Result<Word<T>, D::Error>
where
    T: Vocabulary + Default,
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    Ok(if text.is_empty() { Word::default() } else { Word::read(&text) })
}

/// Reads a word that is unset where it is an empty string.
pub(super) fn unset_if_empty<'de, T, D>(deserializer: D) -> Result<Option<Word<T>>, D::Error>
where
    T: Vocabulary,
    D: Deserializer<'de>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()).map(|text| Word::read(&text)))
}
