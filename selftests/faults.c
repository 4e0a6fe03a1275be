// SPDX-License-Identifier: GPL-2.0
/*
 * Loads the programs of the given objects with a fault at each step of each load (the
 * test build's parameter `test_fault`): step 1 fails, step 2, ... until a load passes
 * that has no such step any more. So are their maps made.
 *
 *   faults [--onwards] [--stride N] [--first N] [--rounds N] [--only PROGRAM]
 *          [--target OBJECT:PROGRAM:FUNCTION] [--strict] [--trace] [--plain N]
 *          [--kill N] [--beside] NAME OBJECT...
 *
 *   --onwards   from that step on all fail
 *   --stride    one step in N
 *   --first     not those before
 *   --rounds    all of it so often
 *   --only      no other program of the objects, and no map
 *   --target    what the programs replace
 *   --fresh     no load without a fault before those with: page tables that once
 *               were made stay
 *   --strict    what is not isolated does not load
 *   --trace     a line for each fault
 *   --plain     no fault: each program is loaded N times, and must be as ever
 *   --run V     with --only: not its load but its first run has them: it is turned
 *               away, and the next one has the verdict V
 *   --kill      no fault: N times somebody who loads it is killed at some instant, or
 *               gets a signal and goes on
 *   --beside    the program shares a map with one before it in its object, so their
 *               domain lives on: each load must leave it with as many maps and pages
 *
 * A load that meets a fault fails with an error, and, if the fault was the module's,
 * a line of it in the verifier's log; or it passes, and the program is isolated as
 * ever, or not isolated for a reason that stands in the log and in debugfs. Each map must
 * have failed, too, when nothing was missing but its number. After each
 * tenth fault the same load without one must do what it did at first. Prints counts,
 * and `ok NAME: ...` if all was so.
 */
#include "runner.h"

#include <getopt.h>
#include <stdbool.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define LOG_SIZE (1 << 20)

static bool onwards, strict, tracing, fresh, beside, sweeping;
static int verdict = -1;
static unsigned int stride = 1, start = 1;
static const char *only;
static char *target;
static char *log_room;
static int fault_fd = -1;
static unsigned int plain, kills;
static __u64 seed = 1;
static unsigned long loads, faults, failures_of_load, not_isolated, absorbed, bad;
static unsigned int shown;

/* What the module says of the last load with a fault. */
struct outcome {
	unsigned int steps, failed;
	bool ours;
	char where[2048];
};

static long raw(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 asm("r10") = d;
	register long r8 asm("r8") = e;
	register long r9 asm("r9") = f;
	long ret;

	asm volatile("syscall"
		     : "=a"(ret)
		     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		     : "rcx", "r11", "memory");
	if (ret < 0 && ret > -4096) {
		errno = -ret;
		return -1;
	}
	return ret;
}

static void arm(unsigned int step)
{
	char word[16];
	int len = snprintf(word, sizeof(word), "%u%s\n", step, step && onwards ? "-" : "");

	if (pwrite(fault_fd, word, len, 0) != len)
		die("test_fault: %s", strerror(errno));
}

static void read_outcome(struct outcome *o)
{
	char text[4096], whose[16];
	int len = pread(fault_fd, text, sizeof(text) - 1, 0), at = 0;

	if (len <= 0)
		die("test_fault: %s", strerror(errno));
	text[len] = 0;
	if (sscanf(text, "%u %u %15s %n", &o->steps, &o->failed, whose, &at) < 3)
		die("test_fault: %s", text);
	o->ours = !strcmp(whose, "ours");
	snprintf(o->where, sizeof(o->where), "%.*s", (int)strcspn(text + at, "\n"), text + at);
}

__attribute__((format(printf, 3, 4)))
static void complain(const char *name, const struct outcome *o, const char *format, ...)
{
	va_list args;

	bad++;
	if (shown++ > 20)
		return;
	printf("# %s: ", name);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf(" (fault in %s)\n", o->where);
}

