// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* CPU time of the selected pods: a stack for each tick of a processor's sampling clock.
 * Not counted: ticks at which the processor already ran a program of a perf event, or changed a map; the kernel skips them.
 * Addresses leave the kernel; the worker symbolises them. */
#include "kernel.h"

#include <linux/bpf_perf_event.h>

#include "credentials.h"
#include "drops.h"
#include "sample.h"
#include "scope.h"
#include "task.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The scope of this profile; SCOPES_MAX means every process of the node. */
const volatile __u32 scope = SCOPES_MAX;
/* The agent's pid namespace, by inode, where it is not the initial one: pids in the agent's /proc are of that namespace. */
const volatile __u32 proc_namespace = 0;
/* Copied to the record's header. */
const volatile __u32 unit_source = 0;
const volatile __u32 unit_generation = 0;

/* A ring of its own: a flood of samples leaves the rings of identity and policies alone. Resized before the load. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SAMPLE_RING_MIN);
} samples SEC(".maps");

/* A sample is assembled here, because its size in the ring depends on the depth of its stacks. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sample);
} scratch SEC(".maps");

/* Samples that were meant for the ring: those in it, and those in `drops`. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} samples_seen SEC(".maps");

static __always_inline void count_sample(void)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&samples_seen, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/* Bytes of a stack, masked so that even 5.10's verifier accepts them as an index. */
static __always_inline __u32 stack_bytes(long length)
{
	if (length < 0)
		return 0;
	if (length > STACK_BYTES)
		length = STACK_BYTES;
	return (__u32)length & STACK_MASK;
}

/* The name of the process: its first thread's, whose task stays until the last thread has ended. */
static __always_inline void read_process_name(__u8 *name, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	if (bpf_core_read(name, 16, &leader->comm))
		__builtin_memset(name, 0, 16);
}

static __always_inline __u64 wakeup(void)
{
	__u64 unread = bpf_ringbuf_query(&samples, BPF_RB_AVAIL_DATA);

	return 2 * unread >= bpf_ringbuf_query(&samples, BPF_RB_RING_SIZE) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* application/cpu: the sampling clock of a processor ticked.
 * Kernels    5.10+ (perf_event, software CPU clock)   Arguments  registers at the tick
 * Why here   only running threads cost something, only while a profile lasts, and no instruction of the pod is changed
 * Costs      a lookup for each level of the cgroup at a tick of another pod (under 1 us); two walks along frame
 *            pointers and one record of 104 bytes + 8 a frame at a tick of a selected pod; where the agent is in a pid
 *            namespace of its own, a few reads more
 * Wakes      no reader: a wake-up is an interrupt on the sampled processor, whose time the next tick would show as the pod's.
 *            The worker drains the ring by a timer, and is woken only when the ring is half full
 */
SEC("perf_event")
int on_tick(struct bpf_perf_event_data *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	enum selection selection = SELECTED;
	__u64 id = bpf_get_current_pid_tgid();
	struct sample *sample;
	__u32 zero = 0, kernel, user, size;

	if (!(__u32)id || !task_on_node(task))          /* 0: the idle task */
		return 0;
	if (scope < SCOPES_MAX)
		selection = task_selection(task, scope);
	if (selection == NOT_SELECTED)
		return 0;
	sample = bpf_map_lookup_elem(&scratch, &zero);
	if (!sample)
		return 0;

	kernel = stack_bytes(bpf_get_stack(ctx, sample->stack, STACK_BYTES, 0));
	user = stack_bytes(bpf_get_stack(ctx, (void *)sample->stack + kernel, STACK_BYTES, BPF_F_USER_STACK));
	size = sizeof(sample->header) + kernel + user;
	fill_header(&sample->header.record, RECORD_SAMPLE, size, bpf_ktime_get_boot_ns(), task);
	sample->header.record.source = unit_source;
	sample->header.record.generation = unit_generation;
	sample->header.proc_pid = proc_namespace ? task_pid_in(task, proc_namespace) : (__u32)(id >> 32);
	bpf_get_current_comm(sample->header.thread_name, sizeof(sample->header.thread_name));
	read_process_name(sample->header.process_name, task);
	sample->header.kernel_bytes = kernel;
	sample->header.user_bytes = user;
	sample->header.flags = selection == SELECTION_UNKNOWN ? SAMPLE_SELECTION_UNKNOWN : 0;
	if (kernel == STACK_BYTES || user == STACK_BYTES)
		sample->header.flags |= SAMPLE_TOO_DEEP;
	if (user && user <= STACK_SHORT_BYTES)
		sample->header.flags |= SAMPLE_SHORT;

	count_sample();
	/* Never: for the verifier of 5.10, which forgets the bounds of a number on the stack. */
	barrier_var(size);
	if (size > sizeof(*sample))
		return 0;
	if (bpf_ringbuf_output(&samples, sample, size, wakeup()))
		count_drop(DROP_SAMPLE);
	return 0;
}
