// SPDX-License-Identifier: GPL-2.0
//! The record of a program, from its load to its end.
//!
//! A record is found by the program's `bpf_prog_aux`, which stays the same
//! while the verifier and the JIT replace the program itself. It enters the
//! registry during the load and leaves it when the kernel frees the program's
//! image; what it owns is given back by a work item, since that place may not
//! sleep.
//!
//! Locks: the registry is a spin lock, taken in process context alone
//! (bpf_jit_free() runs in a work item or a load). Under it nothing sleeps and
//! no other lock is taken. Runs look records up in the index, without a lock:
//! it is a table of lists of which an element is freed an RCU grace period
//! after it was taken out.

use super::counts::Counts;
use super::helpers::HelperSet;
use super::images::Image;
use super::next_calls::NextSite;
use super::stub::Stubs;
use super::switch::Switch;
use super::Reason;
use crate::bindings as b;
use crate::domain::mapped::Seen;
use crate::domain::Member;
use crate::hw::clock::Reader;
use crate::pure::reach::Reach;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr;
use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNode};
use kernel::str::CString;
use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed, Release};
use kernel::sync::Arc;
use kernel::workqueue::{impl_has_work, new_work, Queue, Work, WorkItem};

/// Where a program is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Rewritten, its image not yet checked.
    Loading,
    /// Confined, and may run.
    Isolated,
    /// Confined; after a violation its runs are turned away at the gate.
    Quarantined,
    /// Runs as without us; `Program::reason` says why.
    NotIsolated,
}

impl State {
    /// As reports write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Isolated => "isolated",
            Self::Quarantined => "quarantined",
            Self::NotIsolated => "not-isolated",
        }
    }
}

/// A reference to a map, held as long as the record.
pub(crate) struct MapRef(*mut b::bpf_map);

impl MapRef {
    /// # Safety
    ///
    /// `map` is alive.
    unsafe fn new(map: *mut b::bpf_map) -> Self {
        // SAFETY: `map` is alive.
        unsafe { b::bpf_map_inc(map) };
        Self(map)
    }

    /// The map.
    pub(crate) fn as_ptr(&self) -> *mut b::bpf_map {
        self.0
    }
}

impl Drop for MapRef {
    fn drop(&mut self) {
        // SAFETY: the reference taken in `new`; records are dropped in process context.
        unsafe { b::bpf_map_put(self.0) };
    }
}

/// What an isolated program owns. Fields are dropped in this order: the stubs
/// before the table that their numbers index, the maps after the domain that
/// shows their values.
pub(super) struct Isolation {
    pub(super) stubs: Stubs,
    pub(super) sites: UnsafeCell<KVVec<b::bailey_site>>,
    /// In the order of their sites.
    pub(super) switches: UnsafeCell<KVVec<Switch>>,
    /// The first is the program's, the others are functions'.
    images: KVVec<Image>,
    pub(super) parts: KVVec<Part>,
    /// Of each image, one bit a byte: an instruction starts here.
    pub(super) starts: UnsafeCell<KVVec<KVVec<u8>>>,
    counts: Counts,
    /// What the sites have seen, one each.
    seen: KVVec<Seen>,
    /// Calls that are made behind others, in the order of these.
    pub(super) next_calls: UnsafeCell<KVVec<NextSite>>,
    domain: Member,
    maps: KVec<MapRef>,
    /// If it reads the clock.
    _clock: Option<Reader>,
}

/// What becomes an image, as the rewriting lays it out.
#[derive(Clone, Copy, Default)]
pub(super) struct Part {
    /// The function that it begins with, as the verifier numbers them.
    pub(super) function: usize,
    /// Where it begins in the new program, in instructions.
    pub(super) start: usize,
    /// Its call sites: the first, and how many.
    pub(super) first_site: usize,
    pub(super) sites: usize,
    /// Exits that become jumps to the exit gate.
    pub(super) exits: u32,
    /// Bytes that its functions use at once.
    pub(super) stack: u32,
    /// `BAILEY_CALL_*`.
    pub(super) calls: u32,
    /// Which argument is the context, from 1; 0: none.
    pub(super) ctx_arg: u32,
    /// Where in the new program exceptions of other images come to, if they do;
    /// its site is the image's last.
    pub(super) landing: Option<usize>,
    /// Whether it begins with a global function.
    pub(super) global: bool,
    /// Whether that function has a `may_goto`.
    pub(super) loops: bool,
}

