// SPDX-License-Identifier: GPL-2.0
/*
 * Attaches to attach_target and its functions and replaces some, and prints
 * what the program left behind in each case, a line for each run: the same
 * with the module as without it.
 *
 *   --isolation FILE   the module's word on each program: `attach/program state`
 *   --static           no more than to attach to a static function: prints what
 *                      the kernel says; 0 if it is refused
 */
#include "runner.h"

#include <getopt.h>
#include <pthread.h>
#include <stdbool.h>

static const unsigned int sizes[] = {64, 1500, 3500};

static struct bpf_object *target;
static int prog;
static FILE *isolation;

static struct bpf_object *open_object(const char *path)
{
	struct bpf_object *obj = bpf_object__open_file(path, NULL);

	if (!obj)
		die("%s: %s", path, strerror(errno));
	return obj;
}

static void load_target(void)
{
	struct bpf_program *p;

	target = open_object("attach_target.bpf.o");
	/* Of another attach type than a replacement, it would not fit the table of one. */
	bpf_object__for_each_program(p, target)
		bpf_program__set_expected_attach_type(p, 0);
	if (bpf_object__load(target))
		die("attach_target: %s", strerror(errno));
	p = bpf_object__find_program_by_name(target, "attached_to");
	prog = bpf_program__fd(p);
}

static void report(const struct bpf_program *p)
{
	char state[256];

	if (!isolation)
		return;
	program_state(program_id(bpf_program__fd(p)), state, sizeof(state));
	fprintf(isolation, "attach/%s %s\n", bpf_program__name(p), state);
}

struct left {
	int verdict;
	unsigned int length;
	__u64 data, result;
};

static struct left run(unsigned int size)
{
	static __thread unsigned char in[4096], out[8192];
	__u64 words[8] = {}, state = size;
	struct left left;
	__u32 key = 0;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in, .data_size_in = size, .data_out = out,
		    .data_size_out = sizeof(out));

	for (unsigned int i = 0; i < size; i++)
		in[i] = next_random(&state);
	if (bpf_prog_test_run_opts(prog, &opts))
		die("a run: %s", strerror(errno));
	if (bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(target, ".bss"), &key, words))
		die("result: %s", strerror(errno));
	left.verdict = opts.retval;
	left.length = opts.data_size_out;
	left.data = hash_bytes(HASH_START, out, opts.data_size_out);
	left.result = hash_bytes(HASH_START, words, sizeof(words));
	return left;
}

static void print_runs(const char *when)
{
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct left left = run(sizes[i]);

		printf("%s size=%u verdict=%d length=%u data=%016llx result=%016llx\n", when,
		       sizes[i], left.verdict, left.length, left.data, left.result);
	}
	fflush(stdout);
}

/* Its function follows the first `_` of a name, or `_of_`. */
static const char *function_of(const struct bpf_program *p)
{
	const char *name = bpf_program__name(p), *of = strstr(name, "side_of_");

	return of ? of + 8 : strchr(name, '_') + 1;
}

/* What a replacement makes tail calls to. */
static void fill_table(const struct bpf_object *obj)
{
	static const char *const names[] = {"plain_next", "plain_self"};
	int table = bpf_object__find_map_fd_by_name(obj, "table");

	for (__u32 key = 0; table >= 0 && key < ARRAY_SIZE(names); key++) {
		int fd = bpf_program__fd(bpf_object__find_program_by_name(target, names[key]));

		if (bpf_map_update_elem(table, &key, &fd, BPF_ANY))
			die("%s in a table: %s", names[key], strerror(errno));
	}
}

static struct bpf_link *attach(const char *path, const char *only, struct bpf_object **obj)
{
	struct bpf_program *p, *chosen = NULL;
	struct bpf_link *link;

	*obj = open_object(path);
	bpf_object__for_each_program(p, *obj) {
		bool this = !strcmp(bpf_program__name(p), only);

		bpf_program__set_autoload(p, this);
		if (!this)
			continue;
		chosen = p;
		if (bpf_program__set_attach_target(p, prog, function_of(p)))
			die("%s: %s", only, strerror(errno));
	}
	if (bpf_object__load(*obj))
		die("%s does not load: %s", only, strerror(errno));
	fill_table(*obj);
	link = bpf_program__type(chosen) == BPF_PROG_TYPE_EXT ?
		       bpf_program__attach_freplace(chosen, 0, NULL) :
		       bpf_program__attach_trace(chosen);
	if (!link)
		die("%s: attach: %s", only, strerror(errno));
	if (bpf_program__type(chosen) == BPF_PROG_TYPE_EXT)
		report(chosen);
	return link;
}

