// SPDX-License-Identifier: GPL-2.0
/*
 * Has the callbacks of timers and workqueues go astray and what works on these be
 * passed what is forged, and says what became of it: `ok NAME` or `not ok NAME`. Needs the breach build,
 * with on_violation=abort, or, with --quarantine, with on_violation=quarantine.
 *
 *   --count N   how often in a row the deepest callback's run is ended, others'
 *               a tenth of that
 */
#include "breach_run.h"

#include <getopt.h>
#include <stdbool.h>
#include <time.h>

/* Of the hole above user space: nobody's. */
#define NOWHERE 0xffff8000000dead0ull

/* As in progs/breach_timer.bpf.c. */
struct timed {
	__u64 fired;
	__u64 timer[2], work[2];
	__u32 lock, pad;
	__u64 passed, worked;
};

enum { ORDERED, OTHER_MAP, STACK, GLOBAL, VALUE };

static struct breach timers;
static int values;

static struct timed value(__u32 key)
{
	struct timed timed;

	if (bpf_map_lookup_elem(values, &key, &timed))
		die("a timer's value: %s", strerror(errno));
	return timed;
}

static void set_order(struct order order)
{
	__u32 key = 0;

	if (bpf_map_update_elem(timers.orders, &key, &order, BPF_ANY))
		die("order: %s", strerror(errno));
}

static struct order get_order(void)
{
	struct order order;
	__u32 key = 0;

	if (bpf_map_lookup_elem(timers.orders, &key, &order))
		die("order: %s", strerror(errno));
	return order;
}

/* Waits until a counter of the module is at `value`. */
static bool comes_to(const char *name, __u64 value)
{
	for (int i = 0; i < 20000; i++) {
		if (counter(name) >= value)
			return true;
		if (i > 100)
			usleep(100);
	}
	return false;
}

/* Waits until the first timer has fired so often. */
static bool fires(__u64 times)
{
	for (int i = 0; i < 20000; i++) {
		if (value(0).fired >= times)
			return true;
		if (i > 100)
			usleep(100);
	}
	return false;
}

static bool goes_home(struct bpf_program *prog)
{
	__u64 fired = value(0).fired;

	set_order((struct order){.relative = 1});
	if (test_run(bpf_program__fd(prog)) != 2)
		return false;
	for (int i = 0; i < 20000 && !get_order().done; i++)
		usleep(100);
	return get_order().done && value(0).fired == fired + 1;
}

static void callback(struct bpf_program *prog, int count)
{
	const char *name = bpf_program__name(prog);
	__u64 violations, aborts, fired;
	int done = 0, ended = 0;
	bool before = goes_home(prog), after;

	violations = counter("violations_total");
	aborts = counter("aborts");
	fired = value(0).fired;
	set_order((struct order){.target = NOWHERE});
	for (int i = 0; i < count; i++) {
		if (test_run(bpf_program__fd(prog)) != 2)
			break;
		ended += fires(fired + i + 1);
		done += get_order().done != 0;
	}
	/* The last run may be about to be unwound. */
	comes_to("aborts", aborts + count);
	violations = counter("violations_total") - violations;
	aborts = counter("aborts") - aborts;
	fired = value(0).fired - fired;
	after = goes_home(prog);
	report(before && after && !done && ended == count && violations == (__u64)count &&
	       aborts == (__u64)count && fired == (__u64)count,
	       "%s: %d runs that the kernel started end, each for itself, and the next one works", name,
	       count);
	if (violations != (__u64)count || aborts != (__u64)count || !before || !after)
		printf("# home before %d and after %d; %d ended, %d done, %llu violations, %llu aborts, "
		       "%llu fired\n", before, after, ended, done, violations, aborts, fired);
}

