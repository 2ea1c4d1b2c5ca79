/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Keys, counters and records of flows, and the order to end flows. */
#ifndef TRILOBITE_FLOW_H
#define TRILOBITE_FLOW_H

#include "record.h"

enum flow_direction : __u8 {
	INTERFACE_IN = 0,       /* the interface received it: on the host end of a veth, the pod sent it */
	INTERFACE_OUT = 1,      /* the interface sent it: on the host end of a veth, the pod receives it */
};

enum flow_reason : __u8 {
	FLOW_NEW = 1,
	FLOW_FLAG = 2,          /* a SYN, FIN or RST, which this flow did not show before */
	FLOW_ACTIVE = 3,        /* more traffic since its last record; without flags where `end_flows` made the record */
	FLOW_END = 4,           /* no more packets, another connection on the same ports, or the agent asked; the counters are final */
	FLOW_ERROR = 5,         /* an ICMP error answered one of its packets */
};

/* Why a packet is not counted in a flow. */
enum other_reason {
	OTHER_PROTOCOL = 0,     /* neither TCP, UDP nor the family's ICMP, e.g. SCTP */
	OTHER_NOT_IP = 1,       /* not IP, e.g. ARP */
	OTHER_FRAGMENT = 2,     /* a fragment without ports whose first fragment was not seen before it */
	OTHER_MALFORMED = 3,    /* cut short, or headers that contradict each other */
	OTHER_MAP_FULL = 4,     /* no room in the flow map */
	OTHER_ENDING = 5,       /* its flow is being removed at this moment */
	OTHER_SHARE = 6,        /* the room that the flow map has is reserved for other interfaces */
	OTHER_COUNT = 7,
};

/* As on the wire, ports in network order (of ICMP: icmp.h). IPv4 addresses are in the first four bytes, the rest is zero. */
struct flow_key {
	__u8 source[16];
	__u8 destination[16];
	__u32 interface;
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 family;            /* 4 or 6 */
	__u8 direction;         /* enum flow_direction */
	__u8 icmp_type;         /* of the message; 0 of other protocols */
};

struct flow_value {
	struct bpf_spin_lock lock;
	__u8 flags_seen;        /* TCP flags so far */
	__u8 ended;             /* 1: its FLOW_END record is written, and later packets are `other` */
	__u8 icmp_type;         /* of the last ICMP error that answered a packet; 0: none */
	__u8 icmp_code;
	__u64 packets;          /* 0: a connection has ended here, and the next one has shown no packet yet */
	__u64 bytes;            /* with link headers */
	__u64 first;            /* boot clock, ns */
	__u64 last;
	__u64 reported;         /* `last` of its latest record */
	__u32 tag;              /* a hash of the key: the kernel reuses the memory of a removed entry at once */
	__u32 syn_sequence;     /* of its last packet with SYN, as on the wire: a SYN that is sent again has the same */
};

/* Fragments of one packet. */
struct fragment_key {
	__u8 source[16];
	__u8 destination[16];
	__u32 interface;
	__u32 id;               /* as on the wire */
	__u8 protocol;          /* of what is in fragments */
	__u8 family;
	__u8 direction;
	__u8 pad;
};

/* What the first fragment says of the others. */
struct fragment_value {
	__u16 source_port;      /* as in flow_key */
	__u16 destination_port;
	__u8 protocol;
	__u8 icmp_type;
	__u8 pad[2];
};

struct flow_record {
	struct record header;
	struct flow_key key;
	__u16 flags;            /* TCP flags of the packet that made the record; none where `end_flows` made it */
	__u16 flags_seen;       /* of the flow so far */
	__u64 packets;          /* of the flow so far */
	__u64 bytes;
	__u64 first;            /* boot clock, ns */
	__u64 last;
	__u8 source_mac[6];     /* of the same packet as `flags`; also zero where the link has none */
	__u8 destination_mac[6];
	__u8 reason;            /* enum flow_reason */
	__u8 icmp_type;         /* as in flow_value */
	__u8 icmp_code;
	__u8 pad;
};

struct interface_key {
	__u32 interface;
	__u32 direction;        /* enum flow_direction */
};

struct packets_bytes {
	__u64 packets;
	__u64 bytes;
};

/* One for each interface and direction, made by the agent before it attaches. */
struct interface_counts {
	struct packets_bytes other[OTHER_COUNT];
	__u64 flows;            /* entries that it has in the flow map now */
};

/* The agent runs `end_flows` on a packet with this behind its Ethernet header, and behind it the keys. */
struct flow_end_order {
	__u32 keys;             /* at most FLOW_END_KEYS */
	__u32 remove;           /* 0: end flows that are idle; 1: remove flows that have ended */
	__u64 idle_closed;      /* ns without a packet, once FIN or RST was seen; the shortest of the five */
	__u64 idle_syn;         /* a SYN and nothing after it */
	__u64 idle_tcp;
	__u64 idle_udp;         /* ICMP as well */
	__u64 idle_answered;    /* UDP or ICMP, one or two questions and as many answers */
};

#define FLOW_END_KEYS 30

/* `end_flows` returns a bit for each key whose flow it ended or removed, the lowest for the first, and this one where the ring had
 * no room for more.
 */
#define FLOW_END_MORE 0x40000000

#endif
