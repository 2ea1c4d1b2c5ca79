/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sockets that selected processes use: what is known of each, and the record of a call on one. An object that includes this has
 * before it `find_socket` and `create_socket`: where it keeps the state of sockets. */
#ifndef TRILOBITE_CAPTURE_H
#define TRILOBITE_CAPTURE_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "connection.h"
#include "data_scratch.h"
#include "followed_socket.h"
#include "socket_address.h"
#include "task.h"

#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_MPTCP 262
#define MSG_OOB 0x1
#define MSG_PEEK 0x2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000
#define RCV_SHUTDOWN 1
#define MISSED_MAX (1u << 31)   /* a difference of sequence numbers above this is one below 0 */

/* Mixed into keys that are made of kernel addresses: users read them, and must not learn the addresses. */
const volatile __u64 key_secret = 0;

static __always_inline __u64 hash_pointer(const void *pointer)
{
	__u64 address = 0, hash;

	/* Copied: the verifier refuses to calculate with a pointer that it knows. */
	bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	hash = (address ^ key_secret) * HASH_FACTOR;

	hash = (hash ^ (hash >> 32) ^ key_secret) * HASH_FACTOR;
	return hash ^ (hash >> 29);
}

static __always_inline void set_flag(struct data_record *record, __u32 flag, bool is_set)
{
	if (is_set)
		record->flags |= flag;
}

/* Both ends have the same key while both are open. A server's socket has the name of the one that listened. */
static __always_inline __u64 describe_unix(struct data_record *record, struct sock *sk)
{
	struct unix_sock *own = (void *)sk, *other = (void *)BPF_CORE_READ(own, peer);
	bool is_named = BPF_CORE_READ(own, addr), is_other_named = other && BPF_CORE_READ(other, addr);
	__u64 key = hash_pointer(own) + (other ? hash_pointer(other) : 0);

	set_flag(record, DATA_SERVER, is_named && !is_other_named);
	set_flag(record, DATA_CLIENT, !is_named && is_other_named);
	return key ? key : 1;
}

/* Copies an address of an IPv6 socket; true if it is of IPv4: ::ffff:a.b.c.d. */
static __always_inline bool copy_address(__u8 *to, const __u64 *words)
{
	bool is_ipv4 = !words[0] && (words[1] & bpf_cpu_to_be64(0xffffffff00000000ull)) == bpf_cpu_to_be64(0xffff00000000ull);

	if (is_ipv4)
		__builtin_memcpy(to, (const __u8 *)words + 12, 4);
	else
		__builtin_memcpy(to, words, 16);
	return is_ipv4;
}

/* The peer of a datagram, where the socket has none of its own. */
static __always_inline void set_peer(struct data_record *record, const struct socket_address *address)
{
	if (address->family == AF_INET) {
		__builtin_memcpy(record->remote, &address->ipv4, 4);
		record->family = AF_INET;
	} else if (address->family == AF_INET6) {
		if (copy_address(record->remote, address->ipv6))
			record->family = AF_INET;
	} else {
		return;
	}
	record->remote_port = bpf_ntohs(address->port);
}

static __always_inline __u64 describe_inet(struct data_record *record, struct sock *sk)
{
	__u16 peer_port = sk->__sk_common.skc_dport;

	record->local_port = sk->__sk_common.skc_num;
	record->remote_port = bpf_ntohs(peer_port);
	if (record->family == AF_INET) {
		__u32 local = sk->__sk_common.skc_rcv_saddr, remote = sk->__sk_common.skc_daddr;

		__builtin_memcpy(record->local, &local, 4);
		__builtin_memcpy(record->remote, &remote, 4);
	} else {
		__u64 address[2] = {};

		bpf_core_read(address, sizeof(address), &sk->__sk_common.skc_v6_rcv_saddr);
		if (copy_address(record->local, address))
			record->family = AF_INET;
		bpf_core_read(address, sizeof(address), &sk->__sk_common.skc_v6_daddr);
		if (copy_address(record->remote, address))
			record->family = AF_INET;
	}
	if (record->protocol == IPPROTO_UDP) {
		set_flag(record, DATA_CLIENT, peer_port);
	} else {
		/* An accepted socket is a copy of the one that listened, whose backlog of connections nothing resets. */
		bool is_accepted = sk->sk_max_ack_backlog;

		set_flag(record, DATA_SERVER, is_accepted);
		set_flag(record, DATA_CLIENT, !is_accepted);
	}
	return connection_key(record->local, bpf_htons(record->local_port), record->remote, peer_port, record->protocol,
			      record->namespace);
}

