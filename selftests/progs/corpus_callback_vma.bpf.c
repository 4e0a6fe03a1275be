// SPDX-License-Identifier: GPL-2.0
/*
 * Callbacks of bpf_find_vma: with the task and the area, which are the kernel's,
 * and nothing of which the program may have once the callback is over.
 */
#include "corpus.h"
#include "task.h"

#define VM_EXEC 4

__s64 result[16];

struct state {
	__u64 address, inside, executable, same, calls;
};

SUBPROG long look(struct task_struct *task, struct vm_area_struct *vma, struct state *s)
{
	s->inside = vma->vm_start <= s->address && s->address < vma->vm_end;
	s->executable = !!(vma->vm_flags & VM_EXEC);
	s->same = (__u64)task->tgid == bpf_get_current_pid_tgid() >> 32;
	s->calls++;
	return 0;
}

static __always_inline void keep(const struct state *s, long ret, int at)
{
	result[at] = ret;
	result[at + 1] = s->inside;
	result[at + 2] = s->executable;
	result[at + 3] = s->same;
	result[at + 4] = s->calls;
}

SEC("xdp") int vma_of_text(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	struct state s = {.address = regs->ip};

	keep(&s, bpf_find_vma(task, s.address, look, &s, 0), 0);
	return XDP_PASS;
}

SEC("xdp") int vma_of_stack(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	struct state s = {.address = regs->sp};

	keep(&s, bpf_find_vma(task, s.address, look, &s, 0), 0);
	return XDP_PASS;
}

SEC("xdp") int vma_of_nothing(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct state s = {};

	keep(&s, bpf_find_vma(task, 0, look, &s, 0), 0);
	keep(&s, bpf_find_vma(task, 0, look, &s, 1), 5);
	return XDP_PASS;
}

/* The same area is found inside of its own callback, and stays the outer one's. */
SUBPROG long look_again(struct task_struct *task, struct vm_area_struct *vma, struct state *s)
{
	result[10] = bpf_find_vma(task, s->address, look, s, 0);
	s->inside += vma->vm_start <= s->address && s->address < vma->vm_end;
	return 0;
}

SEC("xdp") int vma_in_vma(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	struct state s = {.address = regs->ip};

	keep(&s, bpf_find_vma(task, s.address, look_again, &s, 0), 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
