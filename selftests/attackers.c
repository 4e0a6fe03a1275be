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
#include "breach_run.h"
#include "breakpoint.h"
#include "kernel_memory.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define PAGE 4096ull
#define PARAMETERS "/sys/module/bailey/parameters/"
/* How far from a domain's start frames may lie, and the probes go. */
#define FRAMES (4ull << 20)
/* A stack of landings is so long; the frame of a #DB lies at the third's end. */
#define LANDING 1024
enum { ON_NMI = 2 * LANDING - 40, ON_DB = 3 * LANDING - 40 };
/* Below the prey's last stack word, where an interrupt's frame comes to lie. */
#define WINDOW 512
/* In the values of `edges`: a header for the kernel to read. */
#define HEADER_AT 64
/* How many words one run of an attacker writes. */
#define WRITES 100000

/* An event's frame: RIP, CS, flags, RSP, SS. */
enum { RIP, CS, FLAGS, RSP, SS, FRAME_WORDS };
#define KERNEL_CS 0x10
#define KERNEL_DS 0x18
#define USER_CS 0x33
#define USER_DS 0x2b
#define IF 0x200
#define AC 0x40000

/* The first page of the CPU entry area (arch/x86/include/asm/cpu_entry_area.h). */
#define IDT 0xfffffe0000000000ull

/* A resume slot, as helpers/layout.h has it: the first in use is the second. */
#define SLOT 0x80
#define SLOT_RIP 0x38

enum {
	WON, PANIC, BANNER, HELPER_Z, EXIT_Z, ENTER, EXIT_GATE, HELPER_GATE, HELPER_W, TAIL,
	IRET_OUT, EVENT_ENTRY, SYMBOLS
};
static struct symbol symbols[] = {
	[WON] = {"bailey_won", 0},	   [PANIC] = {"panic", 0},
	[BANNER] = {"linux_banner", 0},	   [HELPER_Z] = {"bailey_helper_z", 0},
	[EXIT_Z] = {"bailey_exit_z", 0},   [ENTER] = {"bailey_enter", 0},
	[EXIT_GATE] = {"bailey_exit_gate", 0}, [HELPER_GATE] = {"bailey_helper_gate", 0},
	[HELPER_W] = {"bailey_helper_w", 0}, [TAIL] = {"bailey_tail", 0},
	[IRET_OUT] = {"bailey_iret_out", 0}, [EVENT_ENTRY] = {"bailey_event_entry", 0},
};

static struct breach b;
static int sprays, preys;
static __u64 seed = 1;
static bool expect_win;
static int seconds = 10;
static int cpus, attackers;

static __u64 *pages, landing, span_base;
static size_t nr_pages;

/* Of the program that is the prey now. */
static __u64 image, leave, begun, frame_at, stack_pointer, base_pointer;
/* Jumps out of the image: where they lead, and what comes behind them. */
static __u64 jumps[16], back[16];
static int nr_jumps;
static struct prey first;

static int victim_map;
static __u64 victim, secret, slots, event_stub;
static char *user_page;

/* So many words, a power of two, from a place on, or one after another at one place. */
struct shot {
	__u64 target, count;
	bool pile;
	__u64 words[SPRAY_WORDS];
};

/* What is attacked, and how. */
struct kind {
	const char *name, *says;
	/* What is true without its defence; nothing where there is no control. */
	const char *otherwise;
	/* What is taken out for `--expect win`; what has the kind's name if nothing is named. */
	const char *defence;
	const char *prey;
	__u64 rounds;
	/* What the attackers run; `spray` if nothing is named. */
	const char *attacker;
	void (*prepare)(struct prey *prey);
	void (*aim)(struct shot *shot, __u64 *random);
	/* What an attacker needs anew for each attack. */
	void (*renew)(__u32 who);
	/* Breakpoints on CPU 0, at labels of the gates and at the prey's turns. */
	bool breakpoints;
	/* Interrupts are no part of it, but CPU 0 has its clock and NMIs. */
	bool quiet;
	/* It forges frames, of which some must be seen to be. */
	bool frames;
	/* The attack ends runs of the attackers themselves, not of the prey. */
	bool ends_attackers;
	/* The domain's memory has the defence from its load on. */
	bool since_load;
	__u64 (*harm)(void);
};

static const struct kind *kind;
static volatile bool stop;
static __u64 prey_runs, prey_ended, turns, attacks, attacks_ended, wins, hijacked_before;
static __u64 frames_seen;

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

