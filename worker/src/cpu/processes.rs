//! Turns addresses of sampled processes into offsets in files, by the mappings that the agent sends. They are requested at the
//! first sample of a process, so that a process that ends soon after still has names, and again while it is sampled, because
//! libraries come and go.

use std::collections::{HashMap, VecDeque};

use trilobite_flame_graph::ROOT_FRAMES;
use trilobite_node_ebpf::STACK_FRAMES_MAX;
use trilobite_worker_wire::{Mapping, ProcessImage};

use super::{process::Process, sample::Sample, stacks::Frame};

/// Processes whose mappings are kept; above it the oldest is dropped.
const PROCESSES_MAX: usize = 4096;
/// Samples of all processes that may wait for mappings.
const WAITING_MAX: usize = 2048;

/// What to do with a sample.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resolution {
    /// Count this stack, outermost frame first.
    Stack {
        frames: Vec<Frame>,
        /// At least one mapping of the process is known.
        mapped: bool,
        /// Mappings may be old: request them again.
        refresh: bool,
    },
    /// The sample waits; request the mappings of its process.
    RequestMappings,
    /// The sample waits for mappings that were requested before.
    Wait,
}

/// A sample whose wait for mappings has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResolvedSample {
    pub(super) sample: Sample,
    /// Outermost frame first.
    pub(super) frames: Vec<Frame>,
    /// At least one mapping of the process is known.
    pub(super) mapped: bool,
}

/// What an answer of the agent leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    /// Samples that waited.
    pub(super) resolved: Vec<ResolvedSample>,
    /// Samples that were counted since the last answer in mappings that have changed since.
    pub(super) remapped: u64,
    /// Mappings of the process that the agent did not send, as far as earlier answers did not count them.
    pub(super) dropped: u64,
}

/// All sampled processes.
#[derive(Default)]
pub(super) struct Processes {
    known: HashMap<ProcessImage, Process>,
    order: VecDeque<ProcessImage>,
    waiting: usize,
}

impl Processes {
    /// Resolves a sample that was read from the ring at this time.
    pub(super) fn resolve(&mut self, sample: Sample, now_ns: u64) -> Resolution {
        let image = sample.image;
        if !self.known.contains_key(&image) {
            while self.order.len() >= PROCESSES_MAX {
                let Some(oldest) = self.order.pop_front() else { break };
                // Its waiting samples, if any, are dropped: PROCESSES_MAX other processes were sampled before the answer.
                if let Some(process) = self.known.remove(&oldest) {
                    self.waiting -= process.waiting.len();
                }
            }
            self.order.push_back(image);
        }
        let full = self.waiting >= WAITING_MAX;
        let process = self.known.entry(image).or_default();
        let unmapped_address = sample.user.iter().any(|address| process.mapping_at(*address).is_none());
        if sample.user.is_empty() || !unmapped_address || full {
            let refresh = !sample.user.is_empty() && process.request_if_due(now_ns);
            return process.stack_now(&sample, refresh);
        }
        if process.is_requested() {
            process.waiting.push(sample);
            self.waiting += 1;
            return Resolution::Wait;
        }
        if process.request_for_new_code(now_ns) {
            process.waiting.push(sample);
            self.waiting += 1;
            return Resolution::RequestMappings;
        }
        process.stack_now(&sample, false)
    }

    /// Adds mappings that the agent sent. The last message about a process, the `complete` one, gives the samples that waited.
    pub(super) fn add_mappings(
        &mut self,
        image: ProcessImage,
        mappings: &[Mapping],
        complete: bool,
        dropped: u32,
    ) -> Answered {
        let Some(process) = self.known.get_mut(&image) else { return Answered::default() };
        process.receive(mappings);
        if !complete {
            return Answered::default();
        }
        let (remapped, dropped) = process.apply_received(dropped);
        let waited = std::mem::take(&mut process.waiting);
        self.waiting -= waited.len();
        let mapped = process.is_mapped();
        let resolve = |sample| ResolvedSample { frames: process.stack(&sample), sample, mapped };
        Answered { resolved: waited.into_iter().map(resolve).collect(), remapped, dropped }
    }

