// SPDX-License-Identifier: Apache-2.0
/* How processes begin and end. Prints the ids of those that matter. */
#include "workload.h"

#include <linux/sched.h>
#include <pthread.h>
#include <sys/prctl.h>

/* words[0]: the exit code of a child. */
static void code(void)
{
	pid_t child = must(fork());

	if (!child)
		_exit(atoi(words[0]));
	printf("%d\n", child);
	must(waitpid(child, NULL, 0));
}

/* words[0]: the signal that ends a child. */
static void by_signal(void)
{
	pid_t child = must(fork());

	if (!child) {
		prctl(PR_SET_DUMPABLE, 0); /* no core file */
		signal(atoi(words[0]), SIG_DFL);
		raise(atoi(words[0]));
		_exit(0);
	}
	printf("%d\n", child);
	must(waitpid(child, NULL, 0));
}

static void *end_late(void *unused)
{
	char byte;

	usleep(20000);
	must(read(open_file("data", O_RDONLY), &byte, 1));
	exit(7);
	return unused;
}

static void leader_first(void)
{
	pid_t child = must(fork());
	pthread_t second;

	if (!child) {
		pthread_create(&second, NULL, end_late, NULL);
		pthread_exit(NULL);
	}
	printf("%d\n", child);
	must(waitpid(child, NULL, 0));
}

/* Detaches from everything; whoever started it is gone when it writes. */
static void detached(void)
{
	pid_t child = must(fork());

	if (child) {
		reap(child);
		return;
	}
	must(setsid());
	if (must(fork()))
		_exit(0);
	while (getppid() == child)
		usleep(100);
	usleep(20000);
	must(write(open_file("out", O_WRONLY | O_CREAT), "late", 4));
	_exit(0);
}

/* words[0]: how many children, one after the other. */
static void many(void)
{
	for (long left = atol(words[0]); left; left--) {
		pid_t child = must(fork());

		if (!child)
			_exit(0);
		must(waitpid(child, NULL, 0));
	}
}

static void *nap(void *unused)
{
	return unused;
}

static void threads(void)
{
	pthread_t others[20];

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		pthread_create(&others[i], NULL, nap, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		pthread_join(others[i], NULL);
}

/* Two processes with one number, one after the other: each writes. */
static void number_reused(void)
{
	pid_t first = must(fork()), second;
	pid_t wanted[1];
	struct clone_args arguments = {
		.exit_signal = SIGCHLD, .set_tid = (uintptr_t)wanted, .set_tid_size = 1,
	};

	if (!first) {
		must(write(open_file("one", O_WRONLY | O_CREAT), "1", 1));
		_exit(0);
	}
	must(waitpid(first, NULL, 0));
	wanted[0] = first;
	second = must(syscall(SYS_clone3, &arguments, sizeof(arguments)));
	if (!second) {
		must(write(open_file("two", O_WRONLY | O_CREAT), "2", 1));
		_exit(0);
	}
	must(waitpid(second, NULL, 0));
	printf("%d\n", first);
}

/* words: workers, files, epochs. Each worker reads its share of the files, again and again. */
static void loaders(void)
{
	long workers = atol(words[0]), files = atol(words[1]), epochs = atol(words[2]);
	char name[32], buffer[16];

	for (long i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "part%ld", i);
		must(close(open_file(name, O_WRONLY | O_CREAT)));
	}
	for (long worker = 0; worker < workers; worker++) {
		if (must(fork()))
			continue;
		for (long i = epochs * files; i; i--) {
			int fd;

			if (i % workers != worker)
				continue;
			snprintf(name, sizeof(name), "part%ld", i % files);
			fd = open_file(name, O_RDONLY);
			must(read(fd, buffer, sizeof(buffer)));
			must(close(fd));
		}
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
}

BEHAVIOURS({ "code", code }, { "by_signal", by_signal }, { "leader_first", leader_first },
	   { "detached", detached }, { "many", many }, { "threads", threads },
	   { "number_reused", number_reused }, { "loaders", loaders })
