// SPDX-License-Identifier: GPL-2.0
//! The helpers and kfuncs that the running kernel has for XDP programs, whether a program calls
//! them or not. For reports: a load asks for what the program calls ([`super::helpers`]).

use super::helpers::arg_of;
use super::site::ARG_TYPES;
use crate::bindings as b;
use crate::pure::catalog::{id, ArgKind};
use core::mem::MaybeUninit;
use kernel::prelude::*;
use kernel::str::CString;

/// Helpers have smaller numbers.
pub(crate) const END: u32 = b::bpf_func_id___BPF_FUNC_MAX_ID;

/// What the kernel asks a program of before it says what a helper's prototype is: nothing of
/// it is set.
pub(crate) struct Protos {
    ops: *const b::bpf_verifier_ops,
    prog: KBox<MaybeUninit<b::bpf_prog>>,
    _aux: KBox<MaybeUninit<b::bpf_prog_aux>>,
}

/// A helper's prototype.
#[derive(Clone, Copy)]
pub(crate) struct Proto(&'static b::bpf_func_proto);

impl Proto {
    /// What its arguments are, up to the first that it has not. What is not known how to audit
    /// is `None`.
    pub(crate) fn args(self) -> impl Iterator<Item = Option<ArgKind>> {
        let args = (0..5).map(move |index| arg_of(self.0, index, &ARG_TYPES).ok());
        args.take_while(|&arg| arg != Some(ArgKind::Unused))
    }

    /// Whether the helper may sleep.
    pub(crate) fn may_sleep(self) -> bool {
        self.0.might_sleep
    }
}

impl Protos {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: the name is NUL-terminated.
        let ops = unsafe { b::bailey_k_kallsyms_lookup_name(c"xdp_verifier_ops".as_char_ptr()) };
        if ops == 0 {
            return Err(ENOENT);
        }
        let aux = KBox::<b::bpf_prog_aux>::new_uninit(GFP_KERNEL | __GFP_ZERO)?;
        let mut prog = KBox::<b::bpf_prog>::new_uninit(GFP_KERNEL | __GFP_ZERO)?;
        // SAFETY: zeros are a value of the type; it owns what it points to as long as `_aux` lives.
        unsafe { (*prog.as_mut_ptr()).aux = aux.as_ptr().cast_mut() };
        Ok(Self {
            ops: ops as *const b::bpf_verifier_ops,
            prog,
            _aux: aux,
        })
    }

    /// Whether the kernel has helper `id` for XDP programs; its prototype, which of those that
    /// print is not asked for: that would turn a trace event on. They are there on every kernel.
    pub(crate) fn helper(&self, id: u32) -> Option<Option<Proto>> {
        if matches!(id, id::TRACE_PRINTK | id::TRACE_VPRINTK) {
            return Some(None);
        }
        // SAFETY: the verifier's operations for XDP programs, a constant of the kernel.
        let get = unsafe { (*self.ops).get_func_proto }?;
        // SAFETY: of the program it reads the token, its type and whether it sleeps; none of the
        // prototypes it returns is anything but a constant.
        unsafe { get(id, self.prog.as_ptr()).as_ref() }.map(|proto| Some(Proto(proto)))
    }
}

/// The number in the kernel's BTF of the kfunc of this name; `None` if it has none of its own.
pub(crate) fn kfunc_number(name: &str) -> Result<Option<u32>> {
    let name = CString::try_from_fmt(fmt!("{}", name))?;
    // SAFETY: the name is NUL-terminated.
    let number = unsafe { b::bailey_kfunc_number(name.as_char_ptr()) };
    Ok(u32::try_from(number).ok())
}

/// Whether the kernel, or a module that is loaded, has a function of this name.
pub(crate) fn is_there(name: &str) -> Result<bool> {
    let name = CString::try_from_fmt(fmt!("{}", name))?;
    // SAFETY: the name is NUL-terminated.
    Ok(unsafe { b::bailey_k_kallsyms_lookup_name(name.as_char_ptr()) } != 0)
}
