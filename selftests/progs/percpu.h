/* SPDX-License-Identifier: GPL-2.0 */
/* What programs need that allocate memory of which each CPU has its own. */
#ifndef BAILEY_PERCPU_H
#define BAILEY_PERCPU_H

#include "graph.h"

#define __percpu_kptr __attribute__((btf_type_tag("percpu_kptr")))

extern void *bpf_percpu_obj_new_impl(__u64 local_type_id, void *meta) __ksym;
extern void bpf_percpu_obj_drop_impl(void *object, void *meta) __ksym;

#define bpf_percpu_obj_new(type) \
	((type __percpu_kptr *)bpf_percpu_obj_new_impl(bpf_core_type_id_local(type), NULL))
#define bpf_percpu_obj_drop(object) bpf_percpu_obj_drop_impl(object, NULL)

#endif
