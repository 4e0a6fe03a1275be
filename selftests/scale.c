// SPDX-License-Identifier: GPL-2.0
/*
 * Many domains at once, of four programs each that share their maps (scale.bpf.o):
 *
 *   scale test DOMAINS ROUNDS RUNS SEED
 *       loads them, has every CPU run programs in random order, RUNS in all, and lets
 *       them go, ROUNDS times. Each run must find its own domain's values, and each
 *       domain count its runs. Says so as breach.c does.
 *   scale figures STATE PROGRAMS...
 *       for each number of programs a line: `scale STATE PROGRAMS DOMAINS LOAD_NS
 *       BYTES_PER_PROGRAM REGION_BYTES_PER_DOMAIN INSTRUCTIONS KEY_WRITES`: of a load
 *       (virtual time), of memory that is not free any more, of a run.
 *   scale fill DOMAINS
 *       loads so many domains, of one program each, and prints how each program is
 */
#include "runner.h"

#include <pthread.h>
#include <sys/resource.h>
#include <time.h>

#define MEMBERS 4
#define MAX_DOMAINS 1024
#define MAX_CPUS 64

static const char *const members[MEMBERS] = { "first", "second", "third", "fourth" };

struct own {
	__u64 number, runs[MEMBERS];
};

static struct domain {
	struct bpf_object *obj;
	int programs[MEMBERS];
	int array;
	__u64 number;
	__u64 runs[MEMBERS];
} domains[MAX_DOMAINS];

static int nr_domains, wrong;
static __u64 runs_of_each_cpu, base_seed;

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

/* A domain with so many programs; its number is not its place, so that no other's is it. */
static void load(struct domain *d, int programs, __u64 number)
{
	struct own own = { .number = number };
	int table;
	__u32 key = 0;

	memset(d, 0, sizeof(*d));
	d->number = number;
	d->obj = bpf_object__open("scale.bpf.o");
	if (!d->obj)
		die("scale.bpf.o: %s", strerror(errno));
	for (int i = programs; i < MEMBERS; i++)
		bpf_program__set_autoload(bpf_object__find_program_by_name(d->obj, members[i]), false);
	if (bpf_object__load(d->obj))
		die("domain %td does not load: %s", d - domains, strerror(errno));
	for (int i = 0; i < programs; i++)
		d->programs[i] = bpf_program__fd(bpf_object__find_program_by_name(d->obj, members[i]));
	d->array = bpf_object__find_map_fd_by_name(d->obj, "array");
	table = bpf_object__find_map_fd_by_name(d->obj, "table");
	if (bpf_map_update_elem(d->array, &key, &own, BPF_ANY) ||
	    bpf_map_update_elem(table, &key, &d->number, BPF_ANY))
		die("maps: %s", strerror(errno));
}

static int run(int prog, int repeat)
{
	static const unsigned char packet[64];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		    .repeat = repeat);

	while (bpf_prog_test_run_opts(prog, &opts))
		if (errno != EINTR)
			die("a run: %s", strerror(errno));
	return opts.retval;
}

static void *work(void *arg)
{
	long cpu = (long)arg;
	__u64 seed = base_seed + cpu;

	pin_to_cpu(cpu);
	for (__u64 n = 0; n < runs_of_each_cpu; n++) {
		struct domain *d = &domains[next_random(&seed) % nr_domains];
		int member = next_random(&seed) % MEMBERS;
		int got = run(d->programs[member], 1), want = (int)(d->number * 4 + member);

		__atomic_add_fetch(&d->runs[member], 1, __ATOMIC_RELAXED);
		if (got != want && __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED) < 10)
			printf("# domain %td, %s: %d, not %d\n", d - domains, members[member], got, want);
	}
	return NULL;
}

static void let_go(void)
{
	for (int i = 0; i < nr_domains; i++)
		bpf_object__close(domains[i].obj);
	nr_domains = 0;
}

/* A number in a file of `name value` lines. */
static __u64 value_of(const char *path, const char *name)
{
	char line[256], word[128];
	unsigned long long value, found = 0;
	FILE *f = fopen(path, "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%127s %llu", word, &value) == 2 && !strcmp(word, name))
			found = value;
	if (f)
		fclose(f);
	return found;
}

