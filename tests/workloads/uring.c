// SPDX-License-Identifier: Apache-2.0
/* Reads of "data" and writes of "out" through io_uring: no system call names them. */
#include "uring.h"

static char buffer[PAGE_BYTES];

static const struct iovec vector = { .iov_base = buffer, .iov_len = 100 };

static void read_and_write(struct ring *ring)
{
	int data = open_file("data", O_RDONLY), out = open_file("out", O_WRONLY);

	must(result_of(ring, request_of(IORING_OP_READ, data, buffer, 100)));
	must(result_of(ring, request_of(IORING_OP_WRITE, out, buffer, 100)));
}

static void plain(void)
{
	struct ring ring = ring_of(0);

	read_and_write(&ring);
}

static void polled(void)
{
	struct ring ring = ring_of(IORING_SETUP_SQPOLL);

	read_and_write(&ring);
}

static void vectored(void)
{
	struct ring ring = ring_of(0);
	int data = open_file("data", O_RDONLY), out = open_file("out", O_WRONLY);

	must(result_of(&ring, request_of(IORING_OP_READV, data, &vector, 1)));
	must(result_of(&ring, request_of(IORING_OP_WRITEV, out, &vector, 1)));
}

/* Done by a kernel thread of the process (io-wq). */
static void handed_over(void)
{
	struct ring ring = ring_of(0);
	struct io_uring_sqe request =
		request_of(IORING_OP_READ, open_file("data", O_RDONLY), buffer, 100);

	request.flags = IOSQE_ASYNC;
	must(result_of(&ring, request));
	request = request_of(IORING_OP_WRITE, open_file("out", O_WRONLY), buffer, 100);
	request.flags = IOSQE_ASYNC;
	must(result_of(&ring, request));
}

/* The files have places in the ring's own table; the descriptors are closed. */
static void fixed_files(void)
{
	struct ring ring = ring_of(0);
	int fds[2] = { open_file("data", O_RDONLY), open_file("out", O_WRONLY) };
	struct io_uring_sqe request;

	must(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, fds, 2));
	must(close(fds[0]));
	must(close(fds[1]));
	request = request_of(IORING_OP_READ, 0, buffer, 100);
	request.flags = IOSQE_FIXED_FILE;
	must(result_of(&ring, request));
	request = request_of(IORING_OP_WRITE, 1, buffer, 100);
	request.flags = IOSQE_FIXED_FILE;
	must(result_of(&ring, request));
}

static void fixed_buffers(void)
{
	struct ring ring = ring_of(0);
	struct iovec whole = { .iov_base = buffer, .iov_len = sizeof(buffer) };

	must(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &whole, 1));
	must(result_of(&ring, request_of(IORING_OP_READ_FIXED, open_file("data", O_RDONLY),
					 buffer, 100)));
	must(result_of(&ring, request_of(IORING_OP_WRITE_FIXED, open_file("out", O_WRONLY),
					 buffer, 100)));
}

static void opened(void)
{
	struct ring ring = ring_of(0);
	struct io_uring_sqe request = request_of(IORING_OP_OPENAT, AT_FDCWD, "new", 0644);
	int fd;

	request.open_flags = O_WRONLY | O_CREAT;
	fd = must(result_of(&ring, request));
	must(write(fd, "1234567", 7));
	must(result_of(&ring, request_of(IORING_OP_CLOSE, fd, NULL, 0)));
}

/* READV_FIXED and WRITEV_FIXED, Linux 6.15: numbers that older headers lack. */
static void fixed_vectors(void)
{
	struct ring ring = ring_of(0);
	struct iovec whole = { .iov_base = buffer, .iov_len = sizeof(buffer) };

	must(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &whole, 1));
	must(result_of(&ring, request_of(60, open_file("data", O_RDONLY), &vector, 1)));
	must(result_of(&ring, request_of(61, open_file("out", O_WRONLY), &vector, 1)));
}

/* Nothing is cut, nothing is written. */
static void opened_only(void)
{
	struct ring ring = ring_of(0);
	struct io_uring_sqe request = request_of(IORING_OP_OPENAT, AT_FDCWD, "empty", 0);

	request.open_flags = O_RDWR;
	must(result_of(&ring, request));
}

/* The result 0 is a place in the ring's table; descriptor 0 is another file. */
static void opened_in_ring(void)
{
	struct ring ring = ring_of(0);
	struct io_uring_sqe request = request_of(IORING_OP_OPENAT, AT_FDCWD, "out", 0);
	int nothing = -1;

	must(dup2(open_file("empty", O_RDWR), STDIN_FILENO));
	must(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, &nothing, 1));
	request.open_flags = O_WRONLY | O_TRUNC;
	request.file_index = 1;
	must(result_of(&ring, request));
	request = request_of(IORING_OP_WRITE, 0, buffer, 100);
	request.flags = IOSQE_FIXED_FILE;
	must(result_of(&ring, request));
}

static void failing(void)
{
	struct ring ring = ring_of(0);
	struct io_uring_sqe request = request_of(IORING_OP_OPENAT, AT_FDCWD, "absent", 0);

	must_fail(result_of(&ring, request));
	must_fail(result_of(&ring, request_of(IORING_OP_READ, open_file("out", O_WRONLY),
					      buffer, 100)));
	must_fail(result_of(&ring, request_of(IORING_OP_WRITE, open_file("data", O_RDONLY),
					      buffer, 100)));
}

