// SPDX-License-Identifier: GPL-2.0
//! A store as text and for BPF iterators (`bpf_map_elem`), as in
//! kernel/bpf/hashtab.c.

use super::Store;
use crate::bindings as b;
use crate::hw::cpus;
use core::mem::size_of;
use core::ptr;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;

/// Where an iterator is: in which bucket, behind how many elements.
#[repr(C)]
struct Walk {
    map: *mut b::bpf_map,
    bucket: u32,
    skip: u32,
    /// If each CPU has values of its own: the iterator's own room for those of an element.
    values: KVVec<u8>,
}

/// Tables of function pointers, which nobody writes.
pub(super) struct Constant<T>(pub(super) T);

// SAFETY: constants.
unsafe impl<T> Sync for Constant<T> {}

static OPS: Constant<b::seq_operations> = Constant(b::seq_operations {
    start: Some(start),
    stop: Some(stop),
    next: Some(next),
    show: Some(show),
});

/// What the kernel needs to open an iterator over a store.
pub(super) static INFO: Constant<b::bpf_iter_seq_info> = Constant(b::bpf_iter_seq_info {
    seq_ops: &raw const OPS.0,
    init_seq_private: Some(begin),
    fini_seq_private: Some(end),
    seq_priv_size: size_of::<Walk>() as u32,
});

fn write(m: *mut b::seq_file, text: &[u8]) {
    // SAFETY: an open sequence file, and bytes. What does not fit is said by the file's count.
    unsafe { b::seq_write(m, text.as_ptr().cast(), text.len()) };
}

/// A line `key: value`, by their types.
///
/// # Safety
///
/// Called by the kernel with a store and a key of it.
pub(super) unsafe extern "C" fn show_elem(
    map: *mut b::bpf_map,
    key: *mut c_void,
    m: *mut b::seq_file,
) {
    let _guard = kernel::sync::rcu::read_lock();
    // SAFETY: called by the kernel with a store and a key of it.
    unsafe {
        let found = Store::of(map).and_then(|store| Some((store, store.find(key.cast())?)));
        let Some((store, number)) = found else {
            return;
        };
        let show_value = |cpu| {
            let (id, value) = ((*map).btf_value_type_id, store.value_of(cpu, number));
            b::bailey_k_btf_type_seq_show((*map).btf, id, value.cast(), m);
            write(m, b"\n");
        };
        b::bailey_k_btf_type_seq_show((*map).btf, (*map).btf_key_type_id, key, m);
        if !store.is_per_cpu() {
            write(m, b": ");
            return show_value(0);
        }
        write(m, b": {\n");
        for cpu in cpus::possible() {
            seq_print!(SeqFile::from_raw(m.cast()), "\tcpu{cpu}: ");
            show_value(cpu);
        }
        write(m, b"}\n");
    }
}

/// `init_seq_private`.
///
/// # Safety
///
/// Called by the kernel with room for a `Walk` and a map that it holds.
unsafe extern "C" fn begin(private: *mut c_void, aux: *mut b::bpf_iter_aux_info) -> c_int {
    // SAFETY: called by the kernel with room for a `Walk` and a map that it holds.
    unsafe {
        let map = (*aux).map;
        let store = Store::of(map).filter(|store| store.is_per_cpu());
        let len = store.map_or(0, |store| store.len_of(store.whole()));
        let Ok(values) = KVVec::from_elem(0, len, GFP_KERNEL) else {
            return ENOMEM.to_errno();
        };
        b::bpf_map_inc_with_uref(map);
        private.cast::<Walk>().write(Walk {
            map,
            bucket: 0,
            skip: 0,
            values,
        });
    }
    0
}

/// `fini_seq_private`.
///
/// # Safety
///
/// Called by the kernel with what `begin` has prepared.
unsafe extern "C" fn end(private: *mut c_void) {
    // SAFETY: what `begin` has written, and the reference that it took. If that is the last one, the
    // module may go as soon as this function has returned.
    unsafe {
        let walk = private.cast::<Walk>();
        let map = (*walk).map;
        walk.drop_in_place();
        b::bailey_k_bpf_map_put_with_uref(map);
    }
}

