//! Label selectors, and pods selected in namespaces.

use serde_json::Value;

use super::{
    fields::{Fields, texts, unknown_word},
    path::Path,
    refusals::{Refusals, Unreadable},
};
use crate::matching::{LabelTest, NamespaceSelection, PodSelector, Requirement, Selector};

const OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];

pub(super) fn selector(value: &Value, path: &Path<'_>, refusals: &mut Refusals) -> Result<Selector, Unreadable> {
    let fields = Fields::only_known(value, path, &["matchLabels", "matchExpressions"], refusals)?;
    let mut requirements = Vec::new();
    if let Some(labels) = fields.get("matchLabels") {
        let path = path.key("matchLabels");
        let labels = labels.as_object().ok_or_else(|| refusals.refuse(&path, "must be an object"))?;
        for (key, value) in labels {
            let value = value.as_str().ok_or_else(|| refusals.refuse(&path.key(key), "must be a string"))?;
            requirements.push(Requirement {
                key: key.as_str().into(),
                test: LabelTest::In(Box::new([Box::<str>::from(value)])),
            });
        }
    }
    let expressions = path.key("matchExpressions");
    for (index, value) in fields.list("matchExpressions", refusals)?.iter().enumerate() {
        requirements.push(expression(value, &expressions.index(index), refusals)?);
    }
    Ok(Selector::new(requirements))
}

fn expression(value: &Value, path: &Path<'_>, refusals: &mut Refusals) -> Result<Requirement, Unreadable> {
    let fields = Fields::only_known(value, path, &["key", "operator", "values"], refusals)?;
    let key = fields.required_text("key", refusals)?;
    let operator = fields.required_text("operator", refusals)?;
    let values_path = path.key("values");
    let values = texts(fields.list("values", refusals)?, &values_path, refusals)?;
    let needs_values = matches!(operator, "In" | "NotIn");
    if OPERATORS.contains(&operator) && needs_values == values.is_empty() {
        let why = if needs_values { "must have values" } else { "must not have values" };
        return Err(refusals.refuse(&values_path, format_args!("{why} for operator {operator}")));
    }
    let mut values: Vec<Box<str>> = values.into_iter().map(Into::into).collect();
    values.sort_unstable();
    values.dedup();
    let test = match operator {
        "In" => LabelTest::In(values.into()),
        "NotIn" => LabelTest::NotIn(values.into()),
        "Exists" => LabelTest::Exists,
        "DoesNotExist" => LabelTest::DoesNotExist,
        unknown => return Err(unknown_word(refusals, &path.key("operator"), unknown, &OPERATORS)),
    };
    Ok(Requirement { key: key.into(), test })
}

/// All pods of the namespaces with these labels.
pub(super) fn pods_of_namespaces(
    value: &Value,
    path: &Path<'_>,
    refusals: &mut Refusals,
) -> Result<PodSelector, Unreadable> {
    let namespaces = NamespaceSelection::Labelled(selector(value, path, refusals)?);
    Ok(PodSelector { namespaces, pods: Selector::default() })
}

/// Pods with labels, of namespaces with labels.
pub(super) fn namespaced_pods(
    value: &Value,
    path: &Path<'_>,
    refusals: &mut Refusals,
) -> Result<PodSelector, Unreadable> {
    let fields = Fields::only_known(value, path, &["namespaceSelector", "podSelector"], refusals)?;
    let namespaces = match fields.get("namespaceSelector") {
        Some(namespaces) => selector(namespaces, &path.key("namespaceSelector"), refusals)?,
        None => Selector::default(),
    };
    let pods_path = path.key("podSelector");
    let pods = fields.get("podSelector").ok_or_else(|| refusals.refuse(&pods_path, "is required"))?;
    let pods = selector(pods, &pods_path, refusals)?;
    Ok(PodSelector { namespaces: NamespaceSelection::Labelled(namespaces), pods })
}
