//! A map of the kernel's, by a descriptor of our own: it outlives the object that it came from.

use std::os::fd::{AsFd, BorrowedFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType, Result};

/// A map.
#[derive(Debug)]
pub struct Map(MapHandle);

impl Map {
    pub(super) fn of(map: &libbpf_rs::Map<'_>) -> Result<Self> {
        MapHandle::try_from(map).map(Self)
    }

    /// A hash, made by the agent to be shared by objects. Before 6.1 a perf event's program may look into a
    /// preallocated one only.
    pub fn hash(name: &str, key_bytes: u32, value_bytes: u32, max_entries: u32, preallocated: bool) -> Result<Self> {
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
            map_flags: if preallocated { 0 } else { libbpf_sys::BPF_F_NO_PREALLOC },
            ..Default::default()
        };
        MapHandle::create(MapType::Hash, Some(name), key_bytes, value_bytes, max_entries, &options).map(Self)
    }

    /// Entries of a hash or an array, bytes of a ring.
    pub(super) fn max_entries(&self) -> u32 {
        self.0.max_entries()
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.lookup(key, MapFlags::ANY)
    }

    /// The values of a key, one for each processor that is possible.
    pub fn get_percpu(&self, key: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        self.0.lookup_percpu(key, MapFlags::ANY)
    }

    /// The sum of a per-processor counter of 64 bits; zero where it cannot be read.
    pub fn sum(&self, key: u32) -> u64 {
        let values = self.get_percpu(&key.to_ne_bytes()).ok().flatten().unwrap_or_default();
        values.iter().filter_map(|value| Some(u64::from_ne_bytes(value.get(..8)?.try_into().ok()?))).sum()
    }

    /// Writes a value.
    pub fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.update(key, value, MapFlags::ANY)
    }

    /// Takes a key out; one that is not there is no error.
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        match self.0.delete(key) {
            Err(error) if error.kind() == libbpf_rs::ErrorKind::NotFound => Ok(()),
            answer => answer,
        }
    }

    /// All keys, as they are found while others come and go.
    pub fn keys(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.0.keys()
    }

    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
