//! Filters by the labels of pods: Kubernetes' label selectors as text, e.g. `app=cart,tier in (a, b),!canary`.

use std::collections::BTreeMap;

/// All requirements must hold; an empty text has none.
#[derive(Debug)]
pub(super) struct LabelSelector(Vec<Requirement>);

#[derive(Debug)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Debug)]
enum Operator {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

impl LabelSelector {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        let mut rest = text.trim();
        let fault = || format!("{text:?} is not a label selector");
        while !rest.is_empty() {
            let (requirement, after) = parse_requirement(rest).ok_or_else(fault)?;
            requirements.push(requirement);
            rest = match after.strip_prefix(',') {
                Some(next) if !next.trim().is_empty() => next.trim(),
                None if after.is_empty() => after,
                _ => return Err(fault()),
            };
        }
        Ok(Self(requirements))
    }

    pub(super) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|Requirement { key, operator }| operator.holds(labels.get(key).map(String::as_str)))
    }
}

impl Operator {
    fn holds(&self, label: Option<&str>) -> bool {
        let number = || label.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::Exists => label.is_some(),
            Self::Missing => label.is_none(),
            Self::In(values) => label.is_some_and(|value| values.iter().any(|one| one == value)),
            Self::NotIn(values) => label.is_none_or(|value| values.iter().all(|one| one != value)),
            Self::Above(than) => number().is_some_and(|value| value > *than),
            Self::Below(than) => number().is_some_and(|value| value < *than),
        }
    }
}

fn parse_requirement(text: &str) -> Option<(Requirement, &str)> {
    let (is_missing, text) = match text.strip_prefix('!') {
        Some(after) => (true, after.trim_start()),
        None => (false, text),
    };
    let end = text.find(|letter: char| letter.is_whitespace() || "=!<>,()".contains(letter)).unwrap_or(text.len());
    let (key, rest) = text.split_at(end);
    let rest = rest.trim_start();
    if key.is_empty() {
        return None;
    }
    let (operator, rest) = if is_missing { (Operator::Missing, rest) } else { parse_operator(rest)? };
    Some((Requirement { key: key.to_owned(), operator }, rest))
}

fn parse_operator(text: &str) -> Option<(Operator, &str)> {
    if text.is_empty() || text.starts_with(',') {
        return Some((Operator::Exists, text));
    }
    if let Some(rest) = text.strip_prefix("!=") {
        let (value, rest) = split_value(rest);
        return Some((Operator::NotIn(vec![value.to_owned()]), rest));
    }
    if let Some(rest) = text.strip_prefix("==").or_else(|| text.strip_prefix('=')) {
        let (value, rest) = split_value(rest);
        return Some((Operator::In(vec![value.to_owned()]), rest));
    }
    if let Some(rest) = text.strip_prefix('>') {
        let (value, rest) = split_value(rest);
        return Some((Operator::Above(value.parse().ok()?), rest));
    }
    if let Some(rest) = text.strip_prefix('<') {
        let (value, rest) = split_value(rest);
        return Some((Operator::Below(value.parse().ok()?), rest));
    }
    let (is_negative, list) = match text.strip_prefix("notin") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("in")?),
    };
    let (list, rest) = list.trim_start().strip_prefix('(')?.split_once(')')?;
    let values: Vec<String> = list.split(',').map(|value| value.trim().to_owned()).collect();
    Some((if is_negative { Operator::NotIn(values) } else { Operator::In(values) }, rest.trim_start()))
}

fn split_value(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(|letter: char| letter.is_whitespace() || letter == ',').unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    (value, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str) -> bool {
        let labels = [("app", "cart"), ("example.com/tier", "2")].map(|(key, value)| (key.into(), value.into()));
        LabelSelector::parse(selector).unwrap().matches(&labels.into())
    }

    #[test]
    fn selectors_follow_kubernetes() {
        let holds = ["app=cart", "app == cart", "app in (front, cart)", "app notin (front)", "!missing", "missing!=1"];
        for selector in holds.into_iter().chain(["example.com/tier>1", "example.com/tier < 3", "app,!x", ""]) {
            assert!(matches(selector), "{selector}");
        }
        for selector in
            ["app=front", "!app", "app notin (cart)", "example.com/tier>2", "missing", "app=cart,x", "app>1"]
        {
            assert!(!matches(selector), "{selector}");
        }
    }

    #[test]
    fn invalid_selectors_are_refused() {
        for selector in ["app=cart,", "=cart", "app in cart", "app in (cart", "example.com/tier>x", "app cart", "!"] {
            assert!(LabelSelector::parse(selector).is_err(), "{selector}");
        }
    }
}
