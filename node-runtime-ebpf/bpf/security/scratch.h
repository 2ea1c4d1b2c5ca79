/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The memory of a call of a hook. Loops keep their state here and not in registers: the verifier does not follow the contents
 * of a map, so that all steps of a loop look alike to it. Functions that it checks once each find the memory by its number. */
#ifndef TRILOBITE_HOOK_SCRATCH_H
#define TRILOBITE_HOOK_SCRATCH_H

#include <bpf/bpf_helpers.h>

#include "drops.h"
#include "scratch_lock.h"
#include "selection.h"
#include "tables.h"

#define VALUE_MASK (HOOK_VALUES_MAX - 1)
#define DIMENSION_MASK (HOOK_DIMENSIONS_MAX - 1)
#define WORD_MASK (HOOK_WORDS_MAX - 1)
#define DATA_START_MASK 0x1ff8          /* a value begins in the first half of the data, at a multiple of 8 */
#define DATA_MASK (HOOK_DATA_BYTES - 1)
#define PATH_NAME_MAX 256
#define PATH_MASK (HOOK_TEXT_MAX - 1)

struct hook_scratch {
	__u32 users;                    /* 1 while a call has it; more while others try */
	__u32 class_id;

	/* What the hook was called with. */
	__u64 args[8];
	__u64 returned;
	__u64 entered;                  /* boot clock, of a call that has returned */
	__u64 trace_record;             /* address of a classic tracepoint's record */

	/* Selectors: those that are left, and the rows of one dimension that are ORed. */
	__u64 left[HOOK_WORDS_MAX];
	__u64 found[HOOK_WORDS_MAX];

	/* Values that have been read, one bit each, and what dimensions need of them. */
	__u64 read;
	__u64 numbers[HOOK_VALUES_MAX];
	__u32 text_start[HOOK_VALUES_MAX];      /* in `data` */
	__u32 text_length[HOOK_VALUES_MAX];

	/* The value that is being read, and the state of loops. */
	__u64 address;
	__u64 number;
	__s32 error;
	__u32 start, end;               /* of the value, and of all values, in `data` */
	__u32 low, high;
	__u32 position, text_end;
	__u32 automaton, state, automaton_rows;
	__u64 hash;
	__u64 dentry, mount, root_dentry, root_mount;
	__u32 path_start, path_flags;

	/* Winners of the record that is being made. */
	__u32 word;
	__u32 winner_count;
	__u32 asked_stacks;             /* ACTION_KERNEL_STACK, ACTION_USER_STACK */
	__u32 signalled;
	__u32 passes;
	__u32 kernel_stack_bytes, user_stack_bytes;
	__u32 function;
	__u32 is_within_share;
	struct noted_process noted;     /* that of the winner's socket; its tid is 0 where there is none */
	struct hook_winner winners[HOOK_WINNERS_MAX];
	__u64 kernel_stack[HOOK_STACK_FRAMES], user_stack[HOOK_STACK_FRAMES];

	struct string_key string;
	struct prefix_key prefix;
	char path[HOOK_TEXT_MAX + PATH_NAME_MAX];       /* filled from its end */

	struct hook_record record;
	char data[HOOK_DATA_BYTES];     /* follows the record without a gap */
};

_Static_assert(__builtin_offsetof(struct hook_scratch, data) ==
	       __builtin_offsetof(struct hook_scratch, record) + sizeof(struct hook_record), "the data follow the record");

/* HOOK_LEVELS elements for each processor, which the agent knows; one map for all hooks. An array by processor, because that is
 * faster to look up than a per-processor one. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HOOK_LEVELS);
	__type(key, __u32);
	__type(value, struct hook_scratch);
} hook_scratch SEC(".maps");

static __always_inline struct hook_scratch *scratch_at(__u32 slot)
{
	return bpf_map_lookup_elem(&hook_scratch, &slot);
}

/* Takes one of the processor's scratches; below 0 if none is free. */
__noinline int acquire_scratch(__u32 class_id)
{
	struct class_row *row = bpf_map_lookup_elem(&class_rows, &class_id);
	__u32 first = bpf_get_smp_processor_id() * HOOK_LEVELS;

	if (!row)
		return -1;
	for (__u32 level = 0; level < HOOK_LEVELS; level++) {
		struct hook_scratch *s = scratch_at(first + level);

		if (!s)
			break;
		if (!try_lock_scratch(&s->users))
			continue;
		s->class_id = class_id;
		s->read = 0;
		s->end = layout.value_count * sizeof(struct hook_field);
		s->word = 0;
		s->passes = 0;
		s->asked_stacks = 0;
		s->signalled = 0;
		s->function = 0;
		s->kernel_stack_bytes = 0;
		s->user_stack_bytes = 0;
#pragma unroll
		for (int word = 0; word < W; word++)
			s->left[word] = row->wanted[word] | row->unknown[word];
		return first + level;
	}
	count_drop(DROP_HOOK_LEVEL);
	return -1;
}

static __always_inline void release_scratch(__u32 slot)
{
	struct hook_scratch *s = scratch_at(slot);

	if (s)
		unlock_scratch(&s->users);
}

/* The field of a value in the record. */
static __always_inline struct hook_field *field_of(struct hook_scratch *s, __u32 value)
{
	return (void *)&s->data[(value & VALUE_MASK) * sizeof(struct hook_field)];
}

/* Ands a row to the selectors that are left; returns whether any is. */
__noinline int keep_row(__u32 slot, __u32 dimension, __u32 index)
{
	struct dimension_mask *mask = bpf_map_lookup_elem(&dimension_masks, &dimension);
	struct row *row = bpf_map_lookup_elem(&rows, &index);
	struct hook_scratch *s = scratch_at(slot);
	__u64 left = 0;

	if (!s || !mask || !row)
		return 0;
#pragma unroll
	for (int word = 0; word < W; word++) {
		s->left[word] &= (row->word[word] ^ mask->negated[word]) | mask->ignores[word];
		left |= s->left[word];
	}
	return left != 0;
}

__noinline int clear_found(__u32 slot)
{
	struct hook_scratch *s = scratch_at(slot);

	if (!s)
		return 0;
#pragma unroll
	for (int word = 0; word < W; word++)
		s->found[word] = 0;
	return 1;
}

/* Ors a row to the found ones. */
__noinline int add_row(__u32 slot, __u32 index)
{
	struct row *row = bpf_map_lookup_elem(&rows, &index);
	struct hook_scratch *s = scratch_at(slot);

	if (!s || !row)
		return 0;
#pragma unroll
	for (int word = 0; word < W; word++)
		s->found[word] |= row->word[word];
	return 1;
}

/* As keep_row, with the found ones. */
__noinline int keep_found(__u32 slot, __u32 dimension)
{
	struct dimension_mask *mask = bpf_map_lookup_elem(&dimension_masks, &dimension);
	struct hook_scratch *s = scratch_at(slot);
	__u64 left = 0;

	if (!s || !mask)
		return 0;
#pragma unroll
	for (int word = 0; word < W; word++) {
		s->left[word] &= (s->found[word] ^ mask->negated[word]) | mask->ignores[word];
		left |= s->left[word];
	}
	return left != 0;
}

#endif
