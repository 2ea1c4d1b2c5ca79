// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* TCP and UDP flows of the interfaces that the agent attaches to: counted in a map, told by records.
 *
 * Sums are exact: every packet that an interface counts is in one flow or in one `other`, with the bytes that the
 * interface counts (skb->len with the link header; a segmentation offload skb is one packet). A flow's counters only
 * grow, under its lock, until `end_flows` marks it ended and tells its final counters in the same critical section.
 */
#include "kernel.h"

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flow.h"

#define TCX_NEXT (-1)           /* younger than some distributions' linux/bpf.h */
#define FRAGMENT_OFFSET 0x1fff
#define FLAG_FIN 0x01
#define FLAG_RST 0x04
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

/* The part of an extension header that all have, and the offset that a fragment header has in its place. */
struct extension_header {
	__u8 next;
	__u8 units;
	__u16 fragment;
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

struct flow_value {
	struct bpf_spin_lock lock;
	__u16 flags_seen;
	__u16 ended;            /* its END record is out: whatever comes now is `other` */
	__u64 packets;
	__u64 bytes;
	__u64 first;
	__u64 last;
	__u64 reported;
};
_Static_assert(sizeof(struct flow_value) == 48, "src/flow.rs has the same");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FLOW_ENTRIES);
	__type(key, struct flow_key);
	__type(value, struct flow_value);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FLOW_INTERFACES * 2);
	__type(key, struct interface_key);
	__type(value, struct interface_counts);
} interfaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, FLOW_RING_BYTES);
} flow_ring SEC(".maps");

/* A flow that goes on is told again after this long. */
const volatile __u64 report_every = FLOW_REPORT_NS;

static __always_inline struct interface_counts *counts_of(__u32 interface, __u32 direction)
{
	struct interface_key key = {.interface = interface, .direction = direction};

	return bpf_map_lookup_elem(&interfaces, &key);
}

static __always_inline int count_other(struct __sk_buff *skb, __u32 direction, enum other_reason reason)
{
	struct interface_counts *counts = counts_of(skb->ifindex, direction);

	if (counts && reason < OTHER_REASONS) {
		__sync_fetch_and_add(&counts->other[reason].packets, 1);
		__sync_fetch_and_add(&counts->other[reason].bytes, skb->len);
	}
	return TCX_NEXT;
}

static __always_inline __u64 mix(const __u8 *address, __u16 port)
{
	__u64 high = *(__u64 *)address, low = *(__u64 *)(address + 8);

	high = (high ^ port) * 0x9e3779b97f4a7c15ull;
	low = (low ^ (high >> 29)) * 0xbf58476d1ce4e5b9ull;
	return low ^ (low >> 32);
}

/* Same for both directions, so that it names the connection; never 0. */
static __always_inline __u64 connection_of(const struct flow_key *key)
{
	__u64 sum = mix(key->source, key->source_port) + mix(key->destination, key->destination_port) + key->protocol;

	return sum ? sum : 1;
}

static __always_inline struct flow_record *reserve(const struct flow_key *key, __u64 now, enum flow_reason reason)
{
	struct flow_record *record = bpf_ringbuf_reserve(&flow_ring, sizeof(*record), 0);

	if (!record) {
		struct interface_counts *counts = counts_of(key->interface, key->direction);

		/* An END that does not fit is no loss: the flow stays and is asked again. */
		if (counts && reason != FLOW_END)
			__sync_fetch_and_add(&counts->records_lost, 1);
		return NULL;
	}
	__builtin_memset(record, 0, sizeof(*record));
	record->header.layout = RECORD_LAYOUT;
	record->header.kind = RECORD_FLOW;
	record->header.size = sizeof(*record);
	record->header.time = now;
	record->header.connection = connection_of(key);
	record->key = *key;
	record->reason = reason;
	return record;
}

static __always_inline void tell(struct __sk_buff *skb, const struct flow_key *key, const struct flow_value *value,
				 __u16 flags, enum flow_reason reason)
{
	struct flow_record *record = reserve(key, value->last, reason);

	if (!record)
		return;
	record->flags = flags;
	record->flags_seen = value->flags_seen;
	record->packets = value->packets;
	record->bytes = value->bytes;
	record->first = value->first;
	record->last = value->last;
	bpf_skb_load_bytes_relative(skb, 0, record->destination_mac, 6, BPF_HDR_START_MAC);
	bpf_skb_load_bytes_relative(skb, 6, record->source_mac, 6, BPF_HDR_START_MAC);
	bpf_ringbuf_submit(record, 0);
}

