/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Calls whose record is made at their return: what was read and decided at the entry is kept until then. */
#ifndef TRILOBITE_HOOK_KEPT_H
#define TRILOBITE_HOOK_KEPT_H

#include "decide.h"

/* What is known of a call at its entry, until it returns: filters on arguments are about the entry, and what an argument points to
 * may be gone at the return. */
struct kept_call {
	char data[KEPT_DATA_BYTES];     /* the first bytes of hook_scratch.data */
	__u64 entered;
	__u64 args[HOOK_ARGS_MAX];
	__u64 left[HOOK_WORDS_MAX];
	__u64 read;
	__u64 numbers[HOOK_VALUES_MAX];
	__u32 text_start[HOOK_VALUES_MAX];
	__u32 text_length[HOOK_VALUES_MAX];
	__u32 end;
	__u32 pad;
};

_Static_assert(sizeof(struct kept_call) <= HOOK_DATA_BYTES, "a kept call is made of the data");

struct call_key {
	__u64 call;                     /* by trampoline its frame, else its thread */
	__u64 function;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct call_key);
	__type(value, struct kept_call);
} kept_calls SEC(".maps");

/* Reads the values that are known at the entry, as far as there is room to keep them: the others are read at the return. */
__noinline int read_entry_values(__u32 slot)
{
#pragma nounroll
	for (__u32 value = 0; value < HOOK_VALUES_MAX; value++) {
		struct hook_scratch *s;

		if (value >= layout.value_count)
			break;
		if (layout.values[value & VALUE_MASK].flags & VALUE_AT_RETURN)
			continue;
		read_value(slot, value);
		s = scratch_at(slot);
		if (!s)
			break;
		if (s->end > KEPT_DATA_BYTES) {
			struct hook_field *field = field_of(s, value);

			s->read &= ~(1ull << (value & VALUE_MASK));
			s->end = s->end - field->length;
			break;
		}
	}
	return 0;
}

/* Drops what an earlier call of the same key has left, whose return the kernel has skipped or is still to come: it would be taken for
 * this one. */
__noinline int forget_call(__u32 slot, __u64 call)
{
	struct call_key key = { .call = call };
	struct hook_scratch *s = scratch_at(slot);

	if (!s)
		return 0;
	key.function = s->function;
	if (!bpf_map_lookup_elem(&kept_calls, &key))
		return 0;
	bpf_map_delete_elem(&kept_calls, &key);
	count_drop(DROP_HOOK_ARGS);
	return 1;
}

/* Keeps the call in the scratch. */
__noinline int keep_call(__u32 slot, __u64 call)
{
	struct call_key key = { .call = call };
	struct kept_call *kept;
	struct hook_scratch *s;

	read_entry_values(slot);
	s = scratch_at(slot);
	if (!s)
		return 0;
	key.function = s->function;
	/* The thread calls the function again, inside of a call: the record of the outer call will be missing. */
	if (bpf_map_lookup_elem(&kept_calls, &key))
		count_drop(DROP_HOOK_ARGS);
	if (bpf_map_update_elem(&kept_calls, &key, s->data, BPF_ANY)) {
		count_drop(DROP_HOOK_ARGS);
		return 0;
	}
	kept = bpf_map_lookup_elem(&kept_calls, &key);
	if (!kept)
		return 0;
	kept->entered = bpf_ktime_get_boot_ns();
	kept->read = s->read;
	kept->end = s->end;
	__builtin_memcpy(kept->args, s->args, sizeof(kept->args));
	__builtin_memcpy(kept->left, s->left, sizeof(kept->left));
	__builtin_memcpy(kept->numbers, s->numbers, sizeof(kept->numbers));
	__builtin_memcpy(kept->text_start, s->text_start, sizeof(kept->text_start));
	__builtin_memcpy(kept->text_length, s->text_length, sizeof(kept->text_length));
	return 1;
}

/* Puts a kept call into a scratch, without the selectors that its task's class has not any more. */
__noinline int restore_call(__u32 slot, __u64 call, __u32 function)
{
	struct call_key key = { .call = call, .function = function };
	struct kept_call *kept = bpf_map_lookup_elem(&kept_calls, &key);
	struct hook_scratch *s = scratch_at(slot);

	if (!kept || !s)
		return 0;
	bpf_probe_read_kernel(s->data, KEPT_DATA_BYTES, kept->data);
	s->entered = kept->entered;
	s->read = kept->read;
	s->end = kept->end;
	s->function = function;
	__builtin_memcpy(s->args, kept->args, sizeof(kept->args));
#pragma unroll
	for (int word = 0; word < W; word++)
		s->left[word] &= kept->left[word];
	__builtin_memcpy(s->numbers, kept->numbers, sizeof(kept->numbers));
	__builtin_memcpy(s->text_start, kept->text_start, sizeof(kept->text_start));
	__builtin_memcpy(s->text_length, kept->text_length, sizeof(kept->text_length));
	return 1;
}

#endif
