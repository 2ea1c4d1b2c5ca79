/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A CPU sample as it leaves the kernel. */
#ifndef TRILOBITE_SAMPLE_H
#define TRILOBITE_SAMPLE_H

#include "record.h"

#define STACK_BYTES (STACK_FRAMES_MAX * 8)
#define STACK_MASK 1023u        /* the power of two above STACK_BYTES, less one */
#define STACK_SHORT_BYTES (STACK_FRAMES_SHORT * 8)

enum sample_flag {
	SAMPLE_SELECTION_UNKNOWN = 1u << 0,     /* the agent had not decided about this cgroup at the tick */
	SAMPLE_TOO_DEEP = 1u << 1,              /* a stack has more frames than are read */
	SAMPLE_SHORT = 1u << 2,         /* the user stack ends at once: no frame pointers, or the entry function itself */
};

struct sample_header {
	struct record record;
	__u8 thread_name[16];
	__u8 process_name[16];  /* the first thread's, also after that has ended */
	__u32 flags;            /* enum sample_flag */
	__u32 kernel_bytes;     /* of the stack: first the kernel's, innermost frame first */
	__u32 user_bytes;       /* then the program's */
	__u32 proc_pid;         /* thread group id in the agent's /proc; 0: it is not there */
};

struct sample {
	struct sample_header header;
	__u64 stack[256];
};
_Static_assert(STACK_BYTES <= STACK_MASK && 2 * (STACK_MASK + 1) <= 256 * 8, "both stacks fit");

#endif
