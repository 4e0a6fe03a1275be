// SPDX-License-Identifier: GPL-2.0
//! What the verifier knew of a program: the reading half of
//! `struct bpf_verifier_env`, at the two places where we are called with it.

use crate::bindings as b;
use crate::domain::fields::Fields;
use crate::pure::insn::{pseudo, Insn, REG_FP};
use crate::pure::rewrite::{CtxLayout, PtrKind};
use crate::run::probe;
use core::mem::offset_of;
use core::slice;

/// Bits of the base type in `enum bpf_reg_type` and `enum bpf_arg_type`.
pub(super) const BASE_TYPE: u32 = (1 << b::BPF_BASE_TYPE_BITS) - 1;

/// Of a pointer to a type in BTF: to an object that the program has allocated, and
/// that lies in one place and is there.
const ALLOCATED: u32 = b::bpf_type_flag_MEM_ALLOC;
const OF_OBJECT: u32 = ALLOCATED | b::bpf_type_flag_PTR_UNTRUSTED | b::bpf_type_flag_MEM_PERCPU;
const UNTRUSTED: u32 = b::bpf_type_flag_PTR_UNTRUSTED;
/// Of one to an object that was not lent: how the program came by it.
const FOLLOWED: u32 = OF_OBJECT | b::bpf_type_flag_MEM_RCU;

/// `struct xdp_buff` of the running kernel.
pub(super) const XDP_BUFF: CtxLayout = CtxLayout {
    data: offset_of!(b::xdp_buff, data) as i16,
    data_end: offset_of!(b::xdp_buff, data_end) as i16,
    data_meta: offset_of!(b::xdp_buff, data_meta) as i16,
    rxq: offset_of!(b::xdp_buff, rxq) as i16,
    txq: offset_of!(b::xdp_buff, txq) as i16,
};

/// What is reached by pointers that the program has read.
fn followed() -> PtrKind {
    if probe::is_allowed() {
        PtrKind::Followed
    } else {
        PtrKind::KernelObject
    }
}

/// A verifier run between two of its passes, with its program.
#[derive(Clone, Copy)]
pub(super) struct Knowledge {
    env: *mut b::bpf_verifier_env,
    /// Whether the program can find objects of the kernel's in values.
    finds_objects: bool,
}

impl Knowledge {
    /// # Safety
    ///
    /// `env` is alive, its analysis is done, and nobody else uses it while
    /// this value lives: true in the hooks, which the verifier itself calls.
    pub(super) unsafe fn new(env: *mut b::bpf_verifier_env) -> Self {
        let mut known = Self {
            env,
            finds_objects: false,
        };
        // SAFETY: maps that `env` holds a reference to, and the templates of the maps in them.
        let finds = |&map: &*mut b::bpf_map| unsafe {
            let inner = (*map).inner_map_meta;
            Fields::of(map).have_kernel_objects()
                || !inner.is_null() && Fields::of(inner).have_kernel_objects()
        };
        known.finds_objects = known.maps().iter().any(finds);
        known
    }

    /// The verifier's environment.
    pub(super) fn env(&self) -> *mut b::bpf_verifier_env {
        self.env
    }

    /// The program as it is now; every pass may replace it.
    pub(super) fn prog(&self) -> *mut b::bpf_prog {
        // SAFETY: `env` is alive (`new`).
        unsafe { (*self.env).prog }
    }

    /// The program's auxiliary part, which stays where it is.
    pub(super) fn aux(&self) -> *mut b::bpf_prog_aux {
        // SAFETY: a program under verification has its aux.
        unsafe { (*self.prog()).aux }
    }

    /// The program's instructions.
    pub(super) fn insns(&self) -> &[Insn] {
        let prog = self.prog();
        // SAFETY: `prog` is alive and has `len` instructions; `Insn` has the layout of
        // `struct bpf_insn` (asserted in pure/insn.rs); nobody writes them meanwhile (`new`).
        unsafe { slice::from_raw_parts(b::bailey_prog_insns(prog).cast(), (*prog).len as usize) }
    }

