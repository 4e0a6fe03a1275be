// SPDX-License-Identifier: GPL-2.0
/*
 * Two domains with one key: each of them reads and writes at addresses of the
 * other, of which it is known that they are mapped there: values of its maps and
 * its stacks. Said as breach.c says it.
 *
 *   --expect stop      nothing may get through
 *   --expect escape    what keeps them apart is left out: all must get through
 *   --expect leak      pages are left in the TLB: some must get through
 *   --count N          attempts each way, --seed S
 *   --fill N           domains to be loaded before the two
 *   --move             between the attempts, domains change their keys
 *   --apart            not these two, but programs of one object, which share its
 *                      maps and, with isolation=program, no domain. With --expect
 *                      escape they do (isolation=map)
 */
#include "sides.h"

#include <getopt.h>

/* How many got through of `count`. */
static int attack(const struct side *from, const struct side *to, int count, __u64 *seed)
{
	int through = 0;

	for (int i = 0; i < count; i++) {
		__u64 target = random_address(&to->mapped, seed) & ~7ull;

		warm(to, target);
		through += intrude(from, target, seed);
	}
	return through;
}

/* No access beside what is on loan: `name` writes at the start of a value of its own. */
static void check_loan(const struct breach *b, const char *name, __u64 size)
{
	int prog = program_of(b->obj, name);
	struct outcome in = attempt_beside(b, prog, size - 8, 7);
	struct outcome behind = attempt_beside(b, prog, size, 7), before = attempt_beside(b, prog, -8, 7);

	report(in.order.done && was_ended(&behind) && was_ended(&before),
	       "%s: what it shares is on loan to the last byte, and no byte beside it", name);
}

static void programs_apart(int count, bool escape, __u64 seed)
{
	struct breach b = load_some(true);
	struct side sides[ARRAY_SIZE(attackers)];
	int through = 0, domains = 0, tried = 0;
	const struct side *from, *to;

	for (size_t i = 0; i < ARRAY_SIZE(attackers); i++) {
		struct bpf_program *prog = bpf_object__find_program_by_name(b.obj, attackers[i]);
		bool found = false;

		if (!is_isolated(prog))
			die("%s is not isolated", attackers[i]);
		sides[i] = (struct side){.breach = b};
		sides[i].programs[0] = bpf_program__fd(prog);
		wanted_program = program_id(sides[i].programs[0]);
		table("programs", &sides[i], note_program);
		table("maps", &sides[i], note_map);
		for (size_t j = 0; j < i; j++)
			found |= sides[j].domain == sides[i].domain;
		domains += !found;
	}
	report(domains == (escape ? 1 : (int)ARRAY_SIZE(attackers)), "%zu programs that share maps are of %d domain%s",
	       ARRAY_SIZE(attackers), domains, domains == 1 ? "" : "s");
	while (tried < count) {
		struct outcome out;
		__u64 target;

		from = &sides[next_random(&seed) % ARRAY_SIZE(attackers)];
		to = &sides[next_random(&seed) % ARRAY_SIZE(attackers)];
		if (from == to || !to->mapped.count)
			continue;
		target = random_address(&to->mapped, &seed) & ~7ull;
		out = attempt(&b, from->programs[0], target, 0);
		tried++;
		through += !was_ended(&out);
	}
	if (escape) {
		report(through == count, "in one domain all accesses get through (%d of %d)", through,
		       count);
		return;
	}
	report(!through, "no access to values that are mapped for another program gets through "
	       "(%d of %d)", through, count);
	/* Those that read are loaded first, and have them mapped. */
	check_loan(&b, "write_array_64", 256);
	check_loan(&b, "write_global_32", 256);
	check_loan(&b, "atomic_array_add_64", 256);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"expect", required_argument, NULL, 'e'}, {"count", required_argument, NULL, 'c'},
		{"seed", required_argument, NULL, 's'},	  {"fill", required_argument, NULL, 'f'},
		{"move", no_argument, NULL, 'm'},	  {"apart", no_argument, NULL, 'a'}, {},
	};
	int count = 1000, fill = 13, c, forth = 0, back = 0;
	const char *expect = "stop";
	bool moving = false, apart = false;
	struct side a, b;
	__u64 seed = 1;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'e':
			expect = optarg;
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
		case 'a':
			apart = true;
			break;
		default:
			die("usage: sharers [--expect stop|escape|leak] [--count N] [--seed S] "
			    "[--fill N] [--move] [--apart]");
		}
	}
	pin_to_cpu(0);
	if (apart) {
		programs_apart(count, !strcmp(expect, "escape"), seed);
		printf("# ended %llu\n", ended_runs);
		return failed ? 1 : 0;
	}
	for (int i = 0; i < fill; i++)
		load_some(false);
	a = load_side();
	b = load_side();
	if (!moving) {
		c = key_of_side(&a) == 15;
		sharers = 0;
		key_of_side(&b);
		report(c && key_of_domain == 15 && a.domain != b.domain,
		       "two domains share a key (%u and %u; %llu sharers)", a.domain, b.domain,
		       sharers);
	}
	for (int done = 0; done < count; done += 100) {
		int some = count - done < 100 ? count - done : 100;

		forth += attack(&a, &b, some, &seed);
		back += attack(&b, &a, some, &seed);
		if (moving)
			move(1);
	}
	if (!strcmp(expect, "escape"))
		report(forth == count && back == count, "without it all accesses get through "
		       "(%d and %d of %d)", forth, back, count);
	else if (!strcmp(expect, "leak"))
		report(forth && back, "without it some accesses get through (%d and %d of %d)",
		       forth, back, count);
	else
		report(!forth && !back, "no access to the other domain gets through "
		       "(%d and %d of %d each way)", forth, back, count);
	check_own(&a);
	check_own(&b);
	printf("# ended %llu\n", ended_runs);
	return failed ? 1 : 0;
}
