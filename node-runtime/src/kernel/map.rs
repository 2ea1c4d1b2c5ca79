//! A BPF map, by a descriptor of its own: it outlives the object that it came from.

use std::{
    borrow::Cow,
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    ptr,
};

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapImpl, MapType, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::problem::Problem;

/// Entries that are read at once; more than a bucket has: buckets are not split between batches.
const BATCH: u32 = 512;

#[derive(Debug)]
pub struct Map(MapHandle);

impl Map {
    pub fn from_object<T: fmt::Debug>(map: &MapImpl<'_, T>) -> std::result::Result<Self, Problem> {
        MapHandle::try_from(map).map(Self).map_err(|error| Problem::LoadFailed {
            what: format!("a descriptor of map {}", map.name().to_string_lossy()),
            detail: error.to_string(),
        })
    }

    /// Creates a hash map that several objects share. Before 6.1 a program of a perf event may only use a preallocated one.
    pub fn hash<K, V>(name: &str, max_entries: u32, preallocated: bool) -> Result<Self> {
        let flags = if preallocated { 0 } else { libbpf_sys::BPF_F_NO_PREALLOC };
        Self::create(MapType::Hash, name, (size_of::<K>() as u32, size_of::<V>() as u32), max_entries, flags)
    }

    /// Creates an array that several objects share.
    pub fn array<V>(name: &str, max_entries: u32) -> Result<Self> {
        Self::create(MapType::Array, name, (4, size_of::<V>() as u32), max_entries, 0)
    }

