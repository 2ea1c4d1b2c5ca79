/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Conditions that processes meet and that their descendants inherit (followForks, followChildren): 64 bits for the whole node.
 * A fork passes them on, an exec adds those of the new file, and the agent assigns them to processes that ran before. */
#ifndef TRILOBITE_FOLLOW_H
#define TRILOBITE_FOLLOW_H

#include "credentials.h"
#include "path.h"
#include "process_map.h"

/* One element. Each map here is shared by a version of the process programs and its successor. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct follow_state);
} follow_state SEC(".maps");

/* The bits of each file, process id and process that has some. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FOLLOWED_MAX);
	__type(key, struct follow_path);
	__type(value, __u64);
} followed_paths SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FOLLOWED_MAX);
	__type(key, struct follow_pid);
	__type(value, __u64);
} followed_pids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FOLLOW_ASSIGNMENTS);
	__type(key, struct follow_process);
	__type(value, struct follow_bits);
} follow_assignments SEC(".maps");

/* A key is too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct follow_path);
} follow_path_scratch SEC(".maps");

static __always_inline struct follow_state *read_follow_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&follow_state, &zero);
}

static __always_inline __u64 bits_of_pid(__u32 pid, __u32 in_own_namespace)
{
	struct follow_pid key = { .pid = pid, .in_own_namespace = in_own_namespace };
	__u64 *bits = bpf_map_lookup_elem(&followed_pids, &key);

	return bits ? *bits : 0;
}

/* The bits of a new process: those of the process that forked it, which is not its parent after CLONE_PARENT, and those of its ids.
 * `from` is the entry of the forker, if it has one. */
static __always_inline void inherit_followed(struct process_entry *child, struct task_struct *task,
					     const struct process_entry *from, struct task_struct *forker)
{
	struct follow_state *state = read_follow_state();
	struct process_entry *parent;
	__u32 namespace_pid;
	__u64 bits = 0;

	if (!state || !state->active)
		return;
	namespace_pid = task_namespace_pid(task);
	if (from)
		bits = followed_bits(from);
	if (namespace_pid && !task_namespace_pid(forker))
		bits &= ~state->namespaced;
	bits |= bits_of_pid(BPF_CORE_READ(task, tgid), 0) | bits_of_pid(namespace_pid, 1);
	child->followed = bits & state->active;
	parent = bpf_map_lookup_elem(&processes, &child->parent_pid);
	if (parent)
		child->parent_followed = followed_bits(parent) & state->active;
}

/* Adds the bits of the file that a process executes: its names, leaf first, are in the scratch, `bytes` behind `from`. */
__noinline int follow_exec(__u32 tgid, __u64 from, __u64 bytes)
{
	struct follow_state *state = read_follow_state();
	struct process_entry *process;
	struct exec_scratch *out;
	struct follow_path *key;
	__u32 zero = 0;
	__u64 *added;

	if (!state || !state->active)
		return 0;
	out = bpf_map_lookup_elem(&scratch, &zero);
	key = bpf_map_lookup_elem(&follow_path_scratch, &zero);
	barrier_var(bytes);
	if (!out || !key || !bytes || bytes > FOLLOW_PATH_BYTES)
		return 0;
	__builtin_memset(key, 0, sizeof(*key));
	if (bpf_probe_read_kernel(key->names, bytes, &out->data[from & DATA_OFFSET_MASK]))
		return 0;
	added = bpf_map_lookup_elem(&followed_paths, key);
	process = bpf_map_lookup_elem(&processes, &tgid);
	if (added && process)
		process->followed |= *added & state->active;
	return 1;
}

/* identity/follow: bits of processes that ran before their condition was active.
 * Kernels    5.10+ (iter)                   Arguments  task
 * Why here   the agent knows what each process and its ancestors executed; only a program can change an entry beside those that
 *            fork and exec. It alone writes `assigned`; `followed` it only frees of bits whose condition is gone
 * Costs      once, when a policy brings such a condition; writes a byte for each process that it changed
 */
SEC("iter/task")
int assign_followed(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct follow_state *state = read_follow_state();
	struct task_struct *task = ctx->task;
	struct follow_process key = {};
	struct process_entry *process;
	struct follow_bits *bits;
	bool has_changed = false;
	__u8 changed = 1;

	if (!task || !state)
		return 0;
	key.pid = BPF_CORE_READ(task, tgid);
	if (BPF_CORE_READ(task, pid) != (int)key.pid)
		return 0;
	process = bpf_map_lookup_elem(&processes, &key.pid);
	if (!process)
		return 0;
	if ((followed_bits(process) | process->parent_followed) & state->stale) {
		process->followed &= ~state->stale;
		process->assigned &= ~state->stale;
		process->parent_followed &= ~state->stale;
		has_changed = true;
	}
	key.ktime = process->ktime;
	bits = bpf_map_lookup_elem(&follow_assignments, &key);
	if (bits && ((bits->own & ~followed_bits(process)) | (bits->parent & ~process->parent_followed))) {
		process->assigned |= bits->own;
		process->parent_followed |= bits->parent;
		has_changed = true;
	}
	if (has_changed)
		bpf_seq_write(seq, &changed, sizeof(changed));
	return 0;
}

#endif
