// SPDX-License-Identifier: Apache-2.0
/* Renames, links and deletions, by every call. */
#include "workload.h"

#include <pthread.h>

static int directory(const char *name)
{
	return must(open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

/* What a careful program does: a temporary name, then the final one. */
static void replaced(void)
{
	int fd = open_file("data.tmp", O_WRONLY | O_CREAT | O_TRUNC);

	must(write(fd, "new", 3));
	must(fsync(fd));
	must(close(fd));
	must(rename("data.tmp", "data"));
}

static void renamed(void)
{
	must(rename("data", "moved"));
}

static void renamed_at(void)
{
	must(renameat(directory("from"), "data", directory("to"), "moved"));
}

static void renamed_at_flags(void)
{
	must(syscall(SYS_renameat2, directory("from"), "data", directory("to"), "moved",
		     RENAME_NOREPLACE));
}

static void exchanged(void)
{
	must(syscall(SYS_renameat2, AT_FDCWD, "data", AT_FDCWD, "other", RENAME_EXCHANGE));
}

/* A folder of files that were written below its old name. */
static void folder_of(int files)
{
	char name[64];

	must(mkdir("draft", 0755));
	for (int i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "draft/part%d", i);
		must(write(open_file(name, O_WRONLY | O_CREAT), name, 10));
	}
	must(rename("draft", "final"));
	must(read(open_file("final/part7", O_RDONLY), name, 10));
}

static void folder(void)
{
	folder_of(20);
}

static void checkpoint(void)
{
	folder_of(200);
}

static void linked(void)
{
	must(link("data", "second"));
}

static void linked_at(void)
{
	must(linkat(directory("from"), "data", directory("to"), "second", 0));
}

static void through_links(void)
{
	must(rename("alias/data", "alias/moved"));
}

static void deleted(void)
{
	must(unlink("data"));
}

static void deleted_at(void)
{
	must(unlinkat(directory("from"), "data", 0));
}

static void folders_deleted(void)
{
	must(rmdir("hollow"));
	must(unlinkat(AT_FDCWD, "to", AT_REMOVEDIR));
}

/* Renamed while open; the second write goes to the same file. */
static void written_after(void)
{
	int fd = open_file("first", O_WRONLY | O_CREAT);

	must(write(fd, "1", 1));
	must(rename("first", "last"));
	must(write(fd, "2", 1));
}

/* The name is gone, the file is not. */
static void used_after_deletion(void)
{
	char byte;
	int fd = open_file("brief", O_RDWR | O_CREAT);

	must(unlink("brief"));
	for (int i = 0; i < 3; i++)
		must(write(fd, "1", 1));
	must(pread(fd, &byte, 1, 0));
}

/* A later file gets the number of one that is gone and still open (ext4 reuses it soon). */
static void number_reused(void)
{
	struct stat first, second;
	int fd = open_file("first", O_RDWR | O_CREAT), other;
	char name[32];

	must(write(fd, "1", 1));
	must(fstat(fd, &first));
	must(unlink("first"));
	must(close(fd));
	for (int left = 1000; left; left--) {
		snprintf(name, sizeof(name), "later%d", left);
		other = open_file(name, O_RDWR | O_CREAT);
		must(fstat(other, &second));
		if (first.st_ino == second.st_ino) {
			must(rename(name, "later"));
			must(write(other, "22", 2));
			return;
		}
		must(close(other));
	}
	exit(93);
}

/* A symbolic link in the place of the name: the file behind it is cut. */
static void cut_through_link(void)
{
	must(symlink("data", "latest"));
	must(truncate("latest", 3));
}

static char swapped[16];
static volatile int done;

static void *swap(void *unused)
{
	while (!done) {
		memcpy(swapped, "decoy", 6);
		memcpy(swapped, "moved", 6);
	}
	return unused;
}

/*
 * words[0]: how often "data" is renamed to what another thread swaps meanwhile.
 * Prints how often each name was the real one.
 */
static void swapped_names(void)
{
	long moved = 0, decoy = 0;
	pthread_t second;

	memcpy(swapped, "moved", 6);
	pthread_create(&second, NULL, swap, NULL);
	for (long left = atol(words[0]); left; left--) {
		if (rename("data", swapped))
			continue; /* a half-swapped name is a name too, so this does not happen */
		if (!rename("moved", "data"))
			moved++;
		else if (!rename("decoy", "data"))
			decoy++;
		else
			break;
	}
	done = 1;
	pthread_join(second, NULL);
	printf("%ld %ld\n", moved, decoy);
}

BEHAVIOURS({ "replaced", replaced }, { "renamed", renamed }, { "renamed_at", renamed_at },
	   { "renamed_at_flags", renamed_at_flags }, { "exchanged", exchanged },
	   { "folder", folder }, { "checkpoint", checkpoint }, { "linked", linked }, { "linked_at", linked_at },
	   { "through_links", through_links }, { "deleted", deleted },
	   { "deleted_at", deleted_at }, { "folders_deleted", folders_deleted },
	   { "written_after", written_after }, { "used_after_deletion", used_after_deletion },
	   { "number_reused", number_reused }, { "cut_through_link", cut_through_link },
	   { "swapped_names", swapped_names })
