// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Every process of the node, whoever is selected: parents are never missing. What is emitted is decided by the agent. */
#include "kernel.h"

#include <bpf/bpf_tracing.h>

#include "credentials.h"
#include "cwd.h"
#include "loss.h"
#include "process.h"
#include "selection.h"
#include "task.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

RECORD_TYPE(record);
RECORD_TYPE(process_record);
RECORD_TYPE(exec_record);
RECORD_TYPE(exit_record);

#define PF_KTHREAD 0x00200000
#define KTHREADD 2
#define SIGNAL_GROUP_EXIT 0x00000004
#define DATA_OFFSET_MASK 0xfff
#define DATA_MAX (DATA_OFFSET_MASK + 1 + ARGS_MAX)

_Static_assert(FILENAME_MAX + CWD_MAX + CWD_NAME_MAX <= DATA_OFFSET_MASK, "arguments begin inside the mask");

/* Less than ARGS_MAX where the ring could not take such a record. */
const volatile __u32 args_max = ARGS_MAX;

/* One entry a process, by thread group id. Whoever deletes it emits the exit: two last threads can both see none alive. */
struct process {
	__u64 ktime;
	__u64 parent_ktime;
	__u32 parent_pid;
	__u32 flags;            /* PROCESS_CLONE until the first exec; PROCESS_RAN_BEFORE until a record was written of it */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PROCESSES_MAX);
	__type(key, __u32);
	__type(value, struct process);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} process_ring SEC(".maps");

/* Shared by a version of these programs and the one that takes over from it. One writes at a time, so that nothing is
 * told or lost twice: the older is attached first and asked first, so that whatever it leaves the newer one takes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TURN_MAX);
	__type(key, __u32);
	__type(value, __u32);
} process_turn SEC(".maps");

/* The version that this is. */
const volatile __u32 generation = 0;

struct exec_scratch {
	struct exec_record record;
	char data[DATA_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec_scratch);
} scratch SEC(".maps");

static __always_inline __u32 turn(__u32 of)
{
	__u32 *value = bpf_map_lookup_elem(&process_turn, &of);

	return value ? *value : 0;
}

static __always_inline bool in_force(void)
{
	return turn(TURN_GENERATION) == generation;
}

/* From now on a process that ends may be one that the map never had. */
static __always_inline void overflowed(void)
{
	__u32 key = TURN_OVERFLOWED, yes = 1;

	bpf_map_update_elem(&process_turn, &key, &yes, BPF_ANY);
}

/* The version before this one has written a record of this image, or has counted that it could not. */
static __always_inline bool told_before(const struct process *known, __u64 ktime)
{
	return known->ktime == ktime && !(known->flags & PROCESS_RAN_BEFORE);
}

/* A thread of the kernel's own. The agent knows kthreadd alone of them: it is the parent of programs that the kernel starts. */
static __always_inline bool of_kernel(struct task_struct *task)
{
	return BPF_CORE_READ(task, flags) & PF_KTHREAD;
}

static __always_inline void parent_now(struct task_struct *task, struct process *process)
{
	struct task_struct *parent = BPF_CORE_READ(task, group_leader, real_parent);

	process->parent_ktime = task_exec_ktime(parent);
	process->parent_pid = BPF_CORE_READ(parent, tgid);
}

/* identity/fork: a process was made.
 * Kernels    5.10+ (tp_btf)                 Arguments  parent, child
 * Why here   the child has its pid and its cgroup, and has not run yet: its record comes before any of its own
 * Costs      one map insert and one 72 B record a process, nothing a thread or a kernel's thread; none when no layer asks for
 *            processes
 */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 tgid = BPF_CORE_READ(child, tgid);
	struct process *known, process = { .flags = PROCESS_CLONE };
	struct process_record *record;

	if (!in_force() || BPF_CORE_READ(child, pid) != (int)tgid || of_kernel(child) || !task_on_node(child))
		return 0;
	process.ktime = task_exec_ktime(child);
	known = bpf_map_lookup_elem(&processes, &tgid);
	if (known && told_before(known, process.ktime))
		return 0;
	parent_now(child, &process);
	/* Counted here alone: a process that finds no room later either is still one process. */
	if (bpf_map_update_elem(&processes, &tgid, &process, BPF_ANY)) {
		lost(LOSS_MAP_FULL);
		overflowed();
	}
	record = bpf_ringbuf_reserve(&process_ring, sizeof(*record), 0);
	if (!record) {
		lost(RECORD_FORK);
		return 0;
	}
	record_begin(&record->header, RECORD_FORK, sizeof(*record), child);
	record->parent_ktime = process.parent_ktime;
	record->parent_pid = process.parent_pid;
	record->ns_pid = task_ns_pid(child);
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

