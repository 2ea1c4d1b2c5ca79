/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ids of binaries: the path of the binary that a task runs, in tables that all hooks share. */
#ifndef TRILOBITE_READ_BINARY_H
#define TRILOBITE_READ_BINARY_H

#include "../match/text.h"
#include "path.h"

/* Index of the last value: no value of a hook, but where the path of a binary is put. */
#define BINARY_VALUE VALUE_MASK

/* Keys have dimension 0 (exact), 1 (prefix) and 2 (reversed suffix); the agent numbers the ids from 1. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct string_key);
	__type(value, __u32);
} binary_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct prefix_key);
	__type(value, __u32);
} binary_affixes SEC(".maps");

static __always_inline struct file *binary_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, mm, exe_file);
}

static __always_inline __u32 find_binary_affix(struct hook_scratch *s, bool is_suffix)
{
	__u32 length = s->text_length[BINARY_VALUE], start = s->text_start[BINARY_VALUE];
	__u32 bytes = length < PREFIX_BYTES ? length : PREFIX_BYTES, *id;

	for (__u32 i = 0; i < PREFIX_BYTES; i++) {
		__u32 at = is_suffix ? start + length - 1 - i : start + i;

		if (i >= bytes)
			break;
		s->prefix.text[i] = s->data[at & DATA_MASK];
		barrier();
	}
	s->prefix.dimension = is_suffix ? 2 : 1;
	s->prefix.bits = 8 + 8 * bytes;
	id = bpf_map_lookup_elem(&binary_affixes, &s->prefix);
	return id ? *id : 0;
}

/* Sets the id of a binary as the number of a fact. */
__noinline int read_binary(__u32 slot, __u32 facet)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	bool is_parent = facet >= FACET_PARENT_BINARY_EXACT;
	struct hook_scratch *s;
	__u32 *id;

	if (!has_feature(FEATURE_BINARIES))
		return 0;
	s = scratch_at(slot);
	if (!s)
		return 0;
	if (is_parent)
		task = BPF_CORE_READ(task, group_leader, real_parent);
	s->error = 0;
	s->number = 0;
	s->start = s->end;
	s->dentry = 0;
	s->mount = 0;
	begin_at_file(s, binary_of(task));
	/* A kernel thread has no binary. */
	if (!append_path(slot, BINARY_VALUE))
		return 1;
	/* Not part of the record. */
	s->end = s->start;
	switch (facet & 3) {
	case FACET_BINARY_EXACT & 3:
		if (!make_string_key(slot, BINARY_VALUE))
			return 1;
		id = bpf_map_lookup_elem(&binary_names, &s->string);
		s->number = id ? *id : 0;
		break;
	case FACET_BINARY_PREFIX & 3:
		s->number = find_binary_affix(s, false);
		break;
	default:
		s->number = find_binary_affix(s, true);
		break;
	}
	return 1;
}

#endif
