/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the agent says to the probes of TLS libraries. */
#ifndef TRILOBITE_TLS_H
#define TRILOBITE_TLS_H

#include "payload.h"

/* The cookie of a probe: where it is. */
enum tls_probe {
	TLS_READ_ENTRY = 1,
	TLS_READ_EX_ENTRY,
	TLS_WRITE_ENTRY,
	TLS_WRITE_EX_ENTRY,
	TLS_READ_RETURN,                /* of both functions that read */
	TLS_WRITE_RETURN,
	TLS_NEW_RETURN,
	TLS_FREE_ENTRY,
	TLS_CLEAR_ENTRY,
};

/* Key of the map `tls_objects`. */
struct tls_key {
	__u64 object;                   /* address of the SSL in its process */
	__u32 process;                  /* thread group id */
	__u32 pad;
};

#endif
