// SPDX-License-Identifier: Apache-2.0
/* More than a reader that stands still can hold; more than one thread can count. */
#include "workload.h"

#include <pthread.h>

static void make_files(const char *pattern)
{
	char name[128];

	for (long left = atol(words[0]); left; left--) {
		snprintf(name, sizeof(name), pattern, left);
		must(close(open_file(name, O_WRONLY | O_CREAT)));
	}
}

/* words[0]: how many files are made, one touch each. */
static void files(void)
{
	make_files("file%ld");
}

/* The same with names that do not fit into a record: one text each. */
static void long_names(void)
{
	make_files("file-of-a-name-that-is-longer-than-forty-bytes-%ld");
}

static int data;
static long reads_each;

static void *read_often(void *unused)
{
	char byte;

	for (long left = reads_each; left; left--)
		must(pread(data, &byte, 1, 0));
	return unused;
}

/* words[0]: reads of each of two threads. */
static void shared_reads(void)
{
	pthread_t second;

	data = open_file("data", O_RDONLY);
	reads_each = atol(words[0]);
	pthread_create(&second, NULL, read_often, NULL);
	read_often(NULL);
	pthread_join(second, NULL);
}

BEHAVIOURS({ "files", files }, { "long_names", long_names }, { "shared_reads", shared_reads })
