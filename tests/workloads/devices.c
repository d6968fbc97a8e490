// SPDX-License-Identifier: Apache-2.0
/*
 * Devices that carry bytes past the calls on files. Their nodes are made here,
 * with the names of hardware that need not be there; no driver of it runs.
 */
#include "workload.h"

#include <linux/io_uring.h>
#include <sys/sysmacros.h>

static char buffer[512];

/* The device of GPUDirect Storage, then the file that the GPU is to read. */
static void gpudirect(void)
{
	must(mknod("nvidia-fs0", S_IFCHR | 0600, makedev(1, 3)));
	must(open("nvidia-fs0", O_RDWR));
	must(open("data", O_RDONLY));
}

/* A loop device with no file behind it: empty. */
static void block(void)
{
	must(mknod("disk", S_IFBLK | 0600, makedev(7, 7)));
	must(read(must(open("disk", O_RDONLY)), buffer, sizeof(buffer)));
}

static void ordinary(void)
{
	must(read(must(open("/dev/zero", O_RDONLY)), buffer, sizeof(buffer)));
	must(open("data", O_RDONLY));
}

BEHAVIOURS({ "gpudirect", gpudirect }, { "block", block }, { "ordinary", ordinary })
