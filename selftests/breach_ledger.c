// SPDX-License-Identifier: GPL-2.0
/*
 * Ends runs that hold locks, ring-buffer records or a socket, or that are in a
 * section, and looks whether these were given back; passes names of objects
 * that name none, and locks that are none: `ok NAME` or `not ok NAME`. Needs the breach
 * build with on_violation=abort.
 *
 *   --expect harmless   a stock kernel: every run goes to its end
 */
#include "breach_run.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <linux/membarrier.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define ROUNDS 1000

static const char *files = ".";
static bool harmless;

static struct breach ledger;

/* Runs it again and again, and says how often it ended as it should. */
static int end_often(const char *name, __u64 value)
{
	int prog = program_of(ledger.obj, name), good = 0;

	for (int i = 0; i < ROUNDS; i++) {
		struct outcome out = attempt(&ledger, prog, 0, value);

		good += harmless ? out.order.done : was_ended(&out);
	}
	if (good != ROUNDS)
		printf("# %s: %d of %d runs ended as they should\n", name, good, ROUNDS);
	return good == ROUNDS;
}

static bool uses(const char *name)
{
	for (int i = 0; i < ROUNDS; i++)
		if (test_run(program_of(ledger.obj, name)) != 2)
			return false;
	return true;
}

static int on_record(void *ctx, void *data, size_t size)
{
	(void)size;
	*(int *)ctx += *(__u64 *)data == 77;
	return 0;
}

/* A discarded record must not be seen, and must not block those after it. */
static void rings(void)
{
	int seen = 0, want = 10;
	struct ring_buffer *ring;
	bool ended = true;

	/* One reader, which counts. */
	ring_buffer__free(ledger.ring);
	ledger.ring = NULL;
	ring = ring_buffer__new(map_of(ledger.obj, "ring"), on_record, &seen, NULL);
	if (!ring)
		die("ring: %s", strerror(errno));
	for (int i = 0; i < 100; i++) {
		int one = program_of(ledger.obj, "hold_record");
		int two = program_of(ledger.obj, "hold_two_records");
		int dynptr = program_of(ledger.obj, "hold_dynptr");
		struct outcome a = attempt(&ledger, one, 0, 0), b = attempt(&ledger, two, 0, 0),
			       c = attempt(&ledger, dynptr, 0, 0);

		ended = ended && (harmless ? a.order.done && b.order.done && c.order.done :
					     was_ended(&a) && was_ended(&b) && was_ended(&c));
		/* As a reader does all the while. */
		ring_buffer__consume(ring);
	}
	report(ended, "a run that holds records can be ended");
	for (int i = 0; i < want; i++)
		test_run(program_of(ledger.obj, "use_ring"));
	ring_buffer__consume(ring);
	report(seen == want, "records after those of ended runs come to the reader (%d of %d)", seen,
	       want);
	ring_buffer__free(ring);
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

static void sockets(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int before = sockets_in_use(), open, after, server, client, peer;
	socklen_t len = sizeof(addr);
	struct linger now = {.l_onoff = 1};
	__u64 ports;

	server = socket(AF_INET, SOCK_STREAM, 0);
	client = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(server, (void *)&addr, len) || listen(server, 1) ||
	    getsockname(server, (void *)&addr, &len) || connect(client, (void *)&addr, len))
		die("a connection: %s", strerror(errno));
	peer = accept(server, NULL, NULL);
	ports = (__u64)addr.sin_port << 16;
	if (peer < 0 || getsockname(client, (void *)&addr, &len))
		die("a connection: %s", strerror(errno));
	/* The look-up is for a packet from the client to the server. */
	ports |= addr.sin_port;
	report(end_often("hold_socket", ports) && end_often("hold_socket_argument", ports),
	       "a run that holds a socket can be ended");
	open = sockets_in_use();
	/* Reset, not closed in peace: nothing but our references keeps them. */
	setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(client);
	close(peer);
	close(server);
	for (int i = 0; (after = sockets_in_use()) != before && i < 50; i++)
		usleep(100000);
	report(open > before && after == before,
	       "the sockets that ended runs held are freed (%d before, %d open, %d after)", before,
	       open, after);
}

/* A section of RCU that stays open stops this for good; preemption that stays off says so. */
static void sections(void)
{
	report(end_often("hold_read_lock", 0), "a run in a read-side section can be ended");
	report(end_often("hold_preemption", 0), "a run with preemption off can be ended");
	report(end_often("hold_interrupts", 0), "a run with interrupts off can be ended");
	report(end_often("hold_iterator", 0), "a run with an iterator that owns memory can be ended");
	usleep(1000);
	alarm(60);
	report(!syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0),
	       "all sections that ended runs were in are over");
	alarm(0);
}

#define MARK 0x6d61726bull

