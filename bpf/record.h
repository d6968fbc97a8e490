/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What crosses from the kernel to user space. The only definition: the
 * daemon's decoder (daemon/whenced/record.py) is checked against the BTF of
 * this header by tests/conformance.
 *
 * Rings of fixed-size struct whence_record, so that a reader decodes a whole
 * ring in one vector operation, by importance:
 *   life   births, programs, ends;
 *   hot    first touches;
 *   names  renames, links, unlinks, truncations by path.
 * Rings of struct whence_text followed by `length` bytes: `life_text` paths and
 * arguments of programs, `text` all others. A record names its texts by id. A
 * text is submitted before the record that names it, so a reader that notes the
 * ends of the rings of records, drains up to there and then drains the texts
 * always holds both. Between rings the time decides: what happened before in the
 * same process has an earlier one.
 *
 * One aggregate map: struct whence_use_key -> struct whence_use.
 */
#ifndef WHENCE_RECORD_H
#define WHENCE_RECORD_H

enum whence_kind {
	WHENCE_FORK = 1,	/* process, other = parent */
	WHENCE_EXEC,		/* process, file = executable, texts, text2 = environment */
	/*
	 * process, value = exit code word of wait(2); of its struct whence_moved:
	 * version = read, size_bytes = written, mtime_ns = read_uring,
	 * other_start_ns = written_uring
	 */
	WHENCE_EXIT,
	WHENCE_READ,		/* first read of a file version by a process */
	WHENCE_WRITE,		/* first write of a file version by a process */
	WHENCE_OPEN_WRITE,	/* opened for writing: a new version begins */
	WHENCE_CLOSE_WRITE,	/* a descriptor open for writing was closed */
	WHENCE_MAP,		/* first mapping for reading */
	WHENCE_EXECUTE,		/* first executable mapping (shared library) */
	WHENCE_TRUNCATE,	/* ftruncate: a new version begins */
	WHENCE_RENAME,		/* text: names, and directories that they start at */
	WHENCE_LINK,		/* the same */
	WHENCE_UNLINK,		/* text, base */
	WHENCE_TRUNCATE_PATH,	/* truncate(2): text, base */
	WHENCE_PIPE_READ,	/* first read of a pipe or FIFO */
	WHENCE_PIPE_WRITE,	/* first write of a pipe or FIFO */
	WHENCE_PROCESS_SEEN,	/* iterator: process runs since before the start */
	WHENCE_FILE_SEEN,	/* iterator: open descriptor or mapping from before the start */
	WHENCE_UNMAP,		/* a shared writable mapping ended: written until now */
	WHENCE_UNSEEN,		/* value = enum whence_unseen: a way round capture was taken */
	WHENCE_KIND_COUNT
};

/* whence_record.flags */
#define WHENCE_F_CREATED	(1 << 0)	/* the open created the file */
#define WHENCE_F_TRUNCATED	(1 << 1)	/* the open emptied the file */
#define WHENCE_F_MAY_WRITE	(1 << 2)	/* shared writable mapping */
#define WHENCE_F_NAMELESS	(1 << 3)	/* unlinked when touched */
#define WHENCE_F_DIRECTORY	(1 << 4)	/* rename of a directory */
#define WHENCE_F_EXCHANGE	(1 << 5)	/* RENAME_EXCHANGE */
#define WHENCE_F_ARGS_TRUNCATED	(1 << 6)	/* argv longer than captured */
#define WHENCE_F_PATH_TRUNCATED	(1 << 7)	/* path longer than captured */
#define WHENCE_F_SCRIPT		(1 << 8)	/* exec of a script */
#define WHENCE_F_USER_TEXT	(1 << 9)	/* a path came from user memory */
#define WHENCE_F_URING		(1 << 10)	/* through io_uring */
#define WHENCE_F_TEXT_LOST	(1 << 11)	/* the ring of texts was full */
#define WHENCE_F_SYMLINK_FD	(1 << 12)	/* linkat(AT_EMPTY_PATH) */
#define WHENCE_F_WRITABLE	(1 << 13)	/* FILE_SEEN: descriptor or mapping can write */
#define WHENCE_F_LEAF		(1 << 15)	/* text is the directory's, name the file's */
#define WHENCE_F_ENV_TRUNCATED	(1 << 14)	/* environment longer than captured */
#define WHENCE_F_MAPPED		(1 << 16)	/* by a store to a mapping; FILE_SEEN: a mapping */
#define WHENCE_F_EXECUTABLE	(1 << 17)	/* FILE_SEEN: an executable mapping */
#define WHENCE_F_INFERRED	(1 << 18)	/* READ: opened by a user of GPUDirect Storage */
#define WHENCE_F_OVERLAPPED	(1 << 19)	/* READ: may have begun before a write ended */

