// SPDX-License-Identifier: Apache-2.0
/* Ways to the bytes of "data" and "out" that are seldom gone, and calls that go nowhere. */
#include "workload.h"

#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/user.h>
#include <sys/xattr.h>

#define AREAS 12

static char buffer[PAGE_BYTES * 2];
static volatile char sink;

/* --- opens ------------------------------------------------------------------------------- */

/* Linux cuts the file although the descriptor can only read. */
static void cut_for_reading(void)
{
	open_file("data", O_RDONLY | O_TRUNC);
}

static void made_for_reading(void)
{
	open_file("new", O_RDONLY | O_CREAT);
}

/* O_TRUNC means nothing beside O_PATH. */
static void path_only(void)
{
	open_file("data", O_PATH | O_TRUNC);
}

static void by_handle(void)
{
	struct {
		struct file_handle head;
		char bytes[MAX_HANDLE_SZ];
	} handle = { .head.handle_bytes = MAX_HANDLE_SZ };
	int mount, fd;

	must(name_to_handle_at(AT_FDCWD, "data", &handle.head, &mount, 0));
	fd = must(open_by_handle_at(open_file(".", O_RDONLY | O_DIRECTORY), &handle.head, O_RDONLY));
	must(read(fd, buffer, 10));
}

/* A symbolic link of procfs leads to the file that is open, whatever its name is now. */
static void by_procfs(void)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", open_file("data", O_PATH));
	must(read(open_file(name, O_RDONLY), buffer, 10));
}

static void by_root_of_process(void)
{
	char folder[2048], name[4096];

	must(getcwd(folder, sizeof(folder)) ? 0 : -1);
	snprintf(name, sizeof(name), "/proc/%d/root%s/data", getpid(), folder);
	must(read(open_file(name, O_RDONLY), buffer, 10));
}

/* --- bytes ------------------------------------------------------------------------------- */

/* No byte: the file is as it was. */
static void none_written(void)
{
	int out = open_file("out", O_WRONLY);

	must(write(out, buffer, 0));
	must(pwrite(out, buffer, 0, 0));
}

/* The source is at its end: nothing is moved. */
static void none_moved(void)
{
	int empty = open_file("empty", O_RDONLY), out = open_file("out", O_WRONLY);

	must(sendfile(out, empty, NULL, 100));
	must(copy_file_range(empty, NULL, out, NULL, 100, 0));
}

