/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What flow.bpf.c and the agent exchange: keys, counters, records, and the order to end flows. `src/flow.rs` has the same. */
#ifndef TRILOBITE_FLOW_H
#define TRILOBITE_FLOW_H

#include "limits.h"
#include "record.h"

enum flow_direction {
	INTERFACE_IN = 0,       /* the interface received it: on the host end of a veth, the pod sent it */
	INTERFACE_OUT = 1,      /* the interface sent it: on the host end of a veth, the pod gets it */
};

enum flow_reason {
	FLOW_NEW = 1,
	FLOW_FLAG = 2,          /* a TCP flag that this flow did not show before */
	FLOW_ACTIVE = 3,        /* it has carried more since it was told; without flags where no packet made the record */
	FLOW_END = 4,           /* no more packets, or the agent asked; the counters are final */
};

/* Why a packet is no part of a flow. */
enum other_reason {
	OTHER_PROTOCOL = 0,     /* neither TCP nor UDP: ICMP, neighbour discovery, ... */
	OTHER_NOT_IP = 1,       /* ARP and what else is not IP */
	OTHER_FRAGMENT = 2,     /* a fragment without ports */
	OTHER_MALFORMED = 3,    /* cut short, or headers that say what cannot be */
	OTHER_MAP_FULL = 4,     /* no room in the flow map */
	OTHER_ENDING = 5,       /* of a flow that is being removed at this moment */
	OTHER_SHARE = 6,        /* there is room in the flow map, and it is left to other interfaces */
	OTHER_REASONS = 7,
};

/* As on the wire, ports in network order. IPv4 addresses are in the first four bytes, the rest is zero. */
struct flow_key {
	__u8 source[16];
	__u8 destination[16];
	__u32 interface;
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 family;            /* 4 or 6 */
	__u8 direction;         /* enum flow_direction */
	__u8 pad;
};
_Static_assert(sizeof(struct flow_key) == 44, "src/flow.rs has the same");

struct flow_record {
	struct record header;
	struct flow_key key;
	__u16 flags;            /* TCP flags of the packet that made the record; none where `end_flows` made it */
	__u16 flags_seen;       /* of the flow so far */
	__u64 packets;          /* of the flow so far */
	__u64 bytes;
	__u64 first;            /* boot clock, ns */
	__u64 last;
	__u8 source_mac[6];     /* as flags; zero where the link has none, too */
	__u8 destination_mac[6];
	__u8 reason;            /* enum flow_reason */
	__u8 pad[3];
};
_Static_assert(sizeof(struct flow_record) == 152, "src/flow.rs has the same");

struct interface_key {
	__u32 interface;
	__u32 direction;
};

struct packets_bytes {
	__u64 packets;
	__u64 bytes;
};

/* One for each interface and direction, made by the agent before it attaches. */
struct interface_counts {
	struct packets_bytes other[OTHER_REASONS];
	__u64 records_lost;     /* did not fit the ring */
	__u64 flows;            /* that it holds in the flow map now */
};
_Static_assert(sizeof(struct interface_counts) == 128, "src/flow.rs has the same");

/* Stands behind an Ethernet header in the packet that the agent runs `end_flows` on. */
struct flow_end_order {
	__u32 interface;        /* only this one; 0 for all */
	__u32 remove;           /* 0: end those that are idle; 1: remove those that have ended */
	__u64 idle_closed;      /* ns without a packet, once FIN or RST was seen; the shortest of the five */
	__u64 idle_syn;         /* a SYN and nothing after it */
	__u64 idle_tcp;
	__u64 idle_udp;
	__u64 idle_answered;    /* UDP, a question or two and as many answers */
};
_Static_assert(sizeof(struct flow_end_order) == 48, "src/flow.rs has the same");

/* `end_flows` answers how many it has ended or removed, with this bit where the ring kept it from telling more. */
#define FLOW_END_MORE (1 << 30)

#endif
