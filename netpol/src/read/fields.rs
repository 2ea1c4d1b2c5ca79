//! The fields of a JSON object, of which unknown ones are refused.

use serde_json::{Map, Value};

use super::{
    path::{Excerpt, Path},
    refusals::{Refusals, Unreadable},
};

pub(super) struct Fields<'v, 'p> {
    map: &'v Map<String, Value>,
    pub(super) path: &'p Path<'p>,
    /// There are fields that were refused: what they ask for is not known.
    pub(super) has_unknown: bool,
}

impl<'v, 'p> Fields<'v, 'p> {
    pub(super) fn new(
        value: &'v Value,
        path: &'p Path<'p>,
        known: &[&str],
        refusals: &mut Refusals,
    ) -> Result<Self, Unreadable> {
        let map = value.as_object().ok_or_else(|| refusals.refuse(path, "must be an object"))?;
        let mut has_unknown = false;
        for (key, value) in map {
            if !known.contains(&key.as_str()) && !value.is_null() {
                refusals.refuse(&path.key(key), "is not a known field");
                has_unknown = true;
            }
        }
        Ok(Self { map, path, has_unknown })
    }

    /// As `new`, for an object of which each field counts.
    pub(super) fn only_known(
        value: &'v Value,
        path: &'p Path<'p>,
        known: &[&str],
        refusals: &mut Refusals,
    ) -> Result<Self, Unreadable> {
        let fields = Self::new(value, path, known, refusals)?;
        if fields.has_unknown { Err(Unreadable) } else { Ok(fields) }
    }

    /// None for null, too.
    pub(super) fn get(&self, key: &str) -> Option<&'v Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The one field of an object that must have exactly one.
    pub(super) fn single(
        &self,
        known: &[&'static str],
        refusals: &mut Refusals,
    ) -> Result<(&'static str, &'v Value), Unreadable> {
        let mut present = known.iter().filter_map(|key| Some((*key, self.get(key)?)));
        match (present.next(), present.next()) {
            (Some(field), None) => Ok(field),
            (None, _) => Err(refusals.refuse(self.path, format_args!("must have one of {}", known.join(", ")))),
            (Some(_), Some(_)) => {
                Err(refusals.refuse(self.path, format_args!("must have only one of {}", known.join(", "))))
            }
        }
    }

    /// Empty where there is no such list.
    pub(super) fn list(&self, key: &str, refusals: &mut Refusals) -> Result<&'v [Value], Unreadable> {
        match self.get(key) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(refusals.refuse(&self.path.key(key), "must be a list")),
        }
    }

    pub(super) fn text(&self, key: &str, refusals: &mut Refusals) -> Result<Option<&'v str>, Unreadable> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(refusals.refuse(&self.path.key(key), "must be a string")),
        }
    }

    pub(super) fn required_text(&self, key: &str, refusals: &mut Refusals) -> Result<&'v str, Unreadable> {
        let text = self.text(key, refusals)?;
        text.ok_or_else(|| refusals.refuse(&self.path.key(key), "is required"))
    }
}

/// Texts of a list, each with its position where it is not a text.
pub(super) fn texts<'v>(
    list: &'v [Value],
    path: &Path<'_>,
    refusals: &mut Refusals,
) -> Result<Vec<&'v str>, Unreadable> {
    let text = |(index, value): (usize, &'v Value)| {
        value.as_str().ok_or_else(|| refusals.refuse(&path.index(index), "must be a string"))
    };
    list.iter().enumerate().map(text).collect()
}

pub(super) fn unknown_word(refusals: &mut Refusals, path: &Path<'_>, word: &str, known: &[&str]) -> Unreadable {
    refusals.refuse(path, format_args!("\"{}\" must be one of {}", Excerpt(word), known.join(", ")))
}