/* Half of the buffer can be read: the kernel moves that half. */
static void half_mapped(void)
{
	char *at = mmap(NULL, 2 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int data = open_file("data", O_RDONLY), out = open_file("out", O_WRONLY);

	must(munmap(at + PAGE_BYTES, PAGE_BYTES));
	must(read(data, at + PAGE_BYTES - 100, 200));
	must(write(out, at + PAGE_BYTES - 100, 200));
}

/* Nowhere to read to, nothing to write from. */
static void unmapped_buffer(void)
{
	must_fail(syscall(SYS_read, open_file("data", O_RDONLY), 8L, 10L));
	must_fail(syscall(SYS_write, open_file("out", O_WRONLY), 8L, 10L));
}

static void sent_to_socket(void)
{
	int ends[2];

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	must(sendfile(ends[0], open_file("data", O_RDONLY), NULL, 100));
}

/* Both at once, each byte at the end. */
static void appended_by_two(void)
{
	int out = open_file("out", O_WRONLY | O_APPEND);
	pid_t child = must(fork());

	must(write(out, "one", 3));
	if (!child)
		exit(0);
	reap(child);
}

static void ahead(void)
{
	int data = open_file("data", O_RDONLY);

	must(readahead(data, 0, PAGE_BYTES));
	must(-posix_fadvise(data, 0, 0, POSIX_FADV_WILLNEED));
	must(-posix_fadvise(data, 0, 0, POSIX_FADV_DONTNEED));
	must(syncfs(data));
}

static void attributes(void)
{
	must(utimensat(AT_FDCWD, "data", NULL, 0));
	must(chmod("data", 0600));
	must(chown("data", 0, 0));
	must(setxattr("data", "user.whence", "x", 1, 0));
	must(removexattr("data", "user.whence"));
}

/* --- space: by fallocate, and by ioctls that do the same (fs/ioctl.c) ----------------------- */

static void zeroed(void)
{
	must(fallocate(open_file("out", O_RDWR), FALLOC_FL_ZERO_RANGE, 0, PAGE_BYTES));
}

static void collapsed(void)
{
	must(fallocate(open_file("out", O_RDWR), FALLOC_FL_COLLAPSE_RANGE, 0, PAGE_BYTES));
}

static void inserted(void)
{
	must(fallocate(open_file("out", O_RDWR), FALLOC_FL_INSERT_RANGE, 0, PAGE_BYTES));
}

struct space {
	int16_t type, whence;
	int64_t start, length;
	int32_t system_id;
	uint32_t pid;
	int32_t padding[4];
};

#define UNRESERVE _IOW('X', 43, struct space)
#define ZERO _IOW('X', 57, struct space)

static void punched_by_ioctl(void)
{
	struct space range = { .length = 4 };

	must(ioctl(open_file("out", O_RDWR), UNRESERVE, &range));
}

static void zeroed_by_ioctl(void)
{
	struct space range = { .length = 4 };

	must(ioctl(open_file("out", O_RDWR), ZERO, &range));
}

/* Blocks that are equal become one: no content moves. */
static void deduplicated(void)
{
	struct {
		struct file_dedupe_range head;
		struct file_dedupe_range_info info[1];
	} range = { .head = { .src_length = PAGE_BYTES, .dest_count = 1 } };

	range.info[0].dest_fd = open_file("out", O_RDWR);
	must(ioctl(open_file("data", O_RDONLY), FIDEDUPERANGE, &range));
	must(range.info[0].status);
}

/* --- memory ------------------------------------------------------------------------------ */

static char *map(const char *name, int flags, int protection, int kind, size_t pages)
{
	char *at = mmap(NULL, pages * PAGE_BYTES, protection, kind, open_file(name, flags), 0);

	if (at == MAP_FAILED)
		exit(95);
	return at;
}

/* pkey_mprotect without a key is mprotect. */
static void protected_by_key(void)
{
	char *at = map("data", O_RDWR, PROT_READ, MAP_SHARED, 1);

	must(syscall(SYS_pkey_mprotect, at, PAGE_BYTES, PROT_READ | PROT_WRITE, -1));
	*at = 'w';
}

/* One call over more areas than are looked at, of which the last is the file's. */
static void protected_many(void)
{
	char *at = mmap(NULL, (AREAS + 1) * PAGE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int out = open_file("out", O_RDONLY), data = open_file("data", O_RDWR);

	/* each begins where the file begins, so no two become one */
	for (int i = 0; i < AREAS; i++)
		if (mmap(at + i * PAGE_BYTES, PAGE_BYTES, PROT_READ, MAP_PRIVATE | MAP_FIXED, out,
			 0) == MAP_FAILED)
			exit(95);
	if (mmap(at + AREAS * PAGE_BYTES, PAGE_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, data, 0) ==
	    MAP_FAILED)
		exit(95);
	must(mprotect(at, (AREAS + 1) * PAGE_BYTES, PROT_READ | PROT_WRITE));
	at[AREAS * PAGE_BYTES] = 'w';
}

static void moved_mapping(void)
{
	char *at = map("data", O_RDWR, PROT_READ | PROT_WRITE, MAP_SHARED, 1);

	at = mremap(at, PAGE_BYTES, 16 * PAGE_BYTES, MREMAP_MAYMOVE);
	*at = 'w';
	must(munmap(at, 16 * PAGE_BYTES));
}

static void stored_by_child(void)
{
	char *at = map("data", O_RDWR, PROT_READ | PROT_WRITE, MAP_SHARED, 1);
	pid_t child = must(fork());

	if (!child) {
		*at = 'w';
		exit(0);
	}
	printf("%d\n", child);
	reap(child);
}

/* The kernel stores into the mapping what it read from a pipe. */
static void read_into_mapping(void)
{
	char *at = map("data", O_RDWR, PROT_READ | PROT_WRITE, MAP_SHARED, 1);
	int ends[2];

	must(pipe2(ends, O_CLOEXEC));
	must(write(ends[1], "xx", 2));
	must(read(ends[0], at, 2));
}

static void populated(void)
{
	sink = *map("data", O_RDONLY, PROT_READ, MAP_PRIVATE | MAP_POPULATE, 1);
}

/* --- names ------------------------------------------------------------------------------- */

/* Two names of one file: POSIX has the call do nothing, and succeed. */
static void renamed_to_itself(void)
{
	must(link("data", "second"));
	must(rename("data", "second"));
	must(rename("data", "data"));
}

static void whited_out(void)
{
	must(syscall(SYS_renameat2, AT_FDCWD, "data", AT_FDCWD, "moved", RENAME_WHITEOUT));
}

static void link_deleted(void)
{
	must(symlink("data", "alias"));
	must(rename("alias", "other"));
	must(unlink("other"));
}

static void linked_by_empty_path(void)
{
	must(linkat(open_file("data", O_PATH), "", AT_FDCWD, "second", AT_EMPTY_PATH));
}

static void chained_links(void)
{
	must(symlink("data", "one"));
	must(symlink("one", "two"));
	must(symlink("two", "three"));
	must(read(open_file("three", O_RDONLY), buffer, 10));
}

/* --- who ----------------------------------------------------------------------------------- */

static int read_alone(void *unused)
{
	must(unshare(CLONE_FILES | CLONE_FS));
	must(chdir("inner"));
	must(read(open_file("data", O_RDONLY), buffer, 10));
	return unused != NULL;
}

/* A thread whose descriptors and working directory are its own. */
static void thread_apart(void)
{
	static char stack[1 << 16];
	volatile int alive = 1;

	must(clone(read_alone, stack + sizeof(stack),
		   CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
		   CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID, NULL, NULL, NULL, &alive));
	while (alive)
		usleep(1000);
	must_fail(access("inner/inner", F_OK));
}

/* A debugger makes another process call: that process gets the edge. */
static void injected(void)
{
	struct user_regs_struct registers;
	pid_t child = must(fork());
	int status;

	if (!child) {
		int data = open_file("data", O_RDONLY);

		must(ptrace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGSTOP);
		syscall(SYS_getppid, data, buffer, 10L);
		exit(0);
	}
	must(waitpid(child, &status, 0));
	do {
		must(ptrace(PTRACE_SYSCALL, child, 0, 0));
		must(waitpid(child, &status, 0));
		must(ptrace(PTRACE_GETREGS, child, 0, &registers));
	} while (registers.orig_rax != SYS_getppid);
	registers.orig_rax = SYS_read;
	must(ptrace(PTRACE_SETREGS, child, 0, &registers));
	must(ptrace(PTRACE_DETACH, child, 0, 0));
	printf("%d\n", child);
	reap(child);
}

BEHAVIOURS({ "cut_for_reading", cut_for_reading }, { "made_for_reading", made_for_reading },
	   { "path_only", path_only }, { "by_handle", by_handle }, { "by_procfs", by_procfs },
	   { "by_root_of_process", by_root_of_process }, { "none_written", none_written },
	   { "none_moved", none_moved }, { "half_mapped", half_mapped },
	   { "unmapped_buffer", unmapped_buffer }, { "sent_to_socket", sent_to_socket },
	   { "appended_by_two", appended_by_two }, { "ahead", ahead }, { "attributes", attributes },
	   { "zeroed", zeroed }, { "collapsed", collapsed }, { "inserted", inserted },
	   { "punched_by_ioctl", punched_by_ioctl }, { "zeroed_by_ioctl", zeroed_by_ioctl },
	   { "deduplicated", deduplicated }, { "protected_by_key", protected_by_key },
	   { "protected_many", protected_many }, { "moved_mapping", moved_mapping },
	   { "stored_by_child", stored_by_child }, { "read_into_mapping", read_into_mapping },
	   { "populated", populated }, { "renamed_to_itself", renamed_to_itself },
	   { "whited_out", whited_out }, { "link_deleted", link_deleted },
	   { "linked_by_empty_path", linked_by_empty_path }, { "chained_links", chained_links },
	   { "thread_apart", thread_apart }, { "injected", injected })
