// SPDX-License-Identifier: GPL-2.0
//! The values of maps, mapped a second time in the domain: the kernel keeps its
//! own address of a value, the program is given the one in the region. Only
//! maps whose values have pages to themselves are mapped (arrays without
//! special fields, per-CPU arrays and hash maps, and hash maps with a store); every
//! other map's values are loans. Of a per-CPU map the domain has each CPU's values,
//! one CPU's after the other's. Of a jump table it shows pages of ours in the
//! place of the kernel's: what stands there are numbers, and programs only read
//! them.

use super::fields::Fields;
use super::pieces::Pieces;
use super::{arrays, Domain};
use crate::bindings as b;
use crate::hw::cpus;
use crate::pure::pkrs::Key;
use crate::pure::region::{Part, PAGE};
use crate::pure::rewrite::jump_table::NOWHERE;
use crate::store::Store;
use core::cell::UnsafeCell;
use core::mem::size_of;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};
use kernel::prelude::*;

/// Maps that one domain may know: as many as one program may use
/// (MAX_USED_MAPS, include/linux/bpf_verifier.h) times four.
const MAPS: usize = 256;

/// A map that programs of the domain use.
pub(crate) struct Mapped {
    /// The map. Only if the domain shows or lends its values is it held, and only then may this
    /// be followed: a device or CPU map holds programs, and one of them may be of this domain.
    map: *mut b::bpf_map,
    /// Its number, since another map may come to the same address.
    id: u32,
    map_type: u32,
    name: [u8; 16],
    /// The kernel's address of the first value, or its per-CPU pointer; 0 if the
    /// values are loans.
    kernel: u64,
    /// If each CPU has values of its own: where.
    pieces: Option<NonNull<Pieces>>,
    /// The domain's address of it, or of that of CPU 0.
    domain: u64,
    /// Bytes that are values.
    len: u64,
    /// If each CPU has values of its own, how many bytes of them are behind `kernel`
    /// without a gap, and how many pages all are: so much further on is the next
    /// CPU's in the domain. Else 0.
    each: u64,
    pages: u64,
    /// Whether programs may write.
    writable: bool,
    /// Bytes of values at `kernel` that programs address directly without
    /// their being mapped: every access is mediated. 0 if there are none.
    lent: u64,
    /// Bytes from one value to the next.
    stride: u64,
    /// What the kernel keeps in each of them, if they are lent.
    fields: Fields,
    /// What the domain shows in the place of a jump table's values: whole pages
    /// from [`VVec`], `None` for other maps.
    table: Option<NonNull<u64>>,
}

/// What CPU number `cpu` has of the per-CPU memory `pointer`, if it can ever come.
fn per_cpu_address(pointer: u64, cpu: u64) -> Option<u64> {
    // SAFETY: arithmetic; no CPU has address 0.
    let address = unsafe { b::bailey_per_cpu_address(pointer, cpu as u32) };
    (address != 0).then_some(address)
}

/// Whole pages of numbers that hold so many bytes.
fn table_len(bytes: u64) -> usize {
    bytes.next_multiple_of(PAGE) as usize / size_of::<u64>()
}

impl Mapped {
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
    fn is_in_pieces(&self) -> bool {
        let Some(pieces) = self.pieces else {
            return false;
        };
        // SAFETY: the memory is there as long as the map, which the domain holds.
        let bytes = unsafe { pieces.as_ref() }.bytes();
        bytes > u64::from(b::BAILEY_PER_CPU_PIECE)
    }

    /// Most likely it is one of this CPU's.
    #[inline(never)]
    fn domain_address_on_some_cpu(&self, kernel: u64) -> Option<u64> {
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

    /// Whether the domain holds the map: its values have addresses here.
    fn is_held(&self) -> bool {
        self.len != 0 || self.lent != 0
    }

    /// The map's number, type and name, as they were when it became known.
    pub(crate) fn description(&self) -> (u32, u32, &CStr) {
        let name = CStr::from_bytes_until_nul(&self.name).unwrap_or(c"");
        (self.id, self.map_type, name)
    }

    /// Where programs see the values, and how many bytes: (0, 0) if each value
    /// is a loan of its own.
    pub(crate) fn place(&self) -> (u64, u64) {
        if self.is_mapped() {
            (self.domain, self.len)
        } else {
            (0, 0)
        }
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
            site.values_pages = b::BAILEY_SITE_PIECES;
            return;
        }
        site.values_kernel = self.kernel;
        site.values_domain = self.domain;
        site.values_pages = self.pages as u32;
        site.values_len = if self.pages == 0 { self.len } else { self.each };
    }