static __always_inline int count_flow(struct __sk_buff *skb, struct flow_key *key, __u16 flags)
{
	struct flow_value *value = bpf_map_lookup_elem(&flows, key);
	struct flow_value now = {
		.flags_seen = flags,
		.packets = 1,
		.bytes = skb->len,
		.last = bpf_ktime_get_boot_ns(),
	};
	enum flow_reason reason = 0;

	if (!value) {
		now.first = now.last;
		now.reported = now.last;
		if (!bpf_map_update_elem(&flows, key, &now, BPF_NOEXIST)) {
			tell(skb, key, &now, flags, FLOW_NEW);
			return TCX_NEXT;
		}
		/* No room, or another processor was first. */
		value = bpf_map_lookup_elem(&flows, key);
		if (!value)
			return count_other(skb, key->direction, OTHER_MAP_FULL);
	}

	bpf_spin_lock(&value->lock);
	if (value->ended) {
		bpf_spin_unlock(&value->lock);
		return count_other(skb, key->direction, OTHER_ENDING);
	}
	value->packets += 1;
	value->bytes += now.bytes;
	if (now.last > value->last)
		value->last = now.last;
	if (flags & ~value->flags_seen)
		reason = FLOW_FLAG;
	else if (value->last - value->reported >= report_every)
		reason = FLOW_ACTIVE;
	value->flags_seen |= flags;
	if (reason) {
		value->reported = value->last;
		now.flags_seen = value->flags_seen;
		now.packets = value->packets;
		now.bytes = value->bytes;
		now.first = value->first;
		now.last = value->last;
	}
	bpf_spin_unlock(&value->lock);
	if (reason)
		tell(skb, key, &now, flags, reason);
	return TCX_NEXT;
}

/* Where the transport header begins, counted from the network header; negative: an other_reason, as -1 - reason. */
static __always_inline int read_ipv4(struct __sk_buff *skb, struct flow_key *key)
{
	struct ipv4_header header;
	__u32 length;

	if (bpf_skb_load_bytes_relative(skb, 0, &header, sizeof(header), BPF_HDR_START_NET))
		return -1 - OTHER_MALFORMED;
	length = (header.version_and_words & 0x0f) * 4;
	if (header.version_and_words >> 4 != 4 || length < sizeof(header))
		return -1 - OTHER_MALFORMED;
	key->family = 4;
	key->protocol = header.protocol;
	__builtin_memcpy(key->source, header.source, 4);
	__builtin_memcpy(key->destination, header.destination, 4);
	if (key->protocol != IPPROTO_TCP && key->protocol != IPPROTO_UDP)
		return -1 - OTHER_PROTOCOL;
	if (bpf_ntohs(header.fragment) & FRAGMENT_OFFSET)
		return -1 - OTHER_FRAGMENT;
	return length;
}

static __always_inline int read_ipv6(struct __sk_buff *skb, struct flow_key *key)
{
	struct ipv6_header header;
	__u32 offset = sizeof(header);

	if (bpf_skb_load_bytes_relative(skb, 0, &header, sizeof(header), BPF_HDR_START_NET))
		return -1 - OTHER_MALFORMED;
	if ((*(__u8 *)&header) >> 4 != 6)
		return -1 - OTHER_MALFORMED;
	key->family = 6;
	key->protocol = header.next;
	__builtin_memcpy(key->source, header.source, 16);
	__builtin_memcpy(key->destination, header.destination, 16);

	for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
		struct extension_header extension;

		if (key->protocol == IPPROTO_TCP || key->protocol == IPPROTO_UDP)
			return offset;
		if (key->protocol != NEXT_HOP_BY_HOP && key->protocol != NEXT_ROUTING &&
		    key->protocol != NEXT_FRAGMENT && key->protocol != NEXT_AUTHENTICATION &&
		    key->protocol != NEXT_DESTINATION && key->protocol != NEXT_MOBILITY)
			return -1 - OTHER_PROTOCOL;
		if (bpf_skb_load_bytes_relative(skb, offset, &extension, sizeof(extension), BPF_HDR_START_NET))
			return -1 - OTHER_MALFORMED;
		if (key->protocol == NEXT_FRAGMENT) {
			if (bpf_ntohs(extension.fragment) >> 3)
				return -1 - OTHER_FRAGMENT;
			offset += 8;
		} else if (key->protocol == NEXT_AUTHENTICATION) {
			offset += (extension.units + 2) * 4;
		} else {
			offset += (extension.units + 1) * 8;
		}
		key->protocol = extension.next;
	}
	return -1 - OTHER_MALFORMED;
}

