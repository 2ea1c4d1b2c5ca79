/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The arguments that a policy's tracepoint reads, and its record. */
#ifndef TRILOBITE_TRACEPOINT_H
#define TRILOBITE_TRACEPOINT_H

#include "record.h"

/* Bit of an ARG_SYSCALL's value for a 32-bit task. */
#define SYSCALL_COMPAT 0x8000000000000000

enum arg_kind {
	ARG_NONE = 0,
	ARG_NUMBER = 1,                 /* so many bytes, as they are */
	ARG_POINTER = 2,                /* to a string, in the kernel or the user's memory */
	ARG_INLINE = 3,                 /* a string inside the trace record, of so many bytes at most, its NUL included */
	ARG_DATA_LOC = 4,               /* a string inside the trace record, at an offset that the record contains */
	ARG_SYSCALL = 5,                /* a number, with SYSCALL_COMPAT set for a 32-bit task */
	ARG_REL_LOC = 6,                /* as ARG_DATA_LOC, with an offset that counts from behind itself */
};

struct arg_spec {
	__u16 offset;                   /* in the trace record; of a raw tracepoint: 8 times the argument's index */
	__u16 bytes;
	__u32 kind;                     /* enum arg_kind */
};

struct hook_spec {
	__u64 selector;                 /* bit in the state of a cgroup */
	__u32 source, generation;       /* copied to the record's header */
	__u32 hook;                     /* index in the policy */
	__u32 strings;                  /* number of arguments that are strings */
	__u32 agent;                    /* pid of the agent, which is never recorded: its records would cause more of them */
	__u32 agent_namespace;          /* pid namespace in which the agent has that pid, by inode */
	struct arg_spec args[TRACEPOINT_ARGS_MAX];
};

struct tracepoint_record {              /* followed by TRACEPOINT_STRING_MAX bytes for each string */
	struct record header;
	__u32 hook;
	__u32 selection_unknown;        /* 1: the agent had not decided about this cgroup yet */
	__u64 values[TRACEPOINT_ARGS_MAX];      /* a number; of a string: its bytes with its NUL, or an errno below 0;
					       TRACEPOINT_STRING_MAX: the string may be longer */
};

#endif
