// SPDX-License-Identifier: GPL-2.0
/*
 * Long runs for selftests/bench/functions.sh: 600000 instructions, so that what
 * interrupts the CPU interrupts them. Without a map and a call.
 */
#include "corpus.h"

#define TEN(x) x x x x x x x x x x
#define LONG                                                                                       \
	asm volatile("r6 = 12000\n"                                                                \
		     "r7 = 1\n"                                                                    \
		     "1:\n" TEN("r7 += r6\nr7 ^= r6\nr7 += r6\nr7 ^= r6\nr7 += r6\n")              \
		     "r6 += -1\n"                                                                  \
		     "if r6 != 0 goto 1b\n"                                                        \
		     "r0 = 2\n"                                                                    \
		     "exit\n")

SEC("xdp") NAKED int confined(void)
{
	LONG;
}

/* Of a type that is not isolated: it is interrupted while nothing is confined. */
SEC("tc") NAKED int unconfined(void)
{
	LONG;
}

char _license[] SEC("license") = "GPL";