static bool peek(__u64 address, __u64 *word)
{
	struct outcome out = attempt(&b, program_of(b.obj, "probe"), address, 0);

	*word = out.order.got;
	return out.order.done;
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

/* The attacks. */

static void one_word(struct shot *shot, __u64 target, __u64 word)
{
	shot->target = target;
	shot->words[0] = word;
}

/* Where the kernel may be led: code of its own that this would have run. */
static __u64 code(__u64 *random)
{
	switch (expect_win ? 0 : next_random(random) % 5) {
	case 0:
	case 1: return symbols[WON].address;
	case 2: return leave;
	case 3: return image + next_random(random) % 64;
	default: return symbols[PANIC].address;
	}
}

/* The whole frame over and over, no matter where it is. */
static void forge(struct shot *shot, __u64 *random, __u64 rip)
{
	const __u64 frame[] = {rip, KERNEL_CS, IF | 2,
			       first.slot - 8 * (next_random(random) % 12), KERNEL_DS};
	int turn = next_random(random) % FRAME_WORDS;

	if (next_random(random) % 2) {
		shot->target = pages[next_random(random) % nr_pages];
		shot->count = SPRAY_WORDS;
	} else {
		shot->target = first.slot - WINDOW;
		shot->count = WINDOW / 8;
	}
	for (__u64 i = 0; i < shot->count; i++)
		shot->words[i] = frame[(i + turn) % FRAME_WORDS];
}

static void aim_at_rip(struct shot *shot, __u64 *random)
{
	__u64 rip = code(random);

	switch (next_random(random) % 4) {
	case 0:
		if (!expect_win) {
			forge(shot, random, rip);
			break;
		}
		/* fallthrough */
	case 1:
		one_word(shot, landing + (next_random(random) % 2 ? ON_NMI : ON_DB), rip);
		break;
	default: one_word(shot, frame_at, rip);
	}
}

/* The frame of an event that came while the kernel's key was held. */
static void aim_at_landing(struct shot *shot, __u64 *random)
{
	one_word(shot, landing + (next_random(random) % 8 || expect_win ? ON_DB : ON_NMI),
		 code(random));
	if (next_random(random) % 2) {
		shot->words[CS] = KERNEL_CS;
		shot->words[FLAGS] = 2;
		shot->words[RSP] = first.slot;
		shot->words[SS] = KERNEL_DS;
		shot->count = 8;
	}
}

/*
 * Into gates and stubs, whose code a frame may name: at their labels, behind
 * them, and at the stubs that the program jumps to.
 */
static void aim_at_gates(struct shot *shot, __u64 *random)
{
	__u64 to = symbols[HELPER_Z + next_random(random) % (SYMBOLS - HELPER_Z)].address;

	if (!nr_jumps)
		die("%s: its prey calls nothing", kind->name);
	if (next_random(random) % 3 == 0)
		to = symbols[HELPER_GATE].address;
	else if (next_random(random) % 3 == 0)
		to = jumps[next_random(random) % nr_jumps];
	if (next_random(random) % 3 == 0)
		to += next_random(random) % 64;
	switch (next_random(random) % 4) {
	case 0: one_word(shot, landing + ON_NMI, to); break;
	case 1: one_word(shot, landing + ON_DB, to); break;
	default: one_word(shot, frame_at, to);
	}
}

static void want_sizes(struct prey *prey)
{
	prey->offset = 128 * (prey_runs % 12) + 120;
}

/* The jump behind enter's call: with ZF clear it leads to the epilogue. */
static void aim_at_begin(struct shot *shot, __u64 *random)
{
	shot->target = next_random(random) % 3 ? frame_at : landing + ON_NMI;
	shot->words[RIP] = begun;
	shot->words[CS] = KERNEL_CS;
	shot->words[FLAGS] = IF | 2;
	shot->count = 4;
	shot->words[RSP] = first.slot;
}

/* A return address, and what its function would take: the kernel's key. */
static void lay_returns(struct prey *prey)
{
	for (int i = 1; i < PREY_WORDS; i++)
		prey->words[i] = symbols[WON].address;
}

static void aim_at_flags(struct shot *shot, __u64 *random)
{
	one_word(shot, 8 * FLAGS + (next_random(random) % 8 ? frame_at : landing + ON_NMI),
		 AC | IF | 2);
}

static void want_user_page(struct prey *prey)
{
	prey->target = (__u64)(long)user_page;
	prey->secret = *(__u64 *)user_page;
}

/* What user mode has, with all else as it may be. */
static void aim_at_selectors(struct shot *shot, __u64 *random)
{
	const __u64 frame[] = {begun, USER_CS, IF | 2, stack_pointer, USER_DS};

	shot->target = next_random(random) % 8 ? frame_at : landing + ON_NMI;
	shot->count = 8;
	memcpy(shot->words, frame, sizeof(frame));
}

/* User mode's events need the kernel's stack, which is closed: a double fault. */
static __u64 lost_stacks(void)
{
	FILE *f = fopen(BAILEY "violations", "r");
	char line[512];
	__u64 n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += strstr(line, " stack ") != NULL;
	if (f)
		fclose(f);
	return n;
}

/*
 * The frame of a #DB says that it interrupted an event's stub, on a stack that
 * is another domain's memory: what the stub had pushed there, rbp and rax, would
 * be the program's registers, if what is above them can be a frame.
 */
enum { FORGED = 8, FORGED_TOP = 64, STUB_PUSHED = 26 };

static void lay_frame(struct prey *prey)
{
	__u64 words[VICTIM_WORDS] = {}, *at = words + FORGED / 8;
	__u32 key = 0;

	if (!nr_jumps)
		die("%s: its prey calls nothing", kind->name);
	at[0] = base_pointer;
	at[1] = prey->secret = 0x5ec2e75ec2e7;
	at[2] = back[prey_runs % nr_jumps];
	at[3] = KERNEL_CS;
	at[4] = IF | 2;
	at[5] = victim + FORGED_TOP;
	at[6] = KERNEL_DS;
	if (bpf_map_update_elem(victim_map, &key, words, BPF_ANY))
		die("victim: %s", strerror(errno));
}

static void aim_at_rsp(struct shot *shot, __u64 *random)
{
	const __u64 frame[] = {event_stub + STUB_PUSHED, KERNEL_CS, IF | 2, victim + FORGED,
			       KERNEL_DS};

	shot->target = landing + (next_random(random) % 8 ? ON_DB : ON_NMI);
	shot->count = 8;
	memcpy(shot->words, frame, sizeof(frame));
}

static void aim_at_slots(struct shot *shot, __u64 *random)
{
	one_word(shot, slots + SLOT + (next_random(random) % 2 ? 0 : SLOT_RIP),
		 symbols[WON].address);
}

/* A context that says that the packet is the kernel's. */
static void aim_at_shadow(struct shot *shot, __u64 *random)
{
	(void)random;
	one_word(shot, first.context, symbols[BANNER].address);
	shot->words[1] = symbols[BANNER].address + 64;
	shot->count = 2;
}

/* The loans of the run on CPU 0, a string of the kernel, another domain's value. */
static void aim_at_loans(struct shot *shot, __u64 *random)
{
	const __u64 targets[] = {first.base, first.base + next_random(random) % 256,
				 symbols[BANNER].address, victim + next_random(random) % PAGE};

	one_word(shot, targets[next_random(random) % ARRAY_SIZE(targets)], 0);
}

static void aim_at_ledger(struct shot *shot, __u64 *random)
{
	one_word(shot, victim + (next_random(random) % PAGE & ~3ull), 0);
}

/* A lock that nobody holds, since to give back another leaves one's own behind. */
static void new_lock(__u32 who)
{
	const __u64 value[2] = {};

	if (bpf_map_update_elem(map_of(b.obj, "locks"), &who, value, BPF_ANY))
		die("locks: %s", strerror(errno));
}

/* How many of the victim's words are not what they were; and they are again. */
static __u64 victim_harm(void)
{
	__u64 words[VICTIM_WORDS], harm = 0;

	read_victim(victim_map, words);
	for (int i = 0; i < VICTIM_WORDS; i++)
		harm += words[i] != 0x4141414141414141;
	fill_victim(victim_map, 0x4141414141414141);
	return harm;
}

/*
 * What the stub of a page fault pushes first is rax, below the frame and its
 * error code: now the address that is lent, now one of the kernel's.
 */
static void aim_at_registers(struct shot *shot, __u64 *random)
{
	int share = 1 + next_random(random) % 7;

	shot->target = frame_at - 16;
	shot->pile = true;
	shot->count = 8;
	for (int i = 0; i < 8; i++)
		shot->words[i] = i < share ? first.base : symbols[BANNER].address;
}

/* Two words for one place, the first so many times, the second so many. */
static void alternate(struct shot *shot, __u64 *random, __u64 target, const char *one,
		      const char *other)
{
	shot->target = target;
	shot->pile = true;
	shot->count = 2ull << next_random(random) % 6;
	for (__u64 i = 0; i < shot->count; i++)
		memcpy(&shot->words[i], i < shot->count / 2 ? one : other, 8);
}

static void want_print(struct prey *prey)
{
	memcpy(prey->bytes, "A%d\n\0\0\0", 8);
	prey->target = symbols[BANNER].address;
	prey->secret = ~0ull;
}

static void aim_at_format(struct shot *shot, __u64 *random)
{
	alternate(shot, random, first.self + offsetof(struct prey, bytes), "A%d\n\0\0\0",
		  "A%s\n\0\0\0");
}

/* How often the trace shows the kernel's string. */
static __u64 printed(void)
{
	FILE *f = fopen("/sys/kernel/tracing/trace", "r");
	char line[1024];
	__u64 n = 0;

	if (!f)
		die("the trace: %s", strerror(errno));
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "ALinux version") != NULL;
	fclose(f);
	f = fopen("/sys/kernel/tracing/trace", "w");
	if (f)
		fclose(f);
	return n;
}

