/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The key of a task, and the header of a record about it. */
#ifndef TRILOBITE_TASK_H
#define TRILOBITE_TASK_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "kernel.h"
#include "record.h"

/* The same number for every thread at any time: an exec in a thread inherits the leader's start, and only an exec
 * increments the count. */
static __always_inline __u64 task_exec_ktime(struct task_struct *task)
{
	return BPF_CORE_READ(task, group_leader, start_boottime) + BPF_CORE_READ(task, self_exec_id);
}

/* The same of the current task, without a copy of each field: 5.11+. */
static __always_inline __u64 current_exec_ktime(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return task->group_leader->start_boottime + task->self_exec_id;
}

/* Fills all of a header. `task` is NULL where the record is about no process; what else the record knows better (a cgroup,
 * a connection, the unit's source) is set behind it. */
static __always_inline void fill_header(struct record *header, enum record_kind kind, __u32 size, __u64 time,
					struct task_struct *task)
{
	header->layout = RECORD_LAYOUT;
	header->kind = kind;
	header->size = size;
	header->time = time;
	header->cgroup = task ? BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id) : 0;
	header->exec_ktime = task ? task_exec_ktime(task) : 0;
	header->exec_pid = task ? BPF_CORE_READ(task, tgid) : 0;
	header->tid = task ? BPF_CORE_READ(task, pid) : 0;
	header->connection = 0;
	header->source = 0;
	header->generation = 0;
}

/* The same for the current task, which is cheaper: `exec_ktime` is its task_exec_ktime(). */
static __always_inline void fill_current_header(struct record *header, enum record_kind kind, __u64 exec_ktime)
{
	__u64 id = bpf_get_current_pid_tgid();

	header->layout = RECORD_LAYOUT;
	header->kind = kind;
	header->time = bpf_ktime_get_boot_ns();
	header->cgroup = bpf_get_current_cgroup_id();
	header->exec_ktime = exec_ktime;
	header->exec_pid = id >> 32;
	header->tid = id;
}

#endif
