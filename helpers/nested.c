// SPDX-License-Identifier: GPL-2.0
/*
 * The test build alone: runs an XDP program in a hard interrupt, on every CPU,
 * beside and inside of the runs that are under way there. Drivers do not do
 * that, so nothing else nests runs or enters with interrupts off.
 *
 * Writing "FD COUNT" to the parameter test_nested sends COUNT interrupts to
 * every CPU, each of which runs the writer's program FD on a packet of 64
 * zeroes. Reading it gives "runs nested verdict": how many there were, how many
 * of them inside another run, and the sum of their verdicts.
 */
#include <linux/bpf.h>
#include <linux/delay.h>
#include <linux/filter.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <net/xdp.h>
#include "shims.h"

static atomic64_t runs, nested, verdicts;

struct order {
	struct bpf_prog *prog;
	struct net_device *dev;
};

static void run_here(void *arg)
{
	struct order *order = arg;
	struct xdp_rxq_info rxq = { .dev = order->dev };
	void *page = (void *)__get_free_page(GFP_ATOMIC | __GFP_ZERO);
	struct xdp_buff xdp;

	if (!page)
		return;
	xdp_init_buff(&xdp, PAGE_SIZE, &rxq);
	xdp_prepare_buff(&xdp, page, XDP_PACKET_HEADROOM, 64, true);
	if (bailey_this_cpu()->run)
		atomic64_inc(&nested);
	rcu_read_lock();
	atomic64_add(bpf_prog_run(order->prog, &xdp), &verdicts);
	rcu_read_unlock();
	atomic64_inc(&runs);
	free_page((unsigned long)page);
}

static int nested_set(const char *val, const struct kernel_param *kp)
{
	struct order order = { .dev = init_net.loopback_dev };
	unsigned int count;
	u32 fd;

	if (sscanf(val, "%u %u", &fd, &count) != 2)
		return -EINVAL;
	order.prog = bpf_prog_get_type_dev(fd, BPF_PROG_TYPE_XDP, false);
	if (IS_ERR(order.prog))
		return PTR_ERR(order.prog);
	while (count--) {
		on_each_cpu(run_here, &order, 1);
		usleep_range(500, 1000);
	}
	bpf_prog_put(order.prog);
	return 0;
}

static int nested_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%lld %lld %lld\n", atomic64_read(&runs),
			  atomic64_read(&nested), atomic64_read(&verdicts));
}

static const struct kernel_param_ops nested_ops = { .set = nested_set, .get = nested_get };

module_param_cb(test_nested, &nested_ops, NULL, 0600);
MODULE_PARM_DESC(test_nested, "test build only: run a program in interrupts");
