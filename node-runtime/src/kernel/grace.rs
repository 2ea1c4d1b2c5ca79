//! Waiting for programs that run just now: detaching one does not wait for them, and a ring that is read to its end before
//! they are done is read too early.

use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType, Result};

/// Returns when every program that ran when it was called has ended: some tens of milliseconds.
///
/// The kernel promises it for a write into a map of maps (`maybe_wait_bpf_programs`, since 4.20), also where membarrier(2)
/// does not wait: with one processor, or with processors that have no ticks.
pub fn wait_for_programs() -> Result<()> {
    let size = size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t;
    let plain = libbpf_sys::bpf_map_create_opts { sz: size, ..Default::default() };
    let inner = MapHandle::create(MapType::Array, Some("grace_inner"), 4, 4, 1, &plain)?;
    let fd = inner.as_fd().as_raw_fd();
    let holding = libbpf_sys::bpf_map_create_opts { sz: size, inner_map_fd: fd.cast_unsigned(), ..Default::default() };
    let outer = MapHandle::create(MapType::ArrayOfMaps, Some("grace"), 4, 4, 1, &holding)?;
    outer.update(&0_u32.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY)
}
