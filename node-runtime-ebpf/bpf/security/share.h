/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Shares of the ring of posts. A selector may have at most twice as many bytes in the ring as are free: one that floods fills two
 * thirds of it, two fill four fifths, so that a policy that posts seldom always finds room. */
#ifndef TRILOBITE_HOOK_SHARE_H
#define TRILOBITE_HOOK_SHARE_H

#include "scratch.h"

/* Whether a record fits into the share of one of its winners. What a selector has in the ring is at most what it posted since the
 * agent read the position at which the window before last ended. */
__noinline int has_share(__u32 slot, __u32 size)
{
	__u64 produced = bpf_ringbuf_query(&policy_ring, BPF_RB_PROD_POS);
	__u64 consumed = bpf_ringbuf_query(&policy_ring, BPF_RB_CONS_POS);
	__u64 most = 2 * (bpf_ringbuf_query(&policy_ring, BPF_RB_RING_SIZE) - (produced - consumed));
	struct hook_scratch *s = scratch_at(slot);

	if (!s)
		return 0;
	s->position = 0;
	s->is_within_share = 0;
#pragma nounroll
	for (int i = 0; i < HOOK_WINNERS_MAX; i++) {
		struct hook_hits *count;
		__u32 at = s->position, bit;

		if (at >= s->winner_count)
			break;
		bit = s->winners[at & (HOOK_WINNERS_MAX - 1)].bit;
		s->position = at + 1;
		count = bpf_map_lookup_elem(&hits, &bit);
		if (!count)
			continue;
		if (consumed >= count->window) {
			count->bytes_before = count->bytes;
			count->bytes = 0;
			count->window = produced;
		}
		if (count->bytes_before + count->bytes + size <= most)
			s->is_within_share = 1;
	}
	return s->is_within_share;
}

/* Counts a record for each of its winners: as so many bytes in the ring, or with 0 as lost. */
__noinline int count_record(__u32 slot, __u32 bytes)
{
	struct hook_scratch *s = scratch_at(slot);

	if (!s)
		return 0;
	s->position = 0;
#pragma nounroll
	for (int i = 0; i < HOOK_WINNERS_MAX; i++) {
		struct hook_hits *count;
		__u32 at = s->position, bit;

		if (at >= s->winner_count)
			break;
		bit = s->winners[at & (HOOK_WINNERS_MAX - 1)].bit;
		s->position = at + 1;
		count = bpf_map_lookup_elem(&hits, &bit);
		if (!count)
			continue;
		if (bytes)
			__sync_fetch_and_add(&count->bytes, bytes);
		else
			__sync_fetch_and_add(&count->lost, 1);
	}
	return 1;
}

#endif