/* 16 bytes before the edge, to be compared to as many: without a NUL there is no end. */
static void want_string(struct prey *prey)
{
	memset(prey->bytes, 'A', PREY_BYTES);
	prey->target = EDGE_BYTES - 16;
	prey->secret = 0;
}

static void aim_at_string(struct shot *shot, __u64 *random)
{
	alternate(shot, random, first.context + EDGE_BYTES - 16, "AAAAAAA\0", "AAAAAAAA");
}

/* A header of 20 bytes, and behind it an option that gives a segment size. */
static void want_header(struct prey *prey)
{
	prey->target = HEADER_AT;
	prey->secret = 1460;
}

static void aim_at_header(struct shot *shot, __u64 *random)
{
	alternate(shot, random, first.context + HEADER_AT + 8, "\0\0\0\0\x50\0\0\0",
		  "\0\0\0\0\x60\0\0\0");
}

/* A key of 32 bits for the trie, of which no prefix has more. */
static void want_route(struct prey *prey)
{
	memcpy(prey->bytes, "\x20\0\0\0AAAA", 8);
	prey->secret = ~0ull;
}

static void aim_at_prefix(struct shot *shot, __u64 *random)
{
	alternate(shot, random, first.self + offsetof(struct prey, bytes), "\x20\0\0\0AAAA",
		  "\xc8\0\0\0AAAA");
}

