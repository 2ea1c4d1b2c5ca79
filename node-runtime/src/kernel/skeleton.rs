//! Opens and loads the objects that have a generated skeleton. Their programs, maps and constants are fields, so that one
//! which the C sources do not have is a compile error.

use std::{mem::MaybeUninit, os::fd::BorrowedFd};

use libbpf_rs::{
    OpenMapMut,
    skel::{OpenSkel, SkelBuilder},
};

use super::{log, object};
use crate::problem::Problem;

/// Reads an object. `name` is its name in problems. Constants can be set, maps resized and shared, before it is loaded.
pub fn open<B: SkelBuilder<'static>>(name: &'static str, builder: B) -> Result<B::Output, Problem> {
    // libbpf-rs borrows the memory of an object from its caller, for as long as there are handles. One pointer for each
    // object that is opened stays allocated; the object itself is freed with its skeleton.
    let memory = Box::leak(Box::new(MaybeUninit::uninit()));
    let (opened, warnings) = log::with_warnings(|| builder.open(memory));
    opened.map_err(|error| object::not_opened(name, &error, &warnings))
}

/// The constants of an open object.
pub fn constants<T>(data: Option<&mut T>) -> Result<&mut T, Problem> {
    data.ok_or_else(|| Problem::LoadFailed {
        what: "setting constants".into(),
        detail: "the object has no memory for them".into(),
    })
}

/// Changes the size of a map.
pub fn resize(map: &mut OpenMapMut<'_>, max_entries: u32) -> Result<(), Problem> {
    map.set_max_entries(max_entries).map_err(|error| unusable(map, &error))
}

/// Uses a map that another object, or the agent, has made.
pub fn reuse(map: &mut OpenMapMut<'_>, fd: BorrowedFd<'_>) -> Result<(), Problem> {
    map.reuse_fd(fd).map_err(|error| unusable(map, &error))
}

/// Uses a shared map; without one the map is not used, and gets the smallest size that the kernel allows.
pub fn reuse_or_shrink(map: &mut OpenMapMut<'_>, shared: Option<BorrowedFd<'_>>) -> Result<(), Problem> {
    match shared {
        Some(fd) => reuse(map, fd),
        None => resize(map, 1),
    }
}

fn unusable(map: &OpenMapMut<'_>, error: &libbpf_rs::Error) -> Problem {
    Problem::LoadFailed { what: format!("map {}", map.name().to_string_lossy()), detail: error.to_string() }
}

/// Loads an object into the kernel. Dropping it closes its programs and maps; what is attached lives as long as its `Link`.
pub fn load<O: OpenSkel<'static>>(name: &'static str, open: O) -> Result<O::Output, Problem> {
    let maps = object::map_bytes(open.open_object());
    let (loaded, warnings) = log::with_warnings(|| open.load());
    loaded.map_err(|error| object::not_loaded(name, &error, &warnings, &maps))
}