/* Replaces what the map has of the process, and says what it was; false if there is nothing left to tell. */
static __always_inline bool replace(struct task_struct *task, __u32 tgid, struct process *process, __u64 *replaced)
{
	struct process *known = bpf_map_lookup_elem(&processes, &tgid);

	process->ktime = task_exec_ktime(task);
	process->flags = 0;
	if (!known) {
		parent_now(task, process);
		*replaced = 0;
		if (bpf_map_update_elem(&processes, &tgid, process, BPF_ANY))
			overflowed();
		return true;
	}
	if (told_before(known, process->ktime))
		return false;
	process->parent_ktime = known->parent_ktime;
	process->parent_pid = known->parent_pid;
	process->flags = known->flags & PROCESS_CLONE;
	*replaced = known->ktime;
	known->ktime = process->ktime;
	known->flags = 0;
	return true;
}

/* identity/exec: a process image was replaced.
 * Kernels    5.10+ (tp_btf)                 Arguments  task, old_pid, bprm
 * Why here   behind the point of no return: credentials, memory and the exec count are the new ones
 * Costs      see bench: exec; one record of 224 B and its names; none when no layer asks for processes
 */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	__u32 tgid = BPF_CORE_READ(task, tgid), zero = 0, flags = PROCESS_EXECVE;
	unsigned long arg_start, arg_end, bytes;
	struct exec_scratch *out;
	struct process process;
	__u64 offset, size;
	long read;

	if (!in_force() || !task_on_node(task))
		return 0;
	out = bpf_map_lookup_elem(&scratch, &zero);
	if (!out)
		return 0;
	if (!replace(task, tgid, &process, &out->record.replaced_ktime))
		return 0;
	out->record.parent_ktime = process.parent_ktime;
	out->record.parent_pid = process.parent_pid;
	flags |= process.flags;
	read_credentials(&out->record, task);
	read_inode(&out->record, BPF_CORE_READ(bprm, file));

	read = bpf_probe_read_kernel_str(out->data, FILENAME_MAX, BPF_CORE_READ(bprm, filename));
	if (read < 0 || read == FILENAME_MAX)
		flags |= PROCESS_ERROR_FILENAME;
	offset = read < 0 ? 0 : read;
	offset &= DATA_OFFSET_MASK;
	out->record.filename_bytes = offset;

	size = offset;
	offset = read_cwd(task, out->data, offset, &flags);
	out->record.cwd_bytes = offset - size;

	arg_start = BPF_CORE_READ(task, mm, arg_start);
	arg_end = BPF_CORE_READ(task, mm, arg_end);
	bytes = arg_end - arg_start;
	if (bytes > args_max) {
		bytes = args_max;
		flags |= PROCESS_TRUNC_ARGS;
	}
	barrier_var(bytes);
	if (bytes > ARGS_MAX)
		bytes = ARGS_MAX;
	barrier_var(offset);
	offset &= DATA_OFFSET_MASK;
	if (bpf_probe_read_user(&out->data[offset], bytes, (void *)arg_start)) {
		flags |= PROCESS_ERROR_ARGS;
		bytes = 0;
	}
	out->record.args_bytes = bytes;
	out->record.flags = flags;

	size = sizeof(out->record) + offset + bytes;
	record_begin(&out->record.header, RECORD_EXEC, size, task);
	barrier_var(size);
	if (size > sizeof(*out))
		return 0;
	if (bpf_ringbuf_output(&process_ring, out, size, 0))
		lost(RECORD_EXEC);
	return 0;
}

