// SPDX-License-Identifier: GPL-2.0
//! Domains: whole pages of ours, one protection key, and the programs that may
//! use them. Programs that share a map share a domain.
//!
//! Lock order: the registry's mutex is taken in process context and nothing
//! else of the module is taken under it but the event stubs' mutex. The hot
//! path (frames, values) reads without locks: both only grow while a program
//! of the domain lives.

pub(crate) mod arrays;
pub(crate) mod fields;
mod frames;
pub(crate) mod values;

use crate::bindings as b;
use crate::breach;
use crate::event::stubs;
use crate::hw::cpus;
use crate::pure::pkrs::{self, Key};
use crate::pure::pool::{KeyPool, Lease, PoolError, State};
use crate::pure::region::{Layout, Levels, SPAN};
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr;
use frames::Frames;
use kernel::prelude::*;
use kernel::sync::{Arc, SetOnce};
use values::Values;

/// Landing pages of a frame: the four landing stacks share one.
pub(crate) const LANDING_PAGES: u32 = 1;
/// Stack pages of a frame: 128 KiB hold a 64 KiB packet and nested runs.
pub(crate) const STACK_PAGES: u32 = 32;

/// A domain. Freed when the last program of it is.
pub(crate) struct Domain {
    id: u32,
    key: Key,
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
        self.key
    }

    /// Its frames by CPU number, as the enter gate reads them.
    pub(crate) fn frames_ptr(&self) -> *mut *mut b::bailey_frame {
        self.frames.as_ptr()
    }

    /// The values of maps that its programs address directly.
    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    /// Where a program of this domain sees the byte at `kernel_addr` of a value
    /// of `map`, if the map's values are mapped in the domain.
    pub(crate) fn value_address(&self, map: *mut b::bpf_map, kernel_addr: u64) -> Option<u64> {
        self.values.of_map(map)?.to_domain(kernel_addr)
    }
}

/// A program's membership of a domain.
pub(crate) struct Member(ManuallyDrop<Arc<Domain>>);

impl Deref for Member {
    type Target = Domain;
    fn deref(&self) -> &Domain {
        &self.0
    }
}

struct Entry {
    lease: Lease,
    domain: Arc<Domain>,
    members: u32,
}

struct Registry {
    pool: KeyPool,
    entries: KVec<Entry>,
}

kernel::sync::global_lock! {
    // SAFETY: initialized by `Region::new`, before any program is loaded.
    unsafe(uninit) static REGISTRY: Mutex<Registry> = Registry {
        pool: KeyPool::new(),
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
        unsafe { REGISTRY.init() };
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

/// A membership of the domain for a program that uses `maps`: the domain of
/// the first of them that has one, else a new one.
pub(crate) fn for_maps(maps: &[*mut b::bpf_map]) -> Result<Member> {
    let mut registry = REGISTRY.lock();
    let registry = &mut *registry;
    let known = registry
        .entries
        .iter_mut()
        .find(|entry| maps.iter().any(|&map| entry.domain.values.uses(map)));
    let domain = match known {
        Some(entry) => {
            entry.members += 1;
            entry.domain.clone()
        }
        None => {
            registry.entries.reserve(1, GFP_KERNEL)?;
            let (lease, domain) = create(registry)?;
            registry.entries.push(
                Entry {
                    lease,
                    domain: domain.clone(),
                    members: 1,
                },
                GFP_KERNEL,
            )?;
            domain
        }
    };
    for &map in maps {
        if let Err(err) = domain.values.add(&domain, map) {
            leave(registry, domain);
            return Err(err);
        }
    }
    Ok(Member(ManuallyDrop::new(domain)))
}

fn create(registry: &mut Registry) -> Result<(Lease, Arc<Domain>)> {
    let lease = match registry.pool.acquire() {
        Ok(lease) => lease,
        Err(PoolError::FlushFirst) => {
            // SAFETY: process context.
            unsafe { b::bailey_k_flush_tlb_all() };
            registry.pool.flushed_all();
            registry.pool.acquire().map_err(|_| ENOSPC)?
        }
        Err(_) => return Err(ENOSPC),
    };
    let id = (0..)
        .find(|id| registry.entries.iter().all(|entry| entry.domain.id != *id))
        .ok_or(ENOSPC)?;
    let key = lease.key();
    let build = || -> Result<Arc<Domain>> {
        let span = layout()?.span(id).ok_or(ENOSPC)?;
        let pkrs = breach::pkrs(pkrs::confined(key, Key::EVENTS));
        let domain = Domain {
            id,
            key,
            frames: Frames::new(&span, key, pkrs, id)?,
            values: Values::new(span.maps())?,
            _events: stubs::hold()?,
        };
        Ok(Arc::new(domain, GFP_KERNEL)?)
    };
    match build() {
        Ok(domain) => Ok((lease, domain)),
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
    let Ok(Entry { lease, domain, .. }) = registry.entries.remove(index) else {
        return;
    };
    // The last reference: its pages are unmapped and flushed before the key is anybody else's.
    drop(domain);
    registry.pool.release(lease);
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut registry = REGISTRY.lock();
        // SAFETY: taken once, here.
        let domain = unsafe { ManuallyDrop::take(&mut self.0) };
        leave(&mut registry, domain);
    }
}

/// A view of a domain for reports.
pub(crate) struct Summary<'a> {
    /// The domain's number.
    pub(crate) id: u32,
    /// Its key's number.
    pub(crate) key: u8,
    /// Whether the key is shared with another domain.
    pub(crate) shared: bool,
    /// How many programs are its members.
    pub(crate) members: u32,
    /// The maps that its programs use.
    pub(crate) values: &'a Values,
    /// The first address of its span.
    pub(crate) base: u64,
    /// Bytes of its span.
    pub(crate) size: u64,
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
            shared: registry.pool.is_shared(entry.domain.key()),
            members: entry.members,
            values: &entry.domain.values,
            base: span.map_or(0, |span| span.base()),
            size: SPAN,
        });
    }
}

/// Calls `report` for each key of the pool.
pub(crate) fn for_each_key(mut report: impl FnMut(Key, State)) {
    let registry = REGISTRY.lock();
    for (key, state) in registry.pool.iter() {
        report(key, state);
    }
}
