// SPDX-License-Identifier: GPL-2.0
//! Domains: whole pages of ours, one protection key, and the programs that may
//! use them. Programs that share a map share a domain, or, with
//! `isolation=program`, each has one of its own, and the values of a map are
//! mapped in one of them alone.
//!
//! Lock order: the registry's mutex is taken in process context and nothing
//! else of the module is taken under it but the event stubs' mutex and that of the
//! list of arrays. The hot
//! path (frames, values) reads without locks: frames stay as long as a program
//! of the domain lives, and a map's values at least until every run is over that
//! may have found them ([`values`]).

pub(crate) mod arenas;
pub(crate) mod arrays;
pub(crate) mod fields;
mod frames;
pub(crate) mod inner;
pub(crate) mod mapped;
pub(crate) mod per_cpu;
mod pieces;
mod shift;
pub(crate) mod values;

use crate::bindings as b;
use crate::breach;
use crate::event::stubs;
use crate::hw::cpus;
use crate::hw::root::Root;
use crate::pure::heat::{Candidate, Heat, Move, Policy};
use crate::pure::pkrs::{self, Key};
use crate::pure::pool::{Counts, KeyPool, Lease, PoolError, State, OWN};
use crate::pure::region::{Layout, Levels, Window, SPAN};
use arenas::Arena;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr;
use frames::Frames;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{Arc, SetOnce};
use values::{Place, Values};

/// Landing pages of a frame: the four landing stacks share one.
pub(crate) const LANDING_PAGES: u32 = 1;
/// Stack pages of a frame: 128 KiB hold a 64 KiB packet and nested runs.
pub(crate) const STACK_PAGES: u32 = 32;

/// A domain. Freed when the last program of it is.
pub(crate) struct Domain {
    id: u32,
    /// Whether it is one program's, which nobody joins and with which no other domain
    /// shares memory.
    alone: bool,
    /// Its number; changed under the registry's mutex.
    key: Atomic<u32>,
    frames: Frames,
    values: Values,
    /// Keeps the event stubs in the IDT. Last: released after the pages are gone.
    _events: stubs::Hold,
}

impl Domain {
    /// The domain's number: its span of the region.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The protection key its pages carry.
    pub(crate) fn key(&self) -> Key {
        Key::new(self.key.load(Relaxed) as u8).unwrap_or(Key::KERNEL)
    }

    /// The frame of the CPU that this runs on, whose index is `cpu`; its first if need
    /// be. Null if there is no memory for it. Preemption is off.
    pub(crate) fn frame_here(&self, cpu: u32) -> *mut b::bailey_frame {
        self.frames.here(cpu)
    }

    /// Its frames by CPU number, as the enter gate reads them.
    pub(crate) fn frames_ptr(&self) -> *mut *mut b::bailey_frame {
        self.frames.as_ptr()
    }

    /// The values of maps that its programs address directly.
    ///
    /// # Safety
    ///
    /// The caller is a run, with preemption off from its first to its last instruction, and keeps
    /// nothing of what it finds any longer.
    pub(crate) unsafe fn values(&self) -> &Values {
        &self.values
    }

    /// The same for a program that is being loaded, with nobody changing them meanwhile.
    pub(crate) fn with_values<T>(&self, look: impl FnOnce(&Values) -> T) -> T {
        let _registry = REGISTRY.lock();
        look(&self.values)
    }
}

/// A program's membership of a domain, and its use of maps there.
pub(crate) struct Member {
    domain: ManuallyDrop<Arc<Domain>>,
    /// Their numbers in the domain's `values`.
    maps: KVec<usize>,
}

impl Deref for Member {
    type Target = Domain;
    fn deref(&self) -> &Domain {
        &self.domain
    }
}

struct Entry {
    lease: Lease,
    domain: Arc<Domain>,
    /// Its page tables while its key is the one for sharing.
    root: Option<Root>,
    members: u32,
    heat: Heat,
}