impl Part {
    /// Whether the site of that number in the program's table is one of its.
    pub(super) fn has_site(&self, number: usize) -> bool {
        (self.first_site..self.first_site + self.sites).contains(&number)
    }
}

impl Isolation {
    /// # Safety
    ///
    /// `maps` are alive.
    pub(super) unsafe fn new(
        maps: &[*mut b::bpf_map],
        domain: Member,
        sites: KVVec<b::bailey_site>,
        switches: KVVec<Switch>,
        stubs: Stubs,
        parts: KVVec<Part>,
        clock: Option<Reader>,
    ) -> Result<Self> {
        let counts = Counts::new(&sites)?;
        let mut seen = KVVec::with_capacity(sites.len(), GFP_KERNEL)?;
        for _ in &sites {
            seen.push(Seen::new(), GFP_KERNEL)?;
        }
        let mut refs = KVec::with_capacity(maps.len(), GFP_KERNEL)?;
        for &map in maps {
            // SAFETY: by this function's contract.
            refs.push(unsafe { MapRef::new(map) }, GFP_KERNEL)?;
        }
        let mut images = KVVec::with_capacity(parts.len(), GFP_KERNEL)?;
        for _ in &parts {
            images.push(Image::default(), GFP_KERNEL)?;
        }
        Ok(Self {
            stubs,
            sites: UnsafeCell::new(sites),
            switches: UnsafeCell::new(switches),
            images,
            starts: UnsafeCell::new(KVVec::with_capacity(parts.len(), GFP_KERNEL)?),
            parts,
            counts,
            seen,
            next_calls: UnsafeCell::new(KVVec::new()),
            domain,
            maps: refs,
            _clock: clock,
        })
    }
}

/// The record of a program.
#[pin_data]
pub(crate) struct Program {
    /// Next in its list of the index.
    next: Atomic<usize>,
    aux: *mut b::bpf_prog_aux,
    id: Atomic<u32>,
    prog_type: u32,
    name: [u8; 16],
    /// Set once the image has been checked.
    ready: Atomic<bool>,
    violations: Atomic<u64>,
    reason: Option<CString>,
    isolation: Option<Isolation>,
    #[pin]
    work: Work<Program>,
}

// SAFETY: what the raw pointers lead to is owned (or, `aux`, only compared and read under the
// registry's lock while the program lives); work on one record during its load is its loader's
// alone, afterwards the cells are only read, the words `state` and `id` of its image apart, which
// are accessed as single words.
unsafe impl Send for Program {}
// SAFETY: as above.
unsafe impl Sync for Program {}

impl_has_work! {
    impl HasWork<Self> for Program { self.work }
}

impl WorkItem for Program {
    type Pointer = Arc<Program>;

    fn run(this: Arc<Program>) {
        // Runs of other programs may be looking at it on their way through the index.
        // SAFETY: process context.
        unsafe { b::synchronize_rcu() };
        drop(this);
    }
}

impl Program {
    fn new(
        aux: *mut b::bpf_prog_aux,
        prog_type: u32,
        reason: Option<CString>,
        isolation: Option<Isolation>,
    ) -> Result<Arc<Self>> {
        // SAFETY: the aux of a program being loaded; its name was set before verification.
        let name = unsafe { (*aux).name };
        let program = Arc::pin_init(
            pin_init!(Self {
                next: Atomic::new(0),
                aux,
                id: Atomic::new(0),
                prog_type,
                name,
                ready: Atomic::new(false),
                violations: Atomic::new(0),
                reason,
                isolation,
                work <- new_work!("bailey::Program"),
            }),
            GFP_KERNEL,
        )?;
        Ok(program)
    }

    /// The record of a program that runs as without us.
    pub(super) fn not_isolated(
        aux: *mut b::bpf_prog_aux,
        prog_type: u32,
        reason: &Reason,
    ) -> Result<Arc<Self>> {
        let reason = CString::try_from_fmt(fmt!("{}", reason))?;
        let program = Self::new(aux, prog_type, Some(reason), None)?;
        program.ready.store(true, Release);
        Ok(program)
    }

