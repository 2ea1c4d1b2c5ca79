// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Every process of the node, selected or not, so that parents are never missing. The agent decides which become events. */
#include "kernel.h"

#include <bpf/bpf_tracing.h>

#include "credentials.h"
#include "drops.h"
#include "follow.h"
#include "path.h"
#include "process.h"
#include "selection.h"
#include "task.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define PF_KTHREAD 0x00200000
#define KTHREADD 2
#define SIGNAL_GROUP_EXIT 0x00000004

/* Less than ARGS_HEAD_MAX where a record of that size would not fit the ring. */
const volatile __u32 args_head_max = ARGS_HEAD_MAX;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} process_ring SEC(".maps");

/* Shared by a version of these programs and its successor. Only the active version writes records and counts drops, so
 * that there are no duplicates: the older one is attached first and called first, and the newer handles what it leaves. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHARED_COUNT);
	__type(key, __u32);
	__type(value, __u32);
} shared_state SEC(".maps");

/* The version of these programs. */
const volatile __u32 generation = 0;

static __always_inline __u32 read_shared(enum shared_word word)
{
	__u32 key = word;
	__u32 *value = bpf_map_lookup_elem(&shared_state, &key);

	return value ? *value : 0;
}

static __always_inline __u32 active_generation(void)
{
	return read_shared(SHARED_ACTIVE_GENERATION);
}

static __always_inline bool is_active(void)
{
	return active_generation() == generation;
}

/* From now on a process that ends may never have been in the map. */
static __always_inline void mark_overflowed(void)
{
	__u32 key = SHARED_OVERFLOWED, yes = 1;

	bpf_map_update_elem(&shared_state, &key, &yes, BPF_ANY);
}

/* The previous version has written a record of this image, or has counted it as dropped. */
static __always_inline bool already_reported(const struct process_entry *known, __u64 ktime)
{
	return known->ktime == ktime && !(known->flags & PROCESS_RAN_BEFORE);
}

/* Of the kernel threads only kthreadd is recorded: it is the parent of programs that the kernel starts. */
static __always_inline bool is_kernel_thread(struct task_struct *task)
{
	return BPF_CORE_READ(task, flags) & PF_KTHREAD;
}

static __always_inline void set_parent(struct task_struct *task, struct process_entry *process)
{
	struct task_struct *parent = BPF_CORE_READ(task, group_leader, real_parent);

	process->parent_ktime = task_exec_ktime(parent);
	process->parent_pid = BPF_CORE_READ(parent, tgid);
}

static __always_inline void set_at_exec(struct state_at_exec *to, const struct task_credentials *now)
{
	to->effective = now->effective;
	to->inheritable = now->inheritable;
	to->permitted = now->permitted;
	__builtin_memcpy(to->namespaces, now->namespaces, sizeof(to->namespaces));
}

