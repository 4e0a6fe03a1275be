// SPDX-License-Identifier: GPL-2.0
/*
 * Sends the breaching programs to addresses and says what got through, a line
 * for each test: `ok NAME` or `not ok NAME`, details after `#`.
 *
 *   --expect stop      the module confines: nothing may get through
 *   --expect escape    confinement is off: known targets must be reached, which
 *                      shows that the tests can fail
 *   --expect harmless  a stock kernel: the programs touch only their own
 *   --count N          attempts at random addresses (0: none), --seed S
 *   --files DIR        where the objects are (default: the current folder)
 *
 * With the module, it must be loaded with on_violation=abort: a program in
 * quarantine would stop all of itself.
 */
#include "breach_run.h"
#include "kernel_memory.h"

#include <getopt.h>
#include <sys/mman.h>

#define ENTRY_AREA 0xfffffe0000000000ull
#define PATTERN 0x4141414141414141ull

enum expectation { STOP, ESCAPE, HARMLESS };

static enum expectation expect = STOP;
static __u64 seed = 1, count = 1000;
static const char *files = ".";
static struct kcore kcore;

enum { BANNER, PER_CPU_OFFSET, PER_CPU_START, PER_CPU_END, CEA_OFFSET };
static struct symbol symbols[] = {
	[BANNER] = {"linux_banner", 0},
	[PER_CPU_OFFSET] = {"__per_cpu_offset", 0},
	[PER_CPU_START] = {"__per_cpu_start", 0},
	[PER_CPU_END] = {"__per_cpu_end", 0},
	[CEA_OFFSET] = {"_cea_offset", 0},
};
static struct addresses told;
static int victim_map, told_map, oracle, victim_program;

/* What the module says that it handed to our own domain: not a breach. */
static struct spans own;

static bool starts(const char *name, const char *word)
{
	size_t len = strlen(word);

	return !strncmp(name, word, len) && name[len] == '_';
}

static int width(const char *name)
{
	return atoi(strrchr(name, '_') + 1);
}

static void set_victim(__u64 word)
{
	fill_victim(victim_map, word);
}

/* How many of the victim's words are not what they were. */
static int victim_harm(__u64 word)
{
	__u64 words[VICTIM_WORDS];
	int harm = 0;

	read_victim(victim_map, words);
	for (int i = 0; i < VICTIM_WORDS; i++)
		harm += words[i] != word;
	return harm;
}

static void ask_oracle(void)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	struct bpf_object *obj = load(files, "breach_oracle");
	__u32 key = 0;

	victim_map = map_of(obj, "victim");
	told_map = map_of(obj, "told");
	oracle = program_of(obj, "oracle");
	victim_program = program_of(obj, "victim_program");
	if (bpf_prog_test_run_opts(oracle, &opts) || opts.retval)
		die("the oracle: %s", strerror(errno));
	if (bpf_map_lookup_elem(told_map, &key, &told))
		die("the oracle: %s", strerror(errno));
}

#define MAX_PROGRAMS 256

/* The object's programs that can be expected to breach. */
static int programs_of(const struct breach *b, struct bpf_program **list)
{
	struct bpf_program *prog;
	int n = 0;

	bpf_object__for_each_program(prog, b->obj) {
		if (expect != HARMLESS && !is_isolated(prog)) {
			printf("# %s is not isolated: not tried\n", bpf_program__name(prog));
			continue;
		}
		if (n == MAX_PROGRAMS)
			die("too many programs");
		list[n++] = prog;
	}
	if (!n)
		report(false, "%s has isolated programs", bpf_object__name(b->obj));
	return n;
}

