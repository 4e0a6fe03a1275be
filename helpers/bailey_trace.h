/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM bailey

#if !defined(BAILEY_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define BAILEY_TRACE_H

#include <linux/tracepoint.h>

TRACE_EVENT(violation,
	TP_PROTO(u32 prog, const char *name, u32 insn, u64 rip, u64 addr, const char *kind),
	TP_ARGS(prog, name, insn, rip, addr, kind),
	TP_STRUCT__entry(
		__field(u32, prog)
		__string(name, name)
		__field(u32, insn)
		__field(u64, rip)
		__field(u64, addr)
		__string(kind, kind)
	),
	TP_fast_assign(
		__entry->prog = prog;
		__assign_str(name);
		__entry->insn = insn;
		__entry->rip = rip;
		__entry->addr = addr;
		__assign_str(kind);
	),
	TP_printk("prog=%u name=%s insn=%u rip=0x%llx addr=0x%llx kind=%s",
		  __entry->prog, __get_str(name), __entry->insn, __entry->rip,
		  __entry->addr, __get_str(kind))
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE bailey_trace
#include <trace/define_trace.h>
