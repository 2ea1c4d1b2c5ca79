//! The kernel's own list of programs, maps and links, as root: what the agent says of itself is not asked here.

use std::collections::BTreeMap;

use libbpf_rs::query::{LinkInfoIter, MapInfoIter, ProgInfoIter};

/// What is in the kernel now, of the whole machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Programs by name, and how many.
    pub programs: BTreeMap<String, usize>,
    /// Maps by name, and how many.
    pub maps: BTreeMap<String, usize>,
    /// How many links.
    pub links: usize,
}

/// Asks the kernel.
pub fn objects() -> Objects {
    let mut objects = Objects { links: LinkInfoIter::default().count(), ..Objects::default() };
    for program in ProgInfoIter::default() {
        *objects.programs.entry(program.name.to_string_lossy().into_owned()).or_default() += 1;
    }
    for map in MapInfoIter::default() {
        *objects.maps.entry(map.name.to_string_lossy().into_owned()).or_default() += 1;
    }
    objects
}

impl Objects {
    /// Programs whose name holds one of these words.
    pub fn programs_named(&self, words: &[&str]) -> usize {
        let named = |name: &str| words.iter().any(|word| name.contains(word));
        self.programs.iter().filter(|(name, _)| named(name)).map(|(_, count)| count).sum()
    }
}