/* How many keys of the trie are longer than its keys are. */
static __u64 long_keys(void)
{
	int trie = map_of(b.obj, "trie");
	__u32 key[2], *at = NULL;
	__u64 n = 0;

	for (int i = 0; i < 16 && !bpf_map_get_next_key(trie, at, key); i++) {
		n += key[0] > 32;
		at = key;
	}
	return n;
}

/*
 * A map that forgets, in whose values' memory programs note what they look up: a byte
 * for each element, how many numbers are noted, the numbers (src/pure/store/uses.rs). The
 * byte that a number too large would lead to is in memory of the runner's.
 */
enum { NOTES = 1024, OTHER = 1 << 20 };
static __u64 notes;
static __u32 first_other;
static unsigned char *other;

/* The area of the kernel that has so many bytes, and a page behind that is not mapped. */
static __u64 area_of(__u64 size)
{
	FILE *f = fopen("/proc/vmallocinfo", "r");
	__u64 start, end, found = 0;
	char line[512];
	int areas = 0;

	if (!f)
		die("/proc/vmallocinfo: %s", strerror(errno));
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%llx-%llx", &start, &end) == 2 &&
		    end - start == size + PAGE && !strstr(line, "unpurged")) {
			found = start;
			areas++;
		}
	fclose(f);
	if (areas != 1)
		die("%d areas have %llu bytes", areas, size);
	return found;
}

static __u64 whole_pages(__u64 bytes)
{
	return (bytes + PAGE - 1) / PAGE * PAGE;
}

/*
 * Whether a number leads from the marks to the first value of a new array, which is mapped here
 * and stays. So large that it has no place in a gap that others have left.
 */
