// SPDX-License-Identifier: GPL-2.0
//! A map that programs of a domain use: what of it the domain shows, and where.

use super::arenas::Arena;
use super::fields::Fields;
use super::pieces::Pieces;
use crate::bindings as b;
use crate::hw::cpus;
use crate::pure::region::{Part, PAGE};
use core::mem::size_of;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
use kernel::prelude::*;

/// A map that programs of the domain use.
pub(crate) struct Mapped {
    /// The map. Only if the domain shows or lends its values is it held, and only then may this
    /// be followed: a device or CPU map holds programs, and one of them may be of this domain.
    pub(super) map: *mut b::bpf_map,
    /// Its number, since another map may come to the same address.
    pub(super) id: u32,
    pub(super) map_type: u32,
    pub(super) name: [u8; 16],
    /// The kernel's address of the first value, or its per-CPU pointer; 0 if the
    /// values are loans.
    pub(super) kernel: u64,
    /// If it is an array of which each CPU has values of its own: where.
    pub(super) pieces: Option<NonNull<Pieces>>,
    /// The domain's address of it, or of that of CPU 0.
    pub(super) domain: u64,
    /// Bytes that are values.
    pub(super) len: u64,
    /// Bytes of values, and of what programs write behind them: what they have used.
    pub(super) written: u64,
    /// Bytes behind the pages of that with what look-ups read of a hash map or trie, whole pages.
    pub(super) index: u64,
    /// If there are pieces, how many bytes of them are behind `kernel`
    /// without a gap, and how many pages all are: so much further on is the next
    /// CPU's in the domain. Else 0.
    pub(super) each: u64,
    pub(super) pages: u64,
    /// Whether programs may write.
    pub(super) writable: bool,
    /// Bytes of values at `kernel` that programs address directly without
    /// their being mapped: every access is mediated. 0 if there are none.
    pub(super) lent: u64,
    /// Bytes from one value to the next.
    pub(super) stride: u64,
    /// What the kernel keeps in each of them, if they are lent.
    pub(super) fields: Fields,
    /// What the domain shows in the place of a jump table's values: whole pages
    /// from [`VVec`], `None` for other maps.
    pub(super) table: Option<NonNull<u64>>,
    /// If it is one: what the domain sees of it.
    pub(super) arena: Option<Arena>,
    /// Whether the values would be mapped if the domain's span had room for them.
    pub(super) lacks_room: bool,
}

/// In the values of which of a program's own maps an argument of a call site was last: those
/// entries stay as they are as long as the program uses the maps. Whichever CPU has written it,
/// all that it says holds.
pub(crate) struct Seen(AtomicPtr<Mapped>);

impl Seen {
    /// Nothing.
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// It was in those of `mapped`.
    ///
    /// # Safety
    ///
    /// `mapped` is the entry of a map that a program uses in its domain which outlives this.
    pub(crate) unsafe fn set(&self, mapped: &Mapped) {
        self.0
            .store(ptr::from_ref(mapped).cast_mut(), Ordering::Relaxed);
    }

    /// Whether `len` bytes at the domain's address `addr` are in the same.
    ///
    /// # Safety
    ///
    /// It has been set.
    #[inline(always)]
    pub(crate) unsafe fn shows(&self, addr: u64, len: u64) -> bool {
        // SAFETY: by the contracts of both: alive, and read alone.
        unsafe { &*self.0.load(Ordering::Relaxed) }.shows(addr, len)
    }
}

/// What CPU number `cpu` has of the per-CPU memory `pointer`, if it can ever come.
pub(super) fn per_cpu_address(pointer: u64, cpu: u64) -> Option<u64> {
    // SAFETY: arithmetic; no CPU has address 0.
    let address = unsafe { b::bailey_per_cpu_address(pointer, cpu as u32) };
    (address != 0).then_some(address)
}

/// Whole pages of numbers that hold so many bytes.
pub(super) fn table_len(bytes: u64) -> usize {
    bytes.next_multiple_of(PAGE) as usize / size_of::<u64>()
}

