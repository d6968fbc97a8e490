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

BEHAVIOURS({ "working_directory", working_directory }, { "by_descriptor", by_descriptor },
	   { "bind_mount", bind_mount }, { "changed_root", changed_root },
	   { "memory_mount", memory_mount }, { "layers_written", layers_written },
	   { "layers_renamed", layers_renamed }, { "layers_deleted", layers_deleted })
