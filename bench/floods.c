/*
 * One worker of a flood of file operations, which counts them itself.
 *
 *   floods NAME SECONDS PER_SECOND POOL DATASET
 *
 * In turns of a millisecond: seven reads to one write of a byte, on POOL files
 * that all workers share and on files of its own, open all the time; every
 * fourth turn a file of the folder `dataset` is opened, read and closed; every
 * fourth turn a file is made, written, closed and renamed, and one that was made
 * LEFT turns of this kind ago is deleted. Prints the counts of what it did.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OWN 50
#define LEFT 100
#define MOST_OPEN 900

static const char *who;
static char block[64];
static long reads, writes, touched, made, deleted, others;

static double now_s(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec + at.tv_nsec / 1e9;
}

static int must(int result)
{
	if (result >= 0)
		return result;
	perror(who);
	exit(1);
}

/* Five calls, six once there is something to delete. */
static void make(void)
{
	char draft[64], name[64], old[64];
	int fd;

	snprintf(draft, sizeof(draft), "%s/made/%ld.part", who, made);
	snprintf(name, sizeof(name), "%s/made/%ld", who, made);
	fd = must(open(draft, O_WRONLY | O_CREAT | O_EXCL, 0600));
	memcpy(block, &made, sizeof(made));
	must(write(fd, block, sizeof(block)));
	must(close(fd));
	must(rename(draft, name));
	made++;
	others += 4;
	if (made <= LEFT)
		return;
	snprintf(old, sizeof(old), "%s/made/%ld", who, deleted++);
	must(unlink(old));
	others++;
}

static void touch(long dataset)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "dataset/%03ld/%ld", touched % dataset % 100, touched % dataset);
	fd = must(open(name, O_RDONLY));
	must(pread(fd, block, sizeof(block), 0));
	must(close(fd));
	touched++;
	others += 3;
}

int main(int count, char **words)
{
	int pool_fds[MOST_OPEN], own_fds[OWN];
	long rate, pool, dataset;
	double began, due, seconds;
	char name[64];

	if (count != 6)
		return 2;
	who = words[1];
	seconds = atof(words[2]);
	rate = atol(words[3]);
	pool = atol(words[4]);
	dataset = atol(words[5]);
	if (pool < 1 || pool > MOST_OPEN)
		return 2;
	for (long at = 0; at < pool; at++) {
		snprintf(name, sizeof(name), "pool/%ld", at);
		pool_fds[at] = must(open(name, O_RDONLY));
	}
	for (int at = 0; at < OWN; at++) {
		snprintf(name, sizeof(name), "%s/own/%d", who, at);
		own_fds[at] = must(open(name, O_RDWR | O_CREAT, 0600));
	}
	began = due = now_s();
	for (long turn = 0; now_s() - began < seconds; turn++) {
		long left = rate / 1000;

		if (turn % 4 == 0) {
			make();
			left -= 6;
		} else if (turn % 4 == 2) {
			touch(dataset);
			left -= 3;
		}
		for (; left > 0; left--) {
			if (left % 8) {
				must(pread(pool_fds[reads % pool], block, 1, 0));
				reads++;
			} else {
				must(pwrite(own_fds[writes % OWN], block, 1, writes % 4096));
				writes++;
			}
		}
		due += 0.001;
		if (due > now_s())
			usleep((due - now_s()) * 1e6);
	}
	printf("%ld %ld %ld %ld %ld %ld %.3f\n", reads, writes, touched, made, deleted, others,
	       now_s() - began);
	return 0;
}