    /// Samples that wait for mappings.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Ends every wait: the profile has ended.
    pub(super) fn resolve_all(&mut self) -> Vec<ResolvedSample> {
        let mut resolved = Vec::new();
        for process in self.known.values_mut() {
            let mapped = process.is_mapped();
            for sample in std::mem::take(&mut process.waiting) {
                resolved.push(ResolvedSample { frames: process.stack(&sample), sample, mapped });
            }
        }
        self.waiting = 0;
        resolved
    }
}

impl Process {
    fn stack_now(&mut self, sample: &Sample, refresh: bool) -> Resolution {
        Resolution::Stack { frames: self.stack(sample), mapped: self.is_mapped(), refresh }
    }

    /// The frames of a sample, outermost first. Counts the sample for the mappings that it used.
    fn stack(&mut self, sample: &Sample) -> Vec<Frame> {
        let mut frames =
            vec![Frame::Cgroup(sample.cgroup), Frame::Comm(sample.process_name), Frame::Comm(sample.thread_name)];
        // All addresses but the innermost are return addresses; the call instruction ends one byte before.
        let call = |(depth, address): (usize, &u64)| address.saturating_sub(u64::from(depth > 0));
        let mut user = Vec::with_capacity(sample.user.len() + 1);
        let mut used = Vec::new();
        for (depth, address) in sample.user.iter().enumerate().map(|at| (at.0, call(at))) {
            let mapping = self.mapping_at(address);
            user.push(mapping.map_or(Frame::Unknown, |mapping| frame_in(mapping, address)));
            used.extend(mapping.map(|mapping| mapping.start));
            // A return address outside all code: the walk took other data for a frame, and everything behind it is chance.
            if mapping.is_none() && depth > 0 && self.is_mapped() {
                break;
            }
        }
        self.count_use(used);
        let too_deep = |stack: &[u64]| stack.len() >= STACK_FRAMES_MAX as usize;
        if too_deep(&sample.user) && user.len() == sample.user.len() {
            user.push(Frame::Truncated);
        }
        let kernel: Vec<u64> = sample.kernel.iter().enumerate().map(call).collect();
        frames.extend(user.into_iter().rev());
        frames.extend(too_deep(&kernel).then_some(Frame::Truncated));
        frames.extend(kernel.iter().rev().map(|address| Frame::Kernel(*address)));
        frames
    }
}

fn frame_in(mapping: &Mapping, address: u64) -> Frame {
    let offset = (address - mapping.start).checked_add(mapping.offset);
    offset.map_or(Frame::Unknown, |offset| Frame::File { file: mapping.file, offset })
}

/// The stack walk has left all known code, so the caller of the outermost known frame is unknown. Means nothing for a process
/// without known mappings.
pub(super) fn leaves_known_code(stack: &[Frame]) -> bool {
    stack.get(ROOT_FRAMES) == Some(&Frame::Unknown)
}

#[cfg(test)]
mod tests {
    use super::{
        super::process::{REFRESH_INTERVAL_NS, REQUEST_INTERVAL_NS},
        *,
    };

    const IMAGE: ProcessImage = ProcessImage { pid: 10, ktime: 5 };
    const ROOT: [Frame; 3] = [Frame::Cgroup(1), Frame::Comm([1; 16]), Frame::Comm([2; 16])];

    fn sample(user: &[u64]) -> Sample {
        Sample {
            image: IMAGE,
            cgroup: 1,
            process_name: [1; 16],
            thread_name: [2; 16],
            undecided: false,
            truncated: false,
            kernel: Vec::new(),
            user: user.to_vec(),
        }
    }