    /// The record of a program that is being isolated.
    pub(super) fn isolated(
        aux: *mut b::bpf_prog_aux,
        prog_type: u32,
        flags: u32,
        reach: Reach,
        isolation: Isolation,
    ) -> Result<Arc<Self>> {
        let program = Self::new(aux, prog_type, None, Some(isolation))?;
        let address = Arc::as_ptr(&program) as u64;
        let Some(isolation) = &program.isolation else {
            return Err(EINVAL);
        };
        // SAFETY: nobody else knows the record yet; the site table does not move any more.
        let sites = unsafe { &mut *isolation.sites.get() };
        // SAFETY: the aux of a program being loaded; the verifier has laid the map there.
        let arena = unsafe { (*aux).arena }.cast::<b::bpf_map>();
        let base = isolation.domain.with_values(|values| {
            // Any of its maps to begin with.
            let maps = || isolation.maps.iter().map(MapRef::as_ptr);
            let seen = values.iter().find(|entry| entry.is_writable_of(maps()));
            for (site, cell) in sites.iter_mut().zip(&isolation.seen) {
                site.calls = isolation.counts.of_calls(site.helper);
                (site.audited, site.map_arg) = super::site::audited(&site.args);
                if let Some(mapped) = values.of_map(site.map as *mut b::bpf_map) {
                    mapped.tell(site);
                }
                if let Some(mapped) = seen.filter(|_| super::site::may_see(site)) {
                    // SAFETY: one of its own maps; it goes with the program.
                    unsafe { cell.set(mapped) };
                    site.values_kernel = ptr::from_ref(cell) as u64;
                    site.audited |= b::BAILEY_SITE_SEEN as u8;
                }
            }
            let arena = values.arena_of(arena);
            arena.map_or(0, |arena| arena.window().base())
        });
        if base == 0 && !arena.is_null() {
            return Err(EINVAL);
        }
        for (number, (image, part)) in isolation.images.iter().zip(&isolation.parts).enumerate() {
            let sites = sites
                .get_mut(part.first_site..part.first_site + part.sites)
                .ok_or(EINVAL)?;
            // The others' runs are part of those of these.
            let begins = number == 0 || part.calls == b::BAILEY_CALL_LATER;
            // SAFETY: as above.
            let raw = unsafe { &mut *image.as_raw() };
            raw.flags = flags;
            (raw.sees, raw.writes_from, raw.writes_to) =
                (reach.sees, reach.writes_from, reach.writes_to);
            // A confined program never returns through its frame, so where the callee-saved
            // registers lie in it does not matter; room for what the JIT pushes does.
            raw.depth = u64::from(part.stack.next_multiple_of(8)) + 8 * crate::run::JIT_PUSHES;
            raw.frames = isolation.domain.frames_ptr();
            raw.site_bytes = (sites.len() << b::SITE_SHIFT) as u32;
            raw.enter_out = sites.first().map_or(0, |enter| enter.out);
            raw.sites = sites.as_mut_ptr();
            raw.landing = match (part.landing, sites.last_mut()) {
                (Some(_), Some(site)) => site,
                _ => core::ptr::null_mut(),
            };
            raw.runs = isolation.counts.of_runs(begins);
            raw.record = address;
            raw.calls = part.calls;
            raw.ctx_arg = part.ctx_arg;
            raw.is_global = part.global.into();
            raw.loops = part.loops.into();
            raw.arena = base;
        }
        Ok(program)
    }

    /// The image of the program itself, if it is isolated.
    pub(crate) fn main(&self) -> Option<&Image> {
        self.images().first()
    }

    /// Whether it, or a function of it, makes a tail call.
    pub(super) fn makes_tail_calls(&self) -> bool {
        self.main()
            .is_some_and(|image| image.flags & b::BAILEY_PROG_TAIL != 0)
    }

    /// All its images.
    pub(crate) fn images(&self) -> &[Image] {
        self.isolation
            .as_ref()
            .map_or(&[], |isolation| &isolation.images)
    }

