// SPDX-License-Identifier: GPL-2.0
/*
 * The test build alone: runs an XDP program in a hard interrupt, on every CPU,
 * beside and inside of the runs that are under way there. Drivers do not do
 * that, so nothing else nests runs or enters with interrupts off.
 *
 * Writing "FD COUNT" to the parameter test_nested sends COUNT interrupts to
 * every CPU, each of which runs the writer's program FD on a packet of 64
 * zeroes; "FD COUNT FUNCTION": each of which calls that function of it as a
 * timer would, with the first value of a map with timers. Reading it gives "runs nested verdict": how many there were, how many
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
	bpf_callback_t callback;
	struct bpf_map *map;
	void *value;
};

/* As bpf_timer_cb() does. */
static void call_back_here(void *arg)
{
	struct order *order = arg;
	u32 key = 0;

	if (bailey_this_cpu()->run)
		atomic64_inc(&nested);
	rcu_read_lock();
	order->callback((u64)order->map, (u64)&key, (u64)order->value, 0, 0);
	rcu_read_unlock();
	atomic64_inc(&runs);
}

static int find_callback(struct order *order, const char *function)
{
	struct bpf_prog_aux *aux = order->prog->aux;
	u32 i, key = 0;

	for (i = 0; i < aux->real_func_cnt; i++) {
		if (strstr(aux->func[i]->aux->ksym.name, function))
			order->callback = (void *)aux->func[i]->bpf_func;
	}
	for (i = 0; i < aux->used_map_cnt; i++) {
		struct bpf_map *map = aux->used_maps[i];

		if (map->map_type == BPF_MAP_TYPE_ARRAY &&
		    btf_record_has_field(map->record, BPF_TIMER))
			order->map = map;
	}
	if (!order->callback || !order->map)
		return -EINVAL;
	/* An array's values stay where they are. */
	rcu_read_lock();
	order->value = order->map->ops->map_lookup_elem(order->map, &key);
	rcu_read_unlock();
	return 0;
}

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
	char function[32];
	unsigned int count;
	int given, err = 0;
	u32 fd;

	given = sscanf(val, "%u %u %31s", &fd, &count, function);
	if (given < 2)
		return -EINVAL;
	order.prog = bpf_prog_get_type_dev(fd, BPF_PROG_TYPE_XDP, false);
	if (IS_ERR(order.prog))
		return PTR_ERR(order.prog);
	if (given == 3)
		err = find_callback(&order, function);
	while (!err && count--) {
		on_each_cpu(given == 3 ? call_back_here : run_here, &order, 1);
		usleep_range(500, 1000);
	}
	bpf_prog_put(order.prog);
	return err;
}

static int nested_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%lld %lld %lld\n", atomic64_read(&runs),
			  atomic64_read(&nested), atomic64_read(&verdicts));
}

static const struct kernel_param_ops nested_ops = { .set = nested_set, .get = nested_get };

module_param_cb(test_nested, &nested_ops, NULL, 0600);
MODULE_PARM_DESC(test_nested, "test build only: run a program in interrupts");
