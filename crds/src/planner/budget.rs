//! Sizes of rings and maps for a budget in bytes: powers of two, whose sum never exceeds the budget.

/// Smallest ring: one page.
pub const MIN_RING_BYTES: u32 = 4096;
/// Largest ring.
const MAX_RING_BYTES: u32 = 1 << 26;
/// Smallest flow map.
pub const MIN_FLOW_ENTRIES: u32 = 256;
/// Largest flow map.
const MAX_FLOW_ENTRIES: u32 = 1 << 20;
/// Memory of one entry of the flow map: key, value and the kernel's bookkeeping, rounded up.
pub const FLOW_ENTRY_BYTES: u32 = 256;
/// The ring gets a seventeenth of the budget and the flow map the rest, because a ring holds records only until the next read.
/// The next read may wait for as long as the kernel blocks an agent that attaches to an interface.
const FLOW_RING_SHARE: i64 = 17;

/// Sizes of the security layer's rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecuritySizes {
    /// Ring of process events alone.
    pub identity_ring_bytes: u32,
    /// Ring that all policies share.
    pub policy_ring_bytes: u32,
}

/// Sizes of the network layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSizes {
    /// Entries of the flow map.
    pub flow_entries: u32,
    /// Its ring.
    pub ring_bytes: u32,
}

/// The budget is below what the layer needs to run at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// The smallest budget, in bytes.
    pub minimum: i64,
}

/// Smallest budget of the security layer: two rings of a page.
pub const MIN_SECURITY_BUDGET: i64 = 2 * MIN_RING_BYTES as i64;
/// Smallest budget of the network layer: 256 flows and a ring of a page.
pub const MIN_NETWORK_BUDGET: i64 = MIN_FLOW_ENTRIES as i64 * FLOW_ENTRY_BYTES as i64 + MIN_RING_BYTES as i64;
/// Budget of the security layer where none is set: two rings of 256 KiB.
pub const DEFAULT_SECURITY_BUDGET: i64 = 512 << 10;
/// Budget of the network layer where none is set: 16384 flows and a ring of 256 KiB.
pub const DEFAULT_NETWORK_BUDGET: i64 = (4 << 20) + (256 << 10);

/// Each ring gets half of the budget, rounded down to a power of two, at most 64 MiB.
pub fn security_sizes(budget: Option<i64>) -> Result<SecuritySizes, TooSmall> {
    let budget = at_least(budget.unwrap_or(DEFAULT_SECURITY_BUDGET), MIN_SECURITY_BUDGET)?;
    let ring = power_of_two(budget / 2, MIN_RING_BYTES, MAX_RING_BYTES);
    Ok(SecuritySizes { identity_ring_bytes: ring, policy_ring_bytes: ring })
}

/// The ring gets a seventeenth of the budget, the flow map the rest at 256 bytes for each flow; each is rounded down to a power
/// of two.
pub fn flow_sizes(budget: Option<i64>) -> Result<FlowSizes, TooSmall> {
    let budget = at_least(budget.unwrap_or(DEFAULT_NETWORK_BUDGET), MIN_NETWORK_BUDGET)?;
    let ring = power_of_two(budget / FLOW_RING_SHARE, MIN_RING_BYTES, MAX_RING_BYTES);
    let left = (budget - i64::from(ring)) / i64::from(FLOW_ENTRY_BYTES);
    Ok(FlowSizes { flow_entries: power_of_two(left, MIN_FLOW_ENTRIES, MAX_FLOW_ENTRIES), ring_bytes: ring })
}

fn at_least(budget: i64, minimum: i64) -> Result<i64, TooSmall> {
    if budget < minimum { Err(TooSmall { minimum }) } else { Ok(budget) }
}

/// The largest power of two that does not exceed `value`, clamped to `low..=high`, which are powers of two.
fn power_of_two(value: i64, low: u32, high: u32) -> u32 {
    let value = u32::try_from(value.max(1)).unwrap_or(u32::MAX);
    (1 << value.ilog2()).clamp(low, high)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn defaults_match_the_documentation() {
        assert_eq!(
            security_sizes(None),
            Ok(SecuritySizes { identity_ring_bytes: 256 << 10, policy_ring_bytes: 256 << 10 })
        );
        assert_eq!(flow_sizes(None), Ok(FlowSizes { flow_entries: 16384, ring_bytes: 256 << 10 }));
    }

    #[test]
    fn smallest_budget_gives_smallest_sizes_and_less_is_refused() {
        assert_eq!(
            security_sizes(Some(8192)),
            Ok(SecuritySizes { identity_ring_bytes: 4096, policy_ring_bytes: 4096 })
        );
        assert_eq!(security_sizes(Some(8191)), Err(TooSmall { minimum: 8192 }));
        assert_eq!(flow_sizes(Some(69632)), Ok(FlowSizes { flow_entries: 256, ring_bytes: 4096 }));
        assert_eq!(flow_sizes(Some(69631)), Err(TooSmall { minimum: 69632 }));
    }

    proptest! {
        #[test]
        fn sizes_are_powers_of_two_within_the_budget(budget in MIN_NETWORK_BUDGET..=(1 << 40)) {
            let security = security_sizes(Some(budget)).unwrap();
            prop_assert!(security.identity_ring_bytes.is_power_of_two());
            prop_assert!(i64::from(security.identity_ring_bytes) + i64::from(security.policy_ring_bytes) <= budget);
            let flows = flow_sizes(Some(budget)).unwrap();
            prop_assert!(flows.ring_bytes.is_power_of_two() && flows.flow_entries.is_power_of_two());
            prop_assert!(i64::from(flows.flow_entries) * 256 + i64::from(flows.ring_bytes) <= budget);
        }
    }
}
