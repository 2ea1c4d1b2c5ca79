//! The objects of a watch, from its events. Pure.

use std::{collections::BTreeMap, mem};

use kube::runtime::watcher::Event;

/// Objects by key.
#[derive(Debug)]
pub(super) struct WatchedObjects<T> {
    known: BTreeMap<String, T>,
    /// The part of a new list that has arrived so far.
    listed: BTreeMap<String, T>,
}

impl<T: PartialEq> WatchedObjects<T> {
    pub(super) fn new() -> Self {
        Self { known: BTreeMap::new(), listed: BTreeMap::new() }
    }

    /// Applies an event and returns all objects, if it changed them. None while a list is incomplete: a list also begins
    /// whenever the API server is unreachable, which does not mean that objects were deleted.
    pub(super) fn apply<K>(
        &mut self,
        event: Event<K>,
        entry: impl Fn(K) -> (String, T),
    ) -> Option<&BTreeMap<String, T>> {
        match event {
            Event::Init => {
                self.listed.clear();
                return None;
            }
            Event::InitApply(object) => {
                self.listed.extend([entry(object)]);
                return None;
            }
            Event::InitDone => self.known = mem::take(&mut self.listed),
            Event::Apply(object) => {
                let (key, now) = entry(object);
                if self.known.get(&key) == Some(&now) {
                    return None;
                }
                self.known.insert(key, now);
            }
            Event::Delete(object) => drop(self.known.remove(&entry(object).0)),
        }
        Some(&self.known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(watched: &mut WatchedObjects<u32>, event: Event<(&'static str, u32)>) -> Option<Vec<u32>> {
        let entry = |(key, value): (&str, u32)| (key.to_owned(), value);
        watched.apply(event, entry).map(|known| known.values().copied().collect())
    }

    #[test]
    fn incomplete_list_changes_nothing() {
        let mut watched = WatchedObjects::new();
        assert_eq!(apply(&mut watched, Event::Init), None);
        assert_eq!(apply(&mut watched, Event::InitApply(("a", 1))), None);
        assert_eq!(apply(&mut watched, Event::InitDone), Some(vec![1]));
        // The API server becomes unreachable during the next list, which then starts again.
        assert_eq!(apply(&mut watched, Event::Init), None);
        assert_eq!(apply(&mut watched, Event::InitApply(("left-over", 9))), None);
        assert_eq!(apply(&mut watched, Event::Init), None);
        assert_eq!(apply(&mut watched, Event::InitApply(("b", 2))), None);
        assert_eq!(apply(&mut watched, Event::InitDone), Some(vec![2]));
    }

    #[test]
    fn unchanged_object_changes_nothing() {
        let mut watched = WatchedObjects::new();
        assert_eq!(apply(&mut watched, Event::Apply(("a", 1))), Some(vec![1]));
        assert_eq!(apply(&mut watched, Event::Apply(("a", 1))), None);
        assert_eq!(apply(&mut watched, Event::Apply(("a", 2))), Some(vec![2]));
        assert_eq!(apply(&mut watched, Event::Delete(("a", 2))), Some(vec![]));
    }
}
