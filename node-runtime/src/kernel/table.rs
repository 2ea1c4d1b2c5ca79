//! An array map as memory of this process. A word is written whole, so that a program sees its old value or its new one; a
//! map update by bpf(2) does not promise that.

use std::{
    io,
    num::NonZeroUsize,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::Map;
use crate::problem::Problem;

const WORD: usize = 8;

/// The mapped elements of an array that was made with `BPF_F_MMAPABLE`.
#[derive(Debug)]
pub struct Table {
    memory: NonNull<AtomicU64>,
    bytes: NonZeroUsize,
    /// Words of an element.
    stride: usize,
    entries: usize,
}

// SAFETY: the memory belongs to this value and is accessed by atomic words only.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    pub fn map(map: &Map) -> Result<Self, Problem> {
        let failed = |detail: String| Problem::LoadFailed { what: format!("mapping {}", map.name()), detail };
        let entries = map.max_entries() as usize;
        let stride = (map.value_size() as usize).div_ceil(WORD);
        let bytes = NonZeroUsize::new(entries * stride * WORD).ok_or_else(|| failed("it has no elements".into()))?;
        // SAFETY: a new mapping of memory that the kernel keeps for as long as it is mapped.
        let memory = unsafe {
            mmap(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, map.fd(), 0)
        };
        let memory = memory.map_err(|errno| failed(io::Error::from(errno).to_string()))?;
        Ok(Self { memory: memory.cast(), bytes, stride, entries })
    }

    /// Number of elements.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// A word of an element; none behind the end.
    fn word(&self, element: usize, word: usize) -> Option<&AtomicU64> {
        if element >= self.entries || word >= self.stride {
            return None;
        }
        // SAFETY: inside the mapping, aligned, and only ever accessed as an atomic word by this process.
        Some(unsafe { self.memory.add(element * self.stride + word).as_ref() })
    }

    pub fn load(&self, element: usize, word: usize) -> u64 {
        self.word(element, word).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Writes a word after everything that was written before; words behind the end are left out.
    pub fn store(&self, element: usize, word: usize, value: u64) {
        if let Some(word) = self.word(element, word) {
            word.store(value, Ordering::Release);
        }
    }

    /// Writes those words of an element, from its first one on, that are not written yet.
    pub fn write(&self, element: usize, words: &[u64]) {
        for (index, value) in words.iter().enumerate() {
            if self.load(element, index) != *value {
                self.store(element, index, *value);
            }
        }
    }

    /// Writes an element from its bytes; missing ones are 0.
    pub fn write_bytes(&self, element: usize, bytes: &[u8]) {
        for (index, chunk) in bytes.chunks(WORD).enumerate() {
            let mut word = [0; WORD];
            word[..chunk.len()].copy_from_slice(chunk);
            self.store(element, index, u64::from_ne_bytes(word));
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: mapped in `map`, unmapped once; no reference to it outlives `self`.
        let _ = unsafe { munmap(self.memory.cast(), self.bytes.get()) };
    }
}
