//! An object of kernel programs, before and after the kernel has taken it.

use std::{
    ffi::OsStr,
    io::Read,
    mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr, slice,
};

use libbpf_rs::{
    AsRawLibbpf, Iter, MapType, Object, ObjectBuilder, OpenObject, ProgramMut,
    btf::{Btf, types},
};

use super::{
    Link, Map, Ring, capabilities, log,
    misses::recursion_misses,
    perf, probe,
    refusal::{Failure, explain},
};
use crate::report::Problem;

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
        let object = opened.map_err(|error| Problem::LoadFailed {
            what: format!("opening {name}"),
            detail: warnings.first().map_or_else(|| error.to_string(), |line| line.trim().to_owned()),
        })?;
        Ok(Self { name, object })
    }

    /// Sets a `const volatile` of the object. Its type must have the size of `T`, and `T` no padding.
    pub fn set<T: Copy>(&mut self, global: &str, value: T) -> Result<(), Problem> {
        let offset = self.constant(global, mem::size_of::<T>())?;
        let name = self.name;
        let data = self
            .object
            .maps_mut()
            .find(|map| map.name().to_string_lossy().ends_with(".rodata"))
            .ok_or_else(|| wrong(name, global, "the object has no constants"))?;
        let mut data = data;
        let section = data.initial_value_mut().ok_or_else(|| wrong(name, global, "the constants have no value"))?;
        // SAFETY: any initialised, padding-free value may be read as bytes; the slice ends with the borrow of `value`.
        let bytes = unsafe { slice::from_raw_parts(ptr::from_ref(&value).cast::<u8>(), mem::size_of::<T>()) };
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
        let maps: Vec<(String, u64)> =
            object.maps().map(|map| (map.name().to_string_lossy().into_owned(), bytes(&map))).collect();
        let (loaded, warnings) = log::with_warnings(|| object.load());
        match loaded {
            Ok(object) => Ok(Loaded { name, object }),
            Err(error) => Err(explain(&Failure {
                object: name,
                errno: errno(&error),
                log: &warnings,
                maps: &maps,
                capabilities: &capabilities::effective(),
                release: probe::release(),
            })),
        }
    }
}

impl Loaded {
    /// Attaches a program as its section says.
    pub fn attach(&mut self, program: &str) -> Result<Link, Problem> {
        let found = self.program(program)?;
        let section = found.section().to_string_lossy().into_owned();
        let (link, warnings) = log::with_warnings(|| found.attach());
        link.map(|link| Link::new(link, &found))
            .map_err(|error| self.not_attached(program, &section, &error, &warnings))
    }

    /// Attaches to a classic tracepoint, whatever the section names.
    pub fn attach_tracepoint(&mut self, program: &str, category: &str, event: &str) -> Result<Link, Problem> {
        let found = self.program(program)?;
        let target = libbpf_rs::TracepointCategory::Custom(category.to_owned());
        let (link, warnings) = log::with_warnings(|| found.attach_tracepoint(target, event));
        link.map(|link| Link::new(link, &found))
            .map_err(|error| self.not_attached(program, &format!("tp/{category}/{event}"), &error, &warnings))
    }

    /// Attaches to a raw tracepoint, whatever the section names.
    pub fn attach_raw_tracepoint(&mut self, program: &str, event: &str) -> Result<Link, Problem> {
        let found = self.program(program)?;
        let (link, warnings) = log::with_warnings(|| found.attach_raw_tracepoint(event));
        link.map(|link| Link::new(link, &found))
            .map_err(|error| self.not_attached(program, &format!("raw_tp/{event}"), &error, &warnings))
    }

    /// Attaches to an interface, before those that are there: a program whose answer is not `TCX_NEXT` ends the chain, and
    /// those of a CNI do. `SEC("tcx/ingress")` or `SEC("tcx/egress")`.
    pub fn attach_tcx(&mut self, program: &str, ifindex: u32) -> Result<Link, Problem> {
        let found = self.program(program)?;
        // With no program named, the place before all.
        let first = libbpf_sys::bpf_tcx_opts {
            sz: mem::size_of::<libbpf_sys::bpf_tcx_opts>() as libbpf_sys::size_t,
            flags: libbpf_sys::BPF_F_BEFORE,
            ..Default::default()
        };
        let (link, warnings) = log::with_warnings(|| {
            // SAFETY: the program belongs to a loaded object that we hold; the options say their size and outlive the call.
            let pointer = unsafe {
                libbpf_sys::bpf_program__attach_tcx(
                    found.as_libbpf_object().as_ptr(),
                    ifindex.cast_signed(),
                    &raw const first,
                )
            };
            // Before anything else can overwrite errno.
            let error = std::io::Error::last_os_error();
            ptr::NonNull::new(pointer).ok_or(error)
        });
        match link {
            // SAFETY: libbpf has just made this link and gives it to us alone.
            Ok(pointer) => Ok(Link::new(unsafe { libbpf_rs::Link::from_ptr(pointer) }, &found)),
            Err(error) => Err(self.not_attached(
                program,
                &format!("interface {ifindex}"),
                &libbpf_rs::Error::from(error),
                &warnings,
            )),
        }
    }

