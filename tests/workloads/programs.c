// SPDX-License-Identifier: Apache-2.0
/*
 * Ways to run another program. "target" in the working directory is one that
 * takes any argument and returns 0.
 */
#include "workload.h"

#include <pthread.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>

extern char **environ;

/* Passes its words on. */
static void passed_on(void)
{
	must(execv("./target", words - 1));
}

static void odd_arguments(void)
{
	char *arguments[] = { "", "", "two\nlines", "tab\t", "\xff\xfe", "", NULL };

	must(execv("./target", arguments));
}

/* words[0]: bytes of the one argument. */
static void long_argument(void)
{
	size_t length = atol(words[0]);
	char *argument = malloc(length + 1);

	memset(argument, 'a', length);
	argument[length] = 0;
	must(execv("./target", (char *[]){ "target", argument, NULL }));
}

/* What a program does that hides what it was started with. */
static void rewritten(void)
{
	must(prctl(PR_SET_NAME, "disguise"));
	memset(words[0], 'X', strlen(words[0]));
	must(getpid());
}

static void script(void)
{
	must(execv("./script", (char *[]){ "script", "word", NULL }));
}

static void *exec_in_thread(void *unused)
{
	must(execv("./target", (char *[]){ "target", "from a thread", NULL }));
	return unused;
}

static void thread(void)
{
	pthread_t second;

	pthread_create(&second, NULL, exec_in_thread, NULL);
	pthread_join(second, NULL);
}

static int copy_in_memory(void)
{
	int from = open_file("target", O_RDONLY), to = must(memfd_create("image", MFD_CLOEXEC));

	while (must(sendfile(to, from, NULL, 1 << 20)))
		;
	return to;
}

static void in_memory(void)
{
	must(fexecve(copy_in_memory(), (char *[]){ "target", NULL }, environ));
}

static void after_vfork(void)
{
	pid_t child = must(vfork());

	if (!child) {
		execv("./target", (char *[]){ "target", "vfork", NULL });
		_exit(1);
	}
	printf("%d\n", child);
	reap(child);
}

static void spawned(void)
{
	pid_t child;

	must(-posix_spawn(&child, "./target", NULL, NULL, (char *[]){ "target", "spawn", NULL },
			  environ));
	printf("%d\n", child);
	reap(child);
}

/* The program is an input of the loader. */
static void by_loader(void)
{
	must(execv("/lib64/ld-linux-x86-64.so.2", (char *[]){ "ld.so", "./target", NULL }));
}

static void failing(void)
{
	char *arguments[] = { "target", NULL };

	must_fail(execv("./absent", arguments));
	must_fail(execv("./plain", arguments));
	must_fail(execv("./garbage", arguments));
	must_fail(execv(".", arguments));
}

/* The second program of one process. */
static void twice(void)
{
	must(execv(words[0], (char *[]){ words[0], "passed_on", "again", NULL }));
}

BEHAVIOURS({ "passed_on", passed_on }, { "odd_arguments", odd_arguments },
	   { "long_argument", long_argument }, { "rewritten", rewritten }, { "script", script },
	   { "thread", thread }, { "in_memory", in_memory }, { "after_vfork", after_vfork },
	   { "spawned", spawned }, { "failing", failing }, { "by_loader", by_loader }, { "twice", twice })
