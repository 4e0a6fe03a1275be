// SPDX-License-Identifier: GPL-2.0
//! What the kernel's own prototypes say of a helper's arguments, as an audit
//! needs it.
//!
//! `struct bpf_func_proto` (`include/linux/bpf.h`) gives each argument an
//! `enum bpf_arg_type`: a base type in the low bits and flags above. The
//! numbers move between kernels (7.2 has an `ARG_SCALAR` in the middle), so
//! none is written here: the caller fills an [`ArgTypeTable`] from the kernel
//! it runs on. A base type or a flag that is not in the table is refused.

use crate::pure::graph::Part;
use crate::pure::kernel_type::KernelType;
use crate::pure::objects::{Kind, Step};

/// The running kernel's numbers of `enum bpf_arg_type` and `enum
/// bpf_type_flag`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct ArgTypeTable {
    /// Bits of the base type: `BPF_BASE_TYPE_MASK`.
    pub base_mask: u32,
    pub dontcare: u32,
    pub const_map_ptr: u32,
    pub map_key: u32,
    pub map_value: u32,
    pub mem: u32,
    pub const_size: u32,
    pub const_size_or_zero: u32,
    pub ctx: u32,
    pub anything: u32,
    /// `ARG_SCALAR`; on kernels without it, the same as `anything`.
    pub scalar: u32,
    pub spin_lock: u32,
    pub sock_common: u32,
    pub ringbuf_mem: u32,
    pub const_alloc_size_or_zero: u32,
    pub btf_id_sock_common: u32,
    pub btf_id: u32,
    pub const_str: u32,
    pub timer: u32,
    pub func: u32,
    pub stack: u32,
    pub dynptr: u32,
    pub maybe_null: u32,
    pub mem_rdonly: u32,
    pub mem_uninit: u32,
    pub mem_write: u32,
    pub mem_fixed_size: u32,
    pub mem_aligned: u32,
    pub obj_release: u32,
    pub dynptr_local: u32,
    pub dynptr_ringbuf: u32,
}

/// What an argument is, and so how it is audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgKind {
    /// Not looked at by the helper.
    Unused,
    /// A number.
    Scalar,
    /// The context: replaced by the real one.
    Ctx,
    /// A map: must be one that this program uses.
    Map,
    /// `key_size` bytes that are read; the map is an earlier argument.
    MapKey,
    /// `value_size` bytes; the map is an earlier argument.
    MapValue {
        /// The helper writes them.
        write: bool,
    },
    /// As many bytes as the next argument says.
    Mem {
        /// The helper writes them.
        write: bool,
        /// 0 is a valid address.
        nullable: bool,
    },
    /// A number of bytes known from the prototype.
    MemFixed {
        /// How many.
        size: u32,
        /// The helper writes them.
        write: bool,
    },
    /// The length of the argument before.
    Size {
        /// 0 is a valid length.
        zero_ok: bool,
    },
    /// The length of what is to be allocated.
    AllocSize,
    /// A `struct bpf_spin_lock` inside a map value.
    SpinLock,
    /// A `struct bpf_res_spin_lock` inside one. No prototype of a helper has one.
    ResSpinLock,
    /// The start of a ring-buffer record that this run holds.
    RingbufRecord,
    /// A socket that this run holds.
    Socket,
    /// An object of the kernel's that this run has been lent, of the type that
    /// the prototype names.
    KernelObject,
    /// The same, of this type.
    KernelObjectOf(KernelType),
    /// An object of the kernel's to which this run has a reference.
    Reference(KernelType),
    /// Where per-CPU memory is that this run knows of.
    PerCpuMemory,
    /// A string that ends with a NUL, in a frozen map.
    ConstStr,
    /// A string that the program's own instructions read: nothing for an audit. No
    /// prototype of a helper has one.
    OwnStr,
    /// A `struct bpf_timer` inside a map value.
    Timer,
    /// A `struct bpf_wq` inside a map value. No prototype of a helper has one.
    Workqueue,
    /// The address of a function of the program, to be called back.
    Callback,
    /// What the helper hands to the callback without a look.
    Opaque,
    /// As many bytes as the next argument says, which may be filled, or none
    /// at 0.
    Buffer,
    /// As many words of 8 bytes as the next argument says, which are read, or
    /// none at 0.
    Words,
    /// An object of the kernel's that the program knows by its address.
    Object(Step),
    /// Of a call on objects that the program has allocated.
    Graph(Part),
}

impl ArgKind {
    /// Whether the argument is an address that the helper reads or writes and
    /// the audit must check.
    pub const fn is_pointer(self) -> bool {
        !matches!(
            self,
            Self::Unused | Self::Scalar | Self::Size { .. } | Self::AllocSize | Self::Opaque
        )
    }
}

/// An argument of which it is not known how to audit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownArg {
    /// Its `enum bpf_arg_type`, flags included.
    pub arg_type: u32,
}

