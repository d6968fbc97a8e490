// SPDX-License-Identifier: Apache-2.0
/* Reads of "data" and writes of "out" through libaio's system calls. */
#include "workload.h"

#include <linux/aio_abi.h>

static char buffer[PAGE_BYTES];

static const struct iovec vector[2] = {
	{ .iov_base = buffer, .iov_len = 40 },
	{ .iov_base = buffer + 40, .iov_len = 60 },
};

static struct iocb block_of(int opcode, int fd, const void *at, size_t length)
{
	return (struct iocb){
		.aio_lio_opcode = opcode, .aio_fildes = fd, .aio_buf = (uintptr_t)at,
		.aio_nbytes = length,
	};
}

/* Submits all and waits for all; each has to succeed. */
static void submit(struct iocb *blocks, int count)
{
	struct iocb *pointers[8];
	struct io_event events[8];
	aio_context_t context = 0;

	for (int i = 0; i < count; i++)
		pointers[i] = &blocks[i];
	must(syscall(SYS_io_setup, count, &context));
	must(syscall(SYS_io_submit, context, count, pointers));
	must(syscall(SYS_io_getevents, context, count, count, events, NULL));
	for (int i = 0; i < count; i++)
		must(events[i].res);
}

static void plain(void)
{
	struct iocb blocks[2] = {
		block_of(IOCB_CMD_PREAD, open_file("data", O_RDONLY), buffer, 100),
		block_of(IOCB_CMD_PWRITE, open_file("out", O_WRONLY), buffer, 100),
	};

	submit(blocks, ARRAY_SIZE(blocks));
}

static void vectored(void)
{
	struct iocb blocks[2] = {
		block_of(IOCB_CMD_PREADV, open_file("data", O_RDONLY), vector, 2),
		block_of(IOCB_CMD_PWRITEV, open_file("out", O_WRONLY), vector, 2),
	};

	submit(blocks, ARRAY_SIZE(blocks));
}

/* Requests that move nothing. */
static void synced(void)
{
	struct iocb block = block_of(IOCB_CMD_FSYNC, open_file("out", O_WRONLY), NULL, 0);

	submit(&block, 1);
}

static void refused(void)
{
	struct iocb block = block_of(IOCB_CMD_PREAD, -1, buffer, 100), *pointer = &block;
	aio_context_t context = 0;

	must(syscall(SYS_io_setup, 1, &context));
	must_fail(syscall(SYS_io_submit, context, 1, &pointer));
}

BEHAVIOURS({ "plain", plain }, { "vectored", vectored }, { "synced", synced },
	   { "refused", refused })
