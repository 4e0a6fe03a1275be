// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's side of the injection campaign (qemu/campaign.py is the host's):
 * tells by the port bailey.campaign where the kernel has what, and does what it is
 * told by the same. Words are separated by blanks, numbers are hexadecimal.
 *
 *   load N SIZE   the program of this number, with packets of sizes[SIZE]
 *   run           one packet
 *   say TEXT      prints it
 *   end
 *
 * Each answer is some lines, the last of which is "done".
 *
 *   --count N --first N --seed N --control   are the host's business
 */
#include "breach_run.h"
#include "corpus_run.h"
#include "kernel_memory.h"
#include "port.h"

#include <bpf/btf.h>
#include <getopt.h>
#include <libgen.h>
#include <sys/mman.h>

#define ENTRY_AREA 0xfffffe0000000000ull
#define PAGE 4096
#define MAX_PROGRAMS 1024
#define MAX_IMAGES 64

struct program {
	char *path, object[64], name[64];
};

static struct program programs[MAX_PROGRAMS];
static int nr_programs;

enum {
	TEXT, TEXT_END, RODATA, RODATA_END, DATA, DATA_END, UTS, INIT_TASK, BANNER,
	PER_CPU_OFFSET, PER_CPU_START, PER_CPU_END, CEA_OFFSET
};
static struct symbol symbols[] = {
	[TEXT] = {"_stext", 0},
	[TEXT_END] = {"_etext", 0},
	[RODATA] = {"__start_rodata", 0},
	[RODATA_END] = {"__end_rodata", 0},
	[DATA] = {"_sdata", 0},
	[DATA_END] = {"_edata", 0},
	[UTS] = {"init_uts_ns", 0},
	[INIT_TASK] = {"init_task", 0},
	[BANNER] = {"linux_banner", 0},
	[PER_CPU_OFFSET] = {"__per_cpu_offset", 0},
	[PER_CPU_START] = {"__per_cpu_start", 0},
	[PER_CPU_END] = {"__per_cpu_end", 0},
	[CEA_OFFSET] = {"_cea_offset", 0},
};

/* What goes to the host, what comes from it. */
static FILE *port, *orders;
static struct addresses told;
static struct subject subject;
static const char *object; /* that is loaded */
static unsigned int size;
static int log_fd, total_fd;

/* A region's spans; of a stable one the contents stay what they are. */
static void tell_spans(const char *name, const struct spans *s, bool stable)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->list[i].size)
			fprintf(port, "region %s %d %llx %llx\n", name, stable, s->list[i].start,
				s->list[i].size);
}

static void tell(const char *name, __u64 start, __u64 length, bool stable)
{
	struct span one = {start, length};

	tell_spans(name, &(struct spans){&one, 1}, stable);
}

static void tell_direct_map(void)
{
	struct kcore k = open_kcore();

	/* RAM alone: behind each of its segments is one of the page structs. */
	for (size_t i = 0; i < k.count; i++) {
		const Elf64_Phdr *s = &k.segments[i];

		if (s->p_type == PT_LOAD && s->p_vaddr < 0xffffffff80000000ull && s->p_paddr != ~0ull)
			tell("direct-map", s->p_vaddr, s->p_memsz, false);
	}
	for (int cpu = 0; cpu < libbpf_num_possible_cpus(); cpu++) {
		__u64 offset = read_kernel(&k, symbols[PER_CPU_OFFSET].address + 8 * cpu);
		__u64 first = symbols[PER_CPU_START].address;

		if (!offset)
			continue;
		tell("per-CPU", first + offset, symbols[PER_CPU_END].address - first, false);
		tell("entry-area", ENTRY_AREA + PAGE +
		     read_kernel(&k, symbols[CEA_OFFSET].address + offset) * told.entry_area,
		     told.entry_area, false);
	}
	close(k.fd);
	free(k.segments);
}

