/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Both ends of a socket, of a packet, and an address. */
#ifndef TRILOBITE_READ_SOCKET_H
#define TRILOBITE_READ_SOCKET_H

#include <bpf/bpf_endian.h>

#include "socket_address.h"
#include "value.h"

#define UNIX_PATH_BYTES 108
#define NO_HEADER 0xffff

static __always_inline void map_ipv4(__u8 *to, __u32 address)
{
	__builtin_memset(to, 0, 10);
	to[10] = 0xff;
	to[11] = 0xff;
	__builtin_memcpy(to + 12, &address, 4);
}

static __always_inline void read_sock(struct hook_socket *to, struct sock *sock)
{
	to->family = BPF_CORE_READ(sock, __sk_common.skc_family);
	to->state = BPF_CORE_READ(sock, __sk_common.skc_state);
	to->type = BPF_CORE_READ(sock, sk_type);
	to->protocol = BPF_CORE_READ(sock, sk_protocol);
	to->mark = BPF_CORE_READ(sock, sk_mark);
	to->priority = BPF_CORE_READ(sock, sk_priority);
	to->source_port = BPF_CORE_READ(sock, __sk_common.skc_num);
	to->destination_port = bpf_ntohs(BPF_CORE_READ(sock, __sk_common.skc_dport));
	to->cookie = (__u64)sock;
	if (to->family == AF_INET) {
		map_ipv4(to->source, BPF_CORE_READ(sock, __sk_common.skc_rcv_saddr));
		map_ipv4(to->destination, BPF_CORE_READ(sock, __sk_common.skc_daddr));
	} else if (to->family == AF_INET6) {
		bpf_core_read(to->source, 16, &sock->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(to->destination, 16, &sock->__sk_common.skc_v6_daddr);
	}
}

static __always_inline void read_packet(struct hook_socket *to, struct sk_buff *packet)
{
	unsigned char *head = BPF_CORE_READ(packet, head);
	__u16 network = BPF_CORE_READ(packet, network_header), transport = BPF_CORE_READ(packet, transport_header);
	__u16 ports[2] = {};
	__u8 version = 0;

	to->cookie = (__u64)BPF_CORE_READ(packet, sk);
	to->length = BPF_CORE_READ(packet, len);
	to->mark = BPF_CORE_READ(packet, mark);
	to->priority = BPF_CORE_READ(packet, priority);
	bpf_probe_read_kernel(&version, 1, head + network);
	if (version >> 4 == 4) {
		__u8 header[20] = {};
		__u32 address;

		bpf_probe_read_kernel(header, sizeof(header), head + network);
		to->family = AF_INET;
		to->protocol = header[9];
		__builtin_memcpy(&address, header + 12, 4);
		map_ipv4(to->source, address);
		__builtin_memcpy(&address, header + 16, 4);
		map_ipv4(to->destination, address);
	} else if (version >> 4 == 6) {
		__u8 next = 0;

		to->family = AF_INET6;
		bpf_probe_read_kernel(&next, 1, head + network + 6);
		to->protocol = next;
		bpf_probe_read_kernel(to->source, 16, head + network + 8);
		bpf_probe_read_kernel(to->destination, 16, head + network + 24);
	}
	if (transport && transport != NO_HEADER && !bpf_probe_read_kernel(ports, sizeof(ports), head + transport)) {
		to->source_port = bpf_ntohs(ports[0]);
		to->destination_port = bpf_ntohs(ports[1]);
	}
}

static __always_inline long read_address(struct hook_socket *to, __u64 from)
{
	struct socket_address address = {};

	if (read_memory(&address, 8, from))
		return -EFAULT;
	to->family = address.family;
	if (address.family == AF_INET) {
		to->source_port = bpf_ntohs(address.port);
		map_ipv4(to->source, address.ipv4);
	} else if (address.family == AF_INET6) {
		to->source_port = bpf_ntohs(address.port);
		return read_memory(to->source, 16, from + 8);
	}
	return 0;
}

__noinline int read_socket(__u32 slot, __u32 index)
{
	struct hook_socket *to;
	struct hook_scratch *s;
	__u32 kind, start;
	long read;

	if (!has_feature(FEATURE_SOCKETS))
		return 0;
	s = scratch_at(slot);
	if (!s || s->error)
		return 0;
	kind = value_of(index)->kind;
	start = s->start & DATA_START_MASK;
	to = (void *)&s->data[start];
	__builtin_memset(to, 0, sizeof(*to));
	if (!s->address) {
		s->error = -EFAULT;
		return 0;
	}
	s->end = start + sizeof(*to);
	if (kind == VALUE_SOCK) {
		read_sock(to, (void *)s->address);
	} else if (kind == VALUE_SKB) {
		read_packet(to, (void *)s->address);
	} else if (read_address(to, s->address)) {
		s->error = -EFAULT;
	} else if (to->family == AF_UNIX) {
		char *path = &s->data[start + sizeof(*to)];

		if (is_kernel_address(s->address))
			read = bpf_probe_read_kernel_str(path, UNIX_PATH_BYTES, (void *)s->address + 2);
		else
			read = bpf_probe_read_user_str(path, UNIX_PATH_BYTES, (void *)s->address + 2);
		if (read > 1) {
			s->text_start[index & VALUE_MASK] = start + sizeof(*to);
			s->text_length[index & VALUE_MASK] = read - 1;
			s->end = start + sizeof(*to) + read - 1;
		}
	}
	return 1;
}

#endif