    /// The same, to be changed.
    pub(super) fn insns_mut(&mut self) -> &mut [Insn] {
        let prog = self.prog();
        // SAFETY: as above; the program is not locked read-only before it is JITed.
        unsafe {
            slice::from_raw_parts_mut(b::bailey_prog_insns(prog).cast(), (*prog).len as usize)
        }
    }

    fn aux_data(&self) -> &[b::bpf_insn_aux_data] {
        // SAFETY: `insn_aux_data` has as many entries as the program has instructions:
        // bpf_patch_insn_data() keeps the two in step.
        unsafe { slice::from_raw_parts((*self.env).insn_aux_data, (*self.prog()).len as usize) }
    }

    /// Maps that the program uses.
    pub(super) fn maps(&self) -> &[*mut b::bpf_map] {
        // SAFETY: `env` is alive; the first `used_map_cnt` entries are maps it holds.
        unsafe {
            let env = &*self.env;
            slice::from_raw_parts(env.used_maps.as_ptr(), env.used_map_cnt as usize)
        }
    }

    /// The arena that the program uses; null if it uses none.
    pub(super) fn arena(&self) -> *mut b::bpf_map {
        // SAFETY: the aux is alive. The map itself is what the verifier lays there
        // (`__add_used_map()`, kernel/bpf/verifier.c).
        unsafe { (*self.aux()).arena.cast() }
    }

    /// Whether the kernel will blind the program's constants before it compiles.
    pub(super) fn is_blinded(&self) -> bool {
        // SAFETY: the program is alive. The kernel has decided when it made it, and asks for the
        // same bit (bpf_prog_need_blind(), include/linux/filter.h).
        unsafe { (*self.prog()).blinding_requested() != 0 }
    }

    /// Functions of the program, main included.
    pub(super) fn functions(&self) -> u32 {
        // SAFETY: `env` is alive.
        unsafe { (*self.env).subprog_cnt }
    }

    /// Index of the first instruction of function `number`; for the number
    /// behind the last one, the program's length.
    pub(super) fn function_start(&self, number: u32) -> u32 {
        // SAFETY: `env` is alive.
        let starts = unsafe { &(*self.env).subprog_info };
        starts.get(number as usize).map_or(0, |info| info.start)
    }

    /// Bytes of stack that function `number` itself uses.
    pub(super) fn function_stack(&self, number: u32) -> u32 {
        // SAFETY: `env` is alive.
        let infos = unsafe { &(*self.env).subprog_info };
        infos
            .get(number as usize)
            .map_or(0, |info| info.stack_depth.into())
    }

    /// The arguments of global function `number`, as the verifier took them from
    /// its BTF.
    pub(super) fn function_args(&self, number: u32) -> &[b::bpf_subprog_arg_info] {
        // SAFETY: `env` is alive.
        let infos = unsafe { &(*self.env).subprog_info };
        infos.get(number as usize).map_or(&[], |info| {
            let count = usize::from(info.arg_cnt()).min(info.args.len());
            &info.args[..count]
        })
    }

    /// Whether function `number` is global: verified for itself, and others may
    /// take its place.
    pub(super) fn is_global(&self, number: u32) -> bool {
        // SAFETY: the aux is alive; `func_info_aux` is null or has as many entries as
        // `func_info`, one for each function but hidden ones.
        unsafe {
            let aux = &*self.aux();
            !aux.func_info_aux.is_null()
                && number < aux.func_info_cnt
                && u32::from((*aux.func_info_aux.add(number as usize)).linkage)
                    == b::btf_func_linkage_BTF_FUNC_GLOBAL
        }
    }

