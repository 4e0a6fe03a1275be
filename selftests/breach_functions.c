// SPDX-License-Identifier: GPL-2.0
/*
 * Has programs go astray in functions and callbacks, and says whether each run
 * ended as a whole, was counted once, and left nothing behind: `ok NAME` or
 * `not ok NAME`. Needs the breach build with on_violation=abort.
 *
 *   --expect harmless   a stock kernel: every run goes to its end
 *   --count N           how often in a row each is ended
 */
#include "breach_run.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

/* Of the hole above user space: nobody's. */
#define NOWHERE 0xffff8000000dead0ull

static bool harmless;
static int count = 10000;
static struct breach functions;
static int other_orders;
static __u64 ports;

/* Kilobytes that the kernel's own data takes. */
static long kernel_memory(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	long sum = 0, kb;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Slab: %ld", &kb) == 1 || sscanf(line, "Percpu: %ld", &kb) == 1 ||
		    sscanf(line, "VmallocUsed: %ld", &kb) == 1)
			sum += kb;
	if (f)
		fclose(f);
	return sum;
}

static bool starts(const char *name, const char *word)
{
	return !strncmp(name, word, strlen(word));
}

/* A run that goes where it may, or `astray`. */
static struct outcome go(struct bpf_program *prog, bool astray, __s64 offset)
{
	const char *name = bpf_program__name(prog);
	struct order order = {.target = offset, .relative = 1}, other;
	__u32 key = 0;

	if (astray && !offset)
		order = (struct order){.target = NOWHERE};
	if (starts(name, "after_each"))
		order.target = astray;
	if (starts(name, "socket"))
		order.value = ports;
	/* Whoever goes astray afterwards must get there. */
	if (starts(name, "after_other"))
		other = (struct order){.relative = 1};
	else
		other = order;
	if (bpf_map_update_elem(other_orders, &key, &other, BPF_ANY))
		die("order: %s", strerror(errno));
	return give_order(&functions, bpf_program__fd(prog), order);
}

static bool passed(const struct outcome *o)
{
	return o->verdict == 2 && o->order.done;
}

/* Home, astray, home again. */
static void one(struct bpf_program *prog)
{
	const char *name = bpf_program__name(prog);
	struct outcome before = go(prog, false, 0), astray, after;
	__u64 violations = counter("violations_total"), aborts = counter("aborts");
	bool good;

	astray = go(prog, true, 0);
	violations = counter("violations_total") - violations;
	aborts = counter("aborts") - aborts;
	after = go(prog, false, 0);
	good = passed(&before) && passed(&after) &&
	       (harmless ? passed(&astray) : was_ended(&astray) && violations == 1 && aborts == 1);
	report(good, harmless ? "%s: every run goes to its end" :
	       "%s: a breach ends the whole run, is counted once, and the next run works", name);
	if (!good)
		printf("# before %d %llu, astray %d %llu, after %d %llu; %llu violations, "
		       "%llu aborts\n", before.verdict, before.order.done, astray.verdict,
		       astray.order.done, after.verdict, after.order.done, violations, aborts);
}

/* Around the value that a callback was given. */
static void beside(struct bpf_program *prog)
{
	static const __s64 outside[] = {-1, -8, -48, -4096, 249, 256, 304, 512, 4096};
	static const __s64 inside[] = {0, 8, 128, 248};
	int over = 0, refused = 0;

	for (size_t i = 0; i < ARRAY_SIZE(outside); i++) {
		struct outcome out = go(prog, true, outside[i]);

		over += !was_ended(&out);
	}
	for (size_t i = 0; i < ARRAY_SIZE(inside); i++) {
		struct outcome out = go(prog, false, inside[i]);

		refused += !passed(&out);
	}
	report(!over && !refused, "%s: no access leaves the value by a byte, those within go on "
	       "(%d did, %d did not)", bpf_program__name(prog), over, refused);
}