static void ask_oracle(const char *files)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	struct bpf_object *obj = load(files, "breach_oracle");
	__u64 words[VICTIM_WORDS], base = 0, length = 0;
	struct bpf_map_info info = {};
	__u32 key = 0, len = sizeof(info), id;
	int map = map_of(obj, "victim");
	char line[256];
	FILE *f;

	for (int i = 0; i < VICTIM_WORDS; i++)
		words[i] = 0x5ec4e75ec4e70000ull + i;
	if (bpf_map_update_elem(map, &key, words, BPF_ANY))
		die("victim: %s", strerror(errno));
	/* Its domain is there when it runs. */
	if (test_run(program_of(obj, "victim_program")) != 2)
		die("the victim does not run");
	if (bpf_prog_test_run_opts(program_of(obj, "oracle"), &opts) || opts.retval ||
	    bpf_map_lookup_elem(map_of(obj, "told"), &key, &told))
		die("the oracle: %s", strerror(errno));
	if (bpf_map_get_info_by_fd(map, &info, &len))
		die("victim: %s", strerror(errno));
	f = fopen(BAILEY "maps", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%u %*s %*s %*s domain %llx %llu", &id, &base, &length) == 3 &&
		    id == info.id)
			break;
	if (!f || !base)
		die("the victim's values are in no domain");
	fclose(f);
	/* The victim counts in the second word. */
	tell("value", told.victim + 16, 8 * VICTIM_WORDS - 16, true);
	tell("other-domain", base + 16, 8 * VICTIM_WORDS - 16, true);
	tell("map", told.victim_map, 128, false);
}

static void tell_regions(const char *files)
{
	struct spans module = {}, areas = {}, own = {};
	void *page = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (page == MAP_FAILED)
		die("a page: %s", strerror(errno));
	find_symbols(symbols, ARRAY_SIZE(symbols), "bailey", &module);
	ask_oracle(files);
	tell("text", symbols[TEXT].address, symbols[TEXT_END].address - symbols[TEXT].address,
	     true);
	tell("rodata", symbols[RODATA].address,
	     symbols[RODATA_END].address - symbols[RODATA].address, true);
	tell("rodata", symbols[BANNER].address, 128, true);
	tell("data", symbols[DATA].address, symbols[DATA_END].address - symbols[DATA].address,
	     false);
	tell("data-word", symbols[UTS].address, 256, true);
	tell("task", symbols[INIT_TASK].address, 2048, false);
	/* Above it are the user's registers, which can be on loan. */
	tell("stack", told.stack, 12288, false);
	tell_direct_map();
	tell("IDT", ENTRY_AREA, PAGE, true);
	tell_spans("module", &module, false);
	add_vmalloc_areas(&areas, "[bailey]", &own);
	tell_spans("module-area", &own, false);
	tell("user", (__u64)page, 16 * PAGE, true);
	tell("low", 0, 65536, false);
	tell("non-canonical", 1ull << 57, 253ull << 56, false);
	tell("top", 0xfffffffffff00000ull, 0xffff8, false);
}

/*
 * What has pages, but for maps: of what is in these, a program may have a loan. Each
 * area ends with a page that is none.
 */
static void tell_vmalloc(void)
{
	FILE *f = fopen("/proc/vmallocinfo", "r");
	__u64 start, end;
	char line[512];

	if (!f)
		die("/proc/vmallocinfo: %s", strerror(errno));
	fprintf(port, "forget vmalloc\n");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%llx-%llx", &start, &end) == 2 && start >> 56 == 0xff &&
		    strstr(line, "pages=") && !strstr(line, "bpf") && !strstr(line, "map") &&
		    !strstr(line, "[bailey]"))
			fprintf(port, "region vmalloc 0 %llx %llx\n", start, end - start - PAGE);
	fclose(f);
}

/* The low bits of an enum bpf_arg_type: BPF_BASE_TYPE_MASK (include/linux/bpf.h). */
#define BASE_TYPE 0xff

/* The offset of a struct's member, which may be one of an anonymous union. */
static int member_offset(const struct btf *btf, __u32 id, const char *name)
{
	const struct btf_type *type = btf__type_by_id(btf, id);

	for (int i = 0; btf_is_composite(type) && i < btf_vlen(type); i++) {
		const struct btf_member *m = &btf_members(type)[i];
		const char *this = btf__name_by_offset(btf, m->name_off);
		int offset = btf_member_bit_offset(type, i) / 8, inside = -1;

		if (!strcmp(this, name))
			return offset;
		if (!*this)
			inside = member_offset(btf, m->type, name);
		if (inside >= 0)
			return offset + inside;
	}
	return -1;
}

