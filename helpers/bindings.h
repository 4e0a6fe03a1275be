/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/bpf.h>
#include <linux/bpf_verifier.h>
#include <linux/filter.h>
#include <linux/netdevice.h>
#include <linux/pgtable.h>
#include <linux/pvclock_gtod.h>
#include <linux/seq_file.h>
#include <linux/timekeeper_internal.h>
#include <linux/uaccess.h>
#include <net/sock.h>
#include <net/xdp.h>
#include <net/xdp_sock.h>
#include <asm/insn.h>
#include <asm/ptrace.h>
#include "layout.h"
#include "shims.h"
