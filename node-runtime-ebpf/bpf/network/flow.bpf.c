// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* TCP, UDP and ICMP flows of the interfaces that the agent attaches to: counted in a map, reported by records.
 *
 * Sums are exact: every packet that an interface counts is in one flow or in one `other`, with the bytes that the
 * interface counts (skb->len with the link header; a segmentation offload skb is one packet). The exception is packets
 * that another program drops behind these on the way out: the interface does not count them. A flow's counters only grow,
 * under its lock, until its final counters are reported in the same critical section: by `end_flows`, which marks it ended, or by
 * the first packet of another connection on the same ports, which begins it anew.
 */
#include "kernel.h"

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>

#include "idle_flows.h"
#include "flow_map.h"
#include "fragments.h"
#include "headers.h"
#include "icmp_error.h"
#include "vlan.h"

/* An interface and direction may have twice as many flows as there are free entries: one that is scanned or flooded uses
 * two thirds of the map at most, several share it, and there is always room for those that have few.
 */
static __always_inline bool has_its_share(const struct interface_counts *counts)
{
	__u64 held = flows_held, entries = flow_entries;

	return counts && held < entries && counts->flows >= 2 * (entries - held);
}

/* Not inlined, so that both programs' ways through the headers share its instructions. Static: before 5.12 other functions take no
 * pointer but the packet.
 */
static __noinline int count_flow(struct __sk_buff *skb, const struct flow_key *key, __u16 flags, __u32 sequence)
{
	struct flow_value now = {
		.flags_seen = flags,
		.packets = 1,
		.bytes = skb->len,
		.last = bpf_ktime_get_boot_ns(),
		.syn_sequence = sequence,
	};
	enum flow_reason reason = 0;
	struct flow_value *value;
	bool is_split = true;

	now.tag = tag_of(key);
	value = bpf_map_lookup_elem(&flows, key);
	if (flags & FLAG_SYN && !(flags & FLAG_ACK))
		is_split = end_earlier_connection(key, value, sequence, now.last);
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
	/* Without room for a record of its end, the earlier connection goes on in the counters; the next is reported all the same. */
	if (!is_split)
		value->flags_seen = 0;
	if (flags & FLAG_SYN)
		value->syn_sequence = sequence;
	if (!value->packets) {
		value->first = now.last;
		reason = FLOW_NEW;
	} else if (flags & REPORTED_FLAGS & ~value->flags_seen) {
		reason = FLOW_FLAG;
	}
	value->packets += 1;
	value->bytes += now.bytes;
	if (now.last > value->last)
		value->last = now.last;
	if (!reason && value->last - value->reported >= report_every)
		reason = FLOW_ACTIVE;
	value->flags_seen |= flags;
	if (reason) {
		value->reported = value->last;
		now.flags_seen = value->flags_seen;
		now.icmp_type = value->icmp_type;
		now.icmp_code = value->icmp_code;
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
	struct fragment_part part = {};
	struct tcp_start start = {};
	__u32 protocol = skb->protocol;
	__u32 begin = skip_tags(skb, &protocol);
	int offset;

	if (protocol == bpf_htons(ETH_P_IP))
		offset = read_ipv4(skb, begin, &key, &part);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		offset = read_ipv6(skb, begin, &key, &part);
	else
		return count_other(skb, direction, OTHER_NOT_IP);
	if (offset < 0)
		return count_other(skb, direction, -1 - offset);

	if (part.is_later) {
		if (!read_later_fragment(&key, &part))
			return count_other(skb, direction,
					   has_flows(key.family, part.protocol) ? OTHER_FRAGMENT : OTHER_PROTOCOL);
	} else {
		/* Of UDP, only the ports. */
		__u32 length = key.protocol == IPPROTO_TCP ? sizeof(start) : 4;

		if (is_icmp(&key)) {
			if (!read_icmp(skb, offset, &key))
				return count_other(skb, direction, OTHER_MALFORMED);
			report_icmp_error(skb, offset, key.family, direction);
		} else {
			if (bpf_skb_load_bytes_relative(skb, offset, &start, length, BPF_HDR_START_NET))
				return count_other(skb, direction, OTHER_MALFORMED);
			key.source_port = start.source_port;
			key.destination_port = start.destination_port;
		}
		if (part.is_first)
			remember_first_fragment(&key, &part);
	}
	return count_flow(skb, &key, start.flags, start.sequence);
}

/* network/flow: a packet that the interface received.
 * Kernels    6.6+ (tcx), 5.10+ (clsact)           Arguments  the packet, link header included
 * Why here   the host end of a pod's veth receives all that the pod sends, before NAT and before any policy. It is first in
 *            the chain, as a program of the CNI may end it, and returns TCX_NEXT, which is TC_ACT_UNSPEC of a filter, so that
 *            the next one runs
 * Costs      one hash lookup and a lock a packet, one 152 B record on new, on the first SYN, FIN and RST, and every 5 s. A SYN looks the other
 *            direction up as well, an ICMP error the flow that it answers, a fragment the ports of its first
 */
SEC("tcx/ingress")
int flow_in(struct __sk_buff *skb)
{
	return account_packet(skb, INTERFACE_IN);
}

/* network/flow: a packet that the interface is about to send.
 * Kernels    6.6+ (tcx), 5.10+ (clsact)           Arguments  the packet, link header included
 * Why here   packets here are allowed to the pod: after netfilter's policy, and after NAT has restored the address of a
 *            Service. First in the chain, as flow_in: only a program of the CNI there can still drop them
 * Costs      as flow_in
 */
SEC("tcx/egress")
int flow_out(struct __sk_buff *skb)
{
	return account_packet(skb, INTERFACE_OUT);
}

/* network/flow: run by the agent itself, attached nowhere. Ends flows that are idle, and later removes them; reports flows
 * that became silent after their last record.
 * Kernels    5.10+ (as the rest)                 Arguments  a packet that contains a struct flow_end_order and keys
 * Why here   user space cannot read and delete an entry without losing the packets in between. An entry is marked ended
 *            under its lock and removed by a later run, when no processor can still be about to count a packet there.
 *            It is handed the keys: a callback of bpf_for_each_map_elem may hold no lock on 6.1, and 5.10 has no such function
 * Costs      one run for 30 flows that may be due, every 2 s while flows are watched (bench: flows)
 */
SEC("tc")
int end_flows(struct __sk_buff *skb)
{
	struct ending ending = {};
	__u32 done = 0;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ending.order, sizeof(ending.order)))
		return -1;
	ending.now = bpf_ktime_get_boot_ns();
	ending.room = bpf_ringbuf_query(&flow_ring, BPF_RB_RING_SIZE) / 2;
	for (__u32 i = 0; i < FLOW_END_KEYS && i < ending.order.keys; i++) {
		__u32 offset = ETH_HLEN + sizeof(ending.order) + i * sizeof(struct flow_key);
		enum end_outcome outcome;
		struct flow_key key;

		if (bpf_skb_load_bytes(skb, offset, &key, sizeof(key)))
			return -1;
		outcome = end_one(&key, &ending);
		if (outcome == END_NO_ROOM)
			return done | FLOW_END_MORE;
		if (outcome == END_DONE)
			done |= 1u << i;
	}
	return done;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