    /// The program's name, as its loader gave it.
    pub(crate) fn name(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.name).unwrap_or_default()
    }

    /// The same as bytes, filled up with NULs: the program may be gone when its
    /// name is wanted.
    pub(crate) fn name_bytes(&self) -> [u8; 16] {
        self.name
    }

    /// What the kernel knows the program by.
    pub(crate) fn aux(&self) -> *mut b::bpf_prog_aux {
        self.aux
    }

    /// The program's number as `bpftool` shows it; 0 while it has none. It is
    /// assigned after the load: `for_each` and `note_id` look it up.
    pub(crate) fn id(&self) -> u32 {
        self.id.load(Relaxed)
    }

    /// Looks the program's number up and notes it.
    ///
    /// # Safety
    ///
    /// The program is alive: true during a run, and under the registry's lock.
    pub(crate) unsafe fn note_id(&self) -> u32 {
        // SAFETY: the aux lives as long as the program.
        let id = unsafe { ptr::read_volatile(&raw const (*self.aux).id) };
        if id != 0 && self.id() != id {
            self.id.store(id, Relaxed);
            if let Some(image) = self.main() {
                // SAFETY: one aligned word.
                unsafe { ptr::write_volatile(&raw mut (*image.as_raw()).id, id) };
            }
        }
        id
    }

    /// The program's type in words, as `bpftool` writes it.
    pub(crate) fn type_name(&self) -> &'static str {
        super::type_name(self.prog_type)
    }

    /// Where the program is in its life.
    pub(crate) fn state(&self) -> State {
        if self.isolation.is_none() {
            return State::NotIsolated;
        }
        if !self.ready.load(Acquire) {
            return State::Loading;
        }
        if self.is_turned_away() {
            return State::Quarantined;
        }
        State::Isolated
    }

    /// Whether its gate turns runs away: quarantined.
    pub(crate) fn is_turned_away(&self) -> bool {
        self.main().is_some_and(|image| {
            // SAFETY: one aligned word.
            unsafe { ptr::read_volatile(&raw const (*image.as_raw()).state) != 0 }
        })
    }

    /// Why it is not isolated.
    pub(crate) fn reason(&self) -> Option<&CStr> {
        self.reason.as_deref()
    }

    /// Its domain, if it is isolated.
    pub(crate) fn domain(&self) -> Option<&crate::domain::Domain> {
        self.isolation.as_ref().map(|isolation| &*isolation.domain)
    }

    /// The values its domain shows it.
    ///
    /// # Safety
    ///
    /// As of [`Domain::values`](crate::domain::Domain::values).
    pub(crate) unsafe fn values(&self) -> Option<&crate::domain::values::Values> {
        // SAFETY: promised by the caller.
        Some(unsafe { self.domain()?.values() })
    }

    /// The maps it uses, if it is isolated.
    pub(crate) fn maps(&self) -> &[MapRef] {
        self.isolation
            .as_ref()
            .map_or(&[], |isolation| &isolation.maps)
    }

    /// How often it ran and called which helper, if it is isolated.
    pub(crate) fn counts(&self) -> Option<&Counts> {
        Some(&self.isolation.as_ref()?.counts)
    }

    /// How many violations it was stopped for.
    pub(crate) fn violations(&self) -> u64 {
        self.violations.load(Relaxed)
    }

    /// Turns every later run away at the gate.
    pub(crate) fn quarantine(&self) {
        if let Some(image) = self.main() {
            // SAFETY: one aligned word, which the enter gate only compares with 0.
            unsafe { ptr::write_volatile(&raw mut (*image.as_raw()).state, 1) };
        }
    }

    /// Counts a violation.
    pub(crate) fn count_violation(&self) {
        self.violations.add(1, Relaxed);
    }

    /// What the program owns; for its loader.
    pub(super) fn isolation(&self) -> Option<&Isolation> {
        self.isolation.as_ref()
    }

    /// Publishes the checked image, and the record to runs.
    pub(super) fn publish(&self) {
        self.ready.store(true, Release);
        let _registry = REGISTRY.lock();
        let list = list_of(self.aux);
        self.next.store(list.load(Relaxed), Relaxed);
        list.store(ptr::from_ref(self) as usize, Release);
    }
}

/// What the registry knows of a program.
#[derive(Clone)]
pub(super) enum Entry {
    /// Its calls were kept from being inlined; it calls these helpers.
    Candidate(HelperSet),
    /// It has a record.
    Program(Arc<Program>),
}

kernel::sync::global_lock! {
    // SAFETY: initialized by `init`, before the hooks are installed.
    unsafe(uninit) static REGISTRY: SpinLock<Option<RBTree<usize, Entry>>> = None;
}

const LISTS: usize = 256;

/// Published records by aux. Written under the registry's lock.
static INDEX: [Atomic<usize>; LISTS] = [const { Atomic::new(0) }; LISTS];

fn list_of(aux: *const b::bpf_prog_aux) -> &'static Atomic<usize> {
    // An aux is some hundred bytes long and aligned so.
    let hash = (aux as usize >> 6) ^ (aux as usize >> 14);
    &INDEX[hash % LISTS]
}

