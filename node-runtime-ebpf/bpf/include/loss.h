/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What was lost, counted where it is lost: by kind of record, and for the maps that were full. */
#ifndef TRILOBITE_LOSS_H
#define TRILOBITE_LOSS_H

#include <bpf/bpf_helpers.h>

#include "record.h"

#define LOSS_MAP_FULL 0         /* the map of processes; no kind of record has this number, nor the next */
#define LOSS_CGROUPS_FULL 63    /* the map of cgroups, of the cgroups that were to inherit */
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
