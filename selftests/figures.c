// SPDX-License-Identifier: GPL-2.0
/*
 * What the benchmarks count of whole objects. For guests with -icount shift=0
 * and kernel.bpf_stats_enabled: a nanosecond is an instruction.
 *
 *   figures cost OBJECT [FENTRY FUNCTION]
 *       a line `program instructions key_writes` for each program of the object:
 *       the least of many single runs, so one without an interrupt. With FENTRY
 *       that object's program is attached to FUNCTION meanwhile.
 *   figures events OBJECT PROGRAM RUNS PERIOD
 *       `instructions interrupts events key_writes` of so many runs together,
 *       while a timer interrupts every PERIOD ns (0: only the kernel's own tick)
 *   figures images OBJECT...
 *       a line `object/program xlated jited stubs images state` for each
 *       program: BPF instructions, bytes, bytes, images
 *   figures system
 *       a line `what instructions` for each thing that programs have no part in: a
 *       system call, a page fault of user space, a datagram over the loopback device
 *   figures loop INSTRUCTIONS SLEEPS
 *       executes so many, asleep for 20 ms so often between them
 */
#include "runner.h"

#include <arpa/inet.h>
#include <libgen.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

/* Single runs of which the shortest counts. */
#define RUNS 50
/* Bytes from one stub to the next (src/pure/stub.rs). */
#define STUB 32

static unsigned char packet[64];

static struct bpf_prog_info info_of(int fd)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	if (bpf_prog_get_info_by_fd(fd, &info, &len))
		die("program info: %s", strerror(errno));
	return info;
}

static void run(int fd, int repeat)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		    .repeat = repeat);

	if (bpf_prog_test_run_opts(fd, &opts))
		die("a run: %s", strerror(errno));
}

/* Local timer interrupts of CPU 0. */
static __u64 interrupts(void)
{
	FILE *f = fopen("/proc/interrupts", "r");
	unsigned long long n = 0;
	char line[512];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, " LOC: %llu", &n) == 1;
	if (!found)
		die("/proc/interrupts has no LOC");
	fclose(f);
	return n;
}

static struct bpf_object *open_object(const char *path)
{
	struct bpf_object *obj = bpf_object__open_file(path, NULL);

	if (!obj)
		die("%s: %s", path, strerror(errno));
	return obj;
}

static void fill(struct bpf_object *obj, const char *name, __u32 n, __u64 value)
{
	int fd = bpf_object__find_map_fd_by_name(obj, name);

	for (__u32 key = 0; fd >= 0 && key < n; key++)
		if (bpf_map_update_elem(fd, &key, &value, BPF_ANY))
			die("%s: %s", name, strerror(errno));
}

static void cost_of(int fd, const char *name)
{
	__u64 before = info_of(fd).run_time_ns, least = 0, writes = counter("key_writes");

	for (int n = 0; n < RUNS; n++) {
		__u64 after;

		run(fd, 1);
		after = info_of(fd).run_time_ns;
		if (!n || after - before < least)
			least = after - before;
		before = after;
	}
	printf("%s %llu %.2f\n", name, (unsigned long long)least,
	       (double)(counter("key_writes") - writes) / RUNS);
}

static void cost(const char *path, const char *fentry, const char *function)
{
	struct bpf_object *obj = open_object(path);
	struct bpf_program *prog;

	if (bpf_object__load(obj))
		die("%s does not load", path);
	fill(obj, "hash_100", 100, 0);
	fill(obj, "hash_200", 200, 0);
	fill(obj, "loan", 2, 0);
	/* The loopback device. */
	fill(obj, "ports", 1, 1);
	fill(obj, "ports_hash", 1, 1);
	bpf_object__for_each_program(prog, obj) {
		const char *name = bpf_program__name(prog);
		int fd = bpf_program__fd(prog);
		struct bpf_object *tracer;
		struct bpf_program *nothing;
		struct bpf_link *link;

		if (!fentry) {
			cost_of(fd, name);
			continue;
		}
		if (strncmp(name, "call_global", 11))
			continue;
		tracer = open_object(fentry);
		nothing = bpf_object__next_program(tracer, NULL);
		if (bpf_program__set_attach_target(nothing, fd, function) ||
		    bpf_object__load(tracer))
			die("%s does not load", fentry);
		link = bpf_program__attach(nothing);
		if (!link)
			die("attaching to %s: %s", function, strerror(errno));
		printf("traced_");
		cost_of(fd, name);
		if (info_of(bpf_program__fd(nothing)).run_cnt == 0)
			die("%s was not called", fentry);
		bpf_link__destroy(link);
		bpf_object__close(tracer);
	}
	bpf_object__close(obj);
}

