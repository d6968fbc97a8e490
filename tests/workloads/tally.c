// SPDX-License-Identifier: Apache-2.0
/*
 * A job whose rows can be counted beforehand, for soaks that kill whence while it runs:
 *
 *   tally FIRST COUNT PAUSE_US
 *
 * For each number from FIRST, in the working directory: a process writes the
 * file of that name in 1 + n % 3 calls of 100 bytes and exits with n % 5;
 * another reads it to its end and exits with 0.
 */
#include "workload.h"

static void writer(long number, const char *name)
{
	char bytes[100];
	int fd = must(open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));

	memset(bytes, 'a' + number % 26, sizeof(bytes));
	for (long call = 0; call < 1 + number % 3; call++)
		must(write(fd, bytes, sizeof(bytes)));
	_exit(number % 5);
}

static void reader(const char *name)
{
	char bytes[64];
	int fd = must(open(name, O_RDONLY | O_CLOEXEC));

	while (must(read(fd, bytes, sizeof(bytes))) > 0)
		;
	_exit(0);
}

static void await(pid_t child)
{
	must(waitpid(child, NULL, 0));
}

int main(int count, char **arguments)
{
	long first, files, pause_us;

	if (count != 4)
		return 97;
	first = atol(arguments[1]);
	files = atol(arguments[2]);
	pause_us = atol(arguments[3]);
	for (long number = first; number < first + files; number++) {
		char name[32];
		pid_t child;

		snprintf(name, sizeof(name), "%ld", number);
		child = must(fork());
		if (!child)
			writer(number, name);
		await(child);
		child = must(fork());
		if (!child)
			reader(name);
		await(child);
		if (pause_us)
			usleep(pause_us);
	}
	return 0;
}
