//! How the memory budget of an AppProfile is divided: between samples and requests, and in each between the ring in the kernel and
//! the worker.

use trilobite_crds::node::AppProfileSession;
use trilobite_node_ebpf::SAMPLE_RING_MIN;

/// Below this a worker cannot hold the symbol table of a common binary.
pub(super) const BUDGET_MIN: u64 = 8 << 20;
/// Below this a worker has no room for connections and rows.
pub(super) const REQUESTS_BUDGET_MIN: u64 = 4 << 20;
/// Bytes of the largest ring.
const RING_MAX: u64 = 4 << 20;
/// The ring of samples gets one part of so many.
const SAMPLE_RING_SHARE: u64 = 16;
/// The ring of requests gets one part of so many: it is read only every 50 ms, and its records carry bytes.
const REQUEST_RING_SHARE: u64 = 8;

/// The memory of one part of an AppProfile. One that samples and captures requests has half of it for each.
pub(super) fn part_bytes(session: &AppProfileSession) -> u64 {
    let has_both = session.cpu.is_some() && session.requests.is_some();
    session.memory_budget_bytes / if has_both { 2 } else { 1 }
}

/// Size of the ring of samples: a power of two, as the kernel requires.
pub(super) fn ring_bytes(budget_bytes: u64) -> u32 {
    power_of_two(budget_bytes / SAMPLE_RING_SHARE)
}

/// Size of the ring of requests: a power of two as well.
pub(super) fn request_ring_bytes(budget_bytes: u64) -> u32 {
    power_of_two(budget_bytes / REQUEST_RING_SHARE)
}

fn power_of_two(share: u64) -> u32 {
    // Both limits are powers of two, so that the result lies between them.
    1 << share.clamp(SAMPLE_RING_MIN.into(), RING_MAX).ilog2()
}

/// Memory of the worker: the budget without the ring.
pub(super) fn worker_bytes(budget_bytes: u64, ring_bytes: u32) -> u64 {
    budget_bytes.saturating_sub(ring_bytes.into())
}

#[cfg(test)]
mod tests {
    use trilobite_crds::node::{CpuSampling, PodScope, RequestsSession};

    use super::*;

    #[test]
    fn ring_is_a_power_of_two_inside_its_limits() {
        assert_eq!(ring_bytes(32 << 20), 2 << 20);
        assert_eq!(ring_bytes(33 << 20), 2 << 20);
        assert_eq!(ring_bytes(1 << 20), 64 << 10);
        assert_eq!(ring_bytes(u64::MAX), 4 << 20);
        assert_eq!(request_ring_bytes(9 << 20), 1 << 20);
        assert_eq!(request_ring_bytes(0), 64 << 10);
    }

    #[test]
    fn samples_and_requests_share_a_budget() {
        let (cpu, requests) = (Some(CpuSampling { frequency_hz: 49 }), Some(RequestsSession::default()));
        let session = AppProfileSession { pods: PodScope::default(), memory_budget_bytes: 32 << 20, cpu, requests };
        assert_eq!(part_bytes(&session), 16 << 20);
        assert_eq!(part_bytes(&AppProfileSession { requests: None, ..session.clone() }), 32 << 20);
        assert_eq!(part_bytes(&AppProfileSession { cpu: None, ..session }), 32 << 20);
    }
}
