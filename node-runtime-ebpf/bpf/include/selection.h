/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The class of a task: that of its leaf cgroup, or of the nearest cgroup above that has one. What a class means to a hook is in
 * the hook's own rows; programs that ask about one scope alone include scope.h. */
#ifndef TRILOBITE_SELECTION_H
#define TRILOBITE_SELECTION_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "cgroup.h"
#include "kernel.h"

/* One map for all programs: created once, then shared by descriptor. It has cgroups of this node only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CGROUPS_MAX);
	__type(key, __u64);
	__type(value, struct cgroup_state);
} cgroups SEC(".maps");

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

/* The class of a task of this node; CLASS_UNDECIDED where no cgroup on the way to the node's own has one. */
static __always_inline __u32 task_class(struct task_struct *task)
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
		if (state)
			return state->class_id;
		level--;
	}
	return CLASS_UNDECIDED;
}

/* The class of the current task; below 0 if it does not run on this node. One lookup where its leaf cgroup has a class, as in
 * every known pod. */
static __always_inline int current_class(void)
{
	__u64 id = bpf_get_current_cgroup_id();
	struct cgroup_state *state = bpf_map_lookup_elem(&cgroups, &id);
	struct task_struct *task;

	if (state)
		return state->class_id;
	task = (void *)bpf_get_current_task();
	return task_on_node(task) ? (int)task_class(task) : -1;
}

#endif
