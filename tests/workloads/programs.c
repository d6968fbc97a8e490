// SPDX-License-Identifier: Apache-2.0
/*
 * Ways to run another program. "target" in the working directory is one that
 * takes any argument and returns 0.
 */
#include "workload.h"

#include <pthread.h>
#include <spawn.h>
#include <sys/mount.h>
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

/* The same, by the name that procfs has for the descriptor. */
static void in_memory_by_procfs(void)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", copy_in_memory());
	must(execv(name, (char *[]){ "target", NULL }));
}

/* The interpreter opens the script by the descriptor's name. */
static void script_by_descriptor(void)
{
	int fd = must(open("script", O_RDONLY));

	must(syscall(SYS_execveat, fd, "", (char *[]){ "script", NULL }, environ, AT_EMPTY_PATH));
}

/* words: a program and its arguments. */
static void run(void)
{
	must(execvp(words[0], words));
}

static void put(const char *name, const char *text)
{
	must(write(open_file(name, O_WRONLY), text, strlen(text)));
}

/* A handler of our own for files that end in "odd": the kernel runs cat in their place. */
static void handled(void)
{
	must(unshare(CLONE_NEWUSER | CLONE_NEWNS));
	put("/proc/self/uid_map", "0 0 1");
	put("/proc/self/setgroups", "deny");
	put("/proc/self/gid_map", "0 0 1");
	must(mount("binfmt_misc", "folder", "binfmt_misc", 0, NULL));
	put("folder/register", ":whence:E::odd::/bin/cat:");
	must(execv("./thing.odd", (char *[]){ "thing.odd", NULL }));
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
	   { "thread", thread }, { "in_memory", in_memory },
	   { "in_memory_by_procfs", in_memory_by_procfs },
	   { "script_by_descriptor", script_by_descriptor }, { "run", run }, { "handled", handled }, { "after_vfork", after_vfork },
	   { "spawned", spawned }, { "failing", failing }, { "by_loader", by_loader }, { "twice", twice })
