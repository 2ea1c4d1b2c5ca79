//! The pages of docs/kinds: one for each kind, with its fields, an example, its conditions and how to debug it.

use serde_json::Value;
use trilobite_crds::{Reason, condition::ConditionType, schema};

/// What a page has besides the fields, which come from the CRD.
struct Source {
    kind: &'static str,
    /// What the kind is for, then a heading `## Debugging` with a hand-written section.
    text: &'static str,
    /// An object with comments, or nothing for kinds that only the operator writes.
    example: Option<&'static str>,
    conditions: &'static [&'static [(ConditionType, &'static [Reason])]],
}

use ConditionType::{Accepted, Completed, Degraded, Programmed, Ready, Reconciling, RelayReady, RowsSeen, Stalled};

/// Conditions of every kind that users write.
const USER_CONDITIONS: &[(ConditionType, &[Reason])] = &[
    (
        Ready,
        &[
            Reason::Ready,
            Reason::NoMatchingNodes,
            Reason::Progressing,
            Reason::TooManyNodesFailing,
            Reason::NotAccepted,
            Reason::Suspended,
            Reason::Pending,
        ],
    ),
    (
        Programmed,
        &[
            Reason::AllNodesApplied,
            Reason::RollingOut,
            Reason::RolloutHalted,
            Reason::WaitingForAgents,
            Reason::NoMatchingNodes,
            Reason::NotAccepted,
            Reason::Suspended,
            Reason::Pending,
        ],
    ),
    (Degraded, &[Reason::AsExpected, Reason::Mixed]),
    (Reconciling, &[Reason::Progressing, Reason::ProgressingWithRetry, Reason::NoMatchingNodes]),
    (Stalled, &[Reason::AccessDenied, Reason::RolloutHalted, Reason::NoMatchingNodes, Reason::Mixed]),
];
/// Reasons of `Accepted` differ by kind.
const STACK_ACCEPTED: &[(ConditionType, &[Reason])] =
    &[(Accepted, &[Reason::Valid, Reason::InvalidSpec, Reason::Unsupported, Reason::PayloadsNotAllowed])];
const STACK_RELAY: &[(ConditionType, &[Reason])] = &[(
    RelayReady,
    &[
        Reason::Ready,
        Reason::RelayUnavailable,
        Reason::RelayNotNeeded,
        Reason::RelayDisabled,
        Reason::Suspended,
        Reason::PortTaken,
        Reason::CertificateNotIssued,
        Reason::CertificateExpired,
    ],
)];
/// What a policy shows while the stack leaves out its namespaces.
const POLICY_SCOPE: &[(ConditionType, &[Reason])] = &[
    (Ready, &[Reason::NoMatchingPods]),
    (Programmed, &[Reason::NoMatchingPods]),
    (Reconciling, &[Reason::NoMatchingPods]),
];
const POLICY_ACCEPTED: &[(ConditionType, &[Reason])] = &[(
    Accepted,
    &[
        Reason::Valid,
        Reason::InvalidSpec,
        Reason::Unsupported,
        Reason::LayerDisabled,
        Reason::NotAccepted,
        Reason::NoStack,
        Reason::ProfileTooLarge,
    ],
)];
const SESSION_ACCEPTED: &[(ConditionType, &[Reason])] = &[(
    Accepted,
    &[
        Reason::Valid,
        Reason::InvalidSpec,
        Reason::LayerDisabled,
        Reason::NotAccepted,
        Reason::NoStack,
        Reason::NamespaceBudgetExceeded,
    ],
)];
/// What AppProfiles show of requests.
const REQUESTS_ACCEPTED: &[(ConditionType, &[Reason])] =
    &[(Accepted, &[Reason::Unsupported, Reason::PayloadsNotAllowed])];
const ROWS_SEEN: &[(ConditionType, &[Reason])] = &[(
    RowsSeen,
    &[
        Reason::RowsSeen,
        Reason::NoMatchingPods,
        Reason::NoTraffic,
        Reason::OtherProtocol,
        Reason::Encrypted,
        Reason::RoleNotSeen,
        Reason::NodeBudgetExceeded,
        Reason::Unsupported,
        Reason::Progressing,
        Reason::Suspended,
        Reason::Pending,
    ],
)];
/// Conditions that kinds with an end have in addition.
const TIME_LIMITED_CONDITIONS: &[(ConditionType, &[Reason])] = &[
    (Ready, &[Reason::NoMatchingPods]),
    (Programmed, &[Reason::NoMatchingPods]),
    (Reconciling, &[Reason::NoMatchingPods]),
    (Stalled, &[Reason::NoMatchingPods]),
    (Completed, &[Reason::Running, Reason::DurationElapsed, Reason::LimitReached]),
];
const NODE_CONDITIONS: &[(ConditionType, &[Reason])] =
    &[(Ready, &[Reason::Ready, Reason::MissingCapability, Reason::AgentSilent])];

const SOURCES: &[Source] = &[
    Source {
        kind: "ObservabilityStack",
        text: include_str!("../../../docs/observabilitystack.md"),
        example: Some(include_str!("../../../../config/samples/observabilitystack.yaml")),
        conditions: &[USER_CONDITIONS, STACK_ACCEPTED, STACK_RELAY, ROWS_SEEN],
    },
    Source {
        kind: "TracingPolicy",
        text: include_str!("../../../docs/tracingpolicy.md"),
        example: Some(include_str!("../../../../config/samples/tracingpolicy.yaml")),
        conditions: &[USER_CONDITIONS, POLICY_ACCEPTED, POLICY_SCOPE],
    },
    Source {
        kind: "TracingPolicyNamespaced",
        text: include_str!("../../../docs/tracingpolicynamespaced.md"),
        example: Some(include_str!("../../../../config/samples/tracingpolicynamespaced.yaml")),
        conditions: &[USER_CONDITIONS, POLICY_ACCEPTED, POLICY_SCOPE],
    },
    Source {
        kind: "FlowCapture",
        text: include_str!("../../../docs/flowcapture.md"),
        example: Some(include_str!("../../../../config/samples/flowcapture.yaml")),
        conditions: &[USER_CONDITIONS, SESSION_ACCEPTED, TIME_LIMITED_CONDITIONS],
    },
    Source {
        kind: "AppProfile",
        text: include_str!("../../../docs/appprofile.md"),
        example: Some(include_str!("../../../../config/samples/appprofile.yaml")),
        conditions: &[USER_CONDITIONS, SESSION_ACCEPTED, TIME_LIMITED_CONDITIONS, REQUESTS_ACCEPTED, ROWS_SEEN],
    },
    Source {
        kind: "NodeRuntime",
        text: include_str!("../../../docs/noderuntime.md"),
        example: None,
        conditions: &[NODE_CONDITIONS],
    },
    Source { kind: "NodeProfile", text: include_str!("../../../docs/nodeprofile.md"), example: None, conditions: &[] },
    Source { kind: "ProfilePart", text: include_str!("../../../docs/profilepart.md"), example: None, conditions: &[] },
];

const HEADER: &str = "<!-- Generated from crds/src and crds/docs by `make generate`. -->\n";

/// Every page with its file name.
pub(crate) fn pages(crds: &[Value]) -> Vec<(String, String)> {
    let mut pages: Vec<_> = SOURCES
        .iter()
        .filter_map(|source| {
            let crd = crds.iter().find(|crd| crd["spec"]["names"]["kind"] == source.kind)?;
            Some((format!("{}.md", source.kind.to_lowercase()), page(crd, source)))
        })
        .collect();
    pages.push(("README.md".into(), index(crds)));
    pages
}

fn index(crds: &[Value]) -> String {
    let mut text = format!(
        "{HEADER}# The kinds of `trilobite.dev/v1alpha1`\n\n| kind | short name | scope | what it is |\n|---|---|---|---|\n"
    );
    for crd in crds {
        let names = &crd["spec"]["names"];
        let kind = names["kind"].as_str().unwrap_or_default();
        let description = schema::schema_of(crd)["description"].as_str().unwrap_or_default();
        let short = names["shortNames"][0].as_str().unwrap_or_default();
        text += &format!("| [{kind}]({}.md) | `{short}` | {} | {description} |\n", kind.to_lowercase(), scope(crd));
    }
    text + "\nUsers write the first five. The operator writes the others, and agents report in NodeRuntime.\n"
}

fn page(crd: &Value, source: &Source) -> String {
    let (purpose, debugging) = source.text.split_once("## Debugging\n").unwrap_or((source.text, ""));
    let names = &crd["spec"]["names"];
    let mut text = format!("{HEADER}# {}\n\n{}\n\n", source.kind, purpose.trim());
    text += &format!(
        "`apiVersion: trilobite.dev/v1alpha1`, {}, short name `{}`, also in `kubectl get {}`.\n",
        scope(crd),
        names["shortNames"][0].as_str().unwrap_or_default(),
        names["categories"][0].as_str().unwrap_or_default(),
    );
    if let Some(example) = source.example {
        text += &format!("\n## Example\n\n```yaml\n{}\n```\n", example.trim());
    }
    let schema = schema::schema_of(crd);
    for section in ["spec", "status"] {
        let fields = &schema["properties"][section];
        if fields.is_object() {
            text += &format!(
                "\n## Fields of `{section}`\n\n| field | type | default | limits | description |\n|---|---|---|---|---|\n"
            );
            add_fields(fields, section, &mut text);
        }
    }
    if !source.conditions.is_empty() {
        text += &conditions(source.conditions);
    }
    if !debugging.trim().is_empty() {
        text += &format!("\n## Debugging\n\n{}\n", debugging.trim());
    }
    text
}

fn scope(crd: &Value) -> &'static str {
    if crd["spec"]["scope"] == "Namespaced" { "namespaced" } else { "cluster-scoped" }
}

/// One row for each field below `path`, depth first.
fn add_fields(schema: &Value, path: &str, text: &mut String) {
    let required = |name: &str| schema["required"].as_array().into_iter().flatten().any(|field| field == name);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let default = match &field["default"] {
            _ if required(name) => "required".into(),
            // Defaults of objects repeat those of their fields.
            Value::Null | Value::Object(_) | Value::Array(_) => String::new(),
            scalar => match scalar.as_str().filter(|text| !text.is_empty()) {
                Some(text) => format!("`{text}`"),
                None => format!("`{scalar}`"),
            },
        };
        let mut description = field["description"].as_str().unwrap_or_default().replace('\n', " ");
        let repeats = repeats_kprobes(field);
        if repeats {
            let of = if name == "selectorsMacros" { "selectors" } else { name };
            description += &format!(" Its fields are those of `spec.kprobes[].{of}`.");
        }
        let row = [format!("`{path}`"), type_name(field), default, limits(field), description];
        *text += &format!("| {} |\n", row.map(|cell| cell.replace('|', "\\|")).join(" | "));
        if !is_label_selector(field) && !repeats {
            add_fields(field, &path, text);
            add_fields(&field["items"], &format!("{path}[]"), text);
        }
    }
}

