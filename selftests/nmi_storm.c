// SPDX-License-Identifier: GPL-2.0
/*
 * Sends NMIs to the other CPUs, for an emulator that nobody can ask for one:
 *
 *   nmi_storm RATE     that many a second, until it is killed
 *
 * It writes the interrupt command register of the CPU it runs on (SDM vol. 3,
 * 12.6.1), so the kernel must use the APIC by memory and let it be mapped:
 * iomem=relaxed. It changes its CPU now and then, so that each gets its share.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define APIC_BASE 0xfee00000
#define ICR_LOW (0x300 / 4)
#define NMI_TO_ALL_BUT_SELF 0xc4400
#define STAY 20 /* NMIs from one CPU */

int main(int argc, char **argv)
{
	double rate = argc == 2 ? atof(argv[1]) : 0;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	volatile uint32_t *apic;
	unsigned long n;
	int fd;

	if (rate <= 0)
		errx(2, "usage: nmi_storm RATE");
	fd = open("/dev/mem", O_RDWR | O_SYNC);
	if (fd < 0)
		err(1, "/dev/mem");
	apic = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, APIC_BASE);
	if (apic == MAP_FAILED)
		err(1, "the APIC cannot be mapped (boot with iomem=relaxed)");

	for (n = 0;; n++) {
		/* Up to twice the mean, so that no rhythm of the guest is met. */
		long ns = 2e9 / rate * drand48();
		struct timespec pause = { ns / 1000000000, ns % 1000000000 };

		if (n % STAY == 0) {
			cpu_set_t one;

			CPU_ZERO(&one);
			CPU_SET(n / STAY % cpus, &one);
			if (sched_setaffinity(0, sizeof(one), &one))
				err(1, "sched_setaffinity");
		}
		nanosleep(&pause, NULL);
		apic[ICR_LOW] = NMI_TO_ALL_BUT_SELF;
	}
}