/* identity/fork: a process was made.
 * Kernels    5.10+ (tp_btf)                 Arguments  the thread that forked (the kernel calls it parent), child
 * Why here   the child has its pid, credentials and cgroup and has not run yet, so that its fork precedes all its other
 *            records; its image is that of the forker, which is not its parent after CLONE_PARENT
 * Costs      one map insert, three lookups, some 35 reads and one 200 B record a process, none for a thread or a kernel thread;
 *            none when no layer asks for processes
 */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *forker, struct task_struct *child)
{
	__u32 tgid = BPF_CORE_READ(child, tgid), forker_pid = BPF_CORE_READ(forker, tgid);
	struct process_entry *known, process = { .flags = PROCESS_CLONE };
	struct task_credentials credentials;
	struct fork_record *record;

	if (!is_active() || BPF_CORE_READ(child, pid) != (int)tgid || is_kernel_thread(child) || !task_on_node(child))
		return 0;
	process.ktime = task_exec_ktime(child);
	known = bpf_map_lookup_elem(&processes, &tgid);
	if (known && already_reported(known, process.ktime))
		return 0;
	set_parent(child, &process);
	read_credentials(&credentials, child);
	known = bpf_map_lookup_elem(&processes, &forker_pid);
	if (known && known->ktime == task_exec_ktime(forker))
		process.at_exec = known->at_exec;
	else
		set_at_exec(&process.at_exec, &credentials);
	inherit_followed(&process, child, known, forker);
	/* Counted only here: a process that finds no room at its exec either is still one process. */
	if (bpf_map_update_elem(&processes, &tgid, &process, BPF_ANY)) {
		count_drop(DROP_PROCESS_ENTRY);
		mark_overflowed();
	}
	record = bpf_ringbuf_reserve(&process_ring, sizeof(*record), 0);
	if (!record) {
		count_drop(DROP_FORK);
		return 0;
	}
	fill_header(&record->header, RECORD_FORK, sizeof(*record), bpf_ktime_get_boot_ns(), child);
	record->parent_ktime = process.parent_ktime;
	record->parent_pid = process.parent_pid;
	if (is_kernel_thread(forker)) {
		/* A worker that starts a program for the kernel: of the kernel threads only kthreadd, the parent, is known. */
		record->forker_ktime = process.parent_ktime;
		record->forker_pid = process.parent_pid;
	} else {
		record->forker_ktime = task_exec_ktime(forker);
		record->forker_pid = forker_pid;
	}
	record->credentials = credentials;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

static __always_inline void read_inode(struct exec_record *record, struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);

	record->inode = BPF_CORE_READ(inode, i_ino);
	record->links = BPF_CORE_READ(inode, i_nlink);
	record->mode = BPF_CORE_READ(inode, i_mode);
	record->owner = BPF_CORE_READ(inode, i_uid.val);
	record->group = BPF_CORE_READ(inode, i_gid.val);
}

/* Replaces the entry of the process and returns which image it was; false if this image was reported before. */
static __always_inline bool replace_entry(struct task_struct *task, __u32 tgid, struct process_entry *process,
					  const struct task_credentials *credentials, __u64 *replaced)
{
	struct process_entry *known = bpf_map_lookup_elem(&processes, &tgid), *parent;

	process->ktime = task_exec_ktime(task);
	process->flags = 0;
	if (!known) {
		set_parent(task, process);
		set_at_exec(&process->at_exec, credentials);
		parent = bpf_map_lookup_elem(&processes, &process->parent_pid);
		process->followed = parent ? followed_bits(parent) : 0;
		process->parent_followed = process->followed;
		process->assigned = 0;
		*replaced = 0;
		if (bpf_map_update_elem(&processes, &tgid, process, BPF_ANY))
			mark_overflowed();
		return true;
	}
	if (already_reported(known, process->ktime))
		return false;
	process->parent_ktime = known->parent_ktime;
	process->parent_pid = known->parent_pid;
	process->flags = known->flags & PROCESS_CLONE;
	*replaced = known->ktime;
	/* Hooks compare with it only where the key is that of the task. */
	known->ktime = 0;
	set_at_exec(&known->at_exec, credentials);
	barrier();
	known->ktime = process->ktime;
	known->flags = 0;
	return true;
}

/* Writes the arguments from byte `from` on as records of their own, straight from the memory of the process to the ring, but only
 * while half of the ring is free: long arguments cost no other process its records.
 * A global function, so that the verifier checks the loop by itself. */
