/* SPDX-License-Identifier: GPL-2.0 */
/* Results of a runner, a line each, which a guest script takes in (`absorb`). */
#ifndef BAILEY_REPORT_H
#define BAILEY_REPORT_H

#include "runner.h"

#include <stdbool.h>

/* So many were not ok. */
static int failed;

__attribute__((format(printf, 2, 3))) static inline void report(bool good, const char *format, ...)
{
	va_list args;

	printf(good ? "ok " : "not ok ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	failed += !good;
}

#endif
