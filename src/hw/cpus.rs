// SPDX-License-Identifier: GPL-2.0
//! The per-CPU words of the gates: resume slots, the kernel's event stacks,
//! and each CPU's coming and going.

use crate::bindings as b;
use crate::pure::pkrs::Key;
use crate::run::callers::Callers;
use crate::run::level::Levels;
use core::ptr;
use kernel::prelude::*;

/// What one CPU needs before it can run confined; freed with the module.
struct Words {
    cpu: u32,
    slots: *mut c_void,
    page: *mut c_void,
    levels: KVBox<Levels>,
    callers: KVBox<Callers>,
}

/// Every possible CPU's words. Dropped after the last program and the hotplug
/// callbacks have gone.
pub(crate) struct Cpus {
    words: KVec<Words>,
    hotplug: bool,
}

// SAFETY: the pointers are owned pages, used by one thread at a time: init and drop of the module.
unsafe impl Send for Cpus {}
// SAFETY: a shared `Cpus` gives no access to anything.
unsafe impl Sync for Cpus {}

/// CPU numbers are below this.
pub(crate) fn count() -> u32 {
    // SAFETY: reads nr_cpu_ids.
    unsafe { b::bailey_cpu_possible() }
}

/// Whether CPU `cpu` may ever come.
pub(crate) fn is_possible(cpu: u32) -> bool {
    // SAFETY: reads the mask of possible CPUs, which never changes, within its length.
    cpu < count() && unsafe { b::bailey_cpu_is_possible(cpu) } != 0
}

/// The numbers of the CPUs that may ever come.
pub(crate) fn possible() -> impl Iterator<Item = u32> {
    (0..count()).filter(|&cpu| is_possible(cpu))
}

/// The words of CPU `cpu`.
pub(crate) fn words(cpu: u32) -> *mut b::bailey_cpu {
    // SAFETY: per-CPU memory of this module exists for every possible CPU.
    unsafe { b::bailey_cpu_of(cpu) }
}

impl Cpus {
    /// Gives every possible CPU its slots and switches keys on, now and for
    /// CPUs that come later.
    pub(crate) fn new() -> Result<Self> {
        let mut cpus = Self {
            words: KVec::new(),
            hotplug: false,
        };
        for cpu in possible() {
            let mut page = ptr::null_mut();
            // SAFETY: returns a fresh page's mapping or null; `page` is valid for the write.
            let slots = unsafe { b::bailey_keyed_page(u32::from(Key::EVENTS.number()), &mut page) };
            if slots.is_null() {
                return Err(ENOMEM);
            }
            let stacks = Levels::new().and_then(|levels| Ok((levels, Callers::new()?)));
            let (levels, callers) = match stacks {
                Ok(stacks) => stacks,
                Err(err) => {
                    // SAFETY: as returned by bailey_keyed_page above, used by nobody.
                    unsafe { b::bailey_keyed_page_free(slots, page) };
                    return Err(err);
                }
            };
            let words = words(cpu);
            // SAFETY: no program is isolated yet, so no gate uses these words.
            unsafe {
                (*words).index = count();
                (*words).slot_base = slots as u64;
                // Enter goes one slot up before it writes; level 1 is the first.
                (*words).slot = slots as u64;
                (*words).levels = (&raw const *levels) as u64;
                (*words).callers = (&raw const *callers) as u64;
                (*words).tss_ist = b::bailey_cpu_tss_ist(cpu);
                b::bailey_cpu_read_ist(cpu, (&raw mut (*words).ist).cast());
            }
            cpus.words.push(
                Words {
                    cpu,
                    slots,
                    page,
                    levels,
                    callers,
                },
                GFP_KERNEL,
            )?;
        }
        // SAFETY: installs bailey_cpu_online below, which is ready now.
        let err = unsafe { b::bailey_cpuhp_install() };
        if err != 0 {
            return Err(Error::from_errno(err));
        }
        cpus.hotplug = true;
        Ok(cpus)
    }
}

impl Drop for Cpus {
    fn drop(&mut self) {
        if self.hotplug {
            // SAFETY: installed in `new`.
            unsafe { b::bailey_cpuhp_remove() };
        }
        for words in &self.words {
            // SAFETY: programs are gone; the page came from bailey_keyed_page.
            unsafe { b::bailey_keyed_page_free(words.slots, words.page) };
            let _ = (words.cpu, &words.levels, &words.callers);
        }
    }
}

/// A CPU comes online: its event stacks may have been set up anew.
#[no_mangle]
extern "C" fn bailey_cpu_online(cpu: c_uint) -> c_int {
    // SAFETY: this CPU runs no program yet: keys are switched on after this.
    unsafe { b::bailey_cpu_read_ist(cpu, (&raw mut (*words(cpu)).ist).cast()) };
    0
}
