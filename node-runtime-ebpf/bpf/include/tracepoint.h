/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a policy's tracepoint reads, and the record of it. `src/tracepoint.rs` has the same. */
#ifndef TRILOBITE_TRACEPOINT_H
#define TRILOBITE_TRACEPOINT_H

#include "limits.h"
#include "record.h"

enum arg_kind {
	ARG_NONE = 0,
	ARG_NUMBER = 1,                 /* so many bytes, as they are */
	ARG_POINTER = 2,                /* to a string, in the kernel or the user's memory */
	ARG_INLINE = 3,                 /* a string inside the trace record, of so many bytes at most, its end included */
	ARG_DATA_LOC = 4,               /* a string inside the trace record, at an offset that is in it */
	ARG_SYSCALL = 5,                /* a number, with bit 63 set for a 32-bit task */
	ARG_REL_LOC = 6,                /* as ARG_DATA_LOC, and the offset counts from behind itself */
};

struct arg_spec {
	__u16 offset;                   /* in the trace record; of a raw tracepoint: 8 times the argument's index */
	__u16 bytes;
	__u32 kind;                     /* enum arg_kind */
};

struct hook_spec {
	__u64 slot;                     /* whose selection is asked */
	__u32 source, generation;       /* into the header */
	__u32 hook;                     /* which of the policy's */
	__u32 strings;                  /* how many of the arguments are */
	__u32 agent;                    /* process that is never told of: the agent would talk of its own talking */
	__u32 agent_namespace;          /* pid namespace in which it has that number, by inode */
	struct arg_spec args[TRACEPOINT_ARGS_MAX];
};
_Static_assert(sizeof(struct hook_spec) == 72, "src/tracepoint.rs has the same");

struct tracepoint_record {              /* followed by TRACEPOINT_STRING_MAX bytes for each string */
	struct record header;
	__u32 hook;
	__u32 undecided;                /* nobody knew yet whether this cgroup is wanted */
	__u64 values[TRACEPOINT_ARGS_MAX];      /* a number; of a string: its bytes with its end, or an errno below 0;
					       TRACEPOINT_STRING_MAX: there may be more of it */
};
_Static_assert(sizeof(struct tracepoint_record) == 104, "src/tracepoint.rs has the same");

#endif
