// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that jump through tables (maps of type INSN_ARRAY), in raw
 * instructions: the compiler here makes none.
 *
 *   jump_table same [--isolation FILE]   what they do, a line each; the same
 *                                        with and without the module
 *   jump_table number N...               a domain that forges the number it
 *                                        jumps by: a verdict each
 *   jump_table write                     a domain that writes its table
 *   jump_table removed                   a jump to a place that the verifier has
 *                                        removed: without the module, to address 0
 *   jump_table cost PLACES REPEAT        time of a run, by the kernel's statistics;
 *                                        no table with 0 places
 *
 * `number` and `write` need a module that drops `rX &= 0`.
 */
#include "runner.h"

#include <linux/bpf.h>

/* Newer than the header here: a jump table's map and its value. */
#define MAP_TYPE_INSN_ARRAY 34

struct table_value {
	__u32 orig_off, xlated_off, jitted_off, unused;
};

#define MAX_INSNS 40000
#define MAX_ENTRIES 2048

struct program {
	struct bpf_insn insn[MAX_INSNS];
	int n;
	int tables[4], nr_tables;
};

static struct program p;
static FILE *isolation;

static int emit(__u8 code, __u8 dst, __u8 src, __s16 off, __s32 imm)
{
	if (p.n + 2 >= MAX_INSNS)
		die("a program of more than %d instructions", MAX_INSNS);
	p.insn[p.n] = (struct bpf_insn){
		.code = code, .dst_reg = dst, .src_reg = src, .off = off, .imm = imm};
	return p.n++;
}

static void mov_imm(int dst, __s32 imm)
{
	emit(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm);
}