/* What is passed in the place of a timer or workqueue. */
static void forged(struct bpf_program *prog)
{
	static const __s64 beside[] = {-4096, -16, -8, -1, 1, 4, 8, 16, 24, 4096};
	static const __u64 targets[] = {0, 1, 4096, NOWHERE, ~0ull, 0xffffffff81000000ull};
	const char *name = bpf_program__name(prog);
	int fd = bpf_program__fd(prog), tried = 0, taken = 0;
	struct outcome out;

	for (size_t i = 0; i < ARRAY_SIZE(beside); i++, tried++) {
		out = attempt_beside(&timers, fd, beside[i], ORDERED);
		taken += !was_ended(&out);
	}
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++, tried++) {
		out = attempt(&timers, fd, targets[i], ORDERED);
		taken += !was_ended(&out);
	}
	for (__u64 place = STACK; place <= VALUE; place++, tried++) {
		out = attempt(&timers, fd, 0, place);
		taken += !was_ended(&out);
	}
	report(!taken, "%s: nothing but one is taken for one (%d tried, %d taken)", name, tried,
	       taken);
	out = attempt(&timers, fd, 0, OTHER_MAP);
	if (strstr(name, "_init"))
		report(was_ended(&out), "%s: none is taken for one of another map", name);
	else
		report(out.order.done, "%s: that of another map of the program is one", name);
	out = attempt_beside(&timers, fd, 0, ORDERED);
	report(out.order.done, "%s: that of the value itself is one", name);
}

/* Functions are numbers to a program: one of them is to be called later. */
static void forged_callback(struct bpf_program *prog)
{
	static const __u64 others[] = {64, 1ull << 32, NOWHERE, ~0ull, 0xffffffff81000000ull};
	const char *name = bpf_program__name(prog);
	int fd = bpf_program__fd(prog), small = 0, big = 0;

	for (__u64 number = 0; number < 16; number++) {
		struct outcome out = attempt(&timers, fd, 0, number);

		small += !was_ended(&out);
	}
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		struct outcome out = attempt(&timers, fd, 0, others[i]);

		big += !was_ended(&out);
	}
	report(small == 1 && !big, "%s: of all numbers one is a callback for it (%d, %d)", name,
	       small, big);
}

/* Over its count, and over what is beside that. */
static void loop_forged(struct bpf_program *prog)
{
	struct timespec start, now;
	struct outcome out;
	int bad = 0;
	long ms = 0;

	for (__s64 below = -64; below <= -8; below += 8) {
		clock_gettime(CLOCK_MONOTONIC, &start);
		out = attempt_beside(&timers, bpf_program__fd(prog), below, 0);
		clock_gettime(CLOCK_MONOTONIC, &now);
		ms = (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000;
		bad += out.verdict != 2 || ms < 250 || ms > 10000;
	}
	report(!bad, "a loop that writes over its count ends when its time is over (%d, %ld ms)", bad,
	       ms);
}

/* What the runs of a domain do to each other's memory would show here. */
static void beside_others(void)
{
	int armed = program_of(timers.obj, "armed"), bad = 0;
	int forged = program_of(timers.obj, "forged_cancel");
	__u64 fired[2], worked[2], violations = counter("violations_total");
	struct timespec start, now;

	for (int cpu = 0; cpu < 2; cpu++) {
		pin_to_cpu(cpu);
		bad += test_run(armed) != 2;
		fired[cpu] = value(cpu).fired;
		worked[cpu] = value(cpu).worked;
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		struct outcome out = attempt_beside(&timers, forged, 0, ORDERED);

		bad += out.verdict != 2 || !out.order.done;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - start.tv_sec < 3);
	for (int cpu = 0; cpu < 2; cpu++) {
		bad += value(cpu).fired < fired[cpu] + 100;
		bad += value(cpu).worked < worked[cpu] + 100;
		printf("# the timer of CPU %d fired %llu times, its work was done %llu times\n", cpu,
		       value(cpu).fired - fired[cpu], value(cpu).worked - worked[cpu]);
	}
	report(!bad && counter("violations_total") == violations,
	       "timers fire and work is done while programs of the domain run, each as it should (%d)",
	       bad);
	pin_to_cpu(0);
}

/* Kilobytes that the kernel's own data takes. */
static long kernel_memory(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	long sum = 0, kb;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Slab: %ld", &kb) == 1 || sscanf(line, "Percpu: %ld", &kb) == 1 ||
		    sscanf(line, "VmallocUsed: %ld", &kb) == 1)
			sum += kb;
	if (f)
		fclose(f);
	return sum;
}

