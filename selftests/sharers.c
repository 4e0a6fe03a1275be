// SPDX-License-Identifier: GPL-2.0
/*
 * Two domains with one key: each of them reads and writes at addresses of the
 * other, of which it is known that they are mapped there: values of its maps and
 * its stacks. Said as breach.c says it.
 *
 *   --expect stop      nothing may get through
 *   --expect escape    what keeps them apart is left out: all must get through
 *   --count N          attempts each way, --seed S
 *   --fill N           domains to be loaded before the two
 *   --move             between the attempts, domains change their keys
 */
#include "breach_run.h"
#include "kernel_memory.h"

#include <getopt.h>

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

static bool is_attacker(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(attackers); i++)
		if (!strcmp(name, attackers[i]))
			return true;
	return false;
}

/* breach_access, but only these programs of it. */
static struct breach load_some(bool all)
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
static __u64 column(char *header, char *line, const char *name)
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

static __u64 value(const char *header, const char *line, const char *name)
{
	char h[512], l[512];

	snprintf(h, sizeof(h), "%s", header);
	snprintf(l, sizeof(l), "%s", line);
	return column(h, l, name);
}

/* Calls `each` with every line of a table of debugfs. */
static void table(const char *name, struct side *side,
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

static void note_domain(struct side *side, const char *header, const char *line)
{
	sharers += value(header, line, "key") == 15;
	if (value(header, line, "id") != side->domain)
		return;
	base_of_span = value(header, line, "base");
	key_of_domain = value(header, line, "key");
}

static __u64 wanted_program;

static void note_program(struct side *side, const char *header, const char *line)
{
	if (value(header, line, "id") == wanted_program)
		side->domain = value(header, line, "domain");
}

static void note_map(struct side *side, const char *header, const char *line)
{
	__u64 size = value(header, line, "size");

	if (value(header, line, "domain") == side->domain && size)
		add_span(&side->mapped, value(header, line, "base"), (size + 4095) & ~4095ull);
}

static struct side load_side(void)
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

/* How many got through of `count`. */
static int attack(const struct side *from, const struct side *to, int count, __u64 *seed)
{
	int through = 0;

	for (int i = 0; i < count; i++) {
		size_t which = next_random(seed) % ARRAY_SIZE(attackers);
		__u64 target = random_address(&to->mapped, seed) & ~7ull;
		struct outcome out = attempt(&from->breach, from->programs[which], target, 0);

		if (was_ended(&out))
			continue;
		if (through++ < 5)
			printf("# %s at %llx: verdict %d, done %llu, got %llx\n", attackers[which],
			       target, out.verdict, out.order.done, out.order.got);
	}
	return through;
}

static void move(void)
{
	FILE *f = fopen(BAILEY_PARAMETERS "test_move", "w");

	if (!f || fputs("1\n", f) < 0 || fclose(f))
		die("test_move: %s", strerror(errno));
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"expect", required_argument, NULL, 'e'}, {"count", required_argument, NULL, 'c'},
		{"seed", required_argument, NULL, 's'},	  {"fill", required_argument, NULL, 'f'},
		{"move", no_argument, NULL, 'm'},	  {},
	};
	int count = 1000, fill = 13, c, forth = 0, back = 0;
	bool escape = false, moving = false;
	struct side a, b;
	__u64 seed = 1;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'e':
			escape = !strcmp(optarg, "escape");
			break;
		case 'c':
			count = atoi(optarg);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'f':
			fill = atoi(optarg);
			break;
		case 'm':
			moving = true;
			break;
		default:
			die("usage: sharers [--expect stop|escape] [--count N] [--seed S] [--fill N] "
			    "[--move]");
		}
	}
	pin_to_cpu(0);
	for (int i = 0; i < fill; i++)
		load_some(false);
	a = load_side();
	b = load_side();
	if (!moving) {
		table("domains", &a, note_domain);
		c = key_of_domain == 15;
		sharers = 0;
		table("domains", &b, note_domain);
		report(c && key_of_domain == 15 && a.domain != b.domain,
		       "two domains share a key (%u and %u; %llu sharers)", a.domain, b.domain,
		       sharers);
	}
	for (int done = 0; done < count; done += 100) {
		forth += attack(&a, &b, 100, &seed);
		back += attack(&b, &a, 100, &seed);
		if (moving)
			move();
	}
	if (escape)
		report(forth == count && back == count, "without it all accesses get through "
		       "(%d and %d of %d)", forth, back, count);
	else
		report(!forth && !back, "no access to the other domain gets through "
		       "(%d and %d of %d each way)", forth, back, count);
	/* To its own it does. */
	for (int i = 0; i < 2; i++) {
		const struct side *s = i ? &b : &a;
		struct outcome out = attempt_beside(&s->breach, s->programs[4], 8, 7);

		report(out.order.done, "domain %u writes its own value", s->domain);
	}
	printf("# ended %llu\n", ended_runs);
	return failed ? 1 : 0;
}
