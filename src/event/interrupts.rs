// SPDX-License-Identifier: GPL-2.0
//! Interrupts that would be lost: the CPU had accepted one, but its frame could
//! not be used. Its vector is still in service, and the APIC would deliver
//! nothing of that priority again (DESIGN 9.2).

use crate::bindings as b;

/// Acknowledges every vector in service on this CPU, highest first, and sends
/// it again. Only for a run that was entered with interrupts on: then no
/// interrupt can have been in service before it.
///
/// Interrupts are off; PKRS is the kernel's.
pub(crate) fn recover(cpu: &mut b::bailey_cpu) {
    for word in (1..8).rev() {
        // SAFETY: reads the local APIC's in-service register.
        let mut bits = unsafe { b::bailey_apic_isr(word) };
        while bits != 0 {
            let bit = 31 - bits.leading_zeros();
            bits &= !(1 << bit);
            // SAFETY: the highest vector in service is acknowledged and sent to this CPU again,
            // to be delivered when interrupts are on.
            unsafe {
                b::bailey_apic_eoi();
                b::bailey_apic_self(word * 32 + bit);
            }
            cpu.recovered += 1;
        }
    }
}

/// Sends this CPU an NMI in the place of one whose handler could not be called. It
/// comes when the event under way has ended, since NMIs are blocked until then.
pub(crate) fn nmi_again(cpu: &mut b::bailey_cpu) {
    // SAFETY: interrupts are off, and the kernel was not in the middle of sending one: confined
    // code was interrupted.
    unsafe { b::bailey_apic_nmi() };
    cpu.recovered += 1;
}
