/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who and what: processes, files, scope. Never a bare pid, never a path. */
#ifndef WHENCE_IDENTITY_H
#define WHENCE_IDENTITY_H

#include "maps.bpf.h"

static __always_inline struct whence_process process_of(struct task_struct *task)
{
	struct whence_process process = {
		.start_ns = task->group_leader->start_boottime,
		.tgid = task->tgid,
		/* fs/exec.c begin_new_exec(): one more for each exec; forks copy it */
		.exec_id = task->self_exec_id,
	};
	return process;
}

static __always_inline struct whence_file file_of(struct inode *inode)
{
	struct whence_file file = {
		.inode = inode->i_ino,
		.device = inode->i_sb->s_dev,
		.generation = inode->i_generation,
	};
	return file;
}

/* 0: capture never saw it written. */
static __always_inline __u64 version_of(const struct whence_file *file)
{
	struct whence_version *version = bpf_map_lookup_elem(&versions, file);

	return version ? version->number : 0;
}

/* Set in the leader's storage by whenced and inherited at fork. */
static __always_inline bool is_task_excluded(struct task_struct *task)
{
	__u32 *flag = bpf_task_storage_get(&excluded, task->group_leader, NULL, 0);

	return flag && *flag;
}

/*
 * The current task behind a pointer that is not trusted: for each load through
 * a trusted one the verifier searches the whole BTF by name (kernel/bpf/btf.c
 * btf_nested_type_is_trusted()), which made up two thirds of the time to load.
 */
static __always_inline struct task_struct *current_task(void)
{
	return typed(struct task_struct, bpf_get_current_task_btf());
}

/* A global function: verified once, whoever calls it. */
__noinline int is_excluded(void)
{
	return is_task_excluded(bpf_get_current_task_btf());
}

static __always_inline void add_loser(const struct whence_process *process, __u32 class)
{
	struct whence_loser none = {};
	struct whence_loser *loser = bpf_map_lookup_elem(&losers, process);

	if (!loser) {
		bpf_map_update_elem(&losers, process, &none, BPF_NOEXIST);
		loser = bpf_map_lookup_elem(&losers, process);
	}
	if (loser && class < WHENCE_CLASS_COUNT)
		__sync_fetch_and_add(&loser->lost[class], 1);
}

/*
 * A record of the current process found no room. What whenced itself loses, in
 * its walk at the start, may be anybody's: no name for that.
 */
__noinline int note_loser(__u32 class)
{
	struct whence_process process;

	/* not by is_excluded(): a call more would be one too many (8, kernel MAX_CALL_FRAMES) */
	if (is_task_excluded(bpf_get_current_task_btf()))
		return 0;
	process = process_of(current_task());
	add_loser(&process, class);
	return 0;
}

#define SCOPE_CGROUPS 8
#define SCOPE_UIDS 16

static __always_inline bool is_user_in_scope(struct task_struct *task)
{
	__u32 uid;

	if (!config.uid_count)
		return true;
	uid = task->real_cred->uid.val;
	for (int i = 0; i < SCOPE_UIDS && i < config.uid_count; i++)
		if (config.uids[i] == uid)
			return true;
	return false;
}

/* For the current task: asked at each event, so a task that moves is noticed. */
static __always_inline bool in_scope(struct task_struct *task)
{
	bool inside = config.cgroup_count == 0;

	if (is_asleep())
		return false;
	for (int i = 0; i < SCOPE_CGROUPS && i < config.cgroup_count; i++)
		if (bpf_current_task_under_cgroup(&scope_cgroups, i) == 1)
			inside = true;
	return inside && is_user_in_scope(task);
}

static __always_inline bool is_scope_cgroup(__u64 id)
{
	for (int i = 0; i < SCOPE_CGROUPS && i < config.cgroup_count; i++)
		if (config.cgroup_ids[i] == id)
			return true;
	return false;
}

#define CGROUP_DEPTH 32

