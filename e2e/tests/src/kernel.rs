//! The kernel's own list of our programs, maps and links, as root: what the agent says of itself is not asked here. Other
//! programs of the machine (a container runtime has one for each container's devices) come and go as they like.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use libbpf_rs::{
    ObjectBuilder,
    query::{LinkInfoIter, MapInfoIter, ProgInfoIter},
};

/// The program that samples for a CPU profile.
pub const PROFILE: &[&str] = &["on_tick"];
/// The programs that see the packets of an interface.
pub const FLOWS: &[&str] = &["flow_in", "flow_out"];
/// The programs that see what processes send and receive, by both ways to attach.
pub const REQUESTS: &[&str] = &["on_send", "on_receive", "on_tcp_send", "on_tcp_receive", "on_tls_call"];
/// The programs that follow processes.
pub const PROCESSES: &[&str] = &["on_exec", "on_exit", "on_fork"];

/// The programs of hooks: one for each attach point, however many policies there are.
pub const POLICIES: &[&str] = &[
    "on_tracing",
    "on_raw_tracepoint",
    "on_tracepoint",
    "on_function_entry",
    "on_function_return",
    "on_kprobe",
    "on_kprobe_multi",
    "on_kretprobe",
];

/// Bytes of a name that the kernel keeps.
const NAME: usize = 15;

/// What of ours is in the kernel now, on all nodes of the machine together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Programs by name, and how many.
    pub programs: BTreeMap<String, usize>,
    /// Maps by name, and how many.
    pub maps: BTreeMap<String, usize>,
    /// Links of those programs.
    pub links: usize,
}

/// Asks the kernel.
pub fn objects() -> Objects {
    let names = names();
    let mut objects = Objects::default();
    let mut ours = BTreeSet::new();
    for program in ProgInfoIter::default() {
        let name = program.name.to_string_lossy().into_owned();
        if names.programs.contains(&name) {
            ours.insert(program.id);
            *objects.programs.entry(name).or_default() += 1;
        }
    }
    for map in MapInfoIter::default() {
        let name = map.name.to_string_lossy().into_owned();
        if names.maps.contains(&name) {
            *objects.maps.entry(name).or_default() += 1;
        }
    }
    objects.links = LinkInfoIter::default().filter(|link| ours.contains(&link.prog_id)).count();
    objects
}

impl Objects {
    /// Programs of these names, as their sources have them.
    pub fn count(&self, programs: &[&str]) -> usize {
        programs.iter().filter_map(|name| self.programs.get(&kept(name))).sum()
    }

    /// Nothing of ours is there.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

struct Names {
    programs: BTreeSet<String>,
    maps: BTreeSet<String>,
}

/// What the objects that are linked into the agent call their programs and maps.
fn names() -> &'static Names {
    static NAMES: OnceLock<Names> = OnceLock::new();
    NAMES.get_or_init(|| {
        let (mut programs, mut maps) = (BTreeSet::new(), BTreeSet::new());
        for (name, bytes) in trilobite_node_ebpf::all() {
            let object = ObjectBuilder::default().name(name).unwrap().open_memory(bytes).unwrap();
            programs.extend(object.progs().map(|program| kept(&program.name().to_string_lossy())));
            maps.extend(object.maps().map(|map| kept(&map.name().to_string_lossy())));
        }
        // The ring of a profile of requests is in no object: the agent makes it when the profile starts.
        maps.insert(kept("slot_ring"));
        Names { programs, maps }
    })
}

fn kept(name: &str) -> String {
    name.chars().take(NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_tests_ask_for_are_names_of_programs() {
        for name in [PROFILE, FLOWS, REQUESTS, PROCESSES, POLICIES].concat() {
            assert!(names().programs.contains(&kept(name)), "{name} is no program of ours");
        }
    }
}
