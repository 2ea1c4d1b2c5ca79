//! Where the code of each sampled process comes from: addresses to places in files. Mappings are asked for at the first
//! sample of a process, so that one that ends soon after still has names.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{
    frame::{Image, Mapping},
    sample::Sample,
    stacks::Frame,
};

/// Processes whose mappings are kept; the oldest leaves.
const PROCESSES_MAX: usize = 4096;
/// Samples that wait for an answer, together.
const WAITING_MAX: usize = 2048;
/// A process that maps new code is asked again, but not more often than this; and after each answer that brought nothing
/// new, half as often.
const ASK_AGAIN_NS: u64 = 1_000_000_000;
/// The rarest.
const ASK_AGAIN_MAX_NS: u64 = 64 * ASK_AGAIN_NS;

/// What to do with a sample.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its stack, outermost frame first, and whether any of its process was known.
    Stack(Vec<Frame>, bool),
    /// It waits; the agent has to be asked.
    Ask,
    /// It waits for an answer that is on its way.
    Wait,
}

#[derive(Default)]
struct Process {
    mappings: Vec<Mapping>,
    asked_ns: u64,
    again_ns: u64,
    news: bool,
    asking: bool,
    waiting: Vec<Sample>,
}

/// All sampled processes.
#[derive(Default)]
pub(super) struct Processes {
    known: HashMap<Image, Process>,
    order: VecDeque<Image>,
    waiting: usize,
}

impl Processes {
    /// Takes a sample at a time.
    pub(super) fn take(&mut self, sample: Sample, now_ns: u64) -> Answer {
        let image = sample.image;
        if !self.known.contains_key(&image) {
            while self.order.len() >= PROCESSES_MAX {
                let Some(oldest) = self.order.pop_front() else { break };
                // Its waiting samples, if any, go without names: PROCESSES_MAX other processes were faster than an answer.
                if let Some(process) = self.known.remove(&oldest) {
                    self.waiting -= process.waiting.len();
                }
            }
            self.order.push_back(image);
        }
        let full = self.waiting >= WAITING_MAX;
        let process = self.known.entry(image).or_default();
        let first = process.asked_ns == 0;
        let strange = sample.user.iter().any(|address| place(&process.mappings, *address).is_none());
        if sample.user.is_empty() || !strange || full {
            return Answer::Stack(stack(&process.mappings, &sample), !process.mappings.is_empty());
        }
        if process.asking {
            process.waiting.push(sample);
            self.waiting += 1;
            return Answer::Wait;
        }
        if first || now_ns.saturating_sub(process.asked_ns) >= process.again_ns {
            process.asked_ns = now_ns.max(1);
            process.news = false;
            process.asking = true;
            process.waiting.push(sample);
            self.waiting += 1;
            return Answer::Ask;
        }
        Answer::Stack(stack(&process.mappings, &sample), !process.mappings.is_empty())
    }

    /// Some of an answer. With the last of it, the stacks that waited; each with whether its process was known.
    pub(super) fn answered(
        &mut self,
        image: Image,
        mappings: &[Mapping],
        complete: bool,
    ) -> Vec<(Sample, Vec<Frame>, bool)> {
        let Some(process) = self.known.get_mut(&image) else { return Vec::new() };
        let known: HashSet<(u64, u32)> = process.mappings.iter().map(|old| (old.start, old.file)).collect();
        process.news |= mappings.iter().any(|mapping| !known.contains(&(mapping.start, mapping.file)));
        for mapping in mappings {
            // New code replaces what was mapped at the same place before.
            process.mappings.retain(|old| old.end <= mapping.start || old.start >= mapping.end);
            process.mappings.push(*mapping);
        }
        process.mappings.sort_unstable_by_key(|mapping| mapping.start);
        if !complete {
            return Vec::new();
        }
        process.asking = false;
        process.again_ns =
            if process.news { ASK_AGAIN_NS } else { (2 * process.again_ns).clamp(ASK_AGAIN_NS, ASK_AGAIN_MAX_NS) };
        let waited = std::mem::take(&mut process.waiting);
        self.waiting -= waited.len();
        let known = !process.mappings.is_empty();
        waited
            .into_iter()
            .map(|sample| (stack(&process.mappings, &sample), sample))
            .map(|(frames, sample)| (sample, frames, known))
            .collect()
    }

    /// Samples that wait for an answer.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Everything that still waits, as it is: the profile is over.
    pub(super) fn give_up(&mut self) -> Vec<(Sample, Vec<Frame>, bool)> {
        let images: Vec<Image> = self.known.keys().copied().collect();
        images.into_iter().flat_map(|image| self.answered(image, &[], true)).collect()
    }
}

