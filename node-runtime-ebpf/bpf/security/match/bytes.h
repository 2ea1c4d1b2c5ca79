/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bits of a number (Mask, capability sets): a row for each value of each of its bytes. */
#ifndef TRILOBITE_MATCH_BYTES_H
#define TRILOBITE_MATCH_BYTES_H

#include "../scratch.h"

/* Ors the rows of the number's bytes. */
__noinline int find_bytes(__u32 slot, __u32 dimension)
{
	struct hook_scratch *s;
	__u64 table, number;

	if (!has_feature(FEATURE_BYTES))
		return 0;
	s = scratch_at(slot);
	table = dimension_table(dimension);
	if (!s || !clear_found(slot) || s->error)
		return 0;
	number = s->number;
#pragma nounroll
	for (__u32 byte = 0; byte < 8; byte++) {
		if (byte * 256 >= table >> 32)
			break;
		/* A byte without a bit has no condition's bit. */
		if (number & 255)
			add_row(slot, (__u32)table + byte * 256 + (number & 255));
		number >>= 8;
	}
	return 0;
}

#endif