/* A sampling event with nobody to read it: an interrupt and little else. */
static int start_timer(__u64 period)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = period,
	};
	int fd = syscall(SYS_perf_event_open, &attr, -1, 0, -1, 0);

	if (fd < 0)
		die("perf_event_open: %s", strerror(errno));
	return fd;
}

static void events(const char *path, const char *name, int runs, __u64 period)
{
	struct bpf_object *obj = open_object(path);
	__u64 time, count, taken, writes;
	struct bpf_program *prog;
	int fd, timer = -1;

	bpf_object__for_each_program(prog, obj)
		bpf_program__set_autoload(prog, !strcmp(bpf_program__name(prog), name));
	if (bpf_object__load(obj))
		die("%s does not load", path);
	prog = bpf_object__find_program_by_name(obj, name);
	fd = prog ? bpf_program__fd(prog) : -1;
	if (period)
		timer = start_timer(period);
	run(fd, 1);
	time = info_of(fd).run_time_ns;
	taken = counter("events");
	writes = counter("key_writes");
	count = interrupts();
	run(fd, runs);
	count = interrupts() - count;
	taken = counter("events") - taken;
	writes = counter("key_writes") - writes;
	printf("%llu %llu %llu %llu\n", (unsigned long long)(info_of(fd).run_time_ns - time),
	       (unsigned long long)count, (unsigned long long)taken, (unsigned long long)writes);
	if (timer >= 0)
		close(timer);
	bpf_object__close(obj);
}

/* The address of a symbol; 0 if there is none. */
static __u64 symbol(const char *name)
{
	FILE *f = fopen("/proc/kallsyms", "r");
	unsigned long long address, found = 0;
	char line[512], this[256];

	while (f && !found && fgets(line, sizeof(line), f))
		if (sscanf(line, "%llx %*c %255s", &address, this) == 2 && !strcmp(this, name))
			found = address;
	if (f)
		fclose(f);
	return found;
}

/*
 * Stubs of an isolated program: enter's of each image, and one for each call
 * that is neither of enter nor of exit nor of another function.
 */
static unsigned int count_stubs(int fd, unsigned int images)
{
	static const char *const gates[] = {"bailey_enter", "bailey_enter_saves",
					    "bailey_enter_function",
					    "bailey_exit_gate"};
	static __u64 gate[ARRAY_SIZE(gates)], base;
	static struct bpf_insn insn[1 << 17];
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	unsigned int stubs = images;

	for (size_t i = 0; !base && i < ARRAY_SIZE(gates); i++)
		if (!(gate[i] = symbol(gates[i])))
			die("no symbol %s", gates[i]);
	if (!base && !(base = symbol("__bpf_call_base")))
		die("no symbol __bpf_call_base");
	info.xlated_prog_insns = (unsigned long)insn;
	info.xlated_prog_len = sizeof(insn);
	if (bpf_prog_get_info_by_fd(fd, &info, &len) || !info.xlated_prog_insns)
		die("program info: %s", strerror(errno));
	for (size_t i = 0; i < info.xlated_prog_len / sizeof(*insn); i++) {
		bool other = false;

		if (insn[i].code != (BPF_JMP | BPF_CALL) || insn[i].src_reg == BPF_PSEUDO_CALL)
			continue;
		if (!insn[i].imm)
			die("the kernel does not show addresses");
		for (size_t g = 0; g < ARRAY_SIZE(gate); g++)
			other |= base + insn[i].imm == gate[g];
		stubs += !other;
	}
	return stubs;
}