static void names(void)
{
	static const struct {
		const char *name;
		__s64 offset;
	} wrong[] = {
		{"elsewhere", 8},	  {"elsewhere", -16},	    {"elsewhere", 1 << 20},
		{"new_elsewhere", 4},	  {"new_elsewhere", 1 << 20}, {"after_the_end", -16},
		{"of_no_record", 16},	  {"of_a_record_that_went", 72}, {"of_another_kind", -16},
		{"begun_twice", -16},	  {"words", 1 << 20},	    {"of_no_flags", 8},
	};
	struct outcome out;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		char name[64];

		snprintf(name, sizeof(name), "name_%s", wrong[i].name);
		out = attempt_beside(&ledger, program_of(ledger.obj, name), wrong[i].offset, 0);
		report(harmless ? out.order.done : was_ended(&out), "%s at %+lld ends the run",
		       name, (long long)wrong[i].offset);
	}
	/* Each word of the dynptr on the stack, with the address of the program's own order. */
	for (int offset = 8; offset <= 16; offset += 8) {
		out = attempt_beside(&ledger, program_of(ledger.obj, "name_forged"), offset,
				     0xffffffff81000000);
		report(out.order.done && out.order.got == MARK,
		       "a dynptr forged at byte %d of the stack reads what it did before (%#llx)",
		       offset - 8, (unsigned long long)out.order.got);
	}
}

static struct breach graph;

static __u64 memory_available(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	__u64 kilobytes = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu", &kilobytes) == 1)
			break;
	if (!kilobytes)
		die("/proc/meminfo: %s", strerror(errno));
	fclose(f);
	return kilobytes >> 10;
}

static bool graph_ends(const char *name, __s64 offset)
{
	struct outcome out = attempt_beside(&graph, program_of(graph.obj, name), offset, 0);

	/* On a stock kernel some use the second object for the first. */
	return harmless ? out.order.done : was_ended(&out);
}

static struct outcome tree(const char *name, __u64 key)
{
	return attempt(&graph, program_of(graph.obj, name), 0, key);
}

/* Objects that programs allocate: 8 KB a run, were they not given back. */
#define LARGE_RUNS 10000
#define LEAVES 7

static void objects(void)
{
	static const char *const wrong[] = {
		"read_after_drop", "drop_twice", "drop_another_type", "drop_what_is_in_a_list",
		"read_after_unlock", "push_twice", "push_another_type", "push_to_a_list_of_others",
		"push_without_the_lock", "exchange_for_another_type", "exchange_what_is_gone",
	};
	static const struct {
		const char *name;
		__s64 offset;
	} beside[] = {
		{"push_beside_the_list", 8}, {"push_beside_the_list", 16},
		{"push_beside_the_list", -8}, {"push_beside_the_list", 1 << 20},
		{"push_beside_the_node", 24}, {"push_beside_the_node", 8},
		{"count_beside", 8}, {"count_beside", -64}, {"exchange_beside", 8},
		{"exchange_beside", 16}, {"exchange_beside", -8}, {"exchange_beside", 1 << 20},
		{"remove_beside", 8}, {"remove_beside", 1 << 20},
	};
	int through = 0, refused = 0, good = 0, sorted = 0;
	__u64 before, after, last = 0;

	for (__u64 key = 0; key < LEAVES; key++)
		good += tree("tree_add", key * 5 % LEAVES).order.done;
	report(good == LEAVES, "nodes are added to a tree (%d of %d)", good, LEAVES);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		report(graph_ends(wrong[i], 0), "%s ends the run", wrong[i]);
	for (size_t i = 0; !harmless && i < sizeof(beside) / sizeof(*beside); i++)
		report(graph_ends(beside[i].name, beside[i].offset), "%s at %+lld ends the run",
		       beside[i].name, (long long)beside[i].offset);
	/* Byte for byte: the node, the list and the lock of an object are the kernel's. */
	for (__s64 at = -8; !harmless && at < 96; at++) {
		bool ours = (at >= 0 && at < 8) || (at >= 32 && at < 40) || (at >= 60 && at < 80);
		bool write = graph_ends("write_beside_object", at);
		bool read = graph_ends("read_beside_object", at);

		through += !ours && (!write || !read);
		refused += ours && (write || read);
	}
	report(!through && !refused, "of an object, what is the kernel's can be neither read nor written,"
	       " the rest can (%d, %d)", through, refused);
	for (int i = good = 0; i < ROUNDS; i++)
		good += graph_ends("compare_astray", 1 << 20);
	report(good == ROUNDS, "a run whose comparison goes astray is ended (%d of %d)", good, ROUNDS);
	for (int i = 0; i < LEAVES; i++) {
		struct outcome out = tree("tree_take", 0);

		sorted += out.order.done && out.order.got == (__u64)i;
		last = out.order.got;
	}
	report(harmless || sorted == LEAVES, "the tree is in order after that (%d of %d, %lld the last)",
	       sorted, LEAVES, last);
	report(harmless || tree("tree_take", 0).order.got == ~0ull, "and nothing else is in it");
	before = memory_available();
	for (int i = good = 0; i < LARGE_RUNS; i++)
		good += graph_ends("hold_objects", 1 << 20);
	after = memory_available();
	report(good == LARGE_RUNS && after + LARGE_RUNS * 8 / 1024 / 2 > before,
	       "what ended runs had allocated is freed (%d ended, %llu MB before, %llu after)", good,
	       before, after);
	for (int i = good = 0; i < ROUNDS; i++)
		good += graph_ends("hold_lock_in_object", 1 << 20);
	report(good == ROUNDS, "a run that holds a lock in an object can be ended");
	for (int i = good = 0; i < 20; i++)
		good += test_run(program_of(graph.obj, "use_lists")) == 2;
	report(good == 20, "the lists that ended runs used can be used again");
}

