/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets from or to a DNS server: copied for the worker, which reads them. */
#ifndef TRILOBITE_DNS_H
#define TRILOBITE_DNS_H

#include "flow.h"
#include "record.h"

#define DNS_PORT 53

struct dns_record {
	struct record header;           /* connection: as in flow_record; size: with the copied bytes */
	struct flow_key key;
	__u32 sequence;                 /* TCP: of the first byte, host order */
	__u32 length;                   /* bytes behind the header of TCP or UDP, as the headers say */
	__u32 copied;                   /* bytes that follow this record */
	__u8 pad[8];
};

#endif
