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

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"expect", required_argument, NULL, 'e'}, {"count", required_argument, NULL, 'c'},
		{"seed", required_argument, NULL, 's'},	  {"fill", required_argument, NULL, 'f'},
		{"move", no_argument, NULL, 'm'},	  {},
	};
	int count = 1000, fill = 13, c, forth = 0, back = 0;
	const char *expect = "stop";
	bool moving = false;
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
		default:
			die("usage: sharers [--expect stop|escape|leak] [--count N] [--seed S] "
			    "[--fill N] [--move]");
		}
	}
	pin_to_cpu(0);
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
