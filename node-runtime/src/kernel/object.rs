//! An object that is loaded many times, once for each hook of a policy, with its programs and maps by name. Objects that are
//! loaded as a whole have a skeleton instead.

use std::{
    ffi::OsStr,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use libbpf_rs::{
    AsRawLibbpf, MapType, Object, ObjectBuilder, OpenObject, ProgramMut,
    btf::{Btf, types},
};
use zerocopy::{Immutable, IntoBytes};

use super::{
    Map, capabilities, log, probe,
    refusal::{Failure, errno, explain},
};
use crate::problem::Problem;

/// An object that the kernel has not seen yet: constants can be set, maps sized and shared, programs left out.
pub struct Opened {
    name: &'static str,
    object: OpenObject,
}

/// An object in the kernel. Dropping it closes its programs and maps; what is attached lives as long as its `Link`.
pub struct Loaded {
    name: &'static str,
    object: Object,
}

impl Opened {
    /// Reads an object; `name` is how problems call it.
    pub fn open(name: &'static str, bytes: &'static [u8]) -> Result<Self, Problem> {
        let (opened, warnings) = log::with_warnings(|| ObjectBuilder::default().open_memory(bytes));
        let object = opened.map_err(|error| not_opened(name, &error, &warnings))?;
        Ok(Self { name, object })
    }

    /// Sets a `const volatile` of the object. Its type must have the size of `T`.
    pub fn set<T: IntoBytes + Immutable>(&mut self, global: &str, value: T) -> Result<(), Problem> {
        let bytes = value.as_bytes();
        let offset = self.constant(global, bytes.len())?;
        let name = self.name;
        let data = self
            .object
            .maps_mut()
            .find(|map| map.name().to_string_lossy().ends_with(".rodata"))
            .ok_or_else(|| wrong(name, global, "the object has no constants"))?;
        let mut data = data;
        let section = data.initial_value_mut().ok_or_else(|| wrong(name, global, "the constants have no value"))?;
        section
            .get_mut(offset..offset + bytes.len())
            .ok_or_else(|| wrong(name, global, "it ends behind the section"))?
            .copy_from_slice(bytes);
        Ok(())
    }

    /// Where a constant lies in `.rodata`.
    fn constant(&self, global: &str, size: usize) -> Result<usize, Problem> {
        // SAFETY: the pointer is that of an object that we own and that nobody else changes meanwhile.
        let object = unsafe { self.object.as_libbpf_object().as_ref() };
        let btf = Btf::from_bpf_object(object)
            .ok()
            .flatten()
            .ok_or_else(|| wrong(self.name, global, "the object has no BTF"))?;
        let section: types::DataSec<'_> =
            btf.type_by_name(".rodata").ok_or_else(|| wrong(self.name, global, "the object has no constants"))?;
        for variable in section.iter() {
            let found: Option<types::Var<'_>> = btf.type_by_id(variable.ty);
            if found.is_some_and(|var| var.name() == Some(OsStr::new(global))) {
                if variable.size != size {
                    let detail = format!("it has {} bytes, not {size}", variable.size);
                    return Err(wrong(self.name, global, &detail));
                }
                return Ok(variable.offset as usize);
            }
        }
        Err(wrong(self.name, global, "there is no such constant"))
    }

    /// Gives a map another size.
    pub fn resize(&mut self, map: &str, max_entries: u32) -> Result<(), Problem> {
        let name = self.name;
        let mut found = self.map_mut(map)?;
        found.set_max_entries(max_entries).map_err(|error| wrong(name, map, &error.to_string()))
    }

    /// Uses a map that another object, or the agent, has made.
    pub fn reuse(&mut self, map: &str, fd: BorrowedFd<'_>) -> Result<(), Problem> {
        let name = self.name;
        let mut found = self.map_mut(map)?;
        found.reuse_fd(fd).map_err(|error| wrong(name, map, &error.to_string()))
    }

    fn map_mut(&mut self, map: &str) -> Result<libbpf_rs::OpenMapMut<'_>, Problem> {
        let name = self.name;
        self.object
            .maps_mut()
            .find(|found| found.name() == OsStr::new(map))
            .ok_or_else(|| wrong(name, map, "there is no such map"))
    }

    /// Makes a map as the object defines it, to be shared by several objects. 0 entries: as many as the object says.
    pub fn create_map(&self, map: &str, max_entries: u32) -> Result<Map, Problem> {
        let found = self
            .object
            .maps()
            .find(|found| found.name() == OsStr::new(map))
            .ok_or_else(|| wrong(self.name, map, "there is no such map"))?;
        let entries = if max_entries == 0 { found.max_entries() } else { max_entries };
        let (key, value) =
            if found.map_type() == MapType::RingBuf { (0, 0) } else { (found.key_size(), found.value_size()) };
        // SAFETY: the map belongs to the object, which lives as long as `self`.
        let flags = unsafe { libbpf_sys::bpf_map__map_flags(found.as_libbpf_object().as_ptr()) };
        Map::create(found.map_type(), map, (key, value), entries, flags)
            .map_err(|error| not_loaded(self.name, &error, &[], &[(map.to_owned(), bytes(&found))]))
    }

    /// Its programs, by name.
    pub fn programs(&mut self) -> Vec<String> {
        self.object.progs_mut().map(|program| program.name().to_string_lossy().into_owned()).collect()
    }

    /// It has a map of this name.
    pub fn has_map(&self, name: &str) -> bool {
        self.object.maps().any(|map| map.name() == OsStr::new(name))
    }

    /// Loads these programs and no other.
    pub fn only(&mut self, programs: &[&str]) {
        for mut program in self.object.progs_mut() {
            let wanted = programs.iter().any(|name| program.name() == OsStr::new(name));
            program.set_autoload(wanted);
        }
    }

    /// Chooses what a program is about, where its section leaves it open: the BTF name of a function or raw tracepoint.
    pub fn target(&mut self, program: &str, function: &str) -> Result<(), Problem> {
        let name = self.name;
        let mut found = self
            .object
            .progs_mut()
            .find(|found| found.name() == OsStr::new(program))
            .ok_or_else(|| wrong(name, program, "there is no such program"))?;
        found.set_attach_target(0, Some(function.to_owned())).map_err(|error| wrong(name, program, &error.to_string()))
    }

    /// Hands the object to the kernel.
    pub fn load(self) -> Result<Loaded, Problem> {
        let Self { name, object } = self;
        let maps = map_bytes(&object);
        let (loaded, warnings) = log::with_warnings(|| object.load());
        let object = loaded.map_err(|error| not_loaded(name, &error, &warnings, &maps))?;
        Ok(Loaded { name, object })
    }
}

