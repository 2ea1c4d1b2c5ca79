/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The map of processes. The process programs write it; hooks compare a process with what it was given at its exec and its fork. */
#ifndef TRILOBITE_PROCESS_MAP_H
#define TRILOBITE_PROCESS_MAP_H

#include <bpf/bpf_helpers.h>

#include "process.h"

/* By thread group id. The thread that deletes an entry emits the exit: two last threads can both see no other thread alive. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PROCESSES_MAX);
	__type(key, __u32);
	__type(value, struct process_entry);
} processes SEC(".maps");

/* Conditions that a process or one of its ancestors has met. */
static __always_inline __u64 followed_bits(const struct process_entry *process)
{
	return process->followed | process->assigned;
}

#endif
