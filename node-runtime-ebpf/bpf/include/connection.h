/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The key of a connection: the same for a flow, for both its directions, and for the requests on it. */
#ifndef TRILOBITE_CONNECTION_H
#define TRILOBITE_CONNECTION_H

#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define HASH_FACTOR 0x9e3779b97f4a7c15ull

/* The address is mixed before the port is added: addresses of neighbours differ in the same few bits as their ports. */
static __always_inline __u64 hash_address(const __u8 *address, __u16 port)
{
	__u64 high = *(__u64 *)address, low = *(__u64 *)(address + 8);

	high *= HASH_FACTOR;
	high = (high ^ (high >> 32) ^ port) * HASH_FACTOR;
	low = (low ^ (high >> 29)) * 0xbf58476d1ce4e5b9ull;
	return low ^ (low >> 32);
}

/* Of an address with IPv4 in its first four bytes. */
static __always_inline bool is_loopback(const __u8 *address)
{
	__u64 high = *(__u64 *)address, low = *(__u64 *)(address + 8);

	if (!low)
		return address[0] == 127 && !*(__u32 *)(address + 4);
	return !high && low == bpf_cpu_to_be64(1);
}

/* Never 0. Ports are in network order. Each network namespace has its own loopback addresses: there it is part of the key. */
static __always_inline __u64 connection_key(const __u8 *one, __u16 one_port, const __u8 *other, __u16 other_port, __u8 protocol,
					    __u32 namespace)
{
	__u64 sum = hash_address(one, one_port) + hash_address(other, other_port) + protocol;

	if (is_loopback(one) || is_loopback(other))
		sum += namespace * HASH_FACTOR;
	return sum ? sum : 1;
}

#endif
