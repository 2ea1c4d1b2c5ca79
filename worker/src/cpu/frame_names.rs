//! The text of every frame, and for the innermost ones whether their caller is missing.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
};

use trilobite_flame_graph::frame_text;
use trilobite_worker_wire::names::{sanitize_name, sanitize_symbol};

use super::stacks::Frame;
use crate::symbolize::{CodePlace, NamedPlace};

/// The root of stacks whose pod did not become known.
const UNKNOWN_POD: &str = "[unknown pod]";

/// Names places in one file, in order.
pub(super) type NamePlaces<'a> = dyn FnMut(u32, &[CodePlace]) -> Vec<NamedPlace> + 'a;

/// Names that do not come from files: of kernel addresses and of cgroups.
#[derive(Default)]
pub(super) struct KnownNames {
    pub(super) kernel: HashMap<u64, String>,
    pub(super) cgroups: HashMap<u64, String>,
}

/// Names of frames by their numbers.
pub(super) struct FrameNames {
    texts: Vec<Rc<str>>,
    caller_missing: HashSet<u32>,
}

impl FrameNames {
    /// `innermost` are the numbers of frames that are the innermost of a program's stack.
    pub(super) fn find(
        frames: &[Frame],
        innermost: impl Iterator<Item = u32>,
        name_places: &mut NamePlaces<'_>,
        known: &KnownNames,
    ) -> Self {
        let innermost: HashSet<u32> = innermost.collect();
        let mut interned = Interned::default();
        let mut texts: Vec<Rc<str>> = vec!["".into(); frames.len()];
        let mut caller_missing = HashSet::new();
        let mut by_file: BTreeMap<u32, Vec<(usize, CodePlace)>> = BTreeMap::new();
        for (number, frame) in frames.iter().enumerate() {
            if let Frame::File { file, offset } = frame {
                let place = CodePlace { offset: *offset, innermost: innermost.contains(&(number as u32)) };
                by_file.entry(*file).or_default().push((number, place));
            } else {
                texts[number] = interned.get(text_without_file(frame, known));
            }
        }
        for (file, numbered) in by_file {
            let places: Vec<CodePlace> = numbered.iter().map(|(_, place)| *place).collect();
            for ((number, place), named) in numbered.into_iter().zip(name_places(file, &places)) {
                texts[number] = interned.get(named.frame);
                if place.innermost && named.caller_missing {
                    caller_missing.insert(number as u32);
                }
            }
        }
        Self { texts, caller_missing }
    }

    pub(super) fn text(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }

    pub(super) fn caller_missing(&self, number: u32) -> bool {
        self.caller_missing.contains(&number)
    }
}

fn text_without_file(frame: &Frame, known: &KnownNames) -> String {
    match frame {
        Frame::Cgroup(cgroup) => known.cgroups.get(cgroup).cloned().unwrap_or_else(|| UNKNOWN_POD.to_owned()),
        Frame::Comm(comm) => {
            let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
            sanitize_name(&String::from_utf8_lossy(&comm[..end]))
        }
        Frame::Kernel(address) => {
            frame_text::kernel(&known.kernel.get(address).map_or("[kernel]".to_owned(), |name| sanitize_symbol(name)))
        }
        Frame::Truncated => frame_text::TRUNCATED.to_owned(),
        Frame::Unknown | Frame::File { .. } => frame_text::UNKNOWN.to_owned(),
    }
}

/// Many frames share a name, and names are long.
#[derive(Default)]
struct Interned(HashSet<Rc<str>>);

impl Interned {
    fn get(&mut self, name: String) -> Rc<str> {
        if let Some(name) = self.0.get(name.as_str()) {
            return name.clone();
        }
        let name: Rc<str> = name.into();
        self.0.insert(name.clone());
        name
    }
}
