//! What a watch of the API server says, to all objects that are there. Pure.

use std::{collections::BTreeMap, mem};

use kube::runtime::watcher::Event;

/// Objects by their key, as far as a watch has told.
#[derive(Debug)]
pub(super) struct Watched<T> {
    known: BTreeMap<String, T>,
    listed: BTreeMap<String, T>,
}

impl<T: PartialEq> Watched<T> {
    /// Nothing was told yet.
    pub(super) fn new() -> Self {
        Self { known: BTreeMap::new(), listed: BTreeMap::new() }
    }

    /// All objects, if the event has changed them. None while a list is under way: it begins before the first request
    /// and again whenever the server is away, and neither says that an object went.
    pub(super) fn after<K>(
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

    fn after(watched: &mut Watched<u32>, event: Event<(&'static str, u32)>) -> Option<Vec<u32>> {
        let entry = |(key, value): (&str, u32)| (key.to_owned(), value);
        watched.after(event, entry).map(|known| known.values().copied().collect())
    }

    #[test]
    fn a_list_that_begins_or_is_under_way_says_nothing_about_who_is_there() {
        let mut watched = Watched::new();
        assert_eq!(after(&mut watched, Event::Init), None);
        assert_eq!(after(&mut watched, Event::InitApply(("a", 1))), None);
        assert_eq!(after(&mut watched, Event::InitDone), Some(vec![1]));
        // The server went away in the middle of the next list, and begins it once more.
        assert_eq!(after(&mut watched, Event::Init), None);
        assert_eq!(after(&mut watched, Event::InitApply(("left-over", 9))), None);
        assert_eq!(after(&mut watched, Event::Init), None);
        assert_eq!(after(&mut watched, Event::InitApply(("b", 2))), None);
        assert_eq!(after(&mut watched, Event::InitDone), Some(vec![2]));
    }

    #[test]
    fn an_object_that_is_told_again_as_it_was_changes_nothing() {
        let mut watched = Watched::new();
        assert_eq!(after(&mut watched, Event::Apply(("a", 1))), Some(vec![1]));
        assert_eq!(after(&mut watched, Event::Apply(("a", 1))), None);
        assert_eq!(after(&mut watched, Event::Apply(("a", 2))), Some(vec![2]));
        assert_eq!(after(&mut watched, Event::Delete(("a", 2))), Some(vec![]));
    }
}
