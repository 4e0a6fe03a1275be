// SPDX-License-Identifier: GPL-2.0
/*
 * One CPU of a domain writes forged event frames over another's stacks, while
 * that runs a program of the domain and is interrupted all the while. Whoever
 * believes a forged frame jumps to panic(). Also over its own stack, where a
 * plain call would leave a return address.
 *
 *   hostile_frames [SECONDS]
 *
 * What the attack does to the prey's verdict is no matter: programs of one
 * domain trust each other. That the kernel lives is.
 *
 * Needs the breach build with on_violation=abort, and three CPUs: CPU 0 runs
 * the prey, since NMIs from outside come there.
 */
#include "breach_run.h"
#include "kernel_memory.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>

#define PAGE 4096ull
/* How far from a domain's start frames may lie, and the probes go. */
#define FRAMES (4ull << 20)
#define PREY_ROUNDS 20000000
#define LANDING_BYTES 128
/* Below the prey's last stack word, where an interrupt's frame comes to lie. */
#define WINDOW_BYTES 256

enum { PANIC, WRITE_MSR, IMAGE_SYMBOLS };
static struct symbol symbols[] = {
	[PANIC] = {"panic", 0},
	[WRITE_MSR] = {"native_write_msr", 0},
};

static struct breach b;
static int spray_program, prey_program, sprays, preys;
static __u64 *pages, *landings;
static size_t nr_pages, nr_landings;
static __u64 span_base;

/* The prey's image: where it starts, and the `leave` of its epilogue. */
static __u64 image, leave;

static volatile bool stop;
static __u64 prey_runs, prey_ended, sprayed, spray_ended;
static __u64 prey_slot;

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

/*
 * A frame's stack is many pages, its landing stacks are few. Of these the last
 * words of each page are where the CPU may push.
 */
static void probe_pages(void)
{
	int probe = program_of(b.obj, "probe");
	__u64 end = frames_end(), at, run = 0;

	pages = calloc(FRAMES / PAGE, sizeof(*pages));
	landings = calloc(FRAMES / PAGE, sizeof(*landings));
	for (at = span_base; at <= end; at += PAGE) {
		if (at < end && attempt(&b, probe, at, 0).order.done) {
			pages[nr_pages++] = at;
			run++;
			continue;
		}
		for (; run && run < 16; run--)
			landings[nr_landings++] = at - run * PAGE + PAGE - LANDING_BYTES;
		run = 0;
	}
	printf("# domain at %llx, %zu pages of its frames are mapped, %zu for landings\n", span_base,
	       nr_pages, nr_landings);
	if (!nr_pages || !nr_landings)
		die("the frames are not where they were thought to be");
}

/* The epilogue is `leave; ret`, or `leave; jmp` to the return thunk. */
static void find_leave(void)
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

	if (bpf_prog_get_info_by_fd(prey_program, &info, &len))
		die("the prey's image: %s", strerror(errno));
	image = start;
	for (__u32 i = 0; i + 1 < info.jited_prog_len && i < sizeof(code) - 1; i++)
		if (code[i] == 0xc9 && (code[i + 1] == 0xc3 || code[i + 1] == 0xe9))
			leave = image + i;
	printf("# the prey's image is at %llx, its epilogue at %llx\n", image, leave);
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

static struct prey set_prey(__u64 rounds, __u64 offset, const __u64 *words)
{
	struct prey prey = {.rounds = rounds, .offset = offset};
	__u32 key = 0;

	memcpy(prey.words, words, sizeof(prey.words));
	if (bpf_map_update_elem(preys, &key, &prey, BPF_ANY))
		die("prey: %s", strerror(errno));
	return prey;
}

static bool give_spray(__u32 who, __u64 target, __u64 bytes, __u64 rounds, const __u64 *words)
{
	static __thread struct spray s;

	s = (struct spray){.target = target, .count = bytes / 8, .rounds = rounds};
	memcpy(s.words, words, sizeof(s.words));
	if (bpf_map_update_elem(sprays, &who, &s, BPF_ANY))
		die("spray: %s", strerror(errno));
	return run_of(spray_program, who) == 2;
}

/*
 * RIP, CS, flags, RSP, SS, over and over. Which word of the pattern comes to
 * lie where the CPU pushes RIP is a matter of `turn`.
 */
static void forge(__u64 *words, int turn, __u64 rip, __u64 rsp)
{
	const __u64 frame[5] = {rip, 0x10, 0x202, rsp, 0x18};

	for (int i = 0; i < SPRAY_WORDS; i++)
		words[i] = frame[(i + turn) % 5];
}

