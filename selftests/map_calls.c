// SPDX-License-Identifier: GPL-2.0
/*
 * map_calls same SEED: hash maps and tries of many shapes under a sequence of system
 * calls, the same for the same seed. Prints a line for each shape, with what
 * came out of it hashed: not the order of a hash map's keys, which is each map's own.
 *
 * map_calls stress OBJECT SECONDS TYPE FLAGS: threads and the object's program, on every
 * CPU, change one hash map or trie; then what each thread left must be there, and the
 * map must take exactly as many keys as it may. If it forgets, no element may be
 * lost.
 *
 * map_calls iterate OBJECT TYPE FLAGS: an iterator over a hash map of that type (a number
 * of enum bpf_map_type), twice: the second time it sees what the first one's
 * program wrote.
 *
 * map_calls recent OBJECT: maps that forget what was not used for long, used by
 * system calls and by the object's program, in the same way each time. Prints a line
 * for each, with what came out of it and what is left hashed.
 *
 * map_calls hold: prints the number of a hash map and keeps it until it is
 * killed.
 */
#include "runner.h"
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define MOST_KEY 260
#define MOST_VALUE 5000

struct shape {
	const char *name;
	__u32 key_size, value_size, entries, flags;
	enum bpf_map_type type;
};

static __u32 cpus;

/* Not in the distribution's headers yet. */
#define BPF_F_CPU 8
#define BPF_F_ALL_CPUS 16

#define HASH BPF_MAP_TYPE_HASH
#define PER_CPU BPF_MAP_TYPE_PERCPU_HASH
#define LRU BPF_MAP_TYPE_LRU_HASH
#define LRU_PER_CPU BPF_MAP_TYPE_LRU_PERCPU_HASH
#define TRIE BPF_MAP_TYPE_LPM_TRIE
#define ON_DEMAND BPF_F_NO_PREALLOC