static void mov_reg(int dst, int src)
{
	emit(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}

static void alu_imm(int op, int dst, __s32 imm)
{
	emit(BPF_ALU64 | op | BPF_K, dst, 0, 0, imm);
}

static void alu_reg(int op, int dst, int src)
{
	emit(BPF_ALU64 | op | BPF_X, dst, src, 0, 0);
}

static int emit_exit(void)
{
	return emit(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* The jump at `at` leads to here. */
static void land(int at)
{
	p.insn[at].off = p.n - at - 1;
}

static int make_table(int entries)
{
	int fd = bpf_map_create(MAP_TYPE_INSN_ARRAY, "table", 4, sizeof(struct table_value),
				entries, NULL);

	if (fd < 0)
		die("a table of %d: %s", entries, strerror(errno));
	p.tables[p.nr_tables++] = fd;
	return fd;
}

static void fill_table(int fd, const int *place, int entries)
{
	for (__u32 i = 0; i < (__u32)entries; i++) {
		struct table_value value = {.orig_off = place[i]};

		if (bpf_map_update_elem(fd, &i, &value, BPF_ANY))
			die("a table: %s", strerror(errno));
	}
	if (bpf_map_freeze(fd))
		die("freezing a table: %s", strerror(errno));
}

static void load_table(int dst, int fd, int entry)
{
	emit(BPF_LD | BPF_DW | BPF_IMM, dst, BPF_PSEUDO_MAP_VALUE, 0, fd);
	emit(0, 0, 0, 0, 8 * entry);
}

static void gotox(int reg)
{
	emit(BPF_JMP | BPF_JA | BPF_X, reg, 0, 0, 0);
}

/* R7 = the packet's first 8 bytes, R8 = the next; or the program ends with 77. */
static void load_packet(void)
{
	int enough;

	emit(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1, 0, 0);
	emit(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_3, BPF_REG_1, 4, 0);
	mov_reg(BPF_REG_4, BPF_REG_2);
	alu_imm(BPF_ADD, BPF_REG_4, 16);
	enough = emit(BPF_JMP | BPF_JLE | BPF_X, BPF_REG_4, BPF_REG_3, 0, 0);
	mov_imm(BPF_REG_0, 77);
	emit_exit();
	land(enough);
	emit(BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_7, BPF_REG_2, 0, 0);
	emit(BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_8, BPF_REG_2, 8, 0);
}

/*
 * Goes on at one of the table's entries, by R7; each place is `step`
 * instructions long and adds something else to R6. R3 is the register with the
 * place. Entry i leads to place order[i] of `places`. Ends behind all places.
 */
static void choose(const int *order, int entries, int places, int step)
{
	static int place[MAX_ENTRIES], end[MAX_ENTRIES], at[MAX_ENTRIES];
	int fd = make_table(entries), over;

	mov_reg(BPF_REG_2, BPF_REG_7);
	alu_imm(BPF_AND, BPF_REG_2, 0xffff);
	over = emit(BPF_JMP | BPF_JGE | BPF_K, BPF_REG_2, 0, 0, entries);
	alu_imm(BPF_LSH, BPF_REG_2, 3);
	load_table(BPF_REG_3, fd, 0);
	alu_reg(BPF_ADD, BPF_REG_3, BPF_REG_2);
	emit(BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_3, BPF_REG_3, 0, 0);
	gotox(BPF_REG_3);
	for (int i = 0; i < places; i++) {
		at[i] = p.n;
		alu_imm(BPF_ADD, BPF_REG_6, 1000 * i + 1);
		for (int n = 2; n < step; n++)
			alu_reg(BPF_XOR, BPF_REG_6, BPF_REG_7);
		/* The last needs no jump, but the verifier removes none of it. */
		end[i] = emit(BPF_JMP32 | BPF_JA, 0, 0, 0, 0);
	}
	for (int i = 0; i < places; i++)
		p.insn[end[i]].imm = p.n - end[i] - 1;
	alu_imm(BPF_MUL, BPF_REG_6, 3);
	land(over);
	for (int i = 0; i < entries; i++)
		place[i] = at[order ? order[i] : i];
	fill_table(fd, place, entries);
}

static void start(void)
{
	for (int i = 0; i < p.nr_tables; i++)
		close(p.tables[i]);
	memset(&p, 0, sizeof(p));
	load_packet();
	mov_imm(BPF_REG_6, 5);
}

static void finish(void)
{
	mov_reg(BPF_REG_0, BPF_REG_6);
	emit_exit();
}

static int load(const char *name)
{
	static char log[1 << 16];
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .log_buf = log, .log_size = sizeof(log),
		    .log_level = 1);
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, name, "GPL", p.insn, p.n, &opts);

	if (fd < 0) {
		size_t len = strlen(log);

		die("%s does not load: %s\n%s", name, strerror(errno),
		    log + (len > 1500 ? len - 1500 : 0));
	}
	return fd;
}

static __u32 run(int fd, __u64 choice)
{
	unsigned char packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		    .repeat = 1);

	memcpy(packet, &choice, sizeof(choice));
	if (bpf_prog_test_run_opts(fd, &opts))
		die("a run: %s", strerror(errno));
	return opts.retval;
}

/*
 * What user space sees of the tables: how many entries the verifier removed,
 * and whether equal places are equal, in program and image, and others in the
 * order in which they lie.
 */
static void print_tables(void)
{
	for (int t = 0; t < p.nr_tables; t++) {
		static struct table_value value[MAX_ENTRIES];
		__u32 entries = 0;
		int removed = 0, wrong = 0;

		while (entries < MAX_ENTRIES &&
		       !bpf_map_lookup_elem(p.tables[t], &entries, &value[entries]))
			entries++;
		for (__u32 i = 0; i < entries; i++) {
			const struct table_value *a = &value[i];

			removed += a->xlated_off == -1u;
			wrong += a->xlated_off != -1u && (!a->xlated_off || !a->jitted_off);
			for (__u32 j = 0; j < i && a->xlated_off != -1u; j++) {
				const struct table_value *b = &value[j];

				if (b->xlated_off == -1u)
					continue;
				wrong += (a->orig_off > b->orig_off) != (a->xlated_off > b->xlated_off);
				wrong += (a->orig_off > b->orig_off) != (a->jitted_off > b->jitted_off);
				wrong += (a->orig_off == b->orig_off) != (a->xlated_off == b->xlated_off);
			}
		}
		printf(" table: %u entries, %d removed, %d wrong", entries, removed, wrong);
	}
}

