// SPDX-License-Identifier: GPL-2.0
/*
 * The time that a program is told, on each CPU and for so many seconds: what user space is told
 * before and after. Meanwhile the clock's frequency changes all the time, and the offset of TAI.
 * `clock [SECONDS]`; says so as breach.c does.
 */
#include "report.h"
#include "progs/clock.h"

#include <pthread.h>
#include <sys/timex.h>

#define MAX_CPUS 64
/*
 * Nanoseconds. The clocks are the fast ones, which are told as well to who has interrupted
 * the clock's own update: while the frequency changes they may be that much apart.
 */
#define SLACK 2000

static int prog, map, nr_cpus;
static volatile bool over;
static struct seen {
	__u64 runs, early, late, boot, tai, back, coarse;
} seen[MAX_CPUS];

static __u64 time_of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static bool between(__u64 before, __u64 told, __u64 after)
{
	return told + SLACK >= before && told <= after + SLACK;
}

static void *look(void *which)
{
	static const unsigned char packet[64];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));
	int cpu = (long)which;
	struct seen *s = &seen[cpu];

	pin_to_cpu(cpu);
	while (!over) {
		struct told told[MAX_CPUS];
		__u64 mono[2], boot[2], tai[2], coarse[2];
		__u32 key = 0;

		coarse[0] = time_of(CLOCK_MONOTONIC_COARSE);
		mono[0] = time_of(CLOCK_MONOTONIC);
		boot[0] = time_of(CLOCK_BOOTTIME);
		tai[0] = time_of(CLOCK_TAI);
		if (bpf_prog_test_run_opts(prog, &opts) || opts.retval != 2)
			die("a run on CPU %d: %s, verdict %u", cpu, strerror(errno), opts.retval);
		tai[1] = time_of(CLOCK_TAI);
		boot[1] = time_of(CLOCK_BOOTTIME);
		mono[1] = time_of(CLOCK_MONOTONIC);
		coarse[1] = time_of(CLOCK_MONOTONIC_COARSE);
		if (bpf_map_lookup_elem(map, &key, told))
			die("told: %s", strerror(errno));
		s->runs++;
		s->early += told[cpu].first + SLACK < mono[0];
		s->late += told[cpu].last > mono[1] + SLACK;
		s->boot += !between(boot[0], told[cpu].boot, boot[1]);
		/* Of the last tick: nobody computes with a frequency. */
		s->coarse += told[cpu].coarse < coarse[0] || told[cpu].coarse > coarse[1];
		/* Whose offset may have changed meanwhile, by one second. */
		s->tai += !between(tai[0], told[cpu].tai, tai[1]) &&
			  !between(tai[0] - 1000000000, told[cpu].tai, tai[1] + 1000000000);
		s->back += told[cpu].back;
	}
	return NULL;
}

/* Up to 500 parts in a million, as NTP does it; in adjtimex's unit of 2^-16 of one. */
static void disturb(double seconds)
{
	double end = now() + seconds;
	struct timex was = {}, tx;
	int turn = 0;

	if (adjtimex(&was) < 0)
		die("adjtimex: %s", strerror(errno));
	for (; now() < end; turn++) {
		tx = (struct timex){ .modes = ADJ_FREQUENCY, .freq = (turn % 3 - 1) * 500L << 16 };
		if (adjtimex(&tx) < 0)
			die("adjtimex: %s", strerror(errno));
		tx = (struct timex){ .modes = ADJ_TAI, .constant = was.tai + turn % 2 };
		if (adjtimex(&tx) < 0)
			die("adjtimex: %s", strerror(errno));
		usleep(5000);
	}
	tx = (struct timex){ .modes = ADJ_FREQUENCY, .freq = was.freq };
	adjtimex(&tx);
	tx = (struct timex){ .modes = ADJ_TAI, .constant = was.tai };
	adjtimex(&tx);
}

int main(int argc, char **argv)
{
	struct bpf_object *obj = bpf_object__open_file("clock.bpf.o", NULL);
	pthread_t threads[MAX_CPUS];
	struct seen all = {};

	nr_cpus = libbpf_num_possible_cpus();
	if (!obj || bpf_object__load(obj) || nr_cpus > MAX_CPUS)
		die("clock.bpf.o: %s", strerror(errno));
	prog = bpf_program__fd(bpf_object__find_program_by_name(obj, "tell"));
	map = bpf_object__find_map_fd_by_name(obj, "told");
	for (long cpu = 0; cpu < nr_cpus; cpu++)
		if (pthread_create(&threads[cpu], NULL, look, (void *)cpu))
			die("a thread: %s", strerror(errno));
	disturb(argc > 1 ? atof(argv[1]) : 1);
	over = true;
	for (int cpu = 0; cpu < nr_cpus; cpu++) {
		pthread_join(threads[cpu], NULL);
		all.runs += seen[cpu].runs;
		all.early += seen[cpu].early;
		all.late += seen[cpu].late;
		all.boot += seen[cpu].boot;
		all.tai += seen[cpu].tai;
		all.back += seen[cpu].back;
		all.coarse += seen[cpu].coarse;
	}
	printf("# %llu runs on %d CPUs\n", (unsigned long long)all.runs, nr_cpus);
	report(all.runs > 100, "programs run on every CPU");
	report(!all.early, "none is told a time that was over (%llu)", (unsigned long long)all.early);
	report(!all.late, "nor one that is still to come (%llu)", (unsigned long long)all.late);
	report(!all.boot, "nor one since boot (%llu)", (unsigned long long)all.boot);
	report(!all.tai, "nor one by atomic clocks (%llu)", (unsigned long long)all.tai);
	report(!all.coarse, "nor a coarse one (%llu)", (unsigned long long)all.coarse);
	printf("# back within a run: %llu\n", (unsigned long long)all.back);
	bpf_object__close(obj);
	return failed > 0;
}
