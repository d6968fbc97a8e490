/*
 * A storm of processes, as lean as it can be made: threads that each start a
 * child without copying memory (vfork) and wait for its end.
 *
 *   storm exec|clone THREADS COUNT PER_SECOND [PROGRAM]
 *
 * PER_SECOND 0: as fast as it goes. `clone`: the child ends at once, without a
 * program of its own. Prints how many began and in how many seconds.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long each, per_second;
static const char *program;
static double began_s;

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* Of its own, not inlined: a child of vfork() must not return from where it was called. */
static __attribute__((noinline)) pid_t start(void)
{
	char *const arguments[] = { (char *)program, NULL };
	pid_t child = vfork();

	if (child)
		return child;
	if (program)
		execve(program, arguments, environ);
	_exit(0);
}

static void *work(void *unused)
{
	for (long done = 0; done < each; done++) {
		double early_s = per_second ? began_s + (double)done / per_second - now_s() : 0;
		pid_t child;

		if (early_s > 0)
			usleep(early_s * 1e6);
		child = start();
		if (child < 0 || waitpid(child, NULL, 0) != child) {
			perror("storm");
			exit(1);
		}
	}
	return unused;
}

int main(int count, char **words)
{
	long threads = count > 4 ? atol(words[2]) : 0;
	pthread_t ids[64];

	if (threads < 1 || threads > 64)
		return 2;
	each = atol(words[3]) / threads;
	per_second = atol(words[4]) / threads;
	program = strcmp(words[1], "exec") ? NULL : words[5];
	began_s = now_s();
	for (long at = 0; at < threads; at++)
		pthread_create(&ids[at], NULL, work, NULL);
	for (long at = 0; at < threads; at++)
		pthread_join(ids[at], NULL);
	printf("%ld %.3f\n", each * threads, now_s() - began_s);
	return 0;
}
