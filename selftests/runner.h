/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the guest's runners share: giving up, hashing, and reading the
 * module's account. A runner is one C file linked against libbpf; this stays
 * a header so that each builds by one command.
 */
#ifndef BAILEY_RUNNER_H
#define BAILEY_RUNNER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <linux/types.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define BAILEY "/sys/kernel/debug/bailey/"
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

__attribute__((format(printf, 1, 2), noreturn)) static inline void die(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(2);
}

/* FNV-1a. Not against attackers: against differences. */
#define HASH_START 0xcbf29ce484222325ull

static inline __u64 hash_bytes(__u64 hash, const void *data, size_t len)
{
	const unsigned char *p = data;

	while (len--)
		hash = (hash ^ *p++) * 0x100000001b3ull;
	return hash;
}

/* SplitMix64: the same numbers in every run with the same seed. */
static inline __u64 next_random(__u64 *state)
{
	__u64 z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* Seconds, from some time on. */
static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static inline void pin_to_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("CPU %d: %s", cpu, strerror(errno));
}

/* Whether it is run once before the others, for what these cannot make themselves. */
static inline bool prepares(const struct bpf_program *prog)
{
	return bpf_program__type(prog) == BPF_PROG_TYPE_SYSCALL;
}

static inline __u32 program_id(int fd)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	if (bpf_prog_get_info_by_fd(fd, &info, &len))
		die("program info: %s", strerror(errno));
	return info.id;
}

/* A counter of the module's; 0 without it. */
static inline __u64 counter(const char *name)
{
	unsigned long long value = 0;
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), BAILEY "%s", name);
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (fscanf(f, "value %llu", &value) != 1)
		die("%s: no number", path);
	fclose(f);
	return value;
}

/*
 * The last column of the module's `programs` for a program: `isolated`, or
 * the reason why not, which may have spaces. `unknown` when it is not listed,
 * `off` without the module.
 */
static inline void program_state(__u32 id, char *state, size_t size)
{
	FILE *f = fopen(BAILEY "programs", "r");
	char line[512];

	snprintf(state, size, f ? "unknown" : "off");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		char *rest = line, *word = NULL;

		for (int column = 0; column < 9; column++) {
			rest += strspn(rest, " \t");
			word = rest;
			if (column == 0 && strtoul(word, NULL, 10) != id)
				break;
			if (column == 8) {
				word[strcspn(word, "\n")] = 0;
				snprintf(state, size, "%s", word);
				break;
			}
			rest += strcspn(rest, " \t\n");
		}
	}
	fclose(f);
}

#endif