/* Sequence number behind the last byte that the process has sent, or received. */
static __always_inline __u32 tcp_sequence(struct sock *sk, __u32 sent)
{
	struct tcp_sock *tcp = (void *)sk;

	return sent ? BPF_CORE_READ(tcp, write_seq) : BPF_CORE_READ(tcp, copied_seq);
}

/* Bytes were exchanged before this call. A SYN and a FIN count as one each. */
static __always_inline bool is_tcp_underway(struct sock *sk, __u32 length, __u32 sent)
{
	struct tcp_sock *tcp = (void *)sk;
	__s64 out = BPF_CORE_READ(tcp, bytes_acked) + (__u32)(BPF_CORE_READ(tcp, write_seq) - BPF_CORE_READ(tcp, snd_una));
	__s64 in = BPF_CORE_READ(tcp, bytes_received) - (__u32)(BPF_CORE_READ(tcp, rcv_nxt) - BPF_CORE_READ(tcp, copied_seq));

	if (sent)
		out -= length;
	else
		in -= length;
	return out > 1 || in > 1;
}

/* Fills the state of a socket at a call of `length` bytes, the first one that is followed. */
static __always_inline void describe_socket(struct followed_socket *followed, struct sock *sk, __u32 length, __u32 sent)
{
	struct data_record *record = &followed->record;
	struct inet_connection_sock *inet = (void *)sk;
	__u16 protocol = sk->sk_protocol;
	__u64 key;

	__builtin_memset(followed, 0, sizeof(*followed));
	record->family = sk->__sk_common.skc_family;
	record->namespace = sk->__sk_common.skc_net.net->ns.inum;
	if (record->family == AF_UNIX) {
		key = describe_unix(record, sk);
	} else {
		record->protocol = protocol == IPPROTO_UDP ? IPPROTO_UDP : IPPROTO_TCP;
		key = describe_inet(record, sk);
		if (protocol == IPPROTO_UDP && !record->remote_port)
			key += hash_pointer(sk);
		/* Where a layer above TCP has the socket (kTLS), the sequence numbers do not count the process's bytes. */
		if (protocol == IPPROTO_TCP && !BPF_CORE_READ(inet, icsk_ulp_ops)) {
			followed->counted_prot = (__u64)sk->__sk_common.skc_prot;
			followed->tcp_sequence[sent & 1] = tcp_sequence(sk, sent) - length;
			followed->tcp_sequence[!sent] = tcp_sequence(sk, !sent);
			followed->is_underway = is_tcp_underway(sk, length, sent);
		}
	}
	record->stream = (hash_pointer(sk) ^ bpf_ktime_get_boot_ns()) | 1;
	followed->record.record.layout = RECORD_LAYOUT;
	followed->record.record.kind = RECORD_DATA;
	/* Last: until then other processors leave the socket alone. */
	barrier();
	followed->record.record.connection = key ? key : 1;
}

/* What is peeked at comes again; the bytes of the error queue, and out of band, are no part of the stream. */
static __always_inline bool is_in_stream(int flags)
{
	return !(flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE));
}

/* Whether the bytes of a receive are in its buffer. With MSG_TRUNC the kernel discards bytes of TCP; of a datagram it copies as many as
 * the buffer has room for. */
static __always_inline bool fills_buffer(struct sock *sk, int flags)
{
	return !(flags & MSG_TRUNC) || sk->sk_protocol == IPPROTO_UDP;
}