/// Whether the fields below are described elsewhere (`schema/described_once.rs`).
fn repeats_kprobes(field: &Value) -> bool {
    let nodes = [field, &field["items"], &field["additionalProperties"]];
    let mut inner =
        nodes.into_iter().filter_map(|node| node["properties"].as_object()).flat_map(|fields| fields.values());
    !is_label_selector(field) && inner.any(|inner| inner["description"].is_null())
}

fn is_label_selector(schema: &Value) -> bool {
    schema["properties"]["matchLabels"].is_object()
}

fn type_name(schema: &Value) -> String {
    if is_label_selector(schema) {
        return "label selector".into();
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return "integer or string".into();
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", plural(&type_name(&schema["items"]))),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("map of {}", plural(&type_name(&schema["additionalProperties"])))
        }
        Some("string") if schema["format"] == "date-time" => "time".into(),
        Some(name) => name.into(),
        None => "any".into(),
    }
}

fn plural(name: &str) -> String {
    format!("{name}s")
}

fn limits(schema: &Value) -> String {
    let mut limits = Vec::new();
    let mut own = |schema: &Value, of: &str| {
        if let Some(values) = schema["enum"].as_array() {
            let values: Vec<_> = values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
            limits.push(format!("{}{of}", values.join(", ")));
        }
        if let Some(text) = range(schema, "minimum", "maximum") {
            limits.push(format!("{text}{of}"));
        }
        for (least, most, things) in [("minLength", "maxLength", "characters"), ("minItems", "maxItems", "items")] {
            if let Some(text) = range(schema, least, most) {
                limits.push(format!("{text} {things}{of}"));
            }
        }
        if let Some(most) = schema["maxProperties"].as_u64() {
            limits.push(format!("at most {most} entries{of}"));
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            limits.push(format!("`{pattern}`{of}"));
        }
    };
    if is_label_selector(schema) {
        return String::new();
    }
    own(schema, "");
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() && schema[inner]["properties"].is_null() {
            own(&schema[inner], " each");
        }
    }
    limits.join("; ")
}

