// SPDX-License-Identifier: GPL-2.0
//! What a helper's result means for the run, and what of it the program gets: an
//! address of its domain, or one that is on loan.

use super::audit::{refuse, Audited, Refused};
use super::helper::{kind_of, Kept};
use super::lending::{give_value, lend};
use super::{graph, locks, pointers, records, Run};
use crate::bindings as b;
use crate::breach;
use crate::domain::fields::Fields;
use crate::domain::mapped::Mapped;
use crate::load::site::{effect, returns};
use crate::pure::ledger::Kind as Held;
use crate::pure::loan::{Kind as Lent, Loan};
use crate::pure::region::PAGE;
use core::mem::size_of;

/// What the helper's result means for the run, and what of it the program gets.
#[inline(always)]
pub(super) fn settle(
    run: &mut Run,
    site: &b::bailey_site,
    args: &[u64; 5],
    ctx: u64,
    kept: &Kept,
    result: u64,
) -> Audited<u64> {
    if site.effects & effect::SYNC_AFTER != 0 && !run.sync_in() {
        return refuse(ctx);
    }
    if site.effects & effect::RELEASES != 0 {
        let (kind, at) = (kind_of(site.resource), args[0]);
        if let Some(level) = run.level() {
            let released = level.ledger.release(kind, at);
            if released.is_err() && breach::without(b::BAILEY_WITHOUT_LEDGER) {
                level.ledger.pop();
            }
            match kind {
                Held::RingbufRecord => records::end(run, at),
                Held::Socket if !level.ledger.holds(kind, at) => {
                    level.loans.remove(Lent::Socket, at);
                }
                Held::SpinLock | Held::ResSpinLock => graph::end_borrowed(level),
                Held::Reference(_) if !level.ledger.holds(kind, at) => {
                    level.loans.remove(Lent::Reference, at);
                }
                _ => {}
            }
        }
    }
    if site.effects & effect::ACQUIRES != 0 {
        let kind = kind_of(site.resource);
        let at = match kind {
            Held::SpinLock => args[0],
            Held::ResSpinLock => locks::taken(args[0], result),
            _ => result,
        };
        if at != 0 {
            if let Some(level) = run.level() {
                let _ = level.ledger.acquire(kind, at);
            }
        }
    }
    if result == 0 {
        return Ok(0);
    }
    let loan = |start, len, write, kind| Loan {
        start,
        len,
        write,
        kind,
        tag: 0,
    };
    match site.returns {
        returns::MAP_VALUE if site.map != 0 => {
            if let Some(at) = mapped_value(site, result) {
                return Ok(at);
            }
            if site.values_len != 0 {
                return give_value(run, kept, site.map as *mut b::bpf_map, result);
            }
            let write = site.effects & effect::READ_ONLY == 0;
            let mut value = loan(result, site.size, write, Lent::MapValue);
            // SAFETY: a map that the program holds.
            value.tag = unsafe { Fields::of(site.map as *const b::bpf_map) }.tag();
            lend(run, kept, value)?;
        }
        returns::INNER_MAP if site.map != 0 => lend(run, kept, loan(result, 1, false, Lent::Map))?,
        returns::MAP_VALUE | returns::INNER_MAP => {
            let map = args[0] as *mut b::bpf_map;
            // SAFETY: the audit found `map` to be one of this run's.
            let kind = unsafe { (*map).map_type };
            if matches!(
                kind,
                b::bpf_map_type_BPF_MAP_TYPE_SOCKMAP | b::bpf_map_type_BPF_MAP_TYPE_SOCKHASH
            ) {
                // Taken, though the site could not know: the reference is the run's.
                let level = run.level().ok_or(Refused { addr: result })?;
                let _ = level.ledger.acquire(Held::Socket, result);
                let len = size_of::<b::sock>() as u32;
                lend(run, kept, loan(result, len, false, Lent::Socket))?;
                return Ok(result);
            }
            // SAFETY: the audit found `map` to be one of this run's.
            if unsafe { (*map).inner_map_meta.is_null() } {
                return give_value(run, kept, map, result);
            }
            lend(run, kept, loan(result, 1, false, Lent::Map))?;
        }
        returns::RINGBUF_RECORD => {
            let len = u32::try_from(args[1]).map_err(|_| Refused { addr: args[1] })?;
            if len != 0 {
                return records::give(run, kept, result, len);
            }
        }
        returns::SOCKET => {
            let len = size_of::<b::sock>() as u32;
            lend(run, kept, loan(result, len, false, Lent::Socket))?;
        }
        returns::SOCK_COMMON => {
            let len = size_of::<b::sock_common>() as u32;
            lend(run, kept, loan(result, len, false, Lent::Socket))?;
        }
        returns::PER_CPU_MEMORY => {
            let size = pointers::per_cpu_size(run, args[0]).ok_or(Refused { addr: args[0] })?;
            pointers::lend_memory(run, kept, result, size)?;
        }
        // The loan of the socket itself grows.
        returns::SOCKET_AS if result == args[0] => {
            lend(run, kept, loan(result, site.size, false, Lent::Socket))?;
        }
        // It would be another object, of which nobody says how long it is there.
        returns::SOCKET_AS => return refuse(result),
        returns::KERNEL_OBJECT | returns::REFERENCE => {
            let kind = if site.returns == returns::REFERENCE {
                Lent::Reference
            } else {
                Lent::KernelObject
            };
            let mut object = loan(result, site.size, false, kind);
            object.tag = site.values_len;
            lend(run, kept, object)?;
        }
        _ => {}
    }
    Ok(result)
}

/// The domain's address of the value at the kernel's address `value` of the
/// site's map, by what the load has found out of it once and for all. Of a
/// per-CPU map in one piece only this CPU's values are found.
#[inline(always)]
fn mapped_value(site: &b::bailey_site, value: u64) -> Option<u64> {
    let (mut start, mut domain) = (site.values_kernel, site.values_domain);
    if u32::from(site.values_pages) == b::BAILEY_SITE_PIECES {
        // SAFETY: the site's entry in its domain, which lives as long as the program.
        return unsafe { &*(start as *const Mapped) }.domain_address(value);
    }
    if site.values_pages != 0 {
        // SAFETY: no preconditions; a run stays on its CPU.
        unsafe {
            let cpu = b::bailey_cpu_number();
            start = b::bailey_per_cpu_address(start, cpu);
            domain += u64::from(cpu) * u64::from(site.values_pages) * PAGE;
        }
    }
    let at = value.wrapping_sub(start);
    (at < site.values_len).then(|| domain + at)
}
