// SPDX-License-Identifier: GPL-2.0
//! bindgen's output over the headers of the kernel being built for, and over
//! helpers/*.h. Written by Kbuild; its lints are its own.
#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    dead_code,
    improper_ctypes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
// A lint that older compilers do not know.
#![allow(unknown_lints, unnecessary_transmutes)]

use kernel::ffi;
use pin_init::MaybeZeroable;

// rust/kernel of the tree maps these the same way (rust/bindings/lib.rs).
type __kernel_size_t = usize;
type __kernel_ssize_t = isize;
type __kernel_ptrdiff_t = isize;

include!(concat!(env!("BAILEY_OBJ"), "/src/bindings_generated.rs"));
