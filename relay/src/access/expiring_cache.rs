//! Answers of the API server, kept for seconds; bounded in number.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

pub(super) struct ExpiringCache<K, V> {
    entries: Mutex<HashMap<K, (Instant, V)>>,
    kept_for: Duration,
    bound: usize,
}

impl<K: Eq + Hash, V: Clone> ExpiringCache<K, V> {
    pub(super) fn new(kept_for: Duration, bound: usize) -> Self {
        Self { entries: Mutex::default(), kept_for, bound }
    }

    pub(super) fn get(&self, key: &K, now: Instant) -> Option<V> {
        let entries = self.entries.lock();
        entries.get(key).filter(|(expires, _)| now < *expires).map(|(_, value)| value.clone())
    }

    /// When it is full, expired entries make room, or all of them: a new answer is asked for again soon enough.
    pub(super) fn insert(&self, key: K, value: V, now: Instant) {
        let mut entries = self.entries.lock();
        if entries.len() >= self.bound {
            entries.retain(|_, (expires, _)| now < *expires);
        }
        if entries.len() >= self.bound {
            entries.clear();
        }
        entries.insert(key, (now + self.kept_for, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_expire_and_their_number_is_bounded() {
        let (cache, start) = (ExpiringCache::new(Duration::from_secs(10), 3), Instant::now());
        cache.insert(1, 'a', start);
        assert_eq!(cache.get(&1, start + Duration::from_secs(9)), Some('a'));
        assert_eq!(cache.get(&1, start + Duration::from_secs(10)), None);
        (2..100).for_each(|key| cache.insert(key, 'b', start));
        assert!(cache.entries.lock().len() <= 3);
        assert_eq!(cache.get(&99, start), Some('b'));
    }
}
