// SPDX-License-Identifier: Apache-2.0
/* Every call that writes the file "out". */
#include "workload.h"

static int open_out(void)
{
	return open_file("out", O_WRONLY | O_CREAT);
}

static void plain(void)
{
	must(write(open_out(), "1234567", 7));
}

static void positioned(void)
{
	must(pwrite(open_out(), "1234567", 7, 100));
}

static const struct iovec vector[2] = {
	{ .iov_base = "12345", .iov_len = 5 },
	{ .iov_base = "67", .iov_len = 2 },
};

static void vectored(void)
{
	must(writev(open_out(), vector, 2));
}

static void vectored_positioned(void)
{
	must(pwritev(open_out(), vector, 2, 3));
}

static void vectored_flagged(void)
{
	must(pwritev2(open_out(), vector, 2, 3, RWF_DSYNC));
}

static void direct(void)
{
	char *aligned = aligned_alloc(PAGE_BYTES, PAGE_BYTES);

	memset(aligned, 'x', PAGE_BYTES);
	must(write(open_file("out", O_WRONLY | O_CREAT | O_DIRECT), aligned, PAGE_BYTES));
}

static void space(void)
{
	must(fallocate(open_out(), 0, 0, PAGE_BYTES));
}

/* Opened for writing, not written. */
static void nothing(void)
{
	open_file("out", O_RDWR);
}

static void hole(void)
{
	must(fallocate(open_file("out", O_RDWR), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4));
}

BEHAVIOURS({ "plain", plain }, { "positioned", positioned }, { "vectored", vectored },
	   { "vectored_positioned", vectored_positioned }, { "vectored_flagged", vectored_flagged },
	   { "direct", direct }, { "space", space }, { "nothing", nothing },
	   { "hole", hole })
