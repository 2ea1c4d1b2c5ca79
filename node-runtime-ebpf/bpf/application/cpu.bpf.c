// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Where the selected pods spend their CPU time: a stack for each tick of a processor's sampling clock.
 * Not counted: ticks at which the processor already ran a program of a perf event, or changed a map; the kernel skips them.
 * Not here: names. Addresses leave the kernel; the worker makes names of them. */
#include "kernel.h"

#include <linux/bpf_perf_event.h>

#include "credentials.h"
#include "record.h"
#include "sample.h"
#include "selection.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Bit of this profile in the map of cgroups; 0 means every process of the node. */
const volatile __u64 slot = 0;
/* The agent's pid namespace, by inode, where it is not the first: what its /proc shows has other numbers there. */
const volatile __u32 proc_namespace = 0;
/* As every record carries them. */
const volatile __u32 unit_source = 0;
const volatile __u32 unit_generation = 0;

/* A class of its own: a flood of samples takes nothing from identity or policies. Resized before the load. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SAMPLE_RING_MIN);
} samples SEC(".maps");

/* A sample is put together here, because what goes into the ring has the size that its stacks turned out to have. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sample);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SAMPLE_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *counter = bpf_map_lookup_elem(&counts, &what);

	if (counter)
		__sync_fetch_and_add(counter, 1);
}

/* Bytes of a stack, as an index that even 5.10's verifier believes. */
static __always_inline __u32 stack_bytes(long length)
{
	if (length < 0)
		return 0;
	if (length > STACK_BYTES)
		length = STACK_BYTES;
	return (__u32)length & STACK_MASK;
}

/* application/cpu: the sampling clock of a processor ticked.
 * Kernels    5.10+ (perf_event, software CPU clock)   Arguments  registers at the tick
 * Why here   only what runs is charged, only while a profile lasts, and no instruction of the pod is changed
 * Costs      a lookup for each level of the cgroup when it is another's tick (under 1 us); two walks along frame
 *            pointers and one record of 88 bytes + 8 a frame when it is the selected pods'; where the agent is in a pid
 *            namespace of its own, a few reads more
 */
SEC("perf_event")
int on_tick(struct bpf_perf_event_data *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *leader;
	enum wanted wanted = WANTED;
	__u64 id = bpf_get_current_pid_tgid();
	struct sample *sample;
	__u32 zero = 0, kernel, user, size;

	if (!(__u32)id || !task_on_node(task))          /* 0: the idle task */
		return 0;
	if (slot)
		wanted = cgroup_wanted(task, slot);
	if (wanted == NOT_WANTED)
		return 0;
	sample = bpf_map_lookup_elem(&scratch, &zero);
	if (!sample)
		return 0;

	leader = BPF_CORE_READ(task, group_leader);
	sample->record.layout = RECORD_LAYOUT;
	sample->record.kind = RECORD_SAMPLE;
	sample->record.time = bpf_ktime_get_boot_ns();
	sample->record.cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	sample->record.exec_ktime = BPF_CORE_READ(leader, start_boottime) + BPF_CORE_READ(leader, self_exec_id);
	sample->record.exec_pid = id >> 32;
	sample->record.tid = (__u32)id;
	sample->record.connection = 0;
	sample->record.source = unit_source;
	sample->record.generation = unit_generation;
	sample->proc_pid = proc_namespace ? task_pid_in(task, proc_namespace) : (__u32)(id >> 32);
	bpf_get_current_comm(sample->comm, sizeof(sample->comm));

	kernel = stack_bytes(bpf_get_stack(ctx, sample->stack, STACK_BYTES, 0));
	user = stack_bytes(bpf_get_stack(ctx, (void *)sample->stack + kernel, STACK_BYTES, BPF_F_USER_STACK));
	sample->kernel_bytes = kernel;
	sample->user_bytes = user;
	sample->flags = wanted == UNDECIDED ? SAMPLE_UNDECIDED : 0;
	if (kernel == STACK_BYTES || user == STACK_BYTES)
		sample->flags |= SAMPLE_TOO_DEEP;
	if (user && user <= STACK_SHORT_BYTES)
		sample->flags |= SAMPLE_SHORT;

	size = __builtin_offsetof(struct sample, stack) + kernel + user;
	sample->record.size = size;
	if (size > sizeof(*sample))                     /* never: for the verifier */
		return 0;
	count(SAMPLES_SEEN);
	if (bpf_ringbuf_output(&samples, sample, size, 0))
		count(SAMPLES_LOST);
	return 0;
}
