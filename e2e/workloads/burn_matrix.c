// SPDX-License-Identifier: Apache-2.0
/* Burns one CPU in main > burn_matrix > multiply_matrix > dot_product. `burn_matrix [SECONDS]`, for ever without. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define KEEP_FRAME __attribute__((noinline, noclone, optimize("no-optimize-sibling-calls")))
#define SIZE 128

static double left[SIZE][SIZE], right[SIZE][SIZE], product[SIZE][SIZE];

KEEP_FRAME static double dot_product(int row, int column)
{
	double sum = 0;
	for (int i = 0; i < SIZE; i++)
		sum += left[row][i] * right[i][column];
	return sum;
}

KEEP_FRAME static void multiply_matrix(void)
{
	for (int row = 0; row < SIZE; row++)
		for (int column = 0; column < SIZE; column++)
			product[row][column] = dot_product(row, column);
}

KEEP_FRAME static void burn_matrix(int round)
{
	left[round % SIZE][0] = round;
	right[0][round % SIZE] = round;
	multiply_matrix();
}

int main(int argc, char **argv)
{
	time_t end = argc > 1 ? time(0) + atol(argv[1]) : 0;
	int round = 0;
	do
		burn_matrix(round++);
	while (!end || time(0) < end);
	printf("%f\n", product[0][0]);
	return 0;
}
