/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The slots of the profiles of requests: which of them want the bytes of a task, and what each asks. */
#ifndef TRILOBITE_SLOTS_H
#define TRILOBITE_SLOTS_H

#include <bpf/bpf_helpers.h>

#include "payload.h"
#include "scope.h"

#define SLOT_MASK (REQUEST_SLOTS_MAX - 1)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slot_table);
} slot_table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REQUEST_SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct slot_settings);
} slot_settings SEC(".maps");

struct slot_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SLOT_RING_MIN);
};

/* The ring of each slot, of the size that its profile asks. To delete an element waits until no program uses the ring. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, REQUEST_SLOTS_MAX);
	__type(key, __u32);
	__array(values, struct slot_ring);
} slot_rings SEC(".maps");

/* An evicted verdict is as VERDICT_NONE. Those of streams with calls stay: the oldest ones, by their last call, make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, VERDICTS_MAX);
	__type(key, struct verdict_key);
	__type(value, struct verdict);
} verdicts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REQUEST_SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct slot_counts);
} slot_counts SEC(".maps");

static __always_inline struct slot_table *find_slot_table(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&slot_table, &zero);
}

static __always_inline bool has_slots(void)
{
	struct slot_table *table = find_slot_table();

	return table && *(volatile __u64 *)&table->active;
}

/* The slots, one bit each, that select a class, or about which the agent has not decided. Not inlined: the verifier walks the loop
 * once for all programs that call it. */
__noinline __u64 slots_of_class(__u32 class_id)
{
	struct cgroup_class *answers = bpf_map_lookup_elem(&classes, &class_id);
	struct slot_table *table = find_slot_table();
	__u64 active, selecting = 0;

	if (!table)
		return 0;
	active = *(volatile __u64 *)&table->active;
#pragma nounroll
	for (__u32 slot = 0; slot < REQUEST_SLOTS_MAX; slot++) {
		__u64 scope;

		if (slot >= *(volatile __u64 *)&table->end)
			break;
		if (!(active >> slot & 1))
			continue;
		scope = table->scope[slot & SLOT_MASK];
		if (scope >= SCOPES_MAX || selection_in(answers, scope) != NOT_SELECTED)
			selecting |= 1ull << slot;
	}
	return selecting;
}

/* The slots that were added after an epoch: what a socket remembers of their numbers is about earlier slots. */
__noinline __u64 slots_since(__u64 epoch)
{
	struct slot_table *table = find_slot_table();
	__u64 newer = 0;

	if (!table)
		return 0;
#pragma nounroll
	for (__u32 slot = 0; slot < REQUEST_SLOTS_MAX; slot++) {
		if (*(volatile __u64 *)&table->since[slot & SLOT_MASK] > epoch)
			newer |= 1ull << slot;
	}
	return newer;
}

static __always_inline bool is_undecided(struct slot_table *table, __u32 slot, __u32 class_id)
{
	__u64 scope = table->scope[slot & SLOT_MASK];

	return scope < SCOPES_MAX && class_selection(class_id, scope) == SELECTION_UNKNOWN;
}

__noinline int wants_ports(__u32 slot, __u16 local, __u16 remote)
{
	struct slot_settings *settings = bpf_map_lookup_elem(&slot_settings, &slot);

	if (!settings)
		return false;
	if (!settings->port_count)
		return true;
#pragma nounroll
	for (__u32 at = 0; at < SLOT_PORTS_MAX; at++) {
		if (at >= settings->port_count)
			break;
		if (settings->ports[at] == local || settings->ports[at] == remote)
			return true;
	}
	return false;
}

#endif
