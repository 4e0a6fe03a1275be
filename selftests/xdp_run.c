// SPDX-License-Identifier: GPL-2.0
/*
 * Loads one XDP program and runs it by BPF_PROG_TEST_RUN, on several CPUs at
 * once, as often or as long as asked:
 *
 *   xdp_run OBJECT PROGRAM [--repeat N | --seconds S] [--cpus all|LIST]
 *           [--size BYTES] [--verdict V] [--barriers] [--patch]
 *           [--set MAP=WORD,WORD...] [--get MAP] [--device IFNAME] [--cpu N]
 *           [--next PROGRAM] [--pin PATH] [--chunk N] [--break ADDRESS]
 *
 *   --barriers  the main thread sends the others interrupts all the while
 *   --patch     the main thread attaches and detaches a tracing program to the
 *               running one all the while, which patches its text
 *   --set, --get   words of the first value of an array
 *   --device    entry 0 of the map `devices`;  --cpu: entry N of the map `cpus`
 *   --next      the program of that entry, which runs after the redirection
 *   --break     a breakpoint of the hardware at this address of the kernel, on
 *               every CPU; prints `breaks`
 *   --chunk     runs in one call, for programs that take long (10000)
 *   --pin       pins the program and ends, without running it
 *
 * SIGTERM ends the runs in good order. Prints `id`, `runs`, `last` (verdict), and what was asked for; the exit code
 * is 1 when a verdict was not --verdict.
 */
#include "breakpoint.h"

#include <getopt.h>
#include <linux/membarrier.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>

#define MAX_CPUS 64
/* How often in one call of the kernel. */
static __u64 chunk = 10000;

struct worker {
	pthread_t thread;
	int cpu;
	__u64 runs;
	__u32 last;
	bool wrong;
};

static struct worker workers[MAX_CPUS];
static int nr_workers, prog;
static __u64 repeat = 1;
static double seconds;
static unsigned int size = 64;
static int verdict = -1;
static volatile int working;
static volatile sig_atomic_t stop;

/* One on each CPU. */
static int breakpoints[MAX_CPUS];

static void set_breakpoints(__u64 address)
{
	for (int i = 0; i < libbpf_num_possible_cpus() && i < MAX_CPUS; i++)
		breakpoints[i] = breakpoint(i, address, HW_BREAKPOINT_X);
}

static __u64 all_hits(void)
{
	__u64 all = 0;

	for (int i = 0; i < MAX_CPUS && breakpoints[i]; i++)
		all += hits(breakpoints[i]);
	return all;
}

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

static void *work(void *arg)
{
	static const unsigned char zero[4096];
	double end = now() + seconds;
	struct worker *w = arg;

	do {
		LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = zero, .data_size_in = size);
		__u64 left = seconds ? chunk : repeat - w->runs;
		cpu_set_t set;

		/* The CPU may have been away in between. */
		CPU_ZERO(&set);
		CPU_SET(w->cpu, &set);
		sched_setaffinity(0, sizeof(set), &set);
		/* In a run it cannot be moved: let a CPU that goes be rid of it. */
		sched_yield();
		opts.repeat = left < chunk ? left : chunk;
		if (bpf_prog_test_run_opts(prog, &opts)) {
			if (errno == EINTR)
				continue;
			die("a run: %s", strerror(errno));
		}
		w->runs += opts.repeat;
		w->last = opts.retval;
		if (verdict >= 0 && opts.retval != (__u32)verdict)
			w->wrong = true;
	} while (!stop && (seconds ? now() < end : w->runs < repeat));
	__atomic_sub_fetch(&working, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/*
 * An expedited barrier interrupts every CPU that runs a thread of ours. They
 * come some thousand times a second: without a pause a slow emulator's CPU has
 * time for nothing else, and a run of seconds becomes one of minutes.
 */
static void send_barriers(void)
{
	__u64 n = 0;

	for (; working; n++) {
		if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
			die("membarrier: %s", strerror(errno));
		usleep(100);
	}
	printf("barriers %llu\n", n);
}

static void patch(const char *object, const char *program)
{
	char path[512];
	__u64 n = 0, calls = 0;

	snprintf(path, sizeof(path), "%.*sload_trace.bpf.o",
		 (int)(strrchr(object, '/') ? strrchr(object, '/') - object + 1 : 0), object);
	for (; working; n++) {
		struct bpf_object *obj = bpf_object__open_file(path, NULL);
		struct bpf_program *p = obj ? bpf_object__next_program(obj, NULL) : NULL;
		struct bpf_link *link;
		__u32 key = 0;
		__u64 value = 0;

		if (!p || bpf_program__set_attach_target(p, prog, program) || bpf_object__load(obj))
			die("%s: %s", path, strerror(errno));
		link = bpf_program__attach(p);
		if (!link)
			die("attaching to %s: %s", program, strerror(errno));
		usleep(2000);
		bpf_link__destroy(link);
		bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(obj, "calls"), &key, &value);
		calls += value;
		bpf_object__close(obj);
	}
	printf("patches %llu\ntraced %llu\n", n, calls);
}

