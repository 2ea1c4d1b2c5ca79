//! When each time-limited resource started, as this operator first read or decided it: an edited `status.startedAt` moves no end.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use parking_lot::Mutex;

/// By the UID of the resource.
#[derive(Debug, Default)]
pub(crate) struct StartTimes(Mutex<HashMap<String, Timestamp>>);

impl StartTimes {
    pub(crate) fn get(&self, uid: &str) -> Option<Timestamp> {
        self.0.lock().get(uid).copied()
    }

    /// The first time stays.
    pub(crate) fn record(&self, uid: &str, start: Timestamp) {
        self.0.lock().entry(uid.to_owned()).or_insert(start);
    }

    /// The resource is completed.
    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    /// Forgets the resources that do not exist any more.
    pub(crate) fn retain(&self, uids: &BTreeSet<String>) {
        self.0.lock().retain(|uid, _| uids.contains(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_resource_is_forgotten() {
        let (starts, start) = (StartTimes::default(), Timestamp::UNIX_EPOCH);
        starts.record("uid-of-kept", start);
        starts.record("uid-of-deleted", start);
        starts.retain(&["uid-of-kept".to_owned(), "uid-of-another".to_owned()].into());
        assert_eq!((starts.get("uid-of-kept"), starts.get("uid-of-deleted")), (Some(start), None));
    }
}
