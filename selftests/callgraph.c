// SPDX-License-Identifier: GPL-2.0
/*
 * Generates programs of several functions that call each other, in raw
 * instructions, loads each, runs it with some packets, and prints a line:
 *
 *   program 17 insns=311 functions=7 depth=4 uses=context+loop digest=HASH
 *
 * The digest is over verdicts, packets and map contents. The same seed gives
 * the same programs, so two outputs are equal when they mean the same. A
 * program that the verifier does not take is printed as `rejected`.
 *
 *   callgraph [--count N] [--seed S] [--isolation FILE] [--only N] [--verbose]
 *
 * What is generated is valid by construction: calls go to functions of a
 * greater level only (no recursion, at most 8 frames); a level's stack is a
 * share of the 512 bytes; what the verifier will walk is estimated, and calls
 * are added only while that stays small; registers are used when they are set.
 * Main keeps the context in R6. Functions may take scalars, the context, a
 * pointer to 16 bytes of the caller's stack, and more than five arguments.
 */
#include "runner.h"

#include <bpf/btf.h>
#include <getopt.h>
#include <linux/bpf.h>
#include <stdbool.h>

#define MAX_FUNCTIONS 12
#define MAX_LEVEL 8
#define MAX_INSNS 20000
#define MAX_CALLS 4000
#define MAX_TABLES 4
#define TABLE_SIZE 4
#define MAX_WEIGHT 20000
#define VALUE_SIZE 64
#define ENTRIES 4

/* Newer than the header here: a jump table's map and its value. */
#define MAP_TYPE_INSN_ARRAY 34

struct table_value {
	__u32 orig_off, xlated_off, jitted_off, unused;
};

/* R11 names arguments from the sixth on. */
#define REG_PARAMS 11

enum use {
	USE_CONTEXT = 1,
	USE_POINTER = 2,
	USE_LOOP = 4,
	USE_HELPER = 8,
	USE_RESIZE = 16,
	USE_MANY = 32,
	USE_CALLBACK = 64,
	USE_TAIL = 128,
	USE_TABLE = 256,
	USE_THROW = 512,
};

static const char *const use_names[] = {
	"context", "pointer", "loop", "helper", "resize", "many", "callback", "tail", "table",
	"throw",
};

struct function {
	int level, start, weight;
	int stack;      /* bytes, all of them initialised at the start */
	int nr_args;    /* the context first, then a pointer, then numbers */
	bool context, pointer, callback;
	bool called;
	bool changes_packet;
	bool throws;            /* or what it calls */
	__u32 type_id;
};

struct generator {
	__u64 seed;
	struct bpf_insn insn[MAX_INSNS];
	int n;
	struct { int at, callee; } calls[MAX_CALLS];
	int nr_calls;
	struct function f[MAX_FUNCTIONS];
	int nr_functions, current;
	int level_stack[MAX_LEVEL];
	unsigned int live;      /* registers that hold a number */
	unsigned int uses;
	unsigned int allowed;
	int weight, factor;     /* of the current function; of the loop it is in */
	bool in_loop;
	int tables[MAX_TABLES], nr_tables;
	struct table_value table[MAX_TABLES][TABLE_SIZE];
};

static int array, single, prog_array, throw_id;
static bool verbose;

static unsigned int pick(struct generator *g, unsigned int below)
{
	return next_random(&g->seed) % below;
}

static bool chance(struct generator *g, unsigned int percent)
{
	return pick(g, 100) < percent;
}

static int emit(struct generator *g, __u8 code, __u8 dst, __u8 src, __s16 off, __s32 imm)
{
	if (g->n + 2 >= MAX_INSNS)
		die("a program of more than %d instructions", MAX_INSNS);
	g->insn[g->n] = (struct bpf_insn){
		.code = code, .dst_reg = dst, .src_reg = src, .off = off, .imm = imm};
	g->weight += g->factor;
	return g->n++;
}

static void mov_imm(struct generator *g, int dst, __s32 imm)
{
	emit(g, BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm);
}

