// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* One tracepoint of a policy. Loaded once for each, with its own constants, so that the verifier removes unused code. */
#include "kernel.h"

#include <bpf/bpf_tracing.h>

#include "credentials.h"
#include "drops.h"
#include "selection.h"
#include "task.h"
#include "tracepoint.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define TS_COMPAT 0x0002
#define DATA_LOC_OFFSET 0xffff

const volatile struct hook_spec hook;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} policy_ring SEC(".maps");

struct tracepoint_out {
	struct tracepoint_record record;
	char strings[TRACEPOINT_ARGS_MAX][TRACEPOINT_STRING_MAX];
};

static __always_inline long read_string(char *to, const void *from)
{
	/* The upper half of the address space is the kernel's, on every supported architecture. */
	if ((long)from < 0)
		return bpf_probe_read_kernel_str(to, TRACEPOINT_STRING_MAX, from);
	return bpf_probe_read_user_str(to, TRACEPOINT_STRING_MAX, from);
}

static __always_inline __u64 read_syscall(__u64 id, struct task_struct *task)
{
	if (bpf_core_field_exists(task->thread_info.status) && (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT))
		return (id & 0xffffffff) | SYSCALL_COMPAT;
	return id & 0xffffffff;
}

/* Reads one argument; returns whether a string was written. */
static __always_inline bool read_arg(const void *args, __u32 kind, __u32 offset, __u32 bytes, __u64 *value, char *to,
				     struct task_struct *task)
{
	const void *pointer = NULL;
	__u32 location = 0;

	*value = 0;
	switch (kind) {
	case ARG_NUMBER:
	case ARG_SYSCALL:
		if (bytes == 1)
			bpf_probe_read_kernel(value, 1, args + offset);
		else if (bytes == 2)
			bpf_probe_read_kernel(value, 2, args + offset);
		else if (bytes == 4)
			bpf_probe_read_kernel(value, 4, args + offset);
		else
			bpf_probe_read_kernel(value, 8, args + offset);
		if (kind == ARG_SYSCALL)
			*value = read_syscall(*value, task);
		return false;
	case ARG_POINTER:
		bpf_probe_read_kernel(&pointer, sizeof(pointer), args + offset);
		*value = read_string(to, pointer);
		return true;
	case ARG_INLINE:
		if (bytes > TRACEPOINT_STRING_MAX)
			bytes = TRACEPOINT_STRING_MAX;
		*value = bpf_probe_read_kernel_str(to, bytes, args + offset);
		return true;
	case ARG_REL_LOC:
		bpf_probe_read_kernel(&location, sizeof(location), args + offset);
		*value = bpf_probe_read_kernel_str(to, TRACEPOINT_STRING_MAX,
						   args + offset + sizeof(location) + (location & DATA_LOC_OFFSET));
		return true;
	case ARG_DATA_LOC:
		bpf_probe_read_kernel(&location, sizeof(location), args + offset);
		*value = bpf_probe_read_kernel_str(to, TRACEPOINT_STRING_MAX, args + (location & DATA_LOC_OFFSET));
		return true;
	}
	return false;
}

/* Compares the pid in the agent's own pid namespace: in the initial one it may be another. */
static __always_inline bool is_agent(struct task_struct *task)
{
	struct upid found = task_upid(task);

	return (__u32)found.nr == hook.agent && BPF_CORE_READ(found.ns, ns.inum) == hook.agent_namespace;
}

static __always_inline int emit_record(const void *args)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const __u64 size = sizeof(struct tracepoint_record) + (__u64)hook.strings * TRACEPOINT_STRING_MAX;
	struct tracepoint_out *out;
	enum selection selection;
	__u32 string = 0;

	if (!task_on_node(task))
		return 0;
	selection = task_selection(task, hook.selector);
	if (selection == NOT_SELECTED || is_agent(task))
		return 0;
	out = bpf_ringbuf_reserve(&policy_ring, size, 0);
	if (!out) {
		count_drop(DROP_TRACEPOINT);
		return 0;
	}
	fill_header(&out->record.header, RECORD_TRACEPOINT, size, bpf_ktime_get_boot_ns(), task);
	out->record.header.source = hook.source;
	out->record.header.generation = hook.generation;
	out->record.hook = hook.hook;
	out->record.selection_unknown = selection == SELECTION_UNKNOWN;
#pragma unroll
	for (int i = 0; i < TRACEPOINT_ARGS_MAX; i++) {
		__u64 value;

		if (read_arg(args, hook.args[i].kind, hook.args[i].offset, hook.args[i].bytes, &value,
			     out->strings[string], task))
			string++;
		out->record.values[i] = value;
	}
	bpf_ringbuf_submit(out, 0);
	return 0;
}

/* security/tracepoint, classic: a policy's tracepoint was hit.
 * Kernels    5.10+ (perf_event_open)        Arguments  the trace record, by the offsets of its format file
 * Why here   Tetragon's policies number the fields of the trace record, which its format file documents
 * Costs      two lookups where the pod is not selected; one record of 104 B and 512 B for each string where it is
 */
SEC("tp")
int on_tracepoint(void *ctx)
{
	return emit_record(ctx);
}

/* security/tracepoint, raw: the same with the arguments of the kernel's tracepoint function.
 * Kernels    5.10+ (no perf event needed)   Arguments  as the tracepoint's prototype
 * Why here   works without SYS_ADMIN wherever perf_event_paranoid is above 2
 * Costs      as the classic one, without the trace record
 */
SEC("raw_tp")
int on_raw_tracepoint(struct bpf_raw_tracepoint_args *ctx)
{
	return emit_record(ctx);
}
