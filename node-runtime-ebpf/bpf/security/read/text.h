/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Strings and buffers, of the kernel and of the task's memory. */
#ifndef TRILOBITE_READ_TEXT_H
#define TRILOBITE_READ_TEXT_H

#include "value.h"

/* A bound that every verifier understands. */
static __always_inline __u64 text_bound(__u64 bytes)
{
	if (bytes > HOOK_TEXT_MAX)
		bytes = HOOK_TEXT_MAX;
	barrier_var(bytes);
	if (bytes > HOOK_TEXT_MAX)
		bytes = 0;
	return bytes;
}

/* Address of a string in a trace record that contains its offset. */
static __always_inline __u64 follow_location(struct hook_scratch *s, __u32 kind)
{
	__u32 location = 0;

	if (bpf_probe_read_kernel(&location, sizeof(location), (void *)s->address)) {
		s->error = -EFAULT;
		return 0;
	}
	if (kind == VALUE_REL_LOC)
		return s->address + sizeof(location) + (location & DATA_LOC_OFFSET);
	return s->trace_record + (location & DATA_LOC_OFFSET);
}

__noinline int read_string(__u32 slot, __u32 index)
{
	const volatile struct hook_value *value = value_of(index);
	struct hook_scratch *s;
	struct hook_field *field;
	__u64 from, bound;
	__u32 start;
	long read;

	if (!has_feature(FEATURE_STRINGS))
		return 0;
	s = scratch_at(slot);
	if (!s)
		return 0;
	field = field_of(s, index);
	from = s->address;
	if (value->kind == VALUE_DATA_LOC || value->kind == VALUE_REL_LOC)
		from = follow_location(s, value->kind);
	if (s->error)
		return 0;
	start = s->start & DATA_START_MASK;
	bound = text_bound(value->bound);
	if (is_kernel_address(from))
		read = bpf_probe_read_kernel_str(&s->data[start], bound, (void *)from);
	else
		read = bpf_probe_read_user_str(&s->data[start], bound, (void *)from);
	if (read < 1) {
		s->error = read < 0 ? read : -EFAULT;
		return 0;
	}
	/* The NUL of a string that fills the buffer may not be its own. */
	if (read == (long)bound)
		field->flags |= FIELD_CUT;
	s->text_start[index & VALUE_MASK] = start;
	s->text_length[index & VALUE_MASK] = read - 1;
	s->end = start + read - 1;
	return 1;
}

/* Bytes that a buffer has, by another value. */
static __always_inline __u64 buffer_size(struct hook_scratch *s, const volatile struct hook_value *value)
{
	return value->size_from ? s->numbers[(value->size_from - 1) & VALUE_MASK] : value->bound;
}

struct segment {
	__u64 base;
	__u64 bytes;
};

#define ITER_UBUF 0

/* A buffer, or the first segment of several. */
__noinline int read_buffer(__u32 slot, __u32 index)
{
	const volatile struct hook_value *value = value_of(index);
	struct segment segment = {};
	struct hook_scratch *s;
	__u64 bytes, total;
	__u32 start;
	long failed;

	if (!has_feature(FEATURE_BUFFERS))
		return 0;
	s = scratch_at(slot);
	if (!s || s->error)
		return 0;
	start = s->start & DATA_START_MASK;
	segment.base = s->address;
	total = buffer_size(s, value);
	segment.bytes = total;
	if (value->kind == VALUE_IOVEC) {
		failed = read_memory(&segment, sizeof(segment), s->address);
		total = segment.bytes;
		if (failed)
			s->error = -EFAULT;
	} else if (value->kind == VALUE_IOV_ITER) {
		struct iov_iter *iterator = (void *)s->address;
		struct iov_iter___old *old = (void *)s->address;
		__u64 segments;

		total = BPF_CORE_READ(iterator, count);
		if (bpf_core_field_exists(iterator->__iov))
			segments = (__u64)BPF_CORE_READ(iterator, __iov);
		else
			segments = (__u64)BPF_CORE_READ(old, iov);
		if (bpf_core_field_exists(iterator->ubuf) && BPF_CORE_READ(iterator, iter_type) == ITER_UBUF) {
			segment.base = (__u64)BPF_CORE_READ(iterator, ubuf);
			segment.bytes = total;
		} else if (bpf_probe_read_kernel(&segment, sizeof(segment), (void *)segments)) {
			s->error = -EFAULT;
		}
	}
	if (s->error)
		return 0;
	bytes = segment.bytes < value->bound ? segment.bytes : value->bound;
	bytes = text_bound(bytes);
	*(__u64 *)&s->data[start] = total;
	if (is_kernel_address(segment.base))
		failed = bpf_probe_read_kernel(&s->data[start + sizeof(total)], bytes, (void *)segment.base);
	else
		failed = bpf_probe_read_user(&s->data[start + sizeof(total)], bytes, (void *)segment.base);
	if (failed) {
		s->error = failed;
		return 0;
	}
	if (total > bytes)
		field_of(s, index)->flags |= FIELD_CUT;
	s->text_start[index & VALUE_MASK] = start + sizeof(total);
	s->text_length[index & VALUE_MASK] = bytes;
	s->end = start + sizeof(total) + bytes;
	return 1;
}

#endif
