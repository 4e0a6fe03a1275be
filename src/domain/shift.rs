// SPDX-License-Identifier: GPL-2.0
//! Moves of living domains between the key for sharing and keys of their own
//! (pure/shift.rs has the steps and why they are safe).

use super::{flush, rights, Domain, Entry};
use crate::bindings as b;
use crate::hw::root::Root;
use crate::pure::pool::{KeyPool, Lease};
use crate::pure::shift::{Open, Step, TO_OWN, TO_SHARED};
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;

/// Gives the domain of `entry` a key of its own.
pub(super) fn promote(pool: &mut KeyPool, entry: &mut Entry) -> Result {
    let own = pool.get(KeyPool::acquire_own)?;
    carry_out(entry, own, pool, &TO_OWN);
    // No run is on it any more.
    entry.root = None;
    Ok(())
}

/// Lets the domain of `entry` share the key for sharing.
pub(super) fn demote(pool: &mut KeyPool, entry: &mut Entry) -> Result {
    let span = super::layout()?.span(entry.domain.id).ok_or(ENOSPC)?;
    let mut root = Root::new(span.base())?;
    super::show_in(&mut root, &entry.domain);
    let shared = pool.get(KeyPool::acquire_shared)?;
    entry.root = Some(root);
    carry_out(entry, shared, pool, &TO_SHARED);
    Ok(())
}

/// The caller holds the registry's mutex, so that no page is mapped meanwhile but
/// those of a frame that a CPU gets now: they are as the step before has it, or as
/// this one.
fn carry_out(entry: &mut Entry, to: Lease, pool: &mut KeyPool, steps: &[Step]) {
    let domain: &Domain = &entry.domain;
    let (old, new) = (entry.lease.key(), to.key());
    for step in steps {
        match step {
            Step::Open(Open::Both) => domain.frames.set_pkrs(rights(&[old, new])),
            Step::Open(Open::New) => domain.frames.set_pkrs(rights(&[new])),
            Step::Root(true) => domain.frames.set_root(cr3(&entry.root)),
            Step::Root(false) => domain.frames.set_root(0),
            // SAFETY: process context; it may sleep, and no lock is held that CPU hotplug takes.
            Step::Wait => unsafe { b::bailey_cpu_wait_for_runs() },
            Step::Tag => {
                domain.key.store(new.number().into(), Relaxed);
                domain.frames.tag(new);
                domain.values.tag(new);
            }
            Step::Flush => flush(),
        }
    }
    pool.moved(&to);
    let from: Lease = core::mem::replace(&mut entry.lease, to);
    pool.release(from);
}

fn cr3(root: &Option<Root>) -> u64 {
    root.as_ref().map_or(0, Root::cr3)
}
