/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* When flows end: idle ones by the agent's order, and both directions of a connection together. */
#ifndef TRILOBITE_IDLE_FLOWS_H
#define TRILOBITE_IDLE_FLOWS_H

#include "flow_map.h"

#define QUESTIONS_MAX 2         /* packets of a flow that counts as a question and its answer */

struct ending {
	struct flow_end_order order;
	__u64 now;
	__u64 room;             /* bytes of the ring that these records may fill */
};

enum end_outcome {
	END_NOTHING,
	END_DONE,               /* the flow was ended, or removed */
	END_NO_ROOM,            /* in the ring: the same key is to be handed over again */
};

/* Both directions of a connection. Each of them reads the same here, so that one walk ends both. */
struct both_directions {
	__u64 last;             /* the later of the last packets */
	__u64 packets, packets_back;
	__u8 flags, flags_back;
};

static __always_inline bool is_idle(__u64 last, const struct ending *ending, __u64 allowed)
{
	/* A packet that was counted since `now` was read has a later time. */
	return last <= ending->now && ending->now - last >= allowed;
}

static __always_inline bool is_only_syn(__u8 flags)
{
	return (flags & ~(FLAG_ECE | FLAG_CWR)) == FLAG_SYN;
}

static __always_inline void read_both(const struct flow_key *key, const struct flow_value *value,
				      struct both_directions *both)
{
	struct flow_value *back;
	struct flow_key other;

	*both = (struct both_directions){.last = value->last, .packets = value->packets, .flags = value->flags_seen};
	reverse_key(key, &other);
	back = bpf_map_lookup_elem(&flows, &other);
	if (!back)
		return;
	both->packets_back = back->packets;
	both->flags_back = back->flags_seen;
	if (back->last > both->last)
		both->last = back->last;
}

/* After a FIN of one end the other may go on for long. A direction of which nothing was seen does not count. */
static __always_inline bool is_closed(const struct both_directions *both)
{
	if ((both->flags | both->flags_back) & FLAG_RST)
		return true;
	if (both->packets && both->packets_back)
		return both->flags & both->flags_back & FLAG_FIN;
	return (both->flags | both->flags_back) & FLAG_FIN;
}

static __always_inline __u64 idle_timeout(__u8 protocol, const struct both_directions *both, const struct ending *ending)
{
	const struct flow_end_order *order = &ending->order;

	if (protocol != IPPROTO_TCP) {
		/* Each question has its answer, e.g. of a resolver that asks for both families at once. */
		bool is_answered = both->packets <= QUESTIONS_MAX && both->packets == both->packets_back;

		return is_answered ? order->idle_answered : order->idle_udp;
	}
	if (is_closed(both))
		return order->idle_closed;
	if (is_only_syn(both->flags) || is_only_syn(both->flags_back))
		return order->idle_syn;
	return order->idle_tcp;
}

static __always_inline enum end_outcome remove_entry(const struct flow_key *key)
{
	struct interface_counts *counts = counts_of(key->interface, key->direction);

	if (bpf_map_delete_elem(&flows, key))
		return END_NOTHING;
	/* Only this program subtracts. Counters that were made again for an interface do not include its earlier flows. */
	if (flows_held > 0)
		__sync_fetch_and_add(&flows_held, -1);
	if (counts && counts->flows > 0)
		__sync_fetch_and_add(&counts->flows, -1);
	return END_DONE;
}

/* It has had traffic since its last record, and a further record is due that no packet may come to cause. */
static __always_inline bool is_report_due(const struct flow_value *value, const struct ending *ending)
{
	return value->last > value->reported && ending->now > value->reported &&
	       ending->now - value->reported >= report_every;
}

static __always_inline enum end_outcome end_one(const struct flow_key *key, const struct ending *ending)
{
	struct flow_value *value = bpf_map_lookup_elem(&flows, key);
	struct flow_record *record;
	__u64 allowed = 0;
	bool ends = false, due;

	if (!value)
		return END_NOTHING;
	if (ending->order.remove)
		return value->ended ? remove_entry(key) : END_NOTHING;
	if (value->ended)
		return END_NOTHING;
	if (is_idle(value->last, ending, ending->order.idle_closed)) {
		struct both_directions both;

		read_both(key, value, &both);
		allowed = idle_timeout(key->protocol, &both, ending);
		ends = is_idle(both.last, ending, allowed);
	}
	if (!ends && !is_report_due(value, ending))
		return END_NOTHING;
	/* The other half of the ring is for flows that begin meanwhile. */
	if (bpf_ringbuf_query(&flow_ring, BPF_RB_AVAIL_DATA) > ending->room)
		return END_NO_ROOM;
	/* A record that does not fit is no drop: the flow stays, and the next run handles it. */
	record = reserve_record(key, ending->now, ends ? FLOW_END : FLOW_ACTIVE);
	if (!record)
		return END_NO_ROOM;
	bpf_spin_lock(&value->lock);
	due = ends ? is_idle(value->last, ending, allowed) : is_report_due(value, ending);
	if (due) {
		value->ended = ends;
		value->reported = value->last;
		copy_counters(record, value);
	}
	bpf_spin_unlock(&value->lock);
	/* Nothing came after the end that was reported already. */
	if (due && record->packets)
		bpf_ringbuf_submit(record, 0);
	else
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
	return due && ends ? END_DONE : END_NOTHING;
}

/* Ends what one direction has counted, and leaves its entry to the next connection on the same ports. False if there is no
 * room for the record: the counters go on, so that no byte is lost.
 */
static __always_inline bool end_direction(const struct flow_key *key, struct flow_value *value, __u64 now)
{
	struct flow_record *record;
	__u32 tag = tag_of(key);
	bool ends;

	record = reserve_record(key, now, FLOW_END);
	if (!record)
		return false;
	bpf_spin_lock(&value->lock);
	ends = !value->ended && value->packets && value->tag == tag;
	if (ends) {
		copy_counters(record, value);
		value->packets = 0;
		value->bytes = 0;
		value->flags_seen = 0;
		value->icmp_type = 0;
		value->icmp_code = 0;
		value->first = now;
		value->last = now;
		value->reported = now;
	}
	bpf_spin_unlock(&value->lock);
	if (ends)
		bpf_ringbuf_submit(record, 0);
	else
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
	return true;
}

/* A client's SYN begins a connection. What its ports have counted so far, in both directions, belongs to an earlier one, unless
 * this SYN is sent again. `value` is NULL if the client has sent nothing before. False if the ring has no room for the end.
 */
static __always_inline bool end_earlier_connection(const struct flow_key *key, struct flow_value *value, __u32 sequence,
						   __u64 now)
{
	struct flow_value *back;
	struct flow_key other;

	if (value && value->packets) {
		if (value->flags_seen & FLAG_SYN && value->syn_sequence == sequence)
			return true;
		if (!end_direction(key, value, now))
			return false;
	}
	reverse_key(key, &other);
	back = bpf_map_lookup_elem(&flows, &other);
	/* Both ends may begin at once. */
	if (!back || !back->packets || is_only_syn(back->flags_seen))
		return true;
	return end_direction(&other, back, now);
}

#endif