static const struct shape shapes[] = {
	{ "one", 4, 4, 1, 0, HASH },
	{ "small", 4, 8, 4, 0, HASH },
	{ "byte_keys", 1, 1, 200, 0, HASH },
	{ "odd_keys", 3, 5, 7, 0, HASH },
	{ "words", 8, 8, 64, 0, HASH },
	{ "long_keys", 33, 12, 100, 0, HASH },
	{ "longest_keys", 40, 100, 33, BPF_F_ZERO_SEED, HASH },
	{ "pages", 4, 5000, 20, 0, HASH },
	{ "on_demand", 4, 8, 16, BPF_F_NO_PREALLOC, HASH },
	{ "on_demand_long", 33, 100, 64, BPF_F_NO_PREALLOC, HASH },
	{ "on_demand_one", 4, 4, 1, BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE, HASH },
	{ "on_demand_in_a_map", 4, 8, 16, BPF_F_NO_PREALLOC, HASH },
	{ "read_by_programs", 4, 8, 16, BPF_F_RDONLY_PROG, HASH },
	{ "written_by_programs", 4, 8, 16, BPF_F_WRONLY_PROG, HASH },
	{ "read_by_user", 4, 8, 16, BPF_F_RDONLY, HASH },
	{ "written_by_user", 4, 8, 16, BPF_F_WRONLY, HASH },
	{ "node", 4, 8, 16, BPF_F_NUMA_NODE, HASH },
	{ "in_a_map", 4, 8, 16, 0, HASH },
	{ "local", 4, 8, 16, 0, PER_CPU },
	{ "local_one", 4, 20, 1, 0, PER_CPU },
	{ "local_bytes", 3, 1, 7, 0, PER_CPU },
	{ "local_words", 8, 24, 100, BPF_F_ZERO_SEED, PER_CPU },
	{ "local_long", 33, 1000, 70, 0, PER_CPU },
	{ "local_on_demand", 4, 8, 16, BPF_F_NO_PREALLOC, PER_CPU },
	{ "local_on_demand_one", 4, 20, 1, ON_DEMAND, PER_CPU },
	{ "local_on_demand_bytes", 3, 1, 7, ON_DEMAND, PER_CPU },
	{ "local_on_demand_words", 8, 24, 100, ON_DEMAND | BPF_F_ZERO_SEED, PER_CPU },
	{ "local_on_demand_long", 33, 1000, 70, ON_DEMAND, PER_CPU },
	{ "local_on_demand_read", 4, 8, 16, ON_DEMAND | BPF_F_RDONLY_PROG, PER_CPU },
	{ "local_on_demand_read_by_user", 4, 8, 16, ON_DEMAND | BPF_F_RDONLY, PER_CPU },
	{ "local_on_demand_in_a_map", 4, 8, 16, ON_DEMAND, PER_CPU },
	{ "local_on_demand_sparse", 4, 8, 1 << 18, ON_DEMAND, PER_CPU },
	{ "local_read", 4, 8, 16, BPF_F_RDONLY_PROG, PER_CPU },
	{ "local_in_a_map", 4, 8, 16, 0, PER_CPU },
	{ "lru_one", 4, 4, 1, 0, LRU },
	{ "lru_words", 8, 8, 64, 0, LRU },
	{ "lru_odd", 3, 5, 33, 0, LRU },
	{ "lru_many", 4, 300, 1000, 0, LRU },
	{ "lru_apart", 4, 8, 64, BPF_F_NO_COMMON_LRU, LRU },
	{ "lru_apart_few", 4, 8, 2, BPF_F_NO_COMMON_LRU, LRU },
	{ "lru_node", 4, 8, 16, BPF_F_NUMA_NODE, LRU },
	{ "lru_in_a_map", 4, 8, 16, 0, LRU },
	{ "local_lru", 4, 8, 16, 0, LRU_PER_CPU },
	{ "local_lru_long", 12, 300, 250, 0, LRU_PER_CPU },
	{ "local_lru_apart", 4, 8, 64, BPF_F_NO_COMMON_LRU, LRU_PER_CPU },
	{ "local_lru_in_a_map", 4, 8, 16, 0, LRU_PER_CPU },
	{ "trie_one", 8, 4, 1, ON_DEMAND, TRIE },
	{ "trie_few", 8, 8, 4, ON_DEMAND, TRIE },
	{ "trie", 8, 8, 64, ON_DEMAND, TRIE },
	{ "trie_many", 8, 24, 1000, ON_DEMAND, TRIE },
	{ "trie_byte", 5, 1, 200, ON_DEMAND, TRIE },
	{ "trie_odd", 7, 5, 33, ON_DEMAND, TRIE },
	{ "trie_word", 12, 8, 100, ON_DEMAND, TRIE },
	{ "trie_words", 20, 20, 100, ON_DEMAND, TRIE },
	{ "trie_odd_words", 15, 3, 50, ON_DEMAND, TRIE },
	{ "trie_long", 37, 12, 64, ON_DEMAND, TRIE },
	{ "trie_longest", 260, 100, 64, ON_DEMAND, TRIE },
	{ "trie_pages", 8, 5000, 20, ON_DEMAND, TRIE },
	{ "trie_read_by_programs", 8, 8, 16, ON_DEMAND | BPF_F_RDONLY_PROG, TRIE },
	{ "trie_read_by_user", 8, 8, 16, ON_DEMAND | BPF_F_RDONLY, TRIE },
	{ "trie_written_by_user", 8, 8, 16, ON_DEMAND | BPF_F_WRONLY, TRIE },
	{ "trie_node", 8, 8, 16, ON_DEMAND | BPF_F_NUMA_NODE, TRIE },
	{ "trie_in_a_map", 8, 8, 16, ON_DEMAND, TRIE },
	{ "trie_sparse", 8, 8, 1 << 20, ON_DEMAND, TRIE },
};

/* Refused the same way. */
static const struct shape wrong[] = {
	{ "no_key", 0, 4, 1, 0, HASH },
	{ "no_value", 4, 0, 1, 0, HASH },
	{ "no_entries", 4, 4, 0, 0, HASH },
	{ "too_large", 4, 0x7fffffff, 1, 0, HASH },
	{ "mmap", 4, 4, 1, BPF_F_MMAPABLE, HASH },
	{ "lru_flag", 4, 4, 1, BPF_F_NO_COMMON_LRU, HASH },
	{ "unknown_flag", 4, 4, 1, 1u << 20, HASH },
	{ "both_access", 4, 4, 1, BPF_F_RDONLY | BPF_F_WRONLY, HASH },
	{ "lru_on_demand", 4, 8, 1, BPF_F_NO_PREALLOC, LRU },
	{ "local_too_large", 4, 40000, 1, 0, PER_CPU },
	{ "local_on_demand_too_large", 4, 40000, 1, ON_DEMAND, PER_CPU },
	{ "local_on_demand_node", 4, 8, 1, ON_DEMAND | BPF_F_NUMA_NODE, PER_CPU },
	{ "local_node", 4, 8, 1, BPF_F_NUMA_NODE, PER_CPU },
	{ "local_lru_on_demand", 4, 8, 1, BPF_F_NO_PREALLOC, LRU_PER_CPU },
	{ "trie_allocated", 8, 8, 1, 0, TRIE },
	{ "trie_no_key", 0, 8, 1, ON_DEMAND, TRIE },
	{ "trie_no_bits", 4, 8, 1, ON_DEMAND, TRIE },
	{ "trie_too_long", 261, 8, 1, ON_DEMAND, TRIE },
	{ "trie_no_value", 8, 0, 1, ON_DEMAND, TRIE },
	{ "trie_too_large", 8, 0x7fffffff, 1, ON_DEMAND, TRIE },
	{ "trie_no_entries", 8, 8, 0, ON_DEMAND, TRIE },
	{ "trie_seed", 8, 8, 1, ON_DEMAND | BPF_F_ZERO_SEED, TRIE },
	{ "trie_both_access", 8, 8, 1, ON_DEMAND | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG, TRIE },
};

