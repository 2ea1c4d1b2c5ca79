/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Texts: equal to one, beginning or ending with one. Each returns an index in `rows`, 0 for none. */
#ifndef TRILOBITE_MATCH_TEXT_H
#define TRILOBITE_MATCH_TEXT_H

#include "../scratch.h"

#define HASH_CHUNK 128          /* bytes that one verified function hashes; the rest of a text is hashed by calling it again */
#define HASH_BASIS 0xcbf29ce484222325ull
#define HASH_PRIME 0x100000001b3ull

/* FNV-1a of the next bytes; returns whether there may be more. */
__noinline int hash_chunk(__u32 slot)
{
	struct hook_scratch *s = scratch_at(slot);

	if (!s)
		return 0;
#pragma nounroll
	for (int i = 0; i < HASH_CHUNK; i++) {
		__u32 at = s->position;

		if (at >= s->text_end)
			return 0;
		s->hash = (s->hash ^ (__u8)s->data[at & DATA_MASK]) * HASH_PRIME;
		s->position = at + 1;
		barrier();
	}
	return 1;
}

/* The key of a text in a map of exact strings: itself, or its hash. */
__noinline int make_string_key(__u32 slot, __u32 value)
{
	struct hook_scratch *s = scratch_at(slot);
	__u64 length;
	__u32 start;

	if (!s)
		return 0;
	start = s->text_start[value & VALUE_MASK];
	length = s->text_length[value & VALUE_MASK];
	__builtin_memset(&s->string, 0, sizeof(s->string));
	s->string.length = length;
	if (length > STRING_KEY_BYTES) {
		s->string.hashed = 1;
		s->position = start;
		s->text_end = start + length;
		s->hash = HASH_BASIS;
#pragma nounroll
		for (int chunk = 0; chunk < HOOK_TEXT_MAX / HASH_CHUNK; chunk++)
			if (!hash_chunk(slot))
				break;
		__builtin_memcpy(s->string.text, &s->hash, sizeof(s->hash));
		return 1;
	}
	barrier_var(length);
	if (length <= STRING_KEY_BYTES)
		bpf_probe_read_kernel(s->string.text, length, &s->data[start & DATA_MASK]);
	return 1;
}

__noinline int find_exact(__u32 slot, __u32 dimension, __u32 value)
{
	struct hook_scratch *s;
	__u32 *index;

	if (!has_feature(FEATURE_EXACT))
		return 0;
	s = scratch_at(slot);
	if (!s || !make_string_key(slot, value))
		return 0;
	s->string.dimension = dimension;
	index = bpf_map_lookup_elem(&strings, &s->string);
	return index ? *index : 0;
}

static __always_inline __u32 find_prefix_key(struct hook_scratch *s, __u32 dimension, __u32 bytes)
{
	__u32 *index;

	s->prefix.dimension = dimension;
	s->prefix.bits = 8 + 8 * bytes;
	index = bpf_map_lookup_elem(&prefixes, &s->prefix);
	return index ? *index : 0;
}

__noinline int find_prefix(__u32 slot, __u32 dimension, __u32 value)
{
	struct hook_scratch *s;
	__u64 length;

	if (!has_feature(FEATURE_PREFIXES))
		return 0;
	s = scratch_at(slot);
	if (!s)
		return 0;
	length = s->text_length[value & VALUE_MASK];
	if (length > PREFIX_BYTES)
		length = PREFIX_BYTES;
	barrier_var(length);
	if (length > PREFIX_BYTES)
		return 0;
	bpf_probe_read_kernel(s->prefix.text, length, &s->data[s->text_start[value & VALUE_MASK] & DATA_MASK]);
	return find_prefix_key(s, dimension, length);
}

__noinline int find_suffix(__u32 slot, __u32 dimension, __u32 value)
{
	__u32 length, last, bytes;
	struct hook_scratch *s;

	if (!has_feature(FEATURE_SUFFIXES))
		return 0;
	s = scratch_at(slot);
	if (!s)
		return 0;
	length = s->text_length[value & VALUE_MASK];
	last = s->text_start[value & VALUE_MASK] + length - 1;
	bytes = length < PREFIX_BYTES ? length : PREFIX_BYTES;
#pragma nounroll
	for (__u32 i = 0; i < PREFIX_BYTES; i++) {
		if (i >= bytes)
			break;
		s->prefix.text[i] = s->data[(last - i) & DATA_MASK];
		barrier();
	}
	return find_prefix_key(s, dimension, bytes);
}

#endif