__noinline int write_pieces(__u64 arg_start, __u64 from, __u64 end)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (end > ARGS_MAX)
		end = ARGS_MAX;
	for (int piece = 0; piece < ARGS_MAX / ARGS_PIECE_MAX; piece++) {
		__u64 offset = from + (__u64)piece * ARGS_PIECE_MAX, bytes;
		struct arguments_record *record;

		if (offset >= end ||
		    bpf_ringbuf_query(&process_ring, BPF_RB_AVAIL_DATA) > bpf_ringbuf_query(&process_ring, BPF_RB_RING_SIZE) / 2)
			break;
		record = bpf_ringbuf_reserve(&process_ring, sizeof(*record), 0);
		if (!record)
			break;
		bytes = end - offset;
		if (bytes > ARGS_PIECE_MAX)
			bytes = ARGS_PIECE_MAX;
		barrier_var(bytes);
		if (bytes > ARGS_PIECE_MAX || bpf_probe_read_user(record->data, bytes, (void *)(arg_start + offset))) {
			bpf_ringbuf_discard(record, 0);
			break;
		}
		record->offset = offset;
		record->bytes = bytes;
		fill_header(&record->header, RECORD_ARGUMENTS, sizeof(*record), bpf_ktime_get_boot_ns(), task);
		bpf_ringbuf_submit(record, 0);
	}
	return 0;
}

/* identity/exec: a process image was replaced.
 * Kernels    5.10+ (tp_btf)                 Arguments  task, old_pid, bprm
 * Why here   after the point of no return: credentials, memory and the exec count are those of the new image
 * Costs      see bench: exec; one record of 240 B and its names, and one for each 4 KiB of arguments behind the first; none when no
 *            layer asks for processes
 */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	__u32 tgid = BPF_CORE_READ(task, tgid), zero = 0, flags = PROCESS_EXECVE;
	unsigned long arg_start, arg_end, bytes;
	struct exec_scratch *out;
	struct process_entry process;
	__u64 offset, size;
	struct file *file;
	long read;

	if (!is_active() || !task_on_node(task))
		return 0;
	out = bpf_map_lookup_elem(&scratch, &zero);
	if (!out)
		return 0;
	read_credentials(&out->record.credentials, task);
	if (!replace_entry(task, tgid, &process, &out->record.credentials, &out->record.replaced_ktime))
		return 0;
	out->record.parent_ktime = process.parent_ktime;
	out->record.parent_pid = process.parent_pid;
	flags |= process.flags;
	if (raised_by_file(bprm, task, &out->record.credentials))
		flags |= PROCESS_FILE_CAPS;
	file = BPF_CORE_READ(bprm, file);
	read_inode(&out->record, file);

	read = bpf_probe_read_kernel_str(out->data, FILENAME_MAX, BPF_CORE_READ(bprm, filename));
	if (read < 0 || read == FILENAME_MAX)
		flags |= PROCESS_ERROR_FILENAME;
	offset = read < 0 ? 0 : read;
	offset &= DATA_OFFSET_MASK;
	out->record.filename_bytes = offset;

	size = offset;
	offset = read_cwd(task, offset, &flags);
	out->record.cwd_bytes = offset - size;

	size = offset;
	offset = read_file_path(task, file, offset, &flags);
	out->record.file_bytes = offset - size;
	if (!(flags & PROCESS_CUT_FILE))
		follow_exec(tgid, size, offset - size);

	arg_start = BPF_CORE_READ(task, mm, arg_start);
	arg_end = BPF_CORE_READ(task, mm, arg_end);
	bytes = arg_end - arg_start;
	out->record.args_total = bytes;
	if (bytes > args_head_max) {
		write_pieces(arg_start, args_head_max, bytes);
		bytes = args_head_max;
	}
	barrier_var(bytes);
	if (bytes > ARGS_HEAD_MAX)
		bytes = ARGS_HEAD_MAX;
	barrier_var(offset);
	offset &= DATA_OFFSET_MASK;
	if (bpf_probe_read_user(&out->data[offset], bytes, (void *)arg_start)) {
		flags |= PROCESS_ERROR_ARGS;
		bytes = 0;
	}
	out->record.args_bytes = bytes;
	out->record.flags = flags;

	size = sizeof(out->record) + offset + bytes;
	fill_header(&out->record.header, RECORD_EXEC, size, bpf_ktime_get_boot_ns(), task);
	barrier_var(size);
	if (size > sizeof(*out))
		return 0;
	if (bpf_ringbuf_output(&process_ring, out, size, 0))
		count_drop(DROP_EXEC);
	return 0;
}

