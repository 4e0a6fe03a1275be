// SPDX-License-Identifier: GPL-2.0
/*
 * A key that changes hands: after each exchange its new owner goes for what the
 * former owner has just used on the same CPU, whose TLB knew these pages under
 * that key. Said as breach.c says it.
 *
 *   --expect stop      nothing may get through
 *   --expect leak      keys change hands without a flush: some must get through
 *   --rounds N         exchanges, --pages N attempts after each, --seed S
 *
 * Both domains are used on CPU 1; CPU 0 does all that lies in between, for what a
 * TLB knows does not outlive much.
 */
#include "sides.h"

#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>

/* Between these two every key for one domain is taken. */
#define FILL 11

static struct side sides[2];
static __u32 keys[2];
static atomic_int wanted, done;

/* Exchanges the keys once for each round. */
static void *mover(void *unused)
{
	pin_to_cpu(0);
	for (int round = 1;; round++) {
		while (atomic_load(&wanted) < round)
			usleep(100);
		move(round & 1 ? 3 : 2);
		keys[0] = key_of_side(&sides[0]);
		keys[1] = key_of_side(&sides[1]);
		atomic_store(&done, round);
	}
	return unused;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"expect", required_argument, NULL, 'e'}, {"rounds", required_argument, NULL, 'r'},
		{"pages", required_argument, NULL, 'p'},  {"seed", required_argument, NULL, 's'},
		{},
	};
	int rounds = 10, pages = 16, c, through = 0, exchanged = 0;
	bool leak = false;
	__u64 seed = 1;
	pthread_t thread;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'e':
			leak = !strcmp(optarg, "leak");
			break;
		case 'r':
			rounds = atoi(optarg);
			break;
		case 'p':
			pages = atoi(optarg);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		default:
			die("usage: recycled [--expect stop|leak] [--rounds N] [--pages N] "
			    "[--seed S]");
		}
	}
	pin_to_cpu(1);
	sides[0] = load_side();
	for (int i = 0; i < FILL; i++)
		load_some(false);
	sides[1] = load_side();
	move(2);
	keys[0] = key_of_side(&sides[0]);
	keys[1] = key_of_side(&sides[1]);
	report(keys[0] != keys[1] && keys[0] != 15 && keys[1] != 15,
	       "two domains have keys of their own (%u and %u)", keys[0], keys[1]);
	if (pthread_create(&thread, NULL, mover, NULL))
		die("a thread: %s", strerror(errno));
	for (int round = 1; round <= rounds; round++) {
		const struct side *former = &sides[round & 1], *owner = &sides[!(round & 1)];
		__u32 key = keys[round & 1];
		__u64 targets[pages];

		for (int i = 0; i < pages; i++) {
			targets[i] = random_address(&former->mapped, &seed) & ~7ull;
			warm(former, targets[i]);
		}
		atomic_store(&wanted, round);
		/* No system call: nothing else is to run on this CPU. */
		while (atomic_load(&done) < round)
			__builtin_ia32_pause();
		exchanged += keys[!(round & 1)] == key;
		for (int i = 0; i < pages; i++)
			through += intrude(owner, targets[i], &seed);
	}
	report(exchanged == rounds, "the key went to the other domain (%d of %d times)", exchanged,
	       rounds);
	if (leak)
		report(through, "without a flush some accesses get through (%d of %d)", through,
		       rounds * pages);
	else
		report(!through, "no access to the former owner's pages gets through (%d of %d)",
		       through, rounds * pages);
	check_own(&sides[0]);
	check_own(&sides[1]);
	printf("# ended %llu\n", ended_runs);
	return failed ? 1 : 0;
}