fn place(mappings: &[Mapping], address: u64) -> Option<Frame> {
    let behind = mappings.partition_point(|mapping| mapping.start <= address);
    let mapping = mappings.get(behind.checked_sub(1)?)?;
    if address >= mapping.end {
        return None;
    }
    Some(Frame::File { file: mapping.file, offset: (address - mapping.start).checked_add(mapping.offset)? })
}

/// The walk has left all code, so that what called the outermost known frame is not known. Says nothing of a process of which
/// nothing is known.
pub(super) fn has_left_code(stack: &[Frame]) -> bool {
    stack.get(1) == Some(&Frame::Unknown)
}

fn stack(mappings: &[Mapping], sample: &Sample) -> Vec<Frame> {
    let mut frames = vec![Frame::Comm(sample.comm)];
    // But for the innermost, an address is where a call returns to; the call itself ends one byte before it.
    let call = |(depth, address): (usize, &u64)| address.saturating_sub(u64::from(depth > 0));
    let mut user = Vec::with_capacity(sample.user.len());
    for (depth, address) in sample.user.iter().enumerate().map(|at| (at.0, call(at))) {
        let found = place(mappings, address);
        user.push(found.unwrap_or(Frame::Unknown));
        // No call returns to where no code is: the walk took something else for a frame, and what follows is chance.
        if found.is_none() && depth > 0 && !mappings.is_empty() {
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

    fn sample(user: &[u64]) -> Sample {
        Sample {
            image: Image { pid: 10, ktime: 5 },
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
    fn a_first_sample_waits_until_the_agent_has_answered() {
        let mut processes = Processes::default();
        assert_eq!(processes.take(sample(&[0x1010, 0x1021]), 1), Answer::Ask);
        assert_eq!(processes.take(sample(&[0x1010]), 2), Answer::Wait);
        let waited = processes.answered(Image { pid: 10, ktime: 5 }, &[code()], true);
        assert_eq!(waited.len(), 2);
        let outermost_first =
            [Frame::Comm([0; 16]), Frame::File { file: 3, offset: 0x420 }, Frame::File { file: 3, offset: 0x410 }];
        assert_eq!((waited[0].1.as_slice(), waited[0].2), (outermost_first.as_slice(), true));
    }

    #[test]
    fn a_process_that_had_ended_is_counted_without_names() {
        let mut processes = Processes::default();
        processes.take(sample(&[0x1010]), 1);
        let waited = processes.answered(Image { pid: 10, ktime: 5 }, &[], true);
        assert_eq!((waited[0].1.as_slice(), waited[0].2), ([Frame::Comm([0; 16]), Frame::Unknown].as_slice(), false));
    }

    #[test]
    fn a_walk_that_leaves_all_code_ends_there_and_what_follows_is_not_believed() {
        let walked = stack(&[code()], &sample(&[0x1010, 0x1021, 0x7fff_0000, 0x1041]));
        let place = |offset| Frame::File { file: 3, offset };
        assert_eq!(walked, [Frame::Comm([0; 16]), Frame::Unknown, place(0x420), place(0x410)]);
        assert!(has_left_code(&walked));
        // Code that was mapped a moment ago: it runs, whatever it is.
        let new = stack(&[code()], &sample(&[0x9000, 0x1021]));
        assert_eq!(new, [Frame::Comm([0; 16]), place(0x420), Frame::Unknown]);
        assert!(!has_left_code(&new));
    }

    #[test]
    fn code_that_was_mapped_later_is_asked_for_once_a_second() {
        let mut processes = Processes::default();
        processes.take(sample(&[0x1010]), 1);
        processes.answered(Image { pid: 10, ktime: 5 }, &[code()], true);
        assert!(matches!(processes.take(sample(&[0x9000]), 2), Answer::Stack(..)));
        assert_eq!(processes.take(sample(&[0x9000]), 2 + ASK_AGAIN_NS), Answer::Ask);
    }

    #[test]
    fn a_process_about_which_nothing_new_is_to_be_had_is_asked_about_ever_more_rarely() {
        let mut processes = Processes::default();
        let (mut now, mut asked) = (1, Vec::new());
        while now < 40 * ASK_AGAIN_NS {
            if processes.take(sample(&[0x9000]), now) == Answer::Ask {
                asked.push(now / ASK_AGAIN_NS);
                processes.answered(Image { pid: 10, ktime: 5 }, &[], true);
            }
            now += ASK_AGAIN_NS / 2;
        }
        assert_eq!(asked, [0, 1, 3, 7, 15, 31]);
    }

    #[test]
    fn an_image_that_was_replaced_by_exec_has_mappings_of_its_own() {
        let mut processes = Processes::default();
        processes.take(sample(&[0x1010]), 1);
        processes.answered(Image { pid: 10, ktime: 5 }, &[code()], true);
        let mut other = sample(&[0x1010]);
        other.image.ktime = 6;
        assert_eq!(processes.take(other, 2), Answer::Ask);
    }
}
