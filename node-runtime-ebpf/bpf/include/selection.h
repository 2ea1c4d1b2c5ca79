/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which cgroups are selected. A selector is a bit in the state of a cgroup; a new selection is a map write, never a reload.
 * The leaf cgroup is looked up first, then its ancestors: the nearest whose state is known for this selector decides. */
#ifndef TRILOBITE_SELECTION_H
#define TRILOBITE_SELECTION_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "cgroup.h"
#include "kernel.h"

/* One map for all programs: created once, then shared by descriptor. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CGROUPS_MAX);
	__type(key, __u64);
	__type(value, struct cgroup_state);
} cgroups SEC(".maps");

enum selection {
	NOT_SELECTED = 0,
	SELECTED = 1,
	SELECTION_UNKNOWN = 2,
};

/* The cgroup above this node's pods, and its depth; 0 where the whole machine is the node. */
const volatile __u64 node_cgroup = 0;
const volatile __u32 node_cgroup_level = 0;

static __always_inline __u64 cgroup_ancestor(struct cgroup *cgroup, __u32 level)
{
	__u64 id = 0;

	if (bpf_core_field_exists(cgroup->ancestors)) {
		struct cgroup *ancestor = NULL;

		bpf_core_read(&ancestor, sizeof(ancestor), &cgroup->ancestors[level]);
		if (ancestor)
			id = BPF_CORE_READ(ancestor, kn, id);
	} else {
		struct cgroup___ids *old = (void *)cgroup;

		bpf_core_read(&id, sizeof(id), &old->ancestor_ids[level]);
	}
	return id;
}

/* The task runs on this node, and not on another node that shares the kernel. */
static __always_inline bool task_on_node(struct task_struct *task)
{
	struct cgroup *cgroup;

	if (!node_cgroup)
		return true;
	cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);
	if (BPF_CORE_READ(cgroup, level) < (int)node_cgroup_level)
		return false;
	return cgroup_ancestor(cgroup, node_cgroup_level) == node_cgroup;
}

static __always_inline enum selection task_selection(struct task_struct *task, __u64 selector)
{
	struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);
	int level = BPF_CORE_READ(cgroup, level);

#pragma unroll
	for (int climbed = 0; climbed < CGROUP_DEPTH_MAX; climbed++) {
		struct cgroup_state *state;
		__u64 id;

		if (level < (int)node_cgroup_level)
			break;
		id = cgroup_ancestor(cgroup, level);
		state = bpf_map_lookup_elem(&cgroups, &id);
		if (state && (state->known & selector))
			return state->selected & selector ? SELECTED : NOT_SELECTED;
		if (state && (state->flags & CGROUP_PODS))
			break;
		level--;
	}
	return SELECTION_UNKNOWN;
}

#endif