static __u64 digest;

static void note(const void *data, size_t len)
{
	digest = hash_bytes(digest, data, len);
}

static void note_result(int err)
{
	note(&err, sizeof(err));
}

/* Prefixes of each other, some side by side, one in 61 longer than may be. */
static void prefix_of(const struct shape *s, __u32 n, unsigned char *key)
{
	static const unsigned char masks[] = { 0xff, 0xff, 0xc1, 0x80 };
	__u32 mixed = n * 0x9e3779b1, bits = 8 * (s->key_size - 4), len;

	len = n % 61 == 60 ? bits + 1 + n % 2 : n % 3 ? (mixed >> 12) % (bits + 1) : bits;
	memcpy(key, &len, sizeof(len));
	for (__u32 i = 4; i < s->key_size; i++)
		key[i] = (mixed >> 7 * i % 25) & masks[n / 3 % 4];
}

static void key_of(const struct shape *s, __u32 n, unsigned char *key)
{
	if (s->type == TRIE) {
		prefix_of(s, n, key);
		return;
	}
	for (__u32 i = 0; i < s->key_size; i++)
		key[i] = i < 4 ? n >> 8 * i : 0x40 + i;
}

static bool is_per_cpu(const struct shape *s)
{
	return s->type == PER_CPU || s->type == LRU_PER_CPU;
}

static bool is_lru(const struct shape *s)
{
	return s->type == LRU || s->type == LRU_PER_CPU;
}

/* Bytes that user space passes as a value. */
static __u32 value_bytes(const struct shape *s)
{
	return is_per_cpu(s) ? (s->value_size + 7) / 8 * 8 * cpus : s->value_size;
}

static void value_of(const struct shape *s, __u64 n, unsigned char *value)
{
	for (__u32 i = 0; i < value_bytes(s); i++)
		value[i] = (n ^ i * 0x1d) >> i % 8;
}

/* The kernel keeps what fills up a value of a CPU's, or not: nobody's business. */
static void clean_value(const struct shape *s, unsigned char *value)
{
	__u32 step = (s->value_size + 7) / 8 * 8;

	for (__u32 i = 0; is_per_cpu(s) && i < value_bytes(s); i++)
		if (i % step >= s->value_size)
			value[i] = 0;
}

/* A sum over keys and values, whatever their order. */
static __u64 sum_of(const struct shape *s, const unsigned char *key, unsigned char *value)
{
	clean_value(s, value);
	return hash_bytes(hash_bytes(HASH_START, key, s->key_size), value, value_bytes(s));
}

static void walk(int map, const struct shape *s)
{
	unsigned char key[MOST_KEY], next[MOST_KEY], value[MOST_VALUE];
	__u32 count = 0;
	__u64 sum = 0;
	void *at = NULL;
	int err;

	while (!(err = bpf_map_get_next_key(map, at, next))) {
		memcpy(key, next, s->key_size);
		at = key;
		err = bpf_map_lookup_elem(map, key, value);
		if (err)
			break;
		sum += sum_of(s, key, value);
		/* Of a trie the order of keys is the same, too. */
		if (s->type == TRIE)
			note(key, s->key_size);
		if (++count > s->entries + (is_lru(s) ? cpus : 0))
			die("%s: more keys than entries", s->name);
	}
	note_result(err);
	note(&count, sizeof(count));
	note(&sum, sizeof(sum));
}

