// SPDX-License-Identifier: GPL-2.0
/*
 * nested PIN COUNT: has the test build of the module run the pinned XDP program
 * in COUNT interrupts on every CPU (helpers/nested.c). The parameter takes a
 * file descriptor of the writer, hence a program.
 *
 * nested PIN COUNT FUNCTION: has it call that function of the program, a timer's
 * callback, while the program runs on every CPU. Fails unless the program gives
 * the verdict XDP_PASS each time.
 */
#include "runner.h"

#include <fcntl.h>
#include <stdbool.h>
#include <signal.h>
#include <sys/wait.h>

static volatile sig_atomic_t over;

static void end(int signal)
{
	(void)signal;
	over = 1;
}

/* Runs the program until it is told to end. */
static void run(int fd, int cpu)
{
	unsigned char packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	signal(SIGTERM, end);
	pin_to_cpu(cpu);
	while (!over) {
		if (bpf_prog_test_run_opts(fd, &opts) && errno != EINTR)
			exit(2);
		if (opts.retval != 2)
			exit(3);
	}
	exit(0);
}

int main(int argc, char **argv)
{
	int fd, param, len, bad = 0, cpus = argc == 4 ? libbpf_num_possible_cpus() : 0;
	pid_t runners[64];
	char order[64];

	if (argc < 3 || argc > 4 || cpus > 64) {
		fprintf(stderr, "usage: nested PIN COUNT [FUNCTION]\n");
		return 2;
	}
	fd = bpf_obj_get(argv[1]);
	param = open("/sys/module/bailey/parameters/test_nested", O_WRONLY);
	if (fd < 0 || param < 0) {
		perror(fd < 0 ? argv[1] : "test_nested");
		return 1;
	}
	for (int cpu = 0; cpu < cpus; cpu++) {
		runners[cpu] = fork();
		if (!runners[cpu])
			run(fd, cpu);
	}
	len = snprintf(order, sizeof(order), "%d %u", fd, (unsigned int)atoi(argv[2]));
	if (argc == 4)
		len += snprintf(order + len, sizeof(order) - len, " %s", argv[3]);
	if (write(param, order, len) != len) {
		perror("test_nested");
		bad++;
	}
	for (int cpu = 0; cpu < cpus; cpu++) {
		int status;

		kill(runners[cpu], SIGTERM);
		waitpid(runners[cpu], &status, 0);
		if (status)
			fprintf(stderr, "the runner on CPU %d ended with %#x\n", cpu, status);
		bad += status != 0;
	}
	return bad ? 1 : 0;
}
