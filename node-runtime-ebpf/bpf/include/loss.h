/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What was lost, counted where it is lost: by kind of record, and for a map that was full. */
#ifndef TRILOBITE_LOSS_H
#define TRILOBITE_LOSS_H

#include <bpf/bpf_helpers.h>

#include "record.h"

#define LOSS_MAP_FULL 0         /* no kind of record has this number */
#define LOSSES_MAX 64

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSSES_MAX);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

static __always_inline void lost(__u32 what)
{
	__u64 *count = bpf_map_lookup_elem(&losses, &what);

	if (count)
		(*count)++;
}

#endif
