// SPDX-License-Identifier: Apache-2.0
/*
 * Hostile changes of files while they are read: overwritten in place, cut,
 * replaced, swapped, written through memory, with time stamps put back.
 *
 * A file at rest always holds one number again and again, so that bytes of two
 * moments together are told from bytes of one. Writers print "w NUMBER LENGTH"
 * for each content at rest before it comes to be, readers "r PID FILE NUMBER
 * LENGTH" for what one call gave them: number 0 is a mixture.
 */
#include "workload.h"

#define LONGEST (1 << 16)
#define WORD sizeof(uint64_t)

static uint64_t random_state;

/* xorshift64: the seed names the run */
static uint64_t draw(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

static char *name_of(int file)
{
	static char names[4][16];
	static int turn;
	char *name = names[turn++ % 4];

	snprintf(name, sizeof(names[0]), "file%d", file);
	return name;
}

static uint64_t next_number;
static uint64_t words_of[LONGEST / WORD];

static void say(uint64_t number, size_t length)
{
	printf("w %lu %zu\n", number, length);
}

/* A number that no content had, filled in. */
static void renew(size_t length)
{
	next_number++;
	for (size_t i = 0; i < length / WORD; i++)
		words_of[i] = next_number;
	say(next_number, length);
}

static size_t some_length(void)
{
	return WORD * (8 + draw(LONGEST / WORD - 8));
}

static size_t length_of(int fd)
{
	struct stat status;

	must(fstat(fd, &status));
	return status.st_size;
}

static void put(int fd, size_t length)
{
	must(pwrite(fd, words_of, length, 0));
}

/* The same length, so that only the bytes differ; perhaps the old time as well. */
static void overwrite(int file)
{
	int fd = open_file(name_of(file), O_RDWR | O_CREAT);
	size_t length = length_of(fd);
	struct timespec times[2];
	struct stat before;

	must(fstat(fd, &before));
	renew(length);
	put(fd, length);
	if (draw(2)) {
		times[0] = before.st_atim;
		times[1] = before.st_mtim;
		must(futimens(fd, times));
	}
	must(close(fd));
}

static void rewrite(int file)
{
	size_t length = some_length();
	int fd;

	say(0, 0);
	fd = open_file(name_of(file), O_WRONLY | O_CREAT | O_TRUNC);
	renew(length);
	put(fd, length);
	must(close(fd));
}

static void replace(int file)
{
	size_t length = some_length();
	char draft[32];
	int fd;

	snprintf(draft, sizeof(draft), "draft%d", file);
	say(0, 0);
	fd = open_file(draft, O_WRONLY | O_CREAT | O_TRUNC);
	renew(length);
	put(fd, length);
	must(close(fd));
	must(rename(draft, name_of(file)));
}

static void swap(int file, int files)
{
	(void)!syscall(SYS_renameat2, AT_FDCWD, name_of(file), AT_FDCWD, name_of(draw(files)),
		       RENAME_EXCHANGE);
}

static void store(int file)
{
	int fd = open_file(name_of(file), O_RDWR | O_CREAT);
	size_t length = length_of(fd);
	char *at;

	if (length) {
		at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (at == MAP_FAILED)
			exit(95);
		renew(length);
		memcpy(at, words_of, length);
		must(munmap(at, length));
	}
	must(close(fd));
}

/* Shorter by a call that needs no descriptor: the rest is the same number still. */
static void cut(int file)
{
	uint64_t number = 0;
	int fd = open_file(name_of(file), O_RDONLY | O_CREAT);
	size_t length = length_of(fd) / 2 / WORD * WORD;

	must(pread(fd, &number, WORD, 0));
	must(close(fd));
	say(length ? number : 0, length);
	must(truncate(name_of(file), length));
}

static void write_once(int file, int files)
{
	switch (draw(6)) {
	case 0:
		return overwrite(file);
	case 1:
		return rewrite(file);
	case 2:
		return replace(file);
	case 3:
		return swap(file, files);
	case 4:
		return store(file);
	default:
		return cut(file);
	}
}

/* One reader, one call, one line. */
static void read_once(int file)
{
	static uint64_t got[LONGEST / WORD + 1];
	int fd = open(name_of(file), O_RDONLY);
	ssize_t length;

	if (fd < 0)
		_exit(0);
	length = must(pread(fd, got, sizeof(got), 0));
	for (size_t i = 1; i < length / WORD; i++)
		if (got[i] != got[0])
			got[0] = 0;
	printf("r %d %d %lu %zd\n", getpid(), file, length ? got[0] : 0, length);
	exit(0);
}

/* words: seed, changes, files, pause_us. Ends with a reader of each file at rest. */
static void run(void)
{
	long changes = atol(words[1]), files = atol(words[2]), pause_us = atol(words[3]);

	random_state = strtoull(words[0], NULL, 10) * 2654435761 + 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 0; i < files; i++)
		rewrite(i);
	for (long i = 0; i < changes; i++) {
		if (draw(4) == 0) {
			int file = draw(files);

			if (!must(fork()))
				read_once(file);
			if (draw(2))
				while (waitpid(-1, NULL, WNOHANG) > 0)
					;
		}
		write_once(draw(files), files);
		if (pause_us)
			usleep(draw(2 * pause_us));
	}
	while (wait(NULL) > 0)
		;
}

BEHAVIOURS({ "run", run })
