// SPDX-License-Identifier: GPL-2.0
/*
 * Hands over references to the kernel's objects and per-CPU memory that a run does not
 * have, and ends runs that have some: `ok NAME` or `not ok NAME`. Needs the breach build with
 * on_violation=abort.
 *
 *   --expect harmless   a stock kernel: every run goes to its end
 */
#include "breach_run.h"

#define ROUNDS 1000

static bool harmless;
static struct breach reference;

static bool ends(const char *name, __s64 offset)
{
	struct outcome out = attempt_beside(&reference, program_of(reference.obj, name), offset, 0);

	return harmless ? out.order.done : was_ended(&out);
}

/* Kilobytes. */
static __u64 per_cpu_memory(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	unsigned long long kilobytes = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Percpu: %llu", &kilobytes) == 1)
			break;
	if (!kilobytes)
		die("/proc/meminfo: %s", strerror(errno));
	fclose(f);
	return kilobytes;
}

static __u64 count(void)
{
	return attempt(&reference, program_of(reference.obj, "count_references"), 0, 0).order.got;
}

int main(int argc, char **argv)
{
	static const char *const wrong[] = {
		"release_twice", "release_another_type", "release_what_is_kept",
		"keep_what_is_kept", "keep_what_was_released", "keep_another_type",
		"acquire_another_type", "read_after_release", "write_to_task",
		"percpu_drop_twice", "percpu_drop_another_type", "percpu_drop_what_is_kept",
		"percpu_keep_another_size",
	};
	static const struct {
		const char *name;
		__s64 offset;
	} beside[] = {
		{"release_beside", 8}, {"release_beside", -64}, {"acquire_beside", 64},
		{"acquire_beside", -(1 << 20)}, {"keep_beside", 8}, {"keep_beside", 16},
		{"keep_beside", -8}, {"keep_beside", 1 << 20}, {"read_beside_task", -(1 << 14)},
		{"read_beside_task", 1 << 14}, {"percpu_ask_beside", 8},
		{"percpu_ask_beside", -8}, {"percpu_ask_beside", 1 << 20},
		{"percpu_write_beside", 512}, {"percpu_write_beside", -1},
		{"percpu_write_beside", 1 << 20},
	};
	int through = 0, refused = 0, good = 0;
	__u64 before, after;

	harmless = argc > 2 && !strcmp(argv[2], "harmless");
	pin_to_cpu(0);
	reference = load_breach(".", "breach_reference");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		report(ends(wrong[i], 0), "%s ends the run", wrong[i]);
	for (size_t i = 0; !harmless && i < sizeof(beside) / sizeof(*beside); i++)
		report(ends(beside[i].name, beside[i].offset), "%s at %+lld ends the run",
		       beside[i].name, (long long)beside[i].offset);
	/* Byte for byte: bytes 8 to 24 are two pointers that the kernel trusts. */
	for (__s64 at = -8; !harmless && at < 48; at++) {
		bool ours = (at >= 0 && at < 8) || (at >= 24 && at < 40);
		bool write = ends("write_beside_pointer", at);
		bool read = ends("read_beside_pointer", at);

		/* The next value of the array is lent, too. */
		if (at >= 40)
			continue;
		through += !ours && (!write || !read);
		refused += ours && (write || read);
	}
	report(!through && !refused, "of a value, pointers that are trusted can be neither read nor"
	       " written, the rest can (%d, %d)", through, refused);
	before = count();
	for (int i = 0; i < ROUNDS; i++)
		good += ends("hold_references", 1 << 20);
	after = count();
	report(good == ROUNDS, "a run that holds references can be ended (%d of %d)", good, ROUNDS);
	report(before && before == after,
	       "there are as many references as before (%llu, %llu)", before, after);
	before = per_cpu_memory();
	/* There is none at times, until a worker has allocated more. */
	for (int i = good = 0; i < 20 * ROUNDS && good < 10 * ROUNDS; i++)
		good += ends("percpu_hold", 1 << 20);
	after = per_cpu_memory();
	/* Half a kilobyte of each CPU's, each time. */
	report(good == 10 * ROUNDS && after < before + 5 * ROUNDS,
	       "the per-CPU memory that ended runs held is freed (%d ended, %llu KB, %llu KB)", good,
	       before, after);
	return failed ? 1 : 0;
}