    fn code() -> Mapping {
        Mapping { start: 0x1000, end: 0x2000, offset: 0x400, file: 3 }
    }

    fn code_at(offset: u64) -> Frame {
        Frame::File { file: 3, offset }
    }

    fn with_root(frames: &[Frame]) -> Vec<Frame> {
        [&ROOT, frames].concat()
    }

    /// The stack of a sample of a process with these mappings.
    fn resolved(mappings: &[Mapping], sample: Sample) -> Vec<Frame> {
        let mut processes = Processes::default();
        processes.resolve(Sample { user: vec![1], ..sample.clone() }, 1);
        processes.add_mappings(IMAGE, mappings, true, 0);
        let Resolution::Stack { frames, .. } = processes.resolve(sample, 2) else { panic!("it waits") };
        frames
    }

    #[test]
    fn first_sample_waits_for_mappings() {
        let mut processes = Processes::default();
        assert_eq!(processes.resolve(sample(&[0x1010, 0x1021]), 1), Resolution::RequestMappings);
        assert_eq!(processes.resolve(sample(&[0x1010]), 2), Resolution::Wait);
        let waited = processes.add_mappings(IMAGE, &[code()], true, 0).resolved;
        assert_eq!(waited.len(), 2);
        assert_eq!((&waited[0].frames, waited[0].mapped), (&with_root(&[code_at(0x420), code_at(0x410)]), true));
    }

    #[test]
    fn ended_process_is_counted_without_names() {
        let mut processes = Processes::default();
        processes.resolve(sample(&[0x1010]), 1);
        let waited = processes.add_mappings(IMAGE, &[], true, 0).resolved;
        assert_eq!((&waited[0].frames, waited[0].mapped), (&with_root(&[Frame::Unknown]), false));
    }

    #[test]
    fn walk_ends_where_it_leaves_all_code() {
        let walked = resolved(&[code()], sample(&[0x1010, 0x1021, 0x7fff_0000, 0x1041]));
        assert_eq!(walked, with_root(&[Frame::Unknown, code_at(0x420), code_at(0x410)]));
        assert!(leaves_known_code(&walked));
        // The innermost address is running code, mapped a moment ago.
        let new = resolved(&[code()], sample(&[0x9000, 0x1021]));
        assert_eq!(new, with_root(&[code_at(0x420), Frame::Unknown]));
        assert!(!leaves_known_code(&new));
    }

    #[test]
    fn stack_that_is_too_deep_has_a_box_for_its_callers() {
        let deep = vec![0x1011; STACK_FRAMES_MAX as usize];
        let frames = resolved(&[code()], sample(&deep));
        assert_eq!((frames[3], frames.len()), (Frame::Truncated, 3 + 1 + deep.len()));
        let kernel = Sample { kernel: deep, ..sample(&[0x1011]) };
        assert_eq!(resolved(&[code()], kernel)[3..5], [code_at(0x411), Frame::Truncated]);
    }

    #[test]
    fn mappings_of_new_code_are_requested_once_a_second() {
        let mut processes = Processes::default();
        processes.resolve(sample(&[0x1010]), 1);
        processes.add_mappings(IMAGE, &[code()], true, 0);
        assert!(matches!(processes.resolve(sample(&[0x9000]), 2), Resolution::Stack { refresh: false, .. }));
        assert_eq!(processes.resolve(sample(&[0x9000]), 2 + REQUEST_INTERVAL_NS), Resolution::RequestMappings);
    }

    #[test]
    fn process_without_new_code_is_requested_ever_more_rarely() {
        let mut processes = Processes::default();
        let (mut now, mut requests) = (1, Vec::new());
        while now < 40 * REQUEST_INTERVAL_NS {
            if processes.resolve(sample(&[0x9000]), now) == Resolution::RequestMappings {
                requests.push(now / REQUEST_INTERVAL_NS);
                processes.add_mappings(IMAGE, &[], true, 0);
            }
            now += REQUEST_INTERVAL_NS / 2;
        }
        assert_eq!(requests, [0, 1, 3, 7, 15, 31]);
    }

