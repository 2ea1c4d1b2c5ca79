//! Turns addresses of sampled processes into offsets in files, by the mappings that the agent sends. They are requested at the
//! first sample of a process, so that a process that ends soon after still has names.

use std::collections::{HashMap, HashSet, VecDeque};

use trilobite_worker_wire::{Mapping, ProcessImage};

use super::{sample::Sample, stacks::Frame};

/// Processes whose mappings are kept; above it the oldest is dropped.
const PROCESSES_MAX: usize = 4096;
/// Samples of all processes that may wait for mappings.
const WAITING_MAX: usize = 2048;
/// The mappings of a process are requested again at most this often; after each answer without new code, half as often.
const REQUEST_INTERVAL_NS: u64 = 1_000_000_000;
/// Upper limit of the growing interval.
const REQUEST_INTERVAL_MAX_NS: u64 = 64 * REQUEST_INTERVAL_NS;

/// What to do with a sample.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resolution {
    /// Count this stack, outermost frame first.
    Stack {
        frames: Vec<Frame>,
        /// At least one mapping of the process is known.
        mapped: bool,
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

#[derive(Default)]
struct Process {
    mappings: Vec<Mapping>,
    requested_ns: u64,
    interval_ns: u64,
    /// The answer that is being received has new mappings.
    found_new: bool,
    requested: bool,
    waiting: Vec<Sample>,
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
        let first = process.requested_ns == 0;
        let unmapped_address = sample.user.iter().any(|address| locate(&process.mappings, *address).is_none());
        if sample.user.is_empty() || !unmapped_address || full {
            return process.stack_now(&sample);
        }
        if process.requested {
            process.waiting.push(sample);
            self.waiting += 1;
            return Resolution::Wait;
        }
        if first || now_ns.saturating_sub(process.requested_ns) >= process.interval_ns {
            process.requested_ns = now_ns.max(1);
            process.found_new = false;
            process.requested = true;
            process.waiting.push(sample);
            self.waiting += 1;
            return Resolution::RequestMappings;
        }
        process.stack_now(&sample)
    }

    /// Adds mappings that the agent sent. The last message about a process, the `complete` one, gives the samples that waited.
    pub(super) fn add_mappings(
        &mut self,
        image: ProcessImage,
        mappings: &[Mapping],
        complete: bool,
    ) -> Vec<ResolvedSample> {
        let Some(process) = self.known.get_mut(&image) else { return Vec::new() };
        let known: HashSet<(u64, u32)> = process.mappings.iter().map(|old| (old.start, old.file)).collect();
        process.found_new |= mappings.iter().any(|mapping| !known.contains(&(mapping.start, mapping.file)));
        for mapping in mappings {
            // A new mapping replaces older ones at the same addresses.
            process.mappings.retain(|old| old.end <= mapping.start || old.start >= mapping.end);
            process.mappings.push(*mapping);
        }
        process.mappings.sort_unstable_by_key(|mapping| mapping.start);
        if !complete {
            return Vec::new();
        }
        process.requested = false;
        process.interval_ns = if process.found_new {
            REQUEST_INTERVAL_NS
        } else {
            (2 * process.interval_ns).clamp(REQUEST_INTERVAL_NS, REQUEST_INTERVAL_MAX_NS)
        };
        let waited = std::mem::take(&mut process.waiting);
        self.waiting -= waited.len();
        let mapped = !process.mappings.is_empty();
        let resolve = |sample| ResolvedSample { frames: stack(&process.mappings, &sample), sample, mapped };
        waited.into_iter().map(resolve).collect()
    }

    /// Samples that wait for mappings.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Ends every wait: the profile has ended.
    pub(super) fn resolve_all(&mut self) -> Vec<ResolvedSample> {
        let images: Vec<ProcessImage> = self.known.keys().copied().collect();
        images.into_iter().flat_map(|image| self.add_mappings(image, &[], true)).collect()
    }
}

impl Process {
    fn stack_now(&self, sample: &Sample) -> Resolution {
        Resolution::Stack { frames: stack(&self.mappings, sample), mapped: !self.mappings.is_empty() }
    }
}

fn locate(mappings: &[Mapping], address: u64) -> Option<Frame> {
    let behind = mappings.partition_point(|mapping| mapping.start <= address);
    let mapping = mappings.get(behind.checked_sub(1)?)?;
    if address >= mapping.end {
        return None;
    }
    Some(Frame::File { file: mapping.file, offset: (address - mapping.start).checked_add(mapping.offset)? })
}

/// The stack walk has left all known code, so the caller of the outermost known frame is unknown. Means nothing for a process
/// without known mappings.
pub(super) fn leaves_known_code(stack: &[Frame]) -> bool {
    stack.get(1) == Some(&Frame::Unknown)
}

