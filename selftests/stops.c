// SPDX-License-Identifier: GPL-2.0
/*
 * Events in the stubs of events, instruction by instruction: a program runs, an NMI,
 * machine check or breakpoint (#DB) comes in it, in a gate or on the way in, and so
 * many instructions later, in its stub, another. The host sends them
 * (qemu/stops.py). Each handler is to be called once for each event, and the run to
 * go on.
 *
 *   stops [--stride N] [--tries N] [--seed N]
 *
 * At chosen places, behind every N-th instruction (1) of a stub; then so many
 * times (20) anywhere.
 *
 *   stops --control
 *
 * The same with a defence left out: an NMI, a #MC is lost, a run ends. And an NMI in
 * the stub of the clock's interrupt, without `recover`: the CPU is deaf to it.
 *
 * Prints KTAP lines without numbers.
 */
#include "breakpoint.h"
#include "kernel_memory.h"
#include "port.h"
#include "report.h"

#include <getopt.h>
#include <poll.h>
#include <sys/syscall.h>

#define PARAMETERS "/sys/module/bailey/parameters/"
#define STUB 64 /* bytes of an event's stub */
#define MOST_STEPS 120

enum { DB = 1, NMI = 2, MC = 18 };
enum { ENTRY, NOTED, LANDED, REPLAY, IRET, HELPER, HELPER_Z, EXIT, EXIT_Z, SYMBOLS };

static struct symbol symbols[SYMBOLS] = {
	[ENTRY] = {.name = "bailey_event_entry"},
	[NOTED] = {.name = "bailey_event_noted"},
	[LANDED] = {.name = "bailey_landed"},
	[REPLAY] = {.name = "bailey_replay"},
	[IRET] = {.name = "bailey_iret_out"},
	[HELPER] = {.name = "bailey_helper_gate"},
	[HELPER_Z] = {.name = "bailey_helper_z"},
	[EXIT] = {.name = "bailey_exit_gate"},
	[EXIT_Z] = {.name = "bailey_exit_z"},
};

static int port, prog, stride = 1;
static __u64 seed = 1;
static __u64 nmi_push, runs;

/* CPU 0's count in a row of /proc/interrupts. */
static __u64 interrupts(const char *row)
{
	FILE *f = fopen("/proc/interrupts", "r");
	__u64 count = 0;
	char line[512];

	if (!f)
		die("/proc/interrupts: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		char *at = line + strspn(line, " ");

		if (!strncmp(at, row, strlen(row)))
			count = strtoull(at + strlen(row), NULL, 10);
	}
	fclose(f);
	return count;
}

static __u64 violations(void)
{
	FILE *f = fopen(BAILEY "violations_total", "r");
	__u64 count = 0;
	char line[256];

	if (!f)
		die("violations_total: %s", strerror(errno));
	while (fgets(line, sizeof(line), f))
		if (strrchr(line, ' '))
			count = strtoull(strrchr(line, ' '), NULL, 10);
		else
			count = strtoull(line, NULL, 10);
	fclose(f);
	return count;
}

/* One run of the program; whether it ended as it should. */
static bool run(void)
{
	static const unsigned char packet[64];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	if (bpf_prog_test_run_opts(prog, &opts))
		die("a run: %s", strerror(errno));
	runs++;
	return opts.retval == 2;
}

static void listen_to(char *answer, size_t size)
{
	size_t len = 0;

	while (len + 1 < size && (!len || answer[len - 1] != '\n'))
		if (read(port, answer + len, 1) == 1)
			len++;
	answer[len ? len - 1 : 0] = 0;
}

