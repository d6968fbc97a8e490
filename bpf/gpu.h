/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What crosses from the kernel about GPUs: who opened which device node, which
 * GPU a process registered, and when the last reference to the open file went.
 * daemon/whenced/gpu_record.py is checked against the BTF of this header.
 */
#ifndef WHENCE_GPU_H
#define WHENCE_GPU_H

#include "record.h"

enum whence_gpu_kind {
	WHENCE_GPU_OPENED = 1,	/* a node was opened */
	WHENCE_GPU_REGISTERED,	/* uuid: a GPU was registered through the file */
	WHENCE_GPU_UNREGISTERED,	/* uuid: and taken back by a call */
	WHENCE_GPU_RELEASED,	/* the last reference to the open file is gone */
	WHENCE_GPU_ENDED,	/* a process ended that had opened or registered */
	WHENCE_GPU_SEEN,	/* iterator: a process has the file open now */
	WHENCE_GPU_KIND_COUNT
};

/* What a device node is to us. */
enum whence_gpu_role {
	WHENCE_GPU_DEVICE = 1,	/* one GPU, named by its minor number */
	WHENCE_GPU_UVM,		/* unified memory: its requests name GPUs by UUID */
};

/*
 * An open file is (address of struct file, when we saw it first): the address
 * alone is used again after the release.
 */
struct whence_gpu_record {
	__u64 at_ns;		/* boot clock */
	__u64 file;		/* address of the struct file, 0 for ENDED */
	__u64 since_ns;		/* when it was opened, or first seen open */
	__u64 uncertainty_ns;	/* at_ns may be too late by this much */
	struct whence_process process;
	__u8 uuid[16];
	__u32 device;		/* i_rdev of the node: major << 20 | minor */
	__u32 request;		/* of REGISTERED and UNREGISTERED */
	__s32 fd;
	__u16 kind;		/* enum whence_gpu_kind */
	__u16 role;		/* enum whence_gpu_role */
};

/* Device numbers and what stands behind them; which is the daemon's to find out. */
struct whence_gpu_node {
	__u32 major;
	__u32 first_minor;
	__u32 last_minor;
	__u32 role;		/* enum whence_gpu_role */
};

#define WHENCE_GPU_NODES 16

/*
 * Requests of nvidia-uvm (kernel-open/nvidia-uvm/uvm_ioctl.h, equal in all
 * branches from 515 to 595): plain numbers whose argument begins with a UUID.
 */
#define WHENCE_UVM_REGISTER_VASPACE 25
#define WHENCE_UVM_UNREGISTER_VASPACE 26
#define WHENCE_UVM_REGISTER_CHANNEL 27
#define WHENCE_UVM_REGISTER_GPU 37
#define WHENCE_UVM_UNREGISTER_GPU 38

struct whence_gpu_config {
	__u32 node_count;
	__u32 count_failed;	/* stand-in nodes refuse the requests; count them still */
	struct whence_gpu_node nodes[WHENCE_GPU_NODES];
};

struct whence_gpu_count {
	__u64 attempted;
	__u64 lost;
};

#endif
