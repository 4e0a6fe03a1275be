// SPDX-License-Identifier: GPL-2.0
//! The values of maps, mapped a second time in the domain: the kernel keeps its
//! own address of a value, the program is given the one in the region. Only
//! maps whose values have pages to themselves are mapped (arrays without
//! special fields, per-CPU arrays, and hash maps and tries with a store); every
//! other map's values are loans. So are those that are mapped in another domain, if one
//! of the two is to share no memory (`isolation=program`). Of a per-CPU map the domain has each CPU's values,
//! one CPU's after the other's. Of a jump table it shows pages of ours in the
//! place of the kernel's: what stands there are numbers, and programs only read
//! them.
//!
//! A map's entry comes with the first program of the domain that uses it and goes
//! with the last, or with one whose load fails. Nobody is handed an address by an
//! entry that is leaving; when every run that began before is over, its pages are
//! unmapped and every TLB is flushed. What other programs use in the meantime, or
//! begin to, is theirs and stays.

use super::arenas::Arena;
use super::fields::Fields;
use super::inner;
use super::mapped::{per_cpu_address, table_len, Mapped};
use super::{arrays, Domain};
use crate::bindings as b;
use crate::breach;
use crate::hw::cpus;
use crate::pure::pkrs::Key;
use crate::pure::region::{Part, Window, PAGE};
use crate::pure::rewrite::jump_table::NOWHERE;
use crate::store;
use core::cell::UnsafeCell;
use core::mem::size_of;
use core::ptr::{self, NonNull};
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};

/// Maps that one domain may know: as many as one program may use
/// (MAX_USED_MAPS, include/linux/bpf_verifier.h) times four.
const MAPS: usize = 256;

/// What a slot of the table is.
mod state {
    /// Nobody's: it is filled under the registry's mutex.
    pub(super) const EMPTY: u32 = 0;
    /// A map that programs use.
    pub(super) const LIVE: u32 = 1;
    /// One whose last program goes. Runs that have found it before may still use its pages.
    pub(super) const LEAVING: u32 = 2;
    /// The same of one that was taken out of an outer map (`inner::follow`).
    pub(super) const PARTING: u32 = 3;
}

/// Whether an outer map of the domain has the map in it.
mod within {
    pub(super) const NONE: u32 = 0;
    /// One had, when it was last looked.
    pub(super) const BEFORE: u32 = 1;
    pub(super) const NOW: u32 = 2;
}

/// Where a map's values may be seen.
pub(super) struct Place {
    /// They are to stay mapped in another domain alone, but for an arena's pages.
    pub(super) elsewhere: bool,
    /// If it is an arena: here, if there is room.
    pub(super) window: Option<Window>,
}

/// Who has a map known to a domain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Program,
    Outer,
}

/// As many of a domain's maps may be there because an outer map has them.
const INNER: usize = MAPS / 2;

struct Slot {
    /// Changed under the registry's mutex.
    state: Atomic<u32>,
    /// How many programs use the map; under the registry's mutex.
    users: Atomic<u32>,
    /// Under the registry's mutex.
    within: Atomic<u32>,
    entry: UnsafeCell<Mapped>,
}

impl Slot {
    fn new() -> Self {
        Self {
            state: Atomic::new(state::EMPTY),
            users: Atomic::new(0),
            within: Atomic::new(within::NONE),
            entry: UnsafeCell::new(Mapped::nothing()),
        }
    }

    /// The entry, as long as it has not left: a run may use it until it ends, who holds the
    /// registry's mutex as long as that, a program all its life if the map is its.
    fn live(&self) -> Option<&Mapped> {
        // SAFETY: an entry is written before its slot is live, and then not before every run is
        // over that may have found it so, under the registry's mutex.
        (self.state.load(Acquire) == state::LIVE).then(|| unsafe { &*self.entry.get() })
    }

    /// The map, if it is one of maps and programs use it. The caller holds the registry's mutex:
    /// as long as that the map is alive, since programs leave before they let go of it.
    fn outer(&self) -> Option<*mut b::bpf_map> {
        let entry = self.live().filter(|_| self.users.load(Relaxed) != 0)?;
        inner::is_outer(entry.map_type).then_some(entry.map)
    }

    /// The entry, with what it has in the domain. The caller holds the registry's mutex.
    fn kept(&self) -> Option<&Mapped> {
        // SAFETY: entries are written under the registry's mutex alone.
        (self.state.load(Relaxed) != state::EMPTY).then(|| unsafe { &*self.entry.get() })
    }
}

