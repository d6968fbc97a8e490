// SPDX-License-Identifier: Apache-2.0
/* Programs that say "ready" and go on at a signal: something happens between. */
#include "workload.h"

static char buffer[16];

static void open_before(void)
{
	int data = open_file("data", O_RDONLY), out = open_file("out", O_WRONLY);

	open_file("idle", O_WRONLY);
	await_signal();
	must(pread(data, buffer, 10, 0));
	must(write(out, "late", 4));
}

/* It and its child read. */
static void family(void)
{
	pid_t child;

	await_signal();
	child = must(fork());
	must(read(open_file("data", O_RDONLY), buffer, 10));
	must(write(open_file(child ? "parent" : "child", O_WRONLY | O_CREAT), "x", 1));
	must(rename(child ? "parent" : "child", child ? "parent.new" : "child.new"));
	if (child)
		reap(child);
}

/* Mapped before, without a descriptor; one of the two is written through memory after. */
static void mapped_before(void)
{
	int data = open_file("data", O_RDONLY), out = open_file("out", O_RDWR);
	volatile char *in = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_PRIVATE, data, 0);
	volatile char *to = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, out, 0);

	must(close(data));
	must(close(out));
	await_signal();
	to[0] = in[0];
}

BEHAVIOURS({ "open_before", open_before }, { "family", family },
	   { "mapped_before", mapped_before })
