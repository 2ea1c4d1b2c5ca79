//! `df.ctx['name']`: what Kubernetes and the node know about a row, by a column that leads to it.

use super::{evaluator::Evaluator, value::Value};
use crate::{
    error::{Position, Refused, quote},
    nearest::did_you_mean,
    plan::NodeId,
};

/// A property: its name, its other names, and the columns that lead to it, the best first.
struct Property {
    name: &'static str,
    others: &'static [&'static str],
    keys: &'static [&'static str],
}

const fn property(name: &'static str, others: &'static [&'static str], keys: &'static [&'static str]) -> Property {
    Property { name, others, keys }
}

static PROPERTIES: [Property; 16] = [
    property("container_id", &[], &["upid"]),
    property("service_id", &[], &["upid", "service_name", "pod_id", "pod_name"]),
    property("pod_id", &[], &["upid", "pod_name"]),
    property(
        "deployment_id",
        &[],
        &["upid", "deployment_name", "pod_id", "pod_name", "replicaset_id", "replicaset_name"],
    ),
    property("replicaset_id", &["replica_set_id"], &["upid", "pod_id", "pod_name", "replicaset_name"]),
    property("service_name", &["service"], &["upid", "service_id", "pod_id", "pod_name"]),
    property("pod_name", &["pod"], &["upid", "pod_id"]),
    property(
        "deployment_name",
        &["deployment"],
        &["upid", "deployment_id", "pod_id", "pod_name", "replicaset_id", "replicaset_name"],
    ),
    property("namespace", &[], &["upid", "pod_id", "pod_name", "service_name"]),
    property("replicaset_name", &["replica_set", "replicaset"], &["upid", "pod_id", "pod_name", "replicaset_id"]),
    property("node_name", &["node"], &["upid", "pod_id"]),
    property("hostname", &["host"], &["upid"]),
    property("container_name", &["container"], &["upid"]),
    property("cmdline", &["cmd"], &["upid"]),
    property("asid", &[], &["upid"]),
    property("pid", &[], &["upid"]),
];

impl Property {
    fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.others.iter().copied())
    }
}

impl Evaluator<'_> {
    pub(super) fn metadata(&mut self, frame: NodeId, name: &str, at: Position) -> Result<Value, Refused> {
        let Some(property) = PROPERTIES.iter().find(|property| property.names().any(|known| known == name)) else {
            let advice = did_you_mean(name, PROPERTIES.iter().flat_map(Property::names));
            return Err(self.refuse(at, format!("ctx has no {}{advice}", quote(name))));
        };
        let relation = self.relation(frame);
        for key in property.keys {
            // A column that holds a name may have the short one, e.g. pod.
            let known = PROPERTIES.iter().find(|known| known.name == *key);
            let names = known.into_iter().flat_map(Property::names).chain(std::iter::once(*key));
            if let Some(column) = names.into_iter().find(|column| relation.find(column).is_some()) {
                let argument = self.column(frame, column, at)?;
                return self.apply_by_name(&format!("{key}_to_{}", property.name), vec![argument], at);
            }
        }
        let keys = property.keys.join(", ");
        Err(self.refuse(
            at,
            format!("ctx['{}'] needs one of the columns {keys}, and the DataFrame has none", property.name),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::find_function;

    #[test]
    fn each_property_has_a_function_for_each_of_its_keys() {
        for property in &PROPERTIES {
            for key in property.keys {
                let name = format!("{key}_to_{}", property.name);
                assert!(find_function(&name).is_some(), "{name}");
            }
        }
    }
}