/* A process: never a bare pid. */
struct whence_process {
	__u64 start_ns;		/* start_boottime of the group leader */
	__u32 tgid;		/* initial pid namespace */
	__u32 exec_id;		/* self_exec_id: grows by one with each exec */
};

/* A file: never a path, never stat(2)'s st_dev. */
struct whence_file {
	__u64 inode;
	__u32 device;		/* s_dev: major << 20 | minor */
	__u32 generation;	/* i_generation */
};

/* A longer name is sent as a text; few are. */
#define WHENCE_NAME_BYTES 40

struct whence_record {
	__u64 sequence;		/* per CPU, gap free */
	__u64 at_ns;		/* boot clock */
	struct whence_process process;
	struct whence_file file;
	__u64 version;		/* write version of the file: epoch << 32 | writes */
	__u64 size_bytes;	/* i_size */
	__u64 mtime_ns;		/* i_mtime */
	__u64 value;		/* exit code word; bytes of the first touch */
	__u64 text;		/* id of the path, or 0 */
	__u64 text2;		/* id of a text that records share, or 0 */
	__u64 other_start_ns;	/* parent process (fork, exec, seen) */
	__u32 other_tgid;
	__u32 other_exec_id;
	__u32 uid;
	__u32 login_uid;
	__u32 session;
	__u32 process_group;
	__u32 terminal;		/* kernel device number */
	__u32 mount_ns;
	__u32 pid_ns;
	__u32 magic;		/* s_magic of the file's superblock */
	__u64 cgroup_id;
	__s32 fd;		/* descriptor of the touch, -1 unknown */
	__u16 kind;		/* enum whence_kind */
	__u16 cpu;
	__u32 flags;
	__u32 nlink;		/* i_nlink of the file */
	/*
	 * comm of the group leader; with WHENCE_F_LEAF the file's name, in the
	 * directory whose text was sent once, before this or an earlier record.
	 */
	char name[WHENCE_NAME_BYTES];
};

/* whence_text.part */
enum whence_part {
	WHENCE_TEXT_PATH = 1,	/* components, leaf first, each NUL-terminated */
	WHENCE_TEXT_ARGS,	/* argument vector, each NUL-terminated */
	WHENCE_TEXT_CWD,	/* as PATH */
	WHENCE_TEXT_SCRIPT,	/* bprm->filename, one NUL-terminated string */
	WHENCE_TEXT_USER_OLD,	/* path string of rename, link, unlink */
	WHENCE_TEXT_USER_NEW,	/* second path string of rename, link */
	WHENCE_TEXT_BASE_OLD,	/* as PATH: directory that the string starts at */
	WHENCE_TEXT_BASE_NEW,
	WHENCE_TEXT_ENVIRONMENT,	/* NAME=value, each NUL-terminated, for many records */
	WHENCE_TEXT_DIRECTORY,	/* as PATH, for many records: see WHENCE_F_LEAF */
};

/* What is for many records is sent again after this long; a reader may forget it after twice that. */
#define WHENCE_DIRECTORY_NS (20ULL * 1000 * 1000 * 1000)

/* All texts of one record share its id and differ in part; what is for many has its own. */
struct whence_text {
	__u64 id;
	__u32 part;		/* enum whence_part */
	__u32 length;		/* bytes that follow */
	__u32 flags;		/* WHENCE_F_PATH_TRUNCATED, _ARGS_TRUNCATED */
	__u32 chunk;		/* 0, 1, … of a text longer than one record */
};

