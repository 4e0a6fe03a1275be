/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a program of the corpus is run, for the runners that do: packets and the
 * contents of maps are the same each time.
 */
#ifndef BAILEY_CORPUS_RUN_H
#define BAILEY_CORPUS_RUN_H

#include "runner.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#define MAX_PACKET 9000
#define MAX_OUT (MAX_PACKET + 4096)
#define META 16
#define MAX_MAPS 16
#define MAX_TARGETS 32

/* A context needs the last size: several pages. */
static const unsigned int sizes[] = {64, 256, 1500, 3500, MAX_PACKET};

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

static int cpus;

/* Ethernet, IPv4 and UDP to memcached's port, then numbers. */
static inline void fill_packet(unsigned char *p, unsigned int len)
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

static inline int on_ring_record(void *ctx, void *data, size_t size)
{
	struct stream *s = ctx;

	s->records++;
	s->hash = hash_bytes(s->hash, &size, sizeof(size));
	s->hash = hash_bytes(s->hash, data, size);
	return 0;
}

static inline void on_perf_record(void *ctx, int cpu, void *data, __u32 size)
{
	(void)cpu;
	on_ring_record(ctx, data, size);
}

static inline void on_perf_loss(void *ctx, int cpu, __u64 count)
{
	struct stream *s = ctx;

	(void)cpu;
	s->hash += count;
}

static inline void *random_bytes(size_t len, __u64 seed)
{
	unsigned char *p = calloc(1, len + 8);

	if (!p)
		die("no memory");
	for (size_t i = 0; i < len; i++)
		p[i] = next_random(&seed);
	return p;
}

static inline bool is_per_cpu(enum bpf_map_type type)
{
	return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

static inline size_t value_room(const struct bpf_map *map)
{
	size_t size = bpf_map__value_size(map);

	return is_per_cpu(bpf_map__type(map)) ? (size + 7) / 8 * 8 * cpus : size;
}

static inline void seed_map(const struct bpf_map *map, struct stream *stream)
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

/* Some records of different sizes; a full ring takes no more. */
static inline void fill_user_ring(struct user_ring_buffer *ring)
{
	for (__u64 i = 0; i < 5; i++) {
		__u64 *record = user_ring_buffer__reserve(ring, 8 + 4 * i);

		if (!record)
			break;
		memset(record, i, 8 + 4 * i);
		user_ring_buffer__submit(ring, record);
	}
}

static inline bool has_type(struct bpf_object *obj, enum bpf_map_type type)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, obj)
		if (bpf_map__type(map) == type)
			return true;
	return false;
}

/* What the programs that look for sockets find. */
static inline void listen_locally(void)
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

/* The programs that are in a file's tables for tail calls. */
struct targets {
	char path[256];
	char names[MAX_TARGETS][64];
	int n;
};

static inline bool is_target(const struct targets *targets, const struct bpf_program *prog)
{
	for (int i = 0; i < targets->n; i++)
		if (!strcmp(targets->names[i], bpf_program__name(prog)))
			return true;
	return false;
}

/* Notes the program with this number, if it is not there yet. */
static inline void add_target(struct targets *targets, struct bpf_object *obj, __u32 id)
{
	struct bpf_program *prog;

	bpf_object__for_each_program(prog, obj) {
		if (program_id(bpf_program__fd(prog)) != id || is_target(targets, prog))
			continue;
		if (targets->n == MAX_TARGETS)
			die("%s: too many targets", targets->path);
		snprintf(targets->names[targets->n++], sizeof(targets->names[0]), "%s",
			 bpf_program__name(prog));
	}
}

/*
 * Which they are, libbpf knows when it has filled the tables: so all of the file is
 * loaded once. The file that was asked for last is remembered.
 */
