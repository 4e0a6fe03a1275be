// SPDX-License-Identifier: GPL-2.0
//! Keys on the CPU's event structures: what it reads by itself to deliver an
//! event while confined is IDT, GDT and TSS, so these pages of the CPU entry
//! area get the read-only key (DESIGN 9.2).

use super::cpus;
use crate::bindings as b;
use crate::pure::pkrs::Key;
use crate::pure::region::PAGE;
use kernel::prelude::*;

/// The tagged pages; dropping it takes the tags off.
pub(crate) struct Tables(());

fn for_each(mut page: impl FnMut(u64) -> Result) -> Result {
    // SAFETY: SIDT.
    page(unsafe { b::bailey_idt_base() })?;
    for cpu in cpus::possible() {
        let mut pages = 0;
        // SAFETY: the CPU entry area exists for every possible CPU.
        let (gdt, tss) = unsafe { (b::bailey_cea_gdt(cpu), b::bailey_cea_tss(cpu, &mut pages)) };
        page(gdt as u64)?;
        for n in 0..u64::from(pages) {
            page(tss as u64 + n * PAGE)?;
        }
    }
    Ok(())
}

fn set(addr: u64, key: Key) -> Result {
    // SAFETY: `addr` is a page of the CPU entry area; the key's bits are ignored until CR4.PKS
    // is set, and the only CPU state that heeds them is a confined one, of which there is none.
    let err = unsafe { b::bailey_page_set_key(addr as usize, u32::from(key.number())) };
    if err != 0 {
        pr_err!(
            "cannot load: no page-table entry to tag at {:#x} ({})\n",
            addr,
            err
        );
        return Err(Error::from_errno(err));
    }
    Ok(())
}

impl Tables {
    /// Tags every possible CPU's pages and flushes them from every TLB.
    pub(crate) fn tag() -> Result<Self> {
        let tables = Self(());
        for_each(|addr| set(addr, Key::EVENTS))?;
        // SAFETY: process context, interrupts on.
        unsafe { b::bailey_cpu_flush_global() };
        Ok(tables)
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        let _ = for_each(|addr| set(addr, Key::KERNEL));
        // SAFETY: process context, interrupts on.
        unsafe { b::bailey_cpu_flush_global() };
    }
}
