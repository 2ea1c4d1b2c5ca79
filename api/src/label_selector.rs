//! Selectors of labels: Kubernetes' own, with a source before the key (`k8s:app=cart`, `reserved:world`) or any source.

/// Requirements that must all hold.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Requirements separated by commas; an empty text has none. An error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let requirements = parse_requirements(text)?.into_iter().map(|(name, operator)| {
            let (source, key) = match name.split_once(':') {
                Some(("any", key)) => ("", key),
                Some((source, key)) => (source, key),
                None => ("", name.as_str()),
            };
            let requirement = Requirement { source: source.to_owned(), key: key.to_owned(), operator };
            if key.is_empty() { Err(fault(text)) } else { Ok(requirement) }
        });
        requirements.collect::<Result<_, _>>().map(Self)
    }

    /// Whether labels as in `k8s:app=cart` match.
    pub fn matches(&self, labels: &[String]) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    /// Empty for any.
    source: String,
    key: String,
    operator: Operator,
}

impl Requirement {
    fn holds(&self, labels: &[String]) -> bool {
        self.operator.holds(labels.iter().find_map(|label| {
            let (source, rest) = label.split_once(':').unwrap_or(("unspec", label));
            let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
            ((self.source.is_empty() || self.source == source) && self.key == key).then_some(value)
        }))
    }
}

/// What is required of a label.
#[derive(Clone, Debug, PartialEq)]
pub enum Operator {
    /// It is there.
    Exists,
    /// It is not there.
    Missing,
    /// It has one of these values.
    In(Vec<String>),
    /// It is not there, or has none of these values.
    NotIn(Vec<String>),
    /// It is a greater number.
    Above(i64),
    /// It is a smaller number.
    Below(i64),
}

impl Operator {
    /// Whether the value of the label, none without it, is as required.
    pub fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::Exists => value.is_some(),
            Self::Missing => value.is_none(),
            Self::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
            Self::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
            Self::Above(than) => number().is_some_and(|value| value > *than),
            Self::Below(than) => number().is_some_and(|value| value < *than),
        }
    }
}

/// Requirements separated by commas, each by the name of its label as it is written; an empty text has none. An error says what is
/// wrong.
pub fn parse_requirements(text: &str) -> Result<Vec<(String, Operator)>, String> {
    let mut requirements = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (requirement, after) = parse_requirement(rest).ok_or_else(|| fault(text))?;
        requirements.push(requirement);
        rest = match after.strip_prefix(',') {
            Some(next) if !next.trim().is_empty() => next.trim(),
            None if after.is_empty() => after,
            _ => return Err(fault(text)),
        };
    }
    Ok(requirements)
}

fn fault(text: &str) -> String {
    format!("{text:?} is not a label selector")
}

fn parse_requirement(text: &str) -> Option<((String, Operator), &str)> {
    let (missing, text) = match text.strip_prefix('!') {
        Some(after) => (true, after.trim_start()),
        None => (false, text),
    };
    let end = text.find(|letter: char| letter.is_whitespace() || "=!<>,()".contains(letter)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return None;
    }
    let (operator, rest) =
        if missing { (Operator::Missing, rest.trim_start()) } else { parse_operator(rest.trim_start())? };
    Some(((name.to_owned(), operator), rest))
}

fn parse_operator(text: &str) -> Option<(Operator, &str)> {
    if text.is_empty() || text.starts_with(',') {
        return Some((Operator::Exists, text));
    }
    for (sign, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some(rest) = text.strip_prefix(sign) {
            let (value, rest) = split_value(rest);
            let values = vec![value.to_owned()];
            return Some((if negated { Operator::NotIn(values) } else { Operator::In(values) }, rest));
        }
    }
    for sign in [">", "<"] {
        if let Some(rest) = text.strip_prefix(sign) {
            let (value, rest) = split_value(rest);
            let than = value.parse().ok()?;
            return Some((if sign == ">" { Operator::Above(than) } else { Operator::Below(than) }, rest));
        }
    }
    for (word, negated) in [("notin", true), ("in", false)] {
        let Some(rest) = text.strip_prefix(word).map(str::trim_start) else { continue };
        let (list, rest) = rest.strip_prefix('(')?.split_once(')')?;
        let values: Vec<String> = list.split(',').map(|value| value.trim().to_owned()).collect();
        return Some((if negated { Operator::NotIn(values) } else { Operator::In(values) }, rest.trim_start()));
    }
    None
}

fn split_value(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(|letter: char| letter.is_whitespace() || letter == ',').unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    (value, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(selector: &str) -> bool {
        let labels = ["k8s:app=cart", "k8s:example.com/tier=2", "reserved:host"].map(str::to_owned);
        LabelSelector::parse(selector).unwrap().matches(&labels)
    }

    #[test]
    fn selectors_follow_kubernetes() {
        for selector in [
            "app=cart",
            "app == cart",
            "k8s:app=cart,reserved:host",
            "app in (front, cart)",
            "app notin (front)",
            "!missing",
            "missing!=1",
            "example.com/tier>1",
            "example.com/tier < 3",
            "any:app",
            "",
        ] {
            assert!(holds(selector), "{selector}");
        }
        for selector in ["app=front", "reserved:app=cart", "!app", "app notin (cart)", "example.com/tier>2", "missing"]
        {
            assert!(!holds(selector), "{selector}");
        }
    }

    #[test]
    fn invalid_selectors_are_refused() {
        for selector in ["app=cart,", "=cart", "app in cart", "app in (cart", "app>x", "app cart", "k8s:"] {
            assert!(LabelSelector::parse(selector).is_err(), "{selector}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = LabelSelector::parse(&text);
        }
    }
}