/* Records of programs that are gone go a while later, and each domain has its place. */
static void wait_for_the_gone(void)
{
	static unsigned int n;
	unsigned int domains;
	char line[256];

	if (++n % 16)
		return;
	for (int i = 0; i < 1000; i++) {
		FILE *f = fopen(BAILEY "status", "r");

		domains = 0;
		if (!f)
			die("no status");
		while (fgets(line, sizeof(line), f))
			sscanf(line, "domains %u", &domains);
		fclose(f);
		if (domains < 48)
			return;
		usleep(10000);
	}
	die("%u domains do not go", domains);
}

/* Lines of `maps`, and pages of all domains. */
struct shown {
	unsigned int maps;
	unsigned long pages;
};

static struct shown show(void)
{
	FILE *maps = fopen(BAILEY "maps", "r"), *status = fopen(BAILEY "status", "r");
	struct shown shown = {};
	char line[512];

	if (!maps || !status || !fgets(line, sizeof(line), maps))
		die("no debugfs");
	while (fgets(line, sizeof(line), maps))
		shown.maps++;
	while (fgets(line, sizeof(line), status))
		sscanf(line, "region_pages %lu", &shown.pages);
	fclose(maps);
	fclose(status);
	return shown;
}

/* What a program that is gone had goes a while later. */
static bool goes_back_to(const struct shown *before, struct shown *after)
{
	for (int i = 0; i < 500; i++) {
		*after = show();
		if (after->maps == before->maps && after->pages == before->pages)
			return true;
		usleep(10000);
	}
	return false;
}

static bool said(void)
{
	return strstr(log_room, "bailey: ");
}

static void judge_program(const char *name, int fd, int err, const struct outcome *o,
			  const char *normal)
{
	char state[512];

	if (fd < 0) {
		failures_of_load++;
		if (err != ENOMEM && !said())
			complain(name, o, "%s, and no reason", strerror(err));
		if (o->ours && !said())
			complain(name, o, "failed with %s, without a line in the log", strerror(err));
		return;
	}
	program_state(program_id(fd), state, sizeof(state));
	if (!strcmp(state, "isolated") || !strcmp(state, normal)) {
		absorbed++;
		return;
	}
	not_isolated++;
	if (strict)
		complain(name, o, "loads with policy=strict, state %s", state);
	if (!strcmp(state, "unknown") || !strcmp(state, "loading"))
		complain(name, o, "loads, and is %s", state);
	if (!said())
		complain(name, o, "is not isolated (%s), without a line in the log", state);
}

static void state_of(int fd, char *state, size_t size)
{
	if (fd < 0)
		snprintf(state, size, "no program: %s", strerror(errno));
	else
		program_state(program_id(fd), state, size);
}

static void load_again(int cmd, union bpf_attr *attr, unsigned int size, const char *name,
		       const char *normal)
{
	char again[512];
	int fd = raw(__NR_bpf, cmd, (long)attr, size, 0, 0, 0);

	loads++;
	state_of(fd, again, sizeof(again));
	if (strcmp(normal, again))
		complain(name, &(struct outcome){}, "was %s and is %s", normal, again);
	if (fd >= 0)
		close(fd);
	wait_for_the_gone();
}

static volatile sig_atomic_t signals;

static void on_signal(int number)
{
	(void)number;
	signals++;
}

/* Somebody loads it again and again until he is killed; a signal alone stops one load. */
static void load_and_die(int cmd, union bpf_attr *attr, unsigned int size, const char *name)
{
	bool kill_him = next_random(&seed) & 1;
	int status;
	pid_t him;

	signal(SIGUSR1, on_signal);
	him = fork();
	if (him < 0)
		die("fork: %s", strerror(errno));
	if (!him) {
		for (;;) {
			int before = signals, fd = raw(__NR_bpf, cmd, (long)attr, size, 0, 0, 0);

			if (fd < 0 && (before == signals || (errno != EAGAIN && errno != EINTR)))
				_exit(errno);
			if (fd >= 0)
				close(fd);
			if (signals)
				_exit(0);
		}
	}
	usleep(1000 + next_random(&seed) % 30000);
	kill(him, kill_him ? SIGKILL : SIGUSR1);
	if (waitpid(him, &status, 0) != him)
		die("wait: %s", strerror(errno));
	if (kill_him ? !WIFSIGNALED(status) : !WIFEXITED(status) || WEXITSTATUS(status))
		complain(name, &(struct outcome){}, "the loader ended with %#x", status);
	loads++;
	wait_for_the_gone();
}

