//! Which selector bits policies get on a hook. A policy keeps its bits; a new version gets others in the word of the old one, so
//! that one write hands over.

use std::collections::BTreeMap;

use super::hook_plan::{HookPlan, MAX_POLICY_SELECTORS, PolicyId, Width};

const WORDS: usize = 16;

/// What a policy needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitRequest {
    pub(super) policy: PolicyId,
    /// The active version that it replaces.
    pub(super) former: Option<PolicyId>,
    pub(super) count: usize,
}

/// Who got what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Allocation {
    /// Upwards; all in one word.
    pub(super) bits: BTreeMap<PolicyId, Vec<u16>>,
    pub(super) refused: Vec<PolicyId>,
    pub(super) width: Width,
}

/// The bits of the words while they are given away.
#[derive(Default)]
struct Words {
    /// Bits that are wanted or still active.
    taken: [u64; WORDS],
    /// Wanted bits, and the most of one policy.
    wanted: [(usize, usize); WORDS],
}

/// Gives bits to all policies, in this order; those that are active come first whatever the order is.
pub(super) fn allocate(requests: &[BitRequest], active: Option<&HookPlan>) -> Allocation {
    let mut by_policy: BTreeMap<PolicyId, Vec<u16>> = BTreeMap::new();
    for selector in active.iter().flat_map(|plan| &plan.selectors) {
        by_policy.entry(selector.policy).or_default().push(selector.bit);
    }
    let mut words = Words::default();
    for bit in by_policy.values().flatten() {
        words.taken[usize::from(*bit) / 64 % WORDS] |= 1 << (bit % 64);
    }
    let mut allocation = Allocation::default();
    let kept = |request: &BitRequest| by_policy.get(&request.policy).filter(|bits| bits.len() == request.count);
    for request in requests {
        if let Some(bits) = kept(request) {
            words.want(usize::from(bits.first().copied().unwrap_or_default()) / 64 % WORDS, request.count);
            allocation.bits.insert(request.policy, bits.clone());
        }
    }
    for request in requests.iter().filter(|request| kept(request).is_none()) {
        let of_former = request.former.and_then(|former| by_policy.get(&former)?.first());
        let beside = of_former.map(|bit| usize::from(*bit) / 64 % WORDS);
        match words.place(request.count, beside) {
            Some(bits) => drop(allocation.bits.insert(request.policy, bits)),
            None => allocation.refused.push(request.policy),
        }
    }
    let last = allocation.bits.values().flatten().max().copied().unwrap_or_default();
    let needed = Width::with_words(usize::from(last) / 64 + 1).unwrap_or(Width::Sixteen);
    allocation.width = active.map_or(needed, |plan| plan.width.max(needed));
    allocation
}

impl Words {
    fn want(&mut self, word: usize, count: usize) {
        let (sum, most) = &mut self.wanted[word];
        *sum += count;
        *most = count.max(*most);
    }

    /// Bits for a policy: beside its old version if there is one, otherwise in the first word that keeps room for another version
    /// of each of its policies.
    fn place(&mut self, count: usize, beside: Option<usize>) -> Option<Vec<u16>> {
        if count > MAX_POLICY_SELECTORS {
            return None;
        }
        let fits = |word: &usize| self.taken[*word].count_zeros() as usize >= count;
        let has_slack = |word: &usize| {
            let (sum, most) = self.wanted[*word];
            sum + count + most.max(count) <= 64
        };
        let word = beside
            .filter(&fits)
            .or_else(|| (0..WORDS).find(|word| fits(word) && has_slack(word)))
            .or_else(|| (0..WORDS).find(&fits))?;
        self.want(word, count);
        let mut bits = Vec::with_capacity(count);
        for _ in 0..count {
            let bit = self.taken[word].trailing_ones();
            self.taken[word] |= 1_u64.checked_shl(bit)?;
            bits.push(u16::try_from(word * 64 + bit as usize).ok()?);
        }
        Some(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(counts: &[usize]) -> Vec<BitRequest> {
        (0..).zip(counts).map(|(id, count)| BitRequest { policy: PolicyId(id), former: None, count: *count }).collect()
    }

    #[test]
    fn thousand_policies_of_one_selector_fit() {
        let allocation = allocate(&requests(&[1; 1000]), None);
        assert_eq!(allocation.refused, []);
        assert_eq!(allocation.width, Width::Sixteen);
    }

    #[test]
    fn word_keeps_room_for_another_version_of_each_policy() {
        let allocation = allocate(&requests(&[20, 20, 20]), None);
        let word = |id| allocation.bits[&PolicyId(id)][0] / 64;
        assert_eq!((word(0), word(1), word(2)), (0, 0, 1));
        assert_eq!(allocation.width, Width::Four);
    }

    #[test]
    fn policy_with_more_selectors_than_half_a_word_is_refused() {
        let allocation = allocate(&requests(&[33, 32]), None);
        assert_eq!(allocation.refused, [PolicyId(0)]);
        assert_eq!(allocation.bits[&PolicyId(1)].len(), 32);
    }
}
