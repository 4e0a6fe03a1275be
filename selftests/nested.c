// SPDX-License-Identifier: GPL-2.0
/*
 * nested PIN COUNT: has the test build of the module run the pinned XDP program
 * in COUNT interrupts on every CPU (helpers/nested.c). The parameter takes a
 * file descriptor of the writer, hence a program.
 */
#include <bpf/bpf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char order[64];
	int fd, param, len;

	if (argc != 3) {
		fprintf(stderr, "usage: nested PIN COUNT\n");
		return 2;
	}
	fd = bpf_obj_get(argv[1]);
	param = open("/sys/module/bailey/parameters/test_nested", O_WRONLY);
	if (fd < 0 || param < 0) {
		perror(fd < 0 ? argv[1] : "test_nested");
		return 1;
	}
	len = snprintf(order, sizeof(order), "%d %u", fd, (unsigned int)atoi(argv[2]));
	if (write(param, order, len) != len) {
		perror("test_nested");
		return 1;
	}
	return 0;
}