/*
 * Write version of a file, see docs/design/0001-the-spine.md. `pending` is set
 * by an open for writing: the next change begins a new epoch.
 */
struct whence_version {
	__u64 number;		/* epoch << 32 | writes */
	__u64 changed_ns;	/* when it became that, 0: not yet */
	__u32 pending;
	__u32 writer;		/* who changed it last, by tgid */
};

/*
 * A read is seen as it ends. One of a file that somebody else changed less than
 * this before, by a descriptor from before that, may have begun within the write.
 */
#define WHENCE_OVERLAP_NS (50ULL * 1000 * 1000)

struct whence_use_key {
	struct whence_process process;
	struct whence_file file;
};

/* Everything after the first touch is only counted here. */
struct whence_use {
	__u64 read_ops;
	__u64 read_bytes;
	__u64 write_ops;
	__u64 write_bytes;
	__u64 first_ns;
	/*
	 * Exact, because lineage compares it with reads. Reads have no such
	 * field: a clock read would cost more than the rest of a hit.
	 */
	__u64 last_write_ns;
	__u32 read_epoch;	/* epoch of the last emitted read touch */
	__u32 write_epoch;	/* epoch of the last emitted write touch */
	__u32 touched;		/* bit per whence_kind already emitted */
	__u32 epochs;		/* epochs that had begun anywhere at the last read */
};

/* Answer of the inode probe for one descriptor of the calling process. */
struct whence_probe {
	struct whence_file file;
	__u64 version;
	__u64 size_bytes;
	__u64 mtime_ns;
	__u64 ctime_ns;
	__s32 writers;		/* i_writecount: > 0 open for writing */
	__u32 found;		/* 0: no such descriptor */
	__u32 mode;		/* i_mode */
	__u32 magic;
};

/* What a system call does with files; the table is data (whenced/syscalls.py). */
enum whence_work {
	WHENCE_WORK_NONE,
	WHENCE_WORK_READ,	/* descriptor is argument 1 */
	WHENCE_WORK_WRITE,	/* the same */
	WHENCE_WORK_OPEN,	/* descriptor is the result, flags are argument 2 */
	WHENCE_WORK_CLOSE,	/* descriptor is argument 1 */
	WHENCE_WORK_MMAP,	/* descriptor is argument 5 */
	WHENCE_WORK_SENDFILE,	/* out is argument 1, in is argument 2 */
	WHENCE_WORK_SPLICE,	/* in is argument 1, out is argument 3 */
	WHENCE_WORK_FTRUNCATE,	/* descriptor is argument 1 */
	WHENCE_WORK_IOCTL,	/* FICLONE, FICLONERANGE: out 1, in by argument 3 */
	WHENCE_WORK_RENAME,	/* old 1, new 2 */
	WHENCE_WORK_RENAMEAT,	/* directories 1 and 3, paths 2 and 4 */
	WHENCE_WORK_LINK,	/* old 1, new 2 */
	WHENCE_WORK_LINKAT,	/* directories 1 and 3, paths 2 and 4, flags 5 */
	WHENCE_WORK_UNLINK,	/* path 1 */
	WHENCE_WORK_UNLINKAT,	/* directory 1, path 2, flags 3 */
	WHENCE_WORK_TRUNCATE,	/* path 1 */
	WHENCE_WORK_IO_SUBMIT,	/* control blocks at argument 3 */
	WHENCE_WORK_RENAMEAT2,	/* as RENAMEAT, flags are argument 5 */
	WHENCE_WORK_OPENAT,	/* as OPEN, flags are argument 3 */
	WHENCE_WORK_OPENAT2,	/* as OPEN, flags begin what argument 3 points at */
	WHENCE_WORK_CREAT,	/* as OPEN, always truncating */
	WHENCE_WORK_TEE,	/* in is argument 1, out is argument 2 */
	WHENCE_WORK_VMSPLICE,	/* a pipe's end is argument 1 */
	WHENCE_WORK_MUNMAP,	/* address is argument 1 */
	WHENCE_WORK_MPROTECT,	/* address, length, protection */
	WHENCE_WORK_MREMAP,	/* old address is argument 1, the new one the result */
	WHENCE_WORK_FALLOCATE,	/* descriptor is argument 1; the result counts no bytes */
	WHENCE_WORK_OLD_MMAP,	/* argument 1 points at the six of MMAP, 32 bits each */
	WHENCE_WORK_DUP,	/* descriptor is argument 1, the new one the result */
	WHENCE_WORK_FCNTL,	/* the same, for two of its commands (argument 2) */
	WHENCE_WORK_CLOSE_RANGE,	/* first, last, flags */
};

