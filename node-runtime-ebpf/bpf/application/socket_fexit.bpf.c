// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The same as socket.bpf.c, for kernels without its tracepoints: at the entry and the return of the functions that send and receive.
 * State of sockets is in a hash: 5.10 has no storage in sockets for these programs.
 */
#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "followed_socket.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* tcp_recvmsg and those of UDP have an argument `nonblock` in front of the flags: before 5.19. */
const volatile __u32 has_nonblock = 0;

/* By the address of the socket, until that is freed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SOCKETS_MAX);
	__type(key, __u64);
	__type(value, struct followed_socket);
} socket_states SEC(".maps");

static const struct followed_socket no_socket;

static __always_inline struct followed_socket *find_socket(struct sock *sk)
{
	__u64 key = (__u64)sk;

	return bpf_map_lookup_elem(&socket_states, &key);
}

static __always_inline struct followed_socket *create_socket(struct sock *sk)
{
	__u64 key = (__u64)sk;

	bpf_map_update_elem(&socket_states, &key, &no_socket, BPF_NOEXIST);
	return bpf_map_lookup_elem(&socket_states, &key);
}

static __always_inline int forget_socket(struct sock *sk)
{
	__u64 key = (__u64)sk;

	bpf_map_delete_elem(&socket_states, &key);
	return 0;
}

#include "capture.h"
#include "kept_buffers.h"

static __always_inline void capture_kept(struct sock *sk, int result, bool sent, const struct kept_buffers *kept)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct followed_socket *followed = NULL;
	struct data_scratch *s;
	int level;

	level = begin_capture(sk, result, sent, task_exec_ktime(task), &followed);
	if (level < 0 || !followed)
		return;
	s = data_scratch_at(level);
	if (!s)
		return;
	if (kept)
		use_kept_buffers(s, kept);
	finish_capture(level, followed);
}

static __always_inline int capture(struct sock *sk, int result, bool sent, bool has_bytes)
{
	struct kept_buffers *kept;

	if (!has_slots())
		return 0;
	kept = find_kept_buffers();
	if (result > 0)
		capture_kept(sk, result, sent, has_bytes ? kept : NULL);
	if (kept)
		forget_buffers();
	return 0;
}

static __always_inline int capture_received(struct sock *sk, int result, int flags)
{
	if (!is_in_stream(flags))
		result = 0;
	return capture(sk, result, false, fills_buffer(sk, flags));
}

static __always_inline int capture_inet_received(unsigned long long *ctx)
{
	struct sock *sk = (void *)ctx[0];

	if (has_nonblock)
		return capture_received(sk, (int)ctx[6], (int)ctx[4]);
	return capture_received(sk, (int)ctx[5], (int)ctx[3]);
}

/* The second argument of all these functions is the message with the iterator. */
#define KEEP_AT_ENTRY(name, function)                                   \
	SEC("fentry/" #function)                                        \
	int name(unsigned long long *ctx)                               \
	{                                                               \
		return keep_buffers((void *)ctx[1]);                    \
	}

/* Arguments: socket, message, bytes; then what the function returns. */
#define CAPTURE_SENT(name, function)                                    \
	SEC("fexit/" #function)                                         \
	int name(unsigned long long *ctx)                               \
	{                                                               \
		return capture((void *)ctx[0], (int)ctx[3], true, true); \
	}

#define CAPTURE_RECEIVED(name, function)                                \
	SEC("fexit/" #function)                                         \
	int name(unsigned long long *ctx)                               \
	{                                                               \
		return capture_inet_received(ctx);                      \
	}

/* application/socket: a send or a receive, at its entry.
 * Kernels    5.10+ (fentry)                Arguments  socket, message with the iterator, bytes; of a receive the flags
 * Why here   the iterator is consumed at the return. io_uring comes this way too; sendfile by tcp_sendpage
 * Costs      two lookups for a process that is not selected, an entry of a map for one that is
 */
KEEP_AT_ENTRY(on_tcp_send_entry, tcp_sendmsg)
KEEP_AT_ENTRY(on_tcp_receive_entry, tcp_recvmsg)
KEEP_AT_ENTRY(on_udp_receive_entry, udp_recvmsg)
KEEP_AT_ENTRY(on_udpv6_send_entry, udpv6_sendmsg)
KEEP_AT_ENTRY(on_udpv6_receive_entry, udpv6_recvmsg)
KEEP_AT_ENTRY(on_unix_send_entry, unix_stream_sendmsg)
KEEP_AT_ENTRY(on_unix_receive_entry, unix_stream_recvmsg)

/* application/socket: a UDP send, at its entry.
 * Kernels    5.10+ (fentry)                Arguments  socket, message with iterator and address, bytes
 * Why here   as the other entries. An IPv6 socket that sends to IPv4 comes here from inside of udpv6_sendmsg, which is hooked
 * Costs      as the other entries
 */
SEC("fentry/udp_sendmsg")
int on_udp_send_entry(unsigned long long *ctx)
{
	struct sock *sk = (void *)ctx[0];

	return sk->__sk_common.skc_family == AF_INET6 ? 0 : keep_buffers((void *)ctx[1]);
}

/* application/socket: a send or a receive returns.
 * Kernels    5.10+ (fexit)                 Arguments  those of the entry, bytes or a negative error
 * Why here   only now it is known how many of the bytes the socket has taken, or the buffer has; a datagram has the sender's address
 * Costs      as on_send of socket.bpf.c, ~0.1 us more
 */
CAPTURE_SENT(on_tcp_send, tcp_sendmsg)
CAPTURE_SENT(on_udpv6_send, udpv6_sendmsg)
CAPTURE_RECEIVED(on_tcp_receive, tcp_recvmsg)
CAPTURE_RECEIVED(on_udp_receive, udp_recvmsg)
CAPTURE_RECEIVED(on_udpv6_receive, udpv6_recvmsg)

/* application/socket: a UDP send returns.
 * Kernels    5.10+ (fexit)                 Arguments  those of the entry, bytes or a negative error
 * Why here   as the other returns; of the family that its entry is about
 * Costs      as the other returns
 */
SEC("fexit/udp_sendmsg")
int on_udp_send(unsigned long long *ctx)
{
	struct sock *sk = (void *)ctx[0];

	return sk->__sk_common.skc_family == AF_INET6 ? 0 : capture(sk, (int)ctx[3], true, true);
}

/* application/socket: a call on a unix stream socket returns.
 * Kernels    5.10+ (fexit)                 Arguments  struct socket, message, bytes; of a receive the flags; bytes or a negative error
 * Why here   as the other returns
 * Costs      as the other returns
 */
SEC("fexit/unix_stream_sendmsg")
int on_unix_send(unsigned long long *ctx)
{
	struct socket *socket = (void *)ctx[0];

	return capture(socket->sk, (int)ctx[3], true, true);
}

SEC("fexit/unix_stream_recvmsg")
int on_unix_receive(unsigned long long *ctx)
{
	struct socket *socket = (void *)ctx[0];

	return capture_received(socket->sk, (int)ctx[4], (int)ctx[3]);
}

/* application/socket: sendfile, or a splice, into a TCP socket returns.
 * Kernels    5.10 to 6.4 (fexit)           Arguments  socket, page, offset, bytes, flags, bytes or a negative error
 * Why here   such bytes do not pass tcp_sendmsg; they are a gap of known length
 * Costs      as the other returns, without the copy
 */
SEC("fexit/tcp_sendpage")
int on_tcp_send_page(unsigned long long *ctx)
{
	return capture((void *)ctx[0], (int)ctx[5], true, false);
}

/* application/socket: a TCP connection has ended, and its socket goes.
 * Kernels    5.10+ (tp_btf)                Arguments  the socket
 * Why here   as in socket.bpf.c
 * Costs      one lookup; a record of 128 bytes for each slot that has seen the connection
 */
SEC("tp_btf/tcp_destroy_sock")
int on_connection_end(unsigned long long *ctx)
{
	struct sock *sk = (void *)ctx[0];

	end_connection(sk);
	return forget_socket(sk);
}

/* application/socket: the memory of a socket is about to be freed, and reused for another.
 * Kernels    5.10+ (fentry)                Arguments  the socket
 * Why here   the destructors of both families; UDP and unix sockets have no tracepoint for their end
 * Costs      one lookup
 */
SEC("fentry/inet_sock_destruct")
int on_inet_destruct(unsigned long long *ctx)
{
	return forget_socket((void *)ctx[0]);
}

SEC("fentry/unix_sock_destructor")
int on_unix_destruct(unsigned long long *ctx)
{
	return forget_socket((void *)ctx[0]);
}
