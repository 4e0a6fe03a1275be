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
#include "runner.h"

#include <arpa/inet.h>
#include <bpf/btf.h>
#include <getopt.h>
#include <libgen.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define MAX_PACKET 9000
#define MAX_OUT (MAX_PACKET + 4096)
#define META 16
#define MAX_MAPS 16

/* A context needs the last size: several pages. */
static const unsigned int sizes[] = {64, 256, 1500, 3500, MAX_PACKET};

/* Repeats of one call work on one buffer; a new call starts anew. */
static const unsigned int repeats[] = {1, 1, 3};

struct stream {
	struct ring_buffer *ring;
	struct perf_buffer *perf;
	struct user_ring_buffer *user;
	__u64 hash, records;
};

struct subject {
	struct bpf_object *obj;
	struct bpf_program *prog;
	struct bpf_map *maps[MAX_MAPS];
	struct stream streams[MAX_MAPS];
	int nr_maps;
};

static const char *only;
static FILE *isolation;
static int failures;
static int cpus;

/* Ethernet, IPv4 and UDP to memcached's port, then numbers. */
static void fill_packet(unsigned char *p, unsigned int len)
{
	static const unsigned char head[42] = {
		0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00,
		0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, 17, 0, 0,
		10, 0, 0, 1, 10, 0, 0, 2,
		0x03, 0xe8, 0x2b, 0xcb, 0, 0, 0, 0,
	};
	__u64 state = len;

	for (unsigned int i = 0; i < len; i++)
		p[i] = next_random(&state);
	memcpy(p, head, sizeof(head));
	*(__be16 *)(p + 16) = htons(len - 14);
	*(__be16 *)(p + 38) = htons(len - 34);
}

static int on_ring_record(void *ctx, void *data, size_t size)
{
	struct stream *s = ctx;

	s->records++;
	s->hash = hash_bytes(s->hash, &size, sizeof(size));
	s->hash = hash_bytes(s->hash, data, size);
	return 0;
}

static void on_perf_record(void *ctx, int cpu, void *data, __u32 size)
{
	(void)cpu;
	on_ring_record(ctx, data, size);
}

static void on_perf_loss(void *ctx, int cpu, __u64 count)
{
	struct stream *s = ctx;

	(void)cpu;
	s->hash += count;
}

static void *random_bytes(size_t len, __u64 seed)
{
	unsigned char *p = calloc(1, len + 8);

	if (!p)
		die("no memory");
	for (size_t i = 0; i < len; i++)
		p[i] = next_random(&seed);
	return p;
}

static bool is_per_cpu(enum bpf_map_type type)
{
	return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

static size_t value_room(const struct bpf_map *map)
{
	size_t size = bpf_map__value_size(map);

	return is_per_cpu(bpf_map__type(map)) ? (size + 7) / 8 * 8 * cpus : size;
}

static void seed_map(const struct bpf_map *map, struct stream *stream)
{
	unsigned int key_size = bpf_map__key_size(map), n = bpf_map__max_entries(map);
	const char *name = bpf_map__name(map);
	int fd = bpf_map__fd(map), err = 0;
	unsigned char key[64] = {};

	/* Globals have the values that the program's file gives them. */
	if (bpf_map__is_internal(map))
		return;
	if (key_size > sizeof(key))
		die("%s: a key of %u bytes", name, key_size);
	switch (bpf_map__type(map)) {
	case BPF_MAP_TYPE_HASH:
	case BPF_MAP_TYPE_LRU_HASH:
	case BPF_MAP_TYPE_PERCPU_HASH:
	case BPF_MAP_TYPE_LRU_PERCPU_HASH:
		n = n / 2 < 8 ? n / 2 : 8;
		/* fallthrough */
	case BPF_MAP_TYPE_ARRAY:
	case BPF_MAP_TYPE_PERCPU_ARRAY:
		for (__u32 i = 0; i < n && !err; i++) {
			__u64 seed = hash_bytes(HASH_START, name, strlen(name)) + i;
			void *value = random_bytes(value_room(map), seed);

			memcpy(key, &i, sizeof(i));
			err = bpf_map_update_elem(fd, key, value, BPF_ANY);
			free(value);
		}
		break;
	case BPF_MAP_TYPE_QUEUE:
	case BPF_MAP_TYPE_STACK:
		for (__u64 i = 0; i < 3 && !err; i++) {
			__u64 value = i + 0x1000;

			err = bpf_map_update_elem(fd, NULL, &value, BPF_ANY);
		}
		break;
	case BPF_MAP_TYPE_DEVMAP:
	case BPF_MAP_TYPE_DEVMAP_HASH:
		for (__u32 i = 0; i < 2 && !err; i++) {
			struct bpf_devmap_val value = {.ifindex = 1};

			err = bpf_map_update_elem(fd, &i, &value, BPF_ANY);
		}
		break;
	case BPF_MAP_TYPE_CPUMAP: {
		__u32 i = 0, queue = 192;

		err = bpf_map_update_elem(fd, &i, &queue, BPF_ANY);
		break;
	}
	case BPF_MAP_TYPE_RINGBUF:
		stream->ring = ring_buffer__new(fd, on_ring_record, stream, NULL);
		err = stream->ring ? 0 : -1;
		break;
	case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
		stream->perf = perf_buffer__new(fd, 16, on_perf_record, on_perf_loss, stream, NULL);
		err = stream->perf ? 0 : -1;
		break;
	case BPF_MAP_TYPE_USER_RINGBUF:
		stream->user = user_ring_buffer__new(fd, NULL);
		err = stream->user ? 0 : -1;
		break;
	default:
		break;
	}
	if (err)
		die("%s: seeding: %s", name, strerror(errno));
}

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
	default:
		/* Contents that are ids, or that no one can read. */
		return;
	}
	printf(" %s=%016llx", bpf_map__name(map), hash);
}

