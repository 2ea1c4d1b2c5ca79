/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The state of a cgroup, which says who is selected, and the records of cgroups. */
#ifndef TRILOBITE_CGROUP_H
#define TRILOBITE_CGROUP_H

#include "record.h"

enum cgroup_flag {
	CGROUP_INHERIT = 1u << 0,       /* a cgroup made below this one begins with this one's state */
	CGROUP_PODS = 1u << 1,          /* pods begin below: the cgroups above say nothing about them */
};

struct cgroup_state {
	__u64 known;            /* selectors for which the agent has decided about this cgroup */
	__u64 selected;         /* selectors that select it */
	__u32 flags;            /* enum cgroup_flag */
	__u32 pad;
};

struct cgroup_record {                  /* mkdir, rmdir; header.cgroup is the cgroup itself */
	struct record header;
	__u64 parent;
	__u32 level;
	__u32 pad;
	__u8 name[CGROUP_NAME_MAX];
};

#endif
