// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Packets from or to port 53 on the interfaces that the agent attaches to, over UDP and TCP: copied into a ring, unread. */
#include "kernel.h"

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "connection.h"
#include "dns.h"
#include "drops.h"
#include "headers.h"
#include "task.h"
#include "vlan.h"

#define TCX_NEXT (-1)           /* missing in older linux/bpf.h */
#define UDP_HEADER 8

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, DNS_RING_BYTES);
} dns_ring SEC(".maps");

/* The network namespace of the interfaces that the agent attaches to, by inode. */
const volatile __u32 interface_namespace = 0;

struct udp_header {
	__u16 source_port;
	__u16 destination_port;
	__u16 length;
	__u16 checksum;
};

static __always_inline bool is_dns_port(__u16 source, __u16 destination)
{
	return source == bpf_htons(DNS_PORT) || destination == bpf_htons(DNS_PORT);
}

/* False for most packets, at the price of a few loads. What has options, extension headers, or headers that are not in the first
 * piece of the packet's memory is read by `copy_message`.
 */
static __always_inline bool may_be_dns(struct __sk_buff *skb)
{
	const void *data = (const void *)(long)skb->data, *end = (const void *)(long)skb->data_end;
	const struct ipv4_header *v4 = data + ETH_HLEN;
	const struct ipv6_header *v6 = data + ETH_HLEN;
	const __u16 *ports;

	if ((const void *)(v4 + 1) + 4 > end || *(const __u16 *)(data + ETH_HLEN - 2) != skb->protocol)
		return true;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (v4->version_and_words != 0x45)
			return true;
		if (!has_ports(v4->protocol))
			return false;
		ports = (const void *)(v4 + 1);
		return is_dns_port(ports[0], ports[1]);
	}
	if (skb->protocol != bpf_htons(ETH_P_IPV6) || (const void *)(v6 + 1) + 4 > end)
		return true;
	if (!has_ports(v6->next))
		return true;
	ports = (const void *)(v6 + 1);
	return is_dns_port(ports[0], ports[1]);
}

/* Bytes in front of the network header: none on devices without a link header. */
static __always_inline __u32 link_length(struct __sk_buff *skb)
{
	__u16 protocol = 0;

	if (bpf_skb_load_bytes(skb, ETH_HLEN - sizeof(protocol), &protocol, sizeof(protocol)) || protocol != skb->protocol)
		return 0;
	return ETH_HLEN;
}

/* Bytes of the packet from its IP header on, which is at `begin`; 0 where the header does not say. */
static __always_inline __u32 packet_length(struct __sk_buff *skb, __u32 begin, bool is_v4)
{
	__u16 length = 0;

	if (bpf_skb_load_bytes_relative(skb, begin + (is_v4 ? 2 : 4), &length, sizeof(length), BPF_HDR_START_NET) || !length)
		return 0;
	return bpf_ntohs(length) + (is_v4 ? 0 : sizeof(struct ipv6_header));
}

/* `room` is a constant: the ring's memory is reserved by constants alone. */
static __always_inline void emit_message(struct __sk_buff *skb, const struct flow_key *key, __u32 payload, __u32 sequence,
					 __u32 length, __u32 copied, const __u32 room)
{
	struct dns_record *record = bpf_ringbuf_reserve(&dns_ring, sizeof(*record) + room, 0);
	/* Bounded as an index, so that the verifier knows both ends of the length. */
	__u64 last = (__u64)copied - 1;

	if (!record) {
		count_drop(DROP_DNS);
		return;
	}
	__builtin_memset(record, 0, sizeof(*record));
	barrier_var(last);
	/* Not relative to the network header: that reads the first piece of the packet's memory alone, where TCP has its headers. */
	if (last >= room || bpf_skb_load_bytes(skb, link_length(skb) + payload, record + 1, last + 1)) {
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		return;
	}
	fill_header(&record->header, RECORD_DNS, sizeof(*record) + copied, bpf_ktime_get_boot_ns(), NULL);
	record->header.connection = connection_key(key->source, key->source_port, key->destination, key->destination_port,
						   key->protocol, interface_namespace);
	record->key = *key;
	record->sequence = sequence;
	record->length = length;
	record->copied = copied;
	bpf_ringbuf_submit(record, 0);
}

