/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Credentials and namespaces of a task. */
#ifndef TRILOBITE_CREDENTIALS_H
#define TRILOBITE_CREDENTIALS_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "kernel.h"
#include "process.h"

#define PID_LEVEL_MAX 32        /* the kernel's own limit of nested pid namespaces */
#define PID_LEVEL_AGENT 4       /* depth at which the agent may be: a node in a container, or a node in such a node */

/* Pid of a process in one of its pid namespaces, and that namespace; the initial one has level 0. */
static __always_inline struct upid upid_at(struct pid *pid, __u32 level)
{
	struct upid found = {};

	if (level <= PID_LEVEL_MAX) {
		struct upid *numbers = (void *)pid + bpf_core_field_offset(pid->numbers);

		numbers = (void *)numbers + level * bpf_core_type_size(struct upid);
		found.nr = BPF_CORE_READ(numbers, nr);
		found.ns = BPF_CORE_READ(numbers, ns);
	}
	return found;
}

static __always_inline struct upid task_upid(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);

	return upid_at(pid, BPF_CORE_READ(pid, level));
}

/* Pid of a process in this pid namespace, by inode: its own or one above; 0 where it has none there. */
static __always_inline __u32 task_pid_in(struct task_struct *task, __u32 namespace)
{
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	__u32 levels = BPF_CORE_READ(pid, level);
	__u32 found = 0;

#pragma unroll
	for (__u32 level = 0; level <= PID_LEVEL_AGENT; level++) {
		if (level <= levels) {
			struct upid upid = upid_at(pid, level);

			if (BPF_CORE_READ(upid.ns, ns.inum) == namespace)
				found = upid.nr;
		}
	}
	return found;
}

static __always_inline __u32 task_ns_pid(struct task_struct *task)
{
	return task_upid(task).nr;
}

static __always_inline void read_credentials(struct exec_record *record, struct task_struct *task)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);
	struct nsproxy *namespaces = BPF_CORE_READ(task, nsproxy);
	struct upid upid = task_upid(task);

	record->uid[0] = BPF_CORE_READ(cred, uid.val);
	record->uid[1] = BPF_CORE_READ(cred, euid.val);
	record->uid[2] = BPF_CORE_READ(cred, suid.val);
	record->uid[3] = BPF_CORE_READ(cred, fsuid.val);
	record->gid[0] = BPF_CORE_READ(cred, gid.val);
	record->gid[1] = BPF_CORE_READ(cred, egid.val);
	record->gid[2] = BPF_CORE_READ(cred, sgid.val);
	record->gid[3] = BPF_CORE_READ(cred, fsgid.val);
	bpf_core_read(&record->permitted, sizeof(__u64), &cred->cap_permitted);
	bpf_core_read(&record->effective, sizeof(__u64), &cred->cap_effective);
	bpf_core_read(&record->inheritable, sizeof(__u64), &cred->cap_inheritable);
	record->securebits = BPF_CORE_READ(cred, securebits);
	record->auid = (__u32)-1;
	if (bpf_core_field_exists(task->loginuid))
		record->auid = BPF_CORE_READ(task, loginuid.val);

	record->namespaces[0] = BPF_CORE_READ(namespaces, uts_ns, ns.inum);
	record->namespaces[1] = BPF_CORE_READ(namespaces, ipc_ns, ns.inum);
	record->namespaces[2] = BPF_CORE_READ(namespaces, mnt_ns, ns.inum);
	record->namespaces[3] = BPF_CORE_READ(upid.ns, ns.inum);
	record->namespaces[4] = BPF_CORE_READ(namespaces, pid_ns_for_children, ns.inum);
	record->namespaces[5] = BPF_CORE_READ(namespaces, net_ns, ns.inum);
	record->namespaces[6] = 0;
	record->namespaces[7] = 0;
	if (bpf_core_field_exists(namespaces->time_ns)) {
		record->namespaces[6] = BPF_CORE_READ(namespaces, time_ns, ns.inum);
		record->namespaces[7] = BPF_CORE_READ(namespaces, time_ns_for_children, ns.inum);
	}
	record->namespaces[8] = BPF_CORE_READ(namespaces, cgroup_ns, ns.inum);
	record->namespaces[9] = BPF_CORE_READ(cred, user_ns, ns.inum);
	record->ns_pid = upid.nr;
}

#endif