    /// Whether function `number` is one that the kernel calls later: a callback
    /// of a timer or workqueue.
    pub(super) fn is_called_later(&self, number: u32) -> bool {
        // SAFETY: `env` is alive.
        let infos = unsafe { &(*self.env).subprog_info };
        number < self.functions()
            && infos.get(number as usize).is_some_and(|info| {
                // The verifier marks an exception's callback the same.
                info.is_async_cb() && !info.is_exception_cb()
            })
    }

    /// Whether the function in register `reg` of the call at `index` may be one
    /// that the kernel calls later.
    pub(super) fn may_call_later(&self, index: usize, reg: usize) -> bool {
        let known = self.aux_data().get(index).and_then(|aux| {
            let is_known = aux.const_reg_subprog_mask & (1 << reg) != 0;
            aux.const_reg_vals.get(reg).filter(|_| is_known)
        });
        match known {
            Some(&number) => self.is_called_later(number),
            None => (0..self.functions()).any(|number| self.is_called_later(number)),
        }
    }

    /// The function that exceptions lead to, if the program has one. The
    /// kernel's own is there from `bpf_do_misc_fixups()` on.
    pub(super) fn exception_callback(&self) -> Option<u32> {
        // SAFETY: `env` is alive.
        let number = unsafe { (*self.env).exception_callback_subprog };
        u32::try_from(number).ok().filter(|&number| number != 0)
    }

    /// Whether the instruction at `index` calls `bpf_throw()`, before
    /// `bpf_do_misc_fixups()`: of which kernel function it is a call says a
    /// number.
    pub(super) fn throws_by_number(&self, index: usize) -> bool {
        let mut insn = self.insns()[index];
        // SAFETY: reads the instruction, of the layout of `struct bpf_insn`.
        insn.is_kfunc_call() && unsafe { b::bailey_k_bpf_is_throw_kfunc((&raw mut insn).cast()) }
    }

    /// Whether any path stores to the packet.
    pub(super) fn direct_write(&self) -> bool {
        // SAFETY: `env` is alive.
        unsafe { (*self.env).seen_direct_write }
    }

    /// Whether what the program returns is a verdict, of 32 bits (`bpf_prog_run()`,
    /// include/linux/filter.h), and not a function's result.
    pub(super) fn returns_verdict(&self) -> bool {
        // SAFETY: the program is alive.
        unsafe { (*self.prog()).type_ == b::bpf_prog_type_BPF_PROG_TYPE_XDP }
    }

    /// Whether what the CPU only guesses is the program's business alone: its indices
    /// need no mask.
    pub(super) fn bypasses_masks(&self) -> bool {
        // SAFETY: `env` is alive.
        unsafe { (*self.env).bypass_spec_v1 }
    }

