// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Cgroups come and go: the state of a new one is there before its first process is. */
#include "kernel.h"

#include <bpf/bpf_tracing.h>

#include "loss.h"
#include "process.h"
#include "selection.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

RECORD_TYPE(cgroup_record);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 * 1024);
} cgroup_ring SEC(".maps");

/* Of the v2 hierarchy, and of this node; ids of other hierarchies are numbers of their own. */
static __always_inline bool cgroup_on_node(struct cgroup *cgroup, int level)
{
	if (BPF_CORE_READ(cgroup, root, hierarchy_id) != 0 || level < 1)
		return false;
	if (!node_cgroup)
		return true;
	return level > (int)node_cgroup_level && cgroup_ancestor(cgroup, node_cgroup_level) == node_cgroup;
}

static __always_inline void report(struct cgroup *cgroup, int level, __u64 id, __u64 parent, __u16 kind)
{
	struct cgroup_record *record = bpf_ringbuf_reserve(&cgroup_ring, sizeof(*record), 0);

	if (!record) {
		lost(kind);
		return;
	}
	__builtin_memset(&record->header, 0, sizeof(record->header));
	record->header.layout = RECORD_LAYOUT;
	record->header.kind = kind;
	record->header.size = sizeof(*record);
	record->header.time = bpf_ktime_get_boot_ns();
	record->header.cgroup = id;
	record->parent = parent;
	record->level = level;
	record->pad = 0;
	if (bpf_probe_read_kernel_str(record->name, sizeof(record->name), BPF_CORE_READ(cgroup, kn, name)) < 0)
		record->name[0] = 0;
	bpf_ringbuf_submit(record, 0);
}

/* identity/cgroup_mkdir: a cgroup was made.
 * Kernels    5.10+ (tp_btf)                 Arguments  cgroup, path
 * Why here   before any process can be in it, so that a nested cgroup of a selected pod is never undecided
 * Costs      a lookup, an update and a 200 B record for each new cgroup; none when no layer asks who is selected
 */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	int level = BPF_CORE_READ(cgroup, level);
	struct cgroup_state *above, state;
	__u64 id, parent;

	if (!cgroup_on_node(cgroup, level))
		return 0;
	id = BPF_CORE_READ(cgroup, kn, id);
	parent = cgroup_ancestor(cgroup, level - 1);
	above = bpf_map_lookup_elem(&cgroups, &parent);
	if (above && (above->flags & CGROUP_INHERIT)) {
		state = *above;
		if (bpf_map_update_elem(&cgroups, &id, &state, BPF_NOEXIST))
			lost(LOSS_CGROUPS_FULL);
	}
	report(cgroup, level, id, parent, RECORD_CGROUP_MKDIR);
	return 0;
}

/* identity/cgroup_rmdir: a cgroup was removed.
 * Kernels    5.10+ (tp_btf)                 Arguments  cgroup, path
 * Why here   no process can be in it any more; its state is taken out at once, so that the map holds living ones only
 * Costs      a delete and a 200 B record for each cgroup that goes
 */
SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(on_cgroup_rmdir, struct cgroup *cgroup, const char *path)
{
	int level = BPF_CORE_READ(cgroup, level);
	__u64 id;

	if (!cgroup_on_node(cgroup, level))
		return 0;
	id = BPF_CORE_READ(cgroup, kn, id);
	bpf_map_delete_elem(&cgroups, &id);
	report(cgroup, level, id, cgroup_ancestor(cgroup, level - 1), RECORD_CGROUP_RMDIR);
	return 0;
}
