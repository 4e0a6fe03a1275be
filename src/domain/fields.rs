// SPDX-License-Identifier: GPL-2.0
//! Fields of the kernel's in the values of maps: locks, timers, lists and more.
//!
//! The kernel keeps pointers of its own in them and follows these, so no byte
//! of a field is the program's to read or write, neither by an access of its own
//! nor through a helper's memory argument; the verifier lets none pass
//! (`check_map_access()`, kernel/bpf/verifier.c). A helper that works on a field
//! is passed its address, which must be that of such a field exactly.
//!
//! Where the fields lie is in the map's `btf_record`, of which each map has one
//! of its own. A loan is marked with it.

use crate::bindings as b;
use crate::pure::loan::apart;
use kernel::error::from_err_ptr;

/// What a field can be that programs reach by helpers alone. Kernel pointers are
/// not among them: a program may load one.
const KEPT: u32 = b::btf_field_type_BPF_SPIN_LOCK
    | b::btf_field_type_BPF_RES_SPIN_LOCK
    | b::btf_field_type_BPF_TIMER
    | b::btf_field_type_BPF_WORKQUEUE
    | b::btf_field_type_BPF_TASK_WORK
    | b::btf_field_type_BPF_LIST_HEAD
    | b::btf_field_type_BPF_RB_ROOT
    | b::btf_field_type_BPF_REFCOUNT;

/// The fields of one map's values: the address of its `struct btf_record`, 0 if
/// there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields(u64);

impl Fields {
    /// No field.
    pub(crate) const NONE: Self = Self(0);

    /// The fields of the values of `map`.
    ///
    /// # Safety
    ///
    /// `map` is alive, and outlives what is returned.
    pub(crate) unsafe fn of(map: *const b::bpf_map) -> Self {
        // SAFETY: promised by the caller. The record is set when the map is made.
        let record = unsafe { (*map).record };
        // map_check_btf() (kernel/bpf/syscall.c) may leave an error there.
        Self(from_err_ptr(record).map_or(0, |record| record as u64))
    }

    /// The fields that the loan's `tag` stands for.
    ///
    /// # Safety
    ///
    /// `tag` is what [`tag`](Self::tag) gave, and the map it was of is alive for as long as what is
    /// returned is used.
    pub(crate) unsafe fn of_tag(tag: u64) -> Self {
        Self(tag)
    }

    /// What a loan is marked with.
    pub(crate) fn tag(self) -> u64 {
        self.0
    }

    fn all(&self) -> &[b::btf_field] {
        if self.0 == 0 {
            return &[];
        }
        // SAFETY: the record of a live map, by the contract of `of` and `of_tag`; it has `cnt`
        // fields and does not change.
        unsafe {
            let record = self.0 as *const b::btf_record;
            let fields = (&raw const (*record).fields).cast();
            core::slice::from_raw_parts(fields, (*record).cnt as usize)
        }
    }

    /// Whether `len` bytes, `at` bytes into a value, touch no field.
    pub(crate) fn spare(self, at: u64, len: u64) -> bool {
        self.all()
            .iter()
            .all(|field| apart(at, len, field.offset.into(), field.size.into()))
    }

    /// How far into a value its field of type `field_type` is, of which it has no
    /// more than one.
    pub(crate) fn offset(self, field_type: u32) -> Option<u64> {
        let mut fields = self.all().iter();
        let field = fields.find(|field| field.type_ == field_type)?;
        Some(field.offset.into())
    }

    /// Whether programs reach all fields by helpers alone.
    pub(crate) fn are_kept(self) -> bool {
        self.all().iter().all(|field| field.type_ & !KEPT == 0)
    }
}