static void mov_reg(struct generator *g, int dst, int src)
{
	emit(g, BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}

static void load_imm64(struct generator *g, int dst, int kind, __s32 low, __s32 high)
{
	emit(g, BPF_LD | BPF_DW | BPF_IMM, dst, kind, 0, low);
	emit(g, 0, 0, 0, 0, high);
}

/* The jump at `at` leads to here. */
static void land(struct generator *g, int at)
{
	g->insn[at].off = g->n - at - 1;
}

static struct function *self(struct generator *g)
{
	return &g->f[g->current];
}

/* R6 may be the context, R7 a pointer; R9 counts in a loop. */
static bool is_taken(struct generator *g, int reg)
{
	return (reg == BPF_REG_6 && self(g)->context) || (reg == BPF_REG_7 && self(g)->pointer) ||
	       (reg == BPF_REG_9 && g->in_loop);
}

static int live_number(struct generator *g)
{
	int reg;

	/* R8 is always one. */
	for (int tries = 0; tries < 20; tries++) {
		reg = pick(g, 10);
		if (g->live & 1u << reg)
			return reg;
	}
	return BPF_REG_8;
}

static int some_register(struct generator *g)
{
	int reg;

	do
		reg = pick(g, 10);
	while (is_taken(g, reg));
	return reg;
}

static void forget_scratch(struct generator *g)
{
	g->live &= ~0x3fu;
}

static void calculate(struct generator *g)
{
	static const __u8 ops[] = {
		BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR, BPF_AND, BPF_XOR, BPF_MOD,
		BPF_LSH, BPF_RSH, BPF_ARSH, BPF_MOV, BPF_NEG, BPF_END,
	};
	__u8 op = ops[pick(g, ARRAY_SIZE(ops))];
	__u8 class = chance(g, 60) ? BPF_ALU64 : BPF_ALU;
	int dst = some_register(g), src = live_number(g);
	int bits = class == BPF_ALU64 ? 64 : 32;

	if (op != BPF_MOV && !(g->live & 1u << dst)) {
		mov_reg(g, dst, src);
		g->live |= 1u << dst;
		src = live_number(g);
	}
	switch (op) {
	case BPF_NEG:
		emit(g, class | BPF_NEG, dst, 0, 0, 0);
		break;
	case BPF_END:
		emit(g, (chance(g, 50) ? BPF_ALU64 : BPF_ALU | BPF_TO_BE) | BPF_END, dst, 0, 0,
		     16 << pick(g, 3));
		break;
	case BPF_MOV:
		if (chance(g, 30)) { /* sign-extending */
			emit(g, class | BPF_MOV | BPF_X, dst, src, 8 << pick(g, bits == 64 ? 3 : 2), 0);
		} else if (chance(g, 50)) {
			emit(g, class | BPF_MOV | BPF_X, dst, src, 0, 0);
		} else if (chance(g, 50)) {
			mov_imm(g, dst, next_random(&g->seed));
		} else {
			load_imm64(g, dst, 0, next_random(&g->seed), next_random(&g->seed));
		}
		break;
	case BPF_LSH:
	case BPF_RSH:
	case BPF_ARSH:
		if (chance(g, 70))
			emit(g, class | op | BPF_K, dst, 0, 0, pick(g, bits));
		else
			emit(g, class | op | BPF_X, dst, src, 0, 0);
		break;
	case BPF_DIV:
	case BPF_MOD: {
		__s16 is_signed = chance(g, 30);

		if (chance(g, 50))
			emit(g, class | op | BPF_X, dst, src, is_signed, 0);
		else
			emit(g, class | op | BPF_K, dst, 0, is_signed, 1 + pick(g, 100000));
		break;
	}
	default:
		if (chance(g, 50))
			emit(g, class | op | BPF_X, dst, src, 0, 0);
		else
			emit(g, class | op | BPF_K, dst, 0, 0, next_random(&g->seed));
	}
	g->live |= 1u << dst;
}

static const __u8 widths[] = {BPF_B, BPF_H, BPF_W, BPF_DW};

/* Own stack, or what the caller lent. */
static void use_memory(struct generator *g)
{
	struct function *f = self(g);
	bool lent = f->pointer && (!f->stack || chance(g, 50));
	int room = lent ? 16 : f->stack, width = pick(g, 4), size = 1 << width;
	int base = lent ? BPF_REG_7 : BPF_REG_10, off, dst;

	if (!room)
		return;
	off = pick(g, room / size) * size - (lent ? 0 : room);
	switch (pick(g, 4)) {
	case 0:
		emit(g, BPF_STX | BPF_MEM | widths[width], base, live_number(g), off, 0);
		break;
	case 1:
		emit(g, BPF_ST | BPF_MEM | widths[width], base, 0, off, next_random(&g->seed));
		break;
	case 2:
		if (size >= 4) {
			static const int ops[] = {BPF_ADD, BPF_OR, BPF_AND, BPF_XOR};

			emit(g, BPF_STX | BPF_ATOMIC | widths[width], base, live_number(g), off,
			     ops[pick(g, 4)]);
			break;
		}
		/* fallthrough */
	default:
		dst = some_register(g);
		emit(g, BPF_LDX | (size < 8 && chance(g, 30) ? BPF_MEMSX : BPF_MEM) | widths[width],
		     dst, base, off, 0);
		g->live |= 1u << dst;
	}
}

static void use_packet(struct generator *g)
{
	int width = pick(g, 4), off = pick(g, 48), skip;
	bool store = chance(g, 50);
	int value = live_number(g);

	if (value < BPF_REG_6) {
		mov_reg(g, BPF_REG_5, value);
		value = BPF_REG_5;
	}
	g->uses |= USE_CONTEXT;
	emit(g, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_6, 0, 0);
	emit(g, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_3, BPF_REG_6, 4, 0);
	mov_reg(g, BPF_REG_4, BPF_REG_2);
	emit(g, BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_4, 0, 0, off + 8);
	mov_imm(g, BPF_REG_0, 0);
	skip = emit(g, BPF_JMP | BPF_JGT | BPF_X, BPF_REG_4, BPF_REG_3, 0, 0);
	if (store)
		emit(g, BPF_STX | BPF_MEM | widths[width], BPF_REG_2, value, off, 0);
	else
		emit(g, BPF_LDX | BPF_MEM | widths[width], BPF_REG_0, BPF_REG_2, off, 0);
	land(g, skip);
	forget_scratch(g);
	g->live |= 1;
}

static void call(struct generator *g, int helper)
{
	emit(g, BPF_JMP | BPF_CALL, 0, 0, 0, helper);
	forget_scratch(g);
	g->live |= 1;
	g->uses |= USE_HELPER;
}

/* A pointer into the own stack that leaves `room` bytes. */
static void point(struct generator *g, int reg, int room)
{
	int slots = (self(g)->stack - room) / 8 + 1;

	mov_reg(g, reg, BPF_REG_10);
	emit(g, BPF_ALU64 | BPF_ADD | BPF_K, reg, 0, 0, -self(g)->stack + 8 * (int)pick(g, slots));
}

static void use_helper(struct generator *g)
{
	int skip, value;

	if (self(g)->stack < 16)
		return;
	switch (pick(g, self(g)->context ? 8 : 5)) {
	case 0: /* look-up, and the value is read and written */
		mov_reg(g, BPF_REG_1, live_number(g));
		emit(g, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_1, 0, 0, chance(g, 80) ? 3 : 7);
		emit(g, BPF_STX | BPF_MEM | BPF_W, BPF_REG_10, BPF_REG_1, -self(g)->stack, 0);
		mov_reg(g, BPF_REG_2, BPF_REG_10);
		emit(g, BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -self(g)->stack);
		load_imm64(g, BPF_REG_1, BPF_PSEUDO_MAP_FD, array, 0);
		call(g, BPF_FUNC_map_lookup_elem);
		g->live &= ~1u;
		value = live_number(g);
		mov_imm(g, BPF_REG_1, 1);
		skip = emit(g, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 0, 0);
		emit(g, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_1, BPF_REG_0, 8 * pick(g, 8), 0);
		emit(g, BPF_STX | BPF_MEM | BPF_DW, BPF_REG_0, value, 8 * pick(g, 8), 0);
		emit(g, BPF_STX | BPF_ATOMIC | BPF_DW, BPF_REG_0, BPF_REG_1, 8 * pick(g, 8), BPF_ADD);
		land(g, skip);
		mov_reg(g, BPF_REG_0, BPF_REG_1);
		forget_scratch(g);
		g->live |= 1;
		break;
	case 1:
		mov_reg(g, BPF_REG_5, live_number(g));
		point(g, BPF_REG_1, 8);
		mov_imm(g, BPF_REG_2, 8);
		point(g, BPF_REG_3, 16);
		mov_imm(g, BPF_REG_4, 16);
		call(g, BPF_FUNC_csum_diff);
		break;
	case 2: /* the runner stays on one */
		call(g, BPF_FUNC_get_smp_processor_id);
		break;
	case 3: /* the key is some number, mostly out of range */
		mov_imm(g, BPF_REG_4, BPF_ANY);
		emit(g, BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, -self(g)->stack, pick(g, 6));
		mov_reg(g, BPF_REG_2, BPF_REG_10);
		emit(g, BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -self(g)->stack);
		load_imm64(g, BPF_REG_3, BPF_PSEUDO_MAP_VALUE, single, 0);
		load_imm64(g, BPF_REG_1, BPF_PSEUDO_MAP_FD, array, 0);
		call(g, BPF_FUNC_map_update_elem);
		break;
	case 4: /* no helper: a value by its address, somewhere in it */
		value = live_number(g);
		if (value == BPF_REG_0) {
			mov_reg(g, BPF_REG_1, BPF_REG_0);
			value = BPF_REG_1;
		}
		load_imm64(g, BPF_REG_0, BPF_PSEUDO_MAP_VALUE, single, 8 * pick(g, 4));
		emit(g, BPF_STX | BPF_MEM | BPF_DW, BPF_REG_0, value, 8 * pick(g, 4), 0);
		emit(g, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_0, BPF_REG_0, 8 * pick(g, 4), 0);
		g->live |= 1;
		break;
	case 5:
	case 6: {
		bool store = chance(g, 40);

		mov_reg(g, BPF_REG_1, BPF_REG_6);
		mov_imm(g, BPF_REG_2, pick(g, 80));
		point(g, BPF_REG_3, 12);
		mov_imm(g, BPF_REG_4, 1 + pick(g, 12));
		call(g, store ? BPF_FUNC_xdp_store_bytes : BPF_FUNC_xdp_load_bytes);
		g->uses |= USE_CONTEXT;
		break;
	}
	case 7:
		mov_reg(g, BPF_REG_1, BPF_REG_6);
		if (chance(g, 50)) {
			call(g, BPF_FUNC_xdp_get_buff_len);
		} else {
			mov_imm(g, BPF_REG_2, (int)pick(g, 17) - 8);
			call(g, chance(g, 50) ? BPF_FUNC_xdp_adjust_head : BPF_FUNC_xdp_adjust_tail);
			g->uses |= USE_RESIZE;
		}
		g->uses |= USE_CONTEXT;
	}
}

static void generate_block(struct generator *g, int length, int depth);

static bool can_call(struct generator *g, int i)
{
	struct function *f = &g->f[i];

	return f->level > self(g)->level && (!f->context || self(g)->context) &&
	       (!f->pointer || self(g)->stack >= 16 || self(g)->pointer) && !f->callback &&
	       !(f->throws && g->in_loop);
}

static void call_function(struct generator *g, int i)
{
	struct function *f = &g->f[i];
	int reg = BPF_REG_1, arg = 1;

	/* Stores for the callee first: numbers only, R1 to R5 follow. */
	for (int a = 6; a <= f->nr_args; a++) {
		if (chance(g, 30))
			emit(g, BPF_ST | BPF_MEM | BPF_DW, REG_PARAMS, 0, 8 * (5 - a),
			     next_random(&g->seed));
		else
			emit(g, BPF_STX | BPF_MEM | BPF_DW, REG_PARAMS, live_number(g),
			     8 * (5 - a), 0);
		g->uses |= USE_MANY;
	}
	/* From the last to the first, so that none of R1 to R5 is lost too soon. */
	for (arg = f->nr_args < 5 ? f->nr_args : 5; arg >= 1; arg--) {
		if ((f->context && arg == 1) || (f->pointer && arg == 1 + f->context))
			continue;
		reg = live_number(g);
		if (reg != arg)
			mov_reg(g, arg, reg);
		g->live |= 1u << arg;
	}
	if (f->pointer) {
		if (self(g)->pointer && (self(g)->stack < 16 || chance(g, 40)))
			mov_reg(g, 1 + f->context, BPF_REG_7);
		else
			point(g, 1 + f->context, 16);
		g->uses |= USE_POINTER;
	}
	if (f->context)
		mov_reg(g, BPF_REG_1, BPF_REG_6);
	if (g->nr_calls == MAX_CALLS)
		die("more than %d calls", MAX_CALLS);
	g->calls[g->nr_calls].at = emit(g, BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, 0);
	g->calls[g->nr_calls++].callee = i;
	g->weight += g->factor * f->weight;
	f->called = true;
	self(g)->throws |= f->throws;
	forget_scratch(g);
	g->live |= 1;
}

static void call_some_function(struct generator *g)
{
	int first = 1 + pick(g, g->nr_functions - 1);

	for (int n = 0; n < g->nr_functions - 1; n++) {
		int i = 1 + (first + n) % (g->nr_functions - 1);

		if (can_call(g, i) && g->weight + g->factor * g->f[i].weight < MAX_WEIGHT / 2 &&
		    (!g->f[i].called || chance(g, 50))) {
			call_function(g, i);
			return;
		}
	}
}

/* bpf_loop with a callback of (index, pointer to 16 bytes of stack). */
static void call_loop_of(struct generator *g, int i)
{
	struct function *f = &g->f[i];

	/*
	 * Never 0: if the verifier knows that it is, it removes the callback, and
	 * the kernel warns that there is no program to JIT (Linux 7.2).
	 */
	if (chance(g, 50)) {
		mov_reg(g, BPF_REG_1, live_number(g));
		emit(g, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_1, 0, 0, 7);
		emit(g, BPF_ALU64 | BPF_OR | BPF_K, BPF_REG_1, 0, 0, 1);
	} else {
		mov_imm(g, BPF_REG_1, 1 + pick(g, 6));
	}
	load_imm64(g, BPF_REG_2, BPF_PSEUDO_FUNC, 0, 0);
	if (g->nr_calls == MAX_CALLS)
		die("more than %d calls", MAX_CALLS);
	g->calls[g->nr_calls].at = g->n - 2;
	g->calls[g->nr_calls++].callee = i;
	point(g, BPF_REG_3, 16);
	mov_imm(g, BPF_REG_4, 0);
	call(g, BPF_FUNC_loop);
	g->weight += 4 * g->factor * f->weight;
	f->called = true;
	g->uses |= USE_CALLBACK;
}

static void call_some_loop(struct generator *g)
{
	if (self(g)->stack < 16)
		return;
	for (int i = 1; i < g->nr_functions; i++)
		if (g->f[i].callback && g->f[i].level > self(g)->level &&
		    g->weight + 4 * g->factor * g->f[i].weight < MAX_WEIGHT / 2) {
			call_loop_of(g, i);
			return;
		}
}

static void jump_by_table(struct generator *g)
{
	int t = g->nr_tables, done[TABLE_SIZE];
	unsigned int live, after = ~0u;

	if (t == MAX_TABLES || g->in_loop)
		return;
	g->nr_tables++;
	mov_reg(g, BPF_REG_1, live_number(g));
	emit(g, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_1, 0, 0, TABLE_SIZE - 1);
	emit(g, BPF_ALU64 | BPF_LSH | BPF_K, BPF_REG_1, 0, 0, 3);
	load_imm64(g, BPF_REG_2, BPF_PSEUDO_MAP_VALUE, g->tables[t], 0);
	emit(g, BPF_ALU64 | BPF_ADD | BPF_X, BPF_REG_2, BPF_REG_1, 0, 0);
	emit(g, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_2, BPF_REG_2, 0, 0);
	emit(g, BPF_JMP | BPF_JA | BPF_X, BPF_REG_2, 0, 0, 0);
	g->live &= ~6u;
	live = g->live;
	for (int i = 0; i < TABLE_SIZE; i++) {
		g->live = live;
		g->table[t][i].orig_off = g->n;
		/*
		 * A target that the verifier removes, as it does a jump to the next
		 * instruction, leaves 0 in the table: the kernel jumps there.
		 */
		emit(g, BPF_ALU64 | BPF_XOR | BPF_K, BPF_REG_8, 0, 0, next_random(&g->seed));
		generate_block(g, 1 + pick(g, 2), 3);
		after &= g->live;
		done[i] = emit(g, BPF_JMP | BPF_JA, 0, 0, 0, 0);
	}
	for (int i = 0; i < TABLE_SIZE; i++)
		land(g, done[i]);
	g->live = after;
	g->uses |= USE_TABLE;
}

/* Goes to the target, which ends this function, or goes on. */
static void tail_call(struct generator *g)
{
	mov_reg(g, BPF_REG_1, BPF_REG_6);
	load_imm64(g, BPF_REG_2, BPF_PSEUDO_MAP_FD, prog_array, 0);
	mov_imm(g, BPF_REG_3, chance(g, 50));
	call(g, BPF_FUNC_tail_call);
	g->live &= ~1u;
	g->uses |= USE_TAIL;
}

/*
 * At times; the kernel's own callback makes the number the verdict. Not in a
 * loop: the verifier can lose count of its states there, and warns (Linux 7.2,
 * "scc exit: no visit info").
 */
static void throw(struct generator *g)
{
	int live = live_number(g), skip;

	if (g->in_loop)
		return;
	skip = emit(g, BPF_JMP | BPF_JSET | BPF_K, live, 0, 0, next_random(&g->seed) & 0x111111);
	mov_reg(g, BPF_REG_1, live);
	emit(g, BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, throw_id);
	land(g, skip);
	g->live &= ~2u;
	self(g)->throws = true;
	g->uses |= USE_THROW;
}

static void branch(struct generator *g, int depth)
{
	static const __u8 ops[] = {
		BPF_JEQ, BPF_JNE, BPF_JGT, BPF_JGE, BPF_JLT, BPF_JLE,
		BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE, BPF_JSET,
	};
	__u8 class = chance(g, 60) ? BPF_JMP : BPF_JMP32, op = ops[pick(g, ARRAY_SIZE(ops))];
	unsigned int before = g->live, taken;
	int jump, end;

	if (chance(g, 50))
		jump = emit(g, class | op | BPF_X, live_number(g), live_number(g), 0, 0);
	else
		jump = emit(g, class | op | BPF_K, live_number(g), 0, 0, next_random(&g->seed));
	generate_block(g, 1 + pick(g, 4), depth + 1);
	if (chance(g, 50)) {
		land(g, jump);
		g->live &= before;
		return;
	}
	taken = g->live;
	end = emit(g, BPF_JMP | BPF_JA, 0, 0, 0, 0);
	land(g, jump);
	g->live = before;
	generate_block(g, 1 + pick(g, 4), depth + 1);
	land(g, end);
	g->live &= taken;
}

/* R9 counts; the verifier walks each round. */
static void loop(struct generator *g, int depth)
{
	int rounds = 2 + pick(g, 4), start, factor = g->factor;
	unsigned int before;

	if (g->in_loop || g->weight > MAX_WEIGHT / 4)
		return;
	mov_imm(g, BPF_REG_9, rounds);
	g->live &= ~(1u << BPF_REG_9);
	g->in_loop = true;
	g->factor *= rounds;
	/* R1 to R5 are set or not by what the body does: none is relied on. */
	forget_scratch(g);
	before = g->live;
	start = g->n;
	generate_block(g, 2 + pick(g, 4), depth + 1);
	emit(g, BPF_ALU64 | BPF_SUB | BPF_K, BPF_REG_9, 0, 0, 1);
	emit(g, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_9, 0, start - g->n - 1, 0);
	g->factor = factor;
	g->in_loop = false;
	g->live &= before;
	g->live |= 1u << BPF_REG_9;
	g->uses |= USE_LOOP;
}

static void generate_block(struct generator *g, int length, int depth)
{
	for (int i = 0; i < length; i++) {
		unsigned int what = pick(g, 100);

		if (what < 40)
			calculate(g);
		else if (what < 55)
			use_memory(g);
		else if (what < 65 && self(g)->context)
			use_packet(g);
		else if (what < 75)
			use_helper(g);
		else if (what < 88)
			call_some_function(g);
		else if (what < 91 && g->allowed & USE_CALLBACK)
			call_some_loop(g);
		else if (what < 93 && g->allowed & USE_TABLE && depth < 2)
			jump_by_table(g);
		else if (what < 96 && g->allowed & USE_TAIL && self(g)->context && g->current)
			tail_call(g);
		else if (what < 97 && g->allowed & USE_THROW)
			throw(g);
		else if (depth < 2 && what < 97)
			branch(g, depth);
		else if (depth < 2)
			loop(g, depth);
	}
}

static void leave(struct generator *g)
{
	int reg = live_number(g);

	if (reg != BPF_REG_0)
		mov_reg(g, BPF_REG_0, reg);
	emit(g, BPF_ALU64 | BPF_XOR | BPF_X, BPF_REG_0, BPF_REG_8, 0, 0);
	if (self(g)->callback)
		emit(g, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_0, 0, 0, 1);
	emit(g, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static void generate_function(struct generator *g, int i)
{
	struct function *f = &g->f[i];
	int args = f->nr_args < 5 ? f->nr_args : 5;

	g->current = i;
	g->weight = 0;
	g->factor = 1;
	g->in_loop = false;
	g->live = 0;
	f->start = g->n;
	for (int a = 1; a <= args; a++)
		g->live |= 1u << a;
	/* What came beyond R5 is taken before anything is passed on. */
	mov_imm(g, BPF_REG_8, next_random(&g->seed));
	for (int a = 6; a <= f->nr_args; a++) {
		emit(g, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_0, REG_PARAMS, 8 * (a - 5), 0);
		emit(g, BPF_ALU64 | (a & 1 ? BPF_ADD : BPF_XOR) | BPF_X, BPF_REG_8, BPF_REG_0, 0, 0);
	}
	if (f->context)
		mov_reg(g, BPF_REG_6, BPF_REG_1);
	else
		mov_imm(g, BPF_REG_6, next_random(&g->seed));
	if (f->pointer)
		mov_reg(g, BPF_REG_7, f->callback ? BPF_REG_2 : 1 + f->context);
	else
		mov_imm(g, BPF_REG_7, next_random(&g->seed));
	mov_imm(g, BPF_REG_9, next_random(&g->seed));
	for (int off = -f->stack; off < 0; off += 8)
		emit(g, BPF_ST | BPF_MEM | BPF_DW, BPF_REG_10, 0, off, next_random(&g->seed));
	g->live |= 1u << 8 | 1u << 9;
	if (f->context)
		g->live &= ~(1u << 6 | 1u << 1);
	else
		g->live |= 1u << 6;
	if (f->pointer)
		g->live &= ~(1u << 7 | 1u << (f->callback ? 2 : 1 + f->context));
	else
		g->live |= 1u << 7;

	generate_block(g, 4 + pick(g, i ? 12 : 20), 0);
	if (chance(g, 40)) { /* a second way out */
		unsigned int live = g->live;
		int jump = emit(g, BPF_JMP | BPF_JSET | BPF_K, BPF_REG_8, 0, 0, 1 << pick(g, 31));

		leave(g);
		land(g, jump);
		g->live = live;
		generate_block(g, 1 + pick(g, 4), 0);
	}
	if (!i) /* main calls what nobody did */
		for (int callee = 1; callee < g->nr_functions; callee++) {
			if (g->f[callee].called)
				continue;
			if (g->f[callee].callback)
				call_loop_of(g, callee);
			else
				call_function(g, callee);
		}
	leave(g);
	f->weight = g->weight;
}

static void generate(struct generator *g, __u64 seed)
{
	int depth = 2 + seed % (MAX_LEVEL - 1), start = 0;
	struct bpf_insn *main_insn;

	memset(g, 0, offsetof(struct generator, tables));
	g->nr_tables = 0;
	g->seed = hash_bytes(HASH_START, &seed, sizeof(seed));
	switch (pick(g, 8)) {
	case 0: g->allowed = USE_MANY; break;
	case 1: g->allowed = USE_CALLBACK; break;
	case 2: g->allowed = USE_TAIL; break;
	case 3: g->allowed = USE_TABLE; break;
	case 4: g->allowed = USE_THROW; break;
	}
	g->nr_functions = 2 + pick(g, MAX_FUNCTIONS - 1);
	/* Less below callers of a function with a tail call: 256 above it. */
	for (int level = 0; level < depth; level++)
		g->level_stack[level] = ((g->allowed & USE_TAIL ? 256 : 512) / depth) / 16 * 16;
	for (int i = 0; i < g->nr_functions; i++) {
		struct function *f = &g->f[i];

		f->level = i ? 1 + (int)pick(g, depth - 1) : 0;
		f->stack = pick(g, g->level_stack[f->level] / 8 + 1) * 8;
		if (!i || chance(g, 40))
			f->stack = g->level_stack[f->level];
		f->context = !i || chance(g, 50);
		f->pointer = i && chance(g, 40);
		f->nr_args = i ? f->context + f->pointer + pick(g, 4) : 1;
		if (i && g->allowed & USE_MANY && chance(g, 60))
			f->nr_args = 6 + pick(g, 3);
		if (i && g->allowed & USE_CALLBACK && (i == 1 || chance(g, 30))) {
			f->callback = f->pointer = true;
			f->context = false;
			f->nr_args = 2;
		}
	}
	/* Callees before callers, so that their weight is known: main comes last. */
	for (int level = depth - 1; level >= 0; level--)
		for (int i = 0; i < g->nr_functions; i++)
			if (g->f[i].level == level)
				generate_function(g, i);
	/* Main must be first. Everything moves by its length, or to the start. */
	start = g->f[0].start;
	main_insn = malloc((g->n - start) * sizeof(*main_insn));
	if (!main_insn)
		die("no memory");
	memcpy(main_insn, g->insn + start, (g->n - start) * sizeof(*main_insn));
	memmove(g->insn + g->n - start, g->insn, start * sizeof(*main_insn));
	memcpy(g->insn, main_insn, (g->n - start) * sizeof(*main_insn));
	free(main_insn);
#define MOVED(at) ((at) >= start ? (at) - start : (at) + g->n - start)
	for (int i = 0; i < g->nr_functions; i++)
		g->f[i].start = MOVED(g->f[i].start);
	for (int i = 0; i < g->nr_calls; i++) {
		int at = MOVED(g->calls[i].at);

		g->insn[at].imm = g->f[g->calls[i].callee].start - at - 1;
	}
	for (int t = 0; t < g->nr_tables; t++)
		for (int i = 0; i < TABLE_SIZE; i++)
			g->table[t][i].orig_off = MOVED((int)g->table[t][i].orig_off);
#undef MOVED
}

/* The longest chain of calls, by starts; functions are few. */
static int call_depth(const struct generator *g, int i)
{
	int deepest = 0, end = g->n;

	for (int n = 0; n < g->nr_functions; n++)
		if (g->f[n].start > g->f[i].start && g->f[n].start < end)
			end = g->f[n].start;
	for (int at = g->f[i].start; at < end; at++) {
		const struct bpf_insn *insn = &g->insn[at];

		if (!(insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == BPF_PSEUDO_CALL) &&
		    !(insn->code == (BPF_LD | BPF_DW | BPF_IMM) && insn->src_reg == BPF_PSEUDO_FUNC))
			continue;
		for (int n = 0; n < g->nr_functions; n++)
			if (g->f[n].start == at + 1 + insn->imm) {
				int below = call_depth(g, n);

				deepest = below > deepest ? below : deepest;
			}
	}
	return deepest + 1;
}

/* Types for callbacks, for many arguments, and for tail calls in functions. */
static struct btf *make_types(struct generator *g)
{
	static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
	struct btf *btf = btf__new_empty();
	int number, integer, structure, context, memory, err = 0;

	if (!btf)
		die("types: %s", strerror(errno));
	integer = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	number = btf__add_int(btf, "long", 8, BTF_INT_SIGNED);
	structure = btf__add_struct(btf, "xdp_md", 4);
	err |= btf__add_field(btf, "data", integer, 0, 0);
	context = btf__add_ptr(btf, structure);
	memory = btf__add_ptr(btf, number);
	for (int i = 0; i < g->nr_functions; i++) {
		struct function *f = &g->f[i];
		char name[16];
		/* A function that has a tail call must return an int. */
		int proto = btf__add_func_proto(btf, !i || g->uses & USE_TAIL ? integer : number);

		for (int a = 0; a < f->nr_args; a++) {
			int type = f->callback ? (a ? memory : integer) :
				   f->context && !a ? context :
				   f->pointer && a == f->context ? memory : number;

			err |= btf__add_func_param(btf, names[a], type);
		}
		snprintf(name, sizeof(name), "f%d", i);
		f->type_id = btf__add_func(btf, name, i ? BTF_FUNC_STATIC : BTF_FUNC_GLOBAL, proto);
	}
	if (err || btf__load_into_kernel(btf))
		die("types: %s", strerror(errno));
	return btf;
}

static int by_start(const void *a, const void *b)
{
	return *(const __s32 *)a - *(const __s32 *)b;
}

static int make_tables(struct generator *g)
{
	for (int t = 0; t < MAX_TABLES; t++) {
		if (g->tables[t] > 0)
			close(g->tables[t]);
		g->tables[t] = bpf_map_create(MAP_TYPE_INSN_ARRAY, "table", 4,
					      sizeof(struct table_value), TABLE_SIZE, NULL);
		if (g->tables[t] < 0)
			return -1;
	}
	return 0;
}

static void fill_tables(struct generator *g)
{
	for (int t = 0; t < g->nr_tables; t++) {
		for (__u32 i = 0; i < TABLE_SIZE; i++)
			if (bpf_map_update_elem(g->tables[t], &i, &g->table[t][i], BPF_ANY))
				die("a jump table: %s", strerror(errno));
		if (bpf_map_freeze(g->tables[t]))
			die("freezing a jump table: %s", strerror(errno));
	}
}

static int load(struct generator *g)
{
	static char log[1 << 20];
	struct { __u32 insn_off, type_id; } info[MAX_FUNCTIONS];
	LIBBPF_OPTS(bpf_prog_load_opts, opts);
	struct btf *btf = NULL;
	int fd;

	if (g->uses & (USE_MANY | USE_CALLBACK | USE_TAIL)) {
		btf = make_types(g);
		for (int i = 0; i < g->nr_functions; i++) {
			info[i].insn_off = g->f[i].start;
			info[i].type_id = g->f[i].type_id;
		}
		qsort(info, g->nr_functions, sizeof(info[0]), by_start);
		opts.prog_btf_fd = btf__fd(btf);
		opts.func_info = info;
		opts.func_info_cnt = g->nr_functions;
		opts.func_info_rec_size = sizeof(info[0]);
	}
	fill_tables(g);
	if (verbose) {
		log[0] = 0;
		opts.log_buf = log;
		opts.log_size = sizeof(log);
		opts.log_level = 1;
	}
	fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "callgraph", "GPL", g->insn, g->n, &opts);
	if (fd < 0 && verbose) {
		size_t len = strlen(log);

		fprintf(stderr, "%s\n", log + (len > 1500 ? len - 1500 : 0));
	}
	btf__free(btf);
	return fd;
}

/* Both arrays: filled, or hashed. */
static __u64 all_values(bool fill, __u64 digest)
{
	static unsigned char value[VALUE_SIZE];

	for (__u32 i = 0; i <= ENTRIES; i++) {
		__u32 key = i % ENTRIES;
		int fd = i < ENTRIES ? array : single;

		memset(value, i * 17 + 1, sizeof(value));
		if (fill ? bpf_map_update_elem(fd, &key, value, BPF_ANY) :
			   bpf_map_lookup_elem(fd, &key, value))
			die("the arrays: %s", strerror(errno));
		digest = hash_bytes(digest, value, sizeof(value));
	}
	return digest;
}

static __u64 run(int fd)
{
	static const unsigned int sizes[] = {64, 256, 1500};
	static unsigned char in[2048], out[4096];
	__u64 digest = all_values(true, HASH_START);

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in, .data_size_in = sizes[i],
			    .data_out = out, .data_size_out = sizeof(out), .repeat = 1 + i);
		__u64 state = sizes[i];

		for (unsigned int n = 0; n < sizes[i]; n++)
			in[n] = next_random(&state);
		if (bpf_prog_test_run_opts(fd, &opts))
			die("a run: %s", strerror(errno));
		digest = hash_bytes(digest, &opts.retval, sizeof(opts.retval));
		digest = hash_bytes(digest, out, opts.data_size_out);
	}
	return all_values(false, digest);
}