impl Mapped {
    /// An entry of no map.
    pub(super) const fn nothing() -> Self {
        Self {
            map: ptr::null_mut(),
            id: 0,
            map_type: 0,
            name: [0; 16],
            kernel: 0,
            pieces: None,
            domain: 0,
            len: 0,
            written: 0,
            index: 0,
            each: 0,
            pages: 0,
            writable: false,
            lent: 0,
            stride: 0,
            fields: Fields::NONE,
            table: None,
            arena: None,
            lacks_room: false,
        }
    }

    /// The domain's address for the kernel's.
    #[inline]
    pub(crate) fn domain_address(&self, kernel: u64) -> Option<u64> {
        if self.pages != 0 {
            return self.domain_address_on_some_cpu(kernel);
        }
        let at = kernel.checked_sub(self.kernel)?;
        (at < self.len).then(|| self.domain + at)
    }

    /// Whether each CPU's values are in several pieces.
    pub(super) fn is_in_pieces(&self) -> bool {
        let Some(pieces) = self.pieces else {
            return false;
        };
        // SAFETY: the memory is there as long as the map, which the domain holds.
        let bytes = unsafe { pieces.as_ref() }.bytes();
        bytes > u64::from(b::BAILEY_PER_CPU_PIECE)
    }

    /// Most likely it is one of this CPU's.
    #[inline(never)]
    pub(super) fn domain_address_on_some_cpu(&self, kernel: u64) -> Option<u64> {
        // SAFETY: the memory is there as long as the map, which the domain holds.
        let pieces = unsafe { self.pieces?.as_ref() };
        // SAFETY: reads the CPU's number; a run stays on its CPU.
        let this = u64::from(unsafe { b::bailey_cpu_number() });
        let of_cpu = |cpu| {
            let position = pieces.position(kernel.wrapping_sub(per_cpu_address(0, cpu)?))?;
            Some(self.domain + cpu * self.pages * PAGE + position)
        };
        of_cpu(this).or_else(|| (0..u64::from(cpus::count())).find_map(of_cpu))
    }

    /// Whether `len` bytes at the domain's address `addr` are values of the map.
    #[inline(always)]
    pub(crate) fn shows(&self, addr: u64, len: u64) -> bool {
        let at = addr.wrapping_sub(self.domain);
        at < self.len && len <= self.len - at
    }

    /// Whether the domain has the map's values, for programs to write, and it is one of `maps`.
    /// Not if they are more bytes than an `int` counts, as helpers do.
    pub(crate) fn is_writable_of(&self, mut maps: impl Iterator<Item = *mut b::bpf_map>) -> bool {
        let fits = i32::try_from(self.len).is_ok();
        self.is_mapped() && fits && self.writable && maps.any(|map| map == self.map)
    }

    /// Whether the domain holds the map: its values have addresses here.
    pub(super) fn is_held(&self) -> bool {
        self.len != 0 || self.lent != 0 || self.arena.is_some()
    }

    /// The map's number, type and name, as they were when it became known.
    pub(crate) fn description(&self) -> (u32, u32, &CStr) {
        let name = CStr::from_bytes_until_nul(&self.name).unwrap_or(c"");
        (self.id, self.map_type, name)
    }

    /// Where programs see the values, and how many bytes: (0, 0) if each value
    /// is a loan of its own.
    pub(crate) fn place(&self) -> (u64, u64) {
        match &self.arena {
            Some(arena) => (arena.part().start, arena.part().len()),
            None if self.is_mapped() => (self.domain, self.len),
            None => (0, 0),
        }
    }

    /// Of an array whose values lie in a row, if they are mapped: the domain's address of
    /// the first, and how many bytes further on the next CPU's are, or 0 if there are none.
    pub(crate) fn row(&self) -> Option<(u64, u64)> {
        let is_array = match self.map_type {
            b::bpf_map_type_BPF_MAP_TYPE_ARRAY => self.pages == 0,
            b::bpf_map_type_BPF_MAP_TYPE_PERCPU_ARRAY => {
                // SAFETY: the memory is there as long as the map, which the domain holds.
                let are_row = |pieces: NonNull<Pieces>| unsafe { pieces.as_ref() }.are_row();
                self.pages != 0 && self.pieces.is_some_and(are_row)
            }
            _ => false,
        };
        let is_row = is_array && self.is_mapped() && self.table.is_none();
        is_row.then_some((self.domain, self.pages * PAGE))
    }

