// SPDX-License-Identifier: GPL-2.0
/*
 * Which of the kernel's own kfuncs XDP programs may call: the verifier is asked
 * about each that the kernel's BTF has, by a program that calls it. Those that
 * are not in the list, one name a line, are printed.
 *
 *   kfunc_list LIST
 */
#include "runner.h"

#include <bpf/btf.h>
#include <stdbool.h>

static char log_buf[1 << 16];

/* Whether the verifier minds nothing of the call but, perhaps, its arguments. */
static bool may_call(int id)
{
	struct bpf_insn insns[] = {
		{.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL, .imm = id},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 2},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .log_level = 1, .log_buf = log_buf,
		    .log_size = sizeof(log_buf));
	int fd;

	log_buf[0] = 0;
	fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "kfunc", "GPL", insns, ARRAY_SIZE(insns), &opts);
	if (fd >= 0)
		close(fd);
	return !strstr(log_buf, "is not allowed");
}

static bool is_listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = list; (at = strstr(at, name)); at += len)
		if ((at == list || at[-1] == '\n') && at[len] == '\n')
			return true;
	return false;
}

int main(int argc, char **argv)
{
	static char list[1 << 16];
	struct btf *btf = btf__load_vmlinux_btf();
	int asked = 0, allowed = 0, missing = 0;
	FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;

	if (!f || !fread(list, 1, sizeof(list) - 1, f))
		die("usage: kfunc_list LIST");
	if (!btf)
		die("the kernel has no BTF");
	for (__u32 id = 1; id < btf__type_cnt(btf); id++) {
		const struct btf_type *tag = btf__type_by_id(btf, id), *func;
		const char *name;

		if (!btf_is_decl_tag(tag) ||
		    strcmp(btf__name_by_offset(btf, tag->name_off), "bpf_kfunc"))
			continue;
		func = btf__type_by_id(btf, tag->type);
		if (!btf_is_func(func))
			continue;
		name = btf__name_by_offset(btf, func->name_off);
		asked++;
		if (!may_call(tag->type))
			continue;
		allowed++;
		if (!is_listed(list, name)) {
			printf("# not listed: %s\n", name);
			missing++;
		}
	}
	printf("# kfuncs: %d, of which XDP programs may call %d\n", asked, allowed);
	/* Nothing asked, or everything refused, would say nothing. */
	return missing || allowed < 50 || asked == allowed;
}