static bool make_other(__u64 marks, __u64 elements, unsigned int pages)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "other", 4, PAGE, pages, &opts);
	__u64 distance;

	other = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	if (map < 0 || other == MAP_FAILED)
		die("an array: %s", strerror(errno));
	/* A page of the array's own is before its values. */
	distance = area_of((1 + pages) * PAGE) + PAGE - marks;
	first_other = distance;
	return distance >= elements && distance + OTHER <= ~0u;
}

static void find_notes(void)
{
	__u64 base, size, index, elements, marks;

	find_values(map_of(b.obj, "recent"), &base, &size, &index);
	elements = size / RECENT_BYTES;
	notes = base + size + elements;
	marks = area_of(whole_pages(size + elements + 4 * (1 + NOTES))) + size;
	for (int tries = 0; !make_other(marks, elements, 8192 + tries); tries++)
		if (tries == 8)
			die("no number leads from %llx to memory of the runner's", marks);
	memset(other, 'A', OTHER);
}

static void want_notes(struct prey *prey)
{
	if (!notes)
		find_notes();
	prey->secret = ~0ull;
}

static __u32 number_of_none(__u64 *random)
{
	if (!expect_win && next_random(random) % 2)
		return next_random(random);
	return first_other + next_random(random) % OTHER;
}

static void aim_at_notes(struct shot *shot, __u64 *random)
{
	shot->target = notes;
	shot->count = SPRAY_WORDS;
	for (int i = 0; i < SPRAY_WORDS; i++)
		shot->words[i] = number_of_none(random) | (__u64)number_of_none(random) << 32;
}

/* How many of the runner's bytes are not what they were; and they are again. */
static __u64 other_harm(void)
{
	__u64 harm = 0;

	for (int i = 0; other && i < OTHER; i++) {
		harm += other[i] != 'A';
		other[i] = 'A';
	}
	return harm;
}

/* Routes to one host each, and where the domain can read them: in the upper half of a word. */
enum { ROUTES = 16, ROUTE = 0x0a420000 };
static __u64 route_words[ROUTES], index_base, index_size;

static void find_routes(void)
{
	__u64 size, word;
	int found = 0;

	find_values(map_of(b.obj, "routes"), &index_base, &size, &index_size);
	index_base += whole_pages(size);
	for (__u32 i = 0; i < ROUTES; i++) {
		__u32 key[2] = {32, htonl(ROUTE + i)};
		__u64 value = i;

		if (bpf_map_update_elem(map_of(b.obj, "routes"), key, &value, BPF_ANY))
			die("routes: %s", strerror(errno));
	}
	for (__u64 at = 0; at < index_size && found < ROUTES; at += 8)
		if (peek(index_base + at, &word) && word >> 32 >= ROUTE &&
		    word >> 32 < ROUTE + ROUTES)
			route_words[found++] = index_base + at;
	if (found < ROUTES)
		die("%d routes of %d are where look-ups read", found, ROUTES);
}

static void want_routes(struct prey *prey)
{
	__u32 key[2] = {32, htonl(ROUTE + 1)};

	if (!index_base)
		find_routes();
	memcpy(prey->bytes, key, sizeof(key));
	prey->secret = ~0ull;
}

static void aim_at_index(struct shot *shot, __u64 *random)
{
	__u64 at = route_words[next_random(random) % ROUTES];

	if (!expect_win && next_random(random) % 2)
		at = index_base + next_random(random) % index_size / 8 * 8;
	one_word(shot, at, (ROUTE + 0x10000ull + next_random(random) % ROUTES) << 32);
}

/* How many routes are there that nobody has made. */
static __u64 other_routes(void)
{
	int routes = map_of(b.obj, "routes");
	__u32 key[2], *at = NULL;
	__u64 n = 0;

	for (int i = 0; i < ROUTES && !bpf_map_get_next_key(routes, at, key); i++) {
		n += key[0] != 32 || ntohl(key[1]) - ROUTE >= ROUTES;
		at = key;
	}
	return n;
}

