/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A CPU sample as it leaves the kernel; `src/sample.rs` has the same. */
#ifndef TRILOBITE_SAMPLE_H
#define TRILOBITE_SAMPLE_H

#include "limits.h"
#include "record.h"

#define STACK_BYTES (STACK_FRAMES_MAX * 8)
#define STACK_MASK 1023u        /* the power of two above STACK_BYTES, less one */
#define STACK_SHORT_BYTES (STACK_FRAMES_SHORT * 8)

enum sample_flags {
	SAMPLE_UNDECIDED = 1,   /* whose cgroup it is was not known at the tick */
	SAMPLE_TOO_DEEP = 2,    /* a stack has more frames than are taken */
	SAMPLE_SHORT = 4,       /* the user stack ends at once: a binary without frame pointers, or the root itself */
};

enum sample_count {
	SAMPLES_SEEN,           /* ticks that were meant for the ring */
	SAMPLES_LOST,           /* of them, those that found it full */
	SAMPLE_COUNTS,
};

struct sample {
	struct record record;
	char comm[16];
	__u32 flags;            /* enum sample_flags */
	__u32 kernel_bytes;     /* of `stack`: first the kernel's, innermost frame first */
	__u32 user_bytes;       /* then the program's */
	__u32 proc_pid;         /* thread group as the agent's /proc shows it; 0 where it does not */
	__u64 stack[256];
};
_Static_assert(__builtin_offsetof(struct sample, stack) == 88, "src/sample.rs has the same");
_Static_assert(STACK_BYTES <= STACK_MASK && 2 * (STACK_MASK + 1) <= 256 * 8, "both stacks fit");

#endif