/// The maps of a domain. Read without locks, by runs; changed under the registry's mutex.
pub(crate) struct Values {
    room: Part,
    /// No slot is in use from here on.
    len: Atomic<usize>,
    /// Whether there ever was an arena: most domains have none. Under the registry's mutex.
    has_arenas: Atomic<bool>,
    slots: KVVec<Slot>,
}

// SAFETY: the maps that are followed are held by reference counts of ours.
unsafe impl Send for Values {}
// SAFETY: entries are written by `add` and `clear` alone, whose callers hold the registry's mutex,
// and while nobody reads them (`Slot::live`).
unsafe impl Sync for Values {}

impl Values {
    pub(crate) fn new(room: Part) -> Result<Self> {
        let mut slots = KVVec::with_capacity(MAPS, GFP_KERNEL)?;
        for _ in 0..MAPS {
            slots.push(Slot::new(), GFP_KERNEL)?;
        }
        Ok(Self {
            room,
            len: Atomic::new(0),
            has_arenas: Atomic::new(false),
            slots,
        })
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> + Clone {
        self.slots.iter().take(self.len.load(Acquire))
    }

    /// The maps that programs of the domain use.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mapped> + '_ {
        self.slots().filter_map(Slot::live)
    }

    /// Where a program of the domain sees the byte at `kernel_addr` of a value of
    /// `map`, if the map's values are mapped.
    pub(crate) fn address(&self, map: *mut b::bpf_map, kernel_addr: u64) -> Option<u64> {
        self.of_map(map)?.domain_address(kernel_addr)
    }

    /// The entry of `map`, if its values are mapped.
    pub(crate) fn of_map(&self, map: *mut b::bpf_map) -> Option<&Mapped> {
        self.iter()
            .find(|entry| entry.map == map && entry.is_mapped())
    }

    /// Whether the values of `map` are loans because there is no room for them.
    pub(crate) fn lack_room(&self, map: *mut b::bpf_map) -> bool {
        self.iter()
            .any(|entry| entry.map == map && entry.lacks_room)
    }

    /// Whether programs of the domain use `map`. The caller holds the registry's mutex.
    pub(super) fn uses(&self, map: *mut b::bpf_map) -> bool {
        // SAFETY: callers hold `map`.
        let id = unsafe { (*map).id };
        self.iter().any(|entry| entry.map == map && entry.id == id)
    }

    /// Whether the values of `map` are mapped, or still are. The caller holds the registry's
    /// mutex. A jump table's are not: what the domain has is its own.
    pub(super) fn shows(&self, map: *mut b::bpf_map) -> bool {
        // SAFETY: callers hold `map`.
        let id = unsafe { (*map).id };
        let mut kept = self.slots().filter_map(Slot::kept);
        kept.any(|entry| {
            let shows = entry.is_mapped() && entry.table.is_none() || entry.arena.is_some();
            entry.map == map && entry.id == id && shows
        })
    }

    /// The map of which `len` bytes at the domain's address `addr` are values, writable if
    /// `write`.
    pub(crate) fn showing(&self, addr: u64, len: u64, write: bool) -> Option<&Mapped> {
        self.iter()
            .find(|entry| entry.shows(addr, len) && (entry.writable || !write))
    }

    /// Whether `len` bytes at the kernel's address `addr` are values of an
    /// array of the domain that is not mapped: global data of its programs with a
    /// lock in it, or that another domain has mapped. The lock itself is nobody's.
    pub(crate) fn lends(&self, addr: u64, len: u64, write: bool) -> bool {
        self.iter().any(|entry| {
            addr.checked_sub(entry.kernel).is_some_and(|at| {
                at < entry.lent
                    && len <= entry.lent - at
                    && (entry.writable || !write)
                    && entry.spares_fields(at, len)
            })
        })
    }

    /// How many bytes from `addr` on, the domain's address or the kernel's, are values of one map
    /// that nobody can write any more, programs or user space.
    pub(crate) fn constant_from(&self, addr: u64) -> u64 {
        let left = |start: u64, len: u64| len.checked_sub(addr.wrapping_sub(start));
        let found = self.iter().find_map(|entry| {
            let left = left(entry.domain, entry.len).or_else(|| left(entry.kernel, entry.lent))?;
            (left != 0).then_some((entry, left))
        });
        let constant = found.filter(|(entry, _)| {
            // SAFETY: the domain holds a reference to a map with values. Once set it stays
            // (map_freeze(), kernel/bpf/syscall.c).
            !entry.writable && unsafe { (&raw const (*entry.map).frozen).read_volatile() }
        });
        constant.map_or(0, |(_, left)| left)
    }

    /// Whether there is, or was, an arena.
    pub(super) fn has_arenas(&self) -> bool {
        self.has_arenas.load(Relaxed)
    }