/// The next element, by the address of its key; with one, RCU stays locked.
///
/// # Safety
///
/// `walk` is of an iterator that `begin` has prepared; RCU is locked if
/// `before` is not null.
unsafe fn find_next(walk: &mut Walk, before: *mut c_void) -> *mut c_void {
    // SAFETY: the iterator holds the map.
    let found = unsafe { Store::of(walk.map) };
    let Some(store) = found else {
        return ptr::null_mut();
    };
    let table = store.table();
    let (mut bucket, mut skip) = (walk.bucket, walk.skip);
    if !before.is_null() {
        let number = (before as usize - store.keys as usize) / store.key_stride.max(1) as usize;
        if let Some(next) = table.next(number as u32) {
            return store.key(next).cast();
        }
        // SAFETY: locked when `before` was found.
        unsafe { b::bailey_rcu_unlock() };
        bucket += 1;
        skip = 0;
    }
    while bucket < table.bucket_count() {
        // SAFETY: unlocked below, or when the element has been shown.
        unsafe { b::bailey_rcu_lock() };
        let mut count = 0;
        let mut at = table.first(bucket);
        while let Some(number) = at {
            if count >= skip {
                (walk.bucket, walk.skip) = (bucket, count);
                return store.key(number).cast();
            }
            count += 1;
            at = table.next(number);
        }
        // SAFETY: locked above.
        unsafe { b::bailey_rcu_unlock() };
        bucket += 1;
        skip = 0;
    }
    (walk.bucket, walk.skip) = (bucket, 0);
    ptr::null_mut()
}

/// `start`.
///
/// # Safety
///
/// Called by the kernel for an iterator that `begin` has prepared.
unsafe extern "C" fn start(m: *mut b::seq_file, pos: *mut b::loff_t) -> *mut c_void {
    // SAFETY: called by the kernel for an iterator that `begin` has prepared.
    unsafe {
        let key = find_next(&mut *(*m).private.cast::<Walk>(), ptr::null_mut());
        if !key.is_null() && *pos == 0 {
            *pos = 1;
        }
        key
    }
}

/// `next`.
///
/// # Safety
///
/// Called by the kernel with what `start` or `next` has returned.
unsafe extern "C" fn next(m: *mut b::seq_file, v: *mut c_void, pos: *mut b::loff_t) -> *mut c_void {
    // SAFETY: as above, with what `start` or `next` has returned.
    unsafe {
        let walk = &mut *(*m).private.cast::<Walk>();
        *pos += 1;
        walk.skip += 1;
        find_next(walk, v)
    }
}

/// Runs the iterator's program on an element, or on none at the end.
///
/// # Safety
///
/// As of [`find_next`].
unsafe fn run(m: *mut b::seq_file, key: *mut c_void) -> c_int {
    // SAFETY: promised by the caller.
    unsafe {
        let walk = &mut *(*m).private.cast::<Walk>();
        let mut meta = b::bpf_iter_meta::default();
        meta.__bindgen_anon_1.seq = m;
        let prog = b::bailey_k_bpf_iter_get_info(&mut meta, key.is_null());
        if prog.is_null() {
            return 0;
        }
        let mut ctx = b::bpf_iter__bpf_map_elem::default();
        ctx.__bindgen_anon_1.meta = &mut meta;
        ctx.__bindgen_anon_2.map = walk.map;
        if let (false, Some(store)) = (key.is_null(), Store::of(walk.map)) {
            let number = (key as usize - store.keys as usize) / store.key_stride.max(1) as usize;
            ctx.__bindgen_anon_3.key = key;
            ctx.__bindgen_anon_4.value = if store.is_per_cpu() {
                let values = walk.values.as_mut_ptr();
                store.read(number as u32, values, store.whole());
                values.cast()
            } else {
                store.value(number as u32).cast()
            };
        }
        b::bailey_k_bpf_iter_run_prog(prog, (&raw mut ctx).cast())
    }
}

/// `show`.
///
/// # Safety
///
/// Called by the kernel with what `start` or `next` has returned.
unsafe extern "C" fn show(m: *mut b::seq_file, v: *mut c_void) -> c_int {
    // SAFETY: called by the kernel with what `start` or `next` has returned.
    unsafe { run(m, v) }
}

/// `stop`.
///
/// # Safety
///
/// Called by the kernel with what `start` or `next` has returned.
unsafe extern "C" fn stop(m: *mut b::seq_file, v: *mut c_void) {
    // SAFETY: as above; with an element RCU is locked.
    unsafe {
        if v.is_null() {
            run(m, v);
        } else {
            b::bailey_rcu_unlock();
        }
    }
}
