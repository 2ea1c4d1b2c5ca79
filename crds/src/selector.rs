//! Kubernetes label selectors, evaluated without an API server. An unknown operator is an error, not a mismatch.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use validator::ValidationError;

use crate::bounds;

/// Most `matchLabels`, and most `matchExpressions`, of a selector.
pub(crate) const MAX_REQUIREMENTS: usize = 16;
/// Most values of one expression.
pub(crate) const MAX_VALUES: usize = 64;
/// Longest key of a label: a prefix of 253 characters, `/`, and a name of 63.
pub(crate) const MAX_KEY: usize = 317;
/// Longest value of a label.
pub(crate) const MAX_VALUE: usize = 63;

/// Labels of a pod or a namespace.
pub type Labels = BTreeMap<String, String>;

/// The label under which Tetragon's pod selectors find the pod's namespace.
pub const NAMESPACE_LABEL: &str = "k8s:io.kubernetes.pod.namespace";

/// A selector that cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The operator does not exist.
    #[error("operator {operator:?} must be In, NotIn, Exists or DoesNotExist")]
    UnknownOperator {
        /// Index in `matchExpressions`.
        index: usize,
        /// The operator as written.
        operator: String,
    },
    /// In and NotIn without values.
    #[error("operator {operator} must have values")]
    ValuesMissing {
        /// Index in `matchExpressions`.
        index: usize,
        /// The operator as written.
        operator: String,
    },
    /// Exists and DoesNotExist with values.
    #[error("operator {operator} must not have values")]
    ValuesNotAllowed {
        /// Index in `matchExpressions`.
        index: usize,
        /// The operator as written.
        operator: String,
    },
}

impl SelectorError {
    /// The field of the selector, e.g. `matchExpressions[2].operator`.
    pub fn field(&self) -> String {
        match self {
            Self::UnknownOperator { index, .. } => format!("matchExpressions[{index}].operator"),
            Self::ValuesMissing { index, .. } | Self::ValuesNotAllowed { index, .. } => {
                format!("matchExpressions[{index}].values")
            }
        }
    }
}

/// Whether `labels` match. An empty selector matches everything.
pub fn matches(selector: &LabelSelector, labels: &Labels) -> Result<bool, SelectorError> {
    matches_by(selector, |key| labels.get(key).map(String::as_str))
}

/// Whether a pod's labels match, its namespace among them.
pub fn matches_pod(selector: &LabelSelector, namespace: &str, labels: &Labels) -> Result<bool, SelectorError> {
    let label = |key: &str| labels.get(key).map(String::as_str);
    matches_by(selector, |key| if key == NAMESPACE_LABEL { Some(namespace) } else { label(key) })
}

fn matches_by<'a>(selector: &LabelSelector, label: impl Fn(&str) -> Option<&'a str>) -> Result<bool, SelectorError> {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| label(key) == Some(value));
    let mut all = equal;
    // Every expression is evaluated, so that an error does not depend on the labels at hand.
    for (index, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        all &= requirement_matches(index, requirement, label(&requirement.key))?;
    }
    Ok(all)
}

/// Whether `selector` can be evaluated at all.
pub fn check(selector: &LabelSelector) -> Result<(), SelectorError> {
    matches(selector, &Labels::new()).map(|_| ())
}

/// Checks sizes. The types of Kubernetes carry no bounds, so these are checked here and added to the schema elsewhere.
pub(crate) fn check_bounds(selector: &LabelSelector) -> Result<(), ValidationError> {
    let mut bad = Vec::new();
    let too_many = |count: usize, max: usize, things: &str| {
        (count > max).then(|| format!("must have at most {max} {things}, has {count}"))
    };
    let labels = selector.match_labels.iter().flatten();
    let label_count = selector.match_labels.as_ref().map_or(0, BTreeMap::len);
    bad.extend(too_many(label_count, MAX_REQUIREMENTS, "entries").map(|message| (".matchLabels".into(), message)));
    bad.extend(labels.filter_map(|(key, value)| {
        Some((format!(".matchLabels.{key}"), bounds::length_problem(value, 0, MAX_VALUE)?))
    }));
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    bad.extend(
        too_many(expressions.len(), MAX_REQUIREMENTS, "items").map(|message| (".matchExpressions".into(), message)),
    );
    for (index, LabelSelectorRequirement { key, values, .. }) in expressions.iter().enumerate() {
        let field = format!(".matchExpressions[{index}]");
        let values = values.as_deref().unwrap_or_default();
        bad.extend(bounds::length_problem(key, 1, MAX_KEY).map(|message| (format!("{field}.key"), message)));
        bad.extend(too_many(values.len(), MAX_VALUES, "items").map(|message| (format!("{field}.values"), message)));
        bad.extend(values.iter().enumerate().filter_map(|(at, value)| {
            Some((format!("{field}.values[{at}]"), bounds::length_problem(value, 0, MAX_VALUE)?))
        }));
    }
    bounds::fail_below(bad)
}

