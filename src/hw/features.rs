// SPDX-License-Identifier: GPL-2.0
//! What the machine must have, and what it must not use.

use crate::bindings as b;
use kernel::prelude::*;

/// Refuses a machine that Bailey cannot confine programs on, and says why.
pub(crate) fn check() -> Result {
    // SAFETY: reads CPU features; no preconditions.
    let reason = match unsafe { b::bailey_cpu_check() } {
        b::bailey_cpu_refusal_BAILEY_CPU_OK => return Ok(()),
        b::bailey_cpu_refusal_BAILEY_CPU_NO_PKS => {
            "the CPU has no protection keys for supervisor pages (PKS, CPUID.7.0:ECX bit 31)"
        }
        b::bailey_cpu_refusal_BAILEY_CPU_NO_SMAP => {
            "the CPU has no SMAP: user pages would be open to confined programs"
        }
        b::bailey_cpu_refusal_BAILEY_CPU_FRED => {
            "FRED is on: it delivers events past the IDT (boot with fred=off)"
        }
        b::bailey_cpu_refusal_BAILEY_CPU_CALL_DEPTH => {
            "retbleed=stuff is on: JITed code would write per-CPU memory of the kernel"
        }
        _ => "the hypervisor owns what Bailey must own (Xen PV, SEV-ES or TDX)",
    };
    pr_err!("cannot load: {}\n", reason);
    Err(ENODEV)
}
