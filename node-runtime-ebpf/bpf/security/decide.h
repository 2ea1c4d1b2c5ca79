/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which selectors a call matches: dimension by dimension, until none is left. */
#ifndef TRILOBITE_HOOK_DECIDE_H
#define TRILOBITE_HOOK_DECIDE_H

#include "match/bytes.h"
#include "match/interval.h"
#include "match/substring.h"
#include "match/text.h"
#include "read/binary.h"
#include "read/fact.h"
#include "read/object.h"
#include "read/path.h"
#include "read/process.h"
#include "read/socket.h"
#include "read/text.h"

/* Reads a value, once a call. */
__noinline int read_value(__u32 slot, __u32 index)
{
	const volatile struct hook_value *value = value_of(index);
	struct hook_scratch *s = scratch_at(slot);
	struct hook_field *field;
	__u32 kind = value->kind;

	if (!s || (s->read & 1ull << (index & VALUE_MASK)))
		return 0;
	s->read |= 1ull << (index & VALUE_MASK);
	s->start = (s->end + 7) & DATA_START_MASK;
	s->text_start[index & VALUE_MASK] = 0;
	s->text_length[index & VALUE_MASK] = 0;
	s->numbers[index & VALUE_MASK] = 0;
	field = field_of(s, index);
	field->kind = kind;
	field->index = index;
	field->flags = value->flags & VALUE_SILENT ? FIELD_SILENT : 0;
	if (s->end > DATA_START_MASK) {
		/* The values before have filled the record. */
		field->error = -E2BIG;
		field->offset = 0;
		field->length = 0;
		field->flags |= FIELD_CUT;
		return 0;
	}
	s->end = s->start;
	if (find_value(slot, index)) {
		if (kind == VALUE_NUMBER || kind == VALUE_SYSCALL || kind == VALUE_CAPABILITY_SET)
			read_number(slot, index);
		else if (kind >= VALUE_STRING && kind <= VALUE_REL_LOC)
			read_string(slot, index);
		else if (kind >= VALUE_BUFFER && kind <= VALUE_IOV_ITER)
			read_buffer(slot, index);
		else if (kind >= VALUE_FILE && kind <= VALUE_FD)
			read_path(slot, index);
		else if (kind >= VALUE_SOCK && kind <= VALUE_SOCKADDR)
			read_socket(slot, index);
		else if (kind >= VALUE_CREDENTIALS)
			read_object(slot, index);
	}
	field = field_of(s, index);
	field->error = s->error;
	if (s->error)
		s->end = s->start;
	field->offset = sizeof(struct hook_record) + s->start;
	field->length = s->end - s->start;
	return 1;
}

static __always_inline struct hook_socket *socket_of(struct hook_scratch *s, __u32 value)
{
	return (void *)&s->data[(field_of(s, value)->offset - sizeof(struct hook_record)) & DATA_START_MASK];
}

/* Sets the number that a dimension is about, and whether it could be read. */
__noinline int read_facet(__u32 slot, __u32 dimension)
{
	const volatile struct hook_dimension *spec = &layout.dimensions[dimension & DIMENSION_MASK];
	__u32 facet = spec->facet, value = spec->value & VALUE_MASK, other = spec->others[0] & VALUE_MASK;
	struct hook_scratch *s = scratch_at(slot);
	struct hook_socket *socket;

	if (facet >= FACET_BINARY_EXACT && facet <= FACET_PARENT_BINARY_SUFFIX)
		return read_binary(slot, facet);
	if (facet == FACET_FOLLOWED || facet == FACET_PARENT_FOLLOWED)
		return read_followed(slot, facet);
	if (facet == FACET_NAMESPACES_CHANGED || (facet >= FACET_CAPABILITIES_CHANGED && facet < FACET_CREDENTIAL))
		return read_change(slot, facet);
	if (facet >= FIRST_FACT)
		return read_fact(slot, facet);
	read_value(slot, value);
	if (!s)
		return 0;
	s->error = field_of(s, value)->error;
	if (facet == FACET_SELF) {
		s->number = s->numbers[value];
		return 1;
	}
	if (facet == FACET_CAPABILITIES_GAINED) {
		read_value(slot, other);
		s->error |= field_of(s, value)->error | field_of(s, other)->error;
		s->number = s->numbers[value] & ~s->numbers[other];
		return 1;
	}
	socket = socket_of(s, value);
	if (facet == FACET_FILE_TYPE)
		s->number = ((struct hook_path *)socket)->mode >> 12;
	else if (facet == FACET_FAMILY)
		s->number = socket->family;
	else if (facet == FACET_TYPE)
		s->number = socket->type;
	else if (facet == FACET_PROTOCOL)
		s->number = socket->protocol;
	else if (facet == FACET_STATE)
		s->number = socket->state;
	else if (facet == FACET_SOURCE_PORT)
		s->number = socket->source_port;
	else
		s->number = socket->destination_port;
	return 1;
}

