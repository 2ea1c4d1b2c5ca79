/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets that the kernel dropped: keys, counters, and the record of the first drop of a key. */
#ifndef TRILOBITE_PACKET_DROP_H
#define TRILOBITE_PACKET_DROP_H

#include "record.h"

/* As on the wire, ports in network order. IPv4 addresses are in the first four bytes, the rest is zero. */
struct packet_drop_key {
	__u64 place;            /* address behind the call that dropped the packet */
	__u8 source[16];
	__u8 destination[16];
	__u32 reason;           /* enum skb_drop_reason of the running kernel; 0: it has none, before 5.17 */
	__u32 network_namespace; /* inode, of the device or else the socket; 0: unknown */
	__u32 interface;        /* index in that namespace; 0: unknown */
	__u16 source_port;      /* 0: the protocol has none, or a later fragment */
	__u16 destination_port;
	__u8 protocol;
	__u8 family;            /* 4 or 6 */
	__u8 icmp_type;
	__u8 icmp_code;
	__u32 pad;
};

/* Counters since the agent last emptied the map. */
struct packet_drop_value {
	__u64 packets;
	__u64 bytes;            /* from the IP header on */
	__u64 first;            /* boot clock, ns */
	__u64 last;
	__u64 connection;       /* as in the records of flows */
	__u8 interface_name[16];
	__u8 tcp_flags;         /* of the first packet */
	__u8 pad[7];
};

/* `header.generation` says in which of the two maps it is counted: even numbers in the first, odd ones in the second. */
struct packet_drop_record {
	struct record header;
	struct packet_drop_key key;
	struct packet_drop_value value;
};

/* Drops of this reason at this place are no losses, e.g. what was left in the queue of a socket that is closed. */
struct ignored_drop {
	__u64 place;
	__u32 reason;
	__u32 pad;
};

struct pod_address {
	__u8 bytes[16];         /* as in packet_drop_key */
};

#endif