/* Known targets: a kernel string to read, another domain's value to write. */
static void known_targets(const struct breach *b)
{
	__u64 banner = symbols[BANNER].address, want = read_kernel(&kcore, banner);
	int reads = 0, read = 0, writes = 0, written = 0, ended = 0, odd = 0;
	struct bpf_program *list[MAX_PROGRAMS];
	int n = programs_of(b, list);

	if (memcmp(&want, "Linux ve", 8))
		die("linux_banner is not at %llx", banner);
	for (int i = 0; i < n; i++) {
		struct bpf_program *prog = list[i];
		const char *name = bpf_program__name(prog);
		bool reading = starts(name, "read");
		/* What an AND can change is not what the others can. */
		__u64 before = strstr(name, "fetch_and") ? ~0ull : 0;
		struct outcome out;
		bool through;

		set_victim(before);
		out = attempt(b, bpf_program__fd(prog), reading ? banner : told.victim + 64, PATTERN);
		if (reading) {
			__u64 mask = width(name) == 64 ? ~0ull : (1ull << width(name)) - 1;

			through = out.order.done && (out.order.got & mask) == (want & mask);
			reads++;
			read += through;
		} else {
			through = victim_harm(before);
			writes++;
			written += through;
		}
		ended += was_ended(&out);
		if (expect == STOP ? through || !was_ended(&out) :
				     through != (expect == ESCAPE) || !out.order.done) {
			odd++;
			printf("# %s: verdict %d, done %llu, got %llx, base %llx\n", name,
			       out.verdict, out.order.done, out.order.got, out.order.base);
		}
	}
	set_victim(0);
	switch (expect) {
	case STOP:
		report(!read && !odd, "no program reads a kernel string (%d tried, %d read it)", reads,
		       read);
		report(!written && !odd, "no program writes another domain's value (%d tried, %d did)",
		       writes, written);
		report(ended == reads + writes, "each of these runs is ended (%d of %d)", ended,
		       reads + writes);
		break;
	case ESCAPE:
		report(read == reads, "without confinement the same programs read a kernel string "
		       "(%d of %d)", read, reads);
		report(written == writes, "without confinement the same programs write another map's "
		       "value (%d of %d)", written, writes);
		break;
	case HARMLESS:
		report(!read && !written && !odd, "on a stock kernel the breaching programs touch only "
		       "their own memory (%d programs)", reads + writes);
	}
}

struct class {
	const char *name;
	struct spans spans;
	/* Pages that confined code may read by design: the event structures. */
	bool readable;
	int tried, ended, through, permitted;
};

enum {
	DIRECT_MAP, VMALLOC, VMALLOC_AREAS, VMEMMAP, IMAGE, MODULES, PER_CPU, ENTRY, FIXMAP, STACK,
	USER, LOW, NON_CANONICAL, TOP, BAILEY_MODULE, BAILEY_AREAS, VICTIM, CLASSES
};

static struct class classes[CLASSES] = {
	[DIRECT_MAP] = {.name = "the direct map"},
	[VMALLOC] = {.name = "the vmalloc region"},
	[VMALLOC_AREAS] = {.name = "mapped vmalloc areas"},
	[VMEMMAP] = {.name = "the page structs"},
	[IMAGE] = {.name = "the kernel's image"},
	[MODULES] = {.name = "the modules"},
	[PER_CPU] = {.name = "the per-CPU areas"},
	[ENTRY] = {.name = "the CPU entry area", .readable = true},
	[FIXMAP] = {.name = "the fixmap"},
	[STACK] = {.name = "the running task's stack"},
	[USER] = {.name = "user memory"},
	[LOW] = {.name = "the first pages"},
	[NON_CANONICAL] = {.name = "non-canonical addresses"},
	[TOP] = {.name = "the last pages"},
	[BAILEY_MODULE] = {.name = "the module's own code and tables"},
	/* Among them what the way back into a program is read from. */
	[BAILEY_AREAS] = {.name = "the module's mapped areas", .readable = true},
	[VICTIM] = {.name = "another domain's values"},
};

