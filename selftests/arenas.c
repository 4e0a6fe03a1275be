// SPDX-License-Identifier: GPL-2.0
/*
 * Arenas as programs and user space see them: the same pages, as they come and go.
 *
 *   arenas [--seconds N]
 *
 * With --seconds pages are taken and given back for so long by one CPU, while another
 * looks at them and writes to them. Prints a line for each check, `ok` or `not ok`.
 */
#include "runner.h"
#include "progs/arenas.h"

#include <getopt.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/syscall.h>

/* Of a kernel with streams (include/uapi/linux/bpf.h): the headers here may be older. */
#define BPF_PROG_STREAM_READ_BY_FD_COMMAND 37
#define STDERR_STREAM 2

struct stream_read {
	__u64 buf;
	__u32 len, stream, prog_fd, unused;
};

/* An object of arenas.bpf.o: an arena of its own. */
struct side {
	struct bpf_object *obj;
	struct shared *shared;
	__u64 (*pages)[WORDS];
};

static int bad;
static volatile bool stop;

__attribute__((format(printf, 2, 3))) static void check(bool good, const char *format, ...)
{
	va_list args;

	bad += !good;
	printf("%s ", good ? "ok" : "not ok");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* An arena's addresses count by their low half: by the other, two find room in a process. */
static struct side open_side(__u64 high)
{
	struct bpf_object *obj = bpf_object__open_file("arenas.bpf.o", NULL);
	struct bpf_map *map;
	struct side s = {.obj = obj};
	size_t size;

	if (!obj)
		die("arenas.bpf.o: %s", strerror(errno));
	map = bpf_object__find_map_by_name(obj, "arena");
	if (bpf_map__set_map_extra(map, bpf_map__map_extra(map) + (high << 32)) ||
	    bpf_object__load(obj))
		die("arenas.bpf.o: %s", strerror(errno));
	bpf_object__for_each_map(map, obj) {
		if (bpf_map__type(map) == BPF_MAP_TYPE_ARENA)
			s.pages = bpf_map__initial_value(map, &size);
		else
			s.shared = bpf_map__initial_value(map, &size);
	}
	if (!s.pages || !s.shared || size < sizeof(*s.shared))
		die("arenas.bpf.o has other maps");
	return s;
}

static int program(struct side *s, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(s->obj, name));
}

static void run(int fd, unsigned int repeat)
{
	char packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		    .repeat = repeat);

	if (bpf_prog_test_run_opts(fd, &opts))
		die("a run: %s", strerror(errno));
	if (opts.retval != 2)
		die("a run: verdict %u", opts.retval);
}

static __u64 order(struct side *s, const char *name, __s64 page, __u64 word, __u64 value)
{
	s->shared->order = (struct order){.page = page, .word = word, .count = 1, .value = value};
	run(program(s, name), 1);
	return s->shared->order.got;
}

static __u64 get(struct side *s, __s64 page, __u64 word)
{
	return order(s, "get", page, word, 0);
}

/* Pages go some time after they were given back. */
static bool goes(struct side *s, __s64 page, __u64 word)
{
	for (int i = 0; i < 2000; i++) {
		if (!get(s, page, word))
			return true;
		usleep(1000);
	}
	return false;
}

static void same_pages(struct side *s)
{
	__u64 taken = order(s, "take", 3, 0, 0);

	check(taken == (__u64)s->pages[3], "a program gets the page that it asks for (%llx)", taken);
	check(!get(s, 3, 7), "it is empty");
	order(s, "put", 3, 7, 1234);
	check(s->pages[3][7] == 1234, "user space reads there what a program has written");
	s->pages[3][8] = 5678;
	check(get(s, 3, 8) == 5678, "a program reads there what user space has written");
	s->pages[4][0] = 42;
	check(get(s, 4, 0) == 42, "a program reads a page that came with user space's write");
	order(s, "put", 4, 1, 43);
	check(s->pages[4][1] == 43 && s->pages[4][0] == 42, "and writes there");
	check(!order(s, "take", 4, 0, 0), "that page is not to be had any more");
	check(!get(s, 900, 3), "where there is no page a program reads 0");
	order(s, "put", 900, 3, 9);
	check(!get(s, 900, 3), "and writes nothing");
}

