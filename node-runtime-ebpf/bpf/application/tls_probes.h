/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Plain text that selected processes read and write by OpenSSL, its descendants, and programs that contain them.
 *
 * These programs run in the middle of a process, on kernels that may preempt them (6.13 and later): frames stay below 64 bytes, so
 * that the kernel gives them no stack of the processor's own, and the scratch of the processor is taken as by any other call.
 */
#ifndef TRILOBITE_TLS_PROBES_H
#define TRILOBITE_TLS_PROBES_H

#include "tls_objects.h"

#if defined(__TARGET_ARCH_x86)
#define ARGUMENT_1(ctx) ((ctx)->di)
#define ARGUMENT_2(ctx) ((ctx)->si)
#define ARGUMENT_4(ctx) ((ctx)->cx)
#define RESULT(ctx) ((ctx)->ax)
#define RETURN_BYTES 8          /* a return probe runs when the return address has left the stack */
#else
#define ARGUMENT_1(ctx) ((ctx)->regs[0])
#define ARGUMENT_2(ctx) ((ctx)->regs[1])
#define ARGUMENT_4(ctx) ((ctx)->regs[3])
#define RESULT(ctx) ((ctx)->regs[0])
#define RETURN_BYTES 0
#endif

__noinline int class_of_caller(void)
{
	return current_class();
}

/* The slots that want plain text of the current task. */
__noinline __u64 slots_of_caller(void)
{
	__u64 cgroup = bpf_get_current_cgroup_id(), slots = slots_with_tls();
	int class_id;

	if (!slots)
		return 0;
	class_id = class_of_caller();
	if (class_id < 0 || bpf_map_lookup_elem(&tls_excluded, &cgroup))
		return 0;
	return slots_of_class(class_id) & slots;
}

/* Makes the object of an address, unless this image of the process has it. Returns whether there is one. */
__noinline int ensure_tls_object(__u64 address, __u32 is_underway)
{
	struct tls_key key = { .object = address, .process = bpf_get_current_pid_tgid() >> 32 };
	struct tls_object *object = bpf_map_lookup_elem(&tls_objects, &key);
	__u64 exec_ktime = current_exec_ktime();
	__u32 zero = 0;

	if (object && object->exec_ktime == exec_ktime)
		return 1;
	object = bpf_map_lookup_elem(&new_tls_object, &zero);
	if (!object || bpf_map_update_elem(&tls_objects, &key, object, BPF_ANY)) {
		count_drop(DROP_SOCKET_ENTRY);
		return 0;
	}
	object = bpf_map_lookup_elem(&tls_objects, &key);
	if (!object)
		return 0;
	object->exec_ktime = exec_ktime;
	object->followed.is_underway = is_underway;
	object->followed.record.record.time = bpf_ktime_get_boot_ns();
	object->followed.record.stream = hash_pointer((void *)(address ^ object->followed.record.record.time)) | 1;
	return 1;
}

__noinline int enter_tls_call(__u64 address, __u64 buffer, __u64 count_at, __u64 stack)
{
	struct tls_thread *thread;
	struct tls_call *call;

	/* Unless the library has just made the object, its handshake has passed unseen, and maybe more. */
	if (!address || !slots_of_caller() || !ensure_tls_object(address, 1))
		return 0;
	thread = bpf_task_storage_get(&tls_threads, bpf_get_current_task_btf(), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!thread) {
		count_drop(DROP_SOCKET_ENTRY);
		return 0;
	}
	/* A call that lies further out on the stack is still underway, or its return was not seen: that is harmless. */
	if (thread->outer.object && thread->outer.stack > stack) {
		call = &thread->inner;
	} else {
		call = &thread->outer;
		thread->inner.object = 0;
	}
	call->buffer = buffer;
	call->count_at = count_at;
	call->stack = stack;
	call->is_on_socket = 0;
	call->object = address;
	return 0;
}

static __always_inline bool returns_at(const struct tls_call *call, __u64 stack)
{
	return call->object && (call->stack == stack || call->stack + RETURN_BYTES == stack);
}

/* Bytes that the call has read or written. */
static __always_inline __u32 bytes_of_call(const struct tls_call *call, __s32 result)
{
	__u64 count = 0;

	if (result <= 0)
		return 0;
	if (!call->count_at)
		return result;
	if (bpf_probe_read_user(&count, sizeof(count), (void *)call->count_at) || count > TLS_CALL_BYTES_MAX)
		return 0;
	return count;
}

