//! Kubernetes' field selectors: `pod=cart-7,verdict!=DROPPED`. Which fields there are depends on the resource.

use super::InvalidQuery;

const PARAMETER: &str = "fieldSelector";
const MAX_REQUIREMENTS: usize = 32;

/// All requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    pub requirements: Vec<FieldRequirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    pub field: &'static str,
    pub value: String,
    pub is_negated: bool,
}

impl FieldSelector {
    /// Requirements whose fields are among `fields`; any other field is refused by name.
    pub fn parse(text: &str, fields: &[&'static str]) -> Result<Self, InvalidQuery> {
        let invalid = |problem: String| InvalidQuery::new(PARAMETER, problem);
        let mut requirements = Vec::new();
        for term in split_terms(text) {
            let (field, is_negated, value) =
                split_term(term).ok_or_else(|| invalid(format!("{term:?} is not FIELD=VALUE or FIELD!=VALUE")))?;
            let known = fields.iter().find(|known| **known == field);
            let field = known.ok_or_else(|| invalid(format!("{field:?} is none of {}", fields.join(", "))))?;
            requirements.push(FieldRequirement { field, value: unescape(value), is_negated });
            if requirements.len() > MAX_REQUIREMENTS {
                return Err(invalid(format!("at most {MAX_REQUIREMENTS} requirements are supported")));
            }
        }
        Ok(Self { requirements })
    }

    /// The requirements of one field.
    pub fn of_field(&self, field: &str) -> impl Iterator<Item = &FieldRequirement> {
        self.requirements.iter().filter(move |requirement| requirement.field == field)
    }

    /// Whether the requirements of this field hold for a value.
    pub fn matches(&self, field: &str, value: &str) -> bool {
        self.of_field(field).all(|requirement| (requirement.value == value) != requirement.is_negated)
    }
}

/// At commas that no backslash escapes; empty terms are skipped, as Kubernetes does.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut is_escaped) = (0, false);
    for (at, letter) in text.char_indices() {
        if letter == ',' && !is_escaped {
            terms.push(&text[start..at]);
            start = at + 1;
        }
        is_escaped = letter == '\\' && !is_escaped;
    }
    terms.push(&text[start..]);
    terms.retain(|term| !term.trim().is_empty());
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find(['=', '!'])?;
    let (field, rest) = (term[..at].trim(), &term[at..]);
    for (sign, is_negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some(value) = rest.strip_prefix(sign) {
            return Some((field, is_negated, value.trim()));
        }
    }
    None
}

/// Kubernetes escapes `\`, `,` and `=` in values.
fn unescape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => text.extend(letters.next()),
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIELDS: [&str; 2] = ["pod", "metadata.name"];

    #[test]
    fn requirements_have_three_operators() {
        let selector = FieldSelector::parse("pod=cart-7, metadata.name!=a,pod==b\\,c", &FIELDS).unwrap();
        let read: Vec<_> =
            selector.requirements.iter().map(|one| (one.field, one.value.as_str(), one.is_negated)).collect();
        assert_eq!(read, [("pod", "cart-7", false), ("metadata.name", "a", true), ("pod", "b,c", false)]);
    }

    #[test]
    fn value_matches_when_all_requirements_of_its_field_hold() {
        let selector = FieldSelector::parse("pod!=a,pod!=b", &FIELDS).unwrap();
        assert!(selector.matches("pod", "c") && selector.matches("metadata.name", "a"));
        assert!(!selector.matches("pod", "a") && !selector.matches("pod", "b"));
    }

    #[test]
    fn unknown_field_is_refused_and_the_known_ones_are_named() {
        let error = FieldSelector::parse("spec.nodeName=alder", &FIELDS).unwrap_err();
        assert_eq!(error.to_string(), "fieldSelector: \"spec.nodeName\" is none of pod, metadata.name");
        assert!(FieldSelector::parse("pod", &FIELDS).is_err());
        assert!(FieldSelector::parse("pod!", &FIELDS).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[podx=!,\\\\ .é]{0,40}|\\PC{0,40}") {
            let _ = FieldSelector::parse(&text, &FIELDS);
        }

        #[test]
        fn escaped_value_is_read_back(value in "[a-c=,\\\\]{1,12}") {
            let escaped: String = value.chars().flat_map(|letter| ['\\', letter]).collect();
            let selector = FieldSelector::parse(&format!("pod={escaped}"), &FIELDS).unwrap();
            prop_assert_eq!(&selector.requirements[0].value, &value);
        }
    }
}
