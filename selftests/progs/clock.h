/* SPDX-License-Identifier: GPL-2.0 */
/* What clock.bpf.c tells clock.c: nanoseconds. */
#ifndef BAILEY_CLOCK_H
#define BAILEY_CLOCK_H

/* How often it looks at one clock. */
#define AGAIN 50

struct told {
	__u64 first; /* CLOCK_MONOTONIC, before the others */
	__u64 boot, tai; /* CLOCK_BOOTTIME, CLOCK_TAI */
	__u64 last; /* CLOCK_MONOTONIC, behind them */
	__u64 back; /* times that it went back meanwhile */
	__u64 coarse; /* CLOCK_MONOTONIC_COARSE */
};

#endif