/* Guesses the socket of an object whose library uses none itself, from what the thread has received before this call. */
static __always_inline void guess_socket(struct tls_object *object, struct tls_received *received, __u32 length)
{
	__u64 known = object->followed.record.record.connection;

	if (object->is_ambiguous || !received->connection || received->is_ambiguous || !received->type)
		return;
	/* Before the end of the handshake there is no plain text, and afterwards no handshake in the clear. */
	if (length ? received->type == TLS_HANDSHAKE : received->type == TLS_DATA)
		return;
	if (known ? known != received->connection : object->candidate && object->candidate != received->connection) {
		forget_socket_of(object);
		return;
	}
	if (!known && object->candidate)
		set_socket_of(object, &received->socket);
	object->candidate = received->connection;
}

/* Takes a scratch for a call; below 0 if no slot wants it. */
__noinline int acquire_scratch_for_text(__u64 address, __u32 length, __u32 sent)
{
	struct tls_object *object = tls_object_at(address);
	struct data_scratch *s;
	__u64 wanting;
	int level;

	if (!object)
		return -1;
	object->followed.record.position = object->followed.next[sent & 1];
	object->followed.next[sent & 1] += length;
	wanting = slots_of_caller() & ~object->followed.ignored;
	if (!wanting)
		return -1;
	level = acquire_data_scratch();
	s = data_scratch_at(level);
	if (level < 0 || !s) {
		count_drop(DROP_DATA);
		count_lost_call(wanting, length);
		return -1;
	}
	s->wanting = wanting;
	return level;
}

/* Describes the call in the scratch. */
__noinline int describe_text(__u64 address, __u32 level, __u64 buffer, __u32 length, __u32 sent)
{
	struct tls_object *object = tls_object_at(address);
	struct data_scratch *s = data_scratch_at(level);
	struct followed_socket *followed;

	if (!object || !s)
		return 0;
	followed = &object->followed;
	s->record = followed->record;
	s->record.flags |= DATA_TLS | (sent ? DATA_SENT : 0);
	s->call_position = followed->record.position;
	s->call_bytes = length;
	s->is_underway = followed->is_underway || followed->next[sent & 1] != length || followed->next[!sent];
	/* Its ports may become known. */
	s->has_peers = !followed->record.record.connection;
	s->seen = followed->seen;
	s->late = followed->late;
	s->ignored = followed->ignored;
	reset_data_scratch(s);
	s->segment = buffer;
	s->segment_bytes = length;
	s->missed = 0;
	return 1;
}

/* Sends what the scratch describes. */
__noinline int send_text(__u64 address, __u32 level)
{
	struct tls_object *object = tls_object_at(address);
	struct data_scratch *s = data_scratch_at(level);

	if (!s || !object)
		return 0;
	fill_current_header(&s->record.record, RECORD_DATA, object->exec_ktime);
	object->followed.record.record.time = s->record.record.time;
	s->class_id = class_of_caller();
	send_call(level, s, &object->followed);
	return 0;
}

__noinline int release_scratch_of_text(__u32 level)
{
	struct data_scratch *s = data_scratch_at(level);

	if (s)
		release_data_scratch(s);
	return 0;
}

__noinline int forget_older_slots_of(__u64 address)
{
	struct tls_object *object = tls_object_at(address);

	if (object)
		forget_older_slots(&object->followed);
	return 0;
}

/* Ends the call that returns here. Returns how many bytes it has read or written. */
static __always_inline __u32 end_tls_call(struct tls_thread *thread, struct tls_call *call, __s32 result, bool sent)
{
	__u32 length = bytes_of_call(call, result);
	struct tls_object *object = tls_object_at(call->object);

	if (object) {
		if (call->is_on_socket)
			object->is_on_socket = 1;
		else if (!sent && !object->is_on_socket)
			guess_socket(object, &thread->received, length);
	}
	thread->received.connection = 0;
	thread->received.is_ambiguous = 0;
	call->object = 0;
	return length;
}