static void print_seen(const struct bpf_object *obj, const char *name)
{
	__u64 words[16] = {};
	__u32 key = 0;

	if (bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(obj, ".bss"), &key, words))
		die("%s: what it has seen: %s", name, strerror(errno));
	printf("%s saw", name);
	for (int i = 0; i < 16; i++)
		if (words[i])
			printf(" %llx", words[i]);
	putchar('\n');
}

static int names_of(const char *path, char names[][64])
{
	struct bpf_object *obj = open_object(path);
	struct bpf_program *p;
	int n = 0;

	bpf_object__for_each_program(p, obj)
		snprintf(names[n++], 64, "%s", bpf_program__name(p));
	bpf_object__close(obj);
	return n;
}

/* Each alone, attached and detached again. */
static void each(const char *path)
{
	char names[16][64];
	int n = names_of(path, names);

	for (int i = 0; i < n; i++) {
		struct bpf_object *obj;
		struct bpf_link *link = attach(path, names[i], &obj);

		print_runs(names[i]);
		/* A replacement that is not isolated has its counts elsewhere. */
		print_seen(obj, names[i]);
		bpf_link__destroy(link);
		bpf_object__close(obj);
		print_runs("detached");
	}
}

static void all_at_once(const char *path)
{
	struct bpf_object *objs[16];
	struct bpf_link *links[16];
	char names[16][64];
	int n = names_of(path, names);

	for (int i = 0; i < n; i++)
		links[i] = attach(path, names[i], &objs[i]);
	print_runs("all at once");
	for (int i = 0; i < n; i++) {
		print_seen(objs[i], names[i]);
		bpf_link__destroy(links[i]);
		bpf_object__close(objs[i]);
	}
}

static volatile bool stop;
static struct left wanted;
static __u64 runs, wrong;

static void *runner(void *arg)
{
	(void)arg;
	pin_to_cpu(1);
	while (!stop) {
		struct left left = run(1500);

		runs++;
		wrong += left.verdict != wanted.verdict || left.length != wanted.length ||
			 left.data != wanted.data || left.result != wanted.result;
	}
	return NULL;
}

/* While the program runs on another CPU. */
static void meanwhile(const char *path, int rounds)
{
	char names[16][64];
	int n = names_of(path, names);
	pthread_t thread;

	wanted = run(1500);
	stop = false;
	if (pthread_create(&thread, NULL, runner, NULL))
		die("no thread");
	for (int i = 0; i < rounds; i++) {
		struct bpf_object *obj;
		struct bpf_link *link = attach(path, names[i % n], &obj);

		usleep(20000);
		bpf_link__destroy(link);
		bpf_object__close(obj);
	}
	stop = true;
	pthread_join(thread, NULL);
	fprintf(stderr, "%llu runs meanwhile\n", runs);
	printf("attached while it ran: %s, %llu wrong\n", runs > 50 ? "many runs" : "few runs", wrong);
}

/* A static function is part of its caller's image. */
static int attach_to_static(void)
{
	static char log[65536];
	struct bpf_object *obj = open_object("attach_trace.bpf.o");
	struct bpf_program *p;
	int err;

	bpf_object__for_each_program(p, obj)
		bpf_program__set_autoload(p, !strcmp(bpf_program__name(p), "enter_change_packet"));
	p = bpf_object__find_program_by_name(obj, "enter_change_packet");
	bpf_program__set_log_buf(p, log, sizeof(log));
	if (bpf_program__set_attach_target(p, prog, "inner"))
		die("inner: %s", strerror(errno));
	err = bpf_object__load(obj);
	printf("%s\n%s\n", err ? "refused" : "taken", log);
	return !err;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"isolation", required_argument, NULL, 'i'},
		{"static", no_argument, NULL, 's'},
		{},
	};
	bool only_static = false;
	struct bpf_program *p;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'i')
			isolation = fopen(optarg, "w");
		else if (c == 's')
			only_static = true;
		else
			die("usage: functions_attach [--isolation FILE] [--static]");
	}
	load_target();
	if (only_static)
		return attach_to_static();
	bpf_object__for_each_program(p, target)
		report(p);
	pin_to_cpu(0);
	print_runs("alone");
	each("attach_trace.bpf.o");
	all_at_once("attach_trace.bpf.o");
	each("attach_replace.bpf.o");
	meanwhile("attach_trace.bpf.o", 24);
	print_runs("at last");
	if (isolation)
		fclose(isolation);
	return 0;
}
