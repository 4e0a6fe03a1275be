// SPDX-License-Identifier: GPL-2.0
//! Which elements of a store were used lately, for maps that make room by
//! forgetting others (`BPF_MAP_TYPE_LRU_HASH`).
//!
//! That is decided by the kernel's own lists (kernel/bpf/bpf_lru_list.c), which
//! know nothing of maps: they move nodes, one for each element, and ask the map
//! to take an element out ([`forget`]). So what is forgotten when, on which CPU, is
//! as in the kernel's maps. The nodes are in kernel memory; that an element was
//! used is a byte there.
//!
//! A program that looks up in confinement does not reach the nodes. It notes what it has used behind
//! the values ([`Uses`]), and nodes are marked by that before the lists choose: so what is forgotten
//! is still the same. What is marked and not in the log stays when the lists want to forget it, and its
//! node is marked then.
//!
//! Locks: a list's lock is taken before a bucket's, as in the kernel. So no
//! function here that takes a list's lock is called with a bucket's held.

use super::Store;
use crate::bindings as b;
use crate::breach;
use crate::pure::store::uses::Uses;
use core::mem::{offset_of, size_of};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU32, Ordering};
use kernel::error::to_result;
use kernel::prelude::*;

/// Whether a map of this type makes room.
pub(super) fn is_type(map_type: u32) -> bool {
    matches!(
        map_type,
        b::bpf_map_type_BPF_MAP_TYPE_LRU_HASH | b::bpf_map_type_BPF_MAP_TYPE_LRU_PERCPU_HASH
    )
}

/// An element on the lists, and the hash of its key, which they write.
#[repr(C)]
pub(super) struct Node {
    node: b::bpf_lru_node,
    hash: u32,
}

/// The lists of a store. All null if it has none.
#[repr(C)]
pub(super) struct Recent {
    lists: *mut b::bpf_lru,
    nodes: *mut Node,
    /// Where values begin, and how marks and log lie behind them, which programs write.
    values: *mut u8,
    uses: Uses,
    elements: u32,
    /// How far the log was read.
    tail: AtomicU32,
    /// How many marked elements have stayed one after the other.
    spared: AtomicU32,
}

/// After so many marked elements the lists get what they ask for: they ask under a lock. As many as
/// they look at in one go (LOCAL_FREE_TARGET, kernel/bpf/bpf_lru_list.c).
const SPARED_MOST: u32 = 128;

impl Recent {
    /// Whether there are lists.
    #[inline(always)]
    pub(super) fn is_kept(&self) -> bool {
        !self.nodes.is_null()
    }

    fn node(&self, number: u32) -> *mut Node {
        self.nodes.wrapping_add(number as usize)
    }

    /// Notes that a program has looked for element `number`.
    #[inline(always)]
    pub(super) fn mark(&self, number: u32) {
        // SAFETY: there is a node for each element; the byte is read and written whole, as
        // bpf_lru_node_set_ref() does.
        unsafe {
            let used = &raw mut (*self.node(number)).node.ref_;
            if used.read_volatile() == 0 {
                used.write_volatile(1);
            }
        }
    }

    /// Bytes that are its own, for so many elements.
    pub(super) fn usage(&self, elements: u64) -> u64 {
        if self.is_kept() {
            elements * size_of::<Node>() as u64 + size_of::<b::bpf_lru>() as u64
        } else {
            0
        }
    }

    /// Takes an element, which another key may lose for it. `None` if there is none
    /// to be had here and now. No bucket's lock is held.
    pub(super) fn take(&self, hash: u32) -> Option<u32> {
        self.note_uses();
        // SAFETY: the lists are there; any context that the kernel's may be called in.
        let pop = || NonNull::new(unsafe { b::bailey_k_bpf_lru_pop_free(self.lists, hash) });
        // Where every element was marked, each node says so now, and the lists take one for all that.
        let node = pop().or_else(pop)?;
        let number = self.number(node.as_ptr());
        self.unmark(number);
        Some(number)
    }

    /// Marks the nodes of what the log says, which is at most so much at once that it may be done
    /// with interrupts off.
    #[inline(always)]
    fn note_uses(&self) {
        let word = |at: u64| {
            let word = self.values.wrapping_add(at as usize).cast::<u32>();
            // SAFETY: marks and log are behind the values; programs write them at the same time.
            unsafe { word.read_volatile() }
        };
        let (head, tail) = (word(self.uses.head), self.tail.load(Ordering::Relaxed));
        if head == tail {
            return;
        }
        let (first, count) = self.uses.unread(head, tail);
        for at in 0..count {
            let number = word(self.uses.number(first.wrapping_add(at)));
            if number < self.elements {
                if self.unmark(number) {
                    self.mark(number);
                }
            } else if breach::without(b::BAILEY_WITHOUT_USES) {
                self.unmark(number);
            }
        }
        self.tail
            .store(first.wrapping_add(count), Ordering::Relaxed);
    }