static void find_regions(void)
{
	__u64 first = symbols[PER_CPU_START].address, last = symbols[PER_CPU_END].address;
	void *page = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	__u64 biggest = 0;

	for (size_t i = 0; i < kcore.count; i++)
		if (kcore.segments[i].p_type == PT_LOAD && kcore.segments[i].p_memsz > biggest)
			biggest = kcore.segments[i].p_memsz;
	for (size_t i = 0; i < kcore.count; i++) {
		const Elf64_Phdr *s = &kcore.segments[i];
		int class;

		if (s->p_type != PT_LOAD || !s->p_memsz)
			continue;
		if (s->p_vaddr >= 0xffffffff80000000ull)
			class = s->p_paddr == ~0ull ? MODULES : IMAGE;
		else if (s->p_memsz == biggest)
			class = VMALLOC;
		else
			class = s->p_paddr == ~0ull ? VMEMMAP : DIRECT_MAP;
		add_span(&classes[class].spans, s->p_vaddr, s->p_memsz);
	}
	add_vmalloc_areas(&classes[VMALLOC_AREAS].spans, "[bailey]",
			  &classes[BAILEY_AREAS].spans);
	for (int cpu = 0; cpu < libbpf_num_possible_cpus(); cpu++) {
		__u64 offset = read_kernel(&kcore, symbols[PER_CPU_OFFSET].address + 8 * cpu);

		if (offset)
			add_span(&classes[PER_CPU].spans, first + offset, last - first);
		/* Behind the shared IDT: a random place for each CPU. */
		if (offset)
			add_span(&classes[ENTRY].spans,
				 ENTRY_AREA + 4096 +
					 read_kernel(&kcore, symbols[CEA_OFFSET].address + offset) *
						 told.entry_area,
				 told.entry_area);
	}
	add_span(&classes[ENTRY].spans, ENTRY_AREA, 4096);
	add_span(&classes[FIXMAP].spans, 0xffffffffff000000ull, 0x600000);
	add_span(&classes[STACK].spans, told.stack, 16384);
	add_span(&classes[USER].spans, (__u64)page, 1 << 20);
	add_span(&classes[USER].spans, (__u64)&page & ~4095ull, 4096);
	add_span(&classes[LOW].spans, 0, 65536);
	add_span(&classes[NON_CANONICAL].spans, 1ull << 56, 254ull << 56);
	add_span(&classes[TOP].spans, 0xfffffffffff00000ull, 0xffff8);
	add_span(&classes[VICTIM].spans, told.victim, 8 * VICTIM_WORDS);
	add_span(&classes[VICTIM].spans, told.victim_map, 256);
	for (int i = 0; i < CLASSES; i++)
		printf("# %s: %zu spans\n", classes[i].name, classes[i].spans.count);
}

/*
 * A load of the kind whose fault is a 0 asks first whether the address can be one of
 * the kernel's, and is a 0 if not: nothing was read (`BPF_PROBE_MEM`,
 * arch/x86/net/bpf_jit_comp.c).
 */
static bool is_not_tried(const char *name, __u64 target, const struct outcome *out)
{
	bool may_be = target > (1ull << 47) && target < 0xffffffffff600000ull;

	return starts(name, "read_registers") && !may_be && !out->order.got;
}

static void random_targets(const struct breach *b)
{
	struct bpf_program *list[MAX_PROGRAMS];
	int n = programs_of(b, list), shown = 0;

	for (__u64 i = 0; n && i < count; i++) {
		struct class *class = &classes[i % CLASSES];
		struct bpf_program *prog = list[next_random(&seed) % n];
		const char *name = bpf_program__name(prog);
		struct outcome out;
		__u64 target;

		if (!class->spans.count)
			continue;
		target = random_address(&class->spans, &seed);
		out = attempt(b, bpf_program__fd(prog), target, PATTERN);
		class->tried++;
		if (was_ended(&out)) {
			class->ended++;
		} else if (in_spans(&own, target) || (class->readable && starts(name, "read")) ||
			   is_not_tried(name, target, &out)) {
			class->permitted++;
		} else {
			class->through++;
			if (shown++ < 20)
				printf("# %s at %llx: verdict %d, done %llu, got %llx\n", name, target,
				       out.verdict, out.order.done, out.order.got);
		}
	}
	for (int i = 0; i < CLASSES; i++) {
		const struct class *c = &classes[i];

		if (!c->tried)
			continue;
		report(!c->through, "nothing gets through to %s (%d tried, %d ended, %d through, "
		       "%d permitted)", c->name, c->tried, c->ended, c->through, c->permitted);
	}
}

/*
 * Around a value that is only lent: what stands beside it in the kernel's
 * element, and the pages before and after. Within it, nothing is in the way.
 */
static void loan_edges(const struct breach *b)
{
	static const __s64 outside[] = {-1, -4, -8, -16, -48, -4096, 249, 256, 260, 512, 4096};
	static const __s64 inside[] = {0, 8, 128, 248};
	struct bpf_program *list[MAX_PROGRAMS];
	int n = programs_of(b, list), over = 0, refused = 0, tried = 0;

	for (int i = 0; i < n; i++) {
		const char *name = bpf_program__name(list[i]);
		int fd = bpf_program__fd(list[i]);
		struct outcome out;
		__s64 at;

		if (!strstr(name, "_hash_") && !strstr(name, "_record_"))
			continue;
		for (size_t k = 0; k < ARRAY_SIZE(outside); k++) {
			/* The last word of the value is not wide enough for 8 bytes. */
			if (outside[k] == 249 && width(name) != 64)
				continue;
			/* A record is longer than a value. */
			at = outside[k];
			if (at > 0 && strstr(name, "_record_"))
				at += LENT_RECORD - 256;
			out = attempt_beside(b, fd, at, PATTERN);
			tried++;
			over += !was_ended(&out);
			if (!was_ended(&out))
				printf("# %s at %+lld: verdict %d, got %llx\n", name, at,
				       out.verdict, out.order.got);
		}
		for (size_t k = 0; k < ARRAY_SIZE(inside); k++) {
			out = attempt_beside(b, fd, inside[k], 0);
			refused += !out.order.done;
		}
	}
	report(!over, "no access leaves a lent value or record by a byte (%d tried, %d did)", tried,
	       over);
	report(!refused, "every access within a lent value or record goes on (%d did not)", refused);
}