static bool answered(void)
{
	struct pollfd p = {.fd = port, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void ask(const char *order)
{
	if (write(port, order, strlen(order)) != (ssize_t)strlen(order))
		die("the port: %s", strerror(errno));
}

/* Does as ordered while the program runs; false if a run went wrong. */
static bool carry_out(const char *order, char *answer, size_t size)
{
	bool good = true;

	ask(order);
	listen_to(answer, size);
	if (!strcmp(answer, "armed")) {
		do
			good &= run();
		while (!answered());
		listen_to(answer, size);
	}
	good &= run();
	return good;
}

static __u64 stub(int vector)
{
	return (nmi_push & ~(__u64)(STUB - 1)) + (vector - NMI) * STUB;
}

static bool in_stub(__u64 pc)
{
	__u64 first = stub(0), end = symbols[NOTED].address + 0x80;

	return (pc >= first && pc < first + 256 * STUB) ||
	       (pc >= symbols[ENTRY].address && pc < end);
}

static const char *name_of(int vector)
{
	return vector == DB ? "#DB" : vector == NMI ? "NMI" : "#MC";
}

static const char *word_of(int vector)
{
	return vector == NMI ? "nmi" : "mc";
}

/*
 * `first` comes `depth` instructions behind a label, or is a breakpoint there;
 * `second` comes `steps` instructions later. A breakpoint (fd `trap`) may stand in
 * the stub of one of them, and `third` comes so many steps later than that.
 */
struct try {
	int label, depth, first, steps, second, third, third_steps;
};

/* What has gone wrong in all tries, and where the last event was sent. */
static struct {
	__u64 tries, late, wrong, lost_nmis, lost_mcs, lost_dbs, more, ended;
} sum;

/* False when the second event would come behind the stub of the first. */
static bool one_try(const struct try *t)
{
	int vectors[] = {t->first, t->second, t->third}, trap = -1;
	__u64 nmis = interrupts("NMI:"), mcs = interrupts("MCE:"), ended = violations();
	__u64 want_nmis = 0, want_mcs = 0, pc = 0;
	char order[256], answer[256], *word, *rest;
	int len, wanted = 0;
	bool good, over;

	if (t->first == DB) {
		trap = breakpoint(0, symbols[t->label].address, HW_BREAKPOINT_X);
		len = snprintf(order, sizeof(order), "break %llx", stub(DB));
	} else {
		len = snprintf(order, sizeof(order), "break %llx step %d %s break %llx",
			       symbols[t->label].address, t->depth, word_of(t->first),
			       stub(t->first));
	}
	len += snprintf(order + len, sizeof(order) - len, " step %d", t->steps);
	if (t->second != DB) {
		len += snprintf(order + len, sizeof(order) - len, " %s", word_of(t->second));
	} else {
		/* In its own stub, where confined CPUs alone come. */
		trap = breakpoint(0, nmi_push - stub(NMI) + stub(t->first), HW_BREAKPOINT_X);
		wanted = 1;
		if (t->third)
			len += snprintf(order + len, sizeof(order) - len,
					" break %llx step %d %s", stub(DB), t->third_steps,
					word_of(t->third));
	}
	snprintf(order + len, sizeof(order) - len, "\n");
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		want_nmis += vectors[i] == NMI;
		want_mcs += vectors[i] == MC;
	}
	runs = 0;
	good = carry_out(order, answer, sizeof(answer));
	sum.tries++;
	if (strstr(answer, "late")) {
		sum.late++;
		printf("# late: %s# %s\n", order, answer);
	}
	for (word = strtok_r(answer, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		if (strtoull(word, NULL, 16) > 0xffff)
			pc = strtoull(word, NULL, 16);
	nmis = interrupts("NMI:") - nmis;
	mcs = interrupts("MCE:") - mcs;
	ended = violations() - ended;
	sum.wrong += !good;
	sum.lost_nmis += nmis < want_nmis;
	sum.lost_mcs += mcs < want_mcs;
	sum.more += nmis > want_nmis || mcs > want_mcs;
	sum.ended += ended;
	over = !in_stub(pc);
	if (trap >= 0) {
		__u64 met = hits(trap);

		/* At a label that every run passes, and again when it runs twice. */
		if (t->first == DB)
			sum.lost_dbs += met < runs;
		else if (wanted)
			sum.lost_dbs += met < 1;
		if (t->first == DB ? met < runs : wanted && met < 1)
			printf("# %llu #DB of %llu runs\n", met, runs);
		close(trap);
	}
	if (!good || ended || nmis != want_nmis || mcs != want_mcs) {
		printf("# at %llx: %s, %llu of %llu NMIs, %llu of %llu #MCs, %llu violations; %s",
		       pc, good ? "good" : "wrong", nmis, want_nmis, mcs, want_mcs, ended, order);
		fflush(stdout);
	}
	return !over;
}

static void begin(void)
{
	memset(&sum, 0, sizeof(sum));
}

static void judge(const char *what)
{
	report(sum.tries > 3 && !sum.late && !sum.wrong && !sum.lost_nmis && !sum.lost_mcs &&
	       !sum.lost_dbs && !sum.more && !sum.ended,
	       "%s: %llu times, %llu NMIs, %llu #MCs and %llu #DBs lost, %llu too many, "
	       "%llu verdicts wrong, %llu runs ended",
	       what, sum.tries, sum.lost_nmis, sum.lost_mcs, sum.lost_dbs, sum.more, sum.wrong,
	       sum.ended);
}

/* Each seed begins elsewhere, so that some of them meet all instructions. */
static int offset(void)
{
	return next_random(&seed) % stride;
}

/* The second event at each instruction of the first one's stub. */
static void sweep(struct try t, const char *where)
{
	char what[128];

	begin();
	for (t.steps = offset(); t.steps < MOST_STEPS; t.steps += stride)
		if (!one_try(&t))
			break;
	snprintf(what, sizeof(what), "%s in the stub of %s, %s", name_of(t.second),
		 name_of(t.first), where);
	judge(what);
}

static const struct {
	int label, depth;
	const char *where;
} places[] = {
	{REPLAY, 45, "in the program"},
	{REPLAY, 12, "on the way in, with the kernel's key"},
	{HELPER, 0, "in the helper gate, confined"},
	{HELPER_Z, 0, "in the helper gate behind its key"},
	{HELPER_Z, 1, "in the helper gate behind its phase"},
	{EXIT_Z, 0, "in the exit gate behind its key"},
	{EXIT_Z, 4, "in the exit gate behind its phase"},
};

static void sweeps(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		struct try t = {.label = places[i].label, .depth = places[i].depth};

		t.first = NMI, t.second = MC;
		sweep(t, places[i].where);
		t.first = MC, t.second = NMI;
		sweep(t, places[i].where);
	}
	/* A label that may run twice, with the kernel's key and confined. */
	sweep((struct try){.label = EXIT_Z, .first = DB, .second = NMI},
	      "in the exit gate behind its key");
	sweep((struct try){.label = EXIT_Z, .first = DB, .second = MC},
	      "in the exit gate behind its key");
	sweep((struct try){.label = EXIT, .first = DB, .second = NMI},
	      "in the exit gate, confined");
	sweep((struct try){.label = EXIT, .first = DB, .second = MC},
	      "in the exit gate, confined");
}

/* Three, each in the stub of the one before. */
static void three(void)
{
	for (int i = 0; i < 2; i++) {
		struct try t = {.first = i ? MC : NMI, .second = DB, .third = i ? NMI : MC};

		begin();
		for (size_t place = 0; place < ARRAY_SIZE(places); place++) {
			t.label = places[place].label;
			t.depth = places[place].depth;
			for (t.third_steps = offset(); t.third_steps < MOST_STEPS; t.third_steps += 3 * stride)
				if (!one_try(&t))
					break;
		}
		judge(i ? "NMI in the stub of #DB in that of #MC" :
			  "#MC in the stub of #DB in that of NMI");
	}
}

static void anywhere(int tries)
{
	static const int labels[] = {REPLAY, HELPER, HELPER_Z, EXIT, EXIT_Z};

	begin();
	while (tries--) {
		struct try t = {.label = labels[next_random(&seed) % ARRAY_SIZE(labels)]};

		t.depth = next_random(&seed) % 60;
		t.first = next_random(&seed) % 2 ? NMI : MC;
		t.second = t.first == NMI ? MC : NMI;
		t.steps = next_random(&seed) % 60;
		one_try(&t);
	}
	judge("NMI and #MC, one in the stub of the other, anywhere");
}

static void set_undefended(const char *names)
{
	FILE *f = fopen(PARAMETERS "undefended", "w");

	if (!f || fprintf(f, "%s\n", names) < 0 || fclose(f))
		die("undefended: %s", strerror(errno));
}

/* An NMI in the program, with all defences; how many #MCs' handlers ran then. */
static __u64 found_later(void)
{
	char order[64], answer[256];
	__u64 mcs = interrupts("MCE:");

	set_undefended("");
	snprintf(order, sizeof(order), "break %llx step 45 nmi\n", symbols[REPLAY].address);
	carry_out(order, answer, sizeof(answer));
	return interrupts("MCE:") - mcs;
}

static void control(void)
{
	struct try t = {.label = HELPER_Z, .depth = 1, .steps = 4};
	__u64 found;

	begin();
	set_undefended("nesting");
	t.first = NMI, t.second = MC;
	one_try(&t);
	report(sum.lost_nmis == 1, "control: an NMI is lost in whose stub a #MC comes");
	begin();
	t.first = MC, t.second = NMI;
	one_try(&t);
	report(sum.lost_mcs == 1, "control: a #MC is lost in whose stub an NMI comes");
	found = found_later();
	report(found == 1, "the next NMI finds a #MC that was lost, as the CPU says that it has one");
	begin();
	set_undefended("nesting");
	t.label = REPLAY, t.depth = 45;
	one_try(&t);
	report(sum.ended == 1, "control: a run ends in which a #MC comes, and in its stub an NMI");
	found = found_later();
	report(found == (sum.lost_mcs ? 1 : 0), "what was lost then is found, too");
}

/* An NMI in the stub of an interrupt; whether the clock ticks after that. */
static bool hears(const char *undefended)
{
	double start = now();
	char order[64], answer[256];
	__u64 before = 0, ticks = 0;

	set_undefended(undefended);
	snprintf(order, sizeof(order), "break %llx step 2 nmi storm 8\n", symbols[ENTRY].address);
	ask(order);
	listen_to(answer, sizeof(answer));
	if (strcmp(answer, "armed"))
		die("the host: %s", answer);
	start = now();
	while (now() < start + 6) {
		run();
		if (!before && now() > start + 3)
			before = interrupts("LOC:");
	}
	ticks = interrupts("LOC:") - before;
	set_undefended("");
	/* Who is deaf hears again when an NMI comes in the program. */
	while (!answered())
		run();
	listen_to(answer, sizeof(answer));
	printf("# %llu ticks in three seconds; %s\n", ticks, answer);
	return ticks > 30;
}

int main(int argc, char **argv)
{
	bool controls = false;
	static const struct option options[] = {
		{"stride", required_argument, NULL, 'n'},
		{"tries", required_argument, NULL, 't'},
		{"seed", required_argument, NULL, 'r'},
		{"control", no_argument, NULL, 'c'},
		{},
	};
	struct bpf_object *obj;
	int tries = 20;
	FILE *f;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'n')
			stride = atoi(optarg);
		else if (c == 't')
			tries = atoi(optarg);
		else if (c == 'c')
			controls = true;
		else if (c == 'r')
			seed = strtoull(optarg, NULL, 0);
		else
			die("stops [--stride N] [--tries N] [--seed N] [--control]");
	}
	port = open_port("bailey.stops");
	f = fopen(PARAMETERS "test_nmi_stub", "r");
	if (!f || fscanf(f, "%llu", &nmi_push) != 1)
		die("test_nmi_stub: %s", strerror(errno));
	fclose(f);
	find_symbols(symbols, SYMBOLS, "bailey", NULL);
	obj = bpf_object__open_file("load.bpf.o", NULL);
	if (!obj || bpf_object__load(obj))
		die("load.bpf.o: %s", strerror(errno));
	prog = bpf_program__fd(bpf_object__find_program_by_name(obj, "busy"));
	if (prog < 0)
		die("no program busy");
	if (controls) {
		control();
		prog = bpf_program__fd(bpf_object__find_program_by_name(obj, "slow"));
		report(hears(""), "an NMI in the stub of an interrupt leaves the clock heard");
		report(!hears("recover"),
		       "control: a CPU is deaf after an NMI in the stub of an interrupt");
		return failed ? 1 : 0;
	}
	printf("# seed %llu\n", seed);
	sweeps();
	three();
	anywhere(tries);
	return failed ? 1 : 0;
}