/* Loads, runs with every choice up to `choices`, and prints what came of it. */
static void show(const char *name, int choices)
{
	__u64 digest = HASH_START;
	int fd = load(name);

	if (isolation) {
		char state[256];

		program_state(program_id(fd), state, sizeof(state));
		fprintf(isolation, "jump_table/%s %s\n", name, state);
	}
	for (int choice = 0; choice <= choices; choice++) {
		__u32 verdict = run(fd, choice);

		digest = hash_bytes(digest, &verdict, sizeof(verdict));
	}
	printf("%s insns=%d digest=%016llx", name, p.n, digest);
	print_tables();
	printf("\n");
	fflush(stdout);
	close(fd);
}

static int call(void)
{
	return emit(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, 0);
}

static void same(void)
{
	static const int sizes[] = {1, 2, 3, 4, 7, 16, 100, 1000};
	static const int repeated[] = {2, 0, 2, 1, 0, 0, 3, 2};
	char name[16];
	int place[2], at, main_call[2];

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		start();
		choose(NULL, sizes[i], sizes[i], 3);
		finish();
		snprintf(name, sizeof(name), "places_%d", sizes[i]);
		show(name, sizes[i]);
	}

	start();
	choose(repeated, ARRAY_SIZE(repeated), 4, 3);
	finish();
	show("repeated", ARRAY_SIZE(repeated));

	/* One behind the other, and one whose entries the verifier partly removes. */
	start();
	choose(NULL, 5, 5, 4);
	alu_imm(BPF_RSH, BPF_REG_7, 1);
	choose(repeated, ARRAY_SIZE(repeated), 4, 3);
	finish();
	show("two_tables", 12);

	/* A jump over more than 32767 instructions of the image. */
	start();
	choose(NULL, 1000, 1000, 31);
	alu_imm(BPF_RSH, BPF_REG_7, 1);
	choose(NULL, 100, 100, 12);
	finish();
	show("far", 300);

	/* The address of an entry, and no more of the table than that. */
	start();
	at = make_table(2);
	load_table(BPF_REG_3, at, 1);
	emit(BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_3, BPF_REG_3, 0, 0);
	gotox(BPF_REG_3);
	place[0] = p.n;
	mov_imm(BPF_REG_6, 8);
	finish();
	place[1] = p.n;
	mov_imm(BPF_REG_6, 9);
	finish();
	fill_table(at, place, 2);
	show("removed", 1);

	/* In a function that is called twice, and in its caller. */
	start();
	mov_reg(BPF_REG_1, BPF_REG_7);
	main_call[0] = call();
	alu_reg(BPF_ADD, BPF_REG_6, BPF_REG_0);
	choose(NULL, 4, 4, 3);
	mov_reg(BPF_REG_1, BPF_REG_6);
	alu_imm(BPF_AND, BPF_REG_1, 3);
	main_call[1] = call();
	alu_reg(BPF_ADD, BPF_REG_6, BPF_REG_0);
	finish();
	for (int i = 0; i < 2; i++)
		p.insn[main_call[i]].imm = p.n - main_call[i] - 1;
	mov_reg(BPF_REG_7, BPF_REG_1);
	mov_imm(BPF_REG_6, 1);
	choose(repeated, ARRAY_SIZE(repeated), 4, 5);
	finish();
	show("in_functions", 9);
}

/*
 * The verifier believes that the first entry is read; but from the table's
 * address R1 bytes on lies the packet, and with it the number.
 */
static void forge_number(char **numbers)
{
	int fd, place[3], table, honest;

	start();
	table = make_table(3);
	load_table(BPF_REG_3, table, 0);
	mov_reg(BPF_REG_1, BPF_REG_2);
	alu_reg(BPF_SUB, BPF_REG_1, BPF_REG_3);
	alu_imm(BPF_AND, BPF_REG_1, 0);
	alu_reg(BPF_ADD, BPF_REG_3, BPF_REG_1);
	emit(BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_3, BPF_REG_3, 0, 0);
	honest = emit(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_8, 0, 0, 0);
	gotox(BPF_REG_3);
	/* So that the verifier keeps all places. */
	land(honest);
	alu_imm(BPF_AND, BPF_REG_7, 1);
	alu_imm(BPF_ADD, BPF_REG_7, 1);
	alu_imm(BPF_LSH, BPF_REG_7, 3);
	load_table(BPF_REG_4, table, 0);
	alu_reg(BPF_ADD, BPF_REG_4, BPF_REG_7);
	emit(BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_4, BPF_REG_4, 0, 0);
	gotox(BPF_REG_4);
	for (int i = 0; i < 3; i++) {
		place[i] = p.n;
		mov_imm(BPF_REG_0, 100 + i);
		emit_exit();
	}
	fill_table(table, place, 3);
	fd = load("forge_number");
	for (; *numbers; numbers++)
		printf("%u\n", run(fd, strtoull(*numbers, NULL, 0)));
}