/* What the kernel itself calls a type of argument. */
static const char *arg_type(const struct btf *btf, __u32 value)
{
	__s32 id = btf__find_by_name_kind(btf, "bpf_arg_type", BTF_KIND_ENUM);
	const struct btf_type *type = id > 0 ? btf__type_by_id(btf, id) : NULL;

	for (int i = 0; type && i < btf_vlen(type); i++)
		if ((__u32)btf_enum(type)[i].val == (value & BASE_TYPE))
			return btf__name_by_offset(btf, btf_enum(type)[i].name_off);
	return "?";
}

/* The kernel's prototypes of helpers, as they stand in its memory. */
static void tell_prototypes(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	struct kcore k = open_kcore();
	char line[512], kind, name[256];
	__u64 address;
	int at = -1;
	FILE *f;

	if (btf)
		at = member_offset(btf, btf__find_by_name_kind(btf, "bpf_func_proto",
							       BTF_KIND_STRUCT), "arg_type");
	f = fopen("/proc/kallsyms", "r");
	if (at < 0 || !f)
		die("the kernel's prototypes of helpers are not found");
	while (fgets(line, sizeof(line), f)) {
		size_t len;

		if (sscanf(line, "%llx %c %255s", &address, &kind, name) != 3)
			continue;
		len = strlen(name);
		if (strncmp(name, "bpf_", 4) || len < 11 || strcmp(name + len - 6, "_proto") ||
		    strchr(line, '['))
			continue;
		name[len - 6] = 0;
		fprintf(port, "prototype %s", name + 4);
		for (int i = 0; i < 5; i++)
			fprintf(port, " %s", arg_type(btf, read_kernel(&k, address + at + 4 * i)));
		fputc('\n', port);
	}
	fclose(f);
	btf__free(btf);
	close(k.fd);
	free(k.segments);
}

static void list_programs(char *path)
{
	struct bpf_object *obj = bpf_object__open_file(path, NULL);
	char copy[256], *base;
	struct bpf_program *prog;

	if (!obj)
		die("%s: %s", path, strerror(errno));
	snprintf(copy, sizeof(copy), "%s", path);
	base = basename(copy);
	base[strcspn(base, ".")] = 0;
	bpf_object__for_each_program(prog, obj) {
		struct program *p;

		if (prepares(prog))
			continue;
		p = &programs[nr_programs++];
		if (nr_programs == MAX_PROGRAMS)
			die("too many programs");
		p->path = path;
		snprintf(p->object, sizeof(p->object), "%s", base);
		snprintf(p->name, sizeof(p->name), "%s", bpf_program__name(prog));
	}
	bpf_object__close(obj);
}

/* Where the program's machine code is, of each of its functions. */
static void tell_images(const struct bpf_program *prog)
{
	__u64 starts[MAX_IMAGES];
	__u32 lengths[MAX_IMAGES];
	struct bpf_prog_info info = {
		.jited_ksyms = (__u64)starts,
		.nr_jited_ksyms = MAX_IMAGES,
		.jited_func_lens = (__u64)lengths,
		.nr_jited_func_lens = MAX_IMAGES,
	};
	__u32 len = sizeof(info);

	if (bpf_prog_get_info_by_fd(bpf_program__fd(prog), &info, &len))
		die("program info: %s", strerror(errno));
	for (__u32 i = 0; i < info.nr_jited_ksyms && i < MAX_IMAGES; i++)
		fprintf(port, "image %llx %x\n", starts[i], lengths[i]);
}

/* What no target may be in: the domain of the programs that are loaded. */
static void tell_domains(void)
{
	FILE *f = fopen(BAILEY "domains", "r");
	__u64 base, length;
	char line[256];
	__u32 id;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%u %*s %*s %*s %*s %llx %llu", &id, &base, &length) == 3)
			fprintf(port, "domain %u %llx %llx\n", id, base, length);
	if (f)
		fclose(f);
}

static void tell_calls(void)
{
	FILE *f = fopen(BAILEY "calls", "r");
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		fprintf(port, "call %s", line);
	if (f)
		fclose(f);
}