/* Some records of different sizes; a full ring takes no more. */
static void fill_user_ring(struct user_ring_buffer *ring)
{
	for (__u64 i = 0; i < 5; i++) {
		__u64 *record = user_ring_buffer__reserve(ring, 8 + 4 * i);

		if (!record)
			break;
		memset(record, i, 8 + 4 * i);
		user_ring_buffer__submit(ring, record);
	}
}

static void run(struct subject *s, const char *name, unsigned int size, int number)
{
	static unsigned char in[META + MAX_PACKET], out[MAX_OUT];
	bool meta = !strncmp(bpf_program__name(s->prog), "meta_given", 10);
	bool context = meta || !strcmp(bpf_program__name(s->prog), "read_context");
	struct xdp_md ctx = {}, ctx_out = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in, .data_size_in = size,
		    .data_out = out, .data_size_out = sizeof(out), .repeat = repeats[number]);
	unsigned int head = meta ? META : 0;

	for (unsigned int i = 0; i < head; i++)
		in[i] = 0xc0 + i;
	fill_packet(in + head, size);
	opts.data_size_in = head + size;
	if (context) {
		ctx.data = head;
		ctx.data_end = head + size;
		/* Half of the runs come from a device, the loopback. */
		ctx.ingress_ifindex = number == 1;
		opts.ctx_in = &ctx;
		opts.ctx_size_in = sizeof(ctx);
		opts.ctx_out = &ctx_out;
		opts.ctx_size_out = sizeof(ctx_out);
	}
	for (int i = 0; i < s->nr_maps; i++)
		if (s->streams[i].user)
			fill_user_ring(s->streams[i].user);
	if (bpf_prog_test_run_opts(bpf_program__fd(s->prog), &opts))
		die("%s: a run: %s", name, strerror(errno));
	/* Timers fire and work is done afterwards. */
	if (!strncmp(name, "corpus_callback_later", 21))
		usleep(100000);
	printf("%s size=%u run=%d verdict=%d length=%u data=%016llx", name, size, number,
	       (int)opts.retval, opts.data_size_out,
	       hash_bytes(HASH_START, out, opts.data_size_out));
	if (context)
		printf(" meta=%u", ctx_out.data);
	for (int i = 0; i < s->nr_maps; i++)
		print_map(s->maps[i], &s->streams[i]);
	putchar('\n');
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

static bool has_type(struct bpf_object *obj, enum bpf_map_type type)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, obj)
		if (bpf_map__type(map) == type)
			return true;
	return false;
}

static void report_isolation(const struct bpf_program *prog, const char *name)
{
	char state[256];

	program_state(program_id(bpf_program__fd(prog)), state, sizeof(state));
	fprintf(isolation, "%s %s\n", name, state);
}

static void run_program(const char *path, const char *program, const char *name)
{
	struct subject s = {.obj = bpf_object__open_file(path, NULL)};
	struct bpf_program *prog;
	struct bpf_map *map;
	bool targets;

	if (!s.obj)
		die("%s: %s", path, strerror(errno));
	targets = has_type(s.obj, BPF_MAP_TYPE_PROG_ARRAY);
	bpf_object__for_each_program(prog, s.obj) {
		bool this = !strcmp(bpf_program__name(prog), program);

		if (this)
			s.prog = prog;
		bpf_program__set_autoload(prog, this || targets);
	}
	if (bpf_object__load(s.obj)) {
		printf("%s does not load: %s\n", name, strerror(errno));
		failures++;
		goto close;
	}
	types = bpf_object__btf(s.obj);
	check_calls(s.prog, name);
	if (isolation)
		report_isolation(s.prog, name);
	bpf_object__for_each_map(map, s.obj) {
		if (s.nr_maps == MAX_MAPS)
			die("%s: too many maps", path);
		s.streams[s.nr_maps].hash = HASH_START;
		seed_map(map, &s.streams[s.nr_maps]);
		s.maps[s.nr_maps++] = map;
	}
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		if (sizes[i] == MAX_PACKET && !(bpf_program__flags(s.prog) & BPF_F_XDP_HAS_FRAGS))
			continue;
		for (size_t n = 0; n < ARRAY_SIZE(repeats); n++)
			run(&s, name, sizes[i], n);
	}
	for (int i = 0; i < s.nr_maps; i++) {
		ring_buffer__free(s.streams[i].ring);
		perf_buffer__free(s.streams[i].perf);
		user_ring_buffer__free(s.streams[i].user);
	}
close:
	bpf_object__close(s.obj);
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
		if (only && strcmp(only, bpf_program__name(prog)))
			continue;
		snprintf(name, sizeof(name), "%s/%s", object, bpf_program__name(prog));
		run_program(path, bpf_program__name(prog), name);
		fflush(stdout);
	}
	bpf_object__close(obj);
}

/* What the programs that look for sockets find. */
static void listen_locally(void)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(5201),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0), on = 1;

	setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(tcp, (void *)&addr, sizeof(addr)) || listen(tcp, 8) ||
	    bind(udp, (void *)&addr, sizeof(addr)))
		die("sockets at port 5201: %s", strerror(errno));
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
	if (isolation)
		fclose(isolation);
	return failures ? 1 : 0;
}
