// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Floods of processes: programs as fast as they can be started, and many ends at once. */
#include "workload.h"

#include <time.h>

#define AT_A_TIME 4

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void nothing(void)
{
}

static __attribute__((noinline)) void start(char **command)
{
	if (must(vfork()))
		return;
	execv(command[0], command);
	_exit(127);
}

/* words[0]: how many programs; words[1]: how many a second at most, 0 as fast as it goes. */
static void programs(void)
{
	long count = atol(words[0]), a_second = atol(words[1]), begun = 0, ended = 0;
	char *again[] = { "/proc/self/exe", "nothing", NULL };
	double from_s = now_s(), took_s;

	while (ended < count) {
		if (begun < count && begun - ended < AT_A_TIME &&
		    (!a_second || begun <= (now_s() - from_s) * a_second)) {
			start(again);
			begun++;
			continue;
		}
		if (begun == ended)
			usleep(100);
		else if (must(waitpid(-1, NULL, begun < count ? WNOHANG : 0)))
			ended++;
	}
	took_s = now_s() - from_s;
	printf("%.0f\n", count / took_s);
}

/* words[0]: how many processes wait for one end of file, and end together. */
static void at_once(void)
{
	long count = atol(words[0]);
	int gate[2];
	char byte;

	must(pipe(gate));
	for (long left = count; left; left--) {
		if (must(fork()))
			continue;
		close(gate[1]);
		must(read(gate[0], &byte, 1));
		_exit(0);
	}
	close(gate[1]);
	for (long left = count; left; left--)
		must(waitpid(-1, NULL, 0));
}

BEHAVIOURS({ "nothing", nothing }, { "programs", programs }, { "at_once", at_once })
