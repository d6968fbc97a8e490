// SPDX-License-Identifier: Apache-2.0
/* Who uses a descriptor is not always who opened it. Prints the user's id. */
#include "workload.h"

#include <linux/close_range.h>
#include <sched.h>
#include <sys/socket.h>

static char buffer[PAGE_BYTES];

static void use(int fd)
{
	must(read(fd, buffer, 10));
	exit(0);
}

static void inherited(void)
{
	int fd = open_file("data", O_RDONLY);
	pid_t child = must(fork());

	if (!child)
		use(fd);
	printf("%d\n", child);
	reap(child);
}

static void send_descriptor(int socket, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {};
	struct iovec byte = { .iov_base = "x", .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &byte, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	must(sendmsg(socket, &message, 0));
}

static int receive_descriptor(int socket)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec into = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &into, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	int fd;

	must(recvmsg(socket, &message, 0));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	return fd;
}

static void passed(void)
{
	int ends[2];
	pid_t child;

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	child = must(fork());
	if (!child)
		use(receive_descriptor(ends[1]));
	send_descriptor(ends[0], open_file("data", O_RDONLY));
	printf("%d\n", child);
	reap(child);
}

/* A second number for the same open file. */
static void duplicated(void)
{
	int fd = open_file("out", O_WRONLY | O_CREAT);
	int second = must(dup(fd));

	must(close(fd));
	must(write(second, "late", 4));
	printf("%d\n", getpid());
}

static int open_out(void)
{
	return open_file("out", O_WRONLY | O_CREAT);
}

/* Each of five numbers is closed by a call that is not close(). */
static void closed_by_others(void)
{
	int one = open_out(), two = open_out(), third, fourth, fifth;

	must(dup2(open_file("data", O_RDONLY), one));
	must(dup3(open_file("data", O_RDONLY), two, O_CLOEXEC));
	third = must(dup(open_out()));
	fourth = must(fcntl(third, F_DUPFD_CLOEXEC, 0));
	fifth = must(fcntl(third, F_DUPFD, fourth));
	must(syscall(SYS_close_range, third, fifth, 0));
	must(syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC));
}

/* Taken out of the process that has it, which does not use it. */
static void taken(void)
{
	int fd = open_file("data", O_RDONLY), pidfd;
	pid_t child = must(fork());

	if (!child) {
		pidfd = must(syscall(SYS_pidfd_open, getppid(), 0));
		use(must(syscall(SYS_pidfd_getfd, pidfd, fd, 0)));
	}
	printf("%d\n", child);
	reap(child);
}

static int shared_fd;

static int open_for_both(void *unused)
{
	shared_fd = open("data", O_RDONLY);
	return unused != NULL;
}

/* One table of descriptors for two processes: one opens, the other reads. */
static void shared_table(void)
{
	static char stack[1 << 16];
	pid_t child = must(clone(open_for_both, stack + sizeof(stack),
				 CLONE_FILES | CLONE_VM | SIGCHLD, NULL));

	reap(child);
	must(read(shared_fd, buffer, 10));
	printf("%d\n", getpid());
}

BEHAVIOURS({ "inherited", inherited }, { "passed", passed }, { "duplicated", duplicated }, { "closed_by_others", closed_by_others },
	   { "taken", taken }, { "shared_table", shared_table })