impl ArgTypeTable {
    /// What an argument of type `arg_type` is. `fixed_size` is the
    /// prototype's `arg_size` in bytes; it is looked at only with
    /// `MEM_FIXED_SIZE`.
    pub const fn arg_kind(&self, arg_type: u32, fixed_size: u32) -> Result<ArgKind, UnknownArg> {
        let unknown = Err(UnknownArg { arg_type });
        let base = arg_type & self.base_mask;
        let flags = arg_type & !self.base_mask;
        if base == self.dynptr {
            let of = flags & (self.dynptr_local | self.dynptr_ringbuf);
            let kind = if of == self.dynptr_local {
                Kind::Memory
            } else {
                Kind::Record
            };
            let begins = self.mem_uninit | self.mem_write;
            let step = match flags & !of {
                more if of == 0 && more & !self.mem_rdonly == 0 => Step::Dynptr,
                more if of.is_power_of_two() && more == begins => Step::New(kind),
                more if of == self.dynptr_ringbuf && more == self.obj_release => Step::End(kind),
                _ => return unknown,
            };
            return Ok(ArgKind::Object(step));
        }

        // Flags that say something of how memory is used. MEM_UNINIT without
        // MEM_WRITE still means that the helper fills the memory.
        let known = self.maybe_null
            | self.mem_rdonly
            | self.mem_uninit
            | self.mem_write
            | self.mem_fixed_size
            | self.mem_aligned
            | self.obj_release;
        if flags & !known != 0 {
            return unknown;
        }
        let write = flags & (self.mem_write | self.mem_uninit) != 0;
        let nullable = flags & self.maybe_null != 0;
        let release = flags & self.obj_release != 0;
        let fixed = flags & self.mem_fixed_size != 0;
        if write && flags & self.mem_rdonly != 0 {
            return unknown;
        }

        if base == self.mem {
            if release {
                return unknown;
            }
            return if !fixed {
                Ok(ArgKind::Mem { write, nullable })
            } else if fixed_size != 0 && !nullable {
                Ok(ArgKind::MemFixed {
                    size: fixed_size,
                    write,
                })
            } else {
                unknown
            };
        }
        if base == self.stack && !release && !fixed && !write {
            return Ok(ArgKind::Opaque);
        }
        if base == self.map_value {
            return if nullable || release || fixed {
                unknown
            } else {
                Ok(ArgKind::MapValue { write })
            };
        }

        // Nothing below is known with a memory flag.
        if flags & !self.obj_release != 0 {
            return unknown;
        }
        if release {
            return if base == self.ringbuf_mem {
                Ok(ArgKind::RingbufRecord)
            } else if base == self.btf_id_sock_common {
                Ok(ArgKind::Socket)
            } else {
                unknown
            };
        }
        if base == self.dontcare {
            Ok(ArgKind::Unused)
        } else if base == self.anything || base == self.scalar {
            Ok(ArgKind::Scalar)
        } else if base == self.ctx {
            Ok(ArgKind::Ctx)
        } else if base == self.const_map_ptr {
            Ok(ArgKind::Map)
        } else if base == self.map_key {
            Ok(ArgKind::MapKey)
        } else if base == self.const_size {
            Ok(ArgKind::Size { zero_ok: false })
        } else if base == self.const_size_or_zero {
            Ok(ArgKind::Size { zero_ok: true })
        } else if base == self.const_alloc_size_or_zero {
            Ok(ArgKind::AllocSize)
        } else if base == self.spin_lock {
            Ok(ArgKind::SpinLock)
        } else if base == self.ringbuf_mem {
            Ok(ArgKind::RingbufRecord)
        } else if base == self.btf_id_sock_common || base == self.sock_common {
            Ok(ArgKind::Socket)
        } else if base == self.btf_id {
            Ok(ArgKind::KernelObject)
        } else if base == self.const_str {
            Ok(ArgKind::ConstStr)
        } else if base == self.timer {
            Ok(ArgKind::Timer)
        } else if base == self.func {
            Ok(ArgKind::Callback)
        } else {
            unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux 7.2.
    const TABLE: ArgTypeTable = ArgTypeTable {
        base_mask: 0xff,
        dontcare: 0,
        const_map_ptr: 1,
        map_key: 2,
        map_value: 3,
        mem: 4,
        const_size: 6,
        const_size_or_zero: 7,
        ctx: 8,
        anything: 9,
        scalar: 10,
        spin_lock: 11,
        sock_common: 12,
        ringbuf_mem: 15,
        const_alloc_size_or_zero: 16,
        btf_id_sock_common: 17,
        btf_id: 14,
        const_str: 21,
        timer: 22,
        func: 18,
        stack: 19,
        dynptr: 23,
        maybe_null: 1 << 8,
        mem_rdonly: 1 << 9,
        mem_uninit: 1 << 15,
        mem_write: 1 << 26,
        mem_fixed_size: 1 << 18,
        mem_aligned: 1 << 25,
        obj_release: 1 << 13,
        dynptr_local: 1 << 16,
        dynptr_ringbuf: 1 << 17,
    };

    #[test]
    fn prototypes_of_the_kernel_become_kinds() {
        let kind = |arg_type| TABLE.arg_kind(arg_type, 0);
        // bpf_csum_diff: ARG_PTR_TO_MEM | PTR_MAYBE_NULL | MEM_RDONLY
        assert_eq!(
            kind(4 | TABLE.maybe_null | TABLE.mem_rdonly),
            Ok(ArgKind::Mem {
                write: false,
                nullable: true
            })
        );
        // bpf_xdp_load_bytes: ARG_PTR_TO_UNINIT_MEM
        assert_eq!(
            kind(4 | TABLE.mem_uninit | TABLE.mem_write),
            Ok(ArgKind::Mem {
                write: true,
                nullable: false
            })
        );
        // bpf_xdp_check_mtu: ARG_PTR_TO_FIXED_SIZE_MEM | MEM_WRITE | MEM_ALIGNED
        assert_eq!(
            TABLE.arg_kind(
                4 | TABLE.mem_fixed_size | TABLE.mem_write | TABLE.mem_aligned,
                4
            ),
            Ok(ArgKind::MemFixed {
                size: 4,
                write: true
            })
        );
        // bpf_map_pop_elem: ARG_PTR_TO_MAP_VALUE | MEM_UNINIT | MEM_WRITE
        assert_eq!(
            kind(3 | TABLE.mem_uninit | TABLE.mem_write),
            Ok(ArgKind::MapValue { write: true })
        );
        // bpf_sk_release: ARG_PTR_TO_BTF_ID_SOCK_COMMON | OBJ_RELEASE
        assert_eq!(kind(17 | TABLE.obj_release), Ok(ArgKind::Socket));
        assert_eq!(kind(15 | TABLE.obj_release), Ok(ArgKind::RingbufRecord));
        // bpf_find_vma: ARG_PTR_TO_BTF_ID
        assert_eq!(kind(14), Ok(ArgKind::KernelObject));
        assert_eq!(kind(9), Ok(ArgKind::Scalar));
        assert_eq!(kind(7), Ok(ArgKind::Size { zero_ok: true }));
    }

    #[test]
    fn an_unknown_base_or_flag_is_refused() {
        let unknown = |arg_type| TABLE.arg_kind(arg_type, 8) == Err(UnknownArg { arg_type });
        for base in [5, 13, 20, 24, 25, 0xff] {
            assert!(unknown(base), "base {base}");
        }
        let (local, ringbuf) = (TABLE.dynptr_local, TABLE.dynptr_ringbuf);
        let begins = TABLE.mem_uninit | TABLE.mem_write;
        for (flags, step) in [
            (0, Some(Step::Dynptr)),
            (local | begins, Some(Step::New(Kind::Memory))),
            (ringbuf | begins, Some(Step::New(Kind::Record))),
            (ringbuf | TABLE.obj_release, Some(Step::End(Kind::Record))),
            (local | TABLE.obj_release, None),
            (local | ringbuf | begins, None),
            (begins, None),
            (TABLE.obj_release, None),
            (local, None),
            (TABLE.maybe_null, None),
        ] {
            let kind = TABLE.arg_kind(23 | flags, 0).ok();
            assert_eq!(kind, step.map(ArgKind::Object), "{flags:x}");
        }
        assert_eq!(TABLE.arg_kind(18, 8), Ok(ArgKind::Callback));
        assert_eq!(TABLE.arg_kind(22, 8), Ok(ArgKind::Timer));
        assert_eq!(
            TABLE.arg_kind(19 | TABLE.maybe_null, 8),
            Ok(ArgKind::Opaque)
        );
        assert!(unknown(18 | TABLE.maybe_null), "a function or null");
        // PTR_UNTRUSTED, MEM_RCU, DYNPTR_TYPE_LOCAL on a plain memory argument.
        for flag in [1 << 14, 1 << 16, 1 << 21, 1 << 31] {
            assert!(unknown(4 | flag), "flag {flag:x}");
        }
        assert!(unknown(8 | TABLE.maybe_null), "context or null");
        assert!(unknown(4 | TABLE.obj_release), "memory that is released");
        assert!(
            unknown(4 | TABLE.mem_rdonly | TABLE.mem_write),
            "read-only and written"
        );
        assert_eq!(
            TABLE.arg_kind(4 | TABLE.mem_fixed_size, 0),
            Err(UnknownArg {
                arg_type: 4 | TABLE.mem_fixed_size
            }),
            "a fixed size of nothing"
        );
    }
}