/*
 * Ways to bytes that this back end cannot follow. The run that took one is
 * told as incomplete: whenced/unseen.py has a sentence for each.
 */
enum whence_unseen {
	WHENCE_UNSEEN_URING = 1,	/* a request of a kind that is not known */
	WHENCE_UNSEEN_URING_COMMAND,	/* a command to a file or device */
	WHENCE_UNSEEN_URING_NAME,	/* names changed; the kernel did not say which */
	WHENCE_UNSEEN_AIO,		/* control blocks that could not be read */
	WHENCE_UNSEEN_GPUDIRECT,	/* opened nvidia-fs: reads bypass the calls */
	WHENCE_UNSEEN_BLOCK_DEVICE,	/* read or wrote a device below file systems */
	WHENCE_UNSEEN_MAPPING,		/* a mapping was made writable; whose is not known */
};

/* x32 has numbers of its own from 512 on */
#define WHENCE_SYSCALLS 1024

/* Settings, constant once loaded; the verifier prunes what they rule out. */
struct whence_config {
	__u8 work[WHENCE_SYSCALLS];		/* enum whence_work by number */
	__u8 work_compat[WHENCE_SYSCALLS];	/* the same for 32-bit calls */
	__u32 cgroup_count;	/* entries of scope_cgroups; 0: no limit */
	__u32 uid_count;	/* entries of uids; 0: no limit */
	__u32 uids[16];
	__u32 uring_cqe_argument;	/* io_uring_complete has (ctx, req, cqe) */
	__u32 unused;
	__u64 cgroup_ids[8];	/* of scope_cgroups, for tasks other than current */
};

/*
 * Between whenced and programs that outlive it. When a record finds no room and
 * nobody has been there for WHENCE_PATIENCE_NS, the programs fall asleep: from
 * then on nothing is observed, and a job pays for one look at this.
 */
struct whence_control {
	__u64 alive_ns;		/* boot clock, when whenced was last there */
	__u32 asleep;
	__u32 unused;
};

#define WHENCE_PATIENCE_NS (60ULL * 1000 * 1000 * 1000)

/* Conservation counters, one set per class. */
enum whence_class {
	WHENCE_CLASS_LIFE,	/* fork, exec, exit, seen */
	WHENCE_CLASS_TOUCH,	/* first touches */
	WHENCE_CLASS_NAME,	/* rename, link, unlink, truncate by path */
	WHENCE_CLASS_TEXT,	/* texts */
	WHENCE_CLASS_USE,	/* rows of the aggregate map */
	WHENCE_CLASS_COUNT
};

struct whence_count {
	__u64 attempted;
	__u64 stored;
	__u64 lost;
};

/* Records lost by class, of one process: survives the loss of the record. */
struct whence_loser {
	__u64 lost[WHENCE_CLASS_COUNT];
};

/*
 * Bytes of one process that the table of uses cannot be compared without: by
 * calls on what is no regular file of a storage, which the kernel accounts
 * (taskstats read_char, write_char) and we do not capture; and by io_uring on
 * regular files, which we capture and the kernel does not account.
 */
struct whence_moved {
	__u64 read;
	__u64 written;
	__u64 read_uring;
	__u64 written_uring;
};

/* whence_alive.flags */
#define WHENCE_ALIVE_IN_SCOPE	(1 << 0)

/* A process that lives, as a walk over all tasks finds it: read, not sent. */
struct whence_alive {
	struct whence_process process;
	__u32 flags;
	__u32 uid;
};

#endif