/// The record of the program with this aux, if it is isolated.
///
/// # Safety
///
/// The caller is in an RCU read section, as every run is, and uses the
/// reference no longer.
pub(crate) unsafe fn isolated<'a>(aux: *const b::bpf_prog_aux) -> Option<&'a Program> {
    let mut next = list_of(aux).load(Acquire);
    while next != 0 {
        // SAFETY: lists hold published records, which are freed a grace period after they were
        // taken out.
        let program = unsafe { &*(next as *const Program) };
        if ptr::eq(program.aux, aux) {
            return Some(program);
        }
        next = program.next.load(Acquire);
    }
    None
}

/// Takes `program` out of the index; the registry is locked.
fn unlist(program: &Program) {
    let address = ptr::from_ref(program) as usize;
    let mut link = list_of(program.aux);
    loop {
        let next = link.load(Relaxed);
        if next == 0 {
            return;
        }
        // SAFETY: as in `isolated`; the lock keeps lists as they are.
        let other = unsafe { &*(next as *const Program) };
        if next == address {
            link.store(other.next.load(Relaxed), Release);
            return;
        }
        link = &other.next;
    }
}

/// The queue on which records are given back; null before `init`.
static WORK: Atomic<usize> = Atomic::new(0);

/// Sets the registry up.
pub(super) fn init() -> Result {
    // SAFETY: called once, from the module's init.
    unsafe { REGISTRY.init() };
    // SAFETY: process context.
    let queue = unsafe { b::bailey_work_create() };
    if queue.is_null() {
        return Err(ENOMEM);
    }
    WORK.store(queue as usize, Release);
    *REGISTRY.lock() = Some(RBTree::new());
    Ok(())
}

/// Frees every record that is left. The hooks are gone.
pub(super) fn exit() {
    let tree = REGISTRY.lock().take();
    drop(tree);
    let queue = WORK.xchg(0, Full);
    if queue != 0 {
        // SAFETY: from bailey_work_create(); waits until every record is given back.
        unsafe { b::bailey_work_destroy(queue as *mut c_void) };
    }
}

/// Enters `entry` for `aux`, in the place of what was there.
pub(super) fn enter(aux: *mut b::bpf_prog_aux, entry: Entry) -> Result {
    let node = RBTreeNode::new(aux as usize, entry, GFP_KERNEL)?;
    let old = REGISTRY.lock().as_mut().and_then(|tree| tree.insert(node));
    drop(old);
    Ok(())
}

/// What is entered for `aux`.
pub(super) fn find(aux: *mut b::bpf_prog_aux) -> Option<Entry> {
    REGISTRY.lock().as_ref()?.get(&(aux as usize)).cloned()
}

/// Takes `aux` out of the registry; its record is given back later. Does not
/// sleep.
pub(super) fn leave(aux: *mut b::bpf_prog_aux) {
    let program = {
        let mut registry = REGISTRY.lock();
        let entry = registry
            .as_mut()
            .and_then(|tree| tree.remove(&(aux as usize)));
        let Some(Entry::Program(program)) = entry else {
            return;
        };
        if let Some(counts) = program.counts() {
            counts.keep();
        }
        unlist(&program);
        program
    };
    let queue = WORK.load(Acquire);
    // SAFETY: `WORK` holds a queue from `init` on; it is destroyed after the hooks are gone.
    let queue = unsafe { Queue::from_raw(queue as *const _) };
    // A record leaves the registry once, so its work item is not queued already.
    let _ = queue.enqueue(program);
}

/// Calls `f` with the record of each program, in no particular order.
pub(crate) fn for_each(mut f: impl FnMut(&Program)) {
    let _ = first(|program| -> Option<()> {
        f(program);
        None
    });
}

/// The first record for which `f` says something, and what.
pub(super) fn first<T>(mut f: impl FnMut(&Program) -> Option<T>) -> Option<(Arc<Program>, T)> {
    let mut next = 0;
    loop {
        let found = {
            let registry = REGISTRY.lock();
            let tree = registry.as_ref()?;
            let cursor = tree.cursor_lower_bound(&next)?;
            let (&key, entry) = cursor.current();
            next = key + 1;
            match entry {
                Entry::Candidate(_) => None,
                Entry::Program(program) => {
                    // SAFETY: under the registry's lock the program has not been freed.
                    unsafe { program.note_id() };
                    Some(program.clone())
                }
            }
        };
        if let Some(program) = found {
            if let Some(said) = f(&program) {
                return Some((program, said));
            }
        }
    }
}
