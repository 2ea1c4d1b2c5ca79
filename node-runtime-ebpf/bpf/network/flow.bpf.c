// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* TCP and UDP flows of the interfaces that the agent attaches to: counted in a map, reported by records.
 *
 * Sums are exact: every packet that an interface counts is in one flow or in one `other`, with the bytes that the
 * interface counts (skb->len with the link header; a segmentation offload skb is one packet). The exception is packets
 * that another program drops behind these on the way out: the interface does not count them. A flow's counters only grow,
 * under its lock, until `end_flows` marks it ended and reports its final counters in the same critical section.
 */
#include "kernel.h"

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "drops.h"
#include "flow.h"
#include "headers.h"
#include "task.h"

#define TCX_NEXT (-1)           /* missing in older linux/bpf.h */
#define FLAG_FIN 0x01
#define FLAG_SYN 0x02
#define FLAG_RST 0x04
#define FLAG_ECE 0x40
#define FLAG_CWR 0x80
#define QUESTIONS_MAX 2         /* packets of a flow that counts as a question and its answer */

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

/* A flow that goes on is reported again after this long. */
const volatile __u64 report_every = FLOW_REPORT_NS;

/* Entries that `flows` has room for, as the agent has sized it, and entries that it has. */
const volatile __u64 flow_entries = FLOW_ENTRIES;
static __u64 flows_held;

static __always_inline struct interface_counts *counts_of(__u32 interface, __u32 direction)
{
	struct interface_key key = {.interface = interface, .direction = direction};

	return bpf_map_lookup_elem(&interfaces, &key);
}

static __always_inline int count_other(struct __sk_buff *skb, __u32 direction, enum other_reason reason)
{
	struct interface_counts *counts = counts_of(skb->ifindex, direction);

	if (counts && reason < OTHER_COUNT) {
		__sync_fetch_and_add(&counts->other[reason].packets, 1);
		__sync_fetch_and_add(&counts->other[reason].bytes, skb->len);
	}
	return TCX_NEXT;
}

/* The address is mixed before the port is added: addresses of neighbours differ in the same few bits as their ports. */
static __always_inline __u64 hash_address(const __u8 *address, __u16 port)
{
	__u64 high = *(__u64 *)address, low = *(__u64 *)(address + 8);

	high *= 0x9e3779b97f4a7c15ull;
	high = (high ^ (high >> 32) ^ port) * 0x9e3779b97f4a7c15ull;
	low = (low ^ (high >> 29)) * 0xbf58476d1ce4e5b9ull;
	return low ^ (low >> 32);
}

/* Key of the connection: the same for both directions, never 0. */
static __always_inline __u64 connection_of(const struct flow_key *key)
{
	__u64 source = hash_address(key->source, key->source_port);
	__u64 destination = hash_address(key->destination, key->destination_port);
	__u64 sum = source + destination + key->protocol;

	return sum ? sum : 1;
}

/* Differs between the directions; identifies the flow that a value belongs to. */
static __always_inline __u64 tag_of(const struct flow_key *key)
{
	__u64 source = hash_address(key->source, key->source_port);
	__u64 destination = hash_address(key->destination, key->destination_port);
	__u64 way = (__u64)key->interface << 16 | key->protocol << 8 | key->direction;

	return (source ^ way) * 0x9e3779b97f4a7c15ull + destination;
}

/* An interface and direction may have twice as many flows as there are free entries: one that is scanned or flooded uses
 * two thirds of the map at most, several share it, and there is always room for those that have few.
 */
static __always_inline bool has_its_share(const struct interface_counts *counts)
{
	__u64 held = flows_held, entries = flow_entries;

	return counts && held < entries && counts->flows >= 2 * (entries - held);
}

static __always_inline struct flow_record *reserve_record(const struct flow_key *key, __u64 now, enum flow_reason reason)
{
	struct flow_record *record = bpf_ringbuf_reserve(&flow_ring, sizeof(*record), 0);

	if (!record)
		return NULL;
	__builtin_memset(record, 0, sizeof(*record));
	fill_header(&record->header, RECORD_FLOW, sizeof(*record), now, NULL);
	record->header.connection = connection_of(key);
	record->key = *key;
	record->reason = reason;
	return record;
}

