// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The tp_btf back end, one compilation unit: every program that whenced loads.
 * It observes and counts losses; it decides nothing.
 */
#include "kernel.h"

#include "process.bpf.c"
#include "touches.bpf.c"
#include "descriptors.bpf.c"
#include "mappings.bpf.c"
#include "transfers.bpf.c"
#include "names.bpf.c"
#include "calls.bpf.c"
#include "uring.bpf.c"
#include "changes.bpf.c"
#include "iterators.bpf.c"
#include "probe.bpf.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
