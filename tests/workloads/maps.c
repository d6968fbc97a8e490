// SPDX-License-Identifier: Apache-2.0
/* Mappings of the file "data": no call moves a byte. */
#include "workload.h"

static volatile char sink;

static char *map(int open_flags, int protection, int flags)
{
	char *at = mmap(NULL, PAGE_BYTES, protection, flags, open_file("data", open_flags), 0);

	if (at == MAP_FAILED)
		exit(95);
	return at;
}

static void private_read(void)
{
	sink = *map(O_RDONLY, PROT_READ, MAP_PRIVATE);
}

static void shared_read(void)
{
	sink = *map(O_RDONLY, PROT_READ, MAP_SHARED);
}

static void shared_write(void)
{
	char *at = map(O_RDWR, PROT_READ | PROT_WRITE, MAP_SHARED);

	*at = 'w';
	must(msync(at, PAGE_BYTES, MS_SYNC));
}

/* Could have been written, was not. */
static void shared_untouched(void)
{
	sink = *map(O_RDWR, PROT_READ | PROT_WRITE, MAP_SHARED);
}

/* Mapped for reading, made writable later. */
static void shared_protected(void)
{
	char *at = map(O_RDWR, PROT_READ, MAP_SHARED);

	sink = *at;
	must(mprotect(at, PAGE_BYTES, PROT_READ | PROT_WRITE));
	*at = 'w';
}

/* Copy on write: the file never changes. */
static void private_write(void)
{
	*map(O_RDONLY, PROT_READ | PROT_WRITE, MAP_PRIVATE) = 'w';
}

static void executable(void)
{
	sink = *map(O_RDONLY, PROT_READ | PROT_EXEC, MAP_PRIVATE);
}

static void anonymous(void)
{
	*(char *)mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		      open_file("data", O_RDONLY), 0) = 'w';
}

BEHAVIOURS({ "private_read", private_read }, { "shared_read", shared_read },
	   { "shared_write", shared_write }, { "shared_untouched", shared_untouched },
	   { "shared_protected", shared_protected }, { "private_write", private_write },
	   { "executable", executable }, { "anonymous", anonymous })
