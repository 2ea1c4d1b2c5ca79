/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Facts that a process was given at its exec and its fork: what it inherited, and what has changed since its exec. */
#ifndef TRILOBITE_READ_PROCESS_H
#define TRILOBITE_READ_PROCESS_H

#include "process_map.h"
#include "task.h"

#include "fact.h"

/* Where the full map lacks a process, so many of its ancestors are asked instead. */
#define ANCESTORS_ASKED 8

static __always_inline struct process_entry *entry_of(struct task_struct *task)
{
	__u32 tgid = BPF_CORE_READ(task, tgid);

	return bpf_map_lookup_elem(&processes, &tgid);
}

static __always_inline struct task_struct *parent_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, group_leader, real_parent);
}

/* Sets the bits of conditions that the process, or its parent, has met or inherited. */
__noinline int read_followed(__u32 slot, __u32 facet)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct process_entry *process;
	struct hook_scratch *s;

	if (!has_feature(FEATURE_PROCESSES))
		return 0;
	s = scratch_at(slot);
	if (!s)
		return 0;
	s->error = 0;
	s->number = 0;
	process = entry_of(task);
	if (facet == FACET_PARENT_FOLLOWED) {
		/* Of the parent at the fork too: the present one is another where that has ended. */
		if (process)
			s->number = process->parent_followed;
		task = parent_of(task);
		process = entry_of(task);
	}
#pragma unroll
	for (int asked = 0; asked < ANCESTORS_ASKED; asked++) {
		if (process)
			break;
		task = parent_of(task);
		process = entry_of(task);
	}
	if (process)
		s->number |= followed_bits(process);
	return 1;
}

/* Sets the bits of namespaces, or of one set of capabilities, that are others than at exec. An error where that cannot be compared:
 * the full map lacks the process, or its new image is not complete yet. */
__noinline int read_change(__u32 slot, __u32 facet)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct process_entry *process;
	struct hook_scratch *s;
	const struct cred *cred;
	__u32 now;

	if (!has_feature(FEATURE_PROCESSES))
		return 0;
	s = scratch_at(slot);
	if (!s)
		return 0;
	s->error = -EFAULT;
	s->number = 0;
	process = entry_of(task);
	if (!process || process->ktime != task_exec_ktime(task))
		return 0;
	s->error = 0;
	if (facet != FACET_NAMESPACES_CHANGED) {
		cred = BPF_CORE_READ(task, cred);
		if ((facet & 3) == 0)
			s->number = process->at_exec.effective;
		else if ((facet & 3) == 1)
			s->number = process->at_exec.inheritable;
		else
			s->number = process->at_exec.permitted;
		s->number ^= capability_set(cred, facet & 3);
		return 1;
	}
#pragma unroll
	for (__u32 kind = 0; kind < 10; kind++) {
		now = read_namespace(kind);
		if (process->at_exec.namespaces[kind] && process->at_exec.namespaces[kind] != now)
			s->number |= 1ull << kind;
	}
	return 1;
}

#endif
