// SPDX-License-Identifier: GPL-2.0
/*
 * Programs of one domain attack the kernel through each other. On CPU 0 runs
 * the prey, which has the kernel read something back that the domain can write
 * (an event's frame, a context, saved registers, arguments) or that it must
 * not write (resume slots, loans, locks). On other CPUs attackers write over
 * that, or guess at it, all the while, under interrupts, NMIs and breakpoints.
 *
 *   attackers [--kinds NAME,NAME] [--seconds N] [--seed N] [--expect win]
 *
 * With `--expect win` the kind's defence is taken out first (`undefended`, in
 * the breach build alone), and the attack has to win: to have the kernel's code
 * run out of turn, to get a word that is not the domain's, or to change one.
 *
 * What an attack does to the prey's own verdict is no matter: programs of one
 * domain trust each other.
 *
 * Needs the breach build with on_violation=abort, and three CPUs: CPU 0 runs
 * the prey, since NMIs from outside come there.
 */
#include "attacks.h"
#include "breakpoint.h"

#include <getopt.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>

static __u64 read_file(const char *name, const char *format, __u64 *second)
{
	FILE *f = fopen(name, "r");
	unsigned long long one = 0, two = 0;

	if (!f || fscanf(f, format, &one, &two) < 1)
		die("%s: %s", name, strerror(errno));
	fclose(f);
	if (second)
		*second = two;
	return one;
}

/* How often the kernel's code ran that nothing leads to. */
static __u64 hijacks(void)
{
	return read_file(PARAMETERS "test_won", "%llu %llx", NULL);
}

static void set_undefended(const char *names)
{
	FILE *f = fopen(PARAMETERS "undefended", "w");

	if (!f || fprintf(f, "%s\n", names) < 0 || fclose(f))
		die("undefended=%s: %s", names, strerror(errno));
}

static void find_span(__u64 address)
{
	FILE *f = fopen(BAILEY "domains", "r");
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		unsigned long long base, size;

		if (sscanf(line, "%*s %*s %*s %*s %*s %llx %llu", &base, &size) == 2 &&
		    address - base < size)
			span_base = base;
	}
	if (f)
		fclose(f);
	if (!span_base)
		die("no domain has %llx", address);
}

/* The frames end where the values of maps begin. */
static __u64 frames_end(void)
{
	FILE *f = fopen(BAILEY "maps", "r");
	__u64 end = span_base + FRAMES;
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		unsigned long long base;

		if (sscanf(line, "%*s %*s %*s %*s %*s %llx", &base) == 1 && base >= span_base &&
		    base < end)
			end = base;
	}
	if (f)
		fclose(f);
	return end;
}

/* A frame's stack is many pages, its landing page lies alone, below the stack. */
static void find_pages(void)
{
	__u64 end = frames_end(), word, last_alone = 0, run = 0;

	pages = calloc(FRAMES / PAGE, sizeof(*pages));
	for (__u64 at = span_base; at <= end; at += PAGE) {
		if (at < end && peek(at, &word)) {
			pages[nr_pages++] = at;
			run++;
			continue;
		}
		if (run == 1)
			last_alone = at - PAGE;
		else if (run && first.slot < at && !landing)
			landing = last_alone;
		run = 0;
	}
	printf("# domain at %llx, %zu pages of its frames are mapped, CPU 0 lands on %llx\n",
	       span_base, nr_pages, landing);
	if (!nr_pages || !landing)
		die("the frames are not where they were thought to be");
}

/*
 * Its epilogue is `leave; ret`, or `leave; jmp` to the return thunk. Enter's
 * call is followed by `test r10, r10` and the jump that it decides on.
 */
static void read_image(int prog)
{
	static unsigned char code[65536];
	__u64 start = 0;
	struct bpf_prog_info info = {
		.jited_prog_insns = (__u64)(long)code,
		.jited_prog_len = sizeof(code),
		.jited_ksyms = (__u64)(long)&start,
		.nr_jited_ksyms = 1,
	};
	__u32 len = sizeof(info);

	if (bpf_prog_get_info_by_fd(prog, &info, &len))
		die("the prey's image: %s", strerror(errno));
	image = start;
	leave = begun = nr_jumps = 0;
	for (__u32 i = 0; i + 8 < info.jited_prog_len && i < sizeof(code) - 8; i++) {
		if (code[i] == 0xc9 && (code[i + 1] == 0xc3 || code[i + 1] == 0xe9))
			leave = image + i;
		if (!begun && code[i] == 0xe8 && !memcmp(code + i + 5, "\x4d\x85\xd2", 3))
			begun = image + i + 8;
		/* A jump out of the image: a call, and what it comes back to. */
		if (code[i] == 0xe9 && nr_jumps < (int)ARRAY_SIZE(back)) {
			__s64 to = *(__s32 *)(code + i + 1);

			if (i + 5 + to < 0 || i + 5 + to >= (__s64)info.jited_prog_len) {
				jumps[nr_jumps] = image + i + 5 + to;
				back[nr_jumps++] = image + i + 5;
			}
		}
	}
	if (!leave || !begun)
		die("the prey's image at %llx has no prologue or no epilogue", image);
}