/// The bounds of a number or a length; nothing where they are those of the type.
fn range(schema: &Value, least: &str, most: &str) -> Option<String> {
    const MAX_INT32: u64 = i32::MAX as u64;
    const MAX_EXACT: u64 = (1 << 53) - 1;
    let most = schema[most].as_u64().filter(|most| ![MAX_INT32, u32::MAX.into(), MAX_EXACT].contains(most));
    match (schema[least].as_i64().filter(|least| *least != 0 || most.is_some()), most) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("at least {least}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (None, None) => None,
    }
}

fn conditions(groups: &[&[(ConditionType, &[Reason])]]) -> String {
    let mut all: Vec<(ConditionType, Vec<Reason>)> = Vec::new();
    for (r#type, reasons) in groups.iter().copied().flatten() {
        match all.iter_mut().find(|(known, _)| known == r#type) {
            Some((_, known)) => known.extend(*reasons),
            None => all.push((*r#type, reasons.to_vec())),
        }
    }
    all.sort_by_key(|(r#type, _)| *r#type);
    let mut text = String::from("\n## Conditions\n\n| condition | what it means | reasons |\n|---|---|---|\n");
    let mut used: Vec<Reason> = Vec::new();
    for (r#type, reasons) in &all {
        let names: Vec<_> = reasons.iter().map(|reason| format!("`{reason}`")).collect();
        text += &format!("| `{:?}` | {} | {} |\n", r#type, r#type.meaning(), names.join(", "));
        used.extend(reasons);
    }
    used.sort();
    used.dedup();
    text += "\nA refused spec has the reason of `Accepted` in `Stalled` or `Reconciling` too. `Degraded`, `Stalled` and \
             `failures` have the reasons of nodes. [reasons.md](../reasons.md) lists all of them, and what to do.\n\n";
    text += "| reason | what it means |\n|---|---|\n";
    for reason in used {
        text += &format!("| `{reason}` | {} |\n", reason.meaning());
    }
    text
}
