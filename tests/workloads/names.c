// SPDX-License-Identifier: Apache-2.0
/* Renames, links and deletions, by every call. */
#include "workload.h"

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

/* A folder with 20 files that were written below the old name. */
static void folder(void)
{
	char name[64];

	must(mkdir("draft", 0755));
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "draft/part%d", i);
		must(write(open_file(name, O_WRONLY | O_CREAT), name, 10));
	}
	must(rename("draft", "final"));
	must(read(open_file("final/part7", O_RDONLY), name, 10));
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

BEHAVIOURS({ "replaced", replaced }, { "renamed", renamed }, { "renamed_at", renamed_at },
	   { "renamed_at_flags", renamed_at_flags }, { "exchanged", exchanged },
	   { "folder", folder }, { "linked", linked }, { "linked_at", linked_at },
	   { "through_links", through_links }, { "deleted", deleted },
	   { "deleted_at", deleted_at }, { "folders_deleted", folders_deleted },
	   { "written_after", written_after }, { "used_after_deletion", used_after_deletion })