/* identity/exit: the last thread of a process ended.
 * Kernels    5.10+ (tp_btf)                 Arguments  task (and group_dead since 6.18, which we do not need)
 * Why here   `live` no longer counts the thread, and its credentials and cgroup are still there
 * Costs      one read a thread; one map delete and one 72 B record a process; none when no layer asks for processes
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	__u32 tgid = BPF_CORE_READ(task, tgid);
	struct process_entry *known, process = {};
	struct exit_record *record;

	if (!is_active() || BPF_CORE_READ(signal, live.counter))
		return 0;
	known = bpf_map_lookup_elem(&processes, &tgid);
	if (known) {
		process = *known;
		if (bpf_map_delete_elem(&processes, &tgid))
			return 0;
	} else {
		/* Another last thread was first, or the map had no room for the process: the agent can tell them apart. */
		if (!read_shared(SHARED_OVERFLOWED) || is_kernel_thread(task) || !task_on_node(task))
			return 0;
		process.ktime = task_exec_ktime(task);
		set_parent(task, &process);
	}
	record = bpf_ringbuf_reserve(&process_ring, sizeof(*record), 0);
	if (!record) {
		count_drop(DROP_EXIT);
		return 0;
	}
	fill_header(&record->header, RECORD_EXIT, sizeof(*record), bpf_ktime_get_boot_ns(), task);
	record->header.exec_ktime = process.ktime;
	record->parent_ktime = process.parent_ktime;
	record->parent_pid = process.parent_pid;
	/* A leader may end before its threads; wait(2) returns the leader's code all the same. */
	record->code = BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT ? BPF_CORE_READ(signal, group_exit_code)
	                                                               : BPF_CORE_READ(task, group_leader, exit_code);
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/* identity/tasks: processes that ran before the programs above were attached.
 * Kernels    5.10+ (iter)                   Arguments  task
 * Why here   only the kernel has the start of a process to the nanosecond, so that its key equals the one of its exec
 * Costs      once, when the first layer asks for processes; names are read from /proc by the agent
 */
SEC("iter/task")
int list_tasks(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;
	struct process_entry process = {};
	/* Not in `scratch`: an exec may interrupt an iterator on its processor, and would overwrite it. */
	struct exec_record record = {};
	bool kernel, entered;
	__u32 tgid;

	if (!task)
		return 0;
	tgid = BPF_CORE_READ(task, tgid);
	if (BPF_CORE_READ(task, pid) != (int)tgid || !task_on_node(task))
		return 0;
	kernel = is_kernel_thread(task);
	if (kernel && tgid != KTHREADD)
		return 0;
	if (!BPF_CORE_READ(task, signal, live.counter))
		return 0;
	process.ktime = task_exec_ktime(task);
	process.flags = PROCESS_RAN_BEFORE;
	set_parent(task, &process);
	read_credentials(&record.credentials, task);
	set_at_exec(&process.at_exec, &record.credentials);
	entered = !bpf_map_update_elem(&processes, &tgid, &process, BPF_NOEXIST);
	if (!entered && !bpf_map_lookup_elem(&processes, &tgid))
		mark_overflowed();
	/* It may have ended before the update: its exit found no entry then, and will not come again. An entry that existed
	 * before is removed and reported by its exit. */
	if (!BPF_CORE_READ(task, signal, live.counter)) {
		if (entered)
			bpf_map_delete_elem(&processes, &tgid);
		return 0;
	}
	record.parent_ktime = process.parent_ktime;
	record.parent_pid = process.parent_pid;
	record.flags = kernel ? PROCESS_RAN_BEFORE | PROCESS_KERNEL : PROCESS_RAN_BEFORE;
	read_inode(&record, BPF_CORE_READ(task, mm, exe_file));
	fill_header(&record.header, RECORD_EXEC, sizeof(record), BPF_CORE_READ(task, group_leader, start_boottime), task);
	bpf_seq_write(seq, &record, sizeof(record));
	return 0;
}
