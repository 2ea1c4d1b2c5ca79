//! A trigger for the end of the operator's own namespace: with it go the relay, and the operator's rights there.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::{ResourceExt as _, core::PartialObjectMeta, runtime::watcher::Event};

use super::{trigger::Trigger, user_kind::Events};

/// The same events, with a trigger that fires when the namespace of this name begins to end, and when it is there again.
pub(crate) fn with_namespace_end(
    events: Events<PartialObjectMeta<Namespace>>,
    name: &str,
) -> (Events<PartialObjectMeta<Namespace>>, Trigger) {
    let trigger = Trigger::new();
    let (fired, mut namespace) = (trigger.clone(), NamespaceEnd { name: name.to_owned(), ends: false, listed: false });
    let events = events.inspect(move |event| {
        if event.as_ref().is_ok_and(|event| namespace.is_change(event)) {
            fired.fire();
        }
    });
    (events.boxed(), trigger)
}

struct NamespaceEnd {
    name: String,
    ends: bool,
    /// The list that is being read has it.
    listed: bool,
}

impl NamespaceEnd {
    fn is_change(&mut self, event: &Event<PartialObjectMeta<Namespace>>) -> bool {
        let ends = match event {
            Event::Init => {
                self.listed = false;
                self.ends
            }
            Event::InitDone => self.ends || !self.listed,
            Event::Apply(namespace) | Event::InitApply(namespace) if namespace.name_any() == self.name => {
                self.listed = true;
                namespace.metadata.deletion_timestamp.is_some()
            }
            Event::Delete(namespace) if namespace.name_any() == self.name => true,
            Event::Apply(_) | Event::InitApply(_) | Event::Delete(_) => self.ends,
        };
        std::mem::replace(&mut self.ends, ends) != ends
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type Namespaces = Event<PartialObjectMeta<Namespace>>;

    fn namespace(name: &str, ends: bool) -> PartialObjectMeta<Namespace> {
        let deletion = ends.then_some("2026-01-01T00:00:00Z");
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "deletionTimestamp": deletion},
        }))
        .unwrap()
    }

    fn changes(events: impl IntoIterator<Item = Namespaces>) -> Vec<bool> {
        let mut reef = NamespaceEnd { name: "reef".into(), ends: false, listed: false };
        events.into_iter().map(|event| reef.is_change(&event)).collect()
    }

    #[test]
    fn only_the_own_namespace_fires_once_for_its_end() {
        let fired = changes([
            Event::Apply(namespace("reef", false)),
            Event::Apply(namespace("shop", true)),
            Event::Delete(namespace("shop", true)),
            Event::Apply(namespace("reef", true)),
            Event::Apply(namespace("reef", true)),
            Event::Delete(namespace("reef", true)),
            Event::Apply(namespace("reef", false)),
        ]);
        assert_eq!(fired, [false, false, false, true, false, false, true]);
    }

    #[test]
    fn list_that_lacks_the_namespace_fires() {
        let list = |names: &[&str]| {
            let listed = names.iter().map(|name| Event::InitApply(namespace(name, false)));
            [Event::Init].into_iter().chain(listed.collect::<Vec<_>>()).chain([Event::InitDone])
        };
        assert!(!changes(list(&["reef", "shop"])).contains(&true));
        assert_eq!(changes(list(&["reef"]).chain(list(&["shop"]))), [false, false, false, false, false, true]);
    }
}
