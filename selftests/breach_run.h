/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Running a breaching program, for the runners that do: its order goes in by a
 * map, what became of it comes out by the same.
 */
#ifndef BAILEY_BREACH_RUN_H
#define BAILEY_BREACH_RUN_H

#include "report.h"
#include "progs/breach.h"

/* How many runs a violation ended. */
static __u64 ended_runs;

struct breach {
	struct bpf_object *obj;
	int orders;
	struct ring_buffer *ring;
};

struct outcome {
	struct order order;
	int verdict;
};

/* NAME.bpf.o of the folder. */
static inline struct bpf_object *load(const char *files, const char *name)
{
	struct bpf_object *obj;
	char path[512];

	snprintf(path, sizeof(path), "%s/%s.bpf.o", files, name);
	obj = bpf_object__open_file(path, NULL);
	if (!obj || bpf_object__load(obj))
		die("%s: %s", path, strerror(errno));
	return obj;
}

static inline int map_of(struct bpf_object *obj, const char *name)
{
	int fd = bpf_object__find_map_fd_by_name(obj, name);

	if (fd < 0)
		die("no map %s", name);
	return fd;
}

static inline int program_of(struct bpf_object *obj, const char *name)
{
	struct bpf_program *prog = bpf_object__find_program_by_name(obj, name);

	if (!prog)
		die("no program %s", name);
	return bpf_program__fd(prog);
}

/* The oracle's value, which programs of other domains go for: all words the same. */
static inline void fill_victim(int victim, __u64 word)
{
	__u64 words[VICTIM_WORDS];
	__u32 key = 0;

	for (int i = 0; i < VICTIM_WORDS; i++)
		words[i] = word;
	if (bpf_map_update_elem(victim, &key, words, BPF_ANY))
		die("victim: %s", strerror(errno));
}

static inline void read_victim(int victim, __u64 words[VICTIM_WORDS])
{
	__u32 key = 0;

	if (bpf_map_lookup_elem(victim, &key, words))
		die("victim: %s", strerror(errno));
}

static inline int pass_record(void *ctx, void *data, size_t size)
{
	(void)ctx;
	(void)data;
	(void)size;
	return 0;
}

static inline struct breach load_breach(const char *files, const char *name)
{
	struct breach b = {.obj = load(files, name)};
	/* As a key, the value's first word is that of no entry. */
	unsigned char value[512] = {7};
	struct bpf_map *map;

	b.orders = map_of(b.obj, "orders");
	if (bpf_object__find_map_by_name(b.obj, "ring"))
		b.ring = ring_buffer__new(map_of(b.obj, "ring"), pass_record, NULL, NULL);
	/* Values for pointers to start from; the rest stays empty. */
	bpf_object__for_each_map(map, b.obj)
		if (bpf_map__type(map) == BPF_MAP_TYPE_HASH && bpf_map__key_size(map) == 4)
			for (__u32 key = 0; key < 2; key++)
				if (bpf_map_update_elem(bpf_map__fd(map), &key, value, BPF_ANY))
					die("%s: %s", bpf_map__name(map), strerror(errno));
	return b;
}

/* What the programs get: zeros, where a runner writes nothing else. */
static unsigned char packet[64];

static inline int test_run(int prog)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	if (bpf_prog_test_run_opts(prog, &opts))
		die("a run: %s", strerror(errno));
	return opts.retval;
}

/* A run that a violation ended: the safe verdict, and nothing after the access. */
static inline bool was_ended(const struct outcome *o)
{
	return o->verdict == 0 && !o->order.done;
}

static inline struct outcome give_order(const struct breach *b, int prog, struct order order)
{
	struct outcome out = {.order = order};
	__u32 key = 0;

	out.order.got = ~0ull;
	if (bpf_map_update_elem(b->orders, &key, &out.order, BPF_ANY))
		die("order: %s", strerror(errno));
	out.verdict = test_run(prog);
	if (bpf_map_lookup_elem(b->orders, &key, &out.order))
		die("order: %s", strerror(errno));
	ended_runs += was_ended(&out);
	/* Discarded records, too, take room until a reader has passed them. */
	if (b->ring)
		ring_buffer__consume(b->ring);
	return out;
}

static inline struct outcome attempt(const struct breach *b, int prog, __u64 target, __u64 value)
{
	return give_order(b, prog, (struct order){.target = target, .value = value});
}

/* So far from where the pointer really points. */
static inline struct outcome attempt_beside(const struct breach *b, int prog, __s64 offset,
					    __u64 value)
{
	return give_order(b, prog,
			  (struct order){.target = offset, .relative = 1, .value = value});
}

/* What is not isolated is not confined, and no breach is built into it. */
static inline bool is_isolated(const struct bpf_program *prog)
{
	char state[256];

	program_state(program_id(bpf_program__fd(prog)), state, sizeof(state));
	return !strcmp(state, "isolated");
}

#endif
