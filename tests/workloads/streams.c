// SPDX-License-Identifier: Apache-2.0
/* Bytes that flow from one process to another. Prints writer and reader. */
#include "workload.h"

static char buffer[64];

static void flow(int (*open_end)(int flags))
{
	pid_t reader = must(fork());

	if (!reader) {
		must(read(open_end(O_RDONLY), buffer, sizeof(buffer)));
		exit(0);
	}
	must(write(open_end(O_WRONLY), "flow", 4));
	printf("%d %d\n", getpid(), reader);
	reap(reader);
}

static int open_fifo(int flags)
{
	return must(open("fifo", flags));
}

static int ends[2];

static int take_end(int flags)
{
	return ends[flags == O_WRONLY];
}

static void named(void)
{
	must(mkfifo("fifo", 0600));
	flow(open_fifo);
}

static void anonymous(void)
{
	must(pipe(ends));
	flow(take_end);
}

BEHAVIOURS({ "named", named }, { "anonymous", anonymous })
