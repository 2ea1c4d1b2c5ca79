//! Filters by the labels of pods: Kubernetes' label selectors as text, e.g. `app=cart,tier in (a, b),!canary`.

use std::collections::BTreeMap;

use trilobite_api::label_selector::{Operator, parse_requirements};

/// All requirements must hold, each by the key of its label; an empty text has none.
#[derive(Debug)]
pub(super) struct LabelSelector(Vec<(String, Operator)>);

impl LabelSelector {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        parse_requirements(text).map(Self)
    }

    pub(super) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(key, operator)| operator.holds(labels.get(key).map(String::as_str)))
    }
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