/*
 * Numbers of maps come one after the other, and the kernel needs memory for one if none of
 * the 64 beside it is taken.
 */
static void use_numbers_up(void)
{
	for (int i = 0; i < 64; i++) {
		int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, NULL, 4, 4, 1, NULL);

		if (map < 0)
			die("no array: %s", strerror(-map));
		close(map);
	}
}

/* A call of bpf(2) with a fault at each of its steps; then once without. */
static long sweep(int cmd, union bpf_attr *attr, unsigned int size)
{
	bool is_prog = cmd == BPF_PROG_LOAD;
	const char *name = is_prog ? attr->prog_name : attr->map_name;
	char normal[512] = "a map", again[512];
	union bpf_attr with = *attr;
	struct outcome o = {};
	struct shown before = {}, after;
	bool each = start == 1 && stride == 1, without_number = false;
	unsigned int passes = 0;
	long fd = -1;

	if (is_prog && beside) {
		before = show();
		if (!before.maps)
			die("%s: no program beside it", name);
	}
	if (is_prog) {
		with.log_level = 4;
		with.log_buf = (__u64)log_room;
		with.log_size = LOG_SIZE;
	}
	if (is_prog && fresh) {
		strcpy(normal, "isolated");
	} else if (is_prog) {
		fd = raw(__NR_bpf, cmd, (long)attr, size, 0, 0, 0);
		state_of(fd, normal, sizeof(normal));
		if (fd < 0)
			return fd;
		close(fd);
		for (unsigned int n = 0; n < plain; n++)
			load_again(cmd, attr, size, name, normal);
		for (unsigned int n = 0; n < kills; n++)
			load_and_die(cmd, attr, size, name);
		if (kills && beside && !goes_back_to(&before, &after))
			complain(name, &o, "loads that were stopped leave %u maps and %lu pages, "
				 "not %u and %lu", after.maps, after.pages, before.maps,
				 before.pages);
	}
	if (!is_prog && fault_fd >= 0) {
		/* What the kernel never takes needs nothing: libbpf tries again, without BTF. */
		fd = raw(__NR_bpf, cmd, (long)attr, size, 0, 0, 0);
		if (fd < 0)
			return fd;
		close(fd);
		use_numbers_up();
	}
	for (unsigned int step = start; fault_fd >= 0; step += stride) {
		int err;

		log_room[0] = 0;
		arm(step);
		fd = raw(__NR_bpf, cmd, (long)&with, size, 0, 0, 0);
		err = errno;
		read_outcome(&o);
		arm(0);
		loads++;
		/* What a step leaves behind, page tables, may have moved others past it. */
		if (!o.failed && !is_prog && each && !without_number && ++passes < 4) {
			close(fd);
			step = 0;
			continue;
		}
		if (!o.failed)
			break;
		faults++;
		if (tracing)
			printf("# %s step %u: %s %s: %s\n", name, step,
			       fd < 0 ? strerror(err) : "passes", o.ours ? "ours" : "kernel", o.where);
		if (is_prog)
			judge_program(name, fd, err, &o, normal);
		else if (fd < 0 && err != ENOMEM)
			complain(name, &o, "no map: %s", strerror(err));
		without_number |= fd < 0 && strstr(o.where, "idr_alloc_cyclic");
		if (fd >= 0)
			close(fd);
		if (is_prog && beside && !goes_back_to(&before, &after)) {
			complain(name, &o, "%s and leaves %u maps and %lu pages, not %u and %lu",
				 fd < 0 ? "fails" : "passes", after.maps, after.pages, before.maps,
				 before.pages);
			break;
		}
		wait_for_the_gone();
		if (is_prog && !fresh && step / stride % 10 == 0)
			load_again(cmd, attr, size, name, normal);
		fd = -1;
	}
	if (fault_fd >= 0 && fd >= 0)
		close(fd);
	if (fault_fd >= 0 && !is_prog && each && !without_number)
		complain(name, &o, "has a number each time");
	/* The last load has had no fault, but less of a log: as libbpf asked for it. */
	fd = raw(__NR_bpf, cmd, (long)attr, size, 0, 0, 0);
	if (is_prog) {
		state_of(fd, again, sizeof(again));
		if (strcmp(normal, again))
			complain(name, &o, "was %s and is %s in the end", normal, again);
	}
	return fd;
}