/* The same for any task; for iterators only. */
static __noinline bool is_task_in_scope(struct task_struct *task)
{
	struct cgroup *cgroup = task->cgroups->dfl_cgrp;
	int level = cgroup->level;

	if (!is_user_in_scope(task))
		return false;
	if (!config.cgroup_count)
		return true;
	for (int i = 0; i < CGROUP_DEPTH && i <= level; i++) {
		void *ancestor = NULL;

		bpf_probe_read_kernel(&ancestor, sizeof(ancestor), &cgroup->ancestors[i]);
		if (ancestor && is_scope_cgroup(typed(struct cgroup, ancestor)->kn->id))
			return true;
	}
	return false;
}

static __always_inline bool is_observed(struct task_struct *task)
{
	return in_scope(task) && !is_excluded();
}

/*
 * Regular files of these live in no storage. include/uapi/linux/magic.h
 */
static __always_inline bool is_pseudo(__u64 magic)
{
	switch (magic) {
	case 0x9fa0:	 /* proc */
	case 0x62656572: /* sysfs */
	case 0x64626720: /* debugfs */
	case 0x74726163: /* tracefs */
	case 0x27e0eb:	 /* cgroup */
	case 0x63677270: /* cgroup2 */
	case 0x73636673: /* securityfs */
	case 0xcafe4a11: /* bpf */
	case 0x1cd1:	 /* devpts */
	case 0x6165676c: /* pstore */
	case 0xde5e81e4: /* efivarfs */
	case 0xf97cff8c: /* selinuxfs */
	case 0x62656570: /* configfs */
	case 0x19800202: /* mqueue */
	case 0x42494e4d: /* binfmt_misc */
	case 0x6e736673: /* nsfs */
		return true;
	}
	return false;
}

/* The struct file behind a descriptor of the task, or NULL. */
static __always_inline struct file *file_at(struct task_struct *task, __s32 fd)
{
	struct fdtable *table = task->files->fdt;
	__u64 file;

	if (fd < 0 || (__u32)fd >= table->max_fds)
		return NULL;
	file = word_at((__u64)table->fd + (__u64)(__u32)fd * sizeof(file));
	return file ? typed(struct file, file) : NULL;
}

static __always_inline __u32 id_in_root_namespace(struct pid *pid)
{
	return pid ? pid->numbers[0].nr : 0;
}

/* What a process row says beyond identity. */
static __always_inline void fill_process(struct whence_record *record, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	struct tty_struct *tty = signal->tty;

	record->process = process_of(task);
	record->uid = task->real_cred->uid.val;
	record->login_uid = task->loginuid.val;
	record->session = id_in_root_namespace(signal->pids[PIDTYPE_SID]);
	record->process_group = id_in_root_namespace(signal->pids[PIDTYPE_PGID]);
	if (tty)
		record->terminal = (tty->driver->major << 20) | (tty->driver->minor_start + tty->index);
	record->mount_ns = task->nsproxy->mnt_ns->ns.inum;
	record->pid_ns = task->nsproxy->pid_ns_for_children->ns.inum;
	record->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	bpf_probe_read_kernel_str(record->name, TASK_COMM_LEN, task->group_leader->comm);
}

static __always_inline void fill_content(struct whence_record *record, struct inode *inode)
{
	record->file = file_of(inode);
	record->size_bytes = inode->i_size;
	record->mtime_ns = inode_mtime_ns(inode);
	record->magic = inode->i_sb->s_magic;
	record->nlink = inode->i_nlink;
}

static __always_inline void fill_file(struct whence_record *record, struct inode *inode)
{
	fill_content(record, inode);
	record->version = version_of(&record->file);
}

static __always_inline void fill_other(struct whence_record *record, struct whence_process other)
{
	record->other_start_ns = other.start_ns;
	record->other_tgid = other.tgid;
	record->other_exec_id = other.exec_id;
}

#endif