fn stack(mappings: &[Mapping], sample: &Sample) -> Vec<Frame> {
    let mut frames = vec![Frame::Comm(sample.comm)];
    // All addresses but the innermost are return addresses; the call instruction ends one byte before.
    let call = |(depth, address): (usize, &u64)| address.saturating_sub(u64::from(depth > 0));
    let mut user = Vec::with_capacity(sample.user.len());
    for (depth, address) in sample.user.iter().enumerate().map(|at| (at.0, call(at))) {
        let located = locate(mappings, address);
        user.push(located.unwrap_or(Frame::Unknown));
        // A return address outside all code: the walk took other data for a frame, and everything behind it is chance.
        if located.is_none() && depth > 0 && !mappings.is_empty() {
            break;
        }
    }
    let kernel: Vec<u64> = sample.kernel.iter().enumerate().map(call).collect();
    frames.extend(user.into_iter().rev());
    frames.extend(kernel.iter().rev().map(|address| Frame::Kernel(*address)));
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: ProcessImage = ProcessImage { pid: 10, ktime: 5 };

    fn sample(user: &[u64]) -> Sample {
        Sample {
            image: IMAGE,
            cgroup: 1,
            comm: [0; 16],
            undecided: false,
            truncated: false,
            kernel: Vec::new(),
            user: user.to_vec(),
        }
    }

    fn code() -> Mapping {
        Mapping { start: 0x1000, end: 0x2000, offset: 0x400, file: 3 }
    }

    #[test]
    fn first_sample_waits_for_mappings() {
        let mut processes = Processes::default();
        assert_eq!(processes.resolve(sample(&[0x1010, 0x1021]), 1), Resolution::RequestMappings);
        assert_eq!(processes.resolve(sample(&[0x1010]), 2), Resolution::Wait);
        let waited = processes.add_mappings(IMAGE, &[code()], true);
        assert_eq!(waited.len(), 2);
        let outermost_first =
            [Frame::Comm([0; 16]), Frame::File { file: 3, offset: 0x420 }, Frame::File { file: 3, offset: 0x410 }];
        assert_eq!((waited[0].frames.as_slice(), waited[0].mapped), (outermost_first.as_slice(), true));
    }

    #[test]
    fn ended_process_is_counted_without_names() {
        let mut processes = Processes::default();
        processes.resolve(sample(&[0x1010]), 1);
        let waited = processes.add_mappings(IMAGE, &[], true);
        assert_eq!(
            (waited[0].frames.as_slice(), waited[0].mapped),
            ([Frame::Comm([0; 16]), Frame::Unknown].as_slice(), false)
        );
    }

    #[test]
    fn walk_ends_where_it_leaves_all_code() {
        let walked = stack(&[code()], &sample(&[0x1010, 0x1021, 0x7fff_0000, 0x1041]));
        let code_at = |offset| Frame::File { file: 3, offset };
        assert_eq!(walked, [Frame::Comm([0; 16]), Frame::Unknown, code_at(0x420), code_at(0x410)]);
        assert!(leaves_known_code(&walked));
        // The innermost address is running code, mapped a moment ago.
        let new = stack(&[code()], &sample(&[0x9000, 0x1021]));
        assert_eq!(new, [Frame::Comm([0; 16]), code_at(0x420), Frame::Unknown]);
        assert!(!leaves_known_code(&new));
    }

    #[test]
    fn mappings_of_new_code_are_requested_once_a_second() {
        let mut processes = Processes::default();
        processes.resolve(sample(&[0x1010]), 1);
        processes.add_mappings(IMAGE, &[code()], true);
        assert!(matches!(processes.resolve(sample(&[0x9000]), 2), Resolution::Stack { .. }));
        assert_eq!(processes.resolve(sample(&[0x9000]), 2 + REQUEST_INTERVAL_NS), Resolution::RequestMappings);
    }

    #[test]
    fn process_without_new_code_is_requested_ever_more_rarely() {
        let mut processes = Processes::default();
        let (mut now, mut requests) = (1, Vec::new());
        while now < 40 * REQUEST_INTERVAL_NS {
            if processes.resolve(sample(&[0x9000]), now) == Resolution::RequestMappings {
                requests.push(now / REQUEST_INTERVAL_NS);
                processes.add_mappings(IMAGE, &[], true);
            }
            now += REQUEST_INTERVAL_NS / 2;
        }
        assert_eq!(requests, [0, 1, 3, 7, 15, 31]);
    }

    #[test]
    fn image_after_an_exec_has_mappings_of_its_own() {
        let mut processes = Processes::default();
        processes.resolve(sample(&[0x1010]), 1);
        processes.add_mappings(IMAGE, &[code()], true);
        let mut other = sample(&[0x1010]);
        other.image.ktime = 6;
        assert_eq!(processes.resolve(other, 2), Resolution::RequestMappings);
    }
}