    pub(super) fn name(&self) -> Cow<'_, str> {
        self.0.name().to_string_lossy()
    }

    /// Entries of a hash or array, bytes of a ring.
    pub(super) fn max_entries(&self) -> u32 {
        self.0.max_entries()
    }

    /// Another descriptor of the map.
    pub fn try_clone(&self) -> std::result::Result<Self, Problem> {
        MapHandle::try_from(&self.0).map(Self).map_err(|error| Problem::LoadFailed {
            what: format!("a descriptor of map {}", self.name()),
            detail: error.to_string(),
        })
    }

    /// Bytes of a value.
    pub(super) fn value_size(&self) -> u32 {
        self.0.value_size()
    }

    /// Creates a map of any type; the sizes are those of key and value.
    pub(super) fn create(
        r#type: MapType,
        name: &str,
        (key, value): (u32, u32),
        max_entries: u32,
        flags: u32,
    ) -> Result<Self> {
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
            map_flags: flags,
            ..Default::default()
        };
        MapHandle::create(r#type, Some(name), key, value, max_entries, &options).map(Self)
    }

    /// The value of a key; none also if the map's values are not as long as `V`.
    pub fn get<V: FromBytes>(&self, key: &(impl IntoBytes + Immutable)) -> Result<Option<V>> {
        let value = self.0.lookup(key.as_bytes(), MapFlags::ANY)?;
        Ok(value.and_then(|value| V::read_from_bytes(&value).ok()))
    }

    /// The beginning of the value of a key.
    pub fn get_prefix<V: FromBytes>(&self, key: &(impl IntoBytes + Immutable)) -> Result<Option<V>> {
        let value = self.0.lookup(key.as_bytes(), MapFlags::ANY)?;
        Ok(value.and_then(|value| Some(V::read_from_prefix(&value).ok()?.0)))
    }

    /// The sum of a per-CPU u64 counter; 0 and an error in the log when it cannot be read.
    pub fn sum(&self, key: u32) -> u64 {
        self.of_processors::<u64>(key).into_iter().sum()
    }

    /// The value of each processor of a per-CPU map; none, and an error in the log, when they cannot be read.
    pub fn of_processors<V: FromBytes>(&self, key: u32) -> Vec<V> {
        let values = self.0.lookup_percpu(key.as_bytes(), MapFlags::ANY).ok().flatten().unwrap_or_else(|| {
            tracing::error!(map = %self.name(), key, "counters of the kernel cannot be read: what they counted is missing");
            Vec::new()
        });
        values.iter().filter_map(|value| Some(V::read_from_prefix(value).ok()?.0)).collect()
    }

    /// Puts a map into a map of maps.
    pub fn set_map(&self, key: u32, map: &Self) -> Result<()> {
        self.set(&key, &map.fd().as_raw_fd())
    }

    pub fn set(&self, key: &(impl IntoBytes + Immutable), value: &(impl IntoBytes + Immutable)) -> Result<()> {
        self.0.update(key.as_bytes(), value.as_bytes(), MapFlags::ANY)
    }

    /// Deletes a key; a missing one is no error.
    pub fn delete(&self, key: &(impl IntoBytes + Immutable)) -> Result<()> {
        match self.0.delete(key.as_bytes()) {
            Err(error) if error.kind() == libbpf_rs::ErrorKind::NotFound => Ok(()),
            answer => answer,
        }
    }

    /// All keys. Not a snapshot: keys that are added or deleted during the walk may be missed.
    pub fn keys<K: FromBytes>(&self) -> impl Iterator<Item = K> + '_ {
        self.0.keys().filter_map(|key| K::read_from_bytes(&key).ok())
    }

    /// All entries of a hash. Not a snapshot: values may change while they are read, and keys that are added or deleted meanwhile may
    /// be missed.
    pub fn entries<K: FromBytes, V: FromBytes>(&self) -> Result<Vec<(K, V)>> {
        let (key_size, value_size) = (self.0.key_size() as usize, self.0.value_size() as usize);
        let (mut keys, mut values) = (vec![0u8; BATCH as usize * key_size], vec![0u8; BATCH as usize * value_size]);
        let options = libbpf_sys::bpf_map_batch_opts {
            sz: size_of::<libbpf_sys::bpf_map_batch_opts>() as libbpf_sys::size_t,
            ..Default::default()
        };
        let mut all = Vec::new();
        let mut position: Option<u32> = None;
        loop {
            let (mut count, mut next) = (BATCH, 0u32);
            let from = position.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
            // SAFETY: the buffers have room for `count` keys and values of this map; a position of a hash is a u32.
            let answer = unsafe {
                libbpf_sys::bpf_map_lookup_batch(
                    self.0.as_fd().as_raw_fd(),
                    from.cast(),
                    ptr::from_mut(&mut next).cast(),
                    keys.as_mut_ptr().cast(),
                    values.as_mut_ptr().cast(),
                    &raw mut count,
                    &raw const options,
                )
            };
            // The last batch says that there is no other, and may have entries all the same.
            let is_last = answer == -libc::ENOENT;
            if answer < 0 && !is_last {
                return Err(io::Error::from_raw_os_error(-answer).into());
            }
            let pairs = keys.chunks_exact(key_size).zip(values.chunks_exact(value_size)).take(count as usize);
            all.extend(
                pairs.filter_map(|(key, value)| Some((K::read_from_bytes(key).ok()?, V::read_from_bytes(value).ok()?))),
            );
            if is_last {
                return Ok(all);
            }
            position = Some(next);
        }
    }

    /// Removes all entries of a hash and returns them. Entries that are changed meanwhile may lose the change.
    pub fn drain<K: FromBytes, V: FromBytes>(&self) -> Result<Vec<(K, V)>> {
        let entry =
            |(key, value): (Vec<u8>, Vec<u8>)| Some((K::read_from_bytes(&key).ok()?, V::read_from_bytes(&value).ok()?));
        let mut all = Vec::new();
        loop {
            // libbpf-rs takes a batch that is not full for the last one, which of a hash is no rule: what is left comes first now.
            let before = all.len();
            all.extend(self.0.lookup_and_delete_batch(BATCH, MapFlags::ANY, MapFlags::ANY)?.filter_map(entry));
            if all.len() == before {
                return Ok(all);
            }
        }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