static void batches(int map, const struct shape *s, bool delete)
{
	/* With a list for each CPU there is room for a multiple of these. */
	__u32 entries = s->entries < 2000 ? s->entries : 2000, most = entries + 1 + cpus;
	unsigned char *keys = calloc(most, s->key_size);
	unsigned char *values = calloc(most, value_bytes(s));
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	/* A number, or a key. */
	unsigned char batch[MOST_KEY] = {}, next[MOST_KEY] = {};
	__u32 count, total = 0;
	void *in = NULL;
	__u64 sum = 0;
	int err;

	if (!keys || !values)
		die("no memory");
	do {
		count = most;
		err = delete ? bpf_map_lookup_and_delete_batch(map, in, next, keys, values, &count, &opts) :
			       bpf_map_lookup_batch(map, in, next, keys, values, &count, &opts);
		if (err && err != -ENOENT)
			break;
		for (__u32 i = 0; i < count; i++)
			sum += sum_of(s, keys + i * s->key_size, values + i * value_bytes(s));
		total += count;
		memcpy(batch, next, sizeof(batch));
		in = batch;
	} while (!err && total < most);
	note_result(err);
	note(&total, sizeof(total));
	note(&sum, sizeof(sum));

	/* What is refused. */
	memset(batch, 0xff, 4);
	count = 1;
	note_result(bpf_map_lookup_batch(map, batch, next, keys, values, &count, &opts));
	note(&count, sizeof(count));
	count = 0;
	note_result(bpf_map_lookup_batch(map, NULL, next, keys, values, &count, &opts));
	count = entries + 1;
	note_result(bpf_map_lookup_batch(map, NULL, next, (void *)8, (void *)8, &count, &opts));
	opts.elem_flags = BPF_F_LOCK;
	count = entries;
	note_result(bpf_map_lookup_batch(map, NULL, next, keys, values, &count, &opts));
	/* One CPU's values, as far as there are such. */
	opts.elem_flags = 1ull << 32 | BPF_F_CPU;
	count = most;
	sum = 0;
	err = bpf_map_lookup_batch(map, NULL, next, keys, values, &count, &opts);
	note_result(err);
	for (__u32 i = 0; (!err || err == -ENOENT) && i < count; i++)
		sum += hash_bytes(hash_bytes(HASH_START, keys + i * s->key_size, s->key_size),
				  values + i * s->value_size, s->value_size);
	note(&sum, sizeof(sum));
	opts.elem_flags = 0;
	opts.flags = 1;
	note_result(bpf_map_lookup_batch(map, NULL, next, keys, values, &count, &opts));
	opts.flags = 0;

	/* By single elements: the kernel's own code on our operations. */
	for (__u32 i = 0; i < entries; i++) {
		key_of(s, 3 * i, keys + i * s->key_size);
		value_of(s, i, values + i * value_bytes(s));
	}
	count = entries;
	note_result(bpf_map_update_batch(map, keys, values, &count, &opts));
	count = entries / 2;
	note_result(bpf_map_delete_batch(map, keys, &count, &opts));
	note(&count, sizeof(count));
	walk(map, s);
	free(keys);
	free(values);
}

static int create(const struct shape *s)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = s->flags);

	return bpf_map_create(s->type, s->name, s->key_size, s->value_size,
			      s->entries, &opts);
}

/* Values of single CPUs and the same one for all, where there are such. */
static void by_cpu(int map, const struct shape *s)
{
	static const __u64 flags[] = { BPF_F_CPU, 1ull << 32 | BPF_F_CPU, 2ull << 32 | BPF_F_CPU,
				       7777ull << 32 | BPF_F_CPU, BPF_F_ALL_CPUS,
				       BPF_F_CPU | BPF_F_ALL_CPUS, 1ull << 32, BPF_F_CPU | BPF_EXIST,
				       BPF_F_ALL_CPUS | BPF_NOEXIST };
	unsigned char key[MOST_KEY], value[MOST_VALUE];

	for (size_t i = 0; i < 3 * ARRAY_SIZE(flags); i++) {
		__u64 flag = flags[i % ARRAY_SIZE(flags)];
		int err;

		key_of(s, i / ARRAY_SIZE(flags), key);
		if (i % 4 == 1)
			note_result(bpf_map_delete_elem(map, key));
		value_of(s, i + 77, value);
		note_result(bpf_map_update_elem(map, key, value, flag));
		memset(value, 0, sizeof(value));
		err = bpf_map_lookup_elem_flags(map, key, value, flag);
		note_result(err);
		if (!err)
			note(value, s->value_size);
		memset(value, 0, sizeof(value));
		err = bpf_map_lookup_elem(map, key, value);
		note_result(err);
		clean_value(s, value);
		if (!err)
			note(value, value_bytes(s));
	}
}

/* Takes the map through a map of maps of each kind. */
static void nest(int map, const struct shape *s)
{
	static const enum bpf_map_type types[] = { BPF_MAP_TYPE_ARRAY_OF_MAPS,
						   BPF_MAP_TYPE_HASH_OF_MAPS };
	struct shape other = *s;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		LIBBPF_OPTS(bpf_map_create_opts, opts, .inner_map_fd = map);
		int outer = bpf_map_create(types[i], "outer", 4, 4, 2, &opts), inner;
		__u32 key = 1, id = 0;

		if (outer < 0)
			die("no outer map: %d", outer);
		note_result(bpf_map_update_elem(outer, &key, &map, 0));
		note_result(bpf_map_lookup_elem(outer, &key, &id));
		note_result(id != 0);
		other.entries = s->entries + 5;
		inner = create(&other);
		note_result(bpf_map_update_elem(outer, &key, &inner, 0));
		close(inner);
		other.flags = s->flags ^ BPF_F_NO_PREALLOC;
		inner = create(&other);
		note_result(bpf_map_update_elem(outer, &key, &inner, 0));
		close(inner);
		note_result(bpf_map_delete_elem(outer, &key));
		close(outer);
	}
}

