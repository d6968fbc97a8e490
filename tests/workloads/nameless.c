// SPDX-License-Identifier: Apache-2.0
/* Files that have no name, or get one late. */
#include "workload.h"

static char buffer[16];

static int written_nameless(void)
{
	int fd = must(open(".", O_TMPFILE | O_RDWR, 0644));

	must(write(fd, "content", 7));
	return fd;
}

static void linked_by_procfs(void)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", written_nameless());
	must(linkat(AT_FDCWD, name, AT_FDCWD, "out", AT_SYMLINK_FOLLOW));
}

static void linked_by_descriptor(void)
{
	must(linkat(written_nameless(), "", AT_FDCWD, "out", AT_EMPTY_PATH));
}

static void in_memory(void)
{
	int fd = must(memfd_create("scratch", 0));

	must(write(fd, "content", 7));
	must(pread(fd, buffer, 7, 0));
}

BEHAVIOURS({ "linked_by_procfs", linked_by_procfs },
	   { "linked_by_descriptor", linked_by_descriptor }, { "in_memory", in_memory })
