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

/* Pid of a process in its own pid namespace as policies know it: 0 in the initial one. */
static __always_inline __u32 task_namespace_pid(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);

	return level ? upid_at(pid, level).nr : 0;
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

static __always_inline void read_credentials(struct task_credentials *to, struct task_struct *task)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);
	struct nsproxy *namespaces = BPF_CORE_READ(task, nsproxy);
	struct user_namespace *user_ns = BPF_CORE_READ(cred, user_ns);
	struct upid upid = task_upid(task);

	to->uid[0] = BPF_CORE_READ(cred, uid.val);
	to->uid[1] = BPF_CORE_READ(cred, euid.val);
	to->uid[2] = BPF_CORE_READ(cred, suid.val);
	to->uid[3] = BPF_CORE_READ(cred, fsuid.val);
	to->gid[0] = BPF_CORE_READ(cred, gid.val);
	to->gid[1] = BPF_CORE_READ(cred, egid.val);
	to->gid[2] = BPF_CORE_READ(cred, sgid.val);
	to->gid[3] = BPF_CORE_READ(cred, fsgid.val);
	bpf_core_read(&to->permitted, sizeof(__u64), &cred->cap_permitted);
	bpf_core_read(&to->effective, sizeof(__u64), &cred->cap_effective);
	bpf_core_read(&to->inheritable, sizeof(__u64), &cred->cap_inheritable);
	to->securebits = BPF_CORE_READ(cred, securebits);
	to->auid = (__u32)-1;
	if (bpf_core_field_exists(task->loginuid))
		to->auid = BPF_CORE_READ(task, loginuid.val);

	to->namespaces[0] = BPF_CORE_READ(namespaces, uts_ns, ns.inum);
	to->namespaces[1] = BPF_CORE_READ(namespaces, ipc_ns, ns.inum);
	to->namespaces[2] = BPF_CORE_READ(namespaces, mnt_ns, ns.inum);
	to->namespaces[3] = BPF_CORE_READ(upid.ns, ns.inum);
	to->namespaces[4] = BPF_CORE_READ(namespaces, pid_ns_for_children, ns.inum);
	to->namespaces[5] = BPF_CORE_READ(namespaces, net_ns, ns.inum);
	to->namespaces[6] = 0;
	to->namespaces[7] = 0;
	if (bpf_core_field_exists(namespaces->time_ns)) {
		to->namespaces[6] = BPF_CORE_READ(namespaces, time_ns, ns.inum);
		to->namespaces[7] = BPF_CORE_READ(namespaces, time_ns_for_children, ns.inum);
	}
	to->namespaces[8] = BPF_CORE_READ(namespaces, cgroup_ns, ns.inum);
	to->namespaces[9] = BPF_CORE_READ(user_ns, ns.inum);
	to->ns_pid = upid.nr;
	to->user_ns_level = BPF_CORE_READ(user_ns, level);
	to->user_ns_owner = BPF_CORE_READ(user_ns, owner.val);
	to->user_ns_group = BPF_CORE_READ(user_ns, group.val);
}

/* Reasons in linux_binprm::unsafe for which an exec gains nothing. The third, a tracer, counts only if it may not do that itself. */
#define LSM_UNSAFE_SHARE 1
#define LSM_UNSAFE_NO_NEW_PRIVS 4

/* The file's capabilities have raised the permitted set. per_clear says that the kernel compared the sets before and after the
 * exec and found more, or that the file has a setuid or setgid bit; beyond the ambient set, only root and the file give
 * capabilities, and secureexec excludes the root of a user namespace. */
static __always_inline bool raised_by_file(struct linux_binprm *bprm, struct task_struct *task,
					   const struct task_credentials *now)
{
	const struct cred *cred;
	__u64 ambient = 0;

	if (!BPF_CORE_READ(bprm, per_clear) || !now->uid[0] || !now->uid[1])
		return false;
	if (BPF_CORE_READ(bprm, unsafe) & (LSM_UNSAFE_SHARE | LSM_UNSAFE_NO_NEW_PRIVS))
		return false;
	cred = BPF_CORE_READ(task, cred);
	bpf_core_read(&ambient, sizeof(ambient), &cred->cap_ambient);
	return (now->permitted & ~ambient) && BPF_CORE_READ_BITFIELD_PROBED(bprm, secureexec);
}

#endif
