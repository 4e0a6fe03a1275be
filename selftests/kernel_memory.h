/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the running kernel has its memory, as root may know it: /proc/kcore
 * (regions and contents), /proc/kallsyms, /proc/vmallocinfo.
 */
#ifndef BAILEY_KERNEL_MEMORY_H
#define BAILEY_KERNEL_MEMORY_H

#include "runner.h"

#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>

struct span {
	__u64 start, size;
};

struct spans {
	struct span *list;
	size_t count;
};

static inline void add_span(struct spans *s, __u64 start, __u64 size)
{
	s->list = realloc(s->list, (s->count + 1) * sizeof(*s->list));
	if (!s->list)
		die("no memory");
	s->list[s->count++] = (struct span){start, size};
}

static inline bool in_spans(const struct spans *s, __u64 address)
{
	for (size_t i = 0; i < s->count; i++)
		if (address - s->list[i].start < s->list[i].size)
			return true;
	return false;
}

static inline __u64 random_address(const struct spans *s, __u64 *seed)
{
	const struct span *one = &s->list[next_random(seed) % s->count];

	return one->start + next_random(seed) % one->size;
}

struct kcore {
	int fd;
	Elf64_Phdr *segments;
	size_t count;
};

static inline struct kcore open_kcore(void)
{
	struct kcore k = {.fd = open("/proc/kcore", O_RDONLY)};
	Elf64_Ehdr head;

	if (k.fd < 0 || pread(k.fd, &head, sizeof(head), 0) != sizeof(head))
		die("/proc/kcore: %s", strerror(errno));
	k.count = head.e_phnum;
	k.segments = calloc(k.count, sizeof(*k.segments));
	if (!k.segments || pread(k.fd, k.segments, k.count * sizeof(*k.segments), head.e_phoff) !=
				   (ssize_t)(k.count * sizeof(*k.segments)))
		die("/proc/kcore: %s", strerror(errno));
	return k;
}

/* 0 when the address is not mapped. */
static inline __u64 read_kernel(const struct kcore *k, __u64 address)
{
	__u64 word = 0;

	for (size_t i = 0; i < k->count; i++) {
		const Elf64_Phdr *s = &k->segments[i];

		if (s->p_type != PT_LOAD || address - s->p_vaddr >= s->p_memsz)
			continue;
		if (pread(k->fd, &word, sizeof(word), s->p_offset + (address - s->p_vaddr)) ==
		    sizeof(word))
			return word;
	}
	return 0;
}

struct symbol {
	const char *name;
	__u64 address;
};

/*
 * The addresses of the named symbols, of kernel and module, in one pass, since
 * the file is long. The symbols of the module, if it is named and there, are
 * added to `all` as well.
 */
static inline void find_symbols(struct symbol *list, size_t count, const char *module,
				struct spans *all)
{
	FILE *f = fopen("/proc/kallsyms", "r");
	char line[512], type, name[256], owner[128];
	__u64 address;

	if (!f)
		die("/proc/kallsyms: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		owner[0] = 0;
		if (sscanf(line, "%llx %c %255s [%127[^]]]", &address, &type, name, owner) < 3)
			continue;
		bool ours = owner[0] && module && !strcmp(owner, module);

		if (ours && all)
			add_span(all, address, 64);
		for (size_t i = 0; i < count && (ours || !owner[0]); i++)
			if (!list[i].address && !strcmp(name, list[i].name))
				list[i].address = address;
	}
	fclose(f);
	for (size_t i = 0; i < count; i++)
		if (!list[i].address)
			die("the kernel has no symbol %s", list[i].name);
}

/*
 * The mapped areas, those that `module` made apart. Needs
 * kernel.kptr_restrict=1: with 0, root sees hashes here.
 */
static inline void add_vmalloc_areas(struct spans *s, const char *module, struct spans *own)
{
	FILE *f = fopen("/proc/vmallocinfo", "r");
	char line[512];
	__u64 start, end;

	if (!f)
		die("/proc/vmallocinfo: %s", strerror(errno));
	while (fgets(line, sizeof(line), f))
		/* A size of terabytes is a reservation, not memory. */
		if (sscanf(line, "%llx-%llx", &start, &end) == 2 && start >> 56 == 0xff &&
		    end - start < 1ull << 32)
			add_span(strstr(line, module) ? own : s, start, end - start);
	fclose(f);
}

/*
 * The span of the domain that `base` points into, if there is one, from the columns
 * that the header of `domains` calls `base` and `size`.
 */
static inline void add_own_domain(struct spans *own, __u64 base)
{
	FILE *f = fopen(BAILEY "domains", "r");
	int at_base = -1, at_size = -1;
	char line[1024];

	for (int n = 0; f && fgets(line, sizeof(line), f); n++) {
		__u64 start = 0, size = 0;
		int column = 0;

		for (char *w = strtok(line, " \t\n"); w; w = strtok(NULL, " \t\n"), column++) {
			if (!n && !strcmp(w, "base"))
				at_base = column;
			if (!n && !strcmp(w, "size"))
				at_size = column;
			if (n && column == at_base)
				start = strtoull(w, NULL, 16);
			if (n && column == at_size)
				size = strtoull(w, NULL, 0);
		}
		if (n && base - start < size)
			add_span(own, start, size);
	}
	if (f)
		fclose(f);
}

/* Where the domain has the values of a map, and how much it can read behind them. */
static inline void find_values(int map, __u64 *base, __u64 *size, __u64 *index)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	FILE *f = fopen(BAILEY "maps", "r");
	char line[256];
	__u32 id;

	if (!f || bpf_map_get_info_by_fd(map, &info, &len))
		die("no account of maps");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%u %*s %*s %*s domain %llx %llu %llu", &id, base, size,
			   index) == 4 && id == info.id) {
			fclose(f);
			return;
		}
	}
	die("map %u has no values in a domain", info.id);
}

#endif