    /// Whether `len` bytes, `at` bytes into values that are lent, are none of the
    /// kernel's fields in them. Over the end of a value with fields, none are.
    fn spares_fields(&self, at: u64, len: u64) -> bool {
        if self.fields == Fields::NONE {
            return true;
        }
        let at = at % self.stride.max(1);
        len <= self.stride - at && self.fields.spare(at, len)
    }

    /// Whether the values have addresses in the domain.
    pub(crate) fn is_mapped(&self) -> bool {
        self.len != 0
    }
}

/// Append-only while the domain lives, so that readers need no lock.
pub(crate) struct Values {
    room: Part,
    len: AtomicUsize,
    maps: KVBox<[UnsafeCell<Mapped>; MAPS]>,
}

// SAFETY: the maps that are followed are held by reference counts of ours.
unsafe impl Send for Values {}
// SAFETY: entries below `len` are never written again; those above are written by `add` alone,
// whose callers hold the registry's mutex.
unsafe impl Sync for Values {}

impl Values {
    pub(crate) fn new(room: Part) -> Result<Self> {
        let empty = [const {
            UnsafeCell::new(Mapped {
                map: ptr::null_mut(),
                id: 0,
                map_type: 0,
                name: [0; 16],
                kernel: 0,
                pieces: None,
                domain: 0,
                len: 0,
                each: 0,
                pages: 0,
                writable: false,
                lent: 0,
                stride: 0,
                fields: Fields::NONE,
                table: None,
            })
        }; MAPS];
        Ok(Self {
            room,
            len: AtomicUsize::new(0),
            maps: KVBox::new(empty, GFP_KERNEL)?,
        })
    }

