/* SPDX-License-Identifier: GPL-2.0 */
/* A port to the host, by its name. */
#ifndef BAILEY_PORT_H
#define BAILEY_PORT_H

#include "runner.h"

#include <dirent.h>
#include <fcntl.h>

static inline int open_port(const char *wanted)
{
	DIR *dir = opendir("/sys/class/virtio-ports");
	struct dirent *e;
	int port = -1;

	while (dir && (e = readdir(dir))) {
		char path[512], name[64] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", e->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fscanf(f, "%63s", name) == 1 && !strcmp(name, wanted)) {
			snprintf(path, sizeof(path), "/dev/%s", e->d_name);
			port = open(path, O_RDWR);
		}
		fclose(f);
	}
	if (dir)
		closedir(dir);
	if (port < 0)
		die("no port %s: boot with STOPS=1", wanted);
	return port;
}

#endif
