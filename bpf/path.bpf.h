/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Absolute paths by walking dentries and mounts. bpf_d_path() is refused to
 * tracepoint programs, and it answers relative to the caller's root, which
 * hides a chroot; the walk goes on to the root of the mount namespace.
 */
#ifndef WHENCE_PATH_H
#define WHENCE_PATH_H

#include "maps.bpf.h"

#define MAX_COMPONENTS 512

/*
 * A directory where it stands now: `place` is made of every step up from it, so
 * a rename or a mount above it gives another key, and nothing is ever stale.
 */
struct directory_key {
	__u64 dentry;
	__u64 place;
};

struct directory {
	__u64 text;	/* id of its text */
	__u64 at_ns;	/* when that was sent */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 13);
	__type(key, struct directory_key);
	__type(value, struct directory);
} directories SEC(".maps");

struct walk {
	struct scratch *scratch;
	__u64 dentry;
	__u64 mount; /* struct mount, not vfsmount */
	__u32 offset;
	__u32 flags;
};

static __always_inline __u64 mount_of(struct vfsmount *mnt)
{
	return (__u64)mnt - bpf_core_field_offset(struct mount, mnt);
}

/* Appends the name of walk->dentry; false when the buffer is full. */
static __always_inline bool append_name(struct walk *walk, struct dentry *dentry)
{
	struct scratch *scratch = walk->scratch;
	__u32 offset = walk->offset;
	long length;

	if (offset > TEXT_BYTES - NAME_BYTES)
		return false;
	length = bpf_probe_read_kernel_str(&scratch->data[offset], NAME_BYTES, dentry->d_name.name);
	if (length <= 0)
		return false;
	walk->offset = offset + length;
	return true;
}

/* One step up; 1 ends the walk. A bpf_loop() callback: verified only once. */
static long walk_step(__u64 index, struct walk *walk)
{
	struct dentry *dentry = typed(struct dentry, walk->dentry);
	struct mount *mount = typed(struct mount, walk->mount);

	if (dentry == mount->mnt.mnt_root) {
		struct mount *parent = mount->mnt_parent;

		if ((__u64)parent == walk->mount)
			return 1;
		walk->dentry = (__u64)mount->mnt_mountpoint;
		walk->mount = (__u64)parent;
		return 0;
	}
	if (!append_name(walk, dentry)) {
		walk->flags |= WHENCE_F_PATH_TRUNCATED;
		return 1;
	}
	if ((__u64)dentry->d_parent == walk->dentry)
		return 1; /* a tree that is mounted nowhere */
	walk->dentry = (__u64)dentry->d_parent;
	return 0;
}

/*
 * Sends the path of (mnt, dentry), leaf first. Returns WHENCE_F_TEXT_LOST or
 * WHENCE_F_PATH_TRUNCATED where they apply. A global function: verified once,
 * whoever calls it.
 */
__noinline __u32 send_path(__u64 mnt, __u64 dentry, __u64 id, __u32 part, __u32 slot)
{
	struct walk walk = {
		.scratch = scratch_at(slot & 3),
		.dentry = dentry,
		.mount = mount_of((struct vfsmount *)mnt),
	};

	if (!walk.scratch)
		return WHENCE_F_TEXT_LOST;
	if (bpf_loop(MAX_COMPONENTS, walk_step, &walk, 0) >= MAX_COMPONENTS)
		walk.flags |= WHENCE_F_PATH_TRUNCATED;
	if (!send_text(walk.scratch, slot, id, part, walk.offset, walk.flags, 0))
		walk.flags |= WHENCE_F_TEXT_LOST;
	return walk.flags;
}

/* The same for a struct path in kernel memory: a probe read for each pointer. */
static __always_inline __u32 send_path_at(const struct path *path, __u64 id, __u32 part, __u32 slot)
{
	struct {
		__u64 mnt, dentry;
	} ends = {};

	bpf_probe_read_kernel(&ends.mnt, sizeof(ends.mnt), &path->mnt);
	bpf_probe_read_kernel(&ends.dentry, sizeof(ends.dentry), &path->dentry);
	return send_path(ends.mnt, ends.dentry, id, part, slot);
}

struct climb {
	__u64 dentry;
	__u64 mount;
	__u64 place;
};

/* 2^64 / golden ratio: spreads what it is multiplied with (Knuth, TAOCP 6.4) */
#define SPREAD 0x9e3779b97f4a7c15ULL

#define word_of(address, type, field) word_at((address) + bpf_core_field_offset(type, field))

/* One step up, as walk_step(), but the names stay where they are. */
static long climb_step(__u64 index, struct climb *climb)
{
	__u64 above;

	if (climb->dentry == word_of(climb->mount, struct mount, mnt.mnt_root)) {
		above = word_of(climb->mount, struct mount, mnt_parent);
		climb->place = (climb->place ^ climb->mount) * SPREAD;
		if (above == climb->mount)
			return 1;
		climb->dentry = word_of(climb->mount, struct mount, mnt_mountpoint);
		climb->mount = above;
		return 0;
	}
	above = word_of(climb->dentry, struct dentry, d_parent);
	/* fs/namei.c full_name_hash(): of the name */
	climb->place ^= above ^ ((__u64)typed(struct dentry, climb->dentry)->d_name.hash << 32);
	climb->place *= SPREAD;
	if (above == climb->dentry)
		return 1;
	climb->dentry = above;
	return 0;
}

/*
 * The id of the text of the directory that a file was opened in, sent now if it
 * was not lately; 0 when it cannot be told. A global function: verified once,
 * whoever calls it, with addresses as plain numbers.
 */
__noinline __u64 directory_text(__u64 file, __u64 now_ns, __u32 slot)
{
	__u64 leaf = word_of(file, struct file, f_path.dentry);
	__u64 mnt = word_of(file, struct file, f_path.mnt);
	__u64 dentry = word_of(leaf, struct dentry, d_parent);
	struct climb climb = { .dentry = dentry, .mount = mount_of((struct vfsmount *)mnt) };
	struct directory_key key = { .dentry = dentry };
	struct directory fresh = { .at_ns = now_ns };
	struct directory *known;

	if (bpf_loop(MAX_COMPONENTS, climb_step, &climb, 0) >= MAX_COMPONENTS)
		return 0;
	key.place = climb.place;
	known = bpf_map_lookup_elem(&directories, &key);
	if (known && now_ns - known->at_ns < WHENCE_DIRECTORY_NS)
		return known->text;
	fresh.text = next_text_id(slot & 3);
	if (!fresh.text || send_path(mnt, dentry, fresh.text, WHENCE_TEXT_DIRECTORY, slot))
		return 0;
	bpf_map_update_elem(&directories, &key, &fresh, BPF_ANY);
	return fresh.text;
}

/* Unlinked, O_TMPFILE or memfd: the name leads nowhere. fs/dcache.c d_unlinked(). */
static __always_inline bool is_nameless(struct dentry *dentry)
{
	return !dentry->d_hash.pprev && (dentry->d_inode ? dentry->d_inode->i_nlink == 0 : true);
}

#endif