static void same_shape(const struct shape *s, __u64 seed)
{
	unsigned char key[MOST_KEY], next[MOST_KEY], value[MOST_VALUE];
	__u32 entries = s->entries < 2000 ? s->entries : 2000, range = entries + entries / 2 + 2;
	__u64 state = seed;
	int map = create(s);

	digest = HASH_START;
	if (map < 0) {
		printf("%s: errno %d\n", s->name, -map);
		return;
	}
	for (int step = 0; step < 4000; step++) {
		__u64 r = next_random(&state);
		int err;

		key_of(s, r % range, key);
		switch (r >> 32 & 15) {
		case 0 ... 4:
			value_of(s, r >> 40, value);
			note_result(bpf_map_update_elem(map, key, value, r >> 36 & 3));
			break;
		case 5:
			value_of(s, r >> 40, value);
			note_result(bpf_map_update_elem(map, key, value,
							r >> 36 & 1 ? BPF_F_LOCK : r >> 36 & 15));
			break;
		case 6 ... 8:
			note_result(bpf_map_delete_elem(map, key));
			break;
		case 9 ... 12:
			err = bpf_map_lookup_elem_flags(map, key, value,
							r >> 36 & 31 ? 0 : BPF_F_LOCK);
			note_result(err);
			clean_value(s, value);
			if (!err)
				note(value, value_bytes(s));
			break;
		case 13:
			err = bpf_map_lookup_and_delete_elem_flags(map, key, value,
								   r >> 36 & 15 ? 0 : BPF_F_LOCK);
			note_result(err);
			clean_value(s, value);
			if (!err)
				note(value, value_bytes(s));
			break;
		case 14:
			/* A key that is not there leads to the first one. */
			err = bpf_map_get_next_key(map, key, next);
			if (s->type == TRIE) {
				note_result(err);
				if (!err)
					note(next, s->key_size);
				break;
			}
			if (bpf_map_lookup_elem(map, key, value)) {
				note_result(err);
				if (!err) {
					unsigned char first[MOST_KEY];

					note_result(bpf_map_get_next_key(map, NULL, first));
					note_result(memcmp(first, next, s->key_size));
				}
			}
			break;
		default:
			if (!(r >> 36 & 15))
				walk(map, s);
		}
	}
	walk(map, s);
	batches(map, s, false);
	batches(map, s, true);
	by_cpu(map, s);
	walk(map, s);
	if (strstr(s->name, "in_a_map"))
		nest(map, s);
	/* To the brim, and over it. */
	for (__u32 i = 0; i < entries + (s->type == TRIE ? entries / 2 + 9 : 3); i++) {
		key_of(s, i, key);
		value_of(s, i, value);
		note_result(bpf_map_update_elem(map, key, value, BPF_ANY));
		note_result(bpf_map_update_elem(map, key, value, BPF_ANY));
	}
	walk(map, s);
	note_result(bpf_map_update_elem(map, (void *)8, value, 0));
	note_result(bpf_map_lookup_elem(map, (void *)8, value));
	note_result(bpf_map_freeze(map));
	note_result(bpf_map_update_elem(map, key, value, 0));
	note_result(bpf_map_delete_elem(map, key));
	walk(map, s);
	printf("%s: %016llx\n", s->name, (unsigned long long)digest);
	close(map);
}

/* Which element has not been used for long is told by CPU. */
static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("CPU %d is not there", cpu);
}

static int same(__u64 seed)
{
	run_on(0);
	cpus = libbpf_num_possible_cpus();
	if (cpus > 4)
		die("more CPUs than there is room for");
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
		same_shape(&shapes[i], seed + i);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		same_shape(&wrong[i], seed);
	return 0;
}

/* The stress: keys of KEYS * n and more are thread n's own, the rest anybody's. */
#define KEYS 64
#define COMMON 32
#define THREADS 3
#define ENTRIES (KEYS * (THREADS + 1))

static atomic_bool done;
static int stressed, program;
/* Keys are prefixes: what anybody has is shorter, and each thread's own begins with that. */
static bool prefixes;
/* Keys go when others come, so nobody knows which are there. */
static bool forgets;
static atomic_ulong steps, runs;