static void print_uses(FILE *f, unsigned int uses)
{
	const char *separator = "";

	for (size_t i = 0; i < ARRAY_SIZE(use_names); i++)
		if (uses & 1u << i) {
			fprintf(f, "%s%s", separator, use_names[i]);
			separator = "+";
		}
}

static int find_throw(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	int id = btf ? btf__find_by_name_kind(btf, "bpf_throw", BTF_KIND_FUNC) : -1;

	if (id < 0)
		die("bpf_throw: %s", strerror(errno));
	btf__free(btf);
	return id;
}

/* What tail calls lead to: changes a byte of the packet, if there is one. */
static void make_target(void)
{
	static const struct bpf_insn insn[] = {
		{BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1, 0, 0},
		{BPF_LDX | BPF_MEM | BPF_W, BPF_REG_3, BPF_REG_1, 4, 0},
		{BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_4, BPF_REG_2, 0, 0},
		{BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_4, 0, 0, 30},
		{BPF_JMP | BPF_JGT | BPF_X, BPF_REG_4, BPF_REG_3, 1, 0},
		{BPF_ST | BPF_MEM | BPF_B, BPF_REG_2, 0, 29, 0x5a},
		{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 77},
		{BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "target", "GPL", insn, ARRAY_SIZE(insn), NULL);
	__u32 key = 0;

	if (fd < 0 || bpf_map_update_elem(prog_array, &key, &fd, BPF_ANY))
		die("the tail calls' target: %s", strerror(errno));
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"count", required_argument, NULL, 'c'},
		{"seed", required_argument, NULL, 's'},
		{"isolation", required_argument, NULL, 'i'},
		{"only", required_argument, NULL, 'o'},
		{"verbose", no_argument, NULL, 'v'},
		{},
	};
	static struct generator g;
	int count = 100, only = -1, rejected = 0, c;
	FILE *isolation = NULL;
	__u64 seed = 1;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'c': count = atoi(optarg); break;
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'o': only = atoi(optarg); break;
		case 'v': verbose = true; break;
		case 'i':
			isolation = fopen(optarg, "w");
			if (isolation)
				break;
			/* fallthrough */
		default: die("callgraph: see the top of its source");
		}
	}
	pin_to_cpu(0);
	array = bpf_map_create(BPF_MAP_TYPE_ARRAY, "array", 4, VALUE_SIZE, ENTRIES, NULL);
	prog_array = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "targets", 4, 4, 2, NULL);
	single = bpf_map_create(BPF_MAP_TYPE_ARRAY, "single", 4, VALUE_SIZE, 1, NULL);
	if (array < 0 || single < 0 || prog_array < 0)
		die("maps: %s", strerror(errno));
	make_target();
	throw_id = find_throw();
	for (int i = 0; i < count; i++) {
		int fd;

		if (only >= 0 && i != only)
			continue;
		if (make_tables(&g))
			die("jump tables: %s", strerror(errno));
		generate(&g, seed * 1000003 + i);
		printf("program %d insns=%d functions=%d depth=%d uses=", i, g.n, g.nr_functions,
		       call_depth(&g, 0));
		print_uses(stdout, g.uses);
		fd = load(&g);
		if (fd < 0) {
			printf(" rejected: %s\n", strerror(errno));
			rejected++;
			continue;
		}
		if (isolation) {
			char state[256];

			program_state(program_id(fd), state, sizeof(state));
			fprintf(isolation, "callgraph/%d:", i);
			print_uses(isolation, g.uses);
			fprintf(isolation, " %s\n", state);
		}
		fflush(stdout);
		printf(" digest=%016llx\n", run(fd));
		fflush(stdout);
		close(fd);
	}
	printf("total %d rejected %d\n", only >= 0 ? 1 : count, rejected);
	if (isolation)
		fclose(isolation);
	return 0;
}
