// SPDX-License-Identifier: Apache-2.0
/* The kernel moves bytes from the file "data" to the file "out". */
#include "workload.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>

static int open_data(void)
{
	return open_file("data", O_RDONLY);
}

static int open_out(void)
{
	return open_file("out", O_WRONLY | O_CREAT);
}

static void sent(void)
{
	must(sendfile(open_out(), open_data(), NULL, 100));
}

static void spliced(void)
{
	int ends[2];

	must(pipe2(ends, O_CLOEXEC));
	must(splice(open_data(), NULL, ends[1], NULL, 100, 0));
	must(splice(ends[0], NULL, open_out(), NULL, 100, 0));
}

static void copied(void)
{
	must(copy_file_range(open_data(), NULL, open_out(), NULL, 100, 0));
}

/* No two file systems share blocks. */
static void refused_clone(void)
{
	int elsewhere = must(memfd_create("elsewhere", MFD_CLOEXEC));

	must_fail(ioctl(open_out(), FICLONE, elsewhere));
	must_fail(ioctl(elsewhere, FICLONE, open_data()));
}

/* Blocks in common, on a file system that can. */
static void cloned(void)
{
	must(ioctl(open_out(), FICLONE, open_data()));
}

/* From one pipe into another and on, without leaving the first. */
static void teed(void)
{
	int first[2], second[2];

	must(pipe2(first, O_CLOEXEC));
	must(pipe2(second, O_CLOEXEC));
	must(splice(open_data(), NULL, first[1], NULL, 100, 0));
	must(tee(first[0], second[1], 100, 0));
	must(splice(second[0], NULL, open_out(), NULL, 100, 0));
}

static char memory[100];

/* From memory into a pipe without a copy, and on into a file. */
static void gifted(void)
{
	struct iovec vector = { .iov_base = memory, .iov_len = sizeof(memory) };
	int ends[2];

	must(pipe2(ends, O_CLOEXEC));
	must(vmsplice(ends[1], &vector, 1, 0));
	must(splice(ends[0], NULL, open_out(), NULL, 100, 0));
}

BEHAVIOURS({ "sent", sent }, { "spliced", spliced }, { "copied", copied },
	   { "refused_clone", refused_clone }, { "cloned", cloned }, { "teed", teed },
	   { "gifted", gifted })
