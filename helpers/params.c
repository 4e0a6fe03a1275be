// SPDX-License-Identifier: GPL-2.0
/*
 * Module parameters that are words, not numbers: the kernel crate's `module!`
 * knows numbers only, and module_param_cb is a macro.
 */
#include <linux/module.h>
#include <linux/sysfs.h>
#include "shims.h"

int bailey_policy_strict;
int bailey_violation_abort;
int bailey_isolation_program;

struct choice {
	int *value;
	const char *const *words;
};

static const char *const policy_words[] = { "permit", "strict", NULL };
static const char *const violation_words[] = { "quarantine", "abort", NULL };
static const char *const isolation_words[] = { "map", "program", NULL };
static struct choice policy = { &bailey_policy_strict, policy_words };
static struct choice on_violation = { &bailey_violation_abort, violation_words };
static struct choice isolation = { &bailey_isolation_program, isolation_words };

static int choice_set(const char *val, const struct kernel_param *kp)
{
	struct choice *choice = kp->arg;
	int i;

	for (i = 0; val && choice->words[i]; i++) {
		if (sysfs_streq(val, choice->words[i])) {
			WRITE_ONCE(*choice->value, i);
			return 0;
		}
	}
	pr_err("bailey: %s: \"%s\" is neither %s nor %s\n", kp->name, val ?: "",
	       choice->words[0], choice->words[1]);
	return -EINVAL;
}

static int choice_get(char *buffer, const struct kernel_param *kp)
{
	struct choice *choice = kp->arg;

	return sysfs_emit(buffer, "%s\n", choice->words[READ_ONCE(*choice->value)]);
}

static const struct kernel_param_ops choice_ops = { .set = choice_set, .get = choice_get };

module_param_cb(policy, &choice_ops, &policy, 0644);
MODULE_PARM_DESC(policy,
		 "what happens to a program that cannot be isolated: permit (it runs as without the module and debugfs says why) or strict (its load fails with EPERM and a line in the verifier log)");
module_param_cb(on_violation, &choice_ops, &on_violation, 0644);
MODULE_PARM_DESC(on_violation,
		 "what a violation does beside ending the run with XDP_ABORTED: quarantine (the program does not run again) or abort (only that run ends)");
module_param_cb(isolation, &choice_ops, &isolation, 0644);
MODULE_PARM_DESC(isolation,
		 "who shares memory: map (programs that share a map share a domain) or program (each program that is loaded has a domain of its own, and values of a map that another one has mapped are loans)");

int bailey_kernel_reads;
module_param_named(kernel_reads, bailey_kernel_reads, int, 0644);
MODULE_PARM_DESC(kernel_reads,
		 "1: programs that follow pointers inside objects of the kernel's are isolated, and the kernel carries out such reads, of any address; 0: they are not isolated");

#ifdef BAILEY_BREACH
/*
 * The test build alone: runs get a stack without room for an event's frame, as
 * if the program had used it up. The next interrupt cannot be pushed.
 */
int bailey_test_no_room;
module_param_named(test_no_room, bailey_test_no_room, int, 0644);
/* Where the stub of NMIs pushes its second register: only confined, for a breakpoint. */
unsigned long bailey_test_nmi_stub;
module_param_named(test_nmi_stub, bailey_test_nmi_stub, ulong, 0444);
MODULE_PARM_DESC(test_nmi_stub, "test build only: an instruction of the stub of NMIs");
/*
 * The control of the breach tests: programs run through the same gates, but no
 * page of the kernel is closed to them and no memory argument is audited.
 */
int bailey_test_confine = 1;
module_param_named(confine, bailey_test_confine, int, 0444);
MODULE_PARM_DESC(confine, "test build only: 0 leaves the kernel open to programs");
/* Every domain shares its key and has a root, as if all keys were taken. */
int bailey_test_share;
module_param_named(share, bailey_test_share, int, 0644);
MODULE_PARM_DESC(share, "test build only: every new domain gets the key for sharing");
/* No round of the policy moves a domain: who shares a key goes on sharing it. */
int bailey_test_late_failure;
module_param_named(test_late_failure, bailey_test_late_failure, int, 0444);
MODULE_PARM_DESC(test_late_failure, "test build only: so many ms after all is set up, init fails");

int bailey_test_hold;
module_param_named(test_hold, bailey_test_hold, int, 0644);
MODULE_PARM_DESC(test_hold, "test build only: no domain gets another key by itself");
MODULE_PARM_DESC(test_no_room, "test build only: give runs no stack room for events");
/* Programs that are loaded now call global functions as if something had attached to each. */
int bailey_test_gated;
module_param_named(test_gated, bailey_test_gated, int, 0644);
MODULE_PARM_DESC(test_gated, "test build only: call every global function through its gate");
#endif
