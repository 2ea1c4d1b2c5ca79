/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps of flows and their counters, and the records that report them. */
#ifndef TRILOBITE_FLOW_MAP_H
#define TRILOBITE_FLOW_MAP_H

#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "connection.h"
#include "drops.h"
#include "flow.h"
#include "icmp.h"
#include "task.h"

#define TCX_NEXT (-1)           /* missing in older linux/bpf.h; the same as TC_ACT_UNSPEC */
#define FLAG_FIN 0x01
#define FLAG_SYN 0x02
#define FLAG_RST 0x04
#define FLAG_ACK 0x10
#define FLAG_ECE 0x40
#define FLAG_CWR 0x80
/* Those that Cilium reports by default (monitor-aggregation-flags): an ACK or a PSH says nothing that the counters do not. */
#define REPORTED_FLAGS (FLAG_SYN | FLAG_FIN | FLAG_RST)

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

/* The network namespace of the interfaces that the agent attaches to, by inode. */
const volatile __u32 interface_namespace = 0;

static __always_inline __u64 connection_of(const struct flow_key *key)
{
	return connection_key(key->source, key->source_port, key->destination, key->destination_port, key->protocol,
			      interface_namespace);
}

/* Differs between the directions; identifies the flow that a value belongs to. */
static __always_inline __u32 tag_of(const struct flow_key *key)
{
	__u64 source = hash_address(key->source, key->source_port);
	__u64 destination = hash_address(key->destination, key->destination_port);
	__u64 way = (__u64)key->interface << 24 | key->icmp_type << 16 | key->protocol << 8 | key->direction;

	return ((source ^ way) * 0x9e3779b97f4a7c15ull + destination) >> 32;
}

/* The key of the same connection's packets in the other direction. */
static __always_inline void reverse_key(const struct flow_key *key, struct flow_key *back)
{
	*back = (struct flow_key){
		.interface = key->interface,
		.source_port = key->destination_port,
		.destination_port = key->source_port,
		.protocol = key->protocol,
		.family = key->family,
		.direction = !key->direction,
	};
	if (is_icmp(key))
		back->icmp_type = icmp_counterpart(key->family, key->icmp_type);
	__builtin_memcpy(back->source, key->destination, sizeof(back->source));
	__builtin_memcpy(back->destination, key->source, sizeof(back->destination));
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

static __always_inline void copy_counters(struct flow_record *record, const struct flow_value *value)
{
	record->flags_seen = value->flags_seen;
	record->icmp_type = value->icmp_type;
	record->icmp_code = value->icmp_code;
	record->packets = value->packets;
	record->bytes = value->bytes;
	record->first = value->first;
	record->last = value->last;
}

static __always_inline void emit_record(struct __sk_buff *skb, const struct flow_key *key, const struct flow_value *value,
					__u16 flags, enum flow_reason reason)
{
	struct flow_record *record = reserve_record(key, value->last, reason);

	if (!record) {
		count_drop(DROP_FLOW);
		return;
	}
	copy_counters(record, value);
	record->flags = flags;
	bpf_skb_load_bytes_relative(skb, 0, record->destination_mac, 6, BPF_HDR_START_MAC);
	bpf_skb_load_bytes_relative(skb, 6, record->source_mac, 6, BPF_HDR_START_MAC);
	bpf_ringbuf_submit(record, 0);
}

#endif
