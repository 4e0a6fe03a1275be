// SPDX-License-Identifier: GPL-2.0
//! Locks in values and objects: spin locks (`bpf_spin_lock()`), of which a run holds
//! one, and resilient ones (`bpf_res_spin_lock()`), which the kernel may refuse to
//! take, and of which it holds several.
//!
//! The verifier has them released in the reverse order, each as it was taken: with
//! the interrupt flags that were saved with it, or without. The kernel's look-out for
//! deadlocks relies on that (include/asm-generic/rqspinlock.h). So it is asked anew at
//! each call, by the ledger.

use super::audit::field;
use super::level::Level;
use super::{graph, objects, Run};
use crate::bindings as b;
use crate::load::site::{effect, kind, resource};
use crate::pure::catalog::kfuncs;
use crate::pure::ledger::{Held, Kind};
use crate::pure::objects::Kind as Named;

/// The lock that the run took last, if it holds one.
#[inline(always)]
pub(super) fn last(run: &mut Run) -> Option<u64> {
    let lock = run.used_level()?.ledger.last_lock()?;
    Some(lock.held.addr)
}

/// Whether the verifier allows the call while a lock is held: taking a resilient one,
/// releasing one, what works on lists and trees, counting, and the pages of an arena
/// (`kfunc_spin_allowed()`, kernel/bpf/verifier.c).
pub(super) fn may_while_held(run: &Run, site: &b::bailey_site) -> bool {
    let releases = site.effects & effect::RELEASES != 0 && site.resource == resource::SPIN_LOCK;
    if releases || site.resource == resource::RES_SPIN_LOCK {
        return !graph::searches(run);
    }
    if site.effects & effect::OBJECTS != 0 {
        let named = [kind::NEW_OBJECT, kind::OBJECT, kind::END_OBJECT];
        let first = site.args[0];
        return named.contains(&first.kind) && first.size == Named::Numbers as u32;
    }
    graph::may_while_locked(run, site) || kfuncs::is_of_arena(site.helper)
}

/// Whether at the first of `args` is a lock, a field of type `field_type`, that the
/// call may take or release. A forged frame can lead to an unlock that nothing led to.
pub(super) fn may(run: &mut Run, site: &b::bailey_site, field_type: u32, args: &[u64; 5]) -> bool {
    let addr = args[0];
    if field(run, addr, field_type).is_none() && !graph::is_lock(run, addr, field_type) {
        return false;
    }
    let level = run.used_level();
    if site.effects & effect::RELEASES == 0 {
        // The kernel itself looks whether the run holds it: it fails to take it twice.
        return level.is_none_or(|level| level.ledger.has_room_for(2));
    }
    let Some((level, lock)) = level.and_then(|level| Some((&*level, level.ledger.last_lock()?)))
    else {
        return false;
    };
    let flags = match site.effects & effect::OBJECTS {
        0 => None,
        _ => match level.objects.find(args[1]) {
            Some((at, object)) => object.kind.held(at),
            None => return false,
        },
    };
    lock.held.addr == addr && lock.flags == flags
}

/// The resilient lock at `addr` if it was taken, as `result` says; or 0.
pub(super) fn taken(addr: u64, result: u64) -> u64 {
    // The function's result is an int.
    if result as i32 == 0 {
        addr
    } else {
        0
    }
}

/// The resilient lock at `addr` was taken, and `flags` were saved with it. There is
/// room: looked at before the call.
pub(super) fn acquire(level: &mut Level, flags: Option<Held>, addr: u64) {
    if let Some(flags) = flags {
        let _ = level.ledger.acquire(flags.kind, flags.addr);
    }
    let _ = level.ledger.acquire(Kind::ResSpinLock, addr);
}

/// The resilient lock at `addr` was released.
pub(super) fn release(level: &mut Level, addr: u64) {
    let _ = level.ledger.release(Kind::ResSpinLock, addr);
    graph::end_borrowed(level);
}

/// Releases what the run still holds, the lock that it took last before the others.
pub(super) fn give_back(level: &mut Level) {
    while let Some(lock) = level.ledger.last_lock() {
        let addr = lock.held.addr;
        let _ = level.ledger.release(lock.held.kind, addr);
        // SAFETY: a lock that a call of this run took and none released; the value or object that
        // it is in is still the run's.
        unsafe {
            if lock.held.kind == Kind::SpinLock {
                b::bailey_k_bpf_spin_unlock(addr, 0, 0, 0, 0);
            } else {
                b::bailey_k_bpf_res_spin_unlock(addr as *mut b::bpf_res_spin_lock);
            }
        }
        if let Some(flags) = lock.flags {
            let _ = level.ledger.release(flags.kind, flags.addr);
            objects::give_back(level, &flags);
        }
    }
}
