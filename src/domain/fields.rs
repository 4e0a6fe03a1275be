// SPDX-License-Identifier: GPL-2.0
//! Fields of the kernel's in the values of maps, and in objects that programs
//! allocate: locks, timers, lists and more.
//!
//! The kernel keeps pointers of its own in them and follows these, so no byte
//! of a field is the program's to read or write, neither by an access of its own
//! nor through a helper's memory argument; the verifier lets none pass
//! (`check_map_access()`, kernel/bpf/verifier.c). A helper that works on a field
//! is passed its address, which must be that of such a field exactly.
//!
//! Where the fields lie is in the map's `btf_record`, of which each map has one
//! of its own, or in that of the object's type. A loan is marked with it.
//!
//! Pointers of which nothing is trusted (`__kptr_untrusted`) are no such fields: what
//! is there, a program may read and write, and the kernel asks of nobody who loads one
//! that it leads anywhere.
//!
//! An object's type is, to the kernel and so to us, how large it is and which
//! record it has. Types without fields that are of one size are one type.

use crate::bindings as b;
use crate::kernel_types;
use crate::pure::kernel_type::KernelType;
use crate::pure::loan::apart;
use kernel::error::from_err_ptr;

/// What a field can be that programs reach by helpers and kfuncs alone. Pointers
/// are not among them: a program may load one.
const KEPT: u32 = b::btf_field_type_BPF_SPIN_LOCK
    | b::btf_field_type_BPF_RES_SPIN_LOCK
    | b::btf_field_type_BPF_TIMER
    | b::btf_field_type_BPF_WORKQUEUE
    | b::btf_field_type_BPF_TASK_WORK
    | b::btf_field_type_BPF_LIST_HEAD
    | b::btf_field_type_BPF_LIST_NODE
    | b::btf_field_type_BPF_RB_ROOT
    | b::btf_field_type_BPF_RB_NODE
    | b::btf_field_type_BPF_REFCOUNT;

/// A pointer to one type of objects, or of per-CPU memory.
const POINTERS: u32 = b::btf_field_type_BPF_KPTR_REF | b::btf_field_type_BPF_KPTR_PERCPU;

/// A pointer that leads anywhere.
const UNTRUSTED: u32 = b::btf_field_type_BPF_KPTR_UNREF;

/// How an object is part of a list or tree.
const NODES: u32 = b::btf_field_type_BPF_LIST_NODE | b::btf_field_type_BPF_RB_NODE;

/// How many records are followed from one to the types that its fields are for.
const FOLLOWED: usize = 16;

/// The type of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Type {
    /// Bytes of it; 0 if it is not known.
    pub(crate) size: u32,
    /// What in it is the kernel's.
    pub(crate) fields: Fields,
}

/// What a list or tree is for, and a pointer to what programs allocate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The type of the objects.
    pub(crate) of: Type,
    /// How far into one its node is; 0 for a pointer.
    pub(crate) node: u64,
}