static int array_of(struct bpf_object *obj, const char *name, void **value, __u32 *words)
{
	struct bpf_map *map = bpf_object__find_map_by_name(obj, name);

	if (!map)
		die("no map %s", name);
	*words = bpf_map__value_size(map) / 8;
	*value = calloc(*words + 1, 8);
	return bpf_map__fd(map);
}

static void set_words(struct bpf_object *obj, char *order)
{
	char *list = strchr(order, '=');
	__u32 words, key = 0, n = 0;
	void *value;
	int fd;

	if (!list)
		die("--set MAP=WORD,...");
	*list++ = 0;
	fd = array_of(obj, order, &value, &words);
	for (char *w = strtok(list, ","); w && n < words; w = strtok(NULL, ","))
		((__u64 *)value)[n++] = strtoull(w, NULL, 0);
	if (bpf_map_update_elem(fd, &key, value, BPF_ANY))
		die("%s: %s", order, strerror(errno));
	free(value);
}

static void get_words(struct bpf_object *obj, const char *name)
{
	__u32 words, key = 0;
	void *value;
	int fd = array_of(obj, name, &value, &words);

	if (bpf_map_lookup_elem(fd, &key, value))
		die("%s: %s", name, strerror(errno));
	printf("%s", name);
	for (__u32 i = 0; i < words; i++)
		printf(" %llu", ((__u64 *)value)[i]);
	putchar('\n');
	free(value);
}

static void set_device(struct bpf_object *obj, const char *name, int next)
{
	struct bpf_devmap_val value = {.ifindex = if_nametoindex(name), .bpf_prog.fd = next};
	int fd = bpf_object__find_map_fd_by_name(obj, "devices");
	__u32 key = 0;

	if (!value.ifindex || bpf_map_update_elem(fd, &key, &value, BPF_ANY))
		die("device %s: %s", name, strerror(errno));
}

static void set_cpu(struct bpf_object *obj, __u32 cpu, int next)
{
	struct bpf_cpumap_val value = {.qsize = 1024, .bpf_prog.fd = next};
	int fd = bpf_object__find_map_fd_by_name(obj, "cpus");

	if (bpf_map_update_elem(fd, &cpu, &value, BPF_ANY))
		die("CPU %u: %s", cpu, strerror(errno));
}

static void choose_cpus(const char *list)
{
	if (!strcmp(list, "all")) {
		for (int cpu = 0; cpu < libbpf_num_possible_cpus() && cpu < MAX_CPUS; cpu++)
			workers[nr_workers++].cpu = cpu;
		return;
	}
	for (char *end; *list && nr_workers < MAX_CPUS; list = *end ? end + 1 : end)
		workers[nr_workers++].cpu = strtol(list, &end, 10);
}