    #[test]
    fn mappings_are_read_again_while_a_process_is_sampled() {
        let mut processes = Processes::default();
        processes.resolve(sample(&[0x1010]), 1);
        processes.add_mappings(IMAGE, &[code()], true, 0);
        let refresh = |resolution| matches!(resolution, Resolution::Stack { refresh: true, .. });
        assert!(!refresh(processes.resolve(sample(&[0x1010]), 2)));
        assert!(refresh(processes.resolve(sample(&[0x1010]), 1 + REFRESH_INTERVAL_NS)));
        // It was asked for, and not answered yet.
        assert!(!refresh(processes.resolve(sample(&[0x1010]), 1 + 3 * REFRESH_INTERVAL_NS)));
    }

    #[test]
    fn library_that_took_the_place_of_another_is_noticed_and_counted() {
        let mut processes = Processes::default();
        let library = |file| Mapping { start: 0x7000, end: 0x8000, offset: 0, file };
        processes.resolve(sample(&[0x7010, 0x1021]), 1);
        assert_eq!(processes.add_mappings(IMAGE, &[code(), library(4)], true, 0).resolved.len(), 1);
        processes.resolve(sample(&[0x7010, 0x1021]), 2);
        processes.resolve(sample(&[0x1021]), 3);
        let answered = processes.add_mappings(IMAGE, &[code(), library(5)], true, 0);
        assert_eq!(answered.remapped, 2, "the two samples in the library, not the third");
        let Resolution::Stack { frames, .. } = processes.resolve(sample(&[0x7010]), 4) else { panic!("it waits") };
        assert_eq!(frames[3..], [Frame::File { file: 5, offset: 0x10 }]);
        assert_eq!(processes.add_mappings(IMAGE, &[code(), library(5)], true, 0).remapped, 0);
    }

    #[test]
    fn library_that_is_gone_gives_no_names_any_more() {
        let mut processes = Processes::default();
        let library = Mapping { start: 0x7000, end: 0x8000, offset: 0, file: 4 };
        processes.resolve(sample(&[0x7010]), 1);
        processes.add_mappings(IMAGE, &[code(), library], true, 0);
        assert_eq!(processes.add_mappings(IMAGE, &[code()], true, 0).remapped, 1);
        assert!(
            !matches!(processes.resolve(sample(&[0x7010]), 2), Resolution::Stack { frames, .. } if frames.contains(&Frame::File { file: 4, offset: 0x10 }))
        );
    }

    #[test]
    fn failed_inspection_changes_nothing() {
        let mut processes = Processes::default();
        processes.resolve(sample(&[0x1010]), 1);
        processes.add_mappings(IMAGE, &[code()], true, 7);
        let answered = processes.add_mappings(IMAGE, &[], true, 0);
        assert_eq!((answered.remapped, answered.dropped), (0, 0));
        let Resolution::Stack { mapped, .. } = processes.resolve(sample(&[0x1010]), 2) else { panic!("it waits") };
        assert!(mapped);
    }

    #[test]
    fn dropped_mappings_of_a_process_are_counted_once() {
        let mut processes = Processes::default();
        processes.resolve(sample(&[0x1010]), 1);
        let dropped = [7, 7, 9].map(|dropped| processes.add_mappings(IMAGE, &[code()], true, dropped).dropped);
        assert_eq!(dropped, [7, 0, 2]);
    }

    #[test]
    fn image_after_an_exec_has_mappings_of_its_own() {
        let mut processes = Processes::default();
        processes.resolve(sample(&[0x1010]), 1);
        processes.add_mappings(IMAGE, &[code()], true, 0);
        let mut other = sample(&[0x1010]);
        other.image.ktime = 6;
        assert_eq!(processes.resolve(other, 2), Resolution::RequestMappings);
    }
}