static struct breach lock;

/* Locks that may fail. On a stock kernel each program goes to its end. */
static void res_locks(void)
{
	static const char *const holding[] = {
		"hold_lock", "hold_lock_and_flags", "hold_many", "hold_lock_in_object",
	};
	static const char *const wrong[] = {
		"take_what_waits", "wait_for_what_may_fail", "take_what_was_dropped",
		"release_another", "release_the_first", "release_what_is_free",
		"release_without_flags",
	};
	static const struct {
		const char *name;
		__s64 offset;
	} beside[] = {
		{"take_in_array", 4}, {"take_in_array", -8}, {"take_in_array", 32},
		{"take_in_array_and_flags", 1}, {"take_in_array_and_flags", 1 << 20},
		{"take_in_hash", 4}, {"take_in_hash", 1 << 20}, {"take_in_hash_and_flags", -4},
		{"release_with_others_flags", -8}, {"release_with_others_flags", -16},
		{"release_with_others_flags", 1 << 20}, {"save_flags_beside", -8},
		{"save_flags_beside", 4}, {"save_flags_beside", 1 << 20},
	};
	int use = program_of(lock.obj, "use_locks"), good;
	struct outcome out;
	__u64 other;

	for (size_t i = 0; i < sizeof(holding) / sizeof(*holding); i++) {
		good = 0;
		for (int n = 0; n < ROUNDS; n++) {
			out = attempt(&lock, program_of(lock.obj, holding[i]), 0, 0);
			good += harmless ? out.order.done : was_ended(&out);
		}
		report(good == ROUNDS, "%s: a run that holds locks which may fail can be ended (%d of %d)",
		       holding[i], good, ROUNDS);
		report(test_run(use) == 2, "%s: all locks are free then, and one that is taken twice is "
		       "a deadlock to the kernel", holding[i]);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		out = attempt(&lock, program_of(lock.obj, wrong[i]), 0, 0);
		report(harmless ? out.order.done : was_ended(&out), "%s ends the run", wrong[i]);
	}
	for (size_t i = 0; i < sizeof(beside) / sizeof(*beside); i++) {
		out = attempt_beside(&lock, program_of(lock.obj, beside[i].name), beside[i].offset, 0);
		report(harmless ? out.order.done : was_ended(&out), "%s at %+lld ends the run",
		       beside[i].name, (long long)beside[i].offset);
	}
	/* It is a lock, and of the program's own map, but nobody has lent it. */
	other = attempt(&lock, program_of(lock.obj, "tell_lock"), 0, 0).order.base;
	out = attempt(&lock, program_of(lock.obj, "take_in_hash"), other, 0);
	report(harmless ? out.order.done : was_ended(&out),
	       "a lock in a value that the run has not looked up ends it");
	out = attempt(&lock, program_of(lock.obj, "take_twice"), 0, 0);
	report(out.order.done && out.order.got == (harmless ? 0 : EDEADLK),
	       "a lock that is taken twice by a forged address is a deadlock to the kernel (%lld)",
	       out.order.got);
	report(test_run(use) == 2, "all locks are free after that");
}

int main(int argc, char **argv)
{
	harmless = argc > 2 && !strcmp(argv[2], "harmless");
	pin_to_cpu(0);
	ledger = load_breach(files, "breach_ledger");
	graph = load_breach(files, "breach_graph");
	lock = load_breach(files, "breach_lock");
	report(end_often("hold_lock_of_array_locks", 0) && end_often("hold_lock_of_hash_locks", 0),
	       "a run that holds a spin lock can be ended");
	report(uses("use_lock_of_array_locks") && uses("use_lock_of_hash_locks"),
	       "the locks that ended runs held can be taken again");
	rings();
	sockets();
	sections();
	names();
	objects();
	res_locks();
	return failed ? 1 : 0;
}