/// What a pointer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pointee {
    /// An object that a program has allocated.
    Allocated(Type),
    /// An object of the kernel's.
    Kernel(KernelType),
    /// Memory of so many bytes, which is another one on each CPU.
    PerCpu(u32),
}

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

    /// The fields of the objects that `meta` describes.
    ///
    /// # Safety
    ///
    /// The BTF of `meta` outlives what is returned.
    pub(crate) unsafe fn of_meta(meta: *const b::btf_struct_meta) -> Self {
        // SAFETY: promised by the caller.
        Self(unsafe { (*meta).record } as u64)
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
        let mut kept = self.all().iter().filter(|field| field.type_ != UNTRUSTED);
        kept.all(|field| apart(at, len, field.offset.into(), field.size.into()))
    }

    /// How far into a value its field of type `field_type` is, of which it has no
    /// more than one.
    pub(crate) fn offset(self, field_type: u32) -> Option<u64> {
        let mut fields = self.all().iter();
        let field = fields.find(|field| field.type_ == field_type)?;
        Some(field.offset.into())
    }

    /// The record, for the kernel; null if there are no fields.
    pub(crate) fn record(self) -> *const b::btf_record {
        self.0 as *const b::btf_record
    }

    fn get(&self) -> Option<&b::btf_record> {
        // SAFETY: as in `all`.
        unsafe { self.record().as_ref() }
    }

    /// How far into a value the lock is that stands before its lists and trees.
    pub(crate) fn lock(self) -> Option<u64> {
        let record = self.get()?;
        // Never both (btf_parse_fields(), kernel/bpf/btf.c).
        u64::try_from(record.spin_lock_off.max(record.res_spin_lock_off)).ok()
    }

    /// Whether the object counts its references.
    pub(crate) fn is_counted(self) -> bool {
        self.get().is_some_and(|record| record.refcount_off >= 0)
    }

    /// Whether the object can be part of a list or tree.
    pub(crate) fn has_nodes(self) -> bool {
        self.all().iter().any(|field| field.type_ & NODES != 0)
    }

    /// What the list or tree (`field_type`) is for that is `at` bytes into a value.
    pub(crate) fn target(self, at: u64, field_type: u32) -> Option<Target> {
        let field = self.at(at)?;
        (field.type_ == field_type).then(|| target(field))?
    }

    /// What the pointer leads to that is `at` bytes into a value.
    pub(crate) fn pointee(self, at: u64) -> Option<Pointee> {
        pointee(self.at(at)?)
    }

    fn at(&self, at: u64) -> Option<&b::btf_field> {
        let mut fields = self.all().iter();
        fields.find(|field| u64::from(field.offset) == at)
    }

    /// Whether programs can find objects of the kernel's in a pointer there.
    pub(crate) fn have_kernel_objects(self) -> bool {
        let mut fields = self.all().iter();
        fields.any(|field| matches!(pointee(field), Some(Pointee::Kernel(_))))
    }

    /// Whether programs reach all fields by helpers and kfuncs alone, but for
    /// pointers to objects of which this can be said as well.
    pub(crate) fn are_kept(self) -> bool {
        let mut seen = [Self::NONE; FOLLOWED];
        seen[0] = self;
        let mut known = 1;
        let mut next = 0;
        while next < known {
            let fields = seen[next];
            next += 1;
            for field in fields.all() {
                let to = match (target(field), pointee(field)) {
                    (Some(target), _) => target.of.fields,
                    (_, Some(Pointee::Allocated(of))) => of.fields,
                    (_, Some(Pointee::Kernel(_) | Pointee::PerCpu(_))) => continue,
                    _ if field.type_ & (KEPT | UNTRUSTED) != 0 => continue,
                    _ => return false,
                };
                if seen[..known].contains(&to) {
                    continue;
                }
                let Some(slot) = seen.get_mut(known) else {
                    return false;
                };
                *slot = to;
                known += 1;
            }
        }
        true
    }
}

/// What a list or tree is for.
fn target(field: &b::btf_field) -> Option<Target> {
    // SAFETY: of the union, heads and roots have `graph_root`; their BTF lives as long as the
    // record (btf_record_free(), kernel/bpf/syscall.c, and btf_parse_fields()).
    let (size, record, node) = unsafe {
        match field.type_ {
            b::btf_field_type_BPF_LIST_HEAD | b::btf_field_type_BPF_RB_ROOT => {
                let root = &field.__bindgen_anon_1.graph_root;
                let size = b::bailey_struct_size(root.btf, root.value_btf_id);
                (size, root.value_rec, root.node_offset)
            }
            _ => return None,
        }
    };
    (size != 0).then_some(Target {
        of: Type {
            size,
            fields: Fields(record as u64),
        },
        node: node.into(),
    })
}

/// What a pointer leads to; `None` also if that is a type of the kernel's that is not
/// known here.
fn pointee(field: &b::btf_field) -> Option<Pointee> {
    if field.type_ & POINTERS == 0 {
        return None;
    }
    // SAFETY: of the union, pointers have `kptr`; its BTF lives as long as the record.
    unsafe {
        let kptr = &field.__bindgen_anon_1.kptr;
        // An object of the kernel's has a function that gives it up. Modules have numbers of their
        // own.
        if kptr.dtor.is_some() {
            let of_kernel = kptr.btf == b::bailey_k_bpf_get_btf_vmlinux();
            return of_kernel.then(|| kernel_types::by_id(kptr.btf_id).map(Pointee::Kernel))?;
        }
        let meta = b::bailey_k_btf_find_struct_meta(kptr.btf, kptr.btf_id);
        let record = meta
            .as_ref()
            .map_or(core::ptr::null_mut(), |meta| meta.record);
        let size = b::bailey_struct_size(kptr.btf, kptr.btf_id);
        if field.type_ == b::btf_field_type_BPF_KPTR_PERCPU {
            // Of numbers alone: the kernel sees to that (check_kfunc_call(), kernel/bpf/verifier.c).
            return (size != 0).then_some(Pointee::PerCpu(size));
        }
        (size != 0).then_some(Pointee::Allocated(Type {
            size,
            fields: Fields(record as u64),
        }))
    }
}
