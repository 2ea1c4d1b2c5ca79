/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The record of a call: made in the scratch, since its size is known last, and copied to a ring. */
#ifndef TRILOBITE_HOOK_EMIT_H
#define TRILOBITE_HOOK_EMIT_H

#include "act.h"
#include "decide.h"
#include "share.h"
#include "task.h"

/* What follows the values has room behind the longest of them. */
_Static_assert(DATA_START_MASK + 8 + HOOK_TEXT_MAX + 2 * 8 * HOOK_STACK_FRAMES + HOOK_WINNERS_MAX * sizeof(struct hook_winner) <=
	       HOOK_DATA_BYTES, "the last value, stacks and winners do not fit");

/* Copies bytes behind the data; returns their offset in the record. */
static __always_inline __u32 append(struct hook_scratch *s, const void *from, __u64 bytes, __u64 bytes_max)
{
	__u64 start = (s->end + 7) & DATA_MASK & ~7u;

	barrier_var(bytes);
	barrier_var(start);
	if (bytes > bytes_max || start > HOOK_DATA_BYTES - bytes_max)
		return 0;
	bpf_probe_read_kernel(&s->data[start], bytes, from);
	s->end = start + bytes;
	return sizeof(struct hook_record) + start;
}

__noinline int append_stacks(__u32 slot)
{
	struct hook_scratch *s;

	if (!has_feature(FEATURE_STACKS))
		return 0;
	s = scratch_at(slot);
	if (!s || s->passes > 1)
		return 0;
	s->record.kernel_stack_bytes = s->kernel_stack_bytes;
	if (s->kernel_stack_bytes)
		s->record.kernel_stack_offset = append(s, s->kernel_stack, s->kernel_stack_bytes, sizeof(s->kernel_stack));
	s->record.user_stack_bytes = s->user_stack_bytes;
	if (s->user_stack_bytes)
		s->record.user_stack_offset = append(s, s->user_stack, s->user_stack_bytes, sizeof(s->user_stack));
	return 1;
}

/* Makes the record of the winners that have just acted. */
__noinline int emit(__u32 slot)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct hook_scratch *s;
	__u32 values_end;
	__u64 size;
	long failed;

#pragma nounroll
	for (__u32 value = 0; value < HOOK_VALUES_MAX; value++) {
		if (value >= layout.value_count)
			break;
		read_value(slot, value);
	}
	s = scratch_at(slot);
	if (!s)
		return 0;
	append_stacks(slot);
	values_end = s->end;
	s->record.hook_id = layout.hook_id;
	s->record.flags = (s->passes > 1 ? HOOK_CONTINUED : 0) | (s->signalled ? HOOK_SIGNALLED : 0);
	s->record.returned = s->returned;
	if (has_feature(FEATURE_RETURN))
		s->record.flags |= HOOK_HAS_RETURNED;
	if (bpf_core_field_exists(task->thread_info.status) && (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT))
		s->record.flags |= HOOK_COMPAT;
	s->record.function = s->function;
	s->record.pad = 0;
	s->record.value_count = layout.value_count;
	s->record.winner_count = s->winner_count;
	s->record.winners_offset =
		append(s, s->winners, s->winner_count * sizeof(struct hook_winner), sizeof(s->winners));
	size = sizeof(struct hook_record) + s->end;
	s->end = values_end;
	fill_header(&s->record.header, RECORD_HOOK, size, bpf_ktime_get_boot_ns(), task);
	s->record.header.source = layout.hook_id;
	barrier_var(size);
	if (size > sizeof(struct hook_record) + HOOK_DATA_BYTES)
		return 0;
	if (s->signalled)
		failed = bpf_ringbuf_output(&enforcement_ring, &s->record, size, 0);
	else
		failed = !has_share(slot, size) || bpf_ringbuf_output(&policy_ring, &s->record, size, 0);
	if (failed) {
		count_drop(DROP_HOOK);
		count_record(slot, 0);
	} else if (!s->signalled) {
		count_record(slot, size);
	}
	return 1;
}

/* Records the winners that have acted, then lets the further ones act and records them. */
__noinline int report(__u32 slot)
{
	struct hook_scratch *s = scratch_at(slot);

#pragma nounroll
	for (int pass = 0; pass <= W; pass++) {
		if (s && s->winner_count)
			emit(slot);
		if (!s || s->word >= W || !act(slot))
			break;
	}
	return 1;
}

#endif
