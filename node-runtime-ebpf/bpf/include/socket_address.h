/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Families of sockets, and the address of an end of one as a caller hands it to the kernel. */
#ifndef TRILOBITE_SOCKET_ADDRESS_H
#define TRILOBITE_SOCKET_ADDRESS_H

#include <linux/types.h>

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10

struct socket_address {
	__u16 family;
	__u16 port;                     /* network byte order */
	__u32 ipv4;                     /* of IPv6: flow information, before the address */
	__u64 ipv6[2];
};

#endif
