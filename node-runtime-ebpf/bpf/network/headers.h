/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reads the flow key of a packet from its headers: both families, with IPv6's extension headers. */
#ifndef TRILOBITE_FLOW_HEADERS_H
#define TRILOBITE_FLOW_HEADERS_H

#include <stdbool.h>

#include "flow.h"

#define FRAGMENT_OFFSET 0x1fff
#define MORE_FRAGMENTS 0x2000
#define EXTENSION_HEADERS_MAX 8

enum next_header {
	NEXT_HOP_BY_HOP = 0,
	NEXT_ROUTING = 43,
	NEXT_FRAGMENT = 44,
	NEXT_AUTHENTICATION = 51,
	NEXT_NONE = 59,
	NEXT_DESTINATION = 60,
	NEXT_MOBILITY = 135,
};

struct ipv4_header {
	__u8 version_and_words;
	__u8 service;
	__u16 length;
	__u16 id;
	__u16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__u8 source[4];
	__u8 destination[4];
};

struct ipv6_header {
	__u32 version_class_label;
	__u16 payload_length;
	__u8 next;
	__u8 hops;
	__u8 source[16];
	__u8 destination[16];
};

/* The fields that all extension headers share, and those of a fragment header. */
struct extension_header {
	__u8 next;
	__u8 units;
	__u16 fragment;
	__u32 id;
};

/* Which part of a packet this is, if it is not the whole. */
struct fragment_part {
	bool is_first;
	bool is_later;          /* without ports: they are in the first */
	__u8 protocol;
	__u32 id;
};

/* TCP up to its flags; UDP's ports stand at the same place. */
struct tcp_start {
	__u16 source_port;
	__u16 destination_port;
	__u32 sequence;
	__u32 acknowledged;
	__u8 words;
	__u8 flags;
};

static __always_inline __u8 icmp_of(__u8 family)
{
	return family == 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
}

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

static __always_inline bool has_flows(__u8 family, __u8 protocol)
{
	return has_ports(protocol) || protocol == icmp_of(family);
}

/* Returns where the header behind the addresses begins: of TCP, UDP or the family's ICMP; at what is behind the header of a
 * later fragment. `begin` is where the packet begins; both are counted from the network header. Negative: an other_reason, as
 * -1 - reason.
 */
static __always_inline int read_ipv4(struct __sk_buff *skb, __u32 begin, struct flow_key *key, struct fragment_part *part)
{
	struct ipv4_header header;
	__u32 length;
	__u16 fragment;

	if (bpf_skb_load_bytes_relative(skb, begin, &header, sizeof(header), BPF_HDR_START_NET))
		return -1 - OTHER_MALFORMED;
	length = (header.version_and_words & 0x0f) * 4;
	if (header.version_and_words >> 4 != 4 || length < sizeof(header))
		return -1 - OTHER_MALFORMED;
	key->family = 4;
	key->protocol = header.protocol;
	__builtin_memcpy(key->source, header.source, 4);
	__builtin_memcpy(key->destination, header.destination, 4);
	if (!has_flows(4, key->protocol))
		return -1 - OTHER_PROTOCOL;
	fragment = bpf_ntohs(header.fragment);
	part->id = header.id;
	part->protocol = header.protocol;
	part->is_later = fragment & FRAGMENT_OFFSET;
	part->is_first = !part->is_later && fragment & MORE_FRAGMENTS;
	return begin + length;
}

/* As read_ipv4. */
static __always_inline int read_ipv6(struct __sk_buff *skb, __u32 begin, struct flow_key *key, struct fragment_part *part)
{
	struct ipv6_header header;
	__u32 offset = begin + sizeof(header);

	if (bpf_skb_load_bytes_relative(skb, begin, &header, sizeof(header), BPF_HDR_START_NET))
		return -1 - OTHER_MALFORMED;
	if ((*(__u8 *)&header) >> 4 != 6)
		return -1 - OTHER_MALFORMED;
	key->family = 6;
	key->protocol = header.next;
	__builtin_memcpy(key->source, header.source, 16);
	__builtin_memcpy(key->destination, header.destination, 16);

	for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
		struct extension_header extension;

		if (has_flows(6, key->protocol))
			return offset;
		if (key->protocol != NEXT_HOP_BY_HOP && key->protocol != NEXT_ROUTING &&
		    key->protocol != NEXT_FRAGMENT && key->protocol != NEXT_AUTHENTICATION &&
		    key->protocol != NEXT_DESTINATION && key->protocol != NEXT_MOBILITY)
			return -1 - OTHER_PROTOCOL;
		if (bpf_skb_load_bytes_relative(skb, offset, &extension, sizeof(extension), BPF_HDR_START_NET))
			return -1 - OTHER_MALFORMED;
		if (key->protocol == NEXT_FRAGMENT) {
			__u16 fragment = bpf_ntohs(extension.fragment);

			part->id = extension.id;
			part->protocol = extension.next;
			part->is_later = fragment >> 3;
			part->is_first = !part->is_later && fragment & 1;
			offset += 8;
			if (part->is_later)
				return offset;
		} else if (key->protocol == NEXT_AUTHENTICATION) {
			offset += (extension.units + 2) * 4;
		} else {
			offset += (extension.units + 1) * 8;
		}
		key->protocol = extension.next;
	}
	return -1 - OTHER_MALFORMED;
}

#endif
