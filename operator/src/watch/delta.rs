//! From a watch, which may list everything anew, to what was set and what is gone.

use std::collections::BTreeSet;

use kube::{Resource, ResourceExt as _, runtime::watcher::Event};

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Delta<K> {
    Set(K),
    /// By name.
    Gone(String),
    /// A whole list has been read.
    Listed,
}

/// Remembers names, so that what a new list lacks is known to be gone.
#[derive(Debug, Default)]
pub(crate) struct Deltas {
    known: BTreeSet<String>,
    listing: BTreeSet<String>,
}

impl Deltas {
    pub(crate) fn take<K: Resource>(&mut self, event: Event<K>) -> Vec<Delta<K>> {
        match event {
            Event::Apply(object) => {
                self.known.insert(object.name_any());
                vec![Delta::Set(object)]
            }
            Event::InitApply(object) => {
                self.listing.insert(object.name_any());
                vec![Delta::Set(object)]
            }
            Event::Delete(object) => {
                self.known.remove(&object.name_any());
                vec![Delta::Gone(object.name_any())]
            }
            Event::Init => {
                self.listing.clear();
                Vec::new()
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listing);
                let before = std::mem::replace(&mut self.known, listed);
                let gone = before.difference(&self.known).cloned().map(Delta::Gone);
                gone.chain([Delta::Listed]).collect()
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
    fn what_a_new_list_lacks_is_gone() {
        let mut deltas = Deltas::default();
        for event in [Event::Init, Event::InitApply(node("a")), Event::InitApply(node("b")), Event::InitDone] {
            deltas.take(event);
        }
        deltas.take(Event::Apply(node("c")));
        deltas.take(Event::<Node>::Init);
        deltas.take(Event::InitApply(node("b")));
        let last = deltas.take(Event::<Node>::InitDone);
        assert_eq!(last, [Delta::Gone("a".into()), Delta::Gone("c".into()), Delta::Listed]);
    }
}
