/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMP errors are reported on the flow that they answer, beside the flow that they are themselves. */
#ifndef TRILOBITE_FLOW_ICMP_ERROR_H
#define TRILOBITE_FLOW_ICMP_ERROR_H

#include "flow_map.h"
#include "headers.h"
#include "icmp.h"

#define ICMP_HEADER 8

/* An error has at least 8 bytes of what follows the addresses: ports, or a message of ICMP up to its identifier. */
static __always_inline bool read_answered_ports(struct __sk_buff *skb, __u32 offset, struct flow_key *key)
{
	__u16 ports[2];

	if (is_icmp(key))
		return read_icmp(skb, offset, key);
	if (bpf_skb_load_bytes_relative(skb, offset, ports, sizeof(ports), BPF_HDR_START_NET))
		return false;
	key->source_port = ports[0];
	key->destination_port = ports[1];
	return true;
}

/* `offset` is where the ICMP header begins, behind which the answered packet begins. `direction` is the error's own. Not static,
 * so that the verifier walks it once.
 */
__noinline int report_icmp_error(struct __sk_buff *skb, __u32 offset, __u8 family, __u8 direction)
{
	struct flow_key key = {.interface = skb->ifindex, .direction = !direction};
	struct fragment_part part = {};
	struct flow_record *record;
	struct flow_value *value;
	__u8 type_and_code[2];
	bool is_new;
	__u32 tag;
	int inner;

	if (bpf_skb_load_bytes_relative(skb, offset, type_and_code, sizeof(type_and_code), BPF_HDR_START_NET) ||
	    !is_icmp_error(family, type_and_code[0]))
		return 0;
	offset += ICMP_HEADER;
	inner = family == 6 ? read_ipv6(skb, offset, &key, &part) : read_ipv4(skb, offset, &key, &part);
	if (inner < 0 || part.is_later || !read_answered_ports(skb, inner, &key))
		return 0;
	value = bpf_map_lookup_elem(&flows, &key);
	/* An error that repeats is reported once. */
	if (!value || (value->icmp_type == type_and_code[0] && value->icmp_code == type_and_code[1]))
		return 0;
	tag = tag_of(&key);
	record = reserve_record(&key, bpf_ktime_get_boot_ns(), FLOW_ERROR);
	if (!record) {
		count_drop(DROP_FLOW);
		return 0;
	}
	bpf_spin_lock(&value->lock);
	is_new = !value->ended && value->packets && value->tag == tag;
	if (is_new) {
		value->icmp_type = type_and_code[0];
		value->icmp_code = type_and_code[1];
		value->reported = value->last;
		copy_counters(record, value);
	}
	bpf_spin_unlock(&value->lock);
	if (is_new)
		bpf_ringbuf_submit(record, 0);
	else
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif
