/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The state of a cgroup, which says which class it has, and the records of cgroups. */
#ifndef TRILOBITE_CGROUP_H
#define TRILOBITE_CGROUP_H

#include "record.h"

enum cgroup_flag {
	CGROUP_INHERIT = 1u << 0,       /* a cgroup made below this one begins with this one's state */
};

/* Key of the map `classes`: nothing is decided. */
#define CLASS_UNDECIDED 0

struct cgroup_state {
	__u32 class_id;
	__u32 flags;            /* enum cgroup_flag */
};

/* A class is all cgroups for which every scope has the same answer; bit n of the words is scope n. */
struct cgroup_class {
	__u64 decided[SCOPE_WORDS];     /* scopes for which the agent has decided about these cgroups */
	__u64 wanted[SCOPE_WORDS];      /* of those, the scopes that select them */
};

struct cgroup_record {                  /* mkdir, rmdir; header.cgroup is the cgroup itself */
	struct record header;
	__u64 parent;
	__u32 level;
	__u32 pad;
	__u8 name[CGROUP_NAME_MAX];
};

#endif
