// SPDX-License-Identifier: GPL-2.0
/*
 * Objects of the kernel's that a program may read: the task that it runs in, its
 * user registers, sockets as what else they are. Numbers that differ from run to
 * run become truths that do not.
 */
#include "corpus.h"
#include "task.h"

__s64 result[16];
__u64 stack[16];

SEC("xdp") int task_words(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	char comm[16] = {};

	result[0] = (__u64)task->tgid == bpf_get_current_pid_tgid() >> 32;
	result[1] = (__u32)task->pid == (__u32)bpf_get_current_pid_tgid();
	bpf_get_current_comm(comm, sizeof(comm));
	for (int i = 0; i < 16; i++)
		result[2] += task->comm[i] == comm[i];
	result[3] = task->comm[0];
	/* A narrow load of a field. */
	result[4] = *((__u8 *)&task->pid) == (__u8)bpf_get_current_pid_tgid();
	result[5] = task->exit_code;
	return XDP_PASS;
}

SEC("xdp") CPU_V4 int task_words_signed(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	result[0] = (__s64)task->pid > 0;
	result[1] = (__s64)task->exit_code;
	return XDP_PASS;
}

SEC("xdp") int task_registers(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);

	result[0] = regs->cs & 3;
	result[1] = regs->ip != 0;
	result[2] = regs->orig_ax;
	return XDP_PASS;
}

SEC("xdp") int task_stack(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	result[0] = bpf_get_task_stack(task, stack, sizeof(stack), 0) > 0;
	result[1] = bpf_get_task_stack(task, stack, sizeof(stack), BPF_F_USER_STACK) > 0;
	result[2] = bpf_get_task_stack(task, stack, 7, 0);
	__builtin_memset(stack, 0, sizeof(stack));
	return XDP_PASS;
}

SEC("xdp") int task_namespaces(struct xdp_md *ctx)
{
	struct bpf_pidns_info info = {};

	/* There is no such namespace. */
	result[0] = bpf_get_ns_current_pid_tgid(1, 2, &info, sizeof(info));
	result[1] = bpf_get_current_ancestor_cgroup_id(0) != 0;
	result[2] = bpf_get_current_ancestor_cgroup_id(100);
	result[3] = bpf_get_cgroup_classid((void *)ctx);
	return XDP_PASS;
}

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__uint(value_size, 4);
} groups SEC(".maps");

SEC("xdp") int task_under_cgroup(struct xdp_md *ctx)
{
	result[0] = bpf_current_task_under_cgroup(&groups, 0);
	result[1] = bpf_current_task_under_cgroup(&groups, 2);
	return XDP_PASS;
}

/* Sockets that the runner has at the port. */
#define AT_HOME(proto) \
	({ \
		struct bpf_sock_tuple tuple = {}; \
		tuple.ipv4.daddr = tuple.ipv4.saddr = bpf_htonl(0x7f000001); \
		tuple.ipv4.dport = bpf_htons(5201); \
		tuple.ipv4.sport = bpf_htons(1); \
		bpf_sk_lookup_##proto(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0); \
	})

SEC("xdp") int socket_as_tcp(struct xdp_md *ctx)
{
	struct bpf_sock *sk = AT_HOME(tcp);
	struct tcp_sock *tcp;

	result[0] = sk != NULL;
	if (!sk)
		return XDP_PASS;
	tcp = bpf_skc_to_tcp_sock(sk);
	result[1] = tcp != NULL;
	if (tcp) {
		result[2] = tcp->snd_cwnd;
		result[3] = tcp->inet_conn.icsk_inet.sk.__sk_common.skc_num;
		result[4] = bpf_skc_to_udp6_sock(tcp) != NULL;
	}
	result[5] = bpf_skc_to_tcp_request_sock(sk) != NULL;
	result[6] = bpf_skc_to_tcp_timewait_sock(sk) != NULL;
	result[7] = bpf_skc_to_tcp6_sock(sk) != NULL;
	result[8] = bpf_skc_to_unix_sock(sk) != NULL;
	bpf_sk_release(sk);
	return XDP_PASS;
}

SEC("xdp") int socket_as_tcp_not(struct xdp_md *ctx)
{
	struct bpf_sock *sk = AT_HOME(udp);

	result[0] = sk != NULL;
	if (!sk)
		return XDP_PASS;
	result[1] = bpf_skc_to_tcp_sock(sk) != NULL;
	bpf_sk_release(sk);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
