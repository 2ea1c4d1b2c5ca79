//! The columns of `kubectl get`. They are the same for every kind that users write.

use serde_json::{Value, json};

/// Ready, Reason, Nodes, Age; with `-o wide` Accepted and Programmed.
pub(super) fn user_columns(mut crd: Value) -> Value {
    crd["spec"]["versions"][0]["additionalPrinterColumns"] = json!([
        condition("Ready", "Ready", "status", 0),
        condition("Reason", "Ready", "reason", 0),
        { "name": "Nodes", "type": "string", "jsonPath": ".status.readyNodes", "description": "Ready nodes of those that count" },
        condition("Accepted", "Accepted", "status", 1),
        condition("Programmed", "Programmed", "status", 1),
        age(),
    ]);
    crd
}

/// In addition, for kinds that end by themselves: whether they have ended, and when they end. A time in the future is printed
/// as text, because kubectl would print its age as invalid.
pub(super) fn time_limited_columns(crd: Value) -> Value {
    let mut crd = user_columns(crd);
    if let Some(columns) = crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array_mut() {
        let age = columns.pop();
        columns.push(condition("Completed", "Completed", "status", 0));
        columns.push(json!({ "name": "Expires", "type": "string", "jsonPath": ".status.expiresAt" }));
        columns.extend(age);
    }
    crd
}

/// In addition, for AppProfiles: how many rows of requests there are; with `-o wide` why there are none.
pub(super) fn app_profile_columns(crd: Value) -> Value {
    let mut crd = time_limited_columns(crd);
    if let Some(columns) = crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array_mut() {
        let age = columns.pop();
        let description = "Rows of requests; empty where none are asked for";
        columns.push(json!({ "name": "Rows", "type": "integer", "jsonPath": ".status.requests.totalRows", "description": description }));
        columns.push(condition("Rows seen", "RowsSeen", "reason", 1));
        columns.extend(age);
    }
    crd
}

/// Ready, Reason, Parts, Kernel, Age; with `-o wide` the profile and the agent's version. Some fields can be selected by, to
/// find nodes among thousands: `kubectl get noderuntimes --field-selector status.kernel.release=...`.
pub(super) fn node_columns(mut crd: Value) -> Value {
    crd["spec"]["versions"][0]["additionalPrinterColumns"] = json!([
        condition("Ready", "Ready", "status", 0),
        condition("Reason", "Ready", "reason", 0),
        { "name": "Parts", "type": "integer", "jsonPath": ".status.partsInForce", "description": "Active parts" },
        { "name": "Kernel", "type": "string", "jsonPath": ".status.kernel.release" },
        { "name": "Profile", "type": "string", "jsonPath": ".status.appliedProfile.name", "priority": 1 },
        { "name": "Digest", "type": "string", "jsonPath": ".status.appliedProfile.digest", "priority": 1 },
        { "name": "Agent", "type": "string", "jsonPath": ".status.agentVersion", "priority": 1 },
        age(),
    ]);
    let selectable = [".spec.profileRef.name", ".status.appliedProfile.name", ".status.kernel.release"];
    crd["spec"]["versions"][0]["selectableFields"] = selectable.map(|path| json!({ "jsonPath": path })).to_vec().into();
    crd
}

fn condition(name: &str, condition: &str, field: &str, priority: i32) -> Value {
    let path = format!(".status.conditions[?(@.type=='{condition}')].{field}");
    let mut column = json!({ "name": name, "type": "string", "jsonPath": path });
    if priority > 0 {
        column["priority"] = priority.into();
    }
    column
}

fn age() -> Value {
    json!({ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" })
}