static inline const struct targets *targets_of(const char *path)
{
	static struct targets targets;
	struct bpf_object *obj;
	struct bpf_map *map;

	if (!strcmp(targets.path, path))
		return &targets;
	targets.n = 0;
	snprintf(targets.path, sizeof(targets.path), "%s", path);
	obj = bpf_object__open_file(path, NULL);
	if (!obj)
		die("%s: %s", path, strerror(errno));
	if (has_type(obj, BPF_MAP_TYPE_PROG_ARRAY) && bpf_object__load(obj))
		die("%s does not load: %s", path, strerror(errno));
	bpf_object__for_each_map(map, obj) {
		__u32 n = bpf_map__max_entries(map), id;

		if (bpf_map__type(map) != BPF_MAP_TYPE_PROG_ARRAY)
			continue;
		for (__u32 i = 0; i < n; i++)
			if (!bpf_map_lookup_elem(bpf_map__fd(map), &i, &id))
				add_target(&targets, obj, id);
	}
	bpf_object__close(obj);
	return &targets;
}

/* Opens the file and loads `program` of it, and with it what can be called by a tail call. */
static inline int load_subject(struct subject *s, const char *path, const char *program)
{
	const struct targets *targets = targets_of(path);
	struct bpf_program *prog;

	*s = (struct subject){.obj = bpf_object__open_file(path, NULL)};
	if (!s->obj)
		die("%s: %s", path, strerror(errno));
	bpf_object__for_each_program(prog, s->obj) {
		bool this = !strcmp(bpf_program__name(prog), program);

		if (this)
			s->prog = prog;
		bpf_program__set_autoload(prog,
					  this || is_target(targets, prog) || prepares(prog));
	}
	return bpf_object__load(s->obj);
}

static inline void seed_maps(struct subject *s)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	struct bpf_program *prog;
	struct bpf_map *map;

	bpf_object__for_each_map(map, s->obj) {
		if (s->nr_maps == MAX_MAPS)
			die("%s: too many maps", bpf_object__name(s->obj));
		s->streams[s->nr_maps].hash = HASH_START;
		seed_map(map, &s->streams[s->nr_maps]);
		s->maps[s->nr_maps++] = map;
	}
	bpf_object__for_each_program(prog, s->obj)
		if (prepares(prog) &&
		    (bpf_prog_test_run_opts(bpf_program__fd(prog), &opts) || opts.retval))
			die("%s: %s", bpf_program__name(prog), strerror(errno));
}

static inline void close_subject(struct subject *s)
{
	for (int i = 0; i < s->nr_maps; i++) {
		ring_buffer__free(s->streams[i].ring);
		perf_buffer__free(s->streams[i].perf);
		user_ring_buffer__free(s->streams[i].user);
	}
	bpf_object__close(s->obj);
}

/* The largest packet is for those alone that take several pages. */
static inline bool takes_packet(const struct subject *s, unsigned int size)
{
	return size != MAX_PACKET || bpf_program__flags(s->prog) & BPF_F_XDP_HAS_FRAGS;
}

struct ran {
	int verdict;
	unsigned int length;
	unsigned char data[MAX_OUT];
	bool has_context;
	unsigned int meta;
};

/* One packet of `size` bytes, `repeat` times; from a device, the loopback, or from none. */
static inline void run_packet(struct subject *s, unsigned int size, unsigned int repeat,
			      bool device, struct ran *ran)
{
	static unsigned char in[META + MAX_PACKET];
	const char *name = bpf_program__name(s->prog);
	bool meta = !strncmp(name, "meta_given", 10);
	bool context = meta || !strcmp(name, "read_context");
	struct xdp_md ctx = {}, ctx_out = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in, .data_out = ran->data,
		    .data_size_out = sizeof(ran->data), .repeat = repeat);
	unsigned int head = meta ? META : 0;

	for (unsigned int i = 0; i < head; i++)
		in[i] = 0xc0 + i;
	fill_packet(in + head, size);
	opts.data_size_in = head + size;
	if (context) {
		ctx.data = head;
		ctx.data_end = head + size;
		ctx.ingress_ifindex = device;
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
	ran->verdict = opts.retval;
	ran->length = opts.data_size_out;
	ran->has_context = context;
	ran->meta = ctx_out.data;
}

/* Timers of these fire, and their work is done, after the run. */
static inline bool works_later(const char *object)
{
	return !strncmp(object, "corpus_callback_later", 21);
}

#endif