struct Registry {
    pool: KeyPool,
    policy: Policy,
    entries: KVec<Entry>,
}

kernel::sync::global_lock! {
    // SAFETY: initialized by `Region::new`, before any program is loaded.
    unsafe(uninit) static REGISTRY: Mutex<Registry> = Registry {
        pool: KeyPool::new(),
        policy: Policy::new(),
        entries: KVec::new(),
    };
}

static LAYOUT: SetOnce<Layout> = SetOnce::new();

/// The layout of the region.
pub(crate) fn layout() -> Result<Layout> {
    LAYOUT.copy().ok_or(ENODEV)
}

/// The reserved top-level entry; dropping it gives it back.
pub(crate) struct Region {
    area: *mut c_void,
}

// SAFETY: the area is owned and touched by init and drop alone.
unsafe impl Send for Region {}
// SAFETY: a shared `Region` gives no access to anything.
unsafe impl Sync for Region {}

impl Region {
    /// Reserves the region.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: called once, from the module's init.
        unsafe {
            REGISTRY.init();
            arenas::init();
            inner::init();
        }
        let mut area = ptr::null_mut();
        // SAFETY: `area` is valid for the write; process context.
        let base = unsafe { b::bailey_region_reserve(&mut area) };
        if base == 0 {
            pr_err!("cannot load: no top-level entry of the vmalloc area is free\n");
            return Err(ENOMEM);
        }
        let region = Self { area };
        // SAFETY: reads whether five levels are in use.
        let levels = if unsafe { b::bailey_has_5_levels() } != 0 {
            Levels::Five
        } else {
            Levels::Four
        };
        let layout = Layout::new(
            base as u64,
            levels,
            cpus::count(),
            LANDING_PAGES,
            STACK_PAGES,
        )
        .map_err(|err| {
            pr_err!("cannot load: the region has no layout: {:?}\n", err);
            EINVAL
        })?;
        LAYOUT.populate(layout);
        Ok(region)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: as returned by bailey_region_reserve; every domain is gone.
        unsafe { b::bailey_region_release(self.area) };
    }
}

/// Whether each program that is loaded now gets a domain of its own.
pub(crate) fn by_program() -> bool {
    // SAFETY: the parameter is an int that is read whole.
    unsafe { (&raw const b::bailey_isolation_program).read_volatile() != 0 }
}

/// A membership of the domain for a program that uses `maps`: the domain of
/// the first of them that has one, else a new one; or always a new one, by the
/// parameter `isolation`.
pub(crate) fn for_maps(maps: &[*mut b::bpf_map]) -> Result<Member> {
    let mut numbers = KVec::with_capacity(maps.len(), GFP_KERNEL)?;
    let mut guard = REGISTRY.lock();
    let registry = &mut *guard;
    let alone = by_program();
    let known = registry.entries.iter_mut().find(|entry| {
        let joins = !alone && !entry.domain.alone;
        joins && maps.iter().any(|&map| entry.domain.values.uses(map))
    });
    let domain = match known {
        Some(entry) => {
            entry.members += 1;
            entry.domain.clone()
        }
        None => {
            registry.entries.reserve(1, GFP_KERNEL)?;
            let entry = create(registry, alone)?;
            let domain = entry.domain.clone();
            registry.entries.push(entry, GFP_KERNEL)?;
            domain
        }
    };
    let added = maps.iter().try_for_each(|&map| -> Result {
        // SAFETY: the program that is being loaded holds its maps.
        let window = match unsafe { Arena::is(map) } {
            true => window(&registry.entries, &domain),
            false => None,
        };
        let place = Place {
            elsewhere: is_elsewhere(&registry.entries, &domain, map),
            window,
        };
        let number = domain.values.add(&domain, map, place)?;
        // It has room for all of them.
        Ok(numbers.push(number, GFP_KERNEL)?)
    });
    show_windows(&mut registry.entries, &domain);
    drop(guard);
    let member = Member {
        domain: ManuallyDrop::new(domain),
        maps: numbers,
    };
    // Without the mutex: a member that goes, with what it has added so far, takes it.
    added?;
    // SAFETY: the program that is being loaded holds its maps.
    let is_outer = |&map: &*mut b::bpf_map| inner::is_outer(unsafe { (*map).map_type });
    if maps.iter().any(is_outer) {
        inner::follow();
        // Somebody may have been about to put a map there.
        // SAFETY: begins a work item.
        unsafe { b::bailey_inner_changed() };
    }
    Ok(member)
}

