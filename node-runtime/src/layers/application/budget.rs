//! How the memory budget of an AppProfile is divided between the ring in the kernel and the worker.

use trilobite_node_ebpf::SAMPLE_RING_MIN;

/// Below this a worker cannot hold the symbol table of a common binary.
pub(super) const BUDGET_MIN: u64 = 8 << 20;
/// Bytes of the largest ring of samples.
const SAMPLE_RING_MAX: u64 = 4 << 20;
/// The ring gets one part of so many.
const RING_SHARE: u64 = 16;

/// Size of the ring: a power of two, as the kernel requires.
pub(super) fn ring_bytes(budget_bytes: u64) -> u32 {
    let share = (budget_bytes / RING_SHARE).clamp(SAMPLE_RING_MIN.into(), SAMPLE_RING_MAX);
    // In the range of the clamp, whose ends are powers of two.
    1 << share.ilog2()
}

/// Memory of the worker: the budget without the ring.
pub(super) fn worker_bytes(budget_bytes: u64, ring_bytes: u32) -> u64 {
    budget_bytes.saturating_sub(ring_bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_is_a_power_of_two_inside_its_limits() {
        assert_eq!(ring_bytes(32 << 20), 2 << 20);
        assert_eq!(ring_bytes(33 << 20), 2 << 20);
        assert_eq!(ring_bytes(1 << 20), 64 << 10);
        assert_eq!(ring_bytes(u64::MAX), 4 << 20);
    }
}
