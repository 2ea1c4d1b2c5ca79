//! The schema of tracing policies has the same types in many sections. They are described where most people look, below
//! `kprobes`; repeated descriptions would be a third of the CRD, which must fit into an annotation of `kubectl apply`.

use serde_json::Value;

/// Sections whose arguments and selectors are those of `kprobes`.
const SECTIONS: [&str; 5] = ["fentries", "tracepoints", "uprobes", "usdts", "lsmhooks"];
/// Fields of a section that `kprobes` has too.
const REPEATED: [&str; 4] = ["args", "data", "returnArg", "selectors"];

/// Removes the descriptions of the repeated fields of a policy's CRD.
pub(super) fn describe_once(mut crd: Value) -> Value {
    let fields = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    for section in SECTIONS {
        for field in REPEATED {
            if let Some(repeated) = fields[section]["items"]["properties"].get_mut(field) {
                remove_inner_descriptions(repeated);
            }
        }
    }
    remove_inner_descriptions(&mut fields["selectorsMacros"]);
    crd
}

fn remove_inner_descriptions(schema: &mut Value) {
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(inner) {
            remove_description(inner);
        }
    }
    for property in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        remove_description(property.1);
    }
}

fn remove_description(schema: &mut Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("description");
    }
    remove_inner_descriptions(schema);
}