struct stress_value {
	__u64 key, number;
};

/* Each CPU has a value of each key's: user space writes the same for all. */
static bool local;

#define MOST_CPUS 64

static int put(const __u32 *key, const struct stress_value *value, __u64 flags)
{
	struct stress_value values[MOST_CPUS];

	for (__u32 cpu = 0; cpu < cpus; cpu++)
		values[cpu] = *value;
	return bpf_map_update_elem(stressed, key, values, flags);
}

static int get(const __u32 *key, struct stress_value *value)
{
	struct stress_value values[MOST_CPUS];
	int err;

	if (!local)
		return bpf_map_lookup_elem(stressed, key, value);
	err = bpf_map_lookup_elem(stressed, key, values);
	if (err)
		return err;
	/* What a program has put in is there on its CPU. */
	*value = values[0];
	for (__u32 cpu = 1; cpu < cpus; cpu++) {
		if (*key < COMMON && !value->number)
			*value = values[cpu];
		if (*key >= COMMON && memcmp(value, &values[cpu], sizeof(*value)))
			die("%u has another value on CPU %u", *key, cpu);
	}
	return 0;
}

static void stress_key(__u32 n, __u32 key[2])
{
	key[0] = prefixes ? n < COMMON ? 28 : 32 : n;
	key[1] = htonl(n < COMMON ? n << 4 : n);
}

static __u32 stress_number(const __u32 key[2])
{
	return !prefixes ? key[0] : key[0] == 28 ? ntohl(key[1]) >> 4 : ntohl(key[1]);
}

/* What a look-up of a key that is not there may find of others', too. */
static int stress_lookup(__u32 n, struct stress_value *value)
{
	__u32 key[2];
	int err;

	stress_key(n, key);
	err = get(key, value);
	if (err || !prefixes || n < COMMON || value->key == n)
		return err;
	if (value->key == n >> 4)
		return -ENOENT;
	/* The node was used again before the value was copied: not twice in a row. */
	err = get(key, value);
	if (!err && value->key != n && value->key != n >> 4)
		die("%u has the value of %llu", n, (unsigned long long)value->key);
	return err || value->key == n ? err : -ENOENT;
}

static void *change(void *arg)
{
	__u64 thread = (__u64)arg, state = thread, model[KEYS] = {};
	struct stress_value value;
	__u32 key, bytes[2], next[2];

	for (__u64 n = 1; !done; n++) {
		__u64 r = next_random(&state);
		int mine = r >> 8 & 1, slot = r >> 16 & (KEYS - 1), err;

		key = mine ? KEYS * thread + slot : (r >> 16) % COMMON;
		value.key = key;
		value.number = n;
		stress_key(key, bytes);
		switch (r >> 32 & 3) {
		case 0:
		case 1:
			err = put(bytes, &value, BPF_ANY);
			if (err && err != -EDEADLK && err != -ETIMEDOUT && !(forgets && err == -ENOMEM))
				die("update of %u: %d", key, err);
			if (mine && !err)
				model[slot] = n;
			break;
		case 2:
			err = bpf_map_delete_elem(stressed, bytes);
			if (mine && !forgets && err != (model[slot] ? 0 : -ENOENT))
				die("delete of %u: %d", key, err);
			if (mine)
				model[slot] = 0;
			break;
		default:
			err = stress_lookup(key, &value);
			if (mine && !forgets && err != (model[slot] ? 0 : -ENOENT))
				die("look-up of %u: %d", key, err);
			if (mine && !err && !forgets &&
			    (value.key != key || value.number != model[slot]))
				die("%u has the value of %llu", key, (unsigned long long)value.key);
			if (!(r >> 40 & 63)) {
				__u32 *at = NULL, seen = 0;

				while (!bpf_map_get_next_key(stressed, at, next) && seen++ < 2 * ENTRIES) {
					if (stress_number(next) >= ENTRIES)
						die("key %u was never there", stress_number(next));
					memcpy(bytes, next, sizeof(bytes));
					at = bytes;
				}
			}
		}
		steps++;
	}
	for (int slot = 0; slot < KEYS; slot++) {
		int err;

		key = KEYS * thread + slot;
		err = stress_lookup(key, &value);
		if (forgets && err == -ENOENT)
			continue;
		if (err != (model[slot] ? 0 : -ENOENT) ||
		    (!err && (value.key != key || value.number != model[slot])))
			die("%u is not as thread %llu left it", key, (unsigned long long)thread);
	}
	return NULL;
}

