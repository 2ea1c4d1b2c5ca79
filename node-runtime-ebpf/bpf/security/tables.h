/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps of a hook. The agent makes them as large as the policies need, and writes them while programs read: one word at a
 * time, and only bits that no class has, until they are complete. */
#ifndef TRILOBITE_HOOK_TABLES_H
#define TRILOBITE_HOOK_TABLES_H

#include <bpf/bpf_helpers.h>

#include "kernel.h"
#include "hook.h"

#ifndef W
#error "W: words of a row, 1, 4 or 16"
#endif

const volatile struct hook_layout layout;

struct row {
	__u64 word[W];
};

struct class_row {
	__u64 words;                    /* bit n: word n of `wanted` or `unknown` may not be 0 */
	__u64 wanted[W];                /* selectors whose scope selects the class */
	__u64 unknown[W];               /* selectors about whose scope the agent has not decided yet */
};

struct dimension_mask {
	__u64 negated[W];
	__u64 ignores[W];               /* selectors without a condition on the dimension */
};

#define TABLE(NAME, VALUE, ENTRIES)                                             \
	struct {                                                                \
		__uint(type, BPF_MAP_TYPE_ARRAY);                               \
		__uint(map_flags, BPF_F_MMAPABLE);                              \
		__uint(max_entries, ENTRIES);                                   \
		__type(key, __u32);                                             \
		__type(value, VALUE);                                           \
	} NAME SEC(".maps")

TABLE(class_rows, struct class_row, CLASSES_MAX);
TABLE(dimension_tables, struct dimension_tables, 1);
TABLE(dimension_masks, struct dimension_mask, HOOK_DIMENSIONS_MAX);
TABLE(bounds, __s64, 1);
TABLE(rows, struct row, 1);
TABLE(substrings, struct automaton_state, 1);
TABLE(actions, struct hook_action, 64 * W);
TABLE(hits, struct hook_hits, 64 * W);

/* Both lead to an index in `rows`. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct string_key);
	__type(value, __u32);
} strings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct prefix_key);
	__type(value, __u32);
} prefixes SEC(".maps");

/* Processes that policies noted with sockets. Shared by all hooks; the agent makes it when the first policy needs it. */
struct socket_key {
	__u64 socket;                   /* address of the struct sock */
	__u32 tracker;
	__u32 pad;
};

struct noted_process {
	__u64 exec_ktime;
	__u64 cgroup;
	__u32 exec_pid;
	__u32 tid;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct socket_key);
	__type(value, struct noted_process);
} tracked_sockets SEC(".maps");

/* Shared by all hooks: a flood of one policy costs no signal its record. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} policy_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} enforcement_ring SEC(".maps");

static __always_inline __u64 dimension_table(__u32 dimension)
{
	__u32 zero = 0;
	struct dimension_tables *tables = bpf_map_lookup_elem(&dimension_tables, &zero);

	return tables ? tables->table[dimension & (HOOK_DIMENSIONS_MAX - 1)] : 0;
}

static __always_inline bool has_feature(__u32 feature)
{
	return layout.features & feature;
}

#endif