static int lines(const char *path)
{
	FILE *f = fopen(path, "r");
	int n = 0, c;

	while (f && (c = fgetc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

static void wait_until_none(void)
{
	for (int i = 0; i < 600 && value_of(BAILEY "status", "domains"); i++)
		usleep(100000);
}

static int test(int argc, char **argv)
{
	int want = argc > 0 ? atoi(argv[0]) : 128, rounds = argc > 1 ? atoi(argv[1]) : 1, cpus;
	__u64 runs = argc > 2 ? strtoull(argv[2], NULL, 0) : 10000;
	int short_of_domains = 0, miscounted = 0, left = 0, shown;
	__u64 seed = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
	pthread_t threads[MAX_CPUS];

	cpus = sysconf(_SC_NPROCESSORS_ONLN);
	if (want > MAX_DOMAINS || cpus > MAX_CPUS)
		die("too many");
	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < want; i++)
			load(&domains[i], MEMBERS, next_random(&seed) & 0xfffffff);
		nr_domains = want;
		/* A header in each. */
		shown = lines(BAILEY "domains") - 1;
		if (shown != want || value_of(BAILEY "status", "programs_isolated") != (__u64)want * MEMBERS) {
			printf("# %d domains, %llu programs\n", shown,
			       (unsigned long long)value_of(BAILEY "status", "programs_isolated"));
			short_of_domains++;
		}
		runs_of_each_cpu = runs / cpus;
		base_seed = next_random(&seed);
		for (long i = 0; i < cpus; i++)
			if (pthread_create(&threads[i], NULL, work, (void *)i))
				die("a thread: %s", strerror(errno));
		for (int i = 0; i < cpus; i++)
			pthread_join(threads[i], NULL);
		for (int i = 0; i < nr_domains; i++) {
			struct domain *d = &domains[i];
			__u32 key = 0;
			struct own own;

			if (bpf_map_lookup_elem(d->array, &key, &own))
				die("maps: %s", strerror(errno));
			miscounted += own.number != d->number || memcmp(own.runs, d->runs, sizeof(own.runs));
		}
		let_go();
		wait_until_none();
		left += value_of(BAILEY "status", "domains") || value_of(BAILEY "status", "region_pages") ||
			value_of(BAILEY "status", "programs_isolated") ||
			value_of(BAILEY "status", "keys_in_use");
		/* The long form takes hours: what there is to say so far. */
		if ((round + 1) % 50 == 0)
			printf("# round %d: %d short of domains, %d wrong, %d miscounted, %d left, %llu KiB free\n",
			       round + 1, short_of_domains, wrong, miscounted, left,
			       value_of("/proc/meminfo", "MemFree:"));
	}
	printf("%s %d programs of %d domains are isolated at once, %d times\n",
	       short_of_domains ? "not ok" : "ok", want * MEMBERS, want, rounds);
	printf("%s each of %llu runs on %d CPUs found its own domain's values\n", wrong ? "not ok" : "ok",
	       (unsigned long long)(runs / cpus * cpus * rounds), cpus);
	printf("%s each domain counted its own runs and no others\n", miscounted ? "not ok" : "ok");
	printf("%s nothing of them is left in the module's account after each time\n",
	       left ? "not ok" : "ok");
	return short_of_domains || wrong || miscounted || left;
}

static __u64 nanoseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static __u64 run_time(int prog)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	if (bpf_prog_get_info_by_fd(prog, &info, &len))
		die("program info: %s", strerror(errno));
	return info.run_time_ns;
}

/* A run of each program of `n` domains, hardly one of the domain of the one before. */
static __u64 run_each(int programs, int n)
{
	__u64 runs = 0;

	for (int member = 0; member < MEMBERS; member++)
		for (int i = 0; i < n; i++)
			if (i * MEMBERS + member < programs) {
				run(domains[i].programs[member], 1);
				runs++;
			}
	return runs;
}

static __u64 time_of_all(int programs)
{
	__u64 time = 0;

	for (int i = 0; i < programs; i++)
		time += run_time(domains[i / MEMBERS].programs[i % MEMBERS]);
	return time;
}

/* KiB that are free, in the lists of each CPU, too. */
static __u64 memory_free(void)
{
	unsigned long long pages, listed = 0;
	char line[256];
	FILE *f;

	sleep(2);
	f = fopen("/proc/zoneinfo", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " count: %llu", &pages) == 1)
			listed += pages;
	if (f)
		fclose(f);
	return value_of("/proc/meminfo", "MemFree:") + listed * 4;
}

static void figures(const char *state, int programs)
{
	int n = (programs + MEMBERS - 1) / MEMBERS;
	__u64 begin, took = 0, free_before, free_after, time, writes, runs = 0;

	if (n > MAX_DOMAINS)
		die("too many");
	wait_until_none();
	free_before = memory_free();
	for (int i = 0; i < n; i++) {
		int members = programs - i * MEMBERS < MEMBERS ? programs - i * MEMBERS : MEMBERS;

		begin = nanoseconds();
		load(&domains[i], members, i);
		took += nanoseconds() - begin;
		nr_domains = i + 1;
	}
	/* A domain's first run on a CPU makes its frame there: memory, but no run's cost. */
	run_each(programs, n);
	free_after = memory_free();
	writes = counter("key_writes");
	time = time_of_all(programs);
	for (int round = 0; round < 20; round++)
		runs += run_each(programs, n);
	writes = counter("key_writes") - writes;
	time = time_of_all(programs) - time;
	printf("scale %s %d %d %llu %lld %llu %llu %.1f\n", state, programs, n,
	       (unsigned long long)took / programs,
	       ((long long)free_before - (long long)free_after) * 1024 / programs,
	       (unsigned long long)value_of(BAILEY "status", "region_pages") * 4096 / n,
	       (unsigned long long)(time + runs / 2) / runs, (double)writes / runs);
	let_go();
	wait_until_none();
}

int main(int argc, char **argv)
{
	static const struct rlimit files = { 1 << 16, 1 << 16 };

	setbuf(stdout, NULL);
	if (setrlimit(RLIMIT_NOFILE, &files))
		die("open files: %s", strerror(errno));
	libbpf_set_print(quiet);
	if (argc > 1 && !strcmp(argv[1], "test"))
		return test(argc - 2, argv + 2);
	if (argc > 3 && !strcmp(argv[1], "figures")) {
		for (int i = 3; i < argc; i++)
			figures(argv[2], atoi(argv[i]));
		return 0;
	}
	if (argc > 2 && !strcmp(argv[1], "fill")) {
		char state[512];

		for (int i = 0; i < atoi(argv[2]) && i < MAX_DOMAINS; i++) {
			load(&domains[i], 1, i);
			program_state(program_id(domains[i].programs[0]), state, sizeof(state));
			printf("%s verdict %d\n", state, run(domains[i].programs[0], 1) == i * 4);
		}
		return 0;
	}
	die("see the head of scale.c");
}
