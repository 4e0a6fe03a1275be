/* SPDX-License-Identifier: GPL-2.0 */
/* The attacks of attackers.c: where each aims, what it needs, and how it is told that it has won. */
#ifndef BAILEY_ATTACKS_H
#define BAILEY_ATTACKS_H

#include "attack.h"

#include <arpa/inet.h>
#include <sys/mman.h>

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

#endif
