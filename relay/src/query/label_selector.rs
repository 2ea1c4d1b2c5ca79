//! Kubernetes' label selectors: `app=cart,tier in (front, back),!canary`. They select by the labels of pods.

use std::fmt;

use super::InvalidQuery;

const PARAMETER: &str = "labelSelector";
/// Bounds of one request.
const MAX_REQUIREMENTS: usize = 32;
const MAX_VALUES: usize = 64;

/// All requirements must hold; without any, everything is selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pub requirements: Vec<LabelRequirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelRequirement {
    pub key: String,
    pub test: LabelTest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelTest {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl LabelSelector {
    pub fn parse(text: &str) -> Result<Self, InvalidQuery> {
        let invalid = |problem: String| InvalidQuery::new(PARAMETER, problem);
        let mut requirements = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (requirement, after) =
                parse_requirement(rest).map_err(|what| invalid(format!("{text:?} is not a label selector: {what}")))?;
            requirements.push(requirement);
            rest = match after.strip_prefix(',') {
                Some(next) if !next.trim().is_empty() => next.trim(),
                None if after.is_empty() => after,
                _ => return Err(invalid(format!("{text:?} is not a label selector: {after:?} is left over"))),
            };
            if requirements.len() > MAX_REQUIREMENTS {
                return Err(invalid(format!("at most {MAX_REQUIREMENTS} requirements are supported")));
            }
        }
        Ok(Self { requirements })
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether the labels, looked up by key, are selected.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|LabelRequirement { key, test }| {
            let found = label(key);
            match test {
                LabelTest::Exists => found.is_some(),
                LabelTest::Missing => found.is_none(),
                LabelTest::In(values) => found.is_some_and(|found| values.iter().any(|value| value == found)),
                LabelTest::NotIn(values) => found.is_none_or(|found| values.iter().all(|value| value != found)),
            }
        })
    }
}

/// The canonical text, which agents' flow filters take.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, LabelRequirement { key, test }) in self.requirements.iter().enumerate() {
            f.write_str(if at > 0 { "," } else { "" })?;
            match test {
                LabelTest::Exists => write!(f, "{key}")?,
                LabelTest::Missing => write!(f, "!{key}")?,
                LabelTest::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                LabelTest::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
            }
        }
        Ok(())
    }
}

fn parse_requirement(text: &str) -> Result<(LabelRequirement, &str), String> {
    let (is_missing, text) = match text.strip_prefix('!') {
        Some(after) => (true, after.trim_start()),
        None => (false, text),
    };
    let end = text.find(|letter: char| letter.is_whitespace() || "=!<>,()".contains(letter)).unwrap_or(text.len());
    let (key, rest) = text.split_at(end);
    if !is_label_key(key) {
        return Err(format!("{key:?} is not a label's key"));
    }
    let rest = rest.trim_start();
    let (test, rest) = if is_missing { (LabelTest::Missing, rest) } else { parse_test(rest)? };
    Ok((LabelRequirement { key: key.to_owned(), test }, rest))
}

fn parse_test(text: &str) -> Result<(LabelTest, &str), String> {
    if text.is_empty() || text.starts_with(',') {
        return Ok((LabelTest::Exists, text));
    }
    for (sign, is_negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some(rest) = text.strip_prefix(sign) {
            let rest = rest.trim_start();
            let end = rest.find(|letter: char| letter.is_whitespace() || letter == ',').unwrap_or(rest.len());
            let (value, rest) = rest.split_at(end);
            return Ok((test_of(vec![checked_value(value)?], is_negated), rest.trim_start()));
        }
    }
    for (word, is_negated) in [("notin", true), ("in", false)] {
        let Some(rest) = text.strip_prefix(word).map(str::trim_start) else { continue };
        let list = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let (list, rest) = list.ok_or_else(|| format!("{word} needs a list, e.g. {word} (a, b)"))?;
        let values = list.split(',').map(|value| checked_value(value.trim())).collect::<Result<Vec<_>, _>>()?;
        if values.len() > MAX_VALUES {
            return Err(format!("at most {MAX_VALUES} values are supported"));
        }
        return Ok((test_of(values, is_negated), rest.trim_start()));
    }
    Err(format!("{text:?} is none of =, ==, !=, in, notin"))
}

fn test_of(values: Vec<String>, is_negated: bool) -> LabelTest {
    if is_negated { LabelTest::NotIn(values) } else { LabelTest::In(values) }
}

fn checked_value(value: &str) -> Result<String, String> {
    let is_valid = value.len() <= 63 && (value.is_empty() || is_name(value));
    is_valid.then(|| value.to_owned()).ok_or_else(|| format!("{value:?} is not a label's value"))
}

fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => {
            (1..=253).contains(&prefix.len()) && is_name(prefix) && name.len() <= 63 && is_name(name)
        }
        None => key.len() <= 63 && is_name(key),
    }
}

/// Letters and digits, with `-`, `_` and `.` between them.
fn is_name(text: &str) -> bool {
    let is_outer = |letter: char| letter.is_ascii_alphanumeric();
    text.starts_with(is_outer)
        && text.ends_with(is_outer)
        && text.chars().all(|letter| is_outer(letter) || "-_.".contains(letter))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(selector: &str) -> bool {
        let labels = [("app", "cart"), ("example.com/tier", "front")];
        LabelSelector::parse(selector)
            .unwrap()
            .matches(|key| labels.iter().find(|(known, _)| *known == key).map(|(_, value)| *value))
    }

    #[test]
    fn selectors_follow_kubernetes() {
        for selector in [
            "",
            "app",
            "app=cart",
            "app == cart",
            "app!=till",
            "app in (till, cart)",
            "app notin (till)",
            "!canary",
            "canary!=1",
            "example.com/tier=front,app",
        ] {
            assert!(matches(selector), "{selector}");
        }
        for selector in ["app=till", "!app", "app notin (cart)", "canary", "canary=", "app=cart,canary"] {
            assert!(!matches(selector), "{selector}");
        }
    }

    #[test]
    fn invalid_selectors_are_refused_with_the_parameter() {
        for selector in
            ["app=cart,", "=cart", "app in cart", "app in (cart", "app>1", "app cart", "app=a b", "k8s:app=x", "-a=b"]
        {
            let error = LabelSelector::parse(selector).unwrap_err();
            assert_eq!(error.parameter, "labelSelector", "{selector}");
        }
    }

    #[test]
    fn too_many_requirements_are_refused() {
        assert!(LabelSelector::parse(&vec!["a"; 33].join(",")).is_err());
        assert!(LabelSelector::parse(&vec!["a"; 32].join(",")).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[a-c=!,() .<>/é-]{0,40}|\\PC{0,40}") {
            let _ = LabelSelector::parse(&text);
        }

        #[test]
        fn written_selector_is_read_back(text in "(!?[a-c]{1,3}|[a-c]{1,3} ?(=|==|!=) ?[a-c]{0,3}|[a-c] (in|notin) \\([a-c]{0,2}(, ?[a-c]{1,2}){0,2}\\)){1}(,[a-c]{1,3}){0,3}") {
            let parsed = LabelSelector::parse(&text).unwrap();
            prop_assert_eq!(LabelSelector::parse(&parsed.to_string()), Ok(parsed));
        }
    }
}
