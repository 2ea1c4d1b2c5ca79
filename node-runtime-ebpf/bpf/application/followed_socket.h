/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is known of a socket from the first call of a selected process on. */
#ifndef TRILOBITE_FOLLOWED_SOCKET_H
#define TRILOBITE_FOLLOWED_SOCKET_H

#include "payload.h"

/* Words of both directions: 0 received, 1 sent. */
struct followed_socket {
	struct data_record record;      /* what all records of the socket have; its connection is 0 until all of it is written */
	__u64 next[2];                  /* position behind the last call */
	__u32 tcp_sequence[2];          /* TCP's sequence number at that position */
	__u64 counted_prot;             /* struct proto whose sequence numbers count the process's bytes; 0: none */

	/* Slots, a bit each: have seen the socket; bytes were exchanged before they saw it; want no more of it. */
	__u64 seen, late, ignored;
	__u64 met[2];                   /* slots that have had a record of the direction */
	__u64 epoch;                    /* of the table of slots, to which the bits belong */
	__u64 is_underway;              /* bytes were exchanged before the first call */
};

#endif