    /// How many maps are known.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mapped> + '_ {
        self.maps.iter().take(self.len()).map(|entry| {
            // SAFETY: entries below `len` are complete and are not written again.
            unsafe { &*entry.get() }
        })
    }

    /// The entry of `map`, if its values are mapped.
    pub(crate) fn of_map(&self, map: *mut b::bpf_map) -> Option<&Mapped> {
        self.iter()
            .find(|entry| entry.map == map && entry.is_mapped())
    }

    /// Whether programs of the domain use `map`.
    pub(crate) fn uses(&self, map: *mut b::bpf_map) -> bool {
        // SAFETY: callers hold `map`.
        let id = unsafe { (*map).id };
        self.iter().any(|entry| entry.map == map && entry.id == id)
    }

    /// Whether `len` bytes at the domain's address `addr` are values of one map,
    /// and writable if `write`.
    pub(crate) fn contains(&self, addr: u64, len: u64, write: bool) -> bool {
        self.iter().any(|entry| {
            addr.checked_sub(entry.domain).is_some_and(|at| {
                at < entry.len && len <= entry.len - at && (entry.writable || !write)
            })
        })
    }

    /// Whether `len` bytes at the kernel's address `addr` are values of an
    /// array of the domain that is not mapped: its programs' global data, with
    /// a lock in it. The lock itself is nobody's.
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

    /// Whether the byte at `addr`, the domain's address or the kernel's, is of a
    /// value that nobody can write any more, programs or user space.
    pub(crate) fn is_constant(&self, addr: u64) -> bool {
        self.iter().any(|entry| {
            let within = |start: u64, len: u64| addr.checked_sub(start).is_some_and(|at| at < len);
            !entry.writable
                && (within(entry.domain, entry.len) || within(entry.kernel, entry.lent))
                // SAFETY: the domain holds a reference to the map. Once set it stays
                // (map_freeze(), kernel/bpf/syscall.c).
                && unsafe { (&raw const (*entry.map).frozen).read_volatile() }
        })
    }

    /// Makes `map` known to `domain` and maps its values if they have pages to
    /// themselves. The caller holds the registry's mutex.
    pub(super) fn add(&self, domain: &Domain, map: *mut b::bpf_map) -> Result {
        if self.uses(map) {
            return Ok(());
        }
        let index = self.len();
        let slot = self.maps.get(index).ok_or_else(|| {
            pr_warn!("domain {} uses more than {} maps\n", domain.id(), MAPS);
            ENOSPC
        })?;
        // SAFETY: `map` is a map that the program being loaded holds.
        let (id, map_type, name) = unsafe { ((*map).id, (*map).map_type, (*map).name) };
        let mut entry = Mapped {
            map,
            id,
            map_type,
            name,
            kernel: 0,
            pieces: arrays::pieces_of(map),
            domain: 0,
            len: 0,
            each: 0,
            pages: 0,
            writable: false,
            lent: 0,
            stride: 0,
            fields: Fields::NONE,
            table: None,
        };
        let mut layout = b::bailey_values::default();
        // SAFETY: `map` is a map that the program being loaded holds.
        let placed = match (unsafe { Store::of(map) }, entry.pieces) {
            (Some(store), _) => {
                layout = store.layout();
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
            // SAFETY: as above.
            (None, None) => unsafe { b::bailey_map_values(map, &mut layout) },
        };
        if placed == b::bailey_values_kind_BAILEY_VALUES_MIXED {
            entry.kernel = layout.start;
            entry.lent = layout.len;
            entry.stride = layout.stride;
            entry.writable = layout.writable != 0;
            // SAFETY: the reference below keeps the map as long as the entry.
            entry.fields = unsafe { Fields::of(map) };
        } else if placed == b::bailey_values_kind_BAILEY_VALUES_PAGES
            || placed == b::bailey_values_kind_BAILEY_VALUES_TABLE
        {
            // From where the pages are taken.
            let mut pages_at = layout.start;
            let mut table = None;
            let len = layout.len;
            if placed == b::bailey_values_kind_BAILEY_VALUES_TABLE {
                let numbers = VVec::from_elem(NOWHERE, table_len(layout.len), GFP_KERNEL)?;
                pages_at = table.insert(numbers).as_ptr() as u64;
            }
            let source = |page: u64| match entry.pieces {
                None => Some(pages_at + page * PAGE),
                Some(pieces) => {
                    // SAFETY: as above.
                    let pieces = unsafe { pieces.as_ref() };
                    let cpu = page.checked_div(entry.pages)?;
                    per_cpu_address(pieces.page(page - cpu * entry.pages)?, cpu)
                }
            };
            let at = self
                .iter()
                .filter(|entry| entry.is_mapped())
                .map(|entry| entry.domain + entry.len.next_multiple_of(PAGE) + PAGE)
                .max()
                .unwrap_or(self.room.start);
            if self.room.contains(at, len) {
                let pages = len.div_ceil(PAGE);
                for page in 0..pages {
                    let Some(source) = source(page) else {
                        continue;
                    };
                    // SAFETY: the address is of this domain's room and unmapped; the kernel's
                    // address is a page of the map's values, which the reference below keeps.
                    let err = unsafe {
                        b::bailey_region_map_page(
                            (at + page * PAGE) as usize,
                            source as *mut c_void,
                            domain.key().number().into(),
                            c_int::from(layout.writable != 0),
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
                entry.writable = layout.writable != 0;
                entry.table = table.and_then(|numbers| NonNull::new(numbers.into_raw_parts().0));
            }
        }
        if entry.is_held() {
            // SAFETY: the program being loaded holds the map, so its count is not zero.
            unsafe { b::bpf_map_inc(map) };
        }
        // SAFETY: entries at and above `len` are written under the registry's mutex alone.
        unsafe { *slot.get() = entry };
        self.len.store(index + 1, Ordering::Release);
        Ok(())
    }
}

impl Values {
    /// Gives every page another key. The caller holds the registry's mutex, and
    /// flushes.
    pub(super) fn tag(&self, key: Key) {
        for entry in self.iter().filter(|entry| entry.is_mapped()) {
            super::tag(entry.domain, entry.len.div_ceil(PAGE), key);
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
        for entry in self.iter() {
            if entry.is_mapped() {
                let pages = entry.len.div_ceil(PAGE);
                // SAFETY: mapped by `add`; no program of the domain is left.
                unsafe { b::bailey_region_unmap(entry.domain as usize, pages as usize) };
            }
            if let Some(table) = entry.table {
                let len = table_len(entry.len);
                // SAFETY: `add` took these parts of a vector, in which room may be more than
                // `len`; a vector frees by address alone. Nothing shows it any more.
                drop(unsafe { VVec::<u64>::from_raw_parts(table.as_ptr(), 0, len) });
            }
            if entry.is_held() {
                // SAFETY: `add` took this reference.
                unsafe { b::bpf_map_put(entry.map) };
            }
        }
    }
}
