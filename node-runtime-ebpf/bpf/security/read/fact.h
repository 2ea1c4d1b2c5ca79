/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Facts about the current task, read live. */
#ifndef TRILOBITE_READ_FACT_H
#define TRILOBITE_READ_FACT_H

#include "credentials.h"

#include "value.h"

static __always_inline __u64 capability_set(const struct cred *cred, __u32 kind)
{
	__u64 set = 0;

	if (kind == 0)
		bpf_core_read(&set, sizeof(set), &cred->cap_effective);
	else if (kind == 1)
		bpf_core_read(&set, sizeof(set), &cred->cap_inheritable);
	else
		bpf_core_read(&set, sizeof(set), &cred->cap_permitted);
	return set;
}

/* Inode of one of the task's namespaces, in the order of task_credentials.namespaces. */
__noinline int read_namespace(__u32 kind)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct nsproxy *namespaces;

	if (!has_feature(FEATURE_FACTS))
		return 0;
	namespaces = BPF_CORE_READ(task, nsproxy);
	switch (kind) {
	case 0:
		return BPF_CORE_READ(namespaces, uts_ns, ns.inum);
	case 1:
		return BPF_CORE_READ(namespaces, ipc_ns, ns.inum);
	case 2:
		return BPF_CORE_READ(namespaces, mnt_ns, ns.inum);
	case 3:
		return BPF_CORE_READ(task_upid(task).ns, ns.inum);
	case 4:
		return BPF_CORE_READ(namespaces, pid_ns_for_children, ns.inum);
	case 5:
		return BPF_CORE_READ(namespaces, net_ns, ns.inum);
	case 6:
		return bpf_core_field_exists(namespaces->time_ns) ? BPF_CORE_READ(namespaces, time_ns, ns.inum) : 0;
	case 7:
		return bpf_core_field_exists(namespaces->time_ns) ? BPF_CORE_READ(namespaces, time_ns_for_children, ns.inum) : 0;
	case 8:
		return BPF_CORE_READ(namespaces, cgroup_ns, ns.inum);
	case 9:
		return BPF_CORE_READ(task, cred, user_ns, ns.inum);
	}
	return 0;
}

__noinline int read_credential(__u32 kind)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const struct cred *cred;

	if (!has_feature(FEATURE_FACTS))
		return 0;
	cred = BPF_CORE_READ(task, cred);
	switch (kind) {
	case 0:
		return BPF_CORE_READ(cred, uid.val);
	case 1:
		return BPF_CORE_READ(cred, gid.val);
	case 2:
		return BPF_CORE_READ(cred, suid.val);
	case 3:
		return BPF_CORE_READ(cred, sgid.val);
	case 4:
		return BPF_CORE_READ(cred, euid.val);
	case 5:
		return BPF_CORE_READ(cred, egid.val);
	case 6:
		return BPF_CORE_READ(cred, fsuid.val);
	case 7:
		return BPF_CORE_READ(cred, fsgid.val);
	case 8:
		return bpf_core_field_exists(task->loginuid) ? BPF_CORE_READ(task, loginuid.val) : -1;
	case 9:
		return BPF_CORE_READ(cred, securebits);
	}
	return 0;
}

/* Sets the number of a fact. */
__noinline int read_fact(__u32 slot, __u32 facet)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct hook_scratch *s;
	const struct cred *cred;

	if (!has_feature(FEATURE_FACTS))
		return 0;
	s = scratch_at(slot);
	if (!s)
		return 0;
	s->error = 0;
	if (facet >= FACET_CREDENTIAL) {
		s->number = (__u32)read_credential(facet - FACET_CREDENTIAL);
	} else if (facet >= FACET_CAPABILITIES && facet < FACET_CAPABILITIES_CHANGED) {
		cred = BPF_CORE_READ(task, cred);
		s->number = capability_set(cred, facet & 3);
	} else if (facet >= FACET_NAMESPACE && facet < FACET_NAMESPACES_CHANGED) {
		s->number = (__u32)read_namespace(facet - FACET_NAMESPACE);
	} else if (facet == FACET_PID) {
		s->number = bpf_get_current_pid_tgid() >> 32;
	} else if (facet == FACET_TID) {
		s->number = (__u32)bpf_get_current_pid_tgid();
	} else if (facet == FACET_NAMESPACE_PID) {
		s->number = task_namespace_pid(task);
	} else {
		/* What the agent does not ask for. */
		s->error = -EFAULT;
	}
	return 1;
}

#endif