/* A long run holds its CPU; the main thread must not wait there. */
static void leave_cpus(void)
{
	cpu_set_t set;

	sched_getaffinity(0, sizeof(set), &set);
	for (int i = 0; i < nr_workers; i++)
		CPU_CLR(workers[i].cpu, &set);
	if (CPU_COUNT(&set))
		sched_setaffinity(0, sizeof(set), &set);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"repeat", required_argument, NULL, 'r'},
		{"seconds", required_argument, NULL, 's'},
		{"cpus", required_argument, NULL, 'c'},
		{"size", required_argument, NULL, 'z'},
		{"verdict", required_argument, NULL, 'v'},
		{"barriers", no_argument, NULL, 'b'},
		{"patch", no_argument, NULL, 't'},
		{"set", required_argument, NULL, 'S'},
		{"get", required_argument, NULL, 'G'},
		{"device", required_argument, NULL, 'd'},
		{"cpu", required_argument, NULL, 'C'},
		{"next", required_argument, NULL, 'n'},
		{"pin", required_argument, NULL, 'p'},
		{"chunk", required_argument, NULL, 'k'},
		{"break", required_argument, NULL, 'B'},
		{},
	};
	const char *cpus = "0", *pin = NULL, *get = NULL, *device = NULL;
	const char *cpu = NULL, *next = NULL;
	bool barriers = false, patching = false, wrong = false, targets = false;
	struct bpf_map *map;
	struct bpf_program *one, *chosen;
	struct bpf_object *obj;
	char *set = NULL;
	double start;
	__u64 runs = 0;
	int c, next_fd;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'r': repeat = strtoull(optarg, NULL, 0); break;
		case 's': seconds = atof(optarg); break;
		case 'c': cpus = optarg; break;
		case 'z': size = atoi(optarg); break;
		case 'v': verdict = atoi(optarg); break;
		case 'b': barriers = true; break;
		case 't': patching = true; break;
		case 'k': chunk = strtoull(optarg, NULL, 0); break;
		case 'B': set_breakpoints(strtoull(optarg, NULL, 0)); break;
		case 'S': set = optarg; break;
		case 'G': get = optarg; break;
		case 'd': device = optarg; break;
		case 'C': cpu = optarg; break;
		case 'n': next = optarg; break;
		case 'p': pin = optarg; break;
		default: die("xdp_run: see the top of its source");
		}
	}
	if (optind != argc - 2)
		die("xdp_run OBJECT PROGRAM [OPTION...]");
	obj = bpf_object__open_file(argv[optind], NULL);
	chosen = obj ? bpf_object__find_program_by_name(obj, argv[optind + 1]) : NULL;
	if (!chosen)
		die("%s: no program %s", argv[optind], argv[optind + 1]);
	/* Programs in a table are loaded with it. */
	bpf_object__for_each_map(map, obj)
		targets |= bpf_map__type(map) == BPF_MAP_TYPE_PROG_ARRAY;
	bpf_object__for_each_program(one, obj)
		bpf_program__set_autoload(one, one == chosen || targets ||
						       (next && !strcmp(bpf_program__name(one), next)));
	if (bpf_object__load(obj))
		die("%s: %s", argv[optind + 1], strerror(errno));
	prog = bpf_program__fd(chosen);
	if (set)
		set_words(obj, set);
	if (next && !bpf_object__find_program_by_name(obj, next))
		die("no program %s", next);
	next_fd = next ? bpf_program__fd(bpf_object__find_program_by_name(obj, next)) : 0;
	if (device)
		set_device(obj, device, next_fd);
	if (cpu)
		set_cpu(obj, atoi(cpu), next_fd);
	printf("id %u\n", program_id(prog));
	if (pin) {
		if (bpf_program__pin(chosen, pin))
			die("%s: %s", pin, strerror(errno));
		return 0;
	}

	signal(SIGTERM, on_signal);
	choose_cpus(cpus);
	leave_cpus();
	/* Now: with threads, it waits for the end of runs on all CPUs. */
	if (barriers && syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
		die("membarrier: %s", strerror(errno));
	working = nr_workers;
	start = now();
	for (int i = 0; i < nr_workers; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			die("a thread: %s", strerror(errno));
	if (barriers)
		send_barriers();
	if (patching)
		patch(argv[optind], argv[optind + 1]);
	for (int i = 0; i < nr_workers; i++) {
		pthread_join(workers[i].thread, NULL);
		runs += workers[i].runs;
		wrong |= workers[i].wrong;
	}
	printf("runs %llu\nlast %d\nseconds %.3f\n", runs, (int)workers[0].last, now() - start);
	if (breakpoints[0])
		printf("breaks %llu\n", all_hits());
	if (get)
		get_words(obj, get);
	return wrong;
}