/* Not a socket of the kernel's own, whose bytes are not the caller's. */
static __always_inline bool can_follow(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family, protocol = sk->sk_protocol;

	if (family == AF_UNIX) {
		if (sk->sk_type != SOCK_STREAM)
			return false;
	} else if (family == AF_INET || family == AF_INET6) {
		if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_MPTCP)
			return false;
	} else {
		return false;
	}
	return !BPF_CORE_READ_BITFIELD_PROBED(sk, sk_kern_sock);
}

/* The socket has been connected to another peer since, as resolvers do. */
static __always_inline bool is_reconnected(const struct followed_socket *followed, struct sock *sk)
{
	const struct data_record *record = &followed->record;

	if (record->family == AF_UNIX)
		return false;
	if (record->local_port != sk->__sk_common.skc_num || record->remote_port != bpf_ntohs(sk->__sk_common.skc_dport))
		return true;
	/* Set for an IPv6 socket that speaks IPv4, too. */
	return record->family == AF_INET && *(const __u32 *)record->remote != sk->__sk_common.skc_daddr;
}

static __always_inline bool is_all_received(struct sock *sk)
{
	struct tcp_sock *tcp = (void *)sk;

	return BPF_CORE_READ(tcp, copied_seq) == BPF_CORE_READ(tcp, rcv_nxt);
}

/* Advances the position of a direction; returns the bytes in front of this call that no call has shown. */
static __always_inline __u64 advance(struct followed_socket *followed, struct sock *sk, __u32 length, __u32 sent)
{
	__u32 now, passed, missed = 0;

	if (followed->counted_prot && followed->counted_prot == (__u64)sk->__sk_common.skc_prot) {
		now = tcp_sequence(sk, sent);
		passed = now - followed->tcp_sequence[sent & 1];
		/* The peer's FIN behind the last byte counts as one, and this call has consumed it. */
		if (!sent && passed > length && sk->sk_shutdown & RCV_SHUTDOWN && is_all_received(sk))
			passed--;
		if (passed > length && passed < MISSED_MAX)
			missed = passed - length;
		followed->tcp_sequence[sent & 1] = now;
	}
	followed->next[sent & 1] += (__u64)missed + length;
	return missed;
}

static __always_inline void forget_older_slots(struct followed_socket *followed)
{
	struct slot_table *table = find_slot_table();
	__u64 epoch, newer;

	if (!table)
		return;
	epoch = *(volatile __u64 *)&table->epoch;
	if (followed->epoch == epoch)
		return;
	newer = slots_since(followed->epoch);
	followed->seen &= ~newer;
	followed->late &= ~newer;
	followed->ignored &= ~newer;
	followed->met[0] &= ~newer;
	followed->met[1] &= ~newer;
	followed->epoch = epoch;
}

/* The state of a socket on which a process that `slots` select has sent or received `length` bytes; NULL where it is not followed. */
static __always_inline struct followed_socket *follow_call(struct sock *sk, __u64 slots, __u32 length, __u32 sent)
{
	struct followed_socket *followed = find_socket(sk);

	if (followed) {
		if (!*(volatile __u64 *)&followed->record.record.connection)
			return NULL;
		if (!is_reconnected(followed, sk)) {
			forget_older_slots(followed);
			return followed;
		}
	} else {
		if (!can_follow(sk))
			return NULL;
		followed = create_socket(sk);
		if (!followed) {
			count_drop(DROP_SOCKET_ENTRY);
			count_lost_call(slots, length);
			return NULL;
		}
	}
	describe_socket(followed, sk, length, sent);
	forget_older_slots(followed);
	return followed;
}

/* Takes a scratch for a call, and returns its number; below 0 if no slot wants any of it. The caller then says in the scratch where
 * the bytes are, and calls finish_capture. */
static __always_inline int begin_capture(struct sock *sk, __s64 length, __u32 sent, __u64 exec_ktime,
					 struct followed_socket **found)
{
	struct followed_socket *followed;
	struct data_scratch *s;
	__u64 wanting, missed;
	int class_id, level;

