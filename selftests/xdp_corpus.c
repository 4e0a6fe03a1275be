// SPDX-License-Identifier: GPL-2.0
/*
 * Runs each XDP program of the given objects by BPF_PROG_TEST_RUN and prints
 * what it left behind, a line for each run:
 *
 *   object/program size=64 run=0 verdict=2 length=64 data=HASH map=HASH ...
 *
 * Two outputs are equal when the programs mean the same. Maps are seeded with
 * fixed numbers, the runner stays on one CPU, and what cannot be the same twice
 * (addresses, ids, the order inside a hash) is left out.
 *
 *   --isolation FILE   the module's word on each program: `object/program state`
 *   --only NAME        this program alone
 */
#include "corpus_run.h"

#include <bpf/btf.h>
#include <getopt.h>
#include <libgen.h>

/* Repeats of one call work on one buffer; a new call starts anew. */
static const unsigned int repeats[] = {1, 1, 3};

#define LOOPBACK 1

static const char *only;
static FILE *isolation;
static int failures;

/* Of the object whose programs run. */
static const struct btf *types;

/*
 * Of a list's head the kernel gives an empty one, which points to where it stood
 * in the kernel's memory.
 */
static void blank_heads(__u32 id, unsigned char *value)
{
	const struct btf_type *type = btf__type_by_id(types, id);

	if (type && btf_is_struct(type)) {
		if (!strcmp(btf__name_by_offset(types, type->name_off), "bpf_list_head"))
			memset(value, 0, type->size);
		else
			for (int i = 0; i < btf_vlen(type); i++)
				blank_heads(btf_members(type)[i].type,
					    value + btf_member_bit_offset(type, i) / 8);
	} else if (type && btf_is_datasec(type)) {
		for (int i = 0; i < btf_vlen(type); i++)
			blank_heads(btf_var_secinfos(type)[i].type,
				    value + btf_var_secinfos(type)[i].offset);
	} else if (type && btf_is_var(type)) {
		blank_heads(type->type, value);
	}
}

static __u64 hash_value(__u64 hash, const struct bpf_map *map, unsigned char *value)
{
	size_t size = bpf_map__value_size(map);

	if (!is_per_cpu(bpf_map__type(map)))
		blank_heads(bpf_map__btf_value_type_id(map), value);

	if (!is_per_cpu(bpf_map__type(map)))
		return hash_bytes(hash, value, size);
	for (int cpu = 0; cpu < cpus; cpu++)
		hash = hash_bytes(hash, value + cpu * ((size + 7) / 8 * 8), size);
	return hash;
}

/* A sum over entries, because the order of a hash changes with its seed. */
static __u64 hash_entries(const struct bpf_map *map)
{
	unsigned char key[64], *previous = NULL;
	unsigned char *value = calloc(1, value_room(map));
	int fd = bpf_map__fd(map);
	__u64 sum = 0;

	if (!value)
		die("no memory");
	while (!bpf_map_get_next_key(fd, previous, key)) {
		__u64 hash = hash_bytes(HASH_START, key, bpf_map__key_size(map));

		if (bpf_map_lookup_elem(fd, key, value))
			die("%s: look-up: %s", bpf_map__name(map), strerror(errno));
		sum += hash_value(hash, map, value);
		previous = key;
	}
	free(value);
	return sum;
}

/* These can be read only by emptying them; put everything back. */
static __u64 hash_queue(const struct bpf_map *map)
{
	bool stack = bpf_map__type(map) == BPF_MAP_TYPE_STACK;
	int fd = bpf_map__fd(map), n = 0;
	__u64 hash = HASH_START, values[64];

	while (n < 64 && !bpf_map_lookup_and_delete_elem(fd, NULL, &values[n])) {
		hash = hash_bytes(hash, &values[n], sizeof(values[n]));
		n++;
	}
	for (int i = 0; i < n; i++)
		if (bpf_map_update_elem(fd, NULL, &values[stack ? n - 1 - i : i], BPF_ANY))
			die("%s: putting back: %s", bpf_map__name(map), strerror(errno));
	return hash;
}

static void print_map(const struct bpf_map *map, struct stream *stream)
{
	__u64 hash;

	switch (bpf_map__type(map)) {
	case BPF_MAP_TYPE_HASH:
	case BPF_MAP_TYPE_LRU_HASH:
	case BPF_MAP_TYPE_PERCPU_HASH:
	case BPF_MAP_TYPE_LRU_PERCPU_HASH:
	case BPF_MAP_TYPE_ARRAY:
	case BPF_MAP_TYPE_PERCPU_ARRAY:
	case BPF_MAP_TYPE_LPM_TRIE:
		hash = hash_entries(map);
		break;
	case BPF_MAP_TYPE_QUEUE:
	case BPF_MAP_TYPE_STACK:
		hash = hash_queue(map);
		break;
	case BPF_MAP_TYPE_RINGBUF:
		ring_buffer__consume(stream->ring);
		hash = stream->hash + stream->records;
		break;
	case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
		perf_buffer__consume(stream->perf);
		hash = stream->hash + stream->records;
		break;
	case BPF_MAP_TYPE_ARENA: {
		size_t size;
		const void *start = bpf_map__initial_value(map, &size);

		/* User space sees the same. What is not there comes with this look at it. */
		hash = hash_bytes(HASH_START, start, 32 * 4096);
		break;
	}
	default:
		/* Contents that are ids, or that no one can read. */
		return;
	}
	printf(" %s=%016llx", bpf_map__name(map), hash);
}

