// SPDX-License-Identifier: GPL-2.0
//! Hash maps with a value for each CPU (`BPF_MAP_TYPE_PERCPU_HASH`, `_LRU_PERCPU_HASH`), with
//! the meaning of those of kernel/bpf/hashtab.c.
//!
//! A CPU's values lie in a row, one element's behind the other's, and the next CPU's row
//! behind that. Programs read and write that of the CPU that they are on; a key that they put
//! in has zeroes on all others. A value is written where it is, so nobody who has its
//! address loses it, as long as the key is there.
//!
//! What user space does with values goes by the map's type and not by its operations
//! (`bpf_map_copy_value()`, `bpf_map_update_value()`, kernel/bpf/syscall.c): the functions that
//! are called there for a per-CPU hash map are hooked. User space has the values of all CPUs one after the
//! other, each on a multiple of eight bytes, or those of one CPU.

use super::{copy, Store};
use crate::bindings as b;
use crate::hw::cpus;
use crate::pure::store::{Amended, When};
use core::ptr;
use kernel::prelude::*;
use kernel::sync::rcu;

/// Whether a map of this type has a value for each CPU.
pub(super) fn is_type(map_type: u32) -> bool {
    matches!(
        map_type,
        b::bpf_map_type_BPF_MAP_TYPE_PERCPU_HASH | b::bpf_map_type_BPF_MAP_TYPE_LRU_PERCPU_HASH
    )
}

/// No two CPUs write to one line of the cache.
const LINE: u64 = 64;

/// Bytes from one CPU's row to the next.
pub(super) fn row_len(elements: u64, stride: u32) -> u64 {
    (elements * u64::from(stride)).next_multiple_of(LINE)
}

/// Which values of an element are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// That of one CPU, or the only one.
    Cpu(u32),
    /// All, one after the other.
    Each,
    /// All get the same.
    All,
}

impl Whose {
    /// What user space asks for by `flags`.
    fn by_flags(flags: u64) -> Result<Self> {
        let low = flags as u32;
        if low & b::BPF_F_CPU != 0 {
            let cpu = (flags >> 32) as u32;
            // Checked by the kernel before (`bpf_map_check_op_flags()`, include/linux/bpf.h).
            return match cpus::is_possible(cpu) {
                true => Ok(Self::Cpu(cpu)),
                false => Err(ERANGE),
            };
        }
        Ok(if low & b::BPF_F_ALL_CPUS != 0 {
            Self::All
        } else {
            Self::Each
        })
    }
}

impl Store {
    /// Whether each CPU has values of its own.
    #[inline(always)]
    pub(super) fn is_per_cpu(&self) -> bool {
        self.each != 0
    }

    /// Whose values programs have here: this CPU's, or the only ones.
    #[inline(always)]
    pub(super) fn this(&self) -> u32 {
        if self.is_per_cpu() {
            // SAFETY: reads the CPU's number. Who asks for a value stays on the CPU, or any
            // would do.
            unsafe { b::bailey_cpu_number() }
        } else {
            0
        }
    }

    /// What user space has of an element without asking for a CPU's.
    pub(super) fn whole(&self) -> Whose {
        if self.is_per_cpu() {
            Whose::Each
        } else {
            Whose::Cpu(0)
        }
    }

    /// What a batch reads of each element: with `flags` a CPU's.
    pub(super) fn of_batch(&self, flags: u64, deletes: bool) -> Result<Whose> {
        let low = flags as u32;
        let allowed = if self.is_per_cpu() && !deletes {
            b::BPF_F_CPU
        } else {
            0
        };
        // As `bpf_map_check_op_flags()`. The one flag more that it knows is for a lock in the value:
        // there is none.
        if low & !allowed != 0 || low == 0 && flags != 0 {
            return Err(EINVAL);
        }
        match low {
            0 => Ok(self.whole()),
            _ => Whose::by_flags(flags),
        }
    }

    /// Bytes of that.
    pub(super) fn len_of(&self, whose: Whose) -> usize {
        match whose {
            Whose::Each => self.value_stride as usize * cpus::possible().count(),
            Whose::Cpu(_) | Whose::All => self.map.value_size as usize,
        }
    }

    /// Reads values of element `number`.
    ///
    /// # Safety
    ///
    /// `to` is writable for [`len_of`](Self::len_of) these, and the element is there.
    pub(super) unsafe fn read(&self, number: u32, to: *mut u8, whose: Whose) {
        if let Whose::Cpu(cpu) = whose {
            // SAFETY: promised by the caller.
            return unsafe { copy(to, self.value_of(cpu, number), self.map.value_size) };
        }
        for (nth, cpu) in cpus::possible().enumerate() {
            let to = to.wrapping_add(nth * self.value_stride as usize);
            // SAFETY: promised by the caller. What is behind a value up to the next is nobody
            // else's, either.
            unsafe { copy(to, self.value_of(cpu, number), self.value_stride) };
        }
    }