static void *drive(void *arg)
{
	unsigned char packet[ETH_ZLEN] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		    .repeat = 200);

	while (!done) {
		if (bpf_prog_test_run_opts(program, &opts))
			die("the program does not run");
		if (opts.retval == 0)
			die("the program was ended");
		runs += 200;
	}
	return arg;
}

static int stress(const char *path, int seconds, enum bpf_map_type type, __u32 flags)
{
	struct bpf_object *object = bpf_object__open(path);
	pthread_t threads[THREADS + 2];
	__u32 key, count = 0, *at = NULL, bytes[2], next[2];
	struct stress_value value = {};
	struct bpf_map *map;
	int err;

	if (!object)
		die("%s does not open", path);
	map = bpf_object__find_map_by_name(object, "stressed");
	bpf_map__set_type(map, type);
	bpf_map__set_map_flags(map, flags);
	if (bpf_object__load(object))
		die("%s does not load", path);
	forgets = type == LRU || type == LRU_PER_CPU;
	local = type == PER_CPU || type == LRU_PER_CPU;
	prefixes = type == TRIE;
	stressed = bpf_map__fd(map);
	program = bpf_program__fd(bpf_object__next_program(object, NULL));
	if (bpf_map__max_entries(map) != ENTRIES)
		die("another number of entries");
	cpus = libbpf_num_possible_cpus();
	if (cpus > MOST_CPUS)
		die("%u CPUs", cpus);
	for (__u64 i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, change, (void *)(i + 1));
	for (int i = THREADS; i < THREADS + 2; i++)
		pthread_create(&threads[i], NULL, drive, NULL);
	sleep(seconds);
	done = true;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	for (; !bpf_map_get_next_key(stressed, at, next); count++) {
		key = stress_number(next);
		if (count > ENTRIES || key >= ENTRIES)
			die("key %u, the %u-th", key, count);
		memcpy(bytes, next, sizeof(bytes));
		at = bytes;
		if (get(bytes, &value) || value.key != key)
			die("%u has the value of %llu", key, (unsigned long long)value.key);
	}
	if (forgets) {
		/* What is not there is free, on lists of at most half a CPU's share. */
		for (key = ENTRIES; key < 3 * ENTRIES; key++) {
			value.key = key;
			err = put(&key, &value, BPF_NOEXIST);
			if (err)
				die("no room for %u: %d", key, err);
		}
		for (key = 0, count = 0; key < 3 * ENTRIES; key++)
			count += !get(&key, &value) && value.key == key;
		if (count > ENTRIES || count < ENTRIES / 2)
			die("%u of %u keys are there", count, ENTRIES);
		printf("%lu steps, %lu runs, %u keys\n", steps, runs, count);
		return !steps || !runs;
	}
	/* No element is lost, none is in two places. */
	for (key = ENTRIES; count < ENTRIES; key++, count++) {
		value.key = key;
		stress_key(key, bytes);
		err = put(bytes, &value, BPF_NOEXIST);
		if (err)
			die("the map is full with %u keys of %u: %d", count, ENTRIES, err);
	}
	stress_key(key, bytes);
	err = put(bytes, &value, BPF_NOEXIST);
	if (err != (prefixes ? -ENOSPC : -E2BIG))
		die("the map takes more than %u keys: %d", ENTRIES, err);
	printf("%lu steps, %lu runs\n", steps, runs);
	if (!steps || !runs)
		die("nothing was tried");
	bpf_object__close(object);
	return 0;
}

static int iterate(const char *path, enum bpf_map_type type, __u32 flags)
{
	struct bpf_object *object = bpf_object__open(path);
	union bpf_iter_link_info info = {};
	LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info, .link_info_len = sizeof(info));
	struct bpf_link *link;
	char line[16];
	int map;

	if (!object)
		die("%s does not open", path);
	bpf_map__set_type(bpf_object__find_map_by_name(object, "iterated"), type);
	bpf_map__set_map_flags(bpf_object__find_map_by_name(object, "iterated"), flags);
	if (bpf_object__load(object))
		die("%s does not load", path);
	map = bpf_object__find_map_fd_by_name(object, "iterated");
	for (__u32 key = 0; key < 250; key++) {
		__u64 value[64] = { key * 1000003ull, key };

		if (bpf_map_update_elem(map, &key, value, 0))
			die("no room");
	}
	info.map.map_fd = map;
	link = bpf_program__attach_iter(bpf_object__next_program(object, NULL), &opts);
	if (!link)
		die("the iterator does not attach");
	for (int n = 0; n < 2; n++) {
		int file = bpf_iter_create(bpf_link__fd(link)), lines = 0, ends = 0;
		__u64 sum = 0;

		if (file < 0)
			die("no iterator");
		for (; read(file, line, sizeof(line)) == sizeof(line); lines++) {
			sum += hash_bytes(HASH_START, line, sizeof(line));
			ends += !memcmp(line, "the end", 7);
		}
		close(file);
		printf("%d lines, %d ends, %016llx\n", lines, ends, (unsigned long long)sum);
	}
	bpf_link__destroy(link);
	bpf_object__close(object);
	return 0;
}

