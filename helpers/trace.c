// SPDX-License-Identifier: GPL-2.0
/* The tracepoint bailey:violation; TRACE_EVENT is a macro. */
#include "shims.h"

#define CREATE_TRACE_POINTS
#include "bailey_trace.h"

void bailey_trace_violation(u32 prog, const char *name, u32 insn, u64 rip, u64 addr,
			    const char *kind)
{
	trace_violation(prog, name, insn, rip, addr, kind);
}