    /// Where the domain has what look-ups read of a hash map or trie, and how many bytes of whole
    /// pages: none if they go through the gate.
    pub(crate) fn index(&self) -> (u64, u64) {
        let behind = self.domain + self.written.next_multiple_of(PAGE);
        (behind, self.index)
    }

    /// The start of the value in which the kernel's address `addr` lies, if it
    /// is one of an array that is lent.
    pub(crate) fn value_start(&self, addr: u64) -> Option<u64> {
        let at = addr.checked_sub(self.kernel)?;
        (at < self.lent).then(|| addr - at % self.stride.max(1))
    }

    /// What the kernel keeps in each value, of an entry with values that are lent.
    pub(crate) fn fields(&self) -> Fields {
        self.fields
    }

    /// Writes down where the values are, for a site that looks them up. Entries stay
    /// where they are as long as the domain, and so as its programs.
    pub(crate) fn tell(&self, site: &mut b::bailey_site) {
        if self.is_in_pieces() {
            site.values_kernel = ptr::from_ref(self) as u64;
            site.values_len = self.len;
            site.values_pages = b::BAILEY_SITE_PIECES as u16;
            return;
        }
        site.values_kernel = self.kernel;
        site.values_domain = self.domain;
        site.values_pages = self.pages as u16;
        site.values_len = if self.pages == 0 { self.len } else { self.each };
    }

    /// Whether `len` bytes, `at` bytes into values that are lent, are none of the
    /// kernel's fields in them. Over the end of a value with fields, none are.
    pub(super) fn spares_fields(&self, at: u64, len: u64) -> bool {
        if self.fields == Fields::NONE {
            return true;
        }
        let at = at % self.stride.max(1);
        len <= self.stride - at && self.fields.spare(at, len)
    }

    /// Where programs find what is in the map, in a word: on pages of the domain, in
    /// the run's frame (src/run/records.rs), or on loan.
    pub(crate) fn values_are(&self) -> &'static str {
        if self.is_mapped() || self.arena.is_some() {
            "domain"
        } else if self.map_type == b::bpf_map_type_BPF_MAP_TYPE_RINGBUF {
            "frame"
        } else {
            "loan"
        }
    }

    /// Whether the values have addresses in the domain.
    pub(crate) fn is_mapped(&self) -> bool {
        self.len != 0
    }

    /// Its pages in the domain.
    pub(super) fn part(&self) -> Part {
        Part {
            start: self.domain,
            end: self.domain + self.written.next_multiple_of(PAGE) + self.index,
        }
    }

    /// Gives back what the entry has: its pages, with every TLB flushed before anybody
    /// else gets them, and its reference to the map.
    ///
    /// # Safety
    ///
    /// No run uses its addresses any more, and this is the entry's end.
    pub(super) unsafe fn release(&mut self) {
        let is_held = self.is_held();
        // Before the map, whose pages it shows.
        drop(self.arena.take());
        if self.is_mapped() {
            let pages = self.part().len() / PAGE;
            // SAFETY: mapped by `add`, and promised by the caller.
            unsafe { b::bailey_region_unmap(self.domain as usize, pages as usize) };
        }
        if let Some(table) = self.table {
            let len = table_len(self.len);
            // SAFETY: `add` took these parts of a vector, in which room may be more than
            // `len`; a vector frees by address alone. Nothing shows it any more.
            drop(unsafe { VVec::<u64>::from_raw_parts(table.as_ptr(), 0, len) });
        }
        if is_held {
            // SAFETY: `add` took this reference.
            unsafe { b::bpf_map_put(self.map) };
        }
    }
}
