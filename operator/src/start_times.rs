//! When each time-limited resource started, as this operator first read or decided it: an edited `status.startedAt` moves no end.

use std::collections::HashMap;

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
}
