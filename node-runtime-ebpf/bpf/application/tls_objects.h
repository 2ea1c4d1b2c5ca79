/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Connections of TLS libraries, by the library's object: the stream of its plain text, and the socket that it is on.
 *
 * The socket of an object is the one that the thread uses inside of a call of the library. A program may instead read the socket
 * itself and hand the bytes to the library (node): then it is the one socket that the thread has received from since its last
 * call of the library, if that was the same one twice. Anything that does not fit leaves the object without a socket for ever:
 * a row without a peer is better than one with another's.
 */
#ifndef TRILOBITE_TLS_OBJECTS_H
#define TRILOBITE_TLS_OBJECTS_H

#include "capture.h"
#include "tls.h"
#include "user_buffers.h"

#define TLS_HANDSHAKE 22        /* types of TLS records */
#define TLS_DATA 23
#define TLS_FIRST_TYPE 20
#define TLS_VERSION_MAJOR 3

/* A call of the library that a thread is in. */
struct tls_call {
	__u64 object;                   /* address of the SSL; 0: none */
	__u64 buffer;
	__u64 count_at;                 /* where the library writes how many bytes it has read or written; 0: it returns their number */
	__u64 stack;                    /* stack pointer at the entry, as at the return */
	__u64 is_on_socket;             /* the thread has used a socket inside of the call */
};

/* What a thread has received outside of the library since its last call of it. */
struct tls_received {
	struct data_record socket;      /* of the one socket */
	__u64 connection;               /* 0: none */
	__u32 is_ambiguous;             /* from several sockets */
	__u32 type;                     /* of the TLS record that the bytes begin with; 0: they do not */
};

/* A call inside of another is that of the connection below: TLS through a proxy that speaks TLS. */
struct tls_thread {
	struct tls_call outer, inner;
	struct tls_received received;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tls_thread);
} tls_threads SEC(".maps");

struct tls_object {
	struct followed_socket followed;        /* the stream; addresses and connection are 0 until the socket is known */
	__u64 exec_ktime;
	__u64 candidate;                        /* connection that was guessed once */
	__u32 is_on_socket;                     /* the library uses the socket itself */
	__u32 is_ambiguous;
};

/* An entry is deleted when its object is freed. The agent deletes entries that were not used for long: a process may end without
 * freeing its objects. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TLS_OBJECTS_MAX);
	__type(key, struct tls_key);
	__type(value, struct tls_object);
} tls_objects SEC(".maps");

/* Bit n of the one element: slot n wants plain text of TLS. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} tls_slots SEC(".maps");

/* Cgroups of pods that do not want to be probed, although they share files with others. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TLS_EXCLUDED_MAX);
	__type(key, __u64);
	__type(value, __u32);
} tls_excluded SEC(".maps");

/* The initial value of an object, all zeros: too large for the stack of a probe. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tls_object);
} new_tls_object SEC(".maps");

static __always_inline __u64 slots_with_tls(void)
{
	__u32 zero = 0;
	__u64 *slots = bpf_map_lookup_elem(&tls_slots, &zero);

	return slots ? *(volatile __u64 *)slots : 0;
}

static __always_inline struct tls_object *tls_object_at(__u64 address)
{
	struct tls_key key = { .object = address, .process = bpf_get_current_pid_tgid() >> 32 };

	return bpf_map_lookup_elem(&tls_objects, &key);
}

static __always_inline void forget_socket_of(struct tls_object *object)
{
	struct data_record *record = &object->followed.record;

	record->record.connection = 0;
	record->namespace = 0;
	record->local_port = 0;
	record->remote_port = 0;
	__builtin_memset(record->local, 0, sizeof(record->local));
	__builtin_memset(record->remote, 0, sizeof(record->remote));
	record->family = 0;
	record->protocol = 0;
	record->flags = 0;
	object->is_ambiguous = 1;
}

static __always_inline void set_socket_of(struct tls_object *object, const struct data_record *socket)
{
	struct data_record *record = &object->followed.record;

	record->namespace = socket->namespace;
	record->local_port = socket->local_port;
	record->remote_port = socket->remote_port;
	__builtin_memcpy(record->local, socket->local, sizeof(record->local));
	__builtin_memcpy(record->remote, socket->remote, sizeof(record->remote));
	record->family = socket->family;
	record->protocol = socket->protocol;
	record->flags = socket->flags & (DATA_SERVER | DATA_CLIENT);
	record->record.connection = socket->record.connection;
}

/* The socket that the library uses for this object. */
static __always_inline void note_socket_inside(struct tls_object *object, struct followed_socket *socket)
{
	__u64 known = object->followed.record.record.connection;

	if (object->is_ambiguous || known == socket->record.record.connection)
		return;
	if (known) {
		forget_socket_of(object);
		return;
	}
	set_socket_of(object, &socket->record);
	/* Its plain text is seen from now on. */
	socket->ignored |= slots_with_tls();
}

/* The type of the TLS record that the bytes of this call begin with; 0 if they do not. */
static __always_inline __u32 tls_record_type(struct task_struct *task, struct sock *sk, int length)
{
	struct call_arguments arguments;
	__u8 head[4] = {};

	if (length < 5 || !read_arguments_about(&arguments, task, sk))
		return 0;
	if (arguments.number != CALL_READ && arguments.number != CALL_WRITE && arguments.number != CALL_RECVFROM &&
	    arguments.number != CALL_SENDTO)
		return 0;
	if (bpf_probe_read_user(head, 3, (void *)arguments.buffer))
		return 0;
	if (head[0] < TLS_FIRST_TYPE || head[0] > TLS_DATA || head[1] != TLS_VERSION_MAJOR)
		return 0;
	return head[0];
}

static __always_inline void note_received(struct tls_thread *thread, struct followed_socket *socket, __u32 type)
{
	struct tls_received *received = &thread->received;
	__u64 connection = socket->record.record.connection;

	if (received->connection && received->connection != connection) {
		received->is_ambiguous = 1;
		return;
	}
	/* Only the first bytes since the last call begin where the library reads on. */
	if (!received->connection) {
		received->type = type;
		received->socket = socket->record;
		received->connection = connection;
	}
}

/* Called at each call on a socket, also one that fails: for threads that have called a TLS library. */
static __always_inline void note_socket_of_tls(struct task_struct *task, struct sock *sk, int length, bool sent)
{
	struct tls_thread *thread = bpf_task_storage_get(&tls_threads, task, NULL, 0);
	struct followed_socket *socket;
	struct tls_object *object;
	struct tls_call *call;
	__u32 type;

	if (!thread)
		return;
	call = thread->inner.object ? &thread->inner : &thread->outer;
	if (call->object)
		call->is_on_socket = 1;
	if (length <= 0)
		return;
	socket = find_socket(sk);
	if (!socket || !socket->record.record.connection)
		return;
	type = tls_record_type(task, sk, length);
	if (!call->object) {
		if (!sent)
			note_received(thread, socket, type);
		return;
	}
	if (!type)
		return;
	object = tls_object_at(call->object);
	if (object)
		note_socket_inside(object, socket);
}

#endif
