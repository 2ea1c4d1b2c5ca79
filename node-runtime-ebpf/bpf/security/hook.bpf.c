// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* One attach point of all policies. Built for rows of 1, 4 and 16 words (W). Each way to attach has a small program that puts the
 * arguments where the common part finds them; one of them is loaded. */
#include "kernel.h"

#include <asm/ptrace.h>
#include <bpf/bpf_tracing.h>

#include "act.h"
#include "decide.h"
#include "emit.h"
#include "kept.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The class of the current task, if this hook has selectors for it; below 0 otherwise. */
__noinline int active_class(void)
{
	int class_id = current_class();
	struct class_row *row;

	if (class_id < 0)
		return -1;
	row = bpf_map_lookup_elem(&class_rows, &class_id);
	return row && row->words ? class_id : -1;
}

/* The same for programs that may follow the kernel's pointers: no helper is called on the way to the cgroup, which is most of
 * what a call costs for which no selector is. */
static __always_inline int active_class_by_type(void)
{
	struct cgroup_state *state;
	struct task_struct *task;
	struct class_row *row;
	__u32 class_id;
	__u64 id;

	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
		return active_class();
	task = bpf_get_current_task_btf();
	id = task->cgroups->dfl_cgrp->kn->id;
	state = bpf_map_lookup_elem(&cgroups, &id);
	if (!state)
		return active_class();
	class_id = state->class_id;
	row = bpf_map_lookup_elem(&class_rows, &class_id);
	return row && row->words ? (int)class_id : -1;
}

static __always_inline int begin_by_type(void)
{
	int class_id = active_class_by_type();

	return class_id < 0 ? -1 : acquire_scratch(class_id);
}

static __always_inline int begin(void)
{
	int class_id = active_class();

	return class_id < 0 ? -1 : acquire_scratch(class_id);
}

static __always_inline void read_stacks(void *ctx, __u32 slot)
{
	struct hook_scratch *s = scratch_at(slot);
	long bytes;

	if (!s)
		return;
	if (s->asked_stacks & ACTION_KERNEL_STACK) {
		bytes = bpf_get_stack(ctx, s->kernel_stack, sizeof(s->kernel_stack), 0);
		s->kernel_stack_bytes = bytes > 0 ? bytes : 0;
	}
	if (s->asked_stacks & ACTION_USER_STACK) {
		bytes = bpf_get_stack(ctx, s->user_stack, sizeof(s->user_stack), BPF_F_USER_STACK);
		s->user_stack_bytes = bytes > 0 ? bytes : 0;
	}
}

/* Reads the sockets with which policies note processes. It is done before the winners act: calls would nest too deeply there. */
__noinline int read_sockets(__u32 slot)
{
	if (!has_feature(FEATURE_TRACKED_SOCKETS))
		return 0;
#pragma nounroll
	for (__u32 value = 0; value < HOOK_VALUES_MAX; value++) {
		if (value >= layout.value_count)
			break;
		if (layout.values[value & VALUE_MASK].kind == VALUE_SOCK || layout.values[value & VALUE_MASK].kind == VALUE_SKB)
			read_value(slot, value);
	}
	return 1;
}

/* Lets the winners act and records them. */
static __always_inline void act_and_report(void *ctx, __u32 slot)
{
	if (has_feature(FEATURE_TRACKED_SOCKETS))
		read_sockets(slot);
	if (!act(slot))
		return;
	if (has_feature(FEATURE_STACKS))
		read_stacks(ctx, slot);
	report(slot);
}

/* Decides, acts and records, when the arguments are in the scratch. */
static __always_inline int finish(void *ctx, __u32 slot)
{
	if (match_call(slot))
		act_and_report(ctx, slot);
	release_scratch(slot);
	return 0;
}

/* The arguments of a system call, from the registers to which the function's only argument points. */
__noinline int read_syscall_args(__u32 slot)
{
	struct hook_scratch *s;
	struct pt_regs registers;

	if (!has_feature(FEATURE_SYSCALL))
		return 0;
	s = scratch_at(slot);
	if (!s || bpf_probe_read_kernel(&registers, sizeof(registers), (void *)s->args[0]))
		return 0;
#if defined(__TARGET_ARCH_x86)
	if (has_feature(FEATURE_SYSCALL_32)) {
		s->args[0] = (__u32)registers.rbx;
		s->args[1] = (__u32)registers.rcx;
		s->args[2] = (__u32)registers.rdx;
		s->args[3] = (__u32)registers.rsi;
		s->args[4] = (__u32)registers.rdi;
		s->args[5] = (__u32)registers.rbp;
		return 1;
	}
	s->args[0] = registers.rdi;
	s->args[1] = registers.rsi;
	s->args[2] = registers.rdx;
	s->args[3] = registers.r10;
	s->args[4] = registers.r8;
	s->args[5] = registers.r9;
#else
	for (int i = 0; i < HOOK_ARGS_MAX; i++)
		s->args[i] = registers.regs[i];
#endif
	return 1;
}

