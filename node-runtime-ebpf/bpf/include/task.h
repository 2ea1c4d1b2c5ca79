/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a task is called in a record. */
#ifndef TRILOBITE_TASK_H
#define TRILOBITE_TASK_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "kernel.h"
#include "limits.h"
#include "record.h"

/* The same number whenever it is asked for: an exec in a thread hands the leader's start on, and only an exec counts. */
static __always_inline __u64 task_exec_ktime(struct task_struct *task)
{
	return BPF_CORE_READ(task, group_leader, start_boottime) + BPF_CORE_READ(task, self_exec_id);
}

static __always_inline __u64 task_cgroup(struct task_struct *task)
{
	return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
}

static __always_inline void record_begin(struct record *record, __u16 kind, __u32 size, struct task_struct *task)
{
	record->layout = RECORD_LAYOUT;
	record->kind = kind;
	record->size = size;
	record->time = bpf_ktime_get_boot_ns();
	record->cgroup = task_cgroup(task);
	record->exec_ktime = task_exec_ktime(task);
	record->exec_pid = BPF_CORE_READ(task, tgid);
	record->tid = BPF_CORE_READ(task, pid);
	record->connection = 0;
	record->source = 0;
	record->generation = 0;
}

#endif