    /// Writes values of element `number`, which nobody has found yet if it `is_new`: then the
    /// others become zero.
    ///
    /// # Safety
    ///
    /// `from` is readable for [`len_of`](Self::len_of) these, and the element is there.
    unsafe fn write(&self, number: u32, from: *const u8, whose: Whose, is_new: bool) {
        let size = self.map.value_size;
        if let (Whose::Cpu(cpu), false) = (whose, is_new) {
            // SAFETY: promised by the caller.
            return unsafe { copy(self.value_of(cpu, number), from, size) };
        }
        for (nth, cpu) in cpus::possible().enumerate() {
            let value = self.value_of(cpu, number);
            let from = match whose {
                Whose::Cpu(one) if one != cpu => {
                    // SAFETY: promised by the caller.
                    unsafe { ptr::write_bytes(value, 0, size as usize) };
                    continue;
                }
                Whose::Cpu(_) | Whose::All => from,
                Whose::Each => from.wrapping_add(nth * self.value_stride as usize),
            };
            // SAFETY: promised by the caller.
            unsafe { copy(value, from, size) };
        }
    }

    /// Puts values in, as `htab_map_update_elem_in_place()` and, if the map forgets,
    /// `__htab_lru_percpu_map_update_elem()`.
    ///
    /// # Safety
    ///
    /// `key` is readable for the map's `key_size` and `value` as of [`write`](Self::write).
    pub(super) unsafe fn amend(
        &self,
        key: *const u8,
        value: *const u8,
        when: When,
        whose: Whose,
    ) -> Result {
        let (table, forgets) = (self.table(), self.recent.is_kept());
        // SAFETY: promised by the caller.
        let hash = unsafe { self.hash(key) };
        // SAFETY: promised by the caller.
        let is_it = |number| unsafe { self.is(number, key) };
        // SAFETY: promised by the caller; the element is this key's, as its bucket is locked.
        let change = |number| unsafe { self.write(number, value, whose, false) };
        // SAFETY: the element is nobody else's, and has room for both.
        let fill = |number| unsafe {
            copy(self.key(number), key, self.map.key_size);
            self.write(number, value, whose, true);
        };
        // It comes first, since others may have to go for it.
        let taken = if forgets && when != When::Old {
            let number = self.recent.take(hash).ok_or(ENOMEM)?;
            self.count(1);
            Some(number)
        } else {
            None
        };
        let take = || if forgets { taken } else { table.take() };
        let amended = self.lock(table.bucket_of(hash)).and_then(|_locked| {
            let amended = table.amend(hash, when, is_it, take, change, fill)?;
            if let (Amended::Changed(number), true) = (amended, forgets) {
                self.recent.mark(number);
            }
            Ok(amended)
        });
        match (amended, taken) {
            (Ok(Amended::Added), None) => self.count(1),
            (Ok(Amended::Changed(_)) | Err(_), Some(unused)) => self.give(unused),
            _ => {}
        }
        amended.map(|_| ())
    }
}

/// Instead of `bpf_percpu_hash_copy()`: user space reads values.
///
/// # Safety
///
/// Called by the hook, with a per-CPU hash map, a key of it, and room for the values.
#[no_mangle]
unsafe extern "C" fn bailey_on_bpf_percpu_hash_copy(
    map: *mut b::bpf_map,
    key: *mut c_void,
    value: *mut c_void,
    flags: u64,
) -> c_int {
    // SAFETY: promised by the caller.
    let Some(store) = (unsafe { Store::of(map) }) else {
        // SAFETY: the original, as it would have been called.
        return unsafe { b::bailey_k_bpf_percpu_hash_copy(map, key, value, flags) };
    };
    let _guard = rcu::read_lock();
    // SAFETY: promised by the caller. That user space looks is no use of the element.
    let found = unsafe { store.find(key.cast()) }.ok_or(ENOENT);
    let read = found.and_then(|number| {
        let whose = match Whose::by_flags(flags)? {
            Whose::All => Whose::Each,
            whose => whose,
        };
        // SAFETY: as above.
        unsafe { store.read(number, value.cast(), whose) };
        Ok(())
    });
    read.map_or_else(|err| err.to_errno(), |()| 0)
}

/// Instead of `bpf_percpu_hash_update()`: user space writes values.
///
/// # Safety
///
/// Called by the hook, with a per-CPU hash map, a key of it, and values.
#[no_mangle]
unsafe extern "C" fn bailey_on_bpf_percpu_hash_update(
    map: *mut b::bpf_map,
    key: *mut c_void,
    value: *mut c_void,
    flags: u64,
) -> c_int {
    // SAFETY: promised by the caller.
    let Some(store) = (unsafe { Store::of(map) }) else {
        // SAFETY: the original, as it would have been called.
        return unsafe { b::bailey_k_bpf_percpu_hash_update(map, key, value, flags) };
    };
    let _guard = rcu::read_lock();
    // As htab_map_check_update_flags() and check_flags().
    let low = flags as u32;
    if low & b::BPF_F_LOCK != 0 || low > b::BPF_F_ALL_CPUS {
        return EINVAL.to_errno();
    }
    let when = match flags {
        flags if flags == u64::from(b::BPF_NOEXIST) => When::New,
        flags if flags == u64::from(b::BPF_EXIST) => When::Old,
        _ => When::Any,
    };
    let put = Whose::by_flags(flags).and_then(|whose| {
        // SAFETY: promised by the caller.
        unsafe { store.amend(key.cast(), value.cast(), when, whose) }
    });
    put.map_or_else(|err| err.to_errno(), |()| 0)
}