static void often(struct bpf_program *prog)
{
	const char *name = bpf_program__name(prog);
	__u64 violations = counter("violations_total"), full = counter("frame_full");
	struct outcome after;
	int ended = 0;

	for (int i = 0; i < count; i++) {
		struct outcome out = go(prog, true, 0);

		ended += was_ended(&out);
	}
	violations = counter("violations_total") - violations;
	full = counter("frame_full") - full;
	after = go(prog, false, 0);
	report(ended == count && violations == (__u64)count && !full && passed(&after) &&
	       test_run(program_of(functions.obj, "full_depth")) == 2,
	       "%s: %d in a row end, and after them a run works at full depth", name, count);
	if (ended != count || violations != (__u64)count || full)
		printf("# %d ended, %llu violations, %llu without room\n", ended, violations, full);
}

static void connect_locally(int *server, int *client, int *peer)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);

	*server = socket(AF_INET, SOCK_STREAM, 0);
	*client = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(*server, (void *)&addr, len) || listen(*server, 1) ||
	    getsockname(*server, (void *)&addr, &len) || connect(*client, (void *)&addr, len))
		die("a connection: %s", strerror(errno));
	*peer = accept(*server, NULL, NULL);
	ports = (__u64)addr.sin_port << 16;
	if (*peer < 0 || getsockname(*client, (void *)&addr, &len))
		die("a connection: %s", strerror(errno));
	ports |= addr.sin_port;
}

static int sockets_in_use(void)
{
	FILE *f = fopen("/proc/net/sockstat", "r");
	int used = -1;

	if (!f || fscanf(f, "sockets: used %d", &used) != 1)
		die("/proc/net/sockstat: %s", strerror(errno));
	fclose(f);
	return used;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"expect", required_argument, NULL, 'e'},
		{"count", required_argument, NULL, 'c'},
		{},
	};
	int c, server, client, peer, before, open, after = 0, tried = 0;
	struct linger now = {.l_onoff = 1};
	struct bpf_program *prog;
	long memory;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'e')
			harmless = !strcmp(optarg, "harmless");
		else if (c == 'c')
			count = atoi(optarg);
		else
			die("breach_functions [--expect harmless] [--count N]");
	}
	pin_to_cpu(0);
	before = sockets_in_use();
	connect_locally(&server, &client, &peer);
	functions = load_breach(".", "breach_functions");
	other_orders = map_of(functions.obj, "other_orders");
	for (__u32 key = 0; key < 2; key++) {
		static unsigned char values[512 * 64];

		if (bpf_map_update_elem(map_of(functions.obj, "percpu_hash"), &key, values, BPF_ANY))
			die("percpu_hash: %s", strerror(errno));
	}
	bpf_object__for_each_program(prog, functions.obj) {
		const char *name = bpf_program__name(prog);

		if (!harmless && !is_isolated(prog))
			report(false, "%s is isolated", name);
		if (starts(name, "target") || starts(name, "full"))
			continue;
		tried++;
		one(prog);
		/* Values of arrays and of per-CPU maps are mapped beside each other. */
		if (!harmless && starts(name, "beside") && !strstr(name, "array") &&
		    !strstr(name, "percpu"))
			beside(prog);
	}
	report(tried > 15, "there are programs for all of it (%d)", tried);
	report(test_run(program_of(functions.obj, "full_depth")) == 2, "a run at full depth works");
	memory = kernel_memory();
	if (!harmless)
		bpf_object__for_each_program(prog, functions.obj)
			if (!starts(bpf_program__name(prog), "target") &&
			    !starts(bpf_program__name(prog), "full"))
				often(prog);
	memory = kernel_memory() - memory;
	report(memory < 4096, "the kernel's memory is as before (%ld KiB more)", memory);
	open = sockets_in_use();
	setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(client);
	close(peer);
	close(server);
	for (int i = 0; (after = sockets_in_use()) != before && i < 50; i++)
		usleep(100000);
	report(open > before && after == before,
	       "the sockets that these runs held are freed (%d before, %d open, %d after)", before,
	       open, after);
	return failed ? 1 : 0;
}