	if (length <= 0 || !has_slots())
		return -1;
	class_id = current_class();
	if (class_id < 0)
		return -1;
	wanting = slots_of_class(class_id);
	if (!wanting)
		return -1;
	followed = follow_call(sk, wanting, length, sent);
	if (!followed || !(wanting & ~followed->ignored))
		return -1;
	wanting &= ~followed->ignored;

	level = acquire_data_scratch();
	s = data_scratch_at(level);
	if (level < 0 || !s) {
		advance(followed, sk, length, sent);
		count_drop(DROP_DATA);
		count_lost_call(wanting, length);
		return -1;
	}
	s->class_id = class_id;
	s->is_underway = followed->is_underway || followed->next[0] || followed->next[1];
	s->has_peers = followed->record.protocol == IPPROTO_UDP && !followed->record.remote_port;
	s->seen = followed->seen;
	s->late = followed->late;
	s->ignored = followed->ignored;
	s->fresh = ~followed->met[sent & 1];
	reset_data_scratch(s);
	missed = advance(followed, sk, length, sent);
	s->missed = missed;
	s->record = followed->record;
	fill_current_header(&s->record.record, RECORD_DATA, exec_ktime);
	s->record.flags |= sent ? DATA_SENT : 0;
	s->call_position = followed->next[sent & 1] - length;
	s->call_bytes = length;
	/* The record of the connection's end names the process of the last call. */
	followed->record.record.cgroup = s->record.record.cgroup;
	followed->record.record.exec_ktime = exec_ktime;
	followed->record.record.exec_pid = s->record.record.exec_pid;
	followed->record.record.tid = s->record.record.tid;
	*found = followed;
	s->wanting = wanting;
	return level;
}

/* Writes what the slots want of the call in a scratch, piece by piece. A datagram has one. */
__noinline int write_pieces(__u32 level)
{
#pragma nounroll
	for (__u32 piece = 0; piece < DATA_PIECES_MAX; piece++) {
		struct data_scratch *s = data_scratch_at(level);

		if (!s)
			break;
		s->record.piece = piece;
		copy_piece(level, piece == DATA_PIECES_MAX - 1 || s->record.protocol == IPPROTO_UDP);
		write_to_slots(level);
		if (s->is_last_piece)
			break;
		s->offset += s->copied;
	}
	return 0;
}

/* Asks the slots about the call in a scratch, and writes what they want. */
static __always_inline void send_call(__u32 level, struct data_scratch *s, struct followed_socket *followed)
{
	__u64 wanting;

	if (ask_slots(level)) {
		s->record.sequence = followed->record.sequence;
		followed->record.sequence++;
		write_pieces(level);
	}
	/* Only the bits of this call's slots: another call may have changed others meanwhile. */
	wanting = s->wanting;
	followed->seen = (followed->seen & ~wanting) | (s->seen & wanting);
	followed->late = (followed->late & ~wanting) | (s->late & wanting);
	followed->ignored = (followed->ignored & ~wanting) | (s->ignored & wanting);
	followed->met[s->record.flags & DATA_SENT ? 1 : 0] |= s->writes;
}

static __always_inline void finish_capture(__u32 level, struct followed_socket *followed)
{
	struct data_scratch *s = data_scratch_at(level);

	if (!s)
		return;
	send_call(level, s, followed);
	release_data_scratch(s);
}

/* Reports the end of a TCP connection to the slots that have seen it. No process uses `sk` any more. */
static __always_inline void end_connection(struct sock *sk)
{
	struct followed_socket *followed = find_socket(sk);
	struct data_record record;
	__u64 seen, late;

	if (!followed || !followed->record.record.connection)
		return;
	forget_older_slots(followed);
	record = followed->record;
	record.record.time = bpf_ktime_get_boot_ns();
	record.record.size = sizeof(record);
	record.position = followed->next[1];
	record.flags |= DATA_END | DATA_SENT | DATA_LAST_OF_CALL;
	seen = followed->seen & ~followed->ignored;
	late = followed->late;
#pragma nounroll
	for (__u32 slot = 0; slot < REQUEST_SLOTS_MAX; slot++) {
		if (seen >> slot & 1)
			write_end(&record, slot, late >> slot & 1);
	}
}

#endif