/// Room for an arena of `domain`.
fn window(entries: &[Entry], domain: &Domain) -> Option<Window> {
    layout()
        .ok()?
        .window(domain.id, |span| is_taken(entries, span))
}

/// Whether the span of this number is a domain's or an arena's.
fn is_taken(entries: &[Entry], span: u32) -> bool {
    entries.iter().any(|entry| {
        let values = &entry.domain.values;
        let covers = |window: &Window| window.spans().contains(&span);
        entry.domain.id == span || values.has_arenas() && values.kept_windows().any(covers)
    })
}

/// Has the page tables of `domain`, if it has its own, show the arenas that its programs use,
/// and no others.
fn show_windows(entries: &mut [Entry], domain: &Domain) {
    let entry = entries
        .iter_mut()
        .find(|entry| entry.domain.id == domain.id);
    if let Some(root) = entry.and_then(|entry| entry.root.as_mut()) {
        show_in(root, domain);
    }
}

fn show_in(root: &mut Root, domain: &Domain) {
    if domain.values.has_arenas() {
        let shows = |span| domain.values.windows().any(|window| window.covers(span));
        root.show(shows);
    }
}

/// Whether the values of `map` are to stay mapped where they are, and not in `domain`.
fn is_elsewhere(entries: &[Entry], domain: &Domain, map: *mut b::bpf_map) -> bool {
    entries.iter().any(|entry| {
        let other = &entry.domain;
        let apart = other.id != domain.id && (other.alone || domain.alone);
        apart && other.values.shows(map)
    })
}

/// No TLB holds any translation of before.
fn flush() {
    if breach::without(b::BAILEY_WITHOUT_FLUSH) {
        return;
    }
    // SAFETY: process context. It reaches global entries and every PCID.
    unsafe { b::bailey_k_flush_tlb_all() };
}

/// Gives pages of the region another key. The caller flushes.
fn tag(addr: u64, pages: u64, key: Key) {
    // SAFETY: pages that this domain has mapped; whoever uses them meanwhile can do with the old
    // key or with the new one.
    unsafe { b::bailey_region_set_key(addr as usize, pages as usize, key.number().into()) };
}

/// PKRS for runs that open `keys`.
fn rights(keys: &[Key]) -> u32 {
    let closed = keys.iter().fold(u32::MAX, |pkrs, &key| {
        pkrs & pkrs::confined(key, Key::EVENTS)
    });
    breach::pkrs(closed)
}

impl KeyPool {
    /// A key by one of the pool's ways to get one, after a flush if it needs one.
    fn get(&mut self, take: fn(&mut Self) -> Result<Lease, PoolError>) -> Result<Lease> {
        match take(self) {
            Err(PoolError::FlushFirst) => {
                flush();
                self.flushed_all();
                take(self)
            }
            other => other,
        }
        .map_err(|_| ENOSPC)
    }
}

