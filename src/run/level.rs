// SPDX-License-Identifier: GPL-2.0
//! Loans, ledger and objects of a run, kept for each CPU and nesting level: kernel
//! memory, made once, so that a run allocates nothing.

use super::{graph, locks, objects, pointers};
use crate::bindings as b;
use crate::pure::ledger::{Kind as Held, Ledger};
use crate::pure::loan::Loans;
use crate::pure::objects::Objects;
use core::mem::MaybeUninit;
use core::ptr;
use kernel::prelude::*;

const LEVELS: usize = b::SLOT_LEVELS as usize;

/// What one run was lent, holds, and keeps under names on its stack.
pub(crate) struct Level {
    pub(crate) loans: Loans,
    pub(crate) ledger: Ledger,
    pub(crate) objects: Objects,
}

static EMPTY: Level = Level {
    loans: Loans::new(),
    ledger: Ledger::new(),
    objects: Objects::new(),
};

impl Level {
    /// Forgets an earlier run at this level.
    pub(crate) fn clear(&mut self) {
        self.loans.clear();
        self.ledger.clear();
        self.objects.clear();
    }
}

/// Gives back what a run still holds, last acquired first, through the
/// kernel's own release functions. Locks are first: giving an object back can take
/// another.
pub(super) fn give_back(level: &mut Level) {
    locks::give_back(level);
    while let Some(held) = level.ledger.pop() {
        // SAFETY: the ledger holds what helpers of this run acquired and no helper released.
        unsafe {
            match held.kind {
                // None is left.
                Held::SpinLock | Held::ResSpinLock | Held::LockFlags => 0,
                Held::RingbufRecord => b::bailey_k_bpf_ringbuf_discard(held.addr, 0, 0, 0, 0),
                Held::Socket => b::bailey_k_bpf_sk_release(held.addr, 0, 0, 0, 0),
                Held::RcuRead => b::bailey_rcu_read_unlock(),
                Held::PreemptOff => b::bailey_preempt_enable(),
                Held::IrqFlags | Held::BitsIterator => objects::give_back(level, &held),
                Held::Object | Held::Placing => graph::give_back(level, held.addr),
                Held::Reference(of) => pointers::give_back(of, held.addr),
                Held::PerCpuObject => pointers::free(held.addr),
            };
        }
    }
    level.loans.clear();
    level.objects.clear();
}

/// All levels of one CPU.
pub(crate) struct Levels {
    _levels: [Level; LEVELS],
}

impl Levels {
    /// Empty levels. In place: they are too large for a kernel stack.
    pub(crate) fn new() -> Result<KVBox<Self>> {
        let mut levels = KVBox::<MaybeUninit<[Level; LEVELS]>>::new_uninit(GFP_KERNEL)?;
        let first = levels.as_mut_ptr().cast::<Level>();
        for n in 0..LEVELS {
            // SAFETY: `first` has room for LEVELS levels; `Level` is plain data.
            unsafe { ptr::copy_nonoverlapping(&raw const EMPTY, first.add(n), 1) };
        }
        let raw = KVBox::into_raw(levels);
        // SAFETY: every level is written; `Levels` is one array of them, so the layout is the same.
        Ok(unsafe { KVBox::from_raw(raw.cast::<Levels>()) })
    }
}

/// Level `number` of the CPU whose levels are at `levels`.
///
/// # Safety
///
/// `levels` is the address of a live [`Levels`]; the caller is the only run at that level.
pub(crate) unsafe fn at(levels: u64, number: usize) -> Option<&'static mut Level> {
    if number >= LEVELS {
        return None;
    }
    // SAFETY: promised by the caller, and `number` is in bounds.
    Some(unsafe { &mut *(levels as *mut Level).add(number) })
}