    /// What the load or store at `index` goes through.
    pub(super) fn pointer(&self, index: usize) -> PtrKind {
        let insn = self.insns()[index];
        if !(insn.is_load() || insn.is_store() || insn.is_probe()) {
            return PtrKind::Unknown;
        }
        if insn.base() == Some(REG_FP) {
            // The last instruction of an inlined bpf_loop() is one, with what was known of the
            // call.
            return PtrKind::Stack;
        }
        // SAFETY: of the union, loads and stores have the pointer's type; 0 if the verifier put
        // the instruction there.
        let ptr_type = unsafe { self.aux_data()[index].__bindgen_anon_1.ptr_type };
        match ptr_type & BASE_TYPE {
            b::bpf_reg_type_NOT_INIT => PtrKind::Unknown,
            b::bpf_reg_type_PTR_TO_CTX => PtrKind::Ctx,
            b::bpf_reg_type_PTR_TO_STACK => PtrKind::Stack,
            b::bpf_reg_type_PTR_TO_PACKET
            | b::bpf_reg_type_PTR_TO_PACKET_META
            | b::bpf_reg_type_PTR_TO_PACKET_END => PtrKind::Packet,
            b::bpf_reg_type_PTR_TO_MAP_VALUE => PtrKind::MapValue,
            b::bpf_reg_type_PTR_TO_MAP_KEY => PtrKind::MapKey,
            b::bpf_reg_type_PTR_TO_MEM if ptr_type & UNTRUSTED == 0 => PtrKind::Mem,
            b::bpf_reg_type_PTR_TO_SOCKET
            | b::bpf_reg_type_PTR_TO_SOCK_COMMON
            | b::bpf_reg_type_PTR_TO_TCP_SOCK => PtrKind::Socket,
            b::bpf_reg_type_PTR_TO_BTF_ID if ptr_type & OF_OBJECT == ALLOCATED => PtrKind::Mem,
            b::bpf_reg_type_PTR_TO_BTF_ID if ptr_type & FOLLOWED == 0 => PtrKind::LentObject,
            // Found in a value, it is lent. The verifier says the same of one that is read out of
            // an object of the kernel's: that load is a violation.
            b::bpf_reg_type_PTR_TO_BTF_ID
                if self.finds_objects && !probe::is_allowed() && ptr_type & OF_OBJECT == 0 =>
            {
                PtrKind::LentObject
            }
            b::bpf_reg_type_PTR_TO_BTF_ID if ptr_type & OF_OBJECT & !UNTRUSTED == 0 => followed(),
            b::bpf_reg_type_PTR_TO_MEM if ptr_type & UNTRUSTED != 0 => followed(),
            b::bpf_reg_type_CONST_PTR_TO_MAP
            | b::bpf_reg_type_PTR_TO_BTF_ID
            | b::bpf_reg_type_PTR_TO_MEM => PtrKind::KernelObject,
            other => PtrKind::Other(other),
        }
    }

    /// The map in register `reg` of the call at `index`, if it is always the same.
    pub(super) fn map_argument(&self, index: usize, reg: usize) -> Option<*mut b::bpf_map> {
        let aux = self.aux_data().get(index)?;
        if aux.const_reg_map_mask & (1 << reg) == 0 {
            return None;
        }
        let number = aux.const_reg_vals.get(reg)?;
        self.maps().get(*number as usize).copied()
    }

    /// Whether the call at `index` asks for one CPU's of per-CPU memory that a program
    /// has allocated, and not of a variable of the kernel's.
    pub(super) fn asks_for_allocated(&self, index: usize) -> bool {
        let aux = self.aux_data().get(index);
        aux.is_some_and(|aux| aux.call_with_percpu_alloc_ptr)
    }

    /// What the call at `index` says of the objects that it is about: the kernel's
    /// `struct btf_struct_meta` (null: the type has no fields of the kernel's), and
    /// how large one is or how far into it the node.
    pub(super) fn object_of(&self, index: usize) -> (*mut b::btf_struct_meta, u64) {
        let aux = &self.aux_data()[index];
        // SAFETY: of the union, both members are of the same type.
        (aux.kptr_struct_meta, unsafe {
            aux.__bindgen_anon_2.obj_new_size
        })
    }

    /// The map whose value's address the `ld_imm64` at `index` loads.
    pub(super) fn value_of(&self, index: usize) -> Option<*mut b::bpf_map> {
        let insn = self.insns().get(index)?;
        if !insn.is_ld_imm64() || !matches!(insn.src(), pseudo::MAP_VALUE | pseudo::MAP_IDX_VALUE) {
            return None;
        }
        // SAFETY: of the union, loads of a map value's address have the map's index.
        let map_index = unsafe {
            self.aux_data()[index]
                .__bindgen_anon_1
                .__bindgen_anon_1
                .map_index
        };
        self.maps().get(map_index as usize).copied()
    }

    /// How far into that value the address is.
    pub(super) fn value_offset(&self, index: usize) -> u32 {
        // SAFETY: of the union, loads of a map value's address have the offset.
        unsafe {
            self.aux_data()[index]
                .__bindgen_anon_1
                .__bindgen_anon_1
                .map_off
        }
    }
}