/* Copies arguments that the verifier lets a program read only where they exist. */
#define COPY_ARGS(TO, CTX)                                                      \
	do {                                                                    \
		if (layout.arg_count > 0)                                       \
			(TO)[0] = (CTX)[0];                                     \
		if (layout.arg_count > 1)                                       \
			(TO)[1] = (CTX)[1];                                     \
		if (layout.arg_count > 2)                                       \
			(TO)[2] = (CTX)[2];                                     \
		if (layout.arg_count > 3)                                       \
			(TO)[3] = (CTX)[3];                                     \
		if (layout.arg_count > 4)                                       \
			(TO)[4] = (CTX)[4];                                     \
		if (layout.arg_count > 5)                                       \
			(TO)[5] = (CTX)[5];                                     \
	} while (0)

/* The return value follows the arguments; each number of them has its own constant index. */
#define COPY_RETURN(TO, CTX, COUNT)                                             \
	do {                                                                    \
		if (layout.arg_count == (COUNT))                                \
			(TO) = (CTX)[COUNT];                                    \
		barrier();                                                      \
	} while (0)

/* Begins a call of which the context is the arguments: the slot of its scratch, or less than 0. */
static __always_inline int begin_with_args(__u64 *ctx)
{
	struct hook_scratch *s;
	int slot = begin_by_type();

	if (slot < 0)
		return slot;
	s = scratch_at(slot);
	if (s)
		COPY_ARGS(s->args, ctx);
	return slot;
}

/* security/hook, raw tracepoint with types: a tracepoint of a policy was hit.
 * Kernels    5.10+                          Arguments  as the tracepoint's prototype
 * Why here   no trace record is made, and no perf event is needed
 * Costs      two lookups where no selector is for the pod (bench: hooks)
 */
SEC("tp_btf")
int on_tracing(__u64 *ctx)
{
	int slot = begin_with_args(ctx);

	if (slot < 0)
		return 0;
	return finish(ctx, slot);
}

/* security/hook, raw tracepoint: the same where BTF does not have the tracepoint, as of some modules. */
SEC("raw_tp")
int on_raw_tracepoint(struct bpf_raw_tracepoint_args *ctx)
{
	struct hook_scratch *s;
	int slot = begin();

	if (slot < 0)
		return 0;
	s = scratch_at(slot);
	if (s)
		COPY_ARGS(s->args, ctx->args);
	return finish(ctx, slot);
}

/* security/hook, classic tracepoint: the same with the trace record.
 * Kernels    5.10+ (perf_event_open)        Arguments  the trace record, by the offsets of its format file
 * Why here   Tetragon's policies number the fields of the trace record, which its format file documents
 */
SEC("tp")
int on_tracepoint(void *ctx)
{
	struct hook_scratch *s;
	int slot = begin();

	if (slot < 0)
		return 0;
	s = scratch_at(slot);
	if (s)
		s->trace_record = (__u64)ctx;
	return finish(ctx, slot);
}

/* security/hook, function entry by a trampoline.
 * Kernels    5.10+ where the function is in BTF   Arguments  at most 6, in registers
 * Why here   costs less than half of a kprobe, and needs no perf event
 */
SEC("fentry")
int on_function_entry(__u64 *ctx)
{
	int slot = begin_with_args(ctx);

	if (slot < 0)
		return 0;
	if (has_feature(FEATURE_SYSCALL))
		read_syscall_args(slot);
	return finish(ctx, slot);
}

static __always_inline void copy_registers(__u64 *args, struct pt_regs *ctx)
{
	args[0] = PT_REGS_PARM1(ctx);
	args[1] = PT_REGS_PARM2(ctx);
	args[2] = PT_REGS_PARM3(ctx);
	args[3] = PT_REGS_PARM4(ctx);
	args[4] = PT_REGS_PARM5(ctx);
	args[5] = PT_REGS_PARM6(ctx);
}

/* Number of the function in a list, from 1; 0 where there is no list. */
static __always_inline __u32 attach_cookie(void *ctx)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_attach_cookie))
		return bpf_get_attach_cookie(ctx);
	return 0;
}

/* Begins a call by its registers: the slot of its scratch, or less than 0. */
static __always_inline int begin_with_registers(struct pt_regs *ctx)
{
	struct hook_scratch *s;
	int slot = begin();

	if (slot < 0)
		return slot;
	s = scratch_at(slot);
	if (s) {
		copy_registers(s->args, ctx);
		s->function = attach_cookie(ctx);
	}
	return slot;
}

static __always_inline int probed(struct pt_regs *ctx)
{
	int slot = begin_with_registers(ctx);

	if (slot < 0)
		return 0;
	if (has_feature(FEATURE_SYSCALL))
		read_syscall_args(slot);
	return finish(ctx, slot);
}