/* The second begins when the first is done. */
static void chained(void)
{
	struct ring ring = ring_of(0);
	struct io_uring_sqe requests[2] = {
		request_of(IORING_OP_READ, open_file("data", O_RDONLY), buffer, 100),
		request_of(IORING_OP_WRITE, open_file("out", O_WRONLY), buffer, 100),
	};

	requests[0].flags = IOSQE_IO_LINK;
	results_of(&ring, requests, 2);
}

static struct io_uring_sqe name_request(int opcode, const char *old, const char *new)
{
	struct io_uring_sqe request = request_of(opcode, AT_FDCWD, old, (unsigned int)AT_FDCWD);

	request.addr2 = (uintptr_t)new;
	return request;
}

static void renamed(void)
{
	struct ring ring = ring_of(0);

	must(result_of(&ring, name_request(IORING_OP_RENAMEAT, "data", "moved")));
}

static void linked(void)
{
	struct ring ring = ring_of(0);

	must(result_of(&ring, name_request(IORING_OP_LINKAT, "data", "second")));
}

static void deleted(void)
{
	struct ring ring = ring_of(0);

	must(result_of(&ring, request_of(IORING_OP_UNLINKAT, AT_FDCWD, "data", 0)));
}

static void folder_deleted(void)
{
	struct ring ring = ring_of(0);
	struct io_uring_sqe request = request_of(IORING_OP_UNLINKAT, AT_FDCWD, "folder", 0);

	must(mkdir("folder", 0755));
	request.unlink_flags = AT_REMOVEDIR;
	must(result_of(&ring, request));
}

/* From "data" through a pipe into "out". */
static void spliced(void)
{
	struct ring ring = ring_of(0);
	struct io_uring_sqe request = request_of(IORING_OP_SPLICE, 0, NULL, 100);
	int ends[2];

	must(pipe2(ends, O_CLOEXEC));
	request.splice_fd_in = open_file("data", O_RDONLY);
	request.splice_off_in = 0;
	request.fd = ends[1];
	request.off = -1;
	must(result_of(&ring, request));
	request.splice_fd_in = ends[0];
	request.splice_off_in = -1;
	request.fd = open_file("out", O_WRONLY);
	request.off = 0;
	must(result_of(&ring, request));
}

static void cut(void)
{
	struct ring ring = ring_of(0);
	struct io_uring_sqe request = request_of(55, open_file("out", O_WRONLY), NULL, 0);

	request.off = 7;
	must(result_of(&ring, request));
}

/* Both succeed and say so to nobody: completions of successes are not wanted. */
static void silent(void)
{
	struct ring ring = ring_of(0);
	struct io_uring_sqe requests[2] = {
		request_of(IORING_OP_READ, open_file("data", O_RDONLY), buffer, 100),
		request_of(IORING_OP_WRITE, open_file("out", O_WRONLY), buffer, 100),
	};

	requests[0].flags = requests[1].flags = IOSQE_CQE_SKIP_SUCCESS;
	sent_off(&ring, requests, 2);
}

static void silent_fixed_files(void)
{
	struct ring ring = ring_of(0);
	int fds[2] = { open_file("data", O_RDONLY), open_file("out", O_WRONLY) };
	struct io_uring_sqe requests[2] = {
		request_of(IORING_OP_READ, 0, buffer, 100),
		request_of(IORING_OP_WRITE, 1, buffer, 100),
	};

	must(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, fds, 2));
	requests[0].flags = requests[1].flags = IOSQE_CQE_SKIP_SUCCESS | IOSQE_FIXED_FILE;
	sent_off(&ring, requests, 2);
}

static void silent_names(void)
{
	struct ring ring = ring_of(0);
	struct io_uring_sqe request = name_request(IORING_OP_RENAMEAT, "data", "moved");

	request.flags = IOSQE_CQE_SKIP_SUCCESS;
	sent_off(&ring, &request, 1);
	while (access("moved", F_OK))
		usleep(1000);
}

/* READ_MULTISHOT, Linux 6.7: one request, a completion for each piece. */
static void many_shots(void)
{
	struct io_uring_buf_reg buffers = { .ring_entries = 8, .bgid = 1 };
	struct io_uring_buf_ring *ring_of_buffers =
		mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ring ring = ring_of(0);
	struct io_uring_sqe request;
	int ends[2];

	buffers.ring_addr = (uintptr_t)ring_of_buffers;
	must(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PBUF_RING, &buffers, 1));
	ring_of_buffers->bufs[0].addr = (uintptr_t)buffer;
	ring_of_buffers->bufs[0].len = 10;
	ring_of_buffers->tail = 1;
	must(pipe2(ends, O_CLOEXEC));
	must(write(ends[1], "1234567", 7));
	request = request_of(49, ends[0], NULL, 0);
	request.flags = IOSQE_BUFFER_SELECT;
	request.buf_group = 1;
	must(result_of(&ring, request));
}

BEHAVIOURS({ "silent", silent }, { "silent_fixed_files", silent_fixed_files },
	   { "silent_names", silent_names }, { "many_shots", many_shots }, { "plain", plain }, { "polled", polled }, { "vectored", vectored },
	   { "handed_over", handed_over }, { "fixed_files", fixed_files },
	   { "fixed_buffers", fixed_buffers }, { "fixed_vectors", fixed_vectors },
	   { "opened", opened }, { "opened_only", opened_only },
	   { "opened_in_ring", opened_in_ring }, { "chained", chained },
	   { "renamed", renamed }, { "linked", linked }, { "deleted", deleted },
	   { "folder_deleted", folder_deleted }, { "spliced", spliced }, { "cut", cut },
	   { "failing", failing })
