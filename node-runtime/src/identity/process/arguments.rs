//! The arguments of a process in memory: one text for all images and events that show it, and a bound on all long ones together,
//! since a queue or the cache may hold thousands.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trilobite_untrusted_text::prefix;

/// Arguments of so many bytes are never cut.
const SHORT_MAX: usize = 4096;
/// Bytes of all longer ones that are in memory at a time.
const LONG_TOTAL_MAX: usize = 8 << 20;

/// Arguments without the first, joined and quoted.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    text: Arc<str>,
    lease: Option<Arc<Lease>>,
}

impl Arguments {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Their beginning, where they are long enough to be cut.
    pub fn shortened(&self) -> Option<&str> {
        (self.text.len() > SHORT_MAX).then(|| prefix(&self.text, SHORT_MAX))
    }
}

impl std::ops::Deref for Arguments {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Arguments {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Arguments {}

impl PartialEq<str> for Arguments {
    fn eq(&self, other: &str) -> bool {
        *self.text == *other
    }
}

impl PartialEq<&str> for Arguments {
    fn eq(&self, other: &&str) -> bool {
        *self.text == **other
    }
}

impl PartialEq<String> for Arguments {
    fn eq(&self, other: &String) -> bool {
        *self.text == **other
    }
}

impl From<String> for Arguments {
    fn from(text: String) -> Self {
        Self { text: text.into(), lease: None }
    }
}

impl From<&str> for Arguments {
    fn from(text: &str) -> Self {
        Self { text: text.into(), lease: None }
    }
}

impl Serialize for Arguments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(String::deserialize(deserializer)?.into())
    }
}

/// The memory for long arguments.
#[derive(Debug, Default)]
pub(super) struct ArgumentMemory(Arc<AtomicUsize>);

/// A part of it, until the last image or event with these arguments is dropped.
#[derive(Debug)]
struct Lease {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl ArgumentMemory {
    /// Leases memory for arguments that have none yet; where none is left they are cut. True if they were.
    pub(super) fn admit(&self, arguments: &mut Arguments) -> bool {
        let Some(short) = arguments.shortened().filter(|_| arguments.lease.is_none()) else { return false };
        let bytes = arguments.len();
        if self.0.fetch_add(bytes, Ordering::Relaxed) + bytes <= LONG_TOTAL_MAX {
            arguments.lease = Some(Arc::new(Lease { used: Arc::clone(&self.0), bytes }));
            return false;
        }
        self.0.fetch_sub(bytes, Ordering::Relaxed);
        *arguments = short.into();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: usize = 64 << 10;

    fn admitted(memory: &ArgumentMemory, text: &str) -> (Arguments, bool) {
        let mut arguments = Arguments::from(text);
        let is_cut = memory.admit(&mut arguments);
        (arguments, is_cut)
    }

    #[test]
    fn long_arguments_are_cut_while_too_many_are_in_memory() {
        let memory = ArgumentMemory::default();
        let text = "é".repeat(LONG / 2);
        let mut held: Vec<_> = (0..LONG_TOTAL_MAX / LONG).map(|_| admitted(&memory, &text)).collect();
        assert!(held.iter().all(|(arguments, is_cut)| *arguments == text && !is_cut));
        // As of a fork, and of an event about it: no memory of their own.
        let (mut fork, event) = (held[0].0.clone(), held[0].0.clone());
        assert!(!memory.admit(&mut fork), "leased once");

        let (cut, is_cut) = admitted(&memory, &format!("x{text}"));
        assert_eq!((cut.len(), is_cut), (SHORT_MAX - 1, true));
        assert_eq!(admitted(&memory, "short"), ("short".into(), false));

        held.remove(0);
        assert!(admitted(&memory, &text).1, "its fork still runs");
        drop((fork, event));
        assert_eq!(admitted(&memory, &text), (text.as_str().into(), false));
        assert_eq!(memory.0.load(Ordering::Relaxed), LONG_TOTAL_MAX - LONG, "it was given back");
    }

    #[test]
    fn arguments_of_usual_length_need_no_memory() {
        let memory = ArgumentMemory::default();
        let (usual, is_cut) = admitted(&memory, &"x".repeat(SHORT_MAX));
        assert_eq!((usual.len(), usual.lease.is_some(), is_cut), (SHORT_MAX, false, false));
        assert_eq!(memory.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn arguments_are_kept_as_text() {
        let kept = serde_json::to_string(&Arguments::from("-c \"a b\"")).unwrap();
        assert_eq!(kept, r#""-c \"a b\"""#);
        assert_eq!(serde_json::from_str::<Arguments>(&kept).unwrap(), "-c \"a b\"");
    }
}
