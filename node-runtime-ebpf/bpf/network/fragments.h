/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fragments without ports count for the flow of their first fragment. */
#ifndef TRILOBITE_FLOW_FRAGMENTS_H
#define TRILOBITE_FLOW_FRAGMENTS_H

#include "headers.h"

/* The oldest are pushed out: a packet whose fragments are lost leaves nothing behind for long. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FRAGMENTED_PACKETS);
	__type(key, struct fragment_key);
	__type(value, struct fragment_value);
} fragmented_packets SEC(".maps");

static __always_inline void fragment_key_of(const struct flow_key *key, const struct fragment_part *part,
					    struct fragment_key *fragment)
{
	*fragment = (struct fragment_key){
		.interface = key->interface,
		.id = part->id,
		.protocol = part->protocol,
		.family = key->family,
		.direction = key->direction,
	};
	__builtin_memcpy(fragment->source, key->source, sizeof(fragment->source));
	__builtin_memcpy(fragment->destination, key->destination, sizeof(fragment->destination));
}

/* `key` has its ports. */
static __always_inline void remember_first_fragment(const struct flow_key *key, const struct fragment_part *part)
{
	struct fragment_key fragment;
	struct fragment_value value = {
		.source_port = key->source_port,
		.destination_port = key->destination_port,
		.protocol = key->protocol,
		.icmp_type = key->icmp_type,
	};

	fragment_key_of(key, part, &fragment);
	bpf_map_update_elem(&fragmented_packets, &fragment, &value, BPF_ANY);
}

/* Gives `key` the ports of the first fragment; false if that was not seen, or has been pushed out. */
static __always_inline bool read_later_fragment(struct flow_key *key, const struct fragment_part *part)
{
	struct fragment_value *value;
	struct fragment_key fragment;

	fragment_key_of(key, part, &fragment);
	value = bpf_map_lookup_elem(&fragmented_packets, &fragment);
	if (!value)
		return false;
	key->source_port = value->source_port;
	key->destination_port = value->destination_port;
	key->protocol = value->protocol;
	key->icmp_type = value->icmp_type;
	return true;
}

#endif
