/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two domains that go for each other's memory, at addresses of which it is known
 * that they are mapped there: values of maps and stacks.
 */
#ifndef BAILEY_SIDES_H
#define BAILEY_SIDES_H

#include "breach_run.h"
#include "kernel_memory.h"

#define BAILEY_PARAMETERS "/sys/module/bailey/parameters/"

static const char *const attackers[] = {
	"read_array_64", "read_global_8", "read_stack_64", "read_packet_32",
	"write_array_64", "write_global_32", "write_stack_64", "write_packet_8",
	"atomic_array_add_64", "atomic_stack_exchange_64",
};

struct side {
	struct breach breach;
	int programs[ARRAY_SIZE(attackers)];
	__u32 domain;
	struct spans mapped;
};

static inline bool is_attacker(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(attackers); i++)
		if (!strcmp(name, attackers[i]))
			return true;
	return false;
}

/* breach_access, but only these programs of it. */
static inline struct breach load_some(bool all)
{
	struct breach b = {.obj = bpf_object__open_file("breach_access.bpf.o", NULL)};
	struct bpf_program *prog;

	if (!b.obj)
		die("breach_access: %s", strerror(errno));
	bpf_object__for_each_program(prog, b.obj) {
		const char *name = bpf_program__name(prog);

		bpf_program__set_autoload(prog, all ? is_attacker(name) :
							!strcmp(name, attackers[0]));
	}
	if (bpf_object__load(b.obj))
		die("breach_access: %s", strerror(errno));
	b.orders = map_of(b.obj, "orders");
	return b;
}

/* The columns of a line of debugfs, by the names in its header. */
static inline __u64 column(char *header, char *line, const char *name)
{
	char *h, *l, *save_h, *save_l;

	h = strtok_r(header, " \n", &save_h);
	l = strtok_r(line, " \n", &save_l);
	while (h && l) {
		if (!strcmp(h, name))
			return strtoull(l, NULL, 0);
		h = strtok_r(NULL, " \n", &save_h);
		l = strtok_r(NULL, " \n", &save_l);
	}
	die("debugfs: no column %s", name);
}

static inline __u64 value(const char *header, const char *line, const char *name)
{
	char h[512], l[512];

	snprintf(h, sizeof(h), "%s", header);
	snprintf(l, sizeof(l), "%s", line);
	return column(h, l, name);
}

/* Calls `each` with every line of a table of debugfs. */
static inline void table(const char *name, struct side *side,
		  void (*each)(struct side *, const char *header, const char *line))
{
	char path[256], header[512], line[512];
	FILE *f;

	snprintf(path, sizeof(path), BAILEY "%s", name);
	f = fopen(path, "r");
	if (!f || !fgets(header, sizeof(header), f))
		die("%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f))
		each(side, header, line);
	fclose(f);
}

static __u64 base_of_span, key_of_domain, sharers;

static inline void note_domain(struct side *side, const char *header, const char *line)
{
	sharers += value(header, line, "key") == 15;
	if (value(header, line, "id") != side->domain)
		return;
	base_of_span = value(header, line, "base");
	key_of_domain = value(header, line, "key");
}

static __u64 wanted_program;

static inline void note_program(struct side *side, const char *header, const char *line)
{
	if (value(header, line, "id") == wanted_program)
		side->domain = value(header, line, "domain");
}

static inline void note_map(struct side *side, const char *header, const char *line)
{
	__u64 size = value(header, line, "size");

	if (value(header, line, "domain") == side->domain && size)
		add_span(&side->mapped, value(header, line, "base"), (size + 4095) & ~4095ull);
}

static inline struct side load_side(void)
{
	struct side side = {.breach = load_some(true)};
	__u64 stack;

	for (size_t i = 0; i < ARRAY_SIZE(attackers); i++) {
		struct bpf_program *prog =
			bpf_object__find_program_by_name(side.breach.obj, attackers[i]);

		side.programs[i] = bpf_program__fd(prog);
		if (!is_isolated(prog))
			die("%s is not isolated", attackers[i]);
	}
	wanted_program = program_id(side.programs[0]);
	table("programs", &side, note_program);
	table("maps", &side, note_map);
	if (side.mapped.count < 3)
		die("only %zu maps are mapped", side.mapped.count);
	/* The run's stack is at the top of 32 pages; its lower half is always there. */
	stack = attempt(&side.breach, side.programs[2], 0, 0).order.base;
	add_span(&side.mapped, (stack & ~4095ull) - 16 * 4096, 16 * 4096);
	return side;
}

/* As helpers/attack.c has it: 1 other kinds of keys, 2 and 3 keys by order. */
static inline void move(int how)
{
	FILE *f = fopen(BAILEY_PARAMETERS "test_move", "w");

	if (!f || fprintf(f, "%d\n", how) < 0 || fclose(f))
		die("test_move: %s", strerror(errno));
}

/* `to` reads this address of its own, so that this CPU's TLB knows the page. */
static inline void warm(const struct side *to, __u64 target)
{
	struct outcome out = attempt(&to->breach, to->programs[0], target, 0);

	if (!out.order.done)
		die("domain %u does not read its own %llx", to->domain, target);
}

/* Whether an access by `from`, one of all kinds, got through. */
static inline bool intrude(const struct side *from, __u64 target, __u64 *seed)
{
	size_t which = next_random(seed) % ARRAY_SIZE(attackers);
	struct outcome out = attempt(&from->breach, from->programs[which], target, 0);
	static int shown;

	if (was_ended(&out))
		return false;
	if (shown++ < 10)
		printf("# %s at %llx: verdict %d, done %llu, got %llx\n", attackers[which], target,
		       out.verdict, out.order.done, out.order.got);
	return true;
}

static inline __u32 key_of_side(struct side *side)
{
	table("domains", side, note_domain);
	return key_of_domain;
}

/* To its own it gets through. */
static inline void check_own(const struct side *side)
{
	struct outcome out = attempt_beside(&side->breach, side->programs[4], 8, 7);

	report(out.order.done, "domain %u writes its own value", side->domain);
}

#endif
