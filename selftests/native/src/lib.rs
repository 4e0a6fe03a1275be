// SPDX-License-Identifier: GPL-2.0
//! The gates in user space.
//!
//! helpers/gate.S is assembled as it is. What only the kernel may execute is left out:
//! the writes of the key register and of the interrupt flag (`kernel/asm/asm.h`). A
//! [`Program`] is what the JIT makes of an isolated XDP program, with stubs and records as the
//! module makes them; a [`Plain`] is what it makes of the same one on the stock kernel.
//!
//! One thread at a time: there is one CPU's worth of words, and [`Cpu`] is who has it. No
//! signal must be handled meanwhile, since the gates' stack pointer is at times where nothing
//! may be pushed.

mod records;
mod text;

pub use records::{Cpu, Failure, Program};
pub use text::{Call, Plain, Text};

/// The template of stubs, as the gates have it.
pub fn template() -> &'static [u8] {
    records::template()
}