static int programs_left(void)
{
	FILE *f = fopen(BAILEY "programs", "r");
	char line[512];
	int lines = -1;

	while (f && fgets(line, sizeof(line), f))
		lines++;
	if (f)
		fclose(f);
	return lines;
}

/* So many times a program goes while its timers fire. How often not as it should. */
static int close_armed(int rounds, int left)
{
	int bad = 0;

	for (int i = 0; i < rounds; i++) {
		timers = load_breach(".", "breach_timer");
		for (int cpu = 0; cpu < libbpf_num_possible_cpus(); cpu++) {
			pin_to_cpu(cpu);
			bad += test_run(program_of(timers.obj, "armed")) != 2;
		}
		bpf_object__close(timers.obj);
		for (int k = 0; programs_left() > left && k < 500; k++)
			usleep(20000);
		bad += programs_left() > left;
	}
	return bad;
}

static void closed_armed(int rounds)
{
	/* First what is allocated once. */
	int left = programs_left(), bad = close_armed(2, left);
	long memory = 0;

	/* What is lost is lost each time; what the kernel has at hand grows now and then. */
	for (int tries = 0; tries < 3; tries++) {
		memory = kernel_memory();
		bad += close_armed(rounds, left);
		memory = kernel_memory() - memory;
		if (memory < 2048)
			break;
	}
	pin_to_cpu(0);
	report(!bad, "programs go when they are closed with timers armed and work queued (%d times)", rounds);
	report(memory < 2048, "the kernel's memory is as before (%ld KiB more)", memory);
}

static void quarantine(void)
{
	int fd = program_of(timers.obj, "stray_first");
	__u64 refused = counter("refused_runs");
	__u64 fired = value(3).fired;
	bool good = test_run(fd) == 2;

	set_order((struct order){.target = NOWHERE});
	usleep(1000);
	good &= comes_to("violations_total", 1);
	report(good, "quarantine: a timer's callback goes astray");
	report(test_run(fd) == 0, "quarantine: its program is turned away");
	report(comes_to("refused_runs", refused + 2) && value(3).fired == fired &&
	       counter("violations_total") == 1,
	       "quarantine: its other timer's callback is turned away");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"count", required_argument, NULL, 'c'},
		{"quarantine", no_argument, NULL, 'q'},
		{},
	};
	struct bpf_program *prog;
	int c, count = 10000;
	bool in_quarantine = false;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'c')
			count = atoi(optarg);
		else if (c == 'q')
			in_quarantine = true;
		else
			die("breach_timer [--count N] [--quarantine]");
	}
	pin_to_cpu(0);
	timers = load_breach(".", "breach_timer");
	values = map_of(timers.obj, "timers");
	bpf_object__for_each_program(prog, timers.obj)
		if (!is_isolated(prog))
			die("%s is not isolated", bpf_program__name(prog));
	if (in_quarantine) {
		quarantine();
		return failed ? 1 : 0;
	}
	bpf_object__for_each_program(prog, timers.obj) {
		const char *name = bpf_program__name(prog);

		if (!strncmp(name, "stray_", 6) && strcmp(name, "stray_first"))
			callback(prog, strcmp(name, "stray_deep") ? (count + 9) / 10 : count);
		else if (!strncmp(name, "forged_", 7))
			forged(prog);
		else if (!strcmp(name, "loop_forged"))
			loop_forged(prog);
		else if (!strncmp(name, "callback_forged", 15))
			forged_callback(prog);
	}
	printf("# ended %llu\n", ended_runs);
	beside_others();
	bpf_object__close(timers.obj);
	closed_armed(20);
	return failed ? 1 : 0;
}