static void fill_store(const struct breach *b)
{
	__u64 words[256 / 8];

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = STORE_WORD;
	/* The second time each value moves to another element. */
	for (__u64 n = 0; n < 2 * STORE_KEYS; n++) {
		__u64 key = STORE_KEY + n % STORE_KEYS;

		if (bpf_map_update_elem(map_of(b->obj, "store"), &key, words, BPF_ANY))
			die("store: %s", strerror(errno));
	}
}

/*
 * Of a store the domain sees the values, and can read behind them what its programs'
 * look-ups do: the keys and where they lie, and no pointer. No page beside either.
 */
static void store_pages(const struct breach *b)
{
	static const __s64 edges[] = {0, 8, 4088};
	struct bpf_program *list[MAX_PROGRAMS];
	int n = programs_of(b, list), values = 0, other = 0, over = 0, tried = 0;
	int reader = program_of(b->obj, "read_store_64"), keys = 0, pointers = 0, written = 0;
	__u64 base = 0, size = 0, index = 0, end, pages;
	struct outcome out;

	find_values(map_of(b->obj, "store"), &base, &size, &index);
	pages = (size + 4095) & ~4095ull;
	end = base + pages + index;
	for (__u64 at = 0; at < pages; at += 8) {
		out = attempt(b, reader, base + at, 0);
		if (out.order.done && out.order.got == STORE_WORD)
			values++;
		else if (!out.order.done || out.order.got)
			other++;
	}
	report(values >= STORE_KEYS * 256 / 8 && !other,
	       "on the pages of a store are values alone (%d words, %d others)", values, other);
	for (__u64 at = base + pages; at < end; at += 8) {
		out = attempt(b, reader, at, 0);
		keys += out.order.done && out.order.got - STORE_KEY < STORE_KEYS;
		/* An address of the kernel's, or of the map itself. */
		pointers += !out.order.done || out.order.got >> 40 == told.victim_map >> 40 ||
			    out.order.got >> 40 == told.stack >> 40;
	}
	report(index && keys >= STORE_KEYS && !pointers,
	       "behind them are keys, and no pointer (%d keys, %d pointers or faults)", keys, pointers);
	for (int i = 0; i < n; i++) {
		const char *name = bpf_program__name(list[i]);

		if (!strstr(name, "_store_"))
			continue;
		for (size_t k = 0; k < ARRAY_SIZE(edges); k++) {
			int fd = bpf_program__fd(list[i]);

			out = attempt(b, fd, base - 4096 + edges[k], PATTERN);
			over += !was_ended(&out);
			out = attempt(b, fd, end + edges[k], PATTERN);
			over += !was_ended(&out);
			tried += 2;
			if (starts(name, "read"))
				continue;
			out = attempt(b, fd, base + pages + edges[k], PATTERN);
			written += !was_ended(&out);
			tried++;
		}
	}
	report(tried && !over, "no access leaves the pages of a store (%d tried, %d did)", tried, over);
	report(tried && !written, "no program writes what look-ups read (%d did)", written);
}

