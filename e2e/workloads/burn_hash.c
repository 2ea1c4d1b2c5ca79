// SPDX-License-Identifier: Apache-2.0
/* Burns one CPU in main > burn_hash > hash_block > mix_word. `burn_hash [SECONDS]`, for ever without. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define KEEP_FRAME __attribute__((noinline, noclone, optimize("no-optimize-sibling-calls")))

static uint64_t block[4096];

/* Long enough that most samples fall into it and not into its caller. */
KEEP_FRAME static uint64_t mix_word(uint64_t hash, uint64_t word)
{
	for (int round = 0; round < 16; round++) {
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	return hash;
}

KEEP_FRAME static uint64_t hash_block(uint64_t hash)
{
	for (size_t i = 0; i < sizeof(block) / sizeof(block[0]); i++)
		hash = mix_word(hash, block[i]);
	return hash;
}

KEEP_FRAME static void burn_hash(uint64_t round)
{
	block[round % 4096] = hash_block(round);
}

int main(int argc, char **argv)
{
	time_t end = argc > 1 ? time(0) + atol(argv[1]) : 0;
	uint64_t round = 0;
	do
		burn_hash(round++);
	while (!end || time(0) < end);
	printf("%016llx\n", (unsigned long long)block[0]);
	return 0;
}
