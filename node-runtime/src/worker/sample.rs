//! A record of the sample ring, taken apart. Not here: what its addresses mean.

use std::mem::offset_of;

use trilobite_node_ebpf::{
    record::RecordKind,
    sample::{SAMPLE_SHORT, SAMPLE_TOO_DEEP, SAMPLE_UNDECIDED, SampleHead},
};

use super::frame::Image;
use crate::{identity::decode::header, kernel::Fields};

const HEAD: usize = size_of::<SampleHead>();

/// A stack, and who ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// The process image.
    pub(super) image: Image,
    /// Its leaf cgroup.
    pub(super) cgroup: u64,
    /// Name of the thread.
    pub(super) comm: [u8; 16],
    /// Whose cgroup it is was not known at the tick.
    pub(super) undecided: bool,
    /// A stack ends before its outermost frame.
    pub(super) truncated: bool,
    /// The kernel's addresses, innermost first.
    pub(super) kernel: Vec<u64>,
    /// The program's addresses, innermost first.
    pub(super) user: Vec<u64>,
}

impl Sample {
    /// None where these bytes are no sample of this layout.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let record = header(bytes).filter(|record| record.kind == RecordKind::Sample as u16)?;
        let fields = Fields(bytes);
        let flags = fields.u32(offset_of!(SampleHead, flags))?;
        let kernel_bytes = fields.u32(offset_of!(SampleHead, kernel_bytes))? as usize;
        let user_bytes = fields.u32(offset_of!(SampleHead, user_bytes))? as usize;
        let stacks = bytes.get(HEAD..)?;
        let kernel = addresses(stacks.get(..kernel_bytes)?);
        let user = addresses(stacks.get(kernel_bytes..kernel_bytes.checked_add(user_bytes)?)?);
        Some(Self {
            // The agent looks the process up in its `/proc`, which may be of another pid namespace than the key.
            image: Image { pid: fields.u32(offset_of!(SampleHead, proc_pid))?, ktime: record.exec_ktime },
            cgroup: record.cgroup,
            comm: fields.array(offset_of!(SampleHead, comm))?,
            undecided: flags & SAMPLE_UNDECIDED != 0,
            truncated: flags & (SAMPLE_TOO_DEEP | SAMPLE_SHORT) != 0,
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
    use trilobite_node_ebpf::{limits::RECORD_LAYOUT, record::Record};

    use super::*;

    fn record(kernel: &[u64], user: &[u64], flags: u32) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        bytes[0..2].copy_from_slice(&RECORD_LAYOUT.to_ne_bytes());
        bytes[2..4].copy_from_slice(&(RecordKind::Sample as u16).to_ne_bytes());
        bytes[16..24].copy_from_slice(&77u64.to_ne_bytes());
        // The same process in the first pid namespace, and in the agent's.
        bytes[32..36].copy_from_slice(&94321u32.to_ne_bytes());
        bytes[84..88].copy_from_slice(&4321u32.to_ne_bytes());
        bytes[56..60].copy_from_slice(b"burn");
        bytes[72..76].copy_from_slice(&flags.to_ne_bytes());
        bytes[76..80].copy_from_slice(&(kernel.len() as u32 * 8).to_ne_bytes());
        bytes[80..84].copy_from_slice(&(user.len() as u32 * 8).to_ne_bytes());
        for address in kernel.iter().chain(user) {
            bytes.extend_from_slice(&address.to_ne_bytes());
        }
        let size = bytes.len() as u32;
        bytes[4..8].copy_from_slice(&size.to_ne_bytes());
        bytes
    }

    #[test]
    fn the_offsets_are_those_of_the_shared_layout() {
        assert_eq!(offset_of!(Record, cgroup), 16);
        assert_eq!(offset_of!(Record, exec_ktime), 24);
        assert_eq!((offset_of!(Record, size), offset_of!(Record, exec_pid)), (4, 32));
        assert_eq!(offset_of!(SampleHead, comm), 56);
        assert_eq!(offset_of!(SampleHead, flags), 72);
        assert_eq!(offset_of!(SampleHead, kernel_bytes), 76);
        assert_eq!(offset_of!(SampleHead, user_bytes), 80);
        assert_eq!(offset_of!(SampleHead, proc_pid), 84);
    }

    #[test]
    fn the_kernels_stack_comes_before_the_programs() {
        let sample = Sample::parse(&record(&[9, 8], &[3, 2, 1], SAMPLE_UNDECIDED)).unwrap();
        assert_eq!((sample.kernel, sample.user), (vec![9, 8], vec![3, 2, 1]));
        assert_eq!((sample.image.pid, sample.cgroup), (4321, 77));
        assert!(sample.undecided && !sample.truncated);
    }

    #[test]
    fn a_process_is_asked_for_by_the_number_that_the_agents_proc_shows() {
        assert_eq!(Sample::parse(&record(&[], &[1], 0)).unwrap().image.pid, 4321);
    }

    #[test]
    fn a_stack_that_ends_at_once_or_is_too_deep_is_truncated() {
        assert!(Sample::parse(&record(&[], &[1], SAMPLE_SHORT)).unwrap().truncated);
        assert!(Sample::parse(&record(&[], &[1], SAMPLE_TOO_DEEP)).unwrap().truncated);
    }

    proptest! {
        #[test]
        fn wild_bytes_are_no_sample_or_one_that_fits_into_them(mut bytes in prop::collection::vec(any::<u8>(), 0..400), named: bool) {
            if named && bytes.len() > 8 {
                bytes[4..8].fill(0);
                bytes[0..2].copy_from_slice(&RECORD_LAYOUT.to_ne_bytes());
                bytes[2..4].copy_from_slice(&(RecordKind::Sample as u16).to_ne_bytes());
            }
            if let Some(sample) = Sample::parse(&bytes) {
                prop_assert!((sample.kernel.len() + sample.user.len()) * 8 + HEAD <= bytes.len());
            }
        }
    }
}