/* libbpf's calls come here, before the C library. */
long syscall(long number, ...)
{
	long a, b, c, d, e, f;
	va_list args;

	va_start(args, number);
	a = va_arg(args, long);
	b = va_arg(args, long);
	c = va_arg(args, long);
	d = va_arg(args, long);
	e = va_arg(args, long);
	f = va_arg(args, long);
	va_end(args);
	if (sweeping && number == __NR_bpf) {
		union bpf_attr attr = {};

		memcpy(&attr, (void *)b, (unsigned int)c < sizeof(attr) ? (unsigned int)c : sizeof(attr));
		/* Not the programs and maps by which libbpf asks the kernel what it can do. */
		if (((int)a == BPF_PROG_LOAD &&
		     (attr.prog_type == BPF_PROG_TYPE_XDP || attr.prog_type == BPF_PROG_TYPE_EXT) &&
		     attr.prog_name[0] && strncmp(attr.prog_name, "libbpf", 6) &&
		     (!only || !strncmp(attr.prog_name, only, sizeof(attr.prog_name) - 1))) ||
		    ((int)a == BPF_MAP_CREATE && !only && attr.map_name[0] &&
		     strncmp(attr.map_name, "libbpf", 6)))
			return sweep(a, &attr, c);
	}
	return raw(number, a, b, c, d, e, f);
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

/* The program whose function is to be replaced, and which function. */
static int load_target(char **function)
{
	char *path = strtok(target, ":"), *name = strtok(NULL, ":");
	struct bpf_object *obj = bpf_object__open(path);
	struct bpf_program *prog;

	*function = strtok(NULL, ":");
	if (!obj || !*function)
		die("%s: %s", path, strerror(errno));
	prog = bpf_object__find_program_by_name(obj, name);
	if (!prog || bpf_object__load(obj))
		die("%s: %s", name, strerror(errno));
	return bpf_program__fd(prog);
}

static void sweep_object(const char *path)
{
	struct bpf_object *obj = bpf_object__open(path);
	static int replaced = -1;
	static char *function;
	struct bpf_program *prog;
	int err;

	if (!obj)
		die("%s: %s", path, strerror(errno));
	if (target && replaced < 0)
		replaced = load_target(&function);
	bpf_object__for_each_program(prog, obj) {
		if (!target)
			break;
		bpf_program__set_autoload(prog, !strcmp(bpf_program__name(prog), only));
		if (bpf_program__autoload(prog))
			bpf_program__set_attach_target(prog, replaced, function);
	}
	sweeping = true;
	err = bpf_object__load(obj);
	sweeping = false;
	if (err)
		complain(path, &(struct outcome){}, "does not load: %s", strerror(-err));
	bpf_object__close(obj);
}

static int run_once(int prog)
{
	char packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	if (bpf_prog_test_run_opts(prog, &opts))
		die("run: %s", strerror(errno));
	return opts.retval;
}

/* A first run of the domain on this CPU, with a fault at each of its steps. */
static void sweep_first_run(const char *path)
{
	struct outcome o = {};

	pin_to_cpu(0);
	for (unsigned int step = start;; step += stride) {
		struct bpf_object *obj = bpf_object__open(path);
		struct bpf_program *prog;
		__u64 before;
		int with;

		if (!obj)
			die("%s: %s", path, strerror(errno));
		bpf_object__for_each_program(prog, obj)
			bpf_program__set_autoload(prog, !strcmp(bpf_program__name(prog), only));
		if (bpf_object__load(obj))
			die("%s: %s", path, strerror(errno));
		prog = bpf_object__find_program_by_name(obj, only);
		before = counter("frame_full");
		arm(step);
		with = run_once(bpf_program__fd(prog));
		read_outcome(&o);
		arm(0);
		loads++;
		if (o.failed) {
			faults++;
			if (with != XDP_ABORTED || counter("frame_full") != before + 1)
				complain(only, &o, "verdict %d, %llu turned away", with,
					 (unsigned long long)(counter("frame_full") - before));
			with = run_once(bpf_program__fd(prog));
		}
		if (with != verdict)
			complain(only, &o, "verdict %d without a fault", with);
		bpf_object__close(obj);
		wait_for_the_gone();
		if (!o.failed)
			break;
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"onwards", no_argument, NULL, 'o'},	{"stride", required_argument, NULL, 's'},
		{"first", required_argument, NULL, 'f'},	{"rounds", required_argument, NULL, 'r'},
		{"only", required_argument, NULL, 'n'}, {"strict", no_argument, NULL, 'S'},
		{"trace", no_argument, NULL, 't'},
		{"target", required_argument, NULL, 'T'}, {"plain", required_argument, NULL, 'p'},
		{"fresh", no_argument, NULL, 'F'},	{"run", required_argument, NULL, 'R'},
		{"kill", required_argument, NULL, 'k'}, {"beside", no_argument, NULL, 'b'}, {},
	};
	unsigned int rounds = 1;
	const char *name;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 'o': onwards = true; break;
		case 's': stride = atoi(optarg); break;
		case 'f': start = atoi(optarg); break;
		case 'r': rounds = atoi(optarg); break;
		case 'n': only = optarg; break;
		case 'S': strict = true; break;
		case 't': tracing = true; break;
		case 'T': target = optarg; break;
		case 'F': fresh = true; break;
		case 'R': verdict = atoi(optarg); break;
		case 'b': beside = true; break;
		case 'p': plain = atoi(optarg); break;
		case 'k': kills = atoi(optarg); break;
		default: die("see the head of faults.c");
		}
	if (argc - optind < 2 || !stride || !start || (target && !only))
		die("see the head of faults.c");
	name = argv[optind++];
	setbuf(stdout, NULL);
	libbpf_set_print(quiet);
	log_room = calloc(1, LOG_SIZE);
	if (!plain && !kills)
		fault_fd = open("/sys/module/bailey/parameters/test_fault", O_RDWR);
	if (!log_room || (fault_fd < 0 && !plain && !kills))
		die("test_fault: %s (is it the breach build?)", strerror(errno));
	if (verdict >= 0) {
		if (!only || argc - optind != 1)
			die("see the head of faults.c");
		sweep_first_run(argv[optind]);
		printf("%s %s: a first run without a page for its frame is turned away, and the next is not\n",
		       bad || faults < 20 ? "not ok" : "ok", name);
		printf("# %lu faults\n", faults);
		return bad || faults < 20;
	}
	for (unsigned int round = 0; round < rounds; round++)
		for (int i = optind; i < argc; i++)
			sweep_object(argv[i]);
	if (plain || kills) {
		printf("%s %s: %s\n", bad || !loads ? "not ok" : "ok", name,
		       plain ? "the programs load as ever all the while" :
		       beside ? "who loads programs can be killed at any instant, and their domain is as before" :
				"who loads programs can be killed or interrupted at any instant");
		printf("# %lu loads\n", loads);
		return bad || !loads;
	}
	/* Of a program of some instructions there are dozens of steps: fewer, and it was none. */
	printf("# %s: %lu loads, %lu faults: %lu failed, %lu not isolated, %lu as ever\n", name, loads,
	       faults, failures_of_load, not_isolated, absorbed);
	printf("%s %s: a fault at each step ends in an error or a reason, and leaves the next load alone%s\n",
	       bad || faults < 20 ? "not ok" : "ok", name,
	       beside ? ", and its domain with as many maps and pages" : "");
	return bad || faults < 20;
}