/* security/hook, function entry by a kprobe.
 * Kernels    5.10+ (perf_event_open)        Arguments  at most 6, in registers
 * Why here   functions that BTF lacks, or that have more arguments
 */
SEC("kprobe")
int on_kprobe(struct pt_regs *ctx)
{
	return probed(ctx);
}

/* security/hook, the entries of many functions by one link.
 * Kernels    5.18+ with FPROBE              Arguments  as on_kprobe
 * Why here   a list of 300 functions is attached at once, and needs no perf event
 */
SEC("kprobe.multi")
int on_kprobe_multi(struct pt_regs *ctx)
{
	return probed(ctx);
}

/* Decides about the entry of a call whose record is made at its return, when the arguments are in the scratch. */
static __always_inline int finish_entry(__u32 slot, __u64 call)
{
	if (has_feature(FEATURE_SYSCALL))
		read_syscall_args(slot);
	if (match_entry(slot))
		keep_call(slot, call);
	else
		forget_call(slot, call);
	release_scratch(slot);
	return 0;
}

static __always_inline int finish_return(void *ctx, __u64 call, __u32 function, __u64 returned, bool by_type)
{
	struct call_key key = { .call = call, .function = function };
	struct hook_scratch *s;
	int slot;

	if (!bpf_map_lookup_elem(&kept_calls, &key))
		return 0;
	slot = by_type ? begin_by_type() : begin();
	if (slot >= 0) {
		restore_call(slot, call, function);
		s = scratch_at(slot);
		if (s)
			s->returned = returned;
	}
	bpf_map_delete_elem(&kept_calls, &key);
	if (slot < 0)
		return 0;
	if (match_return(slot))
		act_and_report(ctx, slot);
	release_scratch(slot);
	return 0;
}

/* The frame of a trampoline, which entry and return have in common: no two calls that are under way have the same. The difference of
 * two pointers is a number to the verifier. */
static __always_inline __u64 frame_of(void *ctx)
{
	__u32 zero = 0;
	void *fixed = bpf_map_lookup_elem(&dimension_tables, &zero);

	return fixed ? (__u64)ctx - (__u64)fixed : 0;
}

/* security/hook, function entry by a trampoline, for a record that is made at the return.
 * Kernels    5.10+ where the function is in BTF   Arguments  at most 6, in registers
 * Why here   what an argument points to is what the caller passed; at the return it may be gone
 * Costs      as on_function_entry; a kept call of 8 KiB for a call that a selector matches so far
 */
SEC("fentry")
int on_kept_function_entry(__u64 *ctx)
{
	int slot = begin_with_args(ctx);

	if (slot < 0)
		return 0;
	return finish_entry(slot, frame_of(ctx));
}

/* security/hook, function return by a trampoline: the kept call and the return value. */
SEC("fexit")
int on_function_return(__u64 *ctx)
{
	__u64 returned = 0;

	COPY_RETURN(returned, ctx, 0);
	COPY_RETURN(returned, ctx, 1);
	COPY_RETURN(returned, ctx, 2);
	COPY_RETURN(returned, ctx, 3);
	COPY_RETURN(returned, ctx, 4);
	COPY_RETURN(returned, ctx, 5);
	COPY_RETURN(returned, ctx, 6);
	return finish_return(ctx, frame_of(ctx), 0, returned, true);
}

static __always_inline int keep_probed(struct pt_regs *ctx)
{
	int slot = begin_with_registers(ctx);

	if (slot < 0)
		return 0;
	return finish_entry(slot, bpf_get_current_pid_tgid());
}

static __always_inline int returned_probed(struct pt_regs *ctx)
{
	return finish_return(ctx, bpf_get_current_pid_tgid(), attach_cookie(ctx), PT_REGS_RC(ctx), false);
}

/* security/hook, function entry by a kprobe, for a record that is made at the return.
 * Kernels    5.10+ (perf_event_open)        Arguments  at most 6, in registers
 * Why here   functions that a trampoline cannot be attached to
 * Costs      as on_kept_function_entry
 */
SEC("kprobe")
int on_kept_kprobe(struct pt_regs *ctx)
{
	return keep_probed(ctx);
}

/* security/hook, function return by a kretprobe: the kept call and the return value. */
SEC("kretprobe")
int on_kretprobe(struct pt_regs *ctx)
{
	return returned_probed(ctx);
}

/* security/hook, the same two for many functions by one link each.
 * Kernels    5.18+ with FPROBE              Arguments  as on_kprobe
 * Why here   as on_kprobe_multi
 */
SEC("kprobe.multi")
int on_kept_kprobe_multi(struct pt_regs *ctx)
{
	return keep_probed(ctx);
}

SEC("kretprobe.multi")
int on_kretprobe_multi(struct pt_regs *ctx)
{
	return returned_probed(ctx);
}