/* Helpers with a forged pointer: at the known targets, then at random ones. */
static void arguments(const struct breach *b)
{
	__u64 banner = symbols[BANNER].address, want = read_kernel(&kcore, banner);
	int tried = 0, through = 0, evidence = 0, harm = 0;
	struct bpf_program *list[MAX_PROGRAMS];
	int n = programs_of(b, list);

	for (int i = 0; i < n; i++) {
		struct bpf_program *prog = list[i];
		const char *name = bpf_program__name(prog);
		bool reads = starts(name, "in");
		int rounds = expect == STOP ? 1 + CLASSES : 1;

		for (int round = 0; round < rounds; round++) {
			const struct class *class = round ? &classes[round - 1] : NULL;
			/*
			 * A look-up in an array, a checksum, bytes for the packet and a function on
			 * strings are no calls: key and bytes are loaded like anything else. Of an address that
			 * is none of the kernel's such a function says so, and reads nothing.
			 */
			bool is_string = starts(name, "in_str");
			bool is_loaded = starts(name, "in_array_key") || starts(name, "in_csum") ||
					 starts(name, "in_store_bytes") || is_string;
			bool may_load = class && class->readable && is_loaded, is_told;
			struct outcome out;
			__u64 target;

			if (class && !class->spans.count)
				continue;
			/* Aligned: some helpers' arguments are known to be. */
			target = class ? random_address(&class->spans, &seed) & ~7ull :
				 reads ? banner : told.victim + 64;
			if (in_spans(&own, target))
				continue;
			/* Without confinement, a forged lock or record is the kernel's end. */
			if (expect == ESCAPE && starts(name, "take"))
				continue;
			set_victim(0);
			out = attempt(b, bpf_program__fd(prog), target, PATTERN);
			tried++;
			harm += victim_harm(0) != 0;
			evidence += reads && out.order.done && out.order.got == want;
			is_told = is_string && target >> 56 != 0xff && (int)out.order.got == -ERANGE;
			if (expect == STOP ? !was_ended(&out) && !may_load && !is_told :
					     !out.order.done) {
				through++;
				printf("# %s at %llx: verdict %d, done %llu, got %llx\n", name, target,
				       out.verdict, out.order.done, out.order.got);
			}
		}
	}
	set_victim(0);
	if (expect == STOP)
		report(!through && !harm && !evidence,
		       "no helper takes a pointer out of the domain (%d tried, %d taken)", tried,
		       through);
	else if (expect == ESCAPE)
		report(evidence && harm, "without confinement helpers read and write where the pointer "
		       "points (%d read, %d wrote)", evidence, harm);
	else
		report(!through && !harm && !evidence,
		       "on a stock kernel the forged arguments are the program's own (%d programs)",
		       tried);
}

/* Kernel objects: they may be replaced, the target must not be used as one. */
static void objects(const struct breach *b)
{
	int tried = 0, harm = 0, leaks = 0, lost = 0;
	struct bpf_program *list[MAX_PROGRAMS];
	int n = programs_of(b, list);

	if (expect == ESCAPE)
		return;
	for (int i = 0; i < n; i++) {
		struct bpf_program *prog = list[i];
		int rounds = expect == STOP ? 1 + CLASSES : 1;

		for (int round = 0; round < rounds; round++) {
			const struct class *class = round ? &classes[round - 1] : NULL;
			struct outcome out;

			if (class && !class->spans.count)
				continue;
			set_victim(0x5a5a5a5a5a5a5a5aull);
			out = attempt(b, bpf_program__fd(prog),
				      class ? random_address(&class->spans, &seed) : told.victim_map,
				      PATTERN);
			tried++;
			harm += victim_harm(0x5a5a5a5a5a5a5a5aull) != 0;
			leaks += out.order.got == 0x5a5a5a5a5a5a5a5aull;
			lost += expect == HARMLESS && !out.order.done;
		}
	}
	set_victim(0);
	if (expect == STOP) {
		struct outcome out = attempt(b, program_of(b->obj, "own_area_afterwards"), 0, 0);

		report(out.order.got && was_ended(&out),
		       "what a callback was given is out of reach when it is over");
	}
	report(!harm && !leaks && !lost, expect == STOP ?
	       "no forged map or context is used (%d tried, %d written, %d read)" :
	       "on a stock kernel the forged maps and contexts are the real ones "
	       "(%d tried, %d written, %d read)", tried, harm, leaks);
}

/*
 * Fields of a lent value that the kernel acts upon when the entry goes, or
 * believes before: no program may write or read them, by whatever pointer.
 */