static int run_of(int prog, unsigned char who)
{
	unsigned char packet[64] = {who};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	while (bpf_prog_test_run_opts(prog, &opts))
		if (errno != EINTR)
			die("a run: %s", strerror(errno));
	return opts.retval;
}

static struct prey run_prey(struct prey prey, int *verdict)
{
	__u32 key = 0;

	if (bpf_map_update_elem(preys, &key, &prey, BPF_ANY))
		die("prey: %s", strerror(errno));
	*verdict = run_of(program_of(b.obj, kind->prey), 0);
	if (bpf_map_lookup_elem(preys, &key, &prey))
		die("prey: %s", strerror(errno));
	return prey;
}

static struct prey new_prey(__u64 rounds)
{
	struct prey prey = {.rounds = rounds, .secret = secret};

	if (kind->prepare)
		kind->prepare(&prey);
	return prey;
}

/* How a run of an attacker ended: whether it came to its end. */
static struct spray fire(int prog, __u32 who, const struct shot *shot)
{
	static __thread struct spray s;

	s = (struct spray){.target = shot->target, .rounds = WRITES,
			   .words_mask = shot->count - 1,
			   .place_mask = shot->pile ? 0 : shot->count - 1};
	memcpy(s.words, shot->words, 8 * shot->count);
	if (bpf_map_update_elem(sprays, &who, &s, BPF_ANY))
		die("spray: %s", strerror(errno));
	run_of(prog, who);
	if (bpf_map_lookup_elem(sprays, &who, &s))
		die("spray: %s", strerror(errno));
	return s;
}

static bool has_won(void)
{
	if (kind->harm)
		__atomic_add_fetch(&wins, kind->harm(), __ATOMIC_RELAXED);
	return __atomic_load_n(&wins, __ATOMIC_RELAXED) || hijacks() != hijacked_before;
}

/*
 * Membarriers interrupt the other CPUs on which this process runs. Not one
 * after another: a host with fewer CPUs has to run the attackers, too. An
 * attack that has to win is over when it has.
 */
static void interrupt_for(double length, bool barriers, bool until_won)
{
	const struct timespec pause = {.tv_nsec = 100000};
	double end = now() + length, look = 0;

	while (now() < end) {
		for (int i = 0; i < 10; i++) {
			nanosleep(&pause, NULL);
			if (barriers)
				syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
		}
		if (until_won && now() > look) {
			if (has_won())
				return;
			look = now() + 0.5;
		}
	}
}

