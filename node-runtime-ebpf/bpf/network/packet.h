/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reads the headers of a kernel's packet wherever it is freed: from its linear part, by the offset of its network header. */
#ifndef TRILOBITE_PACKET_H
#define TRILOBITE_PACKET_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "headers.h"
#include "kernel.h"
#include "packet_drop.h"

/* Of a packet: where its network header is in memory, and how many bytes from there on are in its linear part. */
struct packet_view {
	const unsigned char *network;
	__u32 linear;
	__u32 bytes;            /* linear or not */
};

static __always_inline void view_packet(struct sk_buff *skb, struct packet_view *view)
{
	const unsigned char *head = skb->head, *data = skb->data;
	__u32 length = skb->len, paged = skb->data_len;

	view->network = head + skb->network_header;
	/* `data` stands at the link, network or transport header, depending on who frees the packet. */
	view->bytes = length + (__u32)(data - view->network);
	view->linear = view->bytes - paged;
}

/* Returns where the header behind the addresses begins, or 0 if this is no IP packet, or a later fragment. */
static __always_inline __u32 read_ipv4_of(const struct packet_view *view, struct packet_drop_key *key, bool *is_ip)
{
	struct ipv4_header header;
	__u32 length;

	if (view->linear < sizeof(header) || bpf_probe_read_kernel(&header, sizeof(header), view->network))
		return 0;
	length = (header.version_and_words & 0x0f) * 4;
	if (header.version_and_words >> 4 != 4 || length < sizeof(header))
		return 0;
	*is_ip = true;
	key->family = 4;
	key->protocol = header.protocol;
	__builtin_memcpy(key->source, header.source, 4);
	__builtin_memcpy(key->destination, header.destination, 4);
	return bpf_ntohs(header.fragment) & FRAGMENT_OFFSET ? 0 : length;
}

/* As read_ipv4_of; the protocol is that of the IPv6 header itself. */
static __always_inline __u32 read_ipv6_of(const struct packet_view *view, struct packet_drop_key *key, bool *is_ip)
{
	struct ipv6_header header;

	if (view->linear < sizeof(header) || bpf_probe_read_kernel(&header, sizeof(header), view->network) ||
	    (*(__u8 *)&header) >> 4 != 6)
		return 0;
	*is_ip = true;
	key->family = 6;
	key->protocol = header.next;
	__builtin_memcpy(key->source, header.source, 16);
	__builtin_memcpy(key->destination, header.destination, 16);
	return sizeof(header);
}

static __always_inline bool is_extension(__u32 protocol)
{
	const __u64 below_64 = 1ull << NEXT_HOP_BY_HOP | 1ull << NEXT_ROUTING | 1ull << NEXT_FRAGMENT |
			       1ull << NEXT_AUTHENTICATION | 1ull << NEXT_DESTINATION;

	return protocol == NEXT_MOBILITY || (protocol < 64 && below_64 >> protocol & 1);
}

/* How far the headers of a packet have been followed. */
struct header_position {
	__u32 offset;
	__u32 protocol;
};

/* Goes on behind IPv6's extension headers. Returns 0 where they end outside of what can be read, or in a later fragment. */
static __always_inline __u32 skip_extensions(const struct packet_view *view, struct packet_drop_key *key, __u32 offset)
{
	struct header_position at = {.offset = offset, .protocol = key->protocol};

	for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
		struct extension_header extension;
		struct header_position next;

		key->protocol = at.protocol;
		if (!is_extension(at.protocol))
			return at.offset;
		if (at.offset + sizeof(extension) > view->linear ||
		    bpf_probe_read_kernel(&extension, sizeof(extension), view->network + at.offset))
			return 0;
		next.protocol = extension.next;
		if (at.protocol == NEXT_FRAGMENT) {
			next.offset = at.offset + 8;
			if (bpf_ntohs(extension.fragment) >> 3) {
				key->protocol = extension.next;
				return 0;
			}
		} else if (at.protocol == NEXT_AUTHENTICATION) {
			next.offset = at.offset + (extension.units + 2) * 4;
		} else {
			next.offset = at.offset + (extension.units + 1) * 8;
		}
		/* The verifier forgets how it came here: otherwise it would follow each way through all headers. */
		bpf_probe_read_kernel(&at, sizeof(at), &next);
	}
	return 0;
}

/* Ports, or type and code of ICMP. Returns the TCP flags. */
static __always_inline __u8 read_transport(const struct packet_view *view, struct packet_drop_key *key, __u32 offset)
{
	struct tcp_start start = {};

	if (key->protocol == IPPROTO_TCP) {
		if (offset + sizeof(start) > view->linear ||
		    bpf_probe_read_kernel(&start, sizeof(start), view->network + offset))
			return 0;
	} else if (key->protocol == IPPROTO_UDP || key->protocol == IPPROTO_SCTP || key->protocol == IPPROTO_ICMP ||
		   key->protocol == IPPROTO_ICMPV6) {
		if (offset + 4 > view->linear || bpf_probe_read_kernel(&start, 4, view->network + offset))
			return 0;
	} else {
		return 0;
	}
	if (key->protocol == IPPROTO_ICMP || key->protocol == IPPROTO_ICMPV6) {
		key->icmp_type = *(__u8 *)&start;
		key->icmp_code = *((__u8 *)&start + 1);
		return 0;
	}
	key->source_port = start.source_port;
	key->destination_port = start.destination_port;
	return start.flags;
}

#endif
