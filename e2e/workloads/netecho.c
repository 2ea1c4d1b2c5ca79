// SPDX-License-Identifier: Apache-2.0
/*
 * A TCP and UDP echo server and its client, over IPv4 and IPv6 by address: names would need the C library's resolver.
 *   netecho serve PORT                      both protocols, both families, until it is killed
 *   netecho send tcp|udp ADDRESS PORT BYTES sends BYTES, reads them back, ends with 0 only if they are the same
 * TCP is written in pieces of up to 256 KiB, so that the kernel hands down segments larger than the link's MTU.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#define PIECE (256 * 1024)
#define DATAGRAM 1200
#define PATIENCE_MS 5000

static char out[PIECE], in[PIECE];

static void die(const char *doing)
{
	fprintf(stderr, "cannot %s: %s\n", doing, strerror(errno));
	exit(1);
}

static int listening(int kind, int port)
{
	int both = 0, reuse = 1;
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any };
	int socket_fd = socket(AF_INET6, kind, 0);
	if (socket_fd < 0)
		die("make a socket");
	setsockopt(socket_fd, IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof(both));
	setsockopt(socket_fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
	if (bind(socket_fd, (struct sockaddr *)&any, sizeof(any)))
		die("bind");
	if (kind == SOCK_STREAM && listen(socket_fd, 128))
		die("listen");
	return socket_fd;
}

static void write_all(int to, const char *bytes, size_t length)
{
	while (length) {
		ssize_t done = write(to, bytes, length);
		if (done < 0)
			die("write");
		bytes += done;
		length -= done;
	}
}

static void answer_stream(int peer)
{
	ssize_t got;
	while ((got = read(peer, in, sizeof(in))) > 0)
		write_all(peer, in, got);
}

static int serve(int port)
{
	int stream = listening(SOCK_STREAM, port), datagrams = listening(SOCK_DGRAM, port);
	struct pollfd ready[] = { { .fd = stream, .events = POLLIN }, { .fd = datagrams, .events = POLLIN } };
	signal(SIGCHLD, SIG_IGN);
	printf("netecho on port %d\n", port);
	fflush(stdout);
	for (;;) {
		if (poll(ready, 2, -1) < 0)
			die("poll");
		if (ready[1].revents) {
			struct sockaddr_in6 from;
			socklen_t size = sizeof(from);
			ssize_t got = recvfrom(datagrams, in, sizeof(in), 0, (struct sockaddr *)&from, &size);
			if (got >= 0)
				sendto(datagrams, in, got, 0, (struct sockaddr *)&from, size);
		}
		if (ready[0].revents) {
			int peer = accept(stream, 0, 0);
			if (peer < 0)
				continue;
			if (fork() == 0) {
				close(stream);
				close(datagrams);
				answer_stream(peer);
				_exit(0);
			}
			close(peer);
		}
	}
}

static int connected(int kind, const char *address, int port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int family = inet_pton(AF_INET, address, &v4.sin_addr) == 1 ? AF_INET : AF_INET6;
	if (family == AF_INET6 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1) {
		fprintf(stderr, "%s is no address\n", address);
		exit(2);
	}
	int peer = socket(family, kind, 0);
	struct sockaddr *to = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
	if (peer < 0 || connect(peer, to, family == AF_INET ? sizeof(v4) : sizeof(v6)))
		die("connect");
	return peer;
}

/* Reads exactly as much back as was sent, and compares. */
static void expect_back(int peer, size_t length)
{
	for (size_t at = 0; at < length;) {
		struct pollfd ready = { .fd = peer, .events = POLLIN };
		if (poll(&ready, 1, PATIENCE_MS) != 1) {
			fprintf(stderr, "no answer\n");
			exit(1);
		}
		ssize_t got = read(peer, in + at, length - at);
		if (got <= 0)
			die("read back what was sent");
		at += got;
	}
	if (memcmp(in, out, length)) {
		fprintf(stderr, "what came back is not what was sent\n");
		exit(1);
	}
}

static int send_bytes(const char *protocol, const char *address, int port, size_t bytes)
{
	int udp = !strcmp(protocol, "udp");
	size_t most = udp ? DATAGRAM : PIECE;
	int peer = connected(udp ? SOCK_DGRAM : SOCK_STREAM, address, port);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 31 + (i >> 8));
	for (size_t left = bytes; left;) {
		size_t length = left < most ? left : most;
		/* A child writes while this reads: or both sides wait with full buffers. */
		pid_t writer = udp ? -1 : fork();
		if (writer <= 0)
			write_all(peer, out, length);
		if (writer == 0)
			_exit(0);
		expect_back(peer, length);
		if (writer > 0)
			waitpid(writer, 0, 0);
		left -= length;
	}
	printf("%zu bytes over %s to %s and back\n", bytes, protocol, address);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve(atoi(argv[2]));
	if (argc == 6 && !strcmp(argv[1], "send") && (!strcmp(argv[2], "tcp") || !strcmp(argv[2], "udp")))
		return send_bytes(argv[2], argv[3], atoi(argv[4]), strtoul(argv[5], 0, 10));
	fprintf(stderr, "usage: netecho serve PORT | netecho send tcp|udp ADDRESS PORT BYTES\n");
	return 2;
}
