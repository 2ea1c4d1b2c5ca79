/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether one scope selects a task. A scope is a bit in the answers of a class; a new selection is a map write, never a reload. */
#ifndef TRILOBITE_SCOPE_H
#define TRILOBITE_SCOPE_H

#include "selection.h"

/* One map for all programs: created once, then shared by descriptor. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CLASSES_MAX);
	__type(key, __u32);
	__type(value, struct cgroup_class);
} classes SEC(".maps");

enum selection {
	NOT_SELECTED = 0,
	SELECTED = 1,
	SELECTION_UNKNOWN = 2,
};

/* `decided` is read first: the agent writes `wanted` first. */
static __always_inline enum selection selection_in(struct cgroup_class *answers, __u32 scope)
{
	__u32 word = (scope / 64) & (SCOPE_WORDS - 1);
	__u64 bit = 1ull << (scope % 64);

	if (!answers || !(*(volatile __u64 *)&answers->decided[word] & bit))
		return SELECTION_UNKNOWN;
	return answers->wanted[word] & bit ? SELECTED : NOT_SELECTED;
}

static __always_inline enum selection class_selection(__u32 class_id, __u32 scope)
{
	return selection_in(bpf_map_lookup_elem(&classes, &class_id), scope);
}

static __always_inline enum selection task_selection(struct task_struct *task, __u32 scope)
{
	return class_selection(task_class(task), scope);
}

#endif