static __always_inline int copy_message(struct __sk_buff *skb, __u32 direction)
{
	struct flow_key key = {.interface = skb->ifindex, .direction = direction};
	struct fragment_part part = {};
	__u32 end, payload, length, copied, begin, sequence = 0;
	__u32 protocol = skb->protocol;
	int offset;

	if (!may_be_dns(skb))
		return TCX_NEXT;
	begin = skip_tags(skb, &protocol);
	if (protocol == bpf_htons(ETH_P_IP))
		offset = read_ipv4(skb, begin, &key, &part);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		offset = read_ipv6(skb, begin, &key, &part);
	else
		return TCX_NEXT;
	/* A later fragment has no ports: of a message in fragments, the first is copied. */
	if (offset < 0 || part.is_later)
		return TCX_NEXT;

	if (key.protocol == IPPROTO_UDP) {
		struct udp_header header = {};

		if (bpf_skb_load_bytes_relative(skb, offset, &header, sizeof(header), BPF_HDR_START_NET))
			return TCX_NEXT;
		key.source_port = header.source_port;
		key.destination_port = header.destination_port;
		payload = offset + UDP_HEADER;
		length = bpf_ntohs(header.length);
		if (length <= UDP_HEADER)
			return TCX_NEXT;
		length -= UDP_HEADER;
	} else if (key.protocol == IPPROTO_TCP) {
		struct tcp_start start = {};

		if (bpf_skb_load_bytes_relative(skb, offset, &start, sizeof(start), BPF_HDR_START_NET))
			return TCX_NEXT;
		key.source_port = start.source_port;
		key.destination_port = start.destination_port;
		payload = offset + (start.words >> 4) * 4;
		sequence = bpf_ntohl(start.sequence);
		length = DNS_BYTES_MAX;
	} else {
		return TCX_NEXT;
	}
	if (!is_dns_port(key.source_port, key.destination_port))
		return TCX_NEXT;
	end = begin + packet_length(skb, begin, protocol == bpf_htons(ETH_P_IP));
	/* Also the segments of TCP that carry nothing. */
	if (end <= payload)
		return TCX_NEXT;
	copied = end - payload;
	if (key.protocol == IPPROTO_TCP)
		length = copied;
	if (copied > length)
		copied = length;
	if (copied > DNS_BYTES_MAX)
		copied = DNS_BYTES_MAX;
	if (copied <= DNS_BYTES_SHORT)
		emit_message(skb, &key, payload, sequence, length, copied, DNS_BYTES_SHORT);
	else
		emit_message(skb, &key, payload, sequence, length, copied, DNS_BYTES_MAX);
	return TCX_NEXT;
}

/* network/dns: a packet that the interface received.
 * Kernels    6.6+ (tcx), 5.10+ (clsact)           Arguments  the packet, link header included
 * Why here   beside flow_in, on the same interfaces, so that a message has the addresses of its flow: before NAT, as the pod sent it
 * Costs      a few loads a packet; of one with port 53, a copy of it in the ring and a wake-up of the worker. Loaded only while DNS is
 *            wanted
 */
SEC("tcx/ingress")
int dns_in(struct __sk_buff *skb)
{
	return copy_message(skb, INTERFACE_IN);
}

/* network/dns: a packet that the interface is about to send.
 * Kernels    6.6+ (tcx), 5.10+ (clsact)           Arguments  the packet, link header included
 * Why here   beside flow_out: NAT has restored the address of a Service, from which the pod expects its answer
 * Costs      as dns_in
 */
SEC("tcx/egress")
int dns_out(struct __sk_buff *skb)
{
	return copy_message(skb, INTERFACE_OUT);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
