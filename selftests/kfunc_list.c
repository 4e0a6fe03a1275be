// SPDX-License-Identifier: GPL-2.0
/*
 * Which kfuncs of the kernel and of its modules XDP programs may call: the verifier is
 * asked about each that their BTF has, by a program that calls it. Those that are not in
 * the list, one name a line, are printed.
 *
 *   kfunc_list LIST
 */
#include "runner.h"

#include <bpf/btf.h>
#include <stdbool.h>

static char log_buf[1 << 16];

static int asked, allowed, missing;

/*
 * Whether the verifier minds nothing of the call but, perhaps, its arguments. `module` is the
 * module's BTF, or 0.
 */
static bool may_call(int id, int module)
{
	int fds[2] = {0, module};
	struct bpf_insn insns[] = {
		{.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL, .imm = id,
		 .off = !!module},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 2},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .log_level = 1, .log_buf = log_buf,
		    .log_size = sizeof(log_buf), .fd_array = fds);
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

static void ask(const char *list, struct btf *btf, __u32 first, int module)
{
	for (__u32 id = first; id < btf__type_cnt(btf); id++) {
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
		if (!may_call(tag->type, module))
			continue;
		allowed++;
		if (!is_listed(list, name)) {
			printf("# not listed: %s\n", name);
			missing++;
		}
	}
}

static void ask_modules(const char *list, struct btf *kernel)
{
	for (__u32 id = 0; !bpf_btf_get_next_id(id, &id);) {
		char name[64] = "";
		struct bpf_btf_info info = {.name = (__u64)name, .name_len = sizeof(name)};
		__u32 len = sizeof(info);
		int fd = bpf_btf_get_fd_by_id(id);
		struct btf *btf;

		if (fd < 0 || bpf_btf_get_info_by_fd(fd, &info, &len))
			die("BTF %u: %s", id, strerror(errno));
		if (info.kernel_btf && strcmp(name, "vmlinux")) {
			btf = btf__load_module_btf(name, kernel);
			if (!btf)
				die("the BTF of %s: %s", name, strerror(errno));
			ask(list, btf, btf__type_cnt(kernel), fd);
			btf__free(btf);
		}
		close(fd);
	}
}

int main(int argc, char **argv)
{
	static char list[1 << 16];
	struct btf *btf = btf__load_vmlinux_btf();
	FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;
	int own;

	if (!f || !fread(list, 1, sizeof(list) - 1, f))
		die("usage: kfunc_list LIST");
	if (!btf)
		die("the kernel has no BTF");
	ask(list, btf, 1, 0);
	own = allowed;
	ask_modules(list, btf);
	printf("# kfuncs: %d, of which XDP programs may call %d, %d of them of modules\n", asked,
	       allowed, allowed - own);
	/* Nothing asked, or everything refused, would say nothing. */
	return missing || own < 50 || asked == allowed;
}