fn create(registry: &mut Registry, alone: bool) -> Result<Entry> {
    let lease = registry.pool.get(if breach::shares() {
        KeyPool::acquire_shared
    } else {
        KeyPool::acquire
    })?;
    let id = (0..)
        .find(|&id| !is_taken(&registry.entries, id))
        .ok_or(ENOSPC)?;
    let key = lease.key();
    let build = || -> Result<(Arc<Domain>, Option<Root>)> {
        let span = layout()?.span(id).ok_or(ENOSPC)?;
        let domain = Domain {
            id,
            alone,
            key: Atomic::new(key.number().into()),
            frames: Frames::new(&span, key, rights(&[key]), id)?,
            values: Values::new(span.maps())?,
            _events: stubs::hold()?,
        };
        // After the frames, which give the span tables to share.
        let root = if lease.is_shared() {
            let root = Root::new(span.base())?;
            if !breach::without(b::BAILEY_WITHOUT_ROOTS) {
                domain.frames.set_root(root.cr3());
            }
            // SAFETY: process context; `load::exit` stops it after the last domain.
            unsafe { b::bailey_rounds_start() };
            Some(root)
        } else {
            None
        };
        Ok((Arc::new(domain, GFP_KERNEL)?, root))
    };
    match build() {
        Ok((domain, root)) => Ok(Entry {
            lease,
            domain,
            root,
            members: 1,
            heat: Heat::default(),
        }),
        Err(err) => {
            registry.pool.release(lease);
            Err(err)
        }
    }
}

/// One member of `domain` goes, and the domain with its last.
fn leave(registry: &mut Registry, domain: Arc<Domain>) {
    let id = domain.id;
    drop(domain);
    let Some(index) = registry
        .entries
        .iter()
        .position(|entry| entry.domain.id == id)
    else {
        return;
    };
    let Some(entry) = registry.entries.get_mut(index) else {
        return;
    };
    entry.members -= 1;
    if entry.members > 0 {
        return;
    }
    let Ok(Entry {
        lease,
        domain,
        root,
        ..
    }) = registry.entries.remove(index)
    else {
        return;
    };
    // The last reference: its pages are unmapped and flushed before the key is anybody else's.
    drop(domain);
    drop(root);
    registry.pool.release(lease);
}

/// How many domains there are, and how many of them share a key.
pub(crate) fn count() -> (usize, usize) {
    let registry = REGISTRY.lock();
    let sharers = registry.pool.stats().sharers;
    (registry.entries.len(), sharers as usize)
}

/// A round has ended: domains with `crossings` as given, by their numbers. Those
/// for which a key of their own pays may get one.
pub(crate) fn rebalance(crossings: &[(u32, u64)]) {
    let mut registry = REGISTRY.lock();
    let Registry {
        pool,
        policy,
        entries,
    } = &mut *registry;
    for entry in entries.iter_mut() {
        let of = |&&(id, _): &&(u32, u64)| id == entry.domain.id;
        if let Some(&(_, total)) = crossings.iter().find(of) {
            entry.heat.round(total);
        }
    }
    let stats = pool.stats();
    // A key that waits for a flush is as good; that for sharing is in use, if there is a move.
    let free = stats.own < OWN as u32 && !breach::shares();
    let candidates = entries.iter().map(|entry| Candidate {
        domain: entry.domain.id,
        shares: entry.lease.is_shared(),
        heat: entry.heat.mean(),
    });
    let Some(decision) = policy.decide(candidates, free) else {
        return;
    };
    if breach::holds() {
        return;
    }
    let mut with = |id: u32, change: fn(&mut KeyPool, &mut Entry) -> Result| match entries
        .iter_mut()
        .find(|entry| entry.domain.id == id)
    {
        Some(entry) => change(pool, entry),
        None => Err(ENOENT),
    };
    let done = match decision {
        Move::Promote(hot) => with(hot, shift::promote),
        Move::Swap(cold, hot) => with(cold, shift::demote).and_then(|()| with(hot, shift::promote)),
    };
    if let Err(err) = done {
        pr_warn!("a domain did not get another key ({})\n", err.to_errno());
    }
}

