// SPDX-License-Identifier: Apache-2.0
/*
 * System calls as 32-bit programs make them: other numbers, other registers.
 * Everything that is pointed at lies below 4 GiB.
 */
#include "workload.h"

enum { READ = 3, WRITE = 4, OPEN = 5, CLOSE = 6, CREAT = 8, UNLINK = 10, RENAME = 38,
       OLD_MMAP = 90, TRUNCATE = 92, PREAD64 = 180, SENDFILE64 = 239, OPENAT = 295, RENAMEAT2 = 353 };

struct low {
	char data[16], out[16], moved[16], buffer[100];
	uint32_t mapping[6];
};

static struct low *low;

static long compat(long number, long one, long two, long three, long four, long five)
{
	long result;

	asm volatile("int $0x80"
		     : "=a"(result)
		     : "a"(number), "b"(one), "c"(two), "d"(three), "S"(four), "D"(five)
		     : "memory", "r8", "r9", "r10", "r11");
	return (int)result;
}

static long at(const void *pointer)
{
	return (long)(uintptr_t)pointer;
}

static void prepare(void)
{
	low = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
		   -1, 0);
	strcpy(low->data, "data");
	strcpy(low->out, "out");
	strcpy(low->moved, "moved");
}

static void moved_content(void)
{
	int data, out;

	prepare();
	data = must(compat(OPEN, at(low->data), O_RDONLY, 0, 0, 0));
	out = must(compat(OPENAT, AT_FDCWD, at(low->out), O_WRONLY | O_CREAT, 0644, 0));
	must(compat(READ, data, at(low->buffer), 50, 0, 0));
	must(compat(PREAD64, data, at(low->buffer), 50, 0, 0));
	must(compat(WRITE, out, at(low->buffer), 50, 0, 0));
	must(compat(SENDFILE64, out, data, 0, 10, 0));
	must(compat(CLOSE, out, 0, 0, 0, 0));
}

static void changed_names(void)
{
	prepare();
	must(compat(RENAME, at(low->data), at(low->moved), 0, 0, 0));
	must(compat(RENAMEAT2, AT_FDCWD, at(low->moved), AT_FDCWD, at(low->out), RENAME_EXCHANGE));
	must(compat(TRUNCATE, at(low->out), 1, 0, 0, 0));
	must(compat(UNLINK, at(low->moved), 0, 0, 0, 0));
	must(compat(CREAT, at(low->data), 0644, 0, 0, 0));
}

/* The arguments lie in memory; the C library has another call since 1999. */
static void mapped(void)
{
	long fd;

	prepare();
	fd = must(compat(OPEN, at(low->data), O_RDWR, 0, 0, 0));
	memcpy(low->mapping, (uint32_t[6]){ 0, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0 },
	       sizeof(low->mapping));
	fd = compat(OLD_MMAP, at(low->mapping), 0, 0, 0, 0);
	*(char *)(uintptr_t)(uint32_t)fd = 'w';
}

BEHAVIOURS({ "moved_content", moved_content }, { "mapped", mapped }, { "changed_names", changed_names })
