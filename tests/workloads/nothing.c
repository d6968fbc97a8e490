// SPDX-License-Identifier: Apache-2.0
/* Calls that reach a file and move none of its bytes. */
#include "workload.h"

#include <dirent.h>
#include <sys/file.h>
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

BEHAVIOURS({ "refused", refused }, { "looked_at", looked_at }, { "opened", opened },
	   { "empty_opened", empty_opened })
