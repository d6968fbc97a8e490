// SPDX-License-Identifier: Apache-2.0
/* Where a relative or an absolute name leads. */
#include "workload.h"

#include <sched.h>
#include <sys/mount.h>

static char buffer[16];

/* Reads "data", renames it to "moved". */
static void use(const char *data, const char *moved)
{
	must(read(open_file(data, O_RDONLY), buffer, 4));
	must(rename(data, moved));
}

static void private_mounts(void)
{
	must(unshare(CLONE_NEWNS));
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

static void working_directory(void)
{
	must(chdir("inner"));
	use("data", "../moved");
}

static void by_descriptor(void)
{
	int directory = open_file("inner", O_RDONLY | O_DIRECTORY);

	must(read(must(openat(directory, "data", O_RDONLY)), buffer, 4));
	must(renameat(directory, "data", directory, "./moved"));
}

static void bind_mount(void)
{
	private_mounts();
	must(mount("inner", "alias", NULL, MS_BIND, NULL));
	use("alias/data", "alias/moved");
}

static void changed_root(void)
{
	must(chroot("inner"));
	must(chdir("/"));
	use("/data", "/moved");
}

static void memory_mount(void)
{
	private_mounts();
	must(mount("none", "alias", "tmpfs", 0, NULL));
	must(write(open_file("alias/data", O_WRONLY | O_CREAT), "fresh", 5));
	use("alias/data", "alias/moved");
}

/* alias: inner below, a layer in memory above. */
static void mount_layers(void)
{
	private_mounts();
	must(mount("none", "layers", "tmpfs", 0, NULL));
	must(mkdir("layers/upper", 0755));
	must(mkdir("layers/work", 0755));
	must(mount("none", "alias", "overlay", 0,
		   "lowerdir=inner,upperdir=layers/upper,workdir=layers/work"));
}

static void layers_written(void)
{
	mount_layers();
	must(write(open_file("alias/data", O_WRONLY), "over", 4));
}

static void layers_renamed(void)
{
	mount_layers();
	use("alias/data", "alias/moved");
}

static void layers_deleted(void)
{
	mount_layers();
	must(unlink("alias/data"));
}

/* "inner" becomes the root of the process's mounts. */
static void new_root(void)
{
	private_mounts();
	must(mount("inner", "inner", NULL, MS_BIND, NULL));
	must(chdir("inner"));
	must(syscall(SYS_pivot_root, ".", "."));
	must(umount2(".", MNT_DETACH));
	use("/data", "/moved");
}

/* Into another process's mounts, midway. */
static void joined_mounts(void)
{
	int ready[2], fd;
	pid_t other;
	char name[64], byte;

	must(pipe2(ready, O_CLOEXEC));
	other = must(fork());
	if (!other) {
		private_mounts();
		must(mount("inner", "alias", NULL, MS_BIND, NULL));
		must(write(ready[1], "x", 1));
		pause();
	}
	must(read(ready[0], &byte, 1));
	snprintf(name, sizeof(name), "/proc/%d/ns/mnt", other);
	fd = open_file(name, O_RDONLY);
	snprintf(name, sizeof(name), "/proc/%d/cwd", other);
	must(setns(fd, CLONE_NEWNS));
	must(chdir(name));
	use("alias/data", "alias/moved");
	must(kill(other, SIGKILL));
	must(waitpid(other, NULL, 0));
}

static void own_users(void)
{
	must(unshare(CLONE_NEWUSER));
	use("inner/data", "inner/moved");
}

/* A lower file that is read, copied up by a write, renamed and deleted: what the user did. */
static void layers_lived(void)
{
	int fd;

	mount_layers();
	must(read(open_file("alias/data", O_RDONLY), buffer, 4));
	fd = open_file("alias/data", O_WRONLY);
	must(write(fd, "over", 4));
	must(close(fd));
	must(rename("alias/data", "alias/moved"));
	must(unlink("alias/moved"));
}

static void layers_linked(void)
{
	mount_layers();
	must(link("alias/data", "alias/second"));
}

BEHAVIOURS({ "working_directory", working_directory }, { "by_descriptor", by_descriptor },
	   { "bind_mount", bind_mount }, { "changed_root", changed_root },
	   { "memory_mount", memory_mount }, { "layers_written", layers_written },
	   { "layers_renamed", layers_renamed }, { "layers_deleted", layers_deleted },
	   { "new_root", new_root }, { "joined_mounts", joined_mounts },
	   { "own_users", own_users }, { "layers_lived", layers_lived },
	   { "layers_linked", layers_linked })
