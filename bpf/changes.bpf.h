/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Names that one call in progress changes, noted by the inode tracepoints
 * (changes.bpf.c) and taken up when the call has succeeded (names.bpf.c).
 */
#ifndef WHENCE_CHANGES_H
#define WHENCE_CHANGES_H

#include "identity.bpf.h"

#define NOTED 8	  /* names that one call may change; copy-up needs the most */
#define ALIASES 4 /* names of one inode that are looked at */

/* One name of an inode, as it stood when the inode changed. */
struct noted {
	__u64 inode;
	__u64 dentry;
	__u64 parent;
	struct whence_file file;
	__u32 hash;
	__u32 magic;
	__u32 type;
	__u32 unused;
};

struct change {
	struct noted noted[NOTED];
	/* io_uring: id and flags of the strings, where the last of them starts, its first byte */
	__u64 text;
	__u32 flags;
	__s32 directory;
	__u32 first;
	__u32 unused;
};

/* By thread (pid_tgid) or, for io_uring, by request; deleted as the call ends. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 14);
	__type(key, __u64);
	__type(value, struct change);
} changes SEC(".maps");

/* What a change begins as: too large for the stack. Never written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct change);
} no_change SEC(".maps");

static __always_inline struct change *change_of(__u64 id)
{
	return bpf_map_lookup_elem(&changes, &id);
}

static __always_inline void forget_change(__u64 id)
{
	bpf_map_delete_elem(&changes, &id);
}

static __noinline struct change *new_change(__u64 id)
{
	__u32 zero = 0;
	struct change *blank = bpf_map_lookup_elem(&no_change, &zero);

	if (!blank)
		return NULL;
	bpf_map_update_elem(&changes, &id, blank, BPF_NOEXIST);
	return change_of(id);
}

static __always_inline void note_name(struct change *change, struct inode *inode, __u64 address)
{
	struct dentry *dentry = typed(struct dentry, address);

	for (__u32 i = 0; i < NOTED; i++) {
		struct noted *noted = &change->noted[i];

		if (noted->dentry == address)
			return;
		if (noted->dentry)
			continue;
		noted->inode = (__u64)inode;
		noted->dentry = address;
		noted->parent = (__u64)dentry->d_parent;
		noted->hash = dentry->d_name.hash;
		noted->file = file_of(inode);
		noted->magic = inode->i_sb->s_magic;
		noted->type = inode->i_mode & S_IFMT;
		return;
	}
}

/* An inode that changes in the course of a call. */
struct changing {
	__u64 id;
	__u64 inode;
};

/* A global function: verified once. */
__noinline int note_inode(struct changing *changing)
{
	struct hlist_node *node;
	struct change *change;
	struct inode *inode;

	if (!changing)
		return 0;
	inode = typed(struct inode, changing->inode);
	node = inode->i_dentry.first;
	change = change_of(changing->id);
	if (!change)
		return 0;
	for (int i = 0; i < ALIASES && node; i++) {
		note_name(change, inode, (__u64)node - bpf_core_field_offset(struct dentry, d_u.d_alias));
		node = node->next;
	}
	return 0;
}

static __always_inline bool is_name_work(__u32 work)
{
	switch (work) {
	case WHENCE_WORK_RENAME:
	case WHENCE_WORK_RENAMEAT:
	case WHENCE_WORK_RENAMEAT2:
	case WHENCE_WORK_LINK:
	case WHENCE_WORK_LINKAT:
	case WHENCE_WORK_UNLINK:
	case WHENCE_WORK_UNLINKAT:
	case WHENCE_WORK_TRUNCATE:
		return true;
	}
	return false;
}

/* Whether that name is the one which a call of this kind was about. */
static __always_inline bool is_subject(struct noted *noted, __u16 kind)
{
	struct dentry *dentry = typed(struct dentry, noted->dentry);

	if (!noted->dentry)
		return false;
	if (kind == WHENCE_RENAME)
		return (__u64)dentry->d_inode == noted->inode &&
		       ((__u64)dentry->d_parent != noted->parent || dentry->d_name.hash != noted->hash);
	if (noted->type == S_IFDIR)
		return false;
	if (kind == WHENCE_UNLINK)
		return (__u64)dentry->d_inode != noted->inode || !dentry->d_hash.pprev;
	return true;
}

struct subject_walk {
	struct change *change;
	__u32 found; /* index, NOTED for none */
	__u32 kind;
};

/* Layers of an overlay change as well: of all, the overlay's own is what the program meant. */
static long subject_step(__u64 index, struct subject_walk *walk)
{
	struct noted *noted = &walk->change->noted[index & (NOTED - 1)];

	if (!is_subject(noted, walk->kind))
		return 0;
	if (walk->found == NOTED || noted->magic == OVERLAYFS_SUPER_MAGIC)
		walk->found = index & (NOTED - 1);
	return 0;
}

/* The name that the call was about. By bpf_loop(), which is verified once and not NOTED times. */
static __noinline struct noted *subject_of(struct change *change, __u16 kind)
{
	struct subject_walk walk = { .change = change, .found = NOTED, .kind = kind };

	bpf_loop(NOTED, subject_step, &walk, 0);
	if (walk.found == NOTED)
		return NULL;
	return &change->noted[walk.found & (NOTED - 1)];
}

/* Where the subject stands after the call; 0 when that cannot be told. */
static __noinline __u64 dentry_after(struct noted *noted, __u16 kind)
{
	struct dentry *dentry = typed(struct dentry, noted->dentry);

	if (kind == WHENCE_RENAME)
		return noted->dentry;
	if (kind == WHENCE_LINK) {
		/* fs/dcache.c __d_instantiate(): the newest name comes first */
		__u64 newest = 0;

		/* a probe read, because a number is wanted and no pointer */
		bpf_probe_read_kernel(&newest, sizeof(newest),
				      &typed(struct inode, noted->inode)->i_dentry.first);
		if (!newest)
			return 0;
		newest -= bpf_core_field_offset(struct dentry, d_u.d_alias);
		return newest != noted->dentry ? newest : 0;
	}
	/* unchanged memory: the name that was there before the call */
	if ((__u64)dentry->d_parent != noted->parent || dentry->d_name.hash != noted->hash)
		return 0;
	return noted->dentry;
}

#endif