static void *be_prey(void *arg)
{
	(void)arg;
	pin_to_cpu(0);
	while (!stop) {
		struct prey prey;
		int verdict;

		prey = run_prey(new_prey(kind->rounds), &verdict);
		prey_runs++;
		prey_ended += verdict == 0 && !prey.done;
		turns += prey.turns;
		__atomic_add_fetch(&wins, prey.wins, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *attack(void *arg)
{
	__u32 who = (long)arg;
	__u64 random = seed * 1000 + who;
	int prog = program_of(b.obj, kind->attacker ? kind->attacker : "spray");
	static __thread struct shot shot;

	pin_to_cpu(1 + who);
	while (!stop) {
		struct spray s;

		shot = (struct shot){.count = 1};
		kind->aim(&shot, &random);
		if (kind->renew)
			kind->renew(who);
		s = fire(prog, who, &shot);
		__atomic_add_fetch(&attacks, 1, __ATOMIC_RELAXED);
		if (!s.done)
			__atomic_add_fetch(&attacks_ended, 1, __ATOMIC_RELAXED);
		/* Who is sent astray must not come back. One win is enough, and may leave harm. */
		else if (kind->ends_attackers)
			__atomic_add_fetch(&wins, 1, __ATOMIC_RELAXED);
		if (expect_win && kind->ends_attackers && s.done)
			break;
	}
	return NULL;
}

/* A first run, undisturbed but for interrupts, to learn where things are. */
static void learn(void)
{
	pthread_t thread;
	__u64 words[WINDOW / 8] = {};
	int verdict;

	read_image(program_of(b.obj, kind->prey));
	pin_to_cpu(0);
	first = run_prey(new_prey(10), &verdict);
	/* Interrupts for the prey come from the last CPU. */
	pin_to_cpu(cpus - 1);
	if (!first.slot)
		die("%s: the prey does not run (verdict %d)", kind->name, verdict);
	if (!span_base) {
		find_span(first.slot);
		find_pages();
	}
	frame_at = 0;
	if (kind->quiet && !kind->frames)
		return;
	for (int tries = 0; tries < 10 && !frame_at; tries++) {
		stop = false;
		pthread_create(&thread, NULL, be_prey, NULL);
		interrupt_for(0.3, true, false);
		stop = true;
		pthread_join(thread, NULL);
		for (int i = 0; i < WINDOW / 8; i++)
			peek(first.slot - WINDOW + 8 * i, &words[i]);
		for (int i = 2; i + FRAME_WORDS <= WINDOW / 8; i++)
			if (words[i + CS] == KERNEL_CS && words[i + SS] == KERNEL_DS &&
			    (words[i + RSP] & ~15ull) ==
				    first.slot - WINDOW + 8 * (i + FRAME_WORDS)) {
				frame_at = first.slot - WINDOW + 8 * i;
				stack_pointer = words[i + RSP];
				base_pointer = words[i - 2];
			}
	}
	if (!frame_at)
		die("%s: no event left its frame below %llx", kind->name, first.slot);
}

static void run_kind(void)
{
	pthread_t prey, threads[MAX_SPRAYS];
	int breakpoints[4], nr = 0;
	__u64 hijacked, landings, events, hit = 0, harm, low, high;

	hijacked_before = hijacks();
	learn();
	if (kind->harm)
		kind->harm();
	prey_runs = prey_ended = turns = attacks = attacks_ended = wins = 0;
	landings = counter("event_landings");
	events = counter("events");
	if (kind->breakpoints) {
		breakpoints[nr++] = breakpoint(0, symbols[HELPER_Z].address, HW_BREAKPOINT_X);
		breakpoints[nr++] = breakpoint(0, symbols[EXIT_Z].address, HW_BREAKPOINT_X);
		breakpoints[nr++] = breakpoint(0, first.self + offsetof(struct prey, turns),
					       HW_BREAKPOINT_W);
		/* Behind the last call, which is the exit: behind the one before. */
		breakpoints[nr++] = breakpoint(0, back[nr_jumps > 1 ? nr_jumps - 2 : 0],
					       HW_BREAKPOINT_X);
	}
	/* Every domain can read the IDT, whose first gate leads to the first stub. */
	if (!peek(IDT, &low) || !peek(IDT + 8, &high))
		die("the IDT cannot be read");
	event_stub = (low & 0xffff) | low >> 48 << 16 | high << 32;
	if (expect_win)
		set_undefended(kind->defence ? kind->defence : kind->name);
	stop = false;
	pthread_create(&prey, NULL, be_prey, NULL);
	for (long i = 0; i < attackers; i++)
		pthread_create(&threads[i], NULL, attack, (void *)i);
	interrupt_for(seconds, !kind->quiet, expect_win);
	stop = true;
	pthread_join(prey, NULL);
	for (int i = 0; i < attackers; i++)
		pthread_join(threads[i], NULL);
	if (expect_win)
		set_undefended("");
	for (int i = 0; i < nr; i++) {
		hit += hits(breakpoints[i]);
		close(breakpoints[i]);
	}
	harm = kind->harm ? kind->harm() : 0;
	hijacked = hijacks() - hijacked_before;
	wins += hijacked + harm;
	printf("# %s: %llu attacks (%llu ended), prey: %llu runs (%llu ended), %llu turns; "
	       "%llu events, %llu landings, %llu breakpoints; %llu wins (%llu of them hijacks)\n",
	       kind->name, attacks, attacks_ended, prey_runs, prey_ended, turns,
	       counter("events") - events, counter("event_landings") - landings, hit, wins,
	       hijacked);
	if (expect_win) {
		report(wins, "without its defence %s (%llu wins)", kind->otherwise, wins);
		return;
	}
	report(!wins, "%s (%llu attacks, %llu wins)", kind->says, attacks, wins);
	if (kind->frames)
		frames_seen += prey_ended;
	report(attacks > 10 && prey_runs > 0 && (!kind->breakpoints || hit > 100),
	       "%s: the attackers wrote, the prey ran", kind->name);
}

/* Return addresses, on the prey's own stack, word by word and page by page. */
static void return_addresses(void)
{
	int good = 0, tried = 0, verdict, spray = program_of(b.obj, "spray");
	static struct shot shot;
	struct prey prey = {.rounds = 1000};

	kind = &kinds[0];
	for (int i = 0; i < PREY_WORDS; i++)
		prey.words[i] = symbols[i & 1 ? PANIC : WON].address;
	for (__s64 offset = -1024; offset <= 1024; offset += 8) {
		prey.offset = offset;
		run_prey(prey, &verdict);
		tried++;
		good += verdict == 0 || verdict == 2;
	}
	report(good == tried && !hijacks(),
	       "return addresses around the stack's end steer nothing (%d of %d runs end with a "
	       "verdict)", good, tried);

	shot.count = SPRAY_WORDS;
	for (int i = 0; i < SPRAY_WORDS; i++)
		shot.words[i] = symbols[WON].address;
	good = tried = 0;
	for (size_t i = 0; i < nr_pages; i++) {
		shot.target = pages[i];
		fire(spray, 0, &shot);
		tried++;
		good += test_run(program_of(b.obj, "probe")) != 1;
	}
	report(good == tried && !hijacks(),
	       "return addresses on every page of the frames steer nothing (%d pages)", tried);
}

/* What is not the attackers': another domain's value, a kernel string, a user page. */
static void find_targets(void)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	struct bpf_object *obj = load(".", "breach_oracle");
	struct kcore kcore = open_kcore();
	struct addresses told;
	__u32 key = 0;

	if (bpf_prog_test_run_opts(program_of(obj, "oracle"), &opts) || opts.retval ||
	    bpf_map_lookup_elem(map_of(obj, "told"), &key, &told))
		die("the oracle: %s", strerror(errno));
	victim = told.victim;
	victim_map = map_of(obj, "victim");
	find_symbols(symbols, SYMBOLS, "bailey", NULL);
	secret = read_kernel(&kcore, symbols[BANNER].address);
	read_file(PARAMETERS "test_won", "%llu %llx", &slots);
	user_page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (user_page == MAP_FAILED || mlock(user_page, PAGE))
		die("a user page: %s", strerror(errno));
	memset(user_page, 'U', PAGE);
}

/* The option behind the header that `answerer` has the kernel read. */
static void lay_edge(void)
{
	static unsigned char edge[EDGE_BYTES];
	__u32 key = 0;

	memset(edge, 'A', sizeof(edge));
	memcpy(edge + HEADER_AT + 20, "\x02\x04\x12\x34", 4);
	if (bpf_map_update_elem(map_of(b.obj, "edges"), &key, edge, BPF_ANY))
		die("edges: %s", strerror(errno));
}

static bool chosen(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = list; at && (at = strstr(at, name)); at++)
		if ((at == list || at[-1] == ',') && (at[len] == ',' || !at[len]))
			return true;
	return !list;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"kinds", required_argument, NULL, 'k'},
		{"seconds", required_argument, NULL, 's'},
		{"seed", required_argument, NULL, 'r'},
		{"expect", required_argument, NULL, 'e'},
		{},
	};
	char since_load[64] = "";
	const char *list = NULL;
	int c, n = 0;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'k')
			list = optarg;
		else if (c == 's')
			seconds = atoi(optarg);
		else if (c == 'r')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 'e' && !strcmp(optarg, "win"))
			expect_win = true;
		else
			die("attackers [--kinds NAME,NAME] [--seconds N] [--seed N] "
			    "[--expect win]");
	}
	cpus = libbpf_num_possible_cpus();
	attackers = cpus - 2 > MAX_SPRAYS ? MAX_SPRAYS : cpus - 2;
	if (attackers < 1)
		die("attackers: three CPUs at least");
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
		die("membarrier: %s", strerror(errno));
	printf("# seed %llu, %d attackers\n", seed, attackers);
	find_targets();
	/* A domain has its key's rights, and its pages theirs, from its first load on. */
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].since_load && chosen(list, kinds[i].name)) {
			strcat(since_load, kinds[i].name);
			strcat(since_load, ",");
		}
	if (expect_win)
		set_undefended(since_load);
	b = load_breach(".", "breach_attack");
	sprays = map_of(b.obj, "sprays");
	preys = map_of(b.obj, "preys");
	if (expect_win)
		set_undefended("");
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!chosen(list, kinds[i].name) || (expect_win && !kinds[i].otherwise))
			continue;
		kind = &kinds[i];
		lay_edge();
		run_kind();
		n++;
	}
	if (!n)
		die("attackers: no kind of %s", list);
	if (!expect_win) {
		int verdict;

		if (!list)
			report(frames_seen, "forged frames were seen (%llu runs ended)",
			       frames_seen);
		return_addresses();
		kind = &kinds[0];
		run_prey((struct prey){.rounds = 1000}, &verdict);
		report(verdict == 2, "after the attacks the program runs as before");
	}
	return failed ? 1 : 0;
}
