// SPDX-License-Identifier: GPL-2.0
/*
 * The test build alone: defences that can be taken out one at a time, so that
 * an attack can be shown to need them, and what an attack that wins ends in.
 *
 * The parameter `undefended` takes their names, with commas between them. A 1
 * written to `test_move` moves every domain to the other kind of key; a 2 or 3
 * takes all keys away and hands them out anew, the lowest to the first domain or
 * to the last. The parameter `test_won` gives "wins slots": how
 * often bailey_won was reached, and where the resume slots of CPU 0 are.
 */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "shims.h"

/* By bit: BAILEY_WITHOUT_* in layout.h. */
static const char *const defences[] = {
	"rip", "landing", "begin", "flags", "selectors", "rsp", "slots",
	"shadow", "loans", "ledger", "reread", "format", "string", "headers",
	"roots", "flush", "local", "nesting", "recover",
	"records", "maps", "objects", "uses", "index",
};

u32 bailey_test_undefended;
u64 bailey_test_wins;

static int undefended_set(const char *val, const struct kernel_param *kp)
{
	char *words = kstrdup(strim((char *)val), GFP_KERNEL), *rest = words, *word;
	u32 set = 0;
	int n = 0;

	if (!words)
		return -ENOMEM;
	while (n >= 0 && (word = strsep(&rest, ",")))
		if (*word) {
			n = match_string(defences, ARRAY_SIZE(defences), word);
			if (n >= 0)
				set |= 1u << n;
		}
	kfree(words);
	if (n < 0)
		return -EINVAL;
	WRITE_ONCE(bailey_test_undefended, set);
	return 0;
}

static int undefended_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%#x\n", bailey_test_undefended);
}

static int won_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%llu %llx\n", READ_ONCE(bailey_test_wins),
			  bailey_cpu_of(0)->slot_base);
}

static int move_set(const char *val, const struct kernel_param *kp)
{
	unsigned int how;
	int err = kstrtouint(val, 0, &how);

	if (err)
		return err;
	return bailey_test_move(how);
}

static const struct kernel_param_ops move_ops = { .set = move_set };
static const struct kernel_param_ops undefended_ops = { .set = undefended_set,
							.get = undefended_get };
static const struct kernel_param_ops won_ops = { .get = won_get };

module_param_cb(undefended, &undefended_ops, NULL, 0600);
MODULE_PARM_DESC(undefended, "test build only: defences to leave out");
module_param_cb(test_move, &move_ops, NULL, 0200);
MODULE_PARM_DESC(test_move, "test build only: 1 moves domains between shared and own keys, 2 and 3 hand keys out anew");
module_param_cb(test_won, &won_ops, NULL, 0400);
MODULE_PARM_DESC(test_won, "test build only: how often an attack had the kernel run its code");