static __always_inline int see(struct __sk_buff *skb, __u32 direction)
{
	struct flow_key key = {.interface = skb->ifindex, .direction = direction};
	struct tcp_start start = {};
	int offset;

	if (skb->protocol == bpf_htons(ETH_P_IP))
		offset = read_ipv4(skb, &key);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		offset = read_ipv6(skb, &key);
	else
		return count_other(skb, direction, OTHER_NOT_IP);
	if (offset < 0)
		return count_other(skb, direction, -1 - offset);

	if (key.protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes_relative(skb, offset, &start, sizeof(start), BPF_HDR_START_NET))
			return count_other(skb, direction, OTHER_MALFORMED);
	} else if (bpf_skb_load_bytes_relative(skb, offset, &start, 4, BPF_HDR_START_NET)) {
		return count_other(skb, direction, OTHER_MALFORMED);
	}
	key.source_port = start.source_port;
	key.destination_port = start.destination_port;
	return count_flow(skb, &key, start.flags);
}

/* network/flow: a packet that the interface received.
 * Kernels    6.6+ (tcx)                          Arguments  the packet, link header included
 * Why here   the host end of a pod's veth sees all that the pod sends, before NAT and before any policy
 * Costs      one hash lookup and a lock a packet, one 152 B record on new, on a new flag and every 5 s
 */
SEC("tcx/ingress")
int flow_in(struct __sk_buff *skb)
{
	return see(skb, INTERFACE_IN);
}

/* network/flow: a packet that the interface is about to send.
 * Kernels    6.6+ (tcx)                          Arguments  the packet, link header included
 * Why here   what is seen here was let through to the pod: after policy, and after a Service's answer has its name back
 * Costs      as flow_in
 */
SEC("tcx/egress")
int flow_out(struct __sk_buff *skb)
{
	return see(skb, INTERFACE_OUT);
}

struct ending {
	struct flow_end_order order;
	__u64 now;
	__u64 done;
};

static __always_inline bool is_idle(const struct flow_key *key, const struct flow_value *value, const struct ending *ending)
{
	__u64 allowed = key->protocol == IPPROTO_TCP ? ending->order.idle_tcp : ending->order.idle_udp;

	if (value->flags_seen & (FLAG_FIN | FLAG_RST))
		allowed = ending->order.idle_closed;
	/* A packet that was counted since `now` was read has a later time. */
	return value->last <= ending->now && ending->now - value->last >= allowed;
}

static long end_one(void *map, struct flow_key *key, struct flow_value *value, struct ending *ending)
{
	struct flow_record *record;
	bool idle;

	if (ending->order.interface && key->interface != ending->order.interface)
		return 0;
	if (ending->order.remove) {
		if (value->ended) {
			bpf_map_delete_elem(&flows, key);
			ending->done++;
		}
		return 0;
	}
	if (value->ended || !is_idle(key, value, ending))
		return 0;
	record = reserve(key, ending->now, FLOW_END);
	if (!record)
		return 1;
	bpf_spin_lock(&value->lock);
	idle = is_idle(key, value, ending);
	if (idle) {
		value->ended = 1;
		record->flags_seen = value->flags_seen;
		record->packets = value->packets;
		record->bytes = value->bytes;
		record->first = value->first;
		record->last = value->last;
	}
	bpf_spin_unlock(&value->lock);
	if (idle) {
		bpf_ringbuf_submit(record, 0);
		ending->done++;
	} else {
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
	}
	return 0;
}

/* network/flow: run by the agent itself, attached nowhere. Ends flows that are idle, and later removes them.
 * Kernels    6.6+ (as the rest)                  Arguments  a packet that holds a struct flow_end_order
 * Why here   user space cannot read and delete an entry without losing what is counted in between. An entry is marked
 *            ended under its lock and removed by a second run, when no packet can be on its way to it any more
 * Costs      one walk of the map, every 2 s while flows are watched (bench: flows)
 */
SEC("tc")
int end_flows(struct __sk_buff *skb)
{
	struct ending ending = {};

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ending.order, sizeof(ending.order)))
		return -1;
	ending.now = bpf_ktime_get_boot_ns();
	bpf_for_each_map_elem(&flows, end_one, &ending, 0);
	return ending.done;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