static void load_program(int number, int packet)
{
	struct program *p = &programs[number % nr_programs];
	struct bpf_program *prog;
	char state[256];

	if (subject.obj)
		close_subject(&subject);
	if (load_subject(&subject, p->path, p->name))
		die("%s/%s: %s", p->object, p->name, strerror(errno));
	object = p->object;
	seed_maps(&subject);
	size = sizes[packet];
	if (!takes_packet(&subject, size))
		size = sizes[0];
	program_state(program_id(bpf_program__fd(subject.prog)), state, sizeof(state));
	fprintf(port, "program %s/%s %s\n", p->object, p->name, state);
	fprintf(port, "own %u\n", program_id(bpf_program__fd(subject.prog)));
	bpf_object__for_each_program(prog, subject.obj)
		if (bpf_program__fd(prog) >= 0 && !prepares(prog)) {
			program_state(program_id(bpf_program__fd(prog)), state, sizeof(state));
			if (strcmp(state, "isolated")) {
				fputs("outside\n", port);
				continue;
			}
			fprintf(port, "id %u\n", program_id(bpf_program__fd(prog)));
			tell_images(prog);
		}
	tell_domains();
	tell_calls();
	tell_vmalloc();
}

/* The file anew, through the file descriptor that is open. */
static size_t read_again(int fd, char *text, size_t room)
{
	size_t len = 0;
	ssize_t n;

	while (len + 1 < room && (n = pread(fd, text + len, room - 1 - len, len)) > 0)
		len += n;
	text[len] = 0;
	return len;
}

static __u64 violations(void)
{
	char text[64];

	read_again(total_fd, text, sizeof(text));
	return strtoull(text + strcspn(text, "\n"), NULL, 10);
}

/* A packet; the answer has the last violation if there was one in it. */
static void run(void)
{
	static struct ran ran;
	static char text[64 * 128];
	__u64 before = violations(), ended;

	run_packet(&subject, size, 1, false, &ran);
	if (works_later(object))
		usleep(60000);
	ended = violations() - before;
	for (int i = 0; i < subject.nr_maps; i++) {
		if (subject.streams[i].ring)
			ring_buffer__consume(subject.streams[i].ring);
		if (subject.streams[i].perf)
			perf_buffer__consume(subject.streams[i].perf);
	}
	fprintf(port, "ran %x %llx", ran.verdict, ended);
	if (ended) {
		char *last, *word, *rest;
		size_t len = read_again(log_fd, text, sizeof(text));

		if (len)
			text[len - 1] = 0;
		last = strrchr(text, '\n');
		word = strtok_r(last ? last + 1 : text, " ", &rest);
		while ((word = strtok_r(NULL, " ", &rest)))
			fprintf(port, " %s", word);
	}
	fputc('\n', port);
}

static int open_file(const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"count", required_argument, NULL, 'c'},
		{"first", required_argument, NULL, 'f'},
		{"seed", required_argument, NULL, 's'},
		{"control", no_argument, NULL, 'n'},
		{},
	};
	__u64 count = 1000, first = 0, seed = 1;
	bool control = false;
	char line[512];
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'c')
			count = strtoull(optarg, NULL, 0);
		else if (c == 'f')
			first = strtoull(optarg, NULL, 0);
		else if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 'n')
			control = true;
		else
			die("usage: campaign [--count N] [--first N] [--seed N] [--control] OBJECT...");
	}
	cpus = libbpf_num_possible_cpus();
	pin_to_cpu(0);
	listen_locally();
	log_fd = open_file(BAILEY "violations");
	total_fd = open_file(BAILEY "violations_total");
	for (; optind < argc; optind++)
		list_programs(argv[optind]);
	if (!nr_programs)
		die("campaign: no objects");
	c = open_port("bailey.campaign");
	port = fdopen(c, "w");
	orders = fdopen(dup(c), "r");
	if (!port || !orders)
		die("the port: %s", strerror(errno));
	fprintf(port, "campaign %llx %llx %llx %x %x\n", first, count, seed, control, nr_programs);
	tell_regions(".");
	tell_prototypes();
	fputs("done\n", port);
	fflush(port);
	while (fgets(line, sizeof(line), orders)) {
		int number, packet;

		line[strcspn(line, "\n")] = 0;
		if (!strcmp(line, "end"))
			break;
		if (sscanf(line, "load %x %x", &number, &packet) == 2)
			load_program(number, packet);
		else if (!strcmp(line, "run"))
			run();
		else if (!strncmp(line, "say ", 4))
			puts(line + 4);
		else
			die("the host: %s", line);
		fputs("done\n", port);
		fflush(port);
		fflush(stdout);
	}
	if (strcmp(line, "end"))
		die("the host has gone");
	return 0;
}
