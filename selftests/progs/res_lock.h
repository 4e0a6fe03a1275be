/* SPDX-License-Identifier: GPL-2.0 */
/* Locks that may fail: the kernel's type and kfuncs, and its errors. */
#ifndef BAILEY_RES_LOCK_H
#define BAILEY_RES_LOCK_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define EDEADLK 35

struct bpf_res_spin_lock {
	__u32 val;
};

extern int bpf_res_spin_lock(struct bpf_res_spin_lock *lock) __ksym;
extern void bpf_res_spin_unlock(struct bpf_res_spin_lock *lock) __ksym;
extern int bpf_res_spin_lock_irqsave(struct bpf_res_spin_lock *lock,
				     unsigned long *flags__irq_flag) __ksym;
extern void bpf_res_spin_unlock_irqrestore(struct bpf_res_spin_lock *lock,
					   unsigned long *flags__irq_flag) __ksym;

#endif