/// The test build alone. 1: every domain moves to the other kind of key, if
/// there is one. 2 and 3: all share the key for sharing for a moment, and then
/// get own keys, the lowest for the first domain or for the last.
///
/// # Safety
///
/// Called in process context.
#[cfg(bailey_breach)]
#[no_mangle]
unsafe extern "C" fn bailey_test_move(how: c_uint) -> c_int {
    let mut registry = REGISTRY.lock();
    let Registry { pool, entries, .. } = &mut *registry;
    let mut other_key = |entry: &mut Entry| match entry.lease.is_shared() {
        true => shift::promote(pool, entry),
        false => shift::demote(pool, entry),
    };
    let done = match how {
        1 => {
            // Who finds no key of its own stays.
            entries.iter_mut().for_each(|entry| {
                let _ = other_key(entry);
            });
            Ok(())
        }
        2 | 3 => entries
            .iter_mut()
            .filter(|entry| !entry.lease.is_shared())
            .try_for_each(&mut other_key)
            .and_then(|()| match how {
                2 => entries.iter_mut().try_for_each(other_key),
                _ => entries.iter_mut().rev().try_for_each(other_key),
            }),
        _ => Err(EINVAL),
    };
    done.map_or_else(|err| err.to_errno(), |()| 0)
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut registry = REGISTRY.lock();
        // SAFETY: taken once, here.
        let domain = unsafe { ManuallyDrop::take(&mut self.domain) };
        // What remains are the maps that nobody else of the domain uses.
        self.maps.retain(|&mut number| domain.values.leave(number));
        let others = registry.entries.iter().any(|entry| {
            let is_it = entry.domain.id == domain.id;
            is_it && entry.members > 1
        });
        if others && !self.maps.is_empty() {
            // The domain stays, since this member is still counted. A run of another program may
            // have found one of these maps, as one in an outer map.
            drop(registry);
            // SAFETY: process context; it may sleep, and no lock is held that CPU hotplug takes.
            unsafe { b::bailey_cpu_wait_for_runs() };
            registry = REGISTRY.lock();
            show_windows(&mut registry.entries, &domain);
            for &number in &self.maps {
                // SAFETY: left above, by this member alone; every run of before is over.
                unsafe { domain.values.clear(number) };
            }
        }
        leave(&mut registry, domain);
        // An outer map may have been among its maps.
        // SAFETY: begins a work item.
        unsafe { b::bailey_inner_changed() };
    }
}

/// A view of a domain for reports.
pub(crate) struct Summary<'a> {
    /// The domain's number.
    pub(crate) id: u32,
    /// Its key's number.
    pub(crate) key: u8,
    /// Whether its key is the one for sharing: its programs run on page tables
    /// of its own.
    pub(crate) shared: bool,
    /// How many programs are its members.
    pub(crate) members: u32,
    /// Whether it is one program's own.
    pub(crate) alone: bool,
    /// The maps that its programs use.
    pub(crate) values: &'a Values,
    /// The first address of its span.
    pub(crate) base: u64,
    /// Bytes of its span.
    pub(crate) size: u64,
    /// How many CPUs have a frame, since its programs have run there.
    pub(crate) frames: usize,
}

/// Calls `report` for each domain.
pub(crate) fn for_each(mut report: impl FnMut(&Summary<'_>)) {
    let registry = REGISTRY.lock();
    for entry in &registry.entries {
        let span = layout()
            .ok()
            .and_then(|layout| layout.span(entry.domain.id));
        report(&Summary {
            id: entry.domain.id,
            key: entry.domain.key().number(),
            shared: entry.lease.is_shared(),
            members: entry.members,
            alone: entry.domain.alone,
            values: &entry.domain.values,
            base: span.map_or(0, |span| span.base()),
            size: SPAN,
            frames: entry.domain.frames.count(),
        });
    }
}

/// Calls `report` for each key of the pool.
pub(crate) fn for_each_key(mut report: impl FnMut(Key, State, Counts)) {
    let registry = REGISTRY.lock();
    for (key, state) in registry.pool.iter() {
        report(key, state, registry.pool.counts(key).unwrap_or_default());
    }
}