static __always_inline void emit_record(struct __sk_buff *skb, const struct flow_key *key, const struct flow_value *value,
					__u16 flags, enum flow_reason reason)
{
	struct flow_record *record = reserve_record(key, value->last, reason);

	if (!record) {
		count_drop(DROP_FLOW);
		return;
	}
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
		.tag = tag_of(key),
	};
	enum flow_reason reason = 0;

	if (!value) {
		struct interface_counts *counts = counts_of(key->interface, key->direction);

		if (has_its_share(counts))
			return count_other(skb, key->direction, OTHER_SHARE);
		now.first = now.last;
		now.reported = now.last;
		if (!bpf_map_update_elem(&flows, key, &now, BPF_NOEXIST)) {
			__sync_fetch_and_add(&flows_held, 1);
			if (counts)
				__sync_fetch_and_add(&counts->flows, 1);
			emit_record(skb, key, &now, flags, FLOW_NEW);
			return TCX_NEXT;
		}
		/* No room, or another processor inserted it first. */
		value = bpf_map_lookup_elem(&flows, key);
		if (!value)
			return count_other(skb, key->direction, OTHER_MAP_FULL);
	}

	bpf_spin_lock(&value->lock);
	/* The entry may have been removed since the lookup, and its memory belong to another flow by now. */
	if (value->ended || value->tag != now.tag) {
		bpf_spin_unlock(&value->lock);
		return count_other(skb, key->direction, OTHER_ENDING);
	}
	/* Closed ports are used again: another connection, which is reported from its first flag on. */
	if (flags & FLAG_SYN && value->flags_seen & (FLAG_FIN | FLAG_RST))
		value->flags_seen = 0;
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
		emit_record(skb, key, &now, flags, reason);
	return TCX_NEXT;
}

static __always_inline int account_packet(struct __sk_buff *skb, __u32 direction)
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
 * Why here   the host end of a pod's veth receives all that the pod sends, before NAT and before any policy. It is first in
 *            the chain of tcx, as a program of the CNI may end the chain, and returns TCX_NEXT so that the next one runs
 * Costs      one hash lookup and a lock a packet, one 152 B record on new, on a new flag and every 5 s
 */
SEC("tcx/ingress")
int flow_in(struct __sk_buff *skb)
{
	return account_packet(skb, INTERFACE_IN);
}

/* network/flow: a packet that the interface is about to send.
 * Kernels    6.6+ (tcx)                          Arguments  the packet, link header included
 * Why here   packets here are allowed to the pod: after netfilter's policy, and after NAT has restored the address of a
 *            Service. First in the chain of tcx, as flow_in: only a program of the CNI there can still drop them
 * Costs      as flow_in
 */
SEC("tcx/egress")
int flow_out(struct __sk_buff *skb)
{
	return account_packet(skb, INTERFACE_OUT);
}

struct ending {
	struct flow_end_order order;
	__u64 now;
	__u64 room;             /* bytes of the ring that these records may fill */
	__u32 done;
	bool more;
};

static __always_inline bool is_silent(const struct flow_value *value, const struct ending *ending, __u64 allowed)
{
	/* A packet that was counted since `now` was read has a later time. */
	return value->last <= ending->now && ending->now - value->last >= allowed;
}

static __always_inline struct flow_value *other_direction(const struct flow_key *key)
{
	struct flow_key back = {
		.interface = key->interface,
		.source_port = key->destination_port,
		.destination_port = key->source_port,
		.protocol = key->protocol,
		.family = key->family,
		.direction = !key->direction,
	};

	__builtin_memcpy(back.source, key->destination, sizeof(back.source));
	__builtin_memcpy(back.destination, key->source, sizeof(back.destination));
	return bpf_map_lookup_elem(&flows, &back);
}

/* The other end has reset the connection: a refused connect shows no RST in its own direction. A FIN of the other end does
 * not count: this direction may go on for long after it.
 */
static __always_inline bool was_reset_by_peer(const struct flow_key *key)
{
	struct flow_value *back = other_direction(key);

	return back && back->flags_seen & FLAG_RST;
}

/* Each question has its answer, e.g. of a resolver that asks for both families at once. Both directions must be idle, so
 * that one walk ends both: a direction that is left alone would not be recognised as answered.
 */