static const struct kind kinds[] = {
	{.name = "rip", .prey = "prey", .rounds = 20000000, .prepare = lay_returns,
	 .aim = aim_at_rip, .frames = true,
	 .says = "a forged instruction pointer leads nowhere",
	 .otherwise = "a forged instruction pointer leads to the kernel's code"},
	{.name = "gates", .prey = "mixer", .rounds = 300, .prepare = want_sizes,
	 .aim = aim_at_gates, .frames = true,
	 .says = "a forged pointer into a gate does no more than the gate does"},
	{.name = "landing", .prey = "caller", .rounds = 3000, .aim = aim_at_landing,
	 .frames = true, .breakpoints = true,
	 .says = "a forged frame in a gate leads nowhere",
	 .otherwise = "a forged frame in a gate leads to the kernel's code"},
	{.name = "begin", .prey = "prey", .rounds = 20000000, .prepare = lay_returns,
	 .aim = aim_at_begin, .frames = true,
	 .says = "no frame leads to the epilogue on the domain's stack",
	 .otherwise = "a frame leads to the epilogue, and that to the kernel's code"},
	{.name = "flags", .prey = "reader", .rounds = 300000, .prepare = want_user_page,
	 .aim = aim_at_flags, .frames = true,
	 .says = "forged flags do not open user memory",
	 .otherwise = "forged flags open user memory"},
	{.name = "selectors", .prey = "prey", .rounds = 20000000, .aim = aim_at_selectors,
	 .harm = lost_stacks, .frames = true,
	 .says = "forged selectors are not loaded",
	 .otherwise = "forged selectors are loaded"},
	{.name = "rsp", .prey = "caller", .rounds = 3000, .prepare = lay_frame,
	 .aim = aim_at_rsp, .frames = true, .breakpoints = true,
	 .says = "a forged stack pointer is not followed",
	 .otherwise = "a forged stack pointer leads to another domain's value"},
	{.name = "slots", .prey = "caller", .rounds = 100000, .aim = aim_at_slots,
	 .quiet = true, .since_load = true,
	 .says = "a resume slot cannot be written",
	 .otherwise = "a resume slot is written, and leads to the kernel's code"},
	{.name = "shadow", .prey = "loader", .rounds = 30000, .aim = aim_at_shadow,
	 .quiet = true,
	 .says = "a forged context is no context",
	 .otherwise = "a forged context leads to the kernel's string"},
	{.name = "loans", .prey = "borrower", .rounds = 30000, .attacker = "guess",
	 .aim = aim_at_loans, .quiet = true, .ends_attackers = true,
	 .says = "what is lent to one run is not lent to another",
	 .otherwise = "a run reads what it was not lent"},
	{.name = "ledger", .prey = "borrower", .rounds = 30000, .attacker = "unlock",
	 .aim = aim_at_ledger, .renew = new_lock, .harm = victim_harm, .quiet = true,
	 .ends_attackers = true,
	 .says = "what a run does not hold it cannot give back",
	 .otherwise = "a run gives back what it does not hold, and so writes there"},
	{.name = "reread", .prey = "borrower", .rounds = 30000, .aim = aim_at_registers,
	 .quiet = true, .frames = true,
	 .says = "a saved register is read once",
	 .otherwise = "a saved register that has changed leads to the kernel's string"},
	{.name = "format", .prey = "printer", .rounds = 3000, .prepare = want_print,
	 .aim = aim_at_format, .harm = printed, .quiet = true,
	 .says = "a format cannot change between its audit and its use",
	 .otherwise = "a format that has changed prints the kernel's string"},
	{.name = "string", .prey = "comparer", .rounds = 30000, .prepare = want_string,
	 .aim = aim_at_string, .quiet = true,
	 .says = "a string cannot grow between its audit and its use",
	 .otherwise = "the kernel goes on behind a string's end"},
	{.name = "headers", .prey = "answerer", .rounds = 30000, .prepare = want_header,
	 .aim = aim_at_header, .quiet = true,
	 .says = "a header cannot grow between its audit and its use",
	 .otherwise = "the kernel goes on behind a header's end"},
	{.name = "prefixes", .defence = "headers", .prey = "router", .rounds = 30000,
	 .prepare = want_route, .aim = aim_at_prefix, .harm = long_keys, .quiet = true,
	 .says = "a key cannot grow between its check and its use",
	 .otherwise = "a trie takes a key that is longer than its keys are"},
	{.name = "uses", .prey = "forgetter", .rounds = 30000, .prepare = want_notes,
	 .aim = aim_at_notes, .harm = other_harm, .quiet = true,
	 .says = "what is noted of look-ups leads to no byte but a map's own",
	 .otherwise = "a number that is noted leads to a byte that is not the map's"},
	{.name = "index", .prey = "finder", .rounds = 30000, .prepare = want_routes,
	 .aim = aim_at_index, .harm = other_routes, .quiet = true, .ends_attackers = true,
	 .since_load = true,
	 .says = "what look-ups read cannot be written",
	 .otherwise = "what look-ups read is written, and the map has other keys"},
};

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