static void image_of(const char *path, const char *program)
{
	struct bpf_object *obj = open_object(path);
	struct bpf_program *prog, *this = NULL;
	char state[256] = "", copy[256];
	struct bpf_prog_info info;
	bool targets = false, isolated;
	unsigned int images;
	struct bpf_map *map;

	bpf_object__for_each_map(map, obj)
		targets |= bpf_map__type(map) == BPF_MAP_TYPE_PROG_ARRAY;
	bpf_object__for_each_program(prog, obj) {
		bool is_this = !strcmp(bpf_program__name(prog), program);

		if (is_this)
			this = prog;
		bpf_program__set_autoload(prog, is_this || targets);
	}
	snprintf(copy, sizeof(copy), "%s", path);
	if (bpf_object__load(obj))
		die("%s/%s does not load", path, program);
	info = info_of(bpf_program__fd(this));
	program_state(info.id, state, sizeof(state));
	isolated = !strcmp(state, "isolated");
	images = info.nr_jited_func_lens ? info.nr_jited_func_lens : 1;
	state[strcspn(state, " ")] = 0;
	*strchr(copy, '.') = 0;
	printf("%s/%s %u %u %u %u %s\n", basename(copy), program,
	       info.xlated_prog_len / (__u32)sizeof(struct bpf_insn), info.jited_prog_len,
	       isolated ? STUB * count_stubs(bpf_program__fd(this), images) : 0, images, state);
	bpf_object__close(obj);
}

static void images(char **paths)
{
	for (; *paths; paths++) {
		struct bpf_object *obj = open_object(*paths);
		struct bpf_program *prog;

		bpf_object__for_each_program(prog, obj)
			if (!prepares(prog))
				image_of(*paths, bpf_program__name(prog));
		bpf_object__close(obj);
	}
}

/* So many of a thing are counted together. */
#define TURNS 100
#define PAGE 4096UL

static unsigned char *pages;
static int sender;

static void system_calls(void)
{
	for (int n = 0; n < TURNS; n++)
		syscall(SYS_getppid);
}

static void page_faults(void)
{
	for (int n = 0; n < TURNS; n++)
		((volatile unsigned char *)pages)[n * PAGE] = 1;
}

static void datagrams(void)
{
	char byte = 0;

	for (int n = 0; n < TURNS; n++)
		if (send(sender, &byte, 1, 0) != 1 || recv(sender, &byte, 1, 0) != 1)
			die("a datagram over the loopback device: %s", strerror(errno));
}

/* The shortest of many turns: one without an interrupt. */
static void system_figure(const char *name, void (*turns)(void))
{
	double least = 0;

	for (int n = 0; n < RUNS; n++) {
		double before, took;

		if (madvise(pages, TURNS * PAGE, MADV_DONTNEED))
			die("madvise: %s", strerror(errno));
		before = now();
		turns();
		took = now() - before;
		if (!n || took < least)
			least = took;
	}
	printf("%s %.2f\n", name, least * 1e9 / TURNS);
}

/* What the rest of the system does. */
static void system_figures(void)
{
	struct sockaddr_in self = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(self);

	pages = mmap(NULL, TURNS * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED || madvise(pages, TURNS * PAGE, MADV_NOHUGEPAGE))
		die("pages: %s", strerror(errno));
	sender = socket(AF_INET, SOCK_DGRAM, 0);
	if (sender < 0 || bind(sender, (struct sockaddr *)&self, len) ||
	    getsockname(sender, (struct sockaddr *)&self, &len) ||
	    connect(sender, (struct sockaddr *)&self, len))
		die("a socket: %s", strerror(errno));
	system_figure("system_call", system_calls);
	system_figure("page_fault", page_faults);
	system_figure("datagram", datagrams);
	close(sender);
	munmap(pages, TURNS * PAGE);
}

/* The control of what counts instructions: two a round, and nothing else. */
static void loop(__u64 instructions, int sleeps)
{
	for (int part = 0; part <= sleeps; part++) {
		__u64 rounds = instructions / 2 / (sleeps + 1);

		if (part)
			usleep(20000);
		asm volatile("1: dec %0; jnz 1b" : "+r"(rounds) : : "cc");
	}
}

int main(int argc, char **argv)
{
	pin_to_cpu(0);
	libbpf_set_print(NULL);
	if (argc == 3 && !strcmp(argv[1], "cost"))
		cost(argv[2], NULL, NULL);
	else if (argc == 5 && !strcmp(argv[1], "cost"))
		cost(argv[2], argv[3], argv[4]);
	else if (argc == 6 && !strcmp(argv[1], "events"))
		events(argv[2], argv[3], atoi(argv[4]), strtoull(argv[5], NULL, 0));
	else if (argc > 2 && !strcmp(argv[1], "images"))
		images(argv + 2);
	else if (argc == 2 && !strcmp(argv[1], "system"))
		system_figures();
	else if (argc == 4 && !strcmp(argv[1], "loop") && strtoull(argv[2], NULL, 0) >= 1000000)
		loop(strtoull(argv[2], NULL, 0), atoi(argv[3]));
	else
		die("figures: see the top of its source");
	return 0;
}
