/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Bytes that selected processes send and receive on sockets, and the slots: one for each profile of requests on a node. */
#ifndef TRILOBITE_PAYLOAD_H
#define TRILOBITE_PAYLOAD_H

#include "record.h"

enum data_flag {
	DATA_SENT = 1u << 0,            /* the process sent; else it received */
	DATA_TLS = 1u << 1,             /* plain text of a TLS library */
	DATA_END = 1u << 2,             /* the TCP connection has ended; no bytes, `position` counts those sent. UDP and unix
					 * sockets have no such record */
	DATA_MID_STREAM = 1u << 3,      /* open before it was followed; for a slot that was added later, before it saw the first call */
	DATA_SERVER = 1u << 4,          /* the socket was accepted */
	DATA_CLIENT = 1u << 5,          /* the socket connected */
	DATA_UNDECIDED = 1u << 6,       /* the agent had not decided about this cgroup */
	DATA_LAST_OF_CALL = 1u << 7,    /* no further piece of the same call follows in this slot */
};

/* One call that sent or received, or a piece of one: pieces have the time and the sequence number of their call, and each but the
 * last is copied wholly. `length - copied` bytes behind the copied ones are a gap, and so are those between the end of a record and
 * the position of the next one of the same direction: sent without a call that is seen (splice), or lost. The first position that a
 * slot sees of a direction can be above 0. Two threads in calls on one socket at the same moment can have one sequence number, and
 * their pieces can lie between each other.
 */
struct data_record {
	struct record record;           /* connection: 0 only of plain text whose socket is not known; source: the slot; process and
					 * cgroup: of the call, of DATA_END: the last */
	__u64 stream;                   /* number of the socket or, of plain text, of the TLS object: no other has it, also none that
					 * comes later. Verdicts, positions and sequence are those of the stream */
	__u64 position;                 /* offset of the first byte in its direction, counted from the first call that was followed */
	__u32 sequence;                 /* of the call on its stream, both directions, from 0 */
	__u32 length;                   /* bytes of the call, or of this piece of it */
	__u32 copied;                   /* bytes that follow this record */
	__u32 namespace;                /* network namespace, inode */
	__u16 local_port, remote_port;  /* host order; 0: not known */
	__u8 local[16], remote[16];     /* IPv4 in the first four bytes, also of an IPv6 socket that speaks IPv4 */
	__u8 family;                    /* AF_UNIX 1, AF_INET 2, AF_INET6 10 */
	__u8 protocol;                  /* IPPROTO_TCP 6, IPPROTO_UDP 17; 0: unix */
	__u8 flags;                     /* enum data_flag */
	__u8 piece;                     /* number of the piece in its call, from 0 */
};

enum data_verdict {
	VERDICT_NONE = 0,               /* copy DATA_BYTES_MAX of each call */
	VERDICT_PARSE = 1,              /* copy what the verdict says of each call */
	VERDICT_LENGTHS = 2,            /* records without bytes, which are no gaps */
	VERDICT_IGNORE = 3,             /* no more records of this stream: cannot be taken back */
};

/* Key and value of the map `verdicts`. */
struct verdict_key {
	__u64 stream;
	__u32 slot;
	__u32 pad;
};

struct verdict {
	__u32 bytes[2];                 /* copied of a call at most: 0 of one that receives, 1 of one that sends */
	__u32 kind;                     /* enum data_verdict */
};

/* The one element of the map `slot_table`. The agent writes whole words: first what a slot asks, last its bit in `active`. */
struct slot_table {
	__u64 active;                   /* bit n: slot n is in use */
	__u64 end;                      /* the highest slot in use, + 1 */
	__u64 epoch;                    /* incremented whenever a slot is added */
	__u64 since[REQUEST_SLOTS_MAX]; /* the epoch that its addition began */
	__u64 scope[REQUEST_SLOTS_MAX]; /* SCOPES_MAX: every process of the node */
};

struct slot_settings {
	__u32 generation;               /* for the record's header */
	__u32 port_count;               /* 0: all ports */
	__u16 ports[SLOT_PORTS_MAX];    /* of either end, host order */
};

/* Of one slot on one processor. Bytes of calls are those delivered, those in gaps and those lost together. */
struct slot_counts {
	__u64 records;                  /* written to the ring: pieces of calls, and ends */
	__u64 bytes;                    /* of the calls of those records, copied or not, and of gaps in front of them */
	__u64 gaps;
	__u64 gap_bytes;
	__u64 lost_records;             /* found no room in the ring, or no memory to be assembled in */
	__u64 lost_bytes;               /* of the calls of lost records */
};

#endif
