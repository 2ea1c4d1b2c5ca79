/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMP in flows. A request and its answer are one connection, by their identifier: it is the port of the end that asks, and the
 * message (type and code, the type that of the request) is the port of the end that answers. Any other message is a flow of its
 * own, sent from port 0 to the port of its type and code.
 */
#ifndef TRILOBITE_FLOW_ICMP_H
#define TRILOBITE_FLOW_ICMP_H

#include "headers.h"

enum icmp_type {
	ICMP4_ECHO_REPLY = 0,
	ICMP4_UNREACHABLE = 3,
	ICMP4_ECHO = 8,
	ICMP4_TIME_EXCEEDED = 11,
	ICMP4_PARAMETER_PROBLEM = 12,
	/* From here to the last, a request is followed by its answer: time stamp, information, address mask. */
	ICMP4_TIMESTAMP = 13,
	ICMP4_ADDRESS_MASK_REPLY = 18,
	ICMP6_ERROR_MAX = 4,    /* of version 6, all types up to this one are errors */
	ICMP6_ECHO = 128,
	ICMP6_ECHO_REPLY = 129,
};

/* A message up to its identifier, where it has one. */
struct icmp_start {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u16 id;
};

static __always_inline bool is_icmp(const struct flow_key *key)
{
	return key->protocol == icmp_of(key->family);
}

static __always_inline bool is_icmp_error(__u8 family, __u8 type)
{
	if (family == 6)
		return type && type <= ICMP6_ERROR_MAX;
	return type == ICMP4_UNREACHABLE || type == ICMP4_TIME_EXCEEDED || type == ICMP4_PARAMETER_PROBLEM;
}

static __always_inline bool is_icmp_answer(__u8 family, __u8 type)
{
	if (family == 6)
		return type == ICMP6_ECHO_REPLY;
	return type == ICMP4_ECHO_REPLY || (type > ICMP4_TIMESTAMP && type <= ICMP4_ADDRESS_MASK_REPLY && !(type & 1));
}

/* The request of an answer; another type is its own. */
static __always_inline __u8 icmp_request(__u8 family, __u8 type)
{
	if (!is_icmp_answer(family, type))
		return type;
	return family == 4 && type == ICMP4_ECHO_REPLY ? ICMP4_ECHO : type - 1;
}

static __always_inline bool is_icmp_request(__u8 family, __u8 type)
{
	if (family == 6)
		return type == ICMP6_ECHO;
	return type == ICMP4_ECHO || (type >= ICMP4_TIMESTAMP && type < ICMP4_ADDRESS_MASK_REPLY && type & 1);
}

/* The type of what comes back: as in the key of the other direction. */
static __always_inline __u8 icmp_counterpart(__u8 family, __u8 type)
{
	if (is_icmp_request(family, type))
		return family == 4 && type == ICMP4_ECHO ? ICMP4_ECHO_REPLY : type + 1;
	return icmp_request(family, type);
}

/* Gives `key` what it has in place of ports. `offset` is where the message begins, from the network header; false if it is cut. */
static __always_inline bool read_icmp(struct __sk_buff *skb, __u32 offset, struct flow_key *key)
{
	struct icmp_start start;
	__u16 message;

	if (bpf_skb_load_bytes_relative(skb, offset, &start, sizeof(start), BPF_HDR_START_NET))
		return false;
	key->icmp_type = start.type;
	message = bpf_htons(icmp_request(key->family, start.type) << 8 | start.code);
	if (is_icmp_answer(key->family, start.type)) {
		key->source_port = message;
		key->destination_port = start.id;
	} else {
		key->source_port = is_icmp_request(key->family, start.type) ? start.id : 0;
		key->destination_port = message;
	}
	return true;
}

#endif
