// SPDX-License-Identifier: GPL-2.0
/*
 * Values with a field that is the kernel's: these programs reach for a byte
 * beside it, and the breach build moves the byte.
 */
#include "breach.bpf.h"

#define __kptr __attribute__((btf_type_tag("kptr")))

/*
 * Of the kernel's type only name and kind count; the variable makes the
 * compiler describe the type as more than a forward declaration.
 */
struct task_struct {
	int unused;
} unused;

struct timed {
	__u64 before;
	struct bpf_timer timer;
	__u64 after;
};

struct worked {
	__u64 before;
	struct bpf_wq work;
	__u64 after;
};

struct locked {
	__u64 before;
	struct bpf_spin_lock lock;
	__u32 after[5];
};

struct pointing {
	__u64 before;
	struct task_struct __kptr *task;
	__u64 after[2];
};

#define MAP(name, type_of_value) \
	struct { \
		__uint(type, BPF_MAP_TYPE_HASH); \
		__uint(max_entries, 16); \
		__type(key, __u32); \
		__type(value, struct type_of_value); \
	} name SEC(".maps")

MAP(timers, timed);
MAP(works, worked);
MAP(locks, locked);
MAP(pointers, pointing);

/* Lent as a whole, without a look-up. */
static struct timed global SEC(".data.timed");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} taken SEC(".maps");

#define IN(map) \
	({ \
		__u32 zero = 0; \
		bpf_map_lookup_elem(&map, &zero); \
	})

/* A store, a load, and a helper that reads eight bytes. */
#define BESIDE(name, value) \
	SEC("xdp") int write_beside_##name(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		void *v = value; \
		if (!o || !v) \
			return XDP_DROP; \
		*(volatile __u8 *)astray(o, v) = 0x41; \
		return survived(o, 0); \
	} \
	SEC("xdp") int read_beside_##name(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		void *v = value; \
		if (!o || !v) \
			return XDP_DROP; \
		return survived(o, *(volatile __u8 *)astray(o, v)); \
	} \
	SEC("xdp") int pass_beside_##name(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		__u32 key = 0; \
		void *v = value; \
		if (!o || !v) \
			return XDP_DROP; \
		bpf_map_update_elem(&taken, &key, astray(o, v), BPF_ANY); \
		return survived(o, 0); \
	}

BESIDE(timer, IN(timers))
BESIDE(work, IN(works))
BESIDE(lock, IN(locks))
BESIDE(pointer, IN(pointers))
BESIDE(global, &global)

char _license[] SEC("license") = "GPL";
