// SPDX-License-Identifier: GPL-2.0
//! What the test-only build can be asked for. In the shipped build every answer
//! is a constant, and the compiler leaves nothing of the question.

#[cfg(bailey_breach)]
use crate::bindings as b;
#[cfg(bailey_breach)]
use crate::pure::pkrs::{Key, AD, WD};
use kernel::prelude::*;
#[cfg(bailey_breach)]
use kernel::time::{delay::fsleep, Delta};

/// Whether programs are confined: always, but in the control of the breach
/// tests, which shows that they can fail.
#[inline]
pub(crate) fn confines() -> bool {
    #[cfg(bailey_breach)]
    // SAFETY: an int that is set when the module is loaded.
    return unsafe { (&raw const b::bailey_test_confine).read() } != 0;
    #[cfg(not(bailey_breach))]
    true
}

/// PKRS for a domain's programs: what it is to be, or, without confinement, a
/// value that the gates can tell from the kernel's and that closes nothing but
/// the last key.
#[inline]
pub(crate) fn pkrs(confined: u32) -> u32 {
    #[cfg(bailey_breach)]
    if !confines() {
        return AD << 30;
    }
    #[cfg(bailey_breach)]
    if without(b::BAILEY_WITHOUT_SLOTS) {
        return confined & !(WD << (2 * Key::EVENTS.number()));
    }
    confined
}

/// Says where the stub of NMIs has an instruction that only confined CPUs come to.
#[inline]
#[cfg_attr(not(bailey_breach), allow(unused_variables))]
pub(crate) fn show_nmi_stub(address: u64) {
    #[cfg(bailey_breach)]
    // SAFETY: written before user space can read the parameter, a word.
    unsafe {
        (&raw mut b::bailey_test_nmi_stub).write(address as usize)
    };
}

/// Whether runs get stacks without room for events.
#[inline]
pub(crate) fn no_room() -> bool {
    #[cfg(bailey_breach)]
    // SAFETY: an int that is read whole.
    return unsafe { (&raw const b::bailey_test_no_room).read_volatile() } != 0;
    #[cfg(not(bailey_breach))]
    false
}

/// Whether global functions are called through gates alone.
#[inline]
pub(crate) fn gated() -> bool {
    #[cfg(bailey_breach)]
    // SAFETY: an int that is read whole.
    return unsafe { (&raw const b::bailey_test_gated).read_volatile() } != 0;
    #[cfg(not(bailey_breach))]
    false
}

/// The last step of the module's init fails, some time after all others.
pub(crate) fn late_failure() -> Result {
    #[cfg(bailey_breach)]
    {
        // SAFETY: an int that is read whole.
        let ms = unsafe { (&raw const b::bailey_test_late_failure).read_volatile() };
        if ms > 0 {
            fsleep(Delta::from_millis(ms.into()));
            return Err(EIO);
        }
    }
    Ok(())
}

/// Whether no domain gets another key by itself.
#[inline]
pub(crate) fn holds() -> bool {
    #[cfg(bailey_breach)]
    // SAFETY: an int that is read whole.
    return unsafe { (&raw const b::bailey_test_hold).read_volatile() } != 0;
    #[cfg(not(bailey_breach))]
    false
}

/// Whether every new domain gets the key for sharing.
#[inline]
pub(crate) fn shares() -> bool {
    #[cfg(bailey_breach)]
    // SAFETY: an int that is read whole.
    return unsafe { (&raw const b::bailey_test_share).read_volatile() } != 0;
    #[cfg(not(bailey_breach))]
    false
}

/// Whether one of these defences (`BAILEY_WITHOUT_*`) is left out, to see the
/// attack on it win.
#[inline]
#[cfg_attr(not(bailey_breach), allow(unused_variables))]
pub(crate) fn without(defences: u32) -> bool {
    #[cfg(bailey_breach)]
    // SAFETY: a word that is read whole.
    return unsafe { (&raw const b::bailey_test_undefended).read_volatile() } & defences != 0;
    #[cfg(not(bailey_breach))]
    false
}
