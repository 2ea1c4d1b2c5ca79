//! Turns the events of a watch, which may restart with a whole list, into changes of single objects.

use std::collections::BTreeSet;

use kube::{Resource, ResourceExt as _, runtime::watcher::Event};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Delta<K> {
    Applied(K),
    /// By name.
    Deleted(String),
    /// A whole list has been read.
    Listed,
}

/// Remembers names: an object that a new list lacks was deleted while the watch was down.
#[derive(Debug, Default)]
pub(crate) struct DeltaTracker {
    known: BTreeSet<String>,
    listing: BTreeSet<String>,
}

impl DeltaTracker {
    pub(crate) fn apply<K: Resource>(&mut self, event: Event<K>) -> Vec<Delta<K>> {
        match event {
            Event::Apply(object) => {
                self.known.insert(object.name_any());
                vec![Delta::Applied(object)]
            }
            Event::InitApply(object) => {
                self.listing.insert(object.name_any());
                vec![Delta::Applied(object)]
            }
            Event::Delete(object) => {
                self.known.remove(&object.name_any());
                vec![Delta::Deleted(object.name_any())]
            }
            Event::Init => {
                self.listing.clear();
                Vec::new()
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listing);
                let before = std::mem::replace(&mut self.known, listed);
                let deleted = before.difference(&self.known).cloned().map(Delta::Deleted);
                deleted.chain([Delta::Listed]).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;

    use super::*;

    fn node(name: &str) -> Node {
        let mut node = Node::default();
        node.metadata.name = Some(name.into());
        node
    }

    #[test]
    fn an_object_that_a_new_list_lacks_was_deleted() {
        let mut tracker = DeltaTracker::default();
        for event in [Event::Init, Event::InitApply(node("a")), Event::InitApply(node("b")), Event::InitDone] {
            tracker.apply(event);
        }
        tracker.apply(Event::Apply(node("c")));
        tracker.apply(Event::<Node>::Init);
        tracker.apply(Event::InitApply(node("b")));
        let last = tracker.apply(Event::<Node>::InitDone);
        assert_eq!(last, [Delta::Deleted("a".into()), Delta::Deleted("c".into()), Delta::Listed]);
    }
}
