/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frame of the workloads: tiny programs, each with named behaviours. One run
 * is one behaviour, in the directory that it is started in; a call that fails
 * unexpectedly ends it with a message.
 */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE_BYTES 4096
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* Evaluates to the result; ends the program when it is negative. */
#define must(call)                                                             \
	({                                                                     \
		long must_result = (long)(call);                               \
		if (must_result < 0) {                                         \
			perror(#call);                                         \
			exit(99);                                              \
		}                                                              \
		must_result;                                                   \
	})

/* Ends the program when the call succeeds: the kernel was to refuse it. */
#define must_fail(call)                                                        \
	do {                                                                   \
		if ((long)(call) >= 0) {                                       \
			fprintf(stderr, "succeeded: %s\n", #call);             \
			exit(98);                                              \
		}                                                              \
	} while (0)

struct behaviour {
	const char *name;
	void (*run)(void);
};

/* Words after the behaviour's name. */
static char **words __attribute__((unused));

static inline int open_file(const char *name, int flags)
{
	return must(open(name, flags | O_CLOEXEC, 0644));
}

/* Waits for a child and ends the program unless the child returned 0. */
static inline void reap(pid_t child)
{
	int status;

	must(waitpid(child, &status, 0));
	if (status) {
		fprintf(stderr, "child ended with %#x\n", status);
		exit(97);
	}
}

/* Says "ready" and waits for SIGUSR1, which main() has blocked. */
static inline void await_signal(void)
{
	sigset_t wanted;
	int number;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGUSR1);
	must(write(STDOUT_FILENO, "ready\n", 6));
	sigwait(&wanted, &number);
}

static inline int run_behaviour(int argc, char **argv, const struct behaviour *table, size_t count)
{
	sigset_t held;

	sigemptyset(&held);
	sigaddset(&held, SIGUSR1);
	sigprocmask(SIG_BLOCK, &held, NULL);
	words = argv + 2;
	for (size_t i = 0; argc > 1 && i < count; i++) {
		if (strcmp(argv[1], table[i].name))
			continue;
		table[i].run();
		return 0;
	}
	fprintf(stderr, "%s: no behaviour %s\n", argv[0], argc > 1 ? argv[1] : "");
	return 96;
}

#define BEHAVIOURS(...)                                                        \
	static const struct behaviour behaviours[] = { __VA_ARGS__ };          \
	int main(int argc, char **argv)                                        \
	{                                                                      \
		return run_behaviour(argc, argv, behaviours, ARRAY_SIZE(behaviours)); \
	}

#endif