    /// The windows of arenas, those included that are leaving. The caller holds the registry's
    /// mutex.
    pub(super) fn kept_windows(&self) -> impl Iterator<Item = &Window> {
        let kept = self.slots().filter_map(Slot::kept);
        kept.filter_map(|entry| Some(entry.arena.as_ref()?.window()))
    }

    /// Those of arenas that programs use.
    pub(super) fn windows(&self) -> impl Iterator<Item = &Window> {
        self.arenas().map(Arena::window)
    }

    fn arenas(&self) -> impl Iterator<Item = &Arena> {
        self.iter().filter_map(|entry| entry.arena.as_ref())
    }

    /// The arena to which an access comes at `addr`.
    pub(crate) fn arena_at(&self, addr: u64) -> Option<&Arena> {
        self.arenas().find(|arena| arena.window().reaches(addr))
    }

    /// The arena `map`, if the domain sees it.
    pub(crate) fn arena_of(&self, map: *mut b::bpf_map) -> Option<&Arena> {
        let entry = self.iter().find(|entry| entry.map == map)?;
        entry.arena.as_ref()
    }

    /// One program more uses `map`. With the first it becomes known to `domain`, and its
    /// values are mapped if they have pages to themselves, `place` permitting. Returns the number by which that program gives it back
    /// ([`leave`](Self::leave)). The caller holds the registry's mutex.
    pub(super) fn add(&self, domain: &Domain, map: *mut b::bpf_map, place: Place) -> Result<usize> {
        self.add_by(By::Program, domain, map, place)
    }

