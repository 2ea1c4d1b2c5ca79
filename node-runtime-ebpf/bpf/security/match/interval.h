/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Numbers: one binary search among the bounds of all policies; and numbers that are an index. */
#ifndef TRILOBITE_MATCH_INTERVAL_H
#define TRILOBITE_MATCH_INTERVAL_H

#include "../scratch.h"

#define INTERVAL_STEPS 20       /* more bounds than 2^20 do not fit the memory of a map anyway */

/* Index of the row of the interval in which the number is. */
__noinline int find_interval(__u32 slot, __u32 dimension)
{
	struct hook_scratch *s;
	__s64 number;
	__u64 table;

	if (!has_feature(FEATURE_INTERVALS))
		return 0;
	s = scratch_at(slot);
	table = dimension_table(dimension);
	if (!s || !(table >> 32) || s->error)
		return 0;
	number = s->number;
	if (layout.dimensions[dimension & DIMENSION_MASK].flags & DIMENSION_UNSIGNED)
		number ^= 1ull << 63;
	s->low = table;
	s->high = (__u32)table + (table >> 32);
#pragma nounroll
	for (int step = 0; step < INTERVAL_STEPS; step++) {
		__u32 low = s->low, middle = (low + s->high) >> 1;
		__s64 *bound;

		if (middle <= low)
			break;
		bound = bpf_map_lookup_elem(&bounds, &middle);
		if (!bound)
			break;
		if (*bound <= number)
			s->low = middle;
		else
			s->high = middle;
		barrier();
	}
	return s->low;
}

/* Index of the row of an id. */
__noinline int find_id(__u32 slot, __u32 dimension)
{
	struct hook_scratch *s;
	__u64 table;

	if (!has_feature(FEATURE_IDS))
		return 0;
	s = scratch_at(slot);
	table = dimension_table(dimension);
	if (!s || s->error || s->number >= table >> 32)
		return 0;
	return (__u32)table + s->number;
}

#endif