fn requirement_matches(
    index: usize,
    requirement: &LabelSelectorRequirement,
    found: Option<&str>,
) -> Result<bool, SelectorError> {
    let LabelSelectorRequirement { operator, values, .. } = requirement;
    let values = values.as_deref().unwrap_or_default();
    let listed = || found.is_some_and(|found| values.iter().any(|value| value == found));
    match operator.as_str() {
        "In" | "NotIn" if values.is_empty() => Err(SelectorError::ValuesMissing { index, operator: operator.clone() }),
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            Err(SelectorError::ValuesNotAllowed { index, operator: operator.clone() })
        }
        "In" => Ok(listed()),
        "NotIn" => Ok(!listed()),
        "Exists" => Ok(found.is_some()),
        "DoesNotExist" => Ok(found.is_none()),
        _ => Err(SelectorError::UnknownOperator { index, operator: operator.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, option, prelude::*, sample};
    use validator::Validate;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
        let values = (!values.is_empty()).then(|| values.iter().map(|value| value.to_string()).collect());
        let requirement = LabelSelectorRequirement { key: key.into(), operator: operator.into(), values };
        LabelSelector { match_expressions: Some(vec![requirement]), match_labels: None }
    }

    #[test]
    fn every_operator_does_what_kubernetes_says() {
        let pod = labels(&[("app", "till"), ("tier", "front")]);
        for (key, operator, values, expected) in [
            ("app", "In", &["till", "shelf"][..], true),
            ("app", "In", &["shelf"][..], false),
            ("gone", "In", &["till"][..], false),
            ("app", "NotIn", &["shelf"][..], true),
            ("app", "NotIn", &["till"][..], false),
            ("gone", "NotIn", &["till"][..], true),
            ("app", "Exists", &[][..], true),
            ("gone", "Exists", &[][..], false),
            ("gone", "DoesNotExist", &[][..], true),
            ("app", "DoesNotExist", &[][..], false),
        ] {
            assert_eq!(matches(&expression(key, operator, values), &pod), Ok(expected), "{key} {operator} {values:?}");
        }
    }

    #[test]
    fn unknown_operator_is_an_error_even_where_labels_differ() {
        let mut selector = expression("app", "Matches", &["x"]);
        selector.match_labels = Some(labels(&[("app", "other")]));
        let error = matches(&selector, &labels(&[])).unwrap_err();
        assert_eq!(error.field(), "matchExpressions[0].operator");
    }

    #[test]
    fn only_in_and_not_in_take_values() {
        assert_eq!(check(&expression("app", "In", &[])).unwrap_err().field(), "matchExpressions[0].values");
        assert_eq!(check(&expression("app", "Exists", &["x"])).unwrap_err().field(), "matchExpressions[0].values");
    }

    #[test]
    fn every_oversized_part_of_a_selector_is_named() {
        let many: Vec<&str> = vec!["x"; 65];
        let mut selector = expression("", "In", &many);
        selector.match_labels = Some(labels(&[("app", &"y".repeat(64))]));
        #[derive(Validate)]
        struct Holder {
            #[validate(custom(function = check_bounds))]
            pod_selector: LabelSelector,
        }
        let found = bounds::violations(&Holder { pod_selector: selector }, "spec");
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "spec.podSelector.matchExpressions[0].key: must have at least 1 characters, has 0",
                "spec.podSelector.matchExpressions[0].values: must have at most 64 items, has 65",
                "spec.podSelector.matchLabels.app: must have at most 63 characters, has 64",
            ]
        );
    }

    fn any_labels() -> impl Strategy<Value = Labels> {
        collection::btree_map("[ab]", "[xyz]", 0..3)
    }

    fn any_selector() -> impl Strategy<Value = LabelSelector> {
        let requirement =
            ("[ab]", sample::select(vec!["In", "NotIn", "Exists", "DoesNotExist"]), collection::vec("[xyz]", 1..3))
                .prop_map(|(key, operator, values)| LabelSelectorRequirement {
                    key,
                    operator: operator.into(),
                    values: operator.ends_with("In").then_some(values),
                });
        (option::of(any_labels()), option::of(collection::vec(requirement, 0..3)))
            .prop_map(|(match_labels, match_expressions)| LabelSelector { match_expressions, match_labels })
    }

    proptest! {
        #[test]
        fn a_well_formed_selector_always_has_an_answer(selector in any_selector(), labels in any_labels()) {
            prop_assert!(matches(&selector, &labels).is_ok());
        }

        #[test]
        fn an_operator_and_its_opposite_never_agree(key in "[ab]", values in collection::vec("[xyz]", 1..3), labels in any_labels()) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            for (one, other, values) in [("In", "NotIn", &values[..]), ("Exists", "DoesNotExist", &[][..])] {
                prop_assert_ne!(
                    matches(&expression(&key, one, values), &labels),
                    matches(&expression(&key, other, values), &labels)
                );
            }
        }

        #[test]
        fn joined_selectors_match_where_both_do(a in any_selector(), b in any_selector(), labels in any_labels()) {
            let mut joined = a.clone();
            joined.match_expressions.get_or_insert_default().extend(b.match_expressions.clone().unwrap_or_default());
            for (key, value) in b.match_labels.iter().flatten() {
                let requirement = LabelSelectorRequirement { key: key.clone(), operator: "In".into(), values: Some(vec![value.clone()]) };
                joined.match_expressions.get_or_insert_default().push(requirement);
            }
            prop_assert_eq!(
                matches(&joined, &labels),
                Ok(matches(&a, &labels) == Ok(true) && matches(&b, &labels) == Ok(true))
            );
        }
    }
}
