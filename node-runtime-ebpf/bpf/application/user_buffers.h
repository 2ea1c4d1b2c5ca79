/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where the bytes of a call on a socket are, by the registers of the system call that the thread is in. Not found: the bytes of
 * 32-bit callers, of io_uring, and of calls without a buffer (sendfile, splice). */
#ifndef TRILOBITE_USER_BUFFERS_H
#define TRILOBITE_USER_BUFFERS_H

#include "capture.h"

#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD 0x00200000

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long di, si, dx, cx, r10, r8, ax, sp, orig_ax;
};
#else
struct pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 orig_x0;
	__s32 syscallno;
};
#endif
#pragma clang attribute pop

#if defined(__TARGET_ARCH_x86)
enum socket_call {
	CALL_READ = 0, CALL_WRITE = 1, CALL_READV = 19, CALL_WRITEV = 20, CALL_SENDTO = 44, CALL_RECVFROM = 45, CALL_SENDMSG = 46,
	CALL_RECVMSG = 47, CALL_RECVMMSG = 299, CALL_SENDMMSG = 307, CALL_PREADV2 = 327, CALL_PWRITEV2 = 328,
};
#define TS_COMPAT 0x0002
#else
enum socket_call {
	CALL_READ = 63, CALL_WRITE = 64, CALL_READV = 65, CALL_WRITEV = 66, CALL_SENDTO = 206, CALL_RECVFROM = 207, CALL_SENDMSG = 211,
	CALL_RECVMSG = 212, CALL_RECVMMSG = 243, CALL_SENDMMSG = 269, CALL_PREADV2 = 286, CALL_PWRITEV2 = 287,
};
#endif

struct call_arguments {
	__u64 number, fd, buffer, length, address;
};

/* As user space has them, on 64-bit architectures. */
struct user_message {
	__u64 name;
	__u64 name_bytes;
	__u64 vector, vector_count;
	__u64 control, control_bytes;
	__u64 flags;
};

struct user_message_of_many {
	struct user_message message;
	__u64 bytes;
};

/* Which message of a sendmmsg or recvmmsg is next: the hook is called for each, with the registers of the one system call. */
struct messages_call {
	__u64 vector;
	__u64 count;
	__u64 next;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct messages_call);
} messages_calls SEC(".maps");

static __always_inline void read_arguments(struct call_arguments *to, struct task_struct *task)
{
	struct pt_regs *registers = (void *)bpf_task_pt_regs(task);

#if defined(__TARGET_ARCH_x86)
	to->number = registers->orig_ax;
	to->fd = (__u32)registers->di;
	to->buffer = registers->si;
	to->length = registers->dx;
	to->address = registers->r8;
#else
	to->number = (__u32)registers->syscallno;
	to->fd = (__u32)registers->orig_x0;
	to->buffer = registers->regs[1];
	to->length = registers->regs[2];
	to->address = registers->regs[4];
#endif
}

static __always_inline bool is_messages_call(__u64 number)
{
	return number == CALL_SENDMMSG || number == CALL_RECVMMSG;
}

static __always_inline bool is_64_bit_caller(struct task_struct *task)
{
	if (task->flags & (PF_KTHREAD | PF_IO_WORKER))
		return false;
#if defined(__TARGET_ARCH_x86)
	return !(task->thread_info.status & TS_COMPAT);
#else
	return true;
#endif
}

/* The system call is about this socket: what io_uring has queued also runs at the end of any other system call of the thread. */
static __always_inline bool is_about(struct task_struct *task, __u64 fd, struct sock *sk)
{
	struct fdtable *table = task->files->fdt;
	struct file *file = NULL;

	if (fd >= table->max_fds || bpf_probe_read_kernel(&file, sizeof(file), table->fd + fd))
		return false;
	return file && file == sk->sk_socket->file;
}

/* The arguments of the system call that the thread is in; false if they do not say where the bytes of this socket are. */
static __always_inline bool read_arguments_about(struct call_arguments *to, struct task_struct *task, struct sock *sk)
{
	if (!is_64_bit_caller(task))
		return false;
	read_arguments(to, task);
	return is_about(task, to->fd, sk);
}

/* The index of the message in its call. */
static __always_inline __u64 next_message(struct task_struct *task, const struct call_arguments *arguments)
{
	struct messages_call *call = bpf_task_storage_get(&messages_calls, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	__u64 index;

	if (!call)
		return arguments->length;
	if (call->vector != arguments->buffer || call->count != arguments->length || call->next >= call->count) {
		call->vector = arguments->buffer;
		call->count = arguments->length;
		call->next = 0;
	}
	index = call->next;
	call->next++;
	return index;
}

/* A message that failed ends its call; an empty one is a message all the same. */
static __always_inline void note_message_without_bytes(long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call_arguments arguments;
	struct messages_call *call;

	read_arguments(&arguments, task);
	if (!is_messages_call(arguments.number))
		return;
	call = bpf_task_storage_get(&messages_calls, task, NULL, 0);
	if (!call)
		return;
	if (result < 0)
		call->next = call->count;
	else
		next_message(task, &arguments);
}

/* The address that a datagram is sent to, where the socket has none of its own. */
static __always_inline void read_destination(struct data_scratch *s, __u64 from)
{
	struct socket_address address = {};

	if (!s->has_peers || !from || bpf_probe_read_user(&address, 8, (void *)from))
		return;
	/* An address of IPv4 may end behind these eight bytes. */
	if (address.family != AF_INET && bpf_probe_read_user(address.ipv6, 16, (void *)from + 8))
		return;
	set_peer(&s->record, &address);
}

static __always_inline void use_message(struct data_scratch *s, __u64 from, bool sent)
{
	struct user_message message;

	if (bpf_probe_read_user(&message, sizeof(message), (void *)from))
		return;
	s->vector = message.vector;
	s->vector_count = message.vector_count;
	if (sent)
		read_destination(s, message.name);
}

/* Says where the bytes of the call are, and whom a datagram is for. */
static __always_inline void find_user_buffers(struct data_scratch *s, struct sock *sk, bool sent)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call_arguments arguments;

	s->is_kernel_vector = false;
	if (!read_arguments_about(&arguments, task, sk))
		return;
	switch (arguments.number) {
	case CALL_READ:
	case CALL_WRITE:
	case CALL_SENDTO:
	case CALL_RECVFROM:
		s->segment = arguments.buffer;
		s->segment_bytes = arguments.length;
		if (arguments.number == CALL_SENDTO)
			read_destination(s, arguments.address);
		break;
	case CALL_READV:
	case CALL_WRITEV:
	case CALL_PREADV2:
	case CALL_PWRITEV2:
		s->vector = arguments.buffer;
		s->vector_count = arguments.length;
		break;
	case CALL_SENDMSG:
	case CALL_RECVMSG:
		use_message(s, arguments.buffer, sent);
		break;
	case CALL_SENDMMSG:
	case CALL_RECVMMSG: {
		__u64 index = next_message(task, &arguments);

		if (index < arguments.length)
			use_message(s, arguments.buffer + index * sizeof(struct user_message_of_many), sent);
		break;
	}
	}
}

#endif
