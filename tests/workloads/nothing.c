// SPDX-License-Identifier: Apache-2.0
/* Calls that reach a file and move none of its bytes. */
#include "workload.h"

#include <dirent.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/xattr.h>

static char buffer[16];

static void refused(void)
{
	int read_only = open_file("data", O_RDONLY), write_only = open_file("data", O_WRONLY);

	must_fail(open("absent", O_RDONLY));
	must_fail(open("data/below", O_RDONLY));
	must_fail(open("data", O_WRONLY | O_CREAT | O_EXCL));
	must_fail(write(read_only, "x", 1));
	must_fail(read(write_only, buffer, 1));
	must_fail(rename("absent", "new"));
	must_fail(link("data", "data"));
	must_fail(unlink("absent"));
	must_fail(truncate("absent", 0));
	must_fail(ftruncate(read_only, 0));
	must_fail(read(-1, buffer, 1));
}

/* Another security module says no, after the checks of owners and modes said yes. */
static void walled_in(void)
{
	struct landlock_ruleset_attr all = { .handled_access_fs = (1 << 13) - 1 };
	int rules = must(syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0));

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	must(syscall(SYS_landlock_restrict_self, rules, 0));
	must_fail(open("data", O_RDONLY));
	must_fail(open("data", O_WRONLY | O_TRUNC));
	must_fail(open("new", O_WRONLY | O_CREAT));
	must_fail(unlink("data"));
	must_fail(rename("data", "moved/data"));
}

/* A filter refuses the calls themselves. */
static void filtered(void)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rename, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
	};
	struct sock_fprog filter = { .len = ARRAY_SIZE(steps), .filter = steps };
	int data = open_file("data", O_RDONLY);

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter));
	must_fail(read(data, buffer, 1));
	must_fail(rename("data", "moved"));
}

static void looked_at(void)
{
	struct stat status;
	DIR *directory = opendir(".");

	must(stat("data", &status));
	must(access("data", R_OK));
	while (readdir(directory))
		;
	must(open("data", O_PATH));
	must(flock(open_file("data", O_RDONLY), LOCK_SH));
	must_fail(getxattr("data", "user.absent", buffer, sizeof(buffer)));
	must(chmod("data", 0600));
}

static void opened(void)
{
	open_file("data", O_RDONLY);
	open_file("data", O_RDWR);
	open_file("data", O_WRONLY | O_APPEND);
}

static void empty_opened(void)
{
	open_file("empty", O_RDWR);
	open_file("empty", O_WRONLY | O_CREAT);
}

BEHAVIOURS({ "refused", refused }, { "walled_in", walled_in }, { "filtered", filtered }, { "looked_at", looked_at }, { "opened", opened },
	   { "empty_opened", empty_opened })
