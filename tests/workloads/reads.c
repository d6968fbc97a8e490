// SPDX-License-Identifier: Apache-2.0
/* Every call that reads the file "data". */
#include "workload.h"

static char buffer[2 * PAGE_BYTES];

static int open_data(void)
{
	return open_file("data", O_RDONLY);
}

/* words[0]: how often one byte is read. */
static void many(void)
{
	int fd = open_data();

	for (long left = atol(words[0]); left; left--)
		must(pread(fd, buffer, 1, 0));
}

static void plain(void)
{
	must(read(open_data(), buffer, sizeof(buffer)));
}

static void positioned(void)
{
	must(pread(open_data(), buffer, 100, 5));
}

static const struct iovec vector[2] = {
	{ .iov_base = buffer, .iov_len = 10 },
	{ .iov_base = buffer + 10, .iov_len = 20 },
};

static void vectored(void)
{
	must(readv(open_data(), vector, 2));
}

static void vectored_positioned(void)
{
	must(preadv(open_data(), vector, 2, 3));
}

static void vectored_flagged(void)
{
	must(preadv2(open_data(), vector, 2, 3, RWF_HIPRI));
}

static void direct(void)
{
	char *aligned = aligned_alloc(PAGE_BYTES, PAGE_BYTES);

	must(read(open_file("data", O_RDONLY | O_DIRECT), aligned, PAGE_BYTES));
}

static void at_end(void)
{
	int fd = open_data();

	must(lseek(fd, 0, SEEK_END));
	must(read(fd, buffer, 1));
}

BEHAVIOURS({ "many", many }, { "plain", plain }, { "positioned", positioned },
	   { "vectored", vectored }, { "vectored_positioned", vectored_positioned },
	   { "vectored_flagged", vectored_flagged }, { "direct", direct }, { "at_end", at_end })
