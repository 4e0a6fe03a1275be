/* SPDX-License-Identifier: GPL-2.0 */
/* Breakpoints of the hardware, on one CPU, for whatever runs there. */
#ifndef BAILEY_BREAKPOINT_H
#define BAILEY_BREAKPOINT_H

#include "runner.h"

#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>

/* At an instruction (HW_BREAKPOINT_X), or at a word's access. */
static inline int breakpoint(int cpu, __u64 address, int type)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attr),
		.bp_type = type,
		.bp_addr = address,
		.bp_len = type == HW_BREAKPOINT_X ? sizeof(long) : HW_BREAKPOINT_LEN_8,
	};
	int fd = syscall(SYS_perf_event_open, &attr, -1, cpu, -1, 0);

	if (fd < 0)
		die("a breakpoint at %llx: %s", address, strerror(errno));
	return fd;
}

/* How often it was met. */
static inline __u64 hits(int fd)
{
	__u64 count;

	if (read(fd, &count, sizeof(count)) != sizeof(count))
		die("a breakpoint: %s", strerror(errno));
	return count;
}

#endif
