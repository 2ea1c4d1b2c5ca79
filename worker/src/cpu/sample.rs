//! Decodes a record of the sample ring. Not here: what its addresses mean.

use trilobite_node_ebpf::{Record, RecordKind, SampleHeader, sample_flag};
use trilobite_worker_wire::ProcessImage;
use zerocopy::FromBytes;

/// A stack, and the process that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) image: ProcessImage,
    /// The process's leaf cgroup.
    pub(super) cgroup: u64,
    pub(super) thread_name: [u8; 16],
    /// Name of the thread group's first thread.
    pub(super) process_name: [u8; 16],
    /// The kernel program did not know whether the cgroup is selected.
    pub(super) undecided: bool,
    /// A stack ends before its outermost frame.
    pub(super) truncated: bool,
    /// The kernel's addresses, innermost first.
    pub(super) kernel: Vec<u64>,
    /// The program's addresses, innermost first.
    pub(super) user: Vec<u64>,
}

impl Sample {
    /// None if these bytes are not a sample of this layout.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let record = Record::read(bytes).filter(|record| record.kind() == Some(RecordKind::Sample))?;
        let (header, stacks) = SampleHeader::read_from_prefix(bytes).ok()?;
        let (kernel, rest) = stacks.split_at_checked(header.kernel_bytes as usize)?;
        let (kernel, user) = (addresses(kernel), addresses(rest.get(..header.user_bytes as usize)?));
        Some(Self {
            // The agent finds the process in its `/proc`, whose pid namespace may be another than that of the record's key.
            image: ProcessImage { pid: header.proc_pid, ktime: record.exec_ktime },
            cgroup: record.cgroup,
            thread_name: header.thread_name,
            process_name: header.process_name,
            undecided: header.flags & sample_flag::SELECTION_UNKNOWN != 0,
            truncated: header.flags & (sample_flag::TOO_DEEP | sample_flag::SHORT) != 0,
            kernel,
            user,
        })
    }
}

fn addresses(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).filter_map(|address| Some(u64::from_ne_bytes(address.try_into().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trilobite_node_ebpf::RECORD_LAYOUT;
    use zerocopy::IntoBytes;

    use super::*;

    const HEADER: usize = size_of::<SampleHeader>();

    fn record(kernel: &[u64], user: &[u64], flags: u32) -> Vec<u8> {
        let stack = [kernel, user].concat();
        let header = SampleHeader {
            record: Record {
                layout: RECORD_LAYOUT,
                kind: RecordKind::Sample as u16,
                size: (HEADER + size_of_val(&*stack)) as u32,
                cgroup: 77,
                // The process in the initial pid namespace; `proc_pid` is its pid in the agent's.
                exec_pid: 94321,
                ..Record::default()
            },
            flags,
            kernel_bytes: size_of_val(kernel) as u32,
            user_bytes: size_of_val(user) as u32,
            proc_pid: 4321,
            ..SampleHeader::default()
        };
        [header.as_bytes(), stack.as_bytes()].concat()
    }

    #[test]
    fn kernel_stack_comes_before_the_user_stack() {
        let sample = Sample::parse(&record(&[9, 8], &[3, 2, 1], sample_flag::SELECTION_UNKNOWN)).unwrap();
        assert_eq!((sample.kernel, sample.user), (vec![9, 8], vec![3, 2, 1]));
        assert_eq!((sample.image.pid, sample.cgroup), (4321, 77));
        assert!(sample.undecided && !sample.truncated);
    }

    #[test]
    fn process_is_named_by_its_pid_in_the_agents_proc() {
        assert_eq!(Sample::parse(&record(&[], &[1], 0)).unwrap().image.pid, 4321);
    }

    #[test]
    fn short_or_too_deep_stack_is_truncated() {
        assert!(Sample::parse(&record(&[], &[1], sample_flag::SHORT)).unwrap().truncated);
        assert!(Sample::parse(&record(&[], &[1], sample_flag::TOO_DEEP)).unwrap().truncated);
    }

    proptest! {
        #[test]
        fn wild_bytes_are_no_sample_or_one_that_fits(mut bytes in prop::collection::vec(any::<u8>(), 0..400), named: bool) {
            if named && bytes.len() > 8 {
                bytes[4..8].fill(0);
                bytes[0..2].copy_from_slice(&RECORD_LAYOUT.to_ne_bytes());
                bytes[2..4].copy_from_slice(&(RecordKind::Sample as u16).to_ne_bytes());
            }
            if let Some(sample) = Sample::parse(&bytes) {
                prop_assert!((sample.kernel.len() + sample.user.len()) * 8 + HEADER <= bytes.len());
            }
        }
    }
}
