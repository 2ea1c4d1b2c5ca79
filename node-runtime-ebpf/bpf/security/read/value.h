/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where a value is: from its source, by its steps. And the values that are numbers. */
#ifndef TRILOBITE_READ_VALUE_H
#define TRILOBITE_READ_VALUE_H

#include <bpf/bpf_core_read.h>

#include "../scratch.h"

#define TS_COMPAT 0x0002
#define DATA_LOC_OFFSET 0xffff
#define EFAULT 14
#define E2BIG 7

static __always_inline const volatile struct hook_value *value_of(__u32 value)
{
	return &layout.values[value & VALUE_MASK];
}

/* The upper half of the address space is the kernel's, on every supported architecture. */
static __always_inline bool is_kernel_address(__u64 address)
{
	return (__s64)address < 0;
}

static __always_inline long read_memory(void *to, __u32 bytes, __u64 from)
{
	if (is_kernel_address(from))
		return bpf_probe_read_kernel(to, bytes, (void *)from);
	return bpf_probe_read_user(to, bytes, (void *)from);
}

#if defined(__TARGET_ARCH_x86)
#define THREAD_BYTES 16384
#define REGISTERS_BYTES 168
#else
#define THREAD_BYTES 16384
#define REGISTERS_BYTES 336
#endif

/* Sets the number or address that a value begins with. */
static __always_inline void find_source(struct hook_scratch *s, const volatile struct hook_value *value)
{
	struct task_struct *task;
	__u64 registers;

	s->error = 0;
	s->address = 0;
	switch (value->source) {
	case SOURCE_ARG:
		s->address = s->args[value->index & 7];
		break;
	case SOURCE_RETURN:
		s->address = s->returned;
		break;
	case SOURCE_TASK:
		s->address = bpf_get_current_task();
		break;
	case SOURCE_REGISTERS:
		task = (void *)bpf_get_current_task();
		registers = (__u64)BPF_CORE_READ(task, stack) + THREAD_BYTES - REGISTERS_BYTES + value->offset;
		if (bpf_probe_read_kernel(&s->address, sizeof(s->address), (void *)registers))
			s->error = -EFAULT;
		break;
	case SOURCE_RECORD:
		s->address = s->trace_record + value->offset;
		break;
	}
}

/* Follows the steps of a value to its address, or to the number itself. */
__noinline int find_value(__u32 slot, __u32 index)
{
	const volatile struct hook_value *value = value_of(index);
	struct hook_scratch *s = scratch_at(slot);

	if (!s)
		return 0;
	find_source(s, value);
#pragma nounroll
	for (__u32 step = 0; step < HOOK_STEPS_MAX; step++) {
		__u64 address;

		if (step >= value->step_count || s->error)
			break;
		address = s->address + value->steps[step].offset;
		if (value->steps[step].dereference && read_memory(&address, sizeof(address), address))
			s->error = -EFAULT;
		s->address = address;
		barrier();
	}
	return 1;
}

static __always_inline __u64 extend(__u64 number, __u32 bytes, bool is_signed)
{
	__u32 unused = 64 - 8 * bytes;

	if (bytes >= 8)
		return number;
	if (is_signed)
		return (__s64)(number << (unused & 63)) >> (unused & 63);
	return number << (unused & 63) >> (unused & 63);
}

static __always_inline __u64 read_syscall(__u64 id)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (bpf_core_field_exists(task->thread_info.status) && (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT))
		return (id & 0xffffffff) | SYSCALL_COMPAT;
	return id & 0xffffffff;
}

/* Reads an integer, the number of a system call or a capability set. */
__noinline int read_number(__u32 slot, __u32 index)
{
	const volatile struct hook_value *value = value_of(index);
	struct hook_scratch *s = scratch_at(slot);
	__u64 number, from;
	__u32 load;
	long failed = 0;

	if (!s)
		return 0;
	load = value->load;
	from = s->address;
	number = from;
	if (load) {
		number = 0;
		if (load == 1)
			failed = read_memory(&number, 1, from);
		else if (load == 2)
			failed = read_memory(&number, 2, from);
		else if (load == 4)
			failed = read_memory(&number, 4, from);
		else
			failed = read_memory(&number, 8, from);
		if (failed)
			s->error = -EFAULT;
	}
	number = extend(number, value->bytes, value->flags & VALUE_SIGNED);
	if (value->kind == VALUE_SYSCALL)
		number = read_syscall(number);
	s->numbers[index & VALUE_MASK] = number;
	*(__u64 *)&s->data[s->start & DATA_START_MASK] = number;
	s->end = (s->start & DATA_START_MASK) + sizeof(number);
	return 1;
}

#endif
