// SPDX-License-Identifier: Apache-2.0
/* Burns one CPU in main > burn_primes > count_primes > is_prime. `burn_primes [SECONDS]`, for ever without. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define KEEP_FRAME __attribute__((noinline, noclone, optimize("no-optimize-sibling-calls")))

static volatile unsigned long found;

KEEP_FRAME static int is_prime(unsigned long number)
{
	for (unsigned long divisor = 2; divisor * divisor <= number; divisor++)
		if (number % divisor == 0)
			return 0;
	return number > 1;
}

KEEP_FRAME static unsigned long count_primes(unsigned long below)
{
	unsigned long count = 0;
	for (unsigned long number = 2; number < below; number++)
		count += is_prime(number);
	return count;
}

KEEP_FRAME static void burn_primes(void)
{
	found += count_primes(20000);
}

int main(int argc, char **argv)
{
	time_t end = argc > 1 ? time(0) + atol(argv[1]) : 0;
	do
		burn_primes();
	while (!end || time(0) < end);
	printf("%lu\n", found);
	return 0;
}