/* The verifier believes that it writes the packet. */
static void write_table(void)
{
	int fd, place, table;

	start();
	table = make_table(1);
	load_table(BPF_REG_3, table, 0);
	mov_reg(BPF_REG_1, BPF_REG_3);
	alu_reg(BPF_SUB, BPF_REG_1, BPF_REG_2);
	alu_imm(BPF_AND, BPF_REG_1, 0);
	alu_reg(BPF_ADD, BPF_REG_2, BPF_REG_1);
	emit(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_7, 0, 1, 0);
	emit(BPF_STX | BPF_MEM | BPF_DW, BPF_REG_2, BPF_REG_7, 0, 0);
	emit(BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_3, BPF_REG_3, 0, 0);
	gotox(BPF_REG_3);
	place = p.n;
	mov_imm(BPF_REG_0, 100);
	emit_exit();
	fill_table(table, &place, 1);
	fd = load("write_table");
	for (__u64 what = 0; what < 2; what++)
		printf("%u\n", run(fd, what));
	printf("%u\n", run(fd, 0));
}

/* The first entry leads to what does nothing, which the verifier removes. */
static void jump_to_removed(void)
{
	int fd, place[2], table;

	start();
	table = make_table(2);
	load_table(BPF_REG_3, table, 0);
	alu_imm(BPF_AND, BPF_REG_7, 1);
	alu_imm(BPF_LSH, BPF_REG_7, 3);
	alu_reg(BPF_ADD, BPF_REG_3, BPF_REG_7);
	emit(BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_3, BPF_REG_3, 0, 0);
	gotox(BPF_REG_3);
	place[0] = emit(BPF_JMP | BPF_JA, 0, 0, 0, 0);
	place[1] = p.n;
	mov_imm(BPF_REG_0, 100);
	emit_exit();
	fill_table(table, place, 2);
	fd = load("removed");
	for (__u64 what = 0; what < 2; what++)
		printf("%u\n", run(fd, what));
}

static void cost(int places, int repeat)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	unsigned char packet[64] = {places / 2, places / 2 >> 8};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));
	__u64 first;
	int fd;

	start();
	if (places)
		choose(NULL, places, places, 2);
	finish();
	fd = load("cost");
	/* A domain's first run on a CPU makes its frame there. */
	if (bpf_prog_test_run_opts(fd, &opts) || bpf_prog_get_info_by_fd(fd, &info, &len))
		die("a run: %s", strerror(errno));
	first = info.run_time_ns;
	info = (struct bpf_prog_info){};
	opts.repeat = repeat;
	opts.data_size_out = 0;
	if (bpf_prog_test_run_opts(fd, &opts) || bpf_prog_get_info_by_fd(fd, &info, &len))
		die("runs: %s", strerror(errno));
	printf("%llu\n", (info.run_time_ns - first + repeat / 2) / repeat);
}

int main(int argc, char **argv)
{
	pin_to_cpu(0);
	if (argc >= 2 && !strcmp(argv[1], "same")) {
		if (argc == 4 && !strcmp(argv[2], "--isolation"))
			isolation = fopen(argv[3], "w");
		same();
		if (isolation)
			fclose(isolation);
	} else if (argc >= 2 && !strcmp(argv[1], "number")) {
		forge_number(argv + 2);
	} else if (argc == 2 && !strcmp(argv[1], "write")) {
		write_table();
	} else if (argc == 2 && !strcmp(argv[1], "removed")) {
		jump_to_removed();
	} else if (argc == 4 && !strcmp(argv[1], "cost")) {
		cost(atoi(argv[2]), atoi(argv[3]));
	} else {
		die("jump_table: see the top of its source");
	}
	return 0;
}