static void run(struct subject *s, const char *name, unsigned int size, int number)
{
	static struct ran ran;

	/* Half of the runs come from a device. */
	run_packet(s, size, repeats[number], number == 1, &ran);
	if (works_later(name))
		usleep(100000);
	printf("%s size=%u run=%d verdict=%d length=%u data=%016llx", name, size, number,
	       ran.verdict, ran.length, hash_bytes(HASH_START, ran.data, ran.length));
	if (ran.has_context)
		printf(" meta=%u", ran.meta);
	for (int i = 0; i < s->nr_maps; i++)
		print_map(s->maps[i], &s->streams[i]);
	putchar('\n');
}

/*
 * A call with repeats goes through the kernel's dispatcher, and puts the program in
 * and takes it out again, each of which waits for all CPUs. Of a program that a
 * device has, it is there already. The device, on which nothing comes, has it until the
 * next program.
 */
static void put_into_dispatcher(const struct bpf_program *prog)
{
	/* No device takes the programs of a map's entries. */
	if (bpf_program__expected_attach_type(prog) != BPF_XDP)
		return;
	if (bpf_xdp_attach(LOOPBACK, bpf_program__fd(prog), XDP_FLAGS_SKB_MODE, NULL))
		die("%s: attaching: %s", bpf_program__name(prog), strerror(errno));
}

/*
 * libbpf has resolved calls by now, so a pseudo call is a sub-program and
 * nothing else.
 */
static bool has_calls(const struct bpf_program *prog)
{
	const struct bpf_insn *insn = bpf_program__insns(prog);

	for (size_t i = 0; i < bpf_program__insn_cnt(prog); i++)
		if ((insn[i].code == (BPF_JMP | BPF_CALL) && insn[i].src_reg == BPF_PSEUDO_CALL) ||
		    (insn[i].code == (BPF_LD | BPF_IMM | BPF_DW) &&
		     insn[i].src_reg == BPF_PSEUDO_FUNC))
			return true;
	return false;
}

/*
 * In the files that are about calls every program has one, or is named
 * plain_...; elsewhere none has: what the compiler made of them must not change
 * what is tested.
 */
static void check_calls(const struct bpf_program *prog, const char *name)
{
	bool about = !strncmp(name, "corpus_sub", 10) || !strncmp(name, "corpus_callback", 15) ||
		     !strncmp(name, "corpus_exception", 16);
	bool plain = !strncmp(bpf_program__name(prog), "plain_", 6);

	if (has_calls(prog) != (about && !plain))
		die("%s %s", name, has_calls(prog) ? "calls a sub-program" : "calls none");
}

static void report_isolation(const struct bpf_program *prog, const char *name)
{
	char state[256];

	program_state(program_id(bpf_program__fd(prog)), state, sizeof(state));
	fprintf(isolation, "%s %s\n", name, state);
}

static void run_program(const char *path, const char *program, const char *name)
{
	struct subject s;

	if (load_subject(&s, path, program)) {
		printf("%s does not load: %s\n", name, strerror(errno));
		failures++;
		goto close;
	}
	types = bpf_object__btf(s.obj);
	check_calls(s.prog, name);
	if (isolation)
		report_isolation(s.prog, name);
	seed_maps(&s);
	for (size_t n = 0; n < ARRAY_SIZE(repeats); n++) {
		if (repeats[n] > 1)
			put_into_dispatcher(s.prog);
		for (size_t i = 0; i < ARRAY_SIZE(sizes) && takes_packet(&s, sizes[i]); i++)
			run(&s, name, sizes[i], n);
	}
close:
	close_subject(&s);
}

static void run_object(char *path)
{
	struct bpf_object *obj = bpf_object__open_file(path, NULL);
	char copy[256], name[256], *object;
	struct bpf_program *prog;

	if (!obj)
		die("%s: %s", path, strerror(errno));
	snprintf(copy, sizeof(copy), "%s", path);
	object = basename(copy);
	object[strcspn(object, ".")] = 0;
	bpf_object__for_each_program(prog, obj) {
		if (prepares(prog) || (only && strcmp(only, bpf_program__name(prog))))
			continue;
		snprintf(name, sizeof(name), "%s/%s", object, bpf_program__name(prog));
		run_program(path, bpf_program__name(prog), name);
		fflush(stdout);
	}
	bpf_object__close(obj);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"isolation", required_argument, NULL, 'i'},
		{"only", required_argument, NULL, 'o'},
		{},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'i':
			isolation = fopen(optarg, "w");
			if (!isolation)
				die("%s: %s", optarg, strerror(errno));
			break;
		case 'o':
			only = optarg;
			break;
		default:
			die("usage: xdp_corpus [--isolation FILE] [--only NAME] OBJECT...");
		}
	}
	if (optind == argc)
		die("xdp_corpus: no objects");
	cpus = libbpf_num_possible_cpus();
	pin_to_cpu(0);
	listen_locally();
	for (; optind < argc; optind++)
		run_object(argv[optind]);
	bpf_xdp_detach(LOOPBACK, XDP_FLAGS_SKB_MODE, NULL);
	if (isolation)
		fclose(isolation);
	return failures ? 1 : 0;
}