    fn add_by(&self, by: By, domain: &Domain, map: *mut b::bpf_map, place: Place) -> Result<usize> {
        let elsewhere = place.elsewhere;
        // SAFETY: `map` is a map that the program being loaded holds.
        let (id, map_type, name) = unsafe { ((*map).id, (*map).map_type, (*map).name) };
        let is_it = |entry: &Mapped| entry.map == map && entry.id == id;
        let known = |slot: &Slot| slot.live().is_some_and(is_it);
        if let Some((index, slot)) = self.slots().enumerate().find(|(_, slot)| known(slot)) {
            match by {
                By::Program => slot.users.store(slot.users.load(Relaxed) + 1, Relaxed),
                By::Outer => slot.within.store(within::NOW, Relaxed),
            }
            return Ok(index);
        }
        let mut slots = self.slots.iter().enumerate();
        let Some((index, slot)) = slots.find(|(_, slot)| slot.kept().is_none()) else {
            pr_warn!("domain {} uses more than {} maps\n", domain.id(), MAPS);
            return Err(ENOSPC);
        };
        let mut entry = Mapped {
            map,
            id,
            map_type,
            name,
            pieces: arrays::pieces_of(map),
            ..Mapped::nothing()
        };
        let mut layout = b::bailey_values::default();
        let mut is_array = false;
        // SAFETY: `map` is a map that the program being loaded holds.
        let placed = match (unsafe { store::layout(map) }, entry.pieces) {
            (Some(of_store), _) => {
                layout = of_store;
                b::bailey_values_kind_BAILEY_VALUES_PAGES
            }
            (None, Some(pieces)) => {
                // SAFETY: the memory is there as long as the map.
                let pieces = unsafe { pieces.as_ref() };
                (layout.start, entry.each) = pieces.first();
                entry.pages = pieces.bytes() / PAGE;
                layout.len = pieces.bytes() * u64::from(cpus::count());
                // SAFETY: as above.
                let flags = unsafe { (*map).map_flags };
                layout.writable = u32::from(flags & b::BPF_F_RDONLY_PROG == 0);
                b::bailey_values_kind_BAILEY_VALUES_PAGES
            }
            (None, None) => {
                // SAFETY: as above.
                let kind = unsafe { b::bailey_map_values(map, &mut layout) };
                is_array = kind == b::bailey_values_kind_BAILEY_VALUES_PAGES
                    || kind == b::bailey_values_kind_BAILEY_VALUES_MIXED;
                kind
            }
        };
        // A jump table is pages of this domain's own.
        if placed == b::bailey_values_kind_BAILEY_VALUES_TABLE
            || placed == b::bailey_values_kind_BAILEY_VALUES_PAGES && !elsewhere
        {
            // From where the pages are taken.
            let mut pages_at = layout.start;
            let mut table = None;
            let len = layout.len;
            if placed == b::bailey_values_kind_BAILEY_VALUES_TABLE {
                let numbers = VVec::from_elem(NOWHERE, table_len(layout.len), GFP_KERNEL)?;
                pages_at = table.insert(numbers).as_ptr() as u64;
            }
            // What look-ups read comes behind what programs write, and is not to be written.
            // SAFETY: `map` is a map that the program being loaded holds.
            let shown = unsafe { store::shown(map) }.filter(|_| by == By::Program);
            let uses = shown.and_then(|shown| shown.uses);
            let written = uses.map_or(len, |uses| uses.end);
            let values = written.next_multiple_of(PAGE);
            let index = shown.map_or(0, |shown| shown.len.next_multiple_of(PAGE));
            let source = |page: u64| match entry.pieces {
                None if page * PAGE >= values => Some(shown?.at + (page * PAGE - values)),
                None => Some(pages_at + page * PAGE),
                Some(pieces) => {
                    // SAFETY: as above.
                    let pieces = unsafe { pieces.as_ref() };
                    let cpu = page.checked_div(entry.pages)?;
                    per_cpu_address(pieces.page(page - cpu * entry.pages)?, cpu)
                }
            };
            let kept = self.slots().filter_map(Slot::kept);
            let taken = kept.filter(|entry| entry.is_mapped()).map(Mapped::part);
            let place = self.room.place_for(values + index, taken);
            entry.lacks_room = place.is_none();
            if let Some(at) = place {
                let pages = (values + index) / PAGE;
                for page in 0..pages {
                    let Some(source) = source(page) else {
                        continue;
                    };
                    let is_written =
                        page * PAGE < values || breach::without(b::BAILEY_WITHOUT_INDEX);
                    // SAFETY: the address is of this domain's room and unmapped; the kernel's
                    // address is a page of the map's values, which the reference below keeps.
                    let err = unsafe {
                        b::bailey_region_map_page(
                            (at + page * PAGE) as usize,
                            source as *mut c_void,
                            domain.key().number().into(),
                            c_int::from(layout.writable != 0 && is_written),
                        )
                    };
                    if err != 0 {
                        // SAFETY: unmaps what this loop has mapped.
                        unsafe { b::bailey_region_unmap(at as usize, page as usize) };
                        return Err(Error::from_errno(err));
                    }
                }
                entry.kernel = layout.start;
                entry.domain = at;
                entry.len = len;
                entry.written = written;
                entry.index = index;
                entry.writable = layout.writable != 0;
                entry.table = table.and_then(|numbers| NonNull::new(numbers.into_raw_parts().0));
            }
        }
        // SAFETY: as above.
        if by == By::Program && unsafe { Arena::is(map) } {
            // Also if it is to stay elsewhere: what programs do there cannot be mediated, since their
            // addresses are numbers. Each domain has a window of its own on the same pages.
            let window = place.window.ok_or(ENOSPC)?;
            // SAFETY: as above; the reference below keeps it, and the verifier has seen that it
            // has its place.
            entry.arena = Some(unsafe { Arena::new(map, window, domain.key())? });
            self.has_arenas.store(true, Relaxed);
        }
        if by == By::Outer && !entry.is_mapped() {
            // Its values are loans, and a look-up lends them.
            return Err(ENOSPC);
        }
        // Programs have addresses of an array's values that no helper has given them.
        if is_array && !entry.is_mapped() {
            entry.kernel = layout.start;
            entry.lent = layout.len;
            entry.stride = layout.stride;
            entry.writable = layout.writable != 0;
            // SAFETY: the reference below keeps the map as long as the entry.
            entry.fields = unsafe { Fields::of(map) };
        }
        if entry.is_held() {
            // SAFETY: the program being loaded or our caller holds the map, so its count is not zero.
            unsafe { b::bpf_map_inc(map) };
        }
        // SAFETY: an empty slot: nobody reads its entry, and the registry's mutex is held.
        unsafe { *slot.entry.get() = entry };
        slot.users.store(u32::from(by == By::Program), Relaxed);
        let within = match by {
            By::Program => within::NONE,
            By::Outer => within::NOW,
        };
        slot.within.store(within, Relaxed);
        slot.state.store(state::LIVE, Release);
        self.len
            .store(self.len.load(Relaxed).max(index + 1), Release);
        Ok(index)
    }