static void pages_go(struct side *s)
{
	for (int round = 1; round <= 20; round++) {
		__u64 taken = order(s, "take", 30, 0, 0);
		bool fresh, gone;

		fresh = taken && !get(s, 30, 5);
		order(s, "put", 30, 5, round);
		fresh &= get(s, 30, 5) == (__u64)round;
		order(s, "give", 30, 0, 0);
		gone = goes(s, 30, 5);
		if (!fresh || !gone || round == 20)
			check(fresh && gone, "a page that was given back is seen no more (round %d: %d %d)",
			      round, fresh, gone);
		if (!fresh || !gone)
			return;
	}
}

/* More pages than are taken from a domain at once. */
static void many_go(struct side *s)
{
	unsigned int left = 0, stay = 0;

	s->shared->order = (struct order){.page = 100, .count = 700};
	run(program(s, "take"), 1);
	check(s->shared->order.got != 0, "a program gets many pages");
	for (int i = 0; i < 700; i++)
		order(s, "put", 100 + i, i % WORDS, i + 1);
	for (int i = 0; i < 700; i++)
		left += get(s, 100 + i, i % WORDS) != (__u64)i + 1;
	check(!left, "it reads from each what it has written (%u differ)", left);
	s->shared->order = (struct order){.page = 101, .count = 698};
	run(program(s, "give"), 1);
	for (int i = 1; i < 699; i++)
		stay += !goes(s, 100 + i, i % WORDS);
	check(!stay, "none is seen when they were given back (%u are)", stay);
	check(get(s, 100, 0) == 1 && get(s, 799, 699 % WORDS) == 700, "their neighbours are");
}

static void apart(struct side *s, struct side *other)
{
	order(s, "take", 50, 0, 0);
	order(other, "take", 50, 0, 0);
	order(s, "put", 50, 1, 111);
	check(!get(other, 50, 1), "another program's arena has pages of its own");
	order(other, "put", 50, 1, 222);
	check(get(s, 50, 1) == 111 && get(other, 50, 1) == 222, "and keeps what is written there");
}

/* What the kernel says where there is nothing it says in the program's stream. */
static void stream(struct side *s)
{
	char text[4096] = {}, address[32];
	struct stream_read attr = {.buf = (__u64)text, .len = sizeof(text) - 1,
				   .stream = STDERR_STREAM, .prog_fd = program(s, "get")};
	size_t size = offsetof(struct stream_read, unused);
	long len;

	/* Of earlier ones. */
	while (syscall(SYS_bpf, BPF_PROG_STREAM_READ_BY_FD_COMMAND, &attr, size) > 0)
		;
	memset(text, 0, sizeof(text));
	get(s, 910, 4);
	len = syscall(SYS_bpf, BPF_PROG_STREAM_READ_BY_FD_COMMAND, &attr, size);
	snprintf(address, sizeof(address), "%llx", (__u64)&s->pages[910][4]);
	check(len > 0 && strstr(text, "Arena READ access") && strstr(text, address),
	      "a program's stream says that it has read at %s, where nothing is: %.70s", address,
	      len > 0 ? text : strerror(errno));
}

static void *do_run(void *of)
{
	const int *fd = of;

	pin_to_cpu(1);
	while (!stop)
		run(*fd, 20);
	return NULL;
}

static void churn(struct side *s, double seconds)
{
	int churn = program(s, "churn"), watch = program(s, "watch");
	double end = now() + seconds;
	pthread_t other;

	pin_to_cpu(0);
	stop = false;
	if (pthread_create(&other, NULL, do_run, &watch))
		die("no thread");
	while (now() < end)
		run(churn, 20);
	stop = true;
	pthread_join(other, NULL);
	printf("# taken %llu in %llu turns; words with what belongs there %llu, pages without %llu\n",
	       s->shared->churned.taken, s->shared->churned.turns, s->shared->watched.seen,
	       s->shared->watched.empty);
	check(s->shared->churned.taken > 50 && s->shared->watched.seen, "pages come and go, and are seen meanwhile");
	check(!s->shared->watched.strange, "none shows anybody else's (%llu words, as %llx)",
	      s->shared->watched.strange, s->shared->watched.example);
}

int main(int argc, char **argv)
{
	const struct option options[] = {{"seconds", required_argument, NULL, 's'}, {}};
	double seconds = 0;
	struct side s, other;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option != 's')
			die("usage: arenas [--seconds N]");
		seconds = atof(optarg);
	}
	s = open_side(0);
	if (seconds) {
		churn(&s, seconds);
	} else {
		other = open_side(1);
		same_pages(&s);
		pages_go(&s);
		many_go(&s);
		apart(&s, &other);
		stream(&s);
		bpf_object__close(other.obj);
	}
	bpf_object__close(s.obj);
	return bad != 0;
}