static __always_inline bool is_answered(const struct flow_key *key, const struct flow_value *value,
					const struct ending *ending)
{
	struct flow_value *back;

	if (value->packets > QUESTIONS_MAX || !is_silent(value, ending, ending->order.idle_answered))
		return false;
	back = other_direction(key);
	return back && back->packets == value->packets && is_silent(back, ending, ending->order.idle_answered);
}

static __always_inline __u64 idle_timeout(const struct flow_key *key, const struct flow_value *value,
					  const struct ending *ending)
{
	const struct flow_end_order *order = &ending->order;

	if (key->protocol != IPPROTO_TCP)
		return is_answered(key, value, ending) ? order->idle_answered : order->idle_udp;
	if (value->flags_seen & (FLAG_FIN | FLAG_RST) || was_reset_by_peer(key))
		return order->idle_closed;
	if ((value->flags_seen & ~(FLAG_ECE | FLAG_CWR)) == FLAG_SYN)
		return order->idle_syn;
	return order->idle_tcp;
}

static __always_inline void remove_entry(struct flow_key *key, struct ending *ending)
{
	struct interface_counts *counts = counts_of(key->interface, key->direction);

	if (bpf_map_delete_elem(&flows, key))
		return;
	ending->done++;
	/* Only this program subtracts. Counters that were made again for an interface do not include its earlier flows. */
	if (flows_held > 0)
		__sync_fetch_and_add(&flows_held, -1);
	if (counts && counts->flows > 0)
		__sync_fetch_and_add(&counts->flows, -1);
}

/* It has had traffic since its last record, and a further record is due that no packet may come to cause. */
static __always_inline bool is_report_due(const struct flow_value *value, const struct ending *ending)
{
	return value->last > value->reported && ending->now > value->reported &&
	       ending->now - value->reported >= report_every;
}

static long end_one(void *map, struct flow_key *key, struct flow_value *value, struct ending *ending)
{
	struct flow_record *record;
	__u64 allowed = 0;
	bool ends = false, due;

	if (ending->order.interface && key->interface != ending->order.interface)
		return 0;
	if (ending->order.remove) {
		if (value->ended)
			remove_entry(key, ending);
		return 0;
	}
	if (value->ended)
		return 0;
	if (is_silent(value, ending, ending->order.idle_closed)) {
		allowed = idle_timeout(key, value, ending);
		ends = is_silent(value, ending, allowed);
	}
	if (!ends && !is_report_due(value, ending))
		return 0;
	/* The other half of the ring is for flows that begin meanwhile. */
	ending->more = bpf_ringbuf_query(&flow_ring, BPF_RB_AVAIL_DATA) > ending->room;
	if (ending->more)
		return 1;
	/* A record that does not fit is no drop: the flow stays, and the next run handles it. */
	record = reserve_record(key, ending->now, ends ? FLOW_END : FLOW_ACTIVE);
	if (!record) {
		ending->more = true;
		return 1;
	}
	bpf_spin_lock(&value->lock);
	due = ends ? is_silent(value, ending, allowed) : is_report_due(value, ending);
	if (due) {
		value->ended = ends;
		value->reported = value->last;
		record->flags_seen = value->flags_seen;
		record->packets = value->packets;
		record->bytes = value->bytes;
		record->first = value->first;
		record->last = value->last;
	}
	bpf_spin_unlock(&value->lock);
	if (due) {
		bpf_ringbuf_submit(record, 0);
		ending->done += ends;
	} else {
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
	}
	return 0;
}

/* network/flow: run by the agent itself, attached nowhere. Ends flows that are idle, and later removes them; reports flows
 * that became silent after their last record.
 * Kernels    6.6+ (as the rest)                  Arguments  a packet that contains a struct flow_end_order
 * Why here   user space cannot read and delete an entry without losing the packets in between. An entry is marked ended
 *            under its lock and removed by a second run, when no processor can still be about to count a packet there
 * Costs      one walk of the map, every 2 s while flows are watched (bench: flows); one more for each half ring of records
 */
SEC("tc")
int end_flows(struct __sk_buff *skb)
{
	struct ending ending = {};

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ending.order, sizeof(ending.order)))
		return -1;
	ending.now = bpf_ktime_get_boot_ns();
	ending.room = bpf_ringbuf_query(&flow_ring, BPF_RB_RING_SIZE) / 2;
	bpf_for_each_map_elem(&flows, end_one, &ending, 0);
	return ending.more ? ending.done | FLOW_END_MORE : ending.done;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