impl Loaded {
    /// A program of this object.
    pub fn program(&self, name: &str) -> Result<ProgramMut<'_>, Problem> {
        self.object
            .progs_mut()
            .find(|program| program.name() == OsStr::new(name))
            .ok_or_else(|| wrong(self.name, name, "there is no such program"))
    }

    /// Steps that the verifier took for a program; none where the kernel does not say: before 5.16.
    pub fn verified_steps(&self, program: &str) -> Option<u32> {
        let program = self.program(program).ok()?;
        let mut info = libbpf_sys::bpf_prog_info::default();
        let mut bytes = size_of::<libbpf_sys::bpf_prog_info>() as u32;
        // SAFETY: the kernel fills at most `bytes` of the struct, which lives through the call; nothing in it points anywhere.
        let answer = unsafe {
            libbpf_sys::bpf_obj_get_info_by_fd(program.as_fd().as_raw_fd(), (&raw mut info).cast(), &raw mut bytes)
        };
        (answer == 0 && info.verified_insns > 0).then_some(info.verified_insns)
    }

    /// A map of this object, by a descriptor of its own.
    pub fn map(&self, name: &str) -> Result<Map, Problem> {
        let found = self
            .object
            .maps()
            .find(|map| libbpf_rs::MapCore::name(map) == OsStr::new(name))
            .ok_or_else(|| wrong(self.name, name, "there is no such map"))?;
        Map::from_object(&found)
    }
}

/// Creates a ring, to be put into a map of rings.
pub fn create_ring(name: &str, bytes: u32) -> Result<Map, Problem> {
    Map::create(MapType::RingBuf, name, (0, 0), bytes, 0)
        .map_err(|error| not_loaded("a ring", &error, &[], &[(name.to_owned(), bytes.into())]))
}

/// Problem of an object that libbpf cannot read.
pub(super) fn not_opened(name: &str, error: &libbpf_rs::Error, warnings: &[String]) -> Problem {
    Problem::LoadFailed {
        what: format!("opening {name}"),
        detail: warnings.first().map_or_else(|| error.to_string(), |line| line.trim().to_owned()),
    }
}

/// Problem of an object that the kernel refuses, with the maps that it asked for.
pub(super) fn not_loaded(
    name: &'static str,
    error: &libbpf_rs::Error,
    warnings: &[String],
    maps: &[(String, u64)],
) -> Problem {
    explain(&Failure {
        object: name,
        errno: errno(error),
        log: warnings,
        maps,
        capabilities: &capabilities::effective(),
        release: probe::release(),
    })
}

/// The maps of an object with the bytes that each will ask the kernel for, roughly.
pub(super) fn map_bytes(object: &OpenObject) -> Vec<(String, u64)> {
    object.maps().map(|map| (map.name().to_string_lossy().into_owned(), bytes(&map))).collect()
}

fn wrong(object: &str, what: &str, detail: &str) -> Problem {
    Problem::LoadFailed { what: format!("{what} of {object}"), detail: detail.to_owned() }
}

fn bytes(map: &libbpf_rs::OpenMap<'_>) -> u64 {
    let entries = u64::from(map.max_entries());
    if map.map_type() == MapType::RingBuf { entries } else { entries * u64::from(map.key_size() + map.value_size()) }
}
