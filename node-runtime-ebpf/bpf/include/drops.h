/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Losses, counted where they happen: the one map and the one function for it, in every object. */
#ifndef TRILOBITE_DROPS_H
#define TRILOBITE_DROPS_H

#include <bpf/bpf_helpers.h>

#include "record.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

/* Atomic although the counter is the processor's own: an interrupt may call the same program again. */
static __always_inline void count_drop(enum drop_reason reason)
{
	__u32 key = reason;
	__u64 *count = bpf_map_lookup_elem(&drops, &key);

	if (count)
		__sync_fetch_and_add(count, 1);
}

#endif