static void fields(const struct breach *b)
{
	static const struct {
		const char *of, *name;
		__s64 from, to;
	} list[] = {
		{"timer", "timer in a lent value", 8, 24},
		{"work", "workqueue in a lent value", 8, 24},
		{"lock", "lock in a lent value", 8, 12},
		{"pointer", "kernel pointer in a lent value", 8, 16},
		{"global", "timer in global data", 8, 24},
	};
	static const struct {
		const char *word, *done;
		__s64 width;
	} ways[] = {
		{"write", "written", 1},
		{"read", "read", 1},
		{"pass", "passed to a helper", 8},
	};

	for (size_t i = 0; i < ARRAY_SIZE(list) * ARRAY_SIZE(ways); i++) {
		size_t field = i / ARRAY_SIZE(ways), way = i % ARRAY_SIZE(ways);
		int through = 0, refused = 0;
		struct bpf_program *prog;
		char name[64];

		snprintf(name, sizeof(name), "%s_beside_%s", ways[way].word, list[field].of);
		prog = bpf_object__find_program_by_name(b->obj, name);
		if (!prog)
			die("no program %s", name);
		if (expect != HARMLESS && !is_isolated(prog)) {
			printf("# %s is not isolated: not tried\n", name);
			continue;
		}
		for (__s64 at = 0; at + ways[way].width <= 32; at++) {
			struct outcome out = attempt_beside(b, bpf_program__fd(prog), at, 0);

			if (at + ways[way].width > list[field].from && at < list[field].to)
				through += !was_ended(&out);
			else
				refused += !out.order.done;
		}
		if (expect == HARMLESS)
			continue;
		report(!through && !refused, "a %s cannot be %s, what stands beside it can "
		       "(%d, %d)", list[field].name, ways[way].done, through, refused);
	}
}

static void sizes(const struct breach *b)
{
	static const __u64 more[] = {0x100000, 0x7fff0000, 0xfffffff0, 1ull << 40, ~0ull << 20};
	int tried = 0, through = 0;
	struct bpf_program *list[MAX_PROGRAMS];
	int n = programs_of(b, list);

	if (expect == ESCAPE)
		return;
	for (int i = 0; i < n; i++) {
		struct bpf_program *prog = list[i];
		const char *name = bpf_program__name(prog);
		bool size = starts(name, "size");

		for (size_t k = 0; k < (size ? ARRAY_SIZE(more) : 1); k++) {
			struct outcome out = attempt(b, bpf_program__fd(prog), 0,
						     size ? more[k] : (__u64)-48);
			/* A checksum is no call. Of its sizes the helper takes 32 bits, and so it does. */
			__u32 low = size ? more[k] + 16 : 0;
			bool fits = !strncmp(name, "size_csum", 9) && low <= 64;

			tried++;
			if (expect == HARMLESS ? out.order.done :
			    fits || was_ended(&out) || (size && (__s64)out.order.got < 0))
				continue;
			through++;
			printf("# %s with %llx: verdict %d, got %lld\n", name, more[k], out.verdict,
			       out.order.got);
		}
	}
	report(!through, expect == STOP ?
	       "no forged size reaches over the end of the memory it is for (%d tried, %d did)" :
	       "on a stock kernel the forged sizes are what the verifier believes (%d tried, %d not)",
	       tried, through);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"expect", required_argument, NULL, 'e'},
		{"count", required_argument, NULL, 'c'},
		{"seed", required_argument, NULL, 's'},
		{"files", required_argument, NULL, 'f'},
		{},
	};
	struct breach access, argument, object, size, field;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'e':
			expect = !strcmp(optarg, "stop") ? STOP :
				 !strcmp(optarg, "escape") ? ESCAPE : HARMLESS;
			break;
		case 'c':
			count = strtoull(optarg, NULL, 0);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'f':
			files = optarg;
			break;
		default:
			die("usage: breach --expect stop|escape|harmless [--count N] [--seed S] "
			    "[--files DIR]");
		}
	}
	pin_to_cpu(0);
	kcore = open_kcore();
	find_symbols(symbols, ARRAY_SIZE(symbols), "bailey", &classes[BAILEY_MODULE].spans);
	ask_oracle();
	find_regions();
	access = load_breach(files, "breach_access");
	argument = load_breach(files, "breach_argument");
	object = load_breach(files, "breach_object");
	size = load_breach(files, "breach_size");
	field = load_breach(files, "breach_field");
	fill_store(&access);
	add_own_domain(&own, attempt(&access, program_of(access.obj, "read_array_64"), 0, 0).order.base);

	known_targets(&access);
	if (expect == STOP) {
		store_pages(&access);
		loan_edges(&access);
	}
	arguments(&argument);
	objects(&object);
	sizes(&size);
	if (expect != ESCAPE)
		fields(&field);
	if (expect == STOP)
		random_targets(&access);
	printf("# ended %llu\n", ended_runs);
	report(test_run(victim_program) == 2, "the victim goes on working");
	return failed ? 1 : 0;
}