    /// Attaches to a perf event; the link keeps the event open.
    pub fn attach_perf(&mut self, program: &str, event: OwnedFd) -> Result<Link, Problem> {
        let found = self.program(program)?;
        let (link, warnings) = log::with_warnings(|| found.attach_perf_event(event.as_raw_fd()));
        match link {
            Ok(link) => {
                // libbpf closes the event when the link is destroyed.
                mem::forget(event);
                Ok(Link::new(link, &found))
            }
            Err(error) => Err(self.not_attached(program, "a perf event", &error, &warnings)),
        }
    }

    /// A map of this object, by a descriptor of its own.
    pub fn map(&self, name: &str) -> Result<Map, Problem> {
        let found = self
            .object
            .maps()
            .find(|map| libbpf_rs::MapCore::name(map) == OsStr::new(name))
            .ok_or_else(|| wrong(self.name, name, "there is no such map"))?;
        Map::of(&found).map_err(|error| wrong(self.name, name, &error.to_string()))
    }

    /// A ring of this object, with its reader.
    pub fn ring(&self, name: &str) -> Result<Ring, Problem> {
        Ring::new(self.map(name)?).map_err(|error| wrong(self.name, name, &error.to_string()))
    }

    /// Runs an iterator to its end and gives what it wrote.
    pub fn iterate(&mut self, program: &str) -> Result<Vec<u8>, Problem> {
        let link = self.attach(program)?;
        let mut written = Vec::new();
        Iter::new(link.inner())
            .map_err(|error| wrong(self.name, program, &error.to_string()))?
            .read_to_end(&mut written)
            .map_err(|error| wrong(self.name, program, &error.to_string()))?;
        Ok(written)
    }

    /// Calls of a program that the kernel left out: see `recursion_misses`.
    pub fn misses(&self, program: &str) -> u64 {
        self.program(program).map_or(0, |found| recursion_misses(found.as_fd()))
    }

    pub(super) fn program(&self, name: &str) -> Result<ProgramMut<'_>, Problem> {
        self.object
            .progs_mut()
            .find(|program| program.name() == OsStr::new(name))
            .ok_or_else(|| wrong(self.name, name, "there is no such program"))
    }

    fn not_attached(&self, program: &str, target: &str, error: &libbpf_rs::Error, warnings: &[String]) -> Problem {
        let number = errno(error);
        if matches!(number, libc::EACCES | libc::EPERM) && (target.starts_with("tp/") || target.contains("perf event"))
        {
            return perf::refused(number);
        }
        let words = std::io::Error::from_raw_os_error(number).to_string();
        let detail = match warnings.first() {
            Some(line) => format!("{words}: {}", line.trim()),
            None => words,
        };
        Problem::LoadFailed { what: format!("attaching {program} of {} to {target}", self.name), detail }
    }
}

fn wrong(object: &str, what: &str, detail: &str) -> Problem {
    Problem::LoadFailed { what: format!("{what} of {object}"), detail: detail.to_owned() }
}

/// What a map will ask the kernel for, roughly.
fn bytes(map: &libbpf_rs::OpenMap<'_>) -> u64 {
    let entries = u64::from(map.max_entries());
    if map.map_type() == MapType::RingBuf { entries } else { entries * u64::from(map.key_size() + map.value_size()) }
}

/// libbpf-rs keeps the number only in its text.
fn errno(error: &libbpf_rs::Error) -> i32 {
    let text = format!("{error:#}");
    text.rsplit("(os error ").next().and_then(|tail| tail.split(')').next()?.parse().ok()).unwrap_or(
        match error.kind() {
            libbpf_rs::ErrorKind::PermissionDenied => libc::EPERM,
            libbpf_rs::ErrorKind::NotFound => libc::ENOENT,
            _ => libc::EINVAL,
        },
    )
}