    /// Looks what is in the outer maps that programs of the domain use: what is new becomes
    /// known if it `may` be mapped, and what is there no more begins to part. Returns whether
    /// there are outer maps, and whether something parts, which is the caller's to have
    /// [cleared](Self::clear_parted). The caller holds the registry's mutex, and is the only one
    /// who does this.
    pub(super) fn follow(
        &self,
        domain: &Domain,
        mut may: impl FnMut(*mut b::bpf_map) -> bool,
    ) -> (bool, bool) {
        let (mut has_outer, mut parts, mut complete) = (false, false, true);
        let mut held = 0;
        for slot in self.slots() {
            if slot.within.load(Relaxed) != within::NONE {
                slot.within.store(within::BEFORE, Relaxed);
                held += 1;
            }
        }
        for outer in self.slots().filter_map(Slot::outer) {
            has_outer = true;
            let found = |map| {
                let known = self.uses(map);
                if known || (held < INNER && may(map)) {
                    let here = Place {
                        elsewhere: false,
                        window: None,
                    };
                    let added = self.add_by(By::Outer, domain, map, here);
                    held += usize::from(!known && added.is_ok());
                }
            };
            // SAFETY: alive, as `Slot::outer` says.
            let looked = unsafe { inner::each(outer, found) };
            complete &= looked.is_ok();
        }
        for slot in self.slots() {
            if slot.within.load(Relaxed) != within::BEFORE {
                continue;
            }
            // Of what could not be looked at, all stays.
            let stays = !complete;
            slot.within
                .store(if stays { within::NOW } else { within::NONE }, Relaxed);
            if !stays && slot.users.load(Relaxed) == 0 {
                slot.state.store(state::PARTING, Release);
                parts = true;
            }
        }
        (has_outer, parts)
    }

    /// Unmaps what has parted. The caller holds the registry's mutex.
    ///
    /// # Safety
    ///
    /// The caller has called `follow`, nobody has since, and every run is over that had begun by
    /// then.
    pub(super) unsafe fn clear_parted(&self) {
        for (index, slot) in self.slots().enumerate() {
            if slot.state.load(Relaxed) == state::PARTING {
                // SAFETY: promised by the caller.
                unsafe { self.clear(index) };
            }
        }
    }

    /// A program goes that used the map of this number, or its load has failed. Whether it
    /// was the last, and no outer map has it: then nobody finds the map here any more, and
    /// the number is the caller's to [`clear`](Self::clear) when every run is over that may
    /// have found it before. The caller holds the registry's mutex.
    pub(super) fn leave(&self, index: usize) -> bool {
        let Some(slot) = self.slots.get(index) else {
            return false;
        };
        let users = slot.users.load(Relaxed) - 1;
        slot.users.store(users, Relaxed);
        let leaves = users == 0 && slot.within.load(Relaxed) == within::NONE;
        if leaves {
            slot.state.store(state::LEAVING, Release);
        }
        leaves
    }

    /// Unmaps what is left of a map that has left. The caller holds the registry's mutex.
    ///
    /// # Safety
    ///
    /// `leave` said so of this number, once for each time, and every run is over that had begun by
    /// then.
    pub(super) unsafe fn clear(&self, index: usize) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        // SAFETY: nobody reads the entry of a slot that is leaving but who holds the mutex.
        let mut entry = unsafe { ptr::replace(slot.entry.get(), Mapped::nothing()) };
        slot.state.store(state::EMPTY, Relaxed);
        // SAFETY: promised by the caller.
        unsafe { entry.release() };
    }
}

impl Values {
    /// Gives every page another key. The caller holds the registry's mutex, and
    /// flushes.
    pub(super) fn tag(&self, key: Key) {
        let kept = self.slots().filter_map(Slot::kept);
        for entry in kept.filter(|entry| entry.is_mapped()) {
            super::tag(entry.domain, entry.part().len() / PAGE, key);
        }
        let kept = self.slots().filter_map(Slot::kept);
        for arena in kept.filter_map(|entry| entry.arena.as_ref()) {
            arena.tag(key);
        }
    }

    /// Writes what programs read in the jump table `map`. `ENOSPC` if the
    /// domain had no room to show it.
    ///
    /// # Safety
    ///
    /// Nobody else fills the table of `map` meanwhile.
    pub(crate) unsafe fn fill_table(
        &self,
        map: *mut b::bpf_map,
        numbers: impl Iterator<Item = u64>,
    ) -> Result {
        let entry = self.of_map(map).ok_or(ENOSPC)?;
        let table = entry.table.ok_or(ENOSPC)?;
        let count = entry.len as usize / size_of::<u64>();
        for (index, number) in numbers.take(count).enumerate() {
            // SAFETY: the table has room for `entry.len` bytes, and is written here alone (by
            // this function's contract); a confined program may read it at the same time, by its
            // own address of it.
            unsafe { table.add(index).write_volatile(number) };
        }
        Ok(())
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        for slot in self.slots.iter_mut() {
            // SAFETY: no program of the domain is left; nobody uses the table after this.
            unsafe { slot.entry.get_mut().release() };
        }
    }
}