static void *attack(void *arg)
{
	__u32 who = (long)arg;
	__u64 words[SPRAY_WORDS], seed = who, rip;

	pin_to_cpu(1 + who);
	while (!stop) {
		__u64 target, bytes;

		switch (next_random(&seed) % 8) {
		case 0:
			target = pages[next_random(&seed) % nr_pages];
			bytes = PAGE;
			break;
		case 1:
		case 2:
			target = landings[next_random(&seed) % nr_landings];
			bytes = LANDING_BYTES;
			break;
		default:
			target = prey_slot - WINDOW_BYTES;
			bytes = WINDOW_BYTES;
		}
		switch (next_random(&seed) % 4) {
		case 0:
		case 1: rip = leave; break;
		case 2: rip = image + next_random(&seed) % 64; break;
		default: rip = symbols[PANIC].address; break;
		}
		forge(words, next_random(&seed) % 5, rip,
		      prey_slot - 8 * (next_random(&seed) % 12));
		if (give_spray(who, target, bytes, 200000 / bytes, words))
			__atomic_add_fetch(&sprayed, 1, __ATOMIC_RELAXED);
		else
			__atomic_add_fetch(&spray_ended, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *be_prey(void *arg)
{
	__u64 words[PREY_WORDS] = {};
	__u32 key = 0;

	(void)arg;
	/* From where `leave; ret` would take its way: the key opened, then the end. */
	for (int i = 1; i < PREY_WORDS; i++)
		words[i] = symbols[i < PREY_WORDS - 1 ? WRITE_MSR : PANIC].address;
	pin_to_cpu(0);
	while (!stop) {
		struct prey prey = set_prey(PREY_ROUNDS, 0, words);
		int verdict = run_of(prey_program, 0);

		if (bpf_map_lookup_elem(preys, &key, &prey))
			die("prey: %s", strerror(errno));
		prey_runs++;
		prey_ended += verdict == 0 && !prey.done;
	}
	return NULL;
}

static __u64 frame_violations(void)
{
	FILE *f = fopen(BAILEY "violations", "r");
	char line[512];
	__u64 n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += strstr(line, " frame ") != NULL;
	if (f)
		fclose(f);
	return n;
}

/* The prey's own stack, word by word and page by page. */
static void return_addresses(void)
{
	__u64 words[PREY_WORDS] = {}, all[SPRAY_WORDS];
	int good = 0, tried = 0;

	for (int i = 0; i < PREY_WORDS; i++)
		words[i] = symbols[i & 1 ? PANIC : WRITE_MSR].address;
	for (__s64 offset = -1024; offset <= 1024; offset += 8) {
		int verdict;

		set_prey(1000, offset, words);
		verdict = run_of(prey_program, 0);
		tried++;
		good += verdict == 0 || verdict == 2;
	}
	report(good == tried, "return addresses around the stack's end steer nothing (%d of %d runs "
	       "end with a verdict)", good, tried);

	for (int i = 0; i < SPRAY_WORDS; i++)
		all[i] = symbols[PANIC].address;
	good = tried = 0;
	for (size_t i = 0; i < nr_pages; i++) {
		give_spray(0, pages[i], PAGE, 3, all);
		tried++;
		good += test_run(program_of(b.obj, "probe")) != 1;
	}
	report(good == tried, "return addresses on every page of the frames steer nothing (%d pages)",
	       tried);
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 20, cpus = libbpf_num_possible_cpus();
	int attackers = cpus - 2 > MAX_SPRAYS ? MAX_SPRAYS : cpus - 2;
	pthread_t prey, threads[MAX_SPRAYS];
	const __u64 none[PREY_WORDS] = {};
	__u64 barriers = 0;
	struct prey first;
	__u32 key = 0;
	time_t end;

	if (attackers < 1)
		die("hostile_frames: three CPUs at least");
	find_symbols(symbols, IMAGE_SYMBOLS, NULL, NULL);
	pin_to_cpu(0);
	b = load_breach(".", "breach_frames");
	spray_program = program_of(b.obj, "spray");
	prey_program = program_of(b.obj, "prey");
	sprays = map_of(b.obj, "sprays");
	preys = map_of(b.obj, "preys");
	find_leave();
	set_prey(1, 0, none);
	run_of(prey_program, 0);
	if (bpf_map_lookup_elem(preys, &key, &first) || !first.slot)
		die("the prey does not run");
	prey_slot = first.slot;
	find_span(first.slot);
	probe_pages();
	return_addresses();

	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
		die("membarrier: %s", strerror(errno));
	pthread_create(&prey, NULL, be_prey, NULL);
	for (long i = 0; i < attackers; i++)
		pthread_create(&threads[i], NULL, attack, (void *)i);
	/* Interrupts for the prey, from the last CPU. */
	pin_to_cpu(cpus - 1);
	for (end = time(NULL) + seconds; time(NULL) < end; barriers++)
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	stop = true;
	pthread_join(prey, NULL);
	for (int i = 0; i < attackers; i++)
		pthread_join(threads[i], NULL);
	printf("# %llu sprays (%llu ended), %llu interrupts; prey: %llu runs, %llu ended\n", sprayed,
	       spray_ended, barriers, prey_runs, prey_ended);
	report(sprayed > 100, "the attackers wrote forged frames (%llu times)", sprayed);
	report(frame_violations() > 0 || prey_ended > 0,
	       "forged frames were seen (%llu of %llu runs ended, %llu of the last violations)",
	       prey_ended, prey_runs, frame_violations());
	set_prey(1000, 0, none);
	report(run_of(prey_program, 0) == 2, "after the attack the program runs as before");
	return failed ? 1 : 0;
}
