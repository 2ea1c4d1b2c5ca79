/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel's types, as far as we read them; offsets come from the running kernel's BTF (CO-RE).
 * Small on purpose: the whole vmlinux.h costs half a second an object and brings names that clash. */
#ifndef TRILOBITE_KERNEL_H
#define TRILOBITE_KERNEL_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <stdbool.h>

#ifndef NULL
#define NULL ((void *)0)
#endif

typedef int pid_t;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id;
	const char *name;
};

struct cgroup {
	int level;
	struct kernfs_node *kn;
	struct cgroup *ancestors[];     /* 6.1+ */
};

/* before 6.1 */
struct cgroup___ids {
	__u64 ancestor_ids[0];
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct task_struct {
	int pid;
	int tgid;
	__u64 start_boottime;
	__u64 self_exec_id;
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	struct css_set *cgroups;
};

#pragma clang attribute pop

#endif
