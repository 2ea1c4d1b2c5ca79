// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Cgroups that are made and removed: a new one has its state before its first process. */
#include "kernel.h"

#include <bpf/bpf_tracing.h>

#include "cgroup.h"
#include "drops.h"
#include "selection.h"
#include "task.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 * 1024);
} cgroup_ring SEC(".maps");

/* In the v2 hierarchy, and on this node; other hierarchies number their cgroups independently. */
static __always_inline bool cgroup_on_node(struct cgroup *cgroup, int level)
{
	if (BPF_CORE_READ(cgroup, root, hierarchy_id) != 0 || level < 1)
		return false;
	if (!node_cgroup)
		return true;
	return level > (int)node_cgroup_level && cgroup_ancestor(cgroup, node_cgroup_level) == node_cgroup;
}

static __always_inline void emit_record(struct cgroup *cgroup, int level, __u64 id, __u64 parent, enum record_kind kind,
					enum drop_reason reason)
{
	struct cgroup_record *record = bpf_ringbuf_reserve(&cgroup_ring, sizeof(*record), 0);

	if (!record) {
		count_drop(reason);
		return;
	}
	fill_header(&record->header, kind, sizeof(*record), bpf_ktime_get_boot_ns(), NULL);
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
 * Why here   before any process can be in it, so that the selection of a nested cgroup is never unknown in a selected pod
 * Costs      a lookup, an update and a 200 B record for each new cgroup; none when no layer selects pods
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
			count_drop(DROP_CGROUP_ENTRY);
	}
	emit_record(cgroup, level, id, parent, RECORD_CGROUP_MKDIR, DROP_CGROUP_MKDIR);
	return 0;
}

/* identity/cgroup_rmdir: a cgroup was removed.
 * Kernels    5.10+ (tp_btf)                 Arguments  cgroup, path
 * Why here   no process can be in it any more; its state is removed at once, so that the map contains existing cgroups only
 * Costs      a delete and a 200 B record for each removed cgroup
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
	emit_record(cgroup, level, id, cgroup_ancestor(cgroup, level - 1), RECORD_CGROUP_RMDIR, DROP_CGROUP_RMDIR);
	return 0;
}
