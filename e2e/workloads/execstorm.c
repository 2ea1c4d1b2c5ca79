// SPDX-License-Identifier: Apache-2.0
/*
 * Runs N short processes, one after the other, each a fork and an exec of itself, and waits for each.
 * `execstorm N`: ends with 0 only if every one of them ran and ended with 0.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEAF "--leaf"

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], LEAF))
		return 0;
	char *rest;
	long count = argc == 2 ? strtol(argv[1], &rest, 10) : -1;
	if (count < 0 || *rest) {
		fprintf(stderr, "usage: execstorm N\n");
		return 2;
	}
	for (long i = 0; i < count; i++) {
		char number[24];
		snprintf(number, sizeof(number), "%ld", i);
		pid_t child = fork();
		if (child < 0) {
			fprintf(stderr, "fork %ld: %s\n", i, strerror(errno));
			return 1;
		}
		if (child == 0) {
			execl("/proc/self/exe", argv[0], LEAF, number, (char *)0);
			_exit(127);
		}
		int status;
		while (waitpid(child, &status, 0) < 0)
			if (errno != EINTR) {
				fprintf(stderr, "wait %ld: %s\n", i, strerror(errno));
				return 1;
			}
		if (!WIFEXITED(status) || WEXITSTATUS(status)) {
			fprintf(stderr, "process %ld ended with status %#x\n", i, status);
			return 1;
		}
	}
	printf("%ld processes\n", count);
	return 0;
}
