// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Bytes that selected processes send and receive on TCP, UDP and unix stream sockets, by tracepoints of the socket layer. One set of
 * programs for all profiles of requests: each has a slot, with a ring of its own. The kernel does not know the protocols: it copies
 * the first 4 KiB of each call, until the worker has said by a verdict how much of a call on this socket it wants, up to 64 KiB.
 *
 * TCP's own sequence numbers say which bytes passed without a call that is seen here, e.g. by splice.
 */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "followed_socket.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct followed_socket);
} sockets SEC(".maps");

static __always_inline struct followed_socket *find_socket(struct sock *sk)
{
	return bpf_sk_storage_get(&sockets, sk, NULL, 0);
}

static __always_inline struct followed_socket *create_socket(struct sock *sk)
{
	return bpf_sk_storage_get(&sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
}

#include "capture.h"
#include "user_buffers.h"
#include "tls_probes.h"

static __always_inline int record_call(struct sock *sk, int length, bool sent, bool has_bytes)
{
	struct followed_socket *followed = NULL;
	struct data_scratch *s;
	int level;

	if (length <= 0) {
		if (has_slots())
			note_message_without_bytes(length);
		return 0;
	}
	level = begin_capture(sk, length, sent, current_exec_ktime(), &followed);
	if (level < 0 || !followed)
		return 0;
	s = data_scratch_at(level);
	if (!s)
		return 0;
	if (has_bytes)
		find_user_buffers(s, sk, sent);
	finish_capture(level, followed);
	return 0;
}

static __always_inline int capture(struct sock *sk, int length, bool sent, bool has_bytes)
{
	record_call(sk, length, sent, has_bytes);
	/* Then the socket is followed, also at its first call. */
	if (slots_with_tls())
		note_socket_of_tls(bpf_get_current_task_btf(), sk, length, sent);
	return 0;
}

/* application/socket: a call has sent on a socket.
 * Kernels    6.5+ (tp_btf; it exists since 6.3, but sendfile passes it since 6.5)   Arguments  socket, bytes or a negative error, 0
 * Why here   the one place that all families and all system calls pass, io_uring and sendfile included; after the call, in the
 *            caller's context; no system call that is no socket's becomes slower
 * Costs      two lookups for a process that is not selected; for one that is, ~0.8 us where the call itself takes 3 us (a virtual
 *            machine), and for each slot that wants it a record of 128 bytes + the copied ones, for each 4 KiB one
 */
SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send, struct sock *sk, int result, int flags)
{
	return capture(sk, result, true, true);
}

/* application/socket: a call has received from a socket.
 * Kernels    6.5+ (tp_btf)                 Arguments  socket, bytes or a negative error, the call's MSG_ flags
 * Why here   as on_send. Bytes that are only peeked at come again; those of the error queue, and out of band, are no part of the stream
 * Costs      as on_send
 */
SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_receive, struct sock *sk, int result, int flags)
{
	if (result > 0 && !is_in_stream(flags))
		return 0;
	return capture(sk, result, false, fills_buffer(sk, flags));
}

/* application/socket: a TCP connection has ended, and its socket goes.
 * Kernels    5.10+ (tp_btf)                Arguments  the socket
 * Why here   no process uses the socket any more: a process that only shuts one direction down still receives on the other
 * Costs      a lookup in the socket; a record of 128 bytes for each slot that has seen the connection
 */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_connection_end, struct sock *sk)
{
	end_connection(sk);
	return 0;
}