/* A map that forgets, with `entries`, used by user space and by a program. */
static void forget(const char *path, enum bpf_map_type type, __u32 entries, __u32 flags,
		   bool on_all)
{
	struct bpf_object *object = bpf_object__open(path);
	__u64 state = entries + type, values[64];
	__u32 packet[16] = {}, keys = 2 * entries;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));
	struct bpf_map *map;
	int fd, prog, there = 0, kept = 0;

	if (!object)
		die("%s does not open", path);
	map = bpf_object__find_map_by_name(object, "recent");
	bpf_map__set_type(map, type);
	bpf_map__set_max_entries(map, entries);
	bpf_map__set_map_flags(map, flags);
	if (bpf_object__load(object))
		die("%s does not load", path);
	fd = bpf_map__fd(map);
	prog = bpf_program__fd(bpf_object__next_program(object, NULL));
	digest = HASH_START;
	run_on(0);
	for (__u32 n = 0; n < 1000 + 6 * entries; n++) {
		__u64 r = next_random(&state);
		/* Every fourth time a key of a few: those are used and stay. */
		__u32 key = r & 3 ? (r >> 8) % keys : (r >> 8) % (entries / 4 + 1);

		if (on_all && !(r >> 32 & 31))
			run_on(r >> 40 & 1 ? 1 : r >> 41 & 2);
		packet[1] = key;
		packet[2] = n;
		packet[3] = r >> 48 & 7 ? 0 : r >> 52 & 3;
		switch (r >> 56 & 15) {
		case 0 ... 5:
			packet[0] = 0;
			break;
		case 6 ... 10:
			packet[0] = 1;
			break;
		case 11:
			packet[0] = 2;
			break;
		case 12:
			memset(values, r >> 16, sizeof(values));
			note_result(bpf_map_update_elem(fd, &key, values, packet[3]));
			continue;
		case 13:
			note_result(bpf_map_delete_elem(fd, &key));
			continue;
		default:
			note_result(bpf_map_lookup_elem(fd, &key, values));
			continue;
		}
		if (bpf_prog_test_run_opts(prog, &opts))
			die("the program does not run");
		if (opts.retval == 0)
			die("the program was ended");
		note(&opts.retval, sizeof(opts.retval));
	}
	for (__u32 key = 0; key < keys; key++) {
		int err = bpf_map_lookup_elem(fd, &key, values);

		note_result(err);
		if (!err)
			note(values, sizeof(values[0]));
		there += !err;
		kept += !err && key <= entries / 4;
	}
	printf("%d of %u%s%s%s: %d there, %d of those that are used: %016llx\n", type, entries,
	       flags & BPF_F_NO_COMMON_LRU ? " apart" : "", flags & BPF_F_NO_PREALLOC ? " on demand" : "",
	       on_all ? " on all CPUs" : "", there, kept, (unsigned long long)digest);
	bpf_object__close(object);
}

static int recent(const char *path)
{
	static const __u32 entries[] = { 1, 7, 64, 400 };

	for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
		for (int all = 0; all < 2; all++) {
			forget(path, LRU, entries[i], 0, all);
			forget(path, LRU, entries[i], BPF_F_NO_COMMON_LRU, all);
			forget(path, LRU_PER_CPU, entries[i], 0, all);
			forget(path, LRU_PER_CPU, entries[i], BPF_F_NO_COMMON_LRU, all);
			forget(path, HASH, entries[i], 0, all);
		}
	return 0;
}

static int hold(void)
{
	int map = create(&shapes[1]);
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	if (map < 0 || bpf_map_get_info_by_fd(map, &info, &len))
		die("no map");
	printf("%u\n", info.id);
	fflush(stdout);
	pause();
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "same"))
		return same(strtoull(argv[2], NULL, 0));
	if (argc == 6 && !strcmp(argv[1], "stress"))
		return stress(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]));
	if (argc == 5 && !strcmp(argv[1], "iterate"))
		return iterate(argv[2], atoi(argv[3]), atoi(argv[4]));
	if (argc == 3 && !strcmp(argv[1], "recent"))
		return recent(argv[2]);
	if (argc == 2 && !strcmp(argv[1], "hold"))
		return hold();
	fprintf(stderr, "usage: map_calls same SEED | stress OBJECT SECONDS TYPE FLAGS | iterate OBJECT TYPE FLAGS | recent OBJECT | hold\n");
	return 2;
}