/* Index of the row of an address. */
__noinline int find_address(__u32 slot, __u32 dimension, __u32 value)
{
	struct hook_socket *socket;
	struct hook_scratch *s;
	__u64 first, second;
	__u8 *address;
	__u32 bytes;

	if (!has_feature(FEATURE_ADDRESSES))
		return 0;
	s = scratch_at(slot);
	if (!s)
		return 0;
	socket = socket_of(s, value);
	if (socket->family != AF_INET && socket->family != AF_INET6)
		return 0;
	address = layout.dimensions[dimension & DIMENSION_MASK].facet == FACET_SOURCE_ADDRESS ? socket->source
	                                                                                      : socket->destination;
	__builtin_memcpy(&first, address, 8);
	__builtin_memcpy(&second, address + 8, 8);
	if (!first && (second & 0xffffffff) == bpf_htonl(0xffff)) {
		__u32 ipv4 = second >> 32;

		s->prefix.text[0] = 4;
		__builtin_memcpy(&s->prefix.text[1], &ipv4, 4);
		bytes = 5;
	} else {
		s->prefix.text[0] = 6;
		__builtin_memcpy(&s->prefix.text[1], &first, 8);
		__builtin_memcpy(&s->prefix.text[9], &second, 8);
		bytes = 17;
	}
	return find_prefix_key(s, dimension, bytes);
}

/* Index of the row that a dimension of texts has for one value; rows of substrings are ORed to the found ones instead. */
__noinline int find_text(__u32 slot, __u32 dimension, __u32 value)
{
	__u32 kind = layout.dimensions[dimension & DIMENSION_MASK].kind;
	struct hook_scratch *s = scratch_at(slot);

	/* A buffer is as long as another value says. */
	if (has_feature(FEATURE_BUFFERS) && value_of(value)->size_from)
		read_value(slot, value_of(value)->size_from - 1);
	read_value(slot, value);
	if (!s || field_of(s, value)->error)
		return 0;
	if (kind == DIMENSION_EXACT)
		return find_exact(slot, dimension, value);
	if (kind == DIMENSION_PREFIX)
		return find_prefix(slot, dimension, value);
	if (kind == DIMENSION_SUFFIX)
		return find_suffix(slot, dimension, value);
	if (kind == DIMENSION_ADDRESS)
		return find_address(slot, dimension, value);
	return find_substrings(slot, dimension, value);
}

/* Leaves the selectors that one dimension leaves; returns whether there is any. */
__noinline int match_dimension(__u32 slot, __u32 dimension)
{
	const volatile struct hook_dimension *spec = &layout.dimensions[dimension & DIMENSION_MASK];
	__u32 kind = spec->kind;

	if (kind == DIMENSION_INTERVAL) {
		read_facet(slot, dimension);
		return keep_row(slot, dimension, find_interval(slot, dimension));
	}
	if (kind == DIMENSION_BYTES) {
		read_facet(slot, dimension);
		find_bytes(slot, dimension);
		return keep_found(slot, dimension);
	}
	if (kind == DIMENSION_ID) {
		read_facet(slot, dimension);
		return keep_row(slot, dimension, find_id(slot, dimension));
	}
	if (kind == DIMENSION_SUBSTRING) {
		clear_found(slot);
		find_text(slot, dimension, spec->value);
		return keep_found(slot, dimension);
	}
	if (!spec->other_count)
		return keep_row(slot, dimension, find_text(slot, dimension, spec->value));
	clear_found(slot);
	add_row(slot, find_text(slot, dimension, spec->value));
#pragma nounroll
	for (__u32 other = 0; other < HOOK_OTHERS_MAX; other++) {
		if (other >= spec->other_count)
			break;
		add_row(slot, find_text(slot, dimension, spec->others[other]));
	}
	return keep_found(slot, dimension);
}

/* The agent, by its pid in its own pid namespace: in the initial one it may be another. */
static __always_inline bool is_agent(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct upid found = task_upid(task);

	return (__u32)found.nr == layout.agent && BPF_CORE_READ(found.ns, ns.inum) == layout.agent_namespace;
}

/* Whether these dimensions leave any selector. */
__noinline int match_dimensions(__u32 slot, __u32 first, __u32 end)
{
#pragma nounroll
	for (__u32 dimension = 0; dimension < HOOK_DIMENSIONS_MAX; dimension++) {
		if (dimension < first)
			continue;
		if (dimension >= end)
			break;
		if (!match_dimension(slot, dimension))
			return 0;
	}
	return 1;
}

/* Whether any selector matches the call. */
static __always_inline int match_call(__u32 slot)
{
	return match_dimensions(slot, 0, layout.dimension_count) && !is_agent();
}

/* Whether any selector's conditions on what is known at the entry hold. */
static __always_inline int match_entry(__u32 slot)
{
	return match_dimensions(slot, 0, layout.entry_dimension_count) && !is_agent();
}

/* The same of what is known at the return, for a call that was kept at its entry. */
static __always_inline int match_return(__u32 slot)
{
	return match_dimensions(slot, layout.entry_dimension_count, layout.dimension_count);
}

#endif