/* identity/exit: the last thread of a process ended.
 * Kernels    5.10+ (tp_btf)                 Arguments  task (and group_dead since 6.18, which we do not need)
 * Why here   the thread has been taken off `live`, its credentials and cgroup are still there
 * Costs      one read a thread; one map delete and one 72 B record a process; none when no layer asks for processes
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	__u32 tgid = BPF_CORE_READ(task, tgid);
	struct process *known, process = {};
	struct exit_record *record;

	if (!in_force() || BPF_CORE_READ(signal, live.counter))
		return 0;
	known = bpf_map_lookup_elem(&processes, &tgid);
	if (known) {
		process = *known;
		if (bpf_map_delete_elem(&processes, &tgid))
			return 0;
	} else {
		/* Another last thread was first, or the map had no room for the process: the agent knows which. */
		if (!turn(TURN_OVERFLOWED) || of_kernel(task) || !task_on_node(task))
			return 0;
		process.ktime = task_exec_ktime(task);
		parent_now(task, &process);
	}
	record = bpf_ringbuf_reserve(&process_ring, sizeof(*record), 0);
	if (!record) {
		lost(RECORD_EXIT);
		return 0;
	}
	record_begin(&record->header, RECORD_EXIT, sizeof(*record), task);
	record->header.exec_ktime = process.ktime;
	record->parent_ktime = process.parent_ktime;
	record->parent_pid = process.parent_pid;
	/* A leader may be gone before its threads; what wait(2) says is the leader's code all the same. */
	record->code = BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT ? BPF_CORE_READ(signal, group_exit_code)
	                                                               : BPF_CORE_READ(task, group_leader, exit_code);
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/* identity/tasks: who ran before the programs above were attached.
 * Kernels    5.10+ (iter)                   Arguments  task
 * Why here   the only place that gives the start of a process to the nanosecond, so that its key is the one of its exec
 * Costs      once, when the first layer asks for processes; names are read from /proc by the agent
 */
SEC("iter/task")
int list_tasks(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;
	struct process process = {};
	/* Not in `scratch`: an exec may interrupt an iterator on its processor, and would write over it. */
	struct exec_record record = {};
	bool kernel, entered;
	__u32 tgid;

	if (!task)
		return 0;
	tgid = BPF_CORE_READ(task, tgid);
	if (BPF_CORE_READ(task, pid) != (int)tgid || !task_on_node(task))
		return 0;
	kernel = of_kernel(task);
	if (kernel && tgid != KTHREADD)
		return 0;
	if (!BPF_CORE_READ(task, signal, live.counter))
		return 0;
	process.ktime = task_exec_ktime(task);
	process.flags = PROCESS_RAN_BEFORE;
	parent_now(task, &process);
	entered = !bpf_map_update_elem(&processes, &tgid, &process, BPF_NOEXIST);
	if (!entered && !bpf_map_lookup_elem(&processes, &tgid))
		overflowed();
	/* It may have ended between the two: its exit found nothing then, and will not come again. An entry that was there
	 * before is its exit's to take out and to tell. */
	if (!BPF_CORE_READ(task, signal, live.counter)) {
		if (entered)
			bpf_map_delete_elem(&processes, &tgid);
		return 0;
	}
	record.parent_ktime = process.parent_ktime;
	record.parent_pid = process.parent_pid;
	record.flags = kernel ? PROCESS_RAN_BEFORE | PROCESS_KERNEL : PROCESS_RAN_BEFORE;
	read_credentials(&record, task);
	read_inode(&record, BPF_CORE_READ(task, mm, exe_file));
	record_begin(&record.header, RECORD_EXEC, sizeof(record), task);
	record.header.time = BPF_CORE_READ(task, group_leader, start_boottime);
	bpf_seq_write(seq, &record, sizeof(record));
	return 0;
}
