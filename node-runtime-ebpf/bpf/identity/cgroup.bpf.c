// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Cgroups come and go: the state of a new one is there before its first process is. */
#include "kernel.h"

#include <bpf/bpf_tracing.h>

#include "selection.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* identity/cgroup_mkdir: a cgroup was made.
 * Kernels    5.10+ (tp_btf)                 Arguments  cgroup, path
 * Why here   before any process can be in it, so that a nested cgroup of a selected pod is never undecided
 * Costs      one lookup and one update for each new cgroup; none when no layer selects by cgroup
 */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	int level = BPF_CORE_READ(cgroup, level);
	struct cgroup_state *above, state;
	__u64 id, parent;

	if (level < 1)
		return 0;
	parent = cgroup_ancestor(cgroup, level - 1);
	above = bpf_map_lookup_elem(&cgroups, &parent);
	if (!above || !(above->flags & CGROUP_INHERIT))
		return 0;
	state = *above;
	id = BPF_CORE_READ(cgroup, kn, id);
	bpf_map_update_elem(&cgroups, &id, &state, BPF_NOEXIST);
	return 0;
}
