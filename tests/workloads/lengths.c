// SPDX-License-Identifier: Apache-2.0
/* The length of the file "data" changes; no byte is written. */
#include "workload.h"

#include <linux/openat2.h>

static void by_path(void)
{
	must(truncate("data", 3));
}

static void by_descriptor(void)
{
	must(ftruncate(open_file("data", O_WRONLY), 3));
}

static void by_open(void)
{
	open_file("data", O_WRONLY | O_TRUNC);
}

/* The call that the C library no longer uses. */
static void by_old_open(void)
{
	must(syscall(SYS_open, "data", O_WRONLY | O_TRUNC, 0));
}

static void by_openat2(void)
{
	struct open_how how = { .flags = O_WRONLY | O_TRUNC };

	must(syscall(SYS_openat2, AT_FDCWD, "data", &how, sizeof(how)));
}

static void by_creat(void)
{
	must(creat("data", 0644));
}

BEHAVIOURS({ "by_path", by_path }, { "by_descriptor", by_descriptor }, { "by_open", by_open },
	   { "by_old_open", by_old_open }, { "by_openat2", by_openat2 }, { "by_creat", by_creat })
