/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Memory of a processor that one call has at a time. The call that increments `users` from 0 has it: an interrupt or, on a preemptible
 * kernel, another task may come between any two instructions. */
#ifndef TRILOBITE_SCRATCH_LOCK_H
#define TRILOBITE_SCRATCH_LOCK_H

#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

static __always_inline void unlock_scratch(__u32 *users)
{
	__sync_fetch_and_add(users, -1);
}

static __always_inline bool try_lock_scratch(__u32 *users)
{
	__sync_fetch_and_add(users, 1);
	if (*(volatile __u32 *)users == 1)
		return true;
	unlock_scratch(users);
	return false;
}

#endif
