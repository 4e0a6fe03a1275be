/* SPDX-License-Identifier: GPL-2.0 */
/* What programs read of the kernel's objects; where it is the loader finds out. */
#ifndef BAILEY_TASK_H
#define BAILEY_TASK_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct mm_struct {
	unsigned long start_code, end_code;
};

struct task_struct {
	int exit_code;
	int pid, tgid;
	char comm[16];
	struct mm_struct *mm;
	struct task_struct *group_leader, *real_parent;
};

struct pt_regs {
	unsigned long orig_ax, ip, cs, sp;
};

struct vm_area_struct {
	unsigned long vm_start, vm_end;
	unsigned long vm_flags;
	struct mm_struct *vm_mm;
};

struct sock_common {
	unsigned short skc_num;
};

struct sock {
	struct sock_common __sk_common;
};

struct inet_sock {
	struct sock sk;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 snd_cwnd;
};

#pragma clang attribute pop

#endif
