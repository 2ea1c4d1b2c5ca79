//! Waits for BPF programs that are running: detaching does not wait for them, so a ring that is drained right after may still
//! get records.

use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType, Result};

/// Returns once every program that was running at the call has ended: some tens of milliseconds.
///
/// The kernel guarantees this for an update of a map of maps (`maybe_wait_bpf_programs`, since 4.20), also where membarrier(2)
/// does not wait: with a single CPU, and with nohz_full CPUs.
pub fn wait_for_programs() -> Result<()> {
    let size = size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t;
    let plain = libbpf_sys::bpf_map_create_opts { sz: size, ..Default::default() };
    let inner = MapHandle::create(MapType::Array, Some("grace_inner"), 4, 4, 1, &plain)?;
    let fd = inner.as_fd().as_raw_fd();
    let holding = libbpf_sys::bpf_map_create_opts { sz: size, inner_map_fd: fd.cast_unsigned(), ..Default::default() };
    let outer = MapHandle::create(MapType::ArrayOfMaps, Some("grace"), 4, 4, 1, &holding)?;
    outer.update(&0_u32.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY)
}
