// SPDX-License-Identifier: GPL-2.0
/* Inlines and bit-fields around programs and the module itself. */
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/module.h>
#include "shims.h"

/* The kernel's IDT entries, by vector: where the stubs go on to (event.S). */
u64 bailey_event_handlers[256];

typedef u64 (*helper_fn)(u64, u64, u64, u64, u64);

u64 bailey_call_helper(u64 func, const u64 *args)
{
	return ((helper_fn)func)(args[0], args[1], args[2], args[3], args[4]);
}

struct module *bailey_this_module(void)
{
	return THIS_MODULE;
}

void bailey_module_get(void)
{
	__module_get(THIS_MODULE);
}

void bailey_prog_request_jit(struct bpf_prog *prog, int on)
{
	prog->jit_requested = on;
}