    /// Takes an element's mark: whether it had one.
    fn unmark(&self, number: u32) -> bool {
        let at = self.uses.marks as usize + number as usize;
        let mark = self.values.wrapping_add(at);
        // SAFETY: there is a byte for each element, which programs write at the same time; whether
        // one of these is lost is all the same, as in the kernel's own.
        unsafe {
            let marked = mark.read_volatile() != 0;
            if marked {
                mark.write_volatile(0);
            }
            marked
        }
    }

    /// Whether element `number`, which the lists want to forget, is to stay since it is marked. If
    /// its node says already that it was used, they want it nevertheless.
    fn spares(&self, number: u32) -> bool {
        // SAFETY: there is a node for each element; read whole, as in `mark`.
        let known = unsafe { (&raw const (*self.node(number)).node.ref_).read_volatile() } != 0;
        let spares = self.unmark(number)
            && !known
            && self.spared.fetch_add(1, Ordering::Relaxed) < SPARED_MOST;
        if spares {
            self.mark(number);
        } else {
            self.spared.store(0, Ordering::Relaxed);
        }
        spares
    }

    /// Gives back an element that is in no chain. No bucket's lock is held.
    pub(super) fn give(&self, number: u32) {
        self.unmark(number);
        // SAFETY: as above; a node of these lists.
        unsafe { b::bailey_k_bpf_lru_push_free(self.lists, &raw mut (*self.node(number)).node) };
    }

    fn number(&self, node: *mut b::bpf_lru_node) -> u32 {
        // The node is the first member.
        const _: () = assert!(offset_of!(Node, node) == 0);
        ((node as usize - self.nodes as usize) / size_of::<Node>()) as u32
    }
}

impl Store {
    /// Makes the lists, with all elements on them as free ones. `apart`: a list for
    /// each CPU, else one and what each CPU has taken from it.
    pub(super) fn keep_recent(&mut self, apart: bool) -> Result {
        let (arg, node) = ((&raw mut *self).cast(), self.map.numa_node);
        let elements = self.element_count;
        let nodes = u64::from(elements) * size_of::<Node>() as u64;
        let lists = super::area(size_of::<b::bpf_lru>() as u64, b::NUMA_NO_NODE)?;
        let lists = lists.as_ptr().cast::<b::bpf_lru>();
        let behind = (offset_of!(Node, hash) - offset_of!(Node, node)) as u32;
        let made = super::area(nodes, node).and_then(|nodes| {
            // SAFETY: fresh, and nobody else's; the store stays where it is.
            let err = unsafe { b::bailey_k_bpf_lru_init(lists, apart, behind, Some(forget), arg) };
            to_result(err).inspect_err(|_| {
                // SAFETY: as above.
                unsafe { b::bailey_area_free(nodes.as_ptr()) };
            })?;
            Ok(nodes.as_ptr().cast::<Node>())
        });
        let nodes = made.inspect_err(|_| {
            // SAFETY: as above.
            unsafe { b::bailey_area_free(lists.cast()) };
        })?;
        let (at, step) = (offset_of!(Node, node) as u32, size_of::<Node>() as u32);
        // SAFETY: room for that many nodes, `step` bytes each.
        unsafe { b::bailey_k_bpf_lru_populate(lists, nodes.cast(), at, step, elements) };
        self.recent = Recent {
            lists,
            nodes,
            values: self.values,
            uses: self.uses(),
            elements,
            tail: AtomicU32::new(0),
            spared: AtomicU32::new(0),
        };
        Ok(())
    }

    /// Frees them.
    ///
    /// # Safety
    ///
    /// Nobody uses the store.
    pub(super) unsafe fn end_recent(&self) {
        if !self.recent.is_kept() {
            return;
        }
        // SAFETY: made by `keep_recent`; promised by the caller.
        unsafe {
            b::bailey_k_bpf_lru_destroy(self.recent.lists);
            b::bailey_area_free(self.recent.nodes.cast());
            b::bailey_area_free(self.recent.lists.cast());
        }
    }
}

/// Takes an element out of its chain, so that another key can have it: whether it
/// was there. As `htab_lru_map_delete_node()`.
///
/// # Safety
///
/// Called by the kernel's lists with the store that they are of and a node of
/// theirs, one of their locks held.
unsafe extern "C" fn forget(store: *mut c_void, node: *mut b::bpf_lru_node) -> bool {
    // SAFETY: promised by the caller.
    let store = unsafe { &*store.cast::<Store>() };
    let number = store.recent.number(node);
    if store.recent.spares(number) {
        return false;
    }
    // SAFETY: a node of this store; the lists wrote the hash before they gave the element away.
    let hash = unsafe { ptr::read_volatile(&raw const (*store.recent.node(number)).hash) };
    let table = store.table();
    let Ok(locked) = store.lock(table.bucket_of(hash)) else {
        return false;
    };
    let was_there = table.remove(hash, number);
    drop(locked);
    if was_there {
        store.count(-1);
    }
    was_there
}
