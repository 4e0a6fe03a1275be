// SPDX-License-Identifier: GPL-2.0
/*
 * Gives one program of breach_access a list of orders, and prints what became
 * of each, for scripts that watch the module's account:
 *
 *   breach_steps [--pin PATH] [--repeat N] PROGRAM TARGET...
 *
 * A target is an address, `own` (where the pointer really points, so no
 * breach), or `own+N`. Prints `id N`, then `VERDICT DONE GOT BASE` for each.
 * With --pin the program stays, so that its row in the account stays too.
 */
#include "breach_run.h"

#include <getopt.h>

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"pin", required_argument, NULL, 'p'},
		{"repeat", required_argument, NULL, 'r'},
		{},
	};
	struct bpf_program *prog;
	const char *pin = NULL;
	struct breach b;
	int repeat = 1, c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'p')
			pin = optarg;
		else if (c == 'r')
			repeat = atoi(optarg);
		else
			die("breach_steps [--pin PATH] [--repeat N] PROGRAM TARGET...");
	}
	if (argc - optind < 2)
		die("breach_steps: no program, or no target");
	b = load_breach(".", "breach_access");
	prog = bpf_object__find_program_by_name(b.obj, argv[optind]);
	if (!prog)
		die("no program %s", argv[optind]);
	if (pin && bpf_program__pin(prog, pin))
		die("%s: %s", pin, strerror(errno));
	printf("id %u\n", program_id(bpf_program__fd(prog)));
	for (int i = optind + 1; i < argc; i++) {
		bool own = !strncmp(argv[i], "own", 3);
		__u64 target = strtoull(argv[i] + (own ? 3 : 0), NULL, 0);
		struct outcome out;

		for (int n = 0; n < repeat; n++)
			out = own ? attempt_beside(&b, bpf_program__fd(prog), target, 0) :
				    attempt(&b, bpf_program__fd(prog), target, 0);
		printf("%d %llu %llx %llx\n", out.verdict, out.order.done, out.order.got,
		       out.order.base);
	}
	return 0;
}