__noinline int leave_tls_call(__u64 stack, __s32 result, __u32 sent)
{
	struct tls_thread *thread = bpf_task_storage_get(&tls_threads, bpf_get_current_task_btf(), NULL, 0);
	struct tls_call *call;
	__u64 address;
	__u32 length;
	int level;

	if (!thread)
		return 0;
	if (returns_at(&thread->inner, stack))
		call = &thread->inner;
	else if (returns_at(&thread->outer, stack))
		call = &thread->outer;
	else
		return 0;
	address = call->object;
	length = end_tls_call(thread, call, result, sent);
	if (!length)
		return 0;
	forget_older_slots_of(address);
	level = acquire_scratch_for_text(address, length, sent);
	if (level < 0)
		return 0;
	if (describe_text(address, level, call->buffer, length, sent))
		send_text(address, level);
	release_scratch_of_text(level);
	return 0;
}

__noinline int end_stream_in_slot(__u32 level, __u32 slot)
{
	struct data_scratch *s = data_scratch_at(level);

	if (s && s->seen >> (slot & SLOT_MASK) & 1)
		write_end(&s->record, slot, s->late >> (slot & SLOT_MASK) & 1);
	return 0;
}

/* Reports the end of a stream to the slots that have seen it. */
__noinline int end_stream(__u64 address)
{
	struct tls_object *object = tls_object_at(address);
	struct data_scratch *s;
	int level;

	if (!object)
		return 0;
	level = acquire_data_scratch();
	s = data_scratch_at(level);
	if (level < 0 || !s) {
		count_drop(DROP_DATA);
		return 0;
	}
	s->record = object->followed.record;
	s->record.record.size = sizeof(s->record);
	s->record.position = object->followed.next[1];
	s->record.flags |= DATA_TLS | DATA_END | DATA_SENT | DATA_LAST_OF_CALL;
	s->seen = object->followed.seen & ~object->followed.ignored;
	s->late = object->followed.late;
	fill_current_header(&s->record.record, RECORD_DATA, object->exec_ktime);
#pragma nounroll
	for (__u32 slot = 0; slot < REQUEST_SLOTS_MAX; slot++)
		end_stream_in_slot(level, slot);
	release_data_scratch(s);
	return 0;
}

/* The end of an object, or the beginning of one at an address that another may have had. */
__noinline int end_tls_object(__u64 address, __u32 is_new)
{
	struct tls_key key = { .object = address, .process = bpf_get_current_pid_tgid() >> 32 };

	if (bpf_map_lookup_elem(&tls_objects, &key)) {
		forget_older_slots_of(address);
		end_stream(address);
		bpf_map_delete_elem(&tls_objects, &key);
	}
	if (is_new && address && slots_of_caller() && ensure_tls_object(address, 0))
		/* What the thread receives is noted from now on: the first bytes of the handshake say the most. */
		bpf_task_storage_get(&tls_threads, bpf_get_current_task_btf(), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	return 0;
}

/* application/tls: a function of OpenSSL, BoringSSL, or of a program that contains one of them, begins or returns.
 * Kernels    6.6+ (uprobe.multi)           Arguments  registers; the cookie says which function, and which end (enum tls_probe)
 * Why here   the public functions have kept their arguments since OpenSSL 1.0; a return instruction is probed and not the return,
 *            because a return probe replaces the return address, which some programs look at
 * Costs      two interrupts of the process a call (1 us each on a machine, 15 us on some virtual ones), also of pods that are not
 *            selected and have the same file mapped; for a selected one records as of a call on a socket
 */
SEC("uprobe.multi")
int on_tls_call(struct pt_regs *ctx)
{
	switch (bpf_get_attach_cookie(ctx)) {
	case TLS_READ_ENTRY:
	case TLS_WRITE_ENTRY:
		return enter_tls_call(ARGUMENT_1(ctx), ARGUMENT_2(ctx), 0, ctx->sp);
	case TLS_READ_EX_ENTRY:
	case TLS_WRITE_EX_ENTRY:
		return enter_tls_call(ARGUMENT_1(ctx), ARGUMENT_2(ctx), ARGUMENT_4(ctx), ctx->sp);
	case TLS_READ_RETURN:
		return leave_tls_call(ctx->sp, RESULT(ctx), false);
	case TLS_WRITE_RETURN:
		return leave_tls_call(ctx->sp, RESULT(ctx), true);
	case TLS_NEW_RETURN:
		return end_tls_object(RESULT(ctx), true);
	case TLS_FREE_ENTRY:
		return end_tls_object(ARGUMENT_1(ctx), false);
	case TLS_CLEAR_ENTRY:
		return end_tls_object(ARGUMENT_1(ctx), true);
	}
	return 0;
}

#endif
