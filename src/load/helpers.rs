// SPDX-License-Identifier: GPL-2.0
//! Which helper or kfunc a call calls.
//!
//! Before `bpf_do_misc_fixups()` a call has the helper's number; after it, the
//! distance of the helper's address from `__bpf_call_base`. We note the numbers
//! before and reverse the addresses after, asking for no other number: some
//! prototypes have effects when they are asked for (`bpf_trace_printk` turns
//! its trace event on).

use super::kfuncs;
use super::knowledge::{Knowledge, BASE_TYPE};
use super::Reason;
use crate::bindings as b;
use crate::pure::catalog::kfuncs::FIRST as FIRST_KFUNC;
use crate::pure::catalog::{self, ArgKind, ArgTypeTable, Helper, UnknownArg};
use core::ptr;
use kernel::prelude::*;

/// Numbers of helpers and kfuncs, as a set.
#[derive(Clone, Copy, Default)]
pub(super) struct HelperSet([u64; SET_WORDS]);

const SET_WORDS: usize = 6;
const _: () = assert!(
    FIRST_KFUNC as usize + catalog::kfuncs::ALLOWED.len() <= SET_WORDS * u64::BITS as usize
);

impl HelperSet {
    /// Adds `id`; what is too large for the catalog is refused elsewhere.
    pub(super) fn insert(&mut self, id: u32) {
        if let Some(word) = self.0.get_mut((id / 64) as usize) {
            *word |= 1 << (id % 64);
        }
    }

    /// Whether one of them calls functions of the program.
    pub(super) fn calls_back(self) -> bool {
        self.iter()
            .any(|id| catalog::helper(id).is_some_and(|helper| helper.calls_back))
    }

    /// They, in order.
    fn iter(self) -> impl Iterator<Item = u32> {
        (0u32..).zip(self.0).flat_map(|(number, mut word)| {
            core::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros())?;
                word &= word - 1;
                Some(number * u64::BITS + bit)
            })
        })
    }
}

/// A helper or kfunc that the program calls.
#[derive(Clone, Copy)]
pub(super) struct Called {
    /// What the catalog knows of it.
    pub(super) helper: &'static Helper,
    /// Its address, as the gate calls it; 0 for `bpf_tail_call`.
    pub(super) func: u64,
    /// `insn.imm` of a call of it.
    imm: i32,
    /// A helper's; null for kfuncs.
    proto: *const b::bpf_func_proto,
    /// A kfunc's, or those of a helper whose prototype says too little.
    args: &'static [ArgKind],
}

impl Called {
    /// What argument `index` (from 0) is; `types` are the kernel's numbers.
    pub(super) fn arg(&self, index: usize, types: &ArgTypeTable) -> Result<ArgKind, UnknownArg> {
        if self.proto.is_null() || !self.args.is_empty() {
            return Ok(self.args.get(index).copied().unwrap_or(ArgKind::Unused));
        }
        // SAFETY: prototypes are constants of the kernel.
        arg_of(unsafe { &*self.proto }, index, types)
    }

    /// The type in the kernel's BTF that argument `index` (from 0) points to, where
    /// its kind is [`ArgKind::KernelObject`].
    pub(super) fn type_of_arg(&self, index: usize) -> Option<u32> {
        // SAFETY: prototypes are constants of the kernel; of the second union an argument that
        // points to a BTF type has the address of the type's number.
        unsafe {
            let proto = self.proto.as_ref()?;
            proto.__bindgen_anon_2.arg_btf_id[index].as_ref().copied()
        }
    }

    /// The type in the kernel's BTF that the helper returns the address of, and how
    /// many bytes such an object has.
    pub(super) fn returned(&self) -> Option<(u32, u32)> {
        // SAFETY: prototypes are constants of the kernel; which helpers return the address of a
        // BTF type the catalog says, and their prototypes have the address of its number. The
        // kernel's BTF is never freed.
        unsafe {
            let proto = self.proto.as_ref()?;
            if proto.ret_type & BASE_TYPE != b::bpf_return_type_RET_PTR_TO_BTF_ID {
                return None;
            }
            let id = u32::try_from(*proto.ret_btf_id.as_ref()?).ok()?;
            let size = b::bailey_struct_size(b::bailey_k_bpf_get_btf_vmlinux(), id);
            (size != 0).then_some((id, size))
        }
    }
}

/// What argument `index` (from 0) is by the prototype.
pub(super) fn arg_of(
    proto: &b::bpf_func_proto,
    index: usize,
    types: &ArgTypeTable,
) -> Result<ArgKind, UnknownArg> {
    // SAFETY: of the first union one member has all types; of the second `arg_size` is looked at
    // only where the type says that it is a size.
    let (arg_type, fixed) = unsafe {
        (
            proto.__bindgen_anon_1.arg_type[index],
            proto.__bindgen_anon_2.arg_size[index] as u32,
        )
    };
    types.arg_kind(arg_type, fixed)
}

/// The helpers of one program, by address.
pub(super) struct Helpers(KVec<Called>);

impl Helpers {
    /// Resolves `set` as the verifier does (`patch_call_imm` in
    /// kernel/bpf/fixups.c).
    pub(super) fn resolve(known: &Knowledge, set: HelperSet) -> Result<Self, Reason> {
        // SAFETY: the verifier's operations of the program's type, a constant of the kernel.
        let get_func_proto = unsafe { (*(*known.env()).ops).get_func_proto };
        let mut called: KVec<Called> = KVec::new();
        for id in set.iter() {
            let helper = catalog::helper(id).ok_or(Reason::UnknownHelper(id))?;
            if let Some(kfunc) = catalog::kfuncs::by_id(id) {
                let (func, direct) = kfuncs::addresses(id)?.ok_or(Reason::UnknownHelper(id))?;
                let entry = Called {
                    helper,
                    func,
                    imm: distance(direct),
                    proto: ptr::null(),
                    args: kfunc.args,
                };
                called
                    .push(entry, GFP_KERNEL)
                    .map_err(|_| Reason::NoMemory)?;
                continue;
            }
            let get_func_proto = get_func_proto.ok_or(Reason::UnknownHelper(id))?;
            // SAFETY: asked with the program and in the context in which the verifier asks.
            let proto = unsafe { get_func_proto(id, known.prog()) };
            if proto.is_null() {
                return Err(Reason::UnknownHelper(id));
            }
            // SAFETY: `proto` is a constant of the kernel.
            let func = unsafe { (*proto).func }.map_or(0, |func| func as *const () as u64);
            let imm = distance(func);
            if func == 0 && id != catalog::id::TAIL_CALL {
                return Err(Reason::UnknownHelper(id));
            }
            if called.iter().any(|other| other.imm == imm) {
                return Err(Reason::Ambiguous(id));
            }
            let entry = Called {
                helper,
                func,
                imm,
                proto,
                args: catalog::args(id),
            };
            called
                .push(entry, GFP_KERNEL)
                .map_err(|_| Reason::NoMemory)?;
        }
        Ok(Self(called))
    }

    /// The helper or kfunc that a call of one with this `imm` calls.
    pub(super) fn by_imm(&self, imm: i32) -> Option<&Called> {
        self.0
            .iter()
            .find(|called| called.func != 0 && called.imm == imm)
    }

    /// The helper with this number.
    pub(super) fn by_id(&self, id: u32) -> Option<&Called> {
        self.0.iter().find(|called| called.helper.id == id)
    }
}

/// What a call of the function at `addr` has as its `imm`.
fn distance(addr: u64) -> i32 {
    // SAFETY: returns an address.
    addr.wrapping_sub(unsafe { b::bailey_call_base() }) as i32
}
