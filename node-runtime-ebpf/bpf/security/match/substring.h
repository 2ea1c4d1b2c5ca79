/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which of many patterns a text contains: one pass of an automaton over its bytes. */
#ifndef TRILOBITE_MATCH_SUBSTRING_H
#define TRILOBITE_MATCH_SUBSTRING_H

#include "../scratch.h"

#define AUTOMATON_CHUNK 128     /* bytes that one verified function reads */
#define CLASS_ELEMENTS 2        /* elements with the classes of bytes, 128 each */

/* Reads the next bytes; returns whether there may be more. */
__noinline int run_automaton(__u32 slot)
{
	struct hook_scratch *s = scratch_at(slot);

	if (!s)
		return 0;
#pragma nounroll
	for (int i = 0; i < AUTOMATON_CHUNK; i++) {
		__u32 at = s->position, key = s->automaton + 1 + CLASS_ELEMENTS + s->state;
		struct automaton_state *state = bpf_map_lookup_elem(&substrings, &key);
		struct automaton_state *classes;
		__u8 byte;

		if (!state)
			return 0;
		if (state->accepts)
			add_row(slot, s->automaton_rows + state->accepts - 1);
		if (at >= s->text_end)
			return 0;
		byte = s->data[at & DATA_MASK];
		key = s->automaton + 1 + byte / 128;
		classes = bpf_map_lookup_elem(&substrings, &key);
		if (!classes)
			return 0;
		s->state = state->next[((__u8 *)classes)[byte & 127] & (AUTOMATON_CLASSES - 1)];
		s->position = at + 1;
	}
	return 1;
}

/* Ors the rows of all patterns that the text contains. */
__noinline int find_substrings(__u32 slot, __u32 dimension, __u32 value)
{
	struct automaton_header *header;
	struct hook_scratch *s;
	__u64 table;
	__u32 key;

	if (!has_feature(FEATURE_SUBSTRINGS))
		return 0;
	s = scratch_at(slot);
	table = dimension_table(dimension);
	if (!s || !(table >> 32))
		return 0;
	key = table;
	header = bpf_map_lookup_elem(&substrings, &key);
	if (!header)
		return 0;
	s->automaton = key;
	s->automaton_rows = header->rows;
	s->state = 0;
	s->position = s->text_start[value & VALUE_MASK];
	s->text_end = s->position + s->text_length[value & VALUE_MASK];
#pragma nounroll
	for (int chunk = 0; chunk <= HOOK_TEXT_MAX / AUTOMATON_CHUNK; chunk++)
		if (!run_automaton(slot))
			break;
	return 0;
}

#endif
