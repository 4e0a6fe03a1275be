// SPDX-License-Identifier: GPL-2.0
//! The event stubs and the IDT.
//!
//! The stubs are made once, from the template in helpers/event.S. They stand
//! in the IDT only while a domain exists, so a machine without isolated
//! programs pays nothing at all.

use crate::bindings as b;
use crate::domain;
use crate::hw::user_tree::UserText;
use crate::pure::region::PAGE;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::prelude::*;

/// Entries of the IDT.
const VECTORS: usize = 256;
/// Bytes of a gate descriptor (SDM volume 3, figure 7-8).
const GATE: u64 = 16;
/// Bytes from one stub to the next.
pub(crate) const STRIDE: u64 = 64;

/// First byte of the stubs, for the check of saved instruction pointers.
static BASE: AtomicU64 = AtomicU64::new(0);

/// Offsets into the template: bailey_event_offsets in helpers/event.S.
#[derive(Clone, Copy)]
struct Template {
    len: usize,
    pushed: usize,
    shift: usize,
    region: usize,
    kernel: usize,
    vector: usize,
    entry: usize,
    pushed_rbp: usize,
}

impl Template {
    fn read() -> Self {
        // SAFETY: constant data of this module.
        let o = unsafe { b::bailey_event_offsets }.map(|offset| offset as usize);
        let [len, pushed, shift, region, kernel, vector, entry, pushed_rbp] = o;
        Self {
            len,
            pushed,
            shift,
            region,
            kernel,
            vector,
            entry,
            pushed_rbp,
        }
    }
}

/// The stubs' memory and how many domains want them in the IDT.
struct Stubs {
    /// As the pack allocator gave it; the stubs begin at its first whole page.
    pack: *mut c_void,
    text: u64,
    user: Option<UserText>,
    gates: *mut u64,
    /// The IDT's own words, by vector; 0 where no gate is present.
    original: [u64; VECTORS],
    ours: [u64; VECTORS],
    holders: u32,
}

// SAFETY: both pointers are owned and used under the mutex.
unsafe impl Send for Stubs {}

kernel::sync::global_lock! {
    // SAFETY: initialized by `Owner::new`, before the first domain.
    unsafe(uninit) static STUBS: Mutex<Stubs> = Stubs {
        pack: ptr::null_mut(),
        text: 0,
        user: None,
        gates: ptr::null_mut(),
        original: [0; VECTORS],
        ours: [0; VECTORS],
        holders: 0,
    };
}

/// Bytes of all stubs: whole pages, for nothing else may be seen from user mode.
const TEXT: usize = VECTORS * STRIDE as usize;
/// Bytes of a piece of a pack that holds as many whole pages, wherever it lies.
const PACK: u32 = TEXT as u32 + PAGE as u32;

/// Fills unused executable memory with int3.
///
/// # Safety
///
/// `area` is valid for writes of `len` bytes.
pub(crate) unsafe extern "C" fn fill_int3(area: *mut c_void, len: c_uint) {
    // SAFETY: as promised by the caller.
    unsafe { ptr::write_bytes(area.cast::<u8>(), 0xcc, len as usize) };
}

/// The distance of a near jump whose four operand bytes are at `at`.
pub(crate) fn rel32(at: u64, target: u64) -> Result<[u8; 4]> {
    let distance = target.wrapping_sub(at.wrapping_add(4)) as i64;
    Ok(i32::try_from(distance).map_err(|_| ERANGE)?.to_le_bytes())
}

/// The handler of a gate descriptor's two words.
fn handler(low: u64, high: u64) -> u64 {
    (low & 0xffff) | (low >> 48 << 16) | (high << 32)
}

/// The low word of a gate with another handler; the rest stays: selector, IST,
/// type, privilege.
fn with_handler(low: u64, handler: u64) -> u64 {
    (low & 0x0000_ffff_ffff_0000) | (handler & 0xffff) | ((handler >> 16 & 0xffff) << 48)
}

/// The module's ownership of the stubs.
pub(crate) struct Owner(());

impl Owner {
    /// Makes the stubs. Nothing is in the IDT yet.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: called once, from the module's init.
        unsafe { STUBS.init() };
        let owner = Self(());
        let mut stubs = STUBS.lock();
        // SAFETY: process context; fill_int3 is what the allocator wants.
        stubs.pack = unsafe { b::bailey_k_bpf_prog_pack_alloc(PACK, Some(fill_int3), false) };
        if stubs.pack.is_null() {
            return Err(ENOMEM);
        }
        stubs.text = (stubs.pack as u64).next_multiple_of(PAGE);
        // SAFETY: SIDT; the IDT is one page, mapped read-only by a 4 KiB entry.
        stubs.gates = unsafe { b::bailey_page_alias(b::bailey_idt_base() as usize) }.cast();
        if stubs.gates.is_null() {
            return Err(ENOMEM);
        }
        make(&mut stubs)?;
        // SAFETY: whole pages of ours, given back after the `UserText`.
        stubs.user = unsafe { UserText::map(stubs.text, TEXT) }?;
        BASE.store(stubs.text, Ordering::Release);
        // SAFETY: words of event.S; no stub is in the IDT yet.
        unsafe { (b::bailey_event_text, b::bailey_event_text_size) = (stubs.text, TEXT as u64) };
        let push = Template::read().pushed_rbp as u64 - 1;
        crate::breach::show_nmi_stub(stubs.text + 2 * STRIDE + push);
        Ok(owner)
    }
}

fn make(stubs: &mut Stubs) -> Result {
    let template = Template::read();
    let layout = domain::layout()?;
    // SAFETY: reads a constant of the running kernel.
    let shift = unsafe { b::bailey_pgdir_shift() } as u8;
    let region = u32::try_from(layout.base() >> shift).map_err(|_| ERANGE)?;
    if template.len > STRIDE as usize {
        return Err(EINVAL);
    }
    for vector in 0..VECTORS {
        // SAFETY: the alias maps the whole IDT, 256 gates of 16 bytes.
        let (low, high) = unsafe {
            let gate = stubs.gates.byte_add(vector * GATE as usize);
            (gate.read_volatile(), gate.add(1).read_volatile())
        };
        // Bit 47: present.
        if low >> 47 & 1 == 0 {
            continue;
        }
        let kernel = handler(low, high);
        let at = stubs.text + vector as u64 * STRIDE;
        if at >> 32 != kernel >> 32 {
            pr_err!("cannot load: event stubs and kernel text do not share their upper half\n");
            return Err(ERANGE);
        }
        let mut code = [0xccu8; STRIDE as usize];
        // SAFETY: the template is `template.len` bytes, which fit.
        unsafe {
            ptr::copy_nonoverlapping(
                (&raw const b::bailey_event_template).cast::<u8>(),
                code.as_mut_ptr(),
                template.len,
            )
        };
        let mut put = |offset: usize, bytes: &[u8]| -> Result {
            code.get_mut(offset..offset + bytes.len())
                .ok_or(EINVAL)?
                .copy_from_slice(bytes);
            Ok(())
        };
        put(template.shift, &[shift])?;
        put(template.region, &region.to_le_bytes())?;
        put(
            template.kernel,
            &rel32(at + template.kernel as u64, kernel)?,
        )?;
        put(template.vector, &(vector as u32).to_le_bytes())?;
        put(
            template.entry,
            &rel32(
                at + template.entry as u64,
                b::bailey_event_entry as *const () as u64,
            )?,
        )?;
        // SAFETY: `at` is memory of ours from the pack allocator, in use by nobody yet.
        let done = unsafe {
            b::bailey_k_text_poke_copy(at as *mut c_void, code.as_ptr().cast(), code.len())
        };
        if done.is_null() {
            return Err(EFAULT);
        }
        // SAFETY: written before any stub is in the IDT.
        unsafe { b::bailey_event_handlers[vector] = kernel };
        stubs.original[vector] = low;
        stubs.ours[vector] = with_handler(low, at);
    }
    Ok(())
}

/// Runs on one CPU while the others spin with interrupts off.
///
/// # Safety
///
/// `words` is a pair of the gates' alias and an array of `VECTORS` words.
unsafe extern "C" fn write_gates(words: *mut c_void) -> c_int {
    // SAFETY: as promised by the caller.
    let (gates, words) = unsafe { *words.cast::<(*mut u64, *const u64)>() };
    for vector in 0..VECTORS {
        // SAFETY: both arrays have VECTORS entries. An NMI sees the old gate or the new one: the
        // word that differs is one aligned store.
        unsafe {
            let word = *words.add(vector);
            if word != 0 {
                gates.byte_add(vector * GATE as usize).write_volatile(word);
            }
        }
    }
    0
}

/// Nothing: to know that every CPU has left what it was in.
///
/// # Safety
///
/// None.
unsafe extern "C" fn nothing(_: *mut c_void) -> c_int {
    0
}

/// Writes `words` into the IDT.
fn write(gates: *mut u64, words: *const u64) {
    let mut pair = (gates, words);
    // SAFETY: the pair lives until stop_machine returns.
    unsafe {
        b::bailey_stop_machine(Some(write_gates), (&raw mut pair).cast());
        // Once more: an NMI that was inside a stub has left it by now.
        b::bailey_stop_machine(Some(nothing), ptr::null_mut());
    }
}

/// While it lives, the stubs are in the IDT.
pub(crate) struct Hold(());

/// Puts the stubs into the IDT if they are not there.
pub(crate) fn hold() -> Result<Hold> {
    let mut stubs = STUBS.lock();
    if stubs.holders == 0 {
        write(stubs.gates, stubs.ours.as_ptr());
    }
    stubs.holders += 1;
    Ok(Hold(()))
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut stubs = STUBS.lock();
        stubs.holders -= 1;
        if stubs.holders == 0 {
            write(stubs.gates, stubs.original.as_ptr());
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut stubs = STUBS.lock();
        if !stubs.gates.is_null() {
            // SAFETY: as returned by bailey_page_alias.
            unsafe { b::bailey_page_unalias(stubs.gates.cast()) };
        }
        stubs.user = None;
        if !stubs.pack.is_null() {
            // SAFETY: every holder has gone, so no IDT entry leads here.
            unsafe { b::bailey_k_bpf_prog_pack_free(stubs.pack, PACK) };
        }
    }
}

/// How many registers a stub had pushed before the instruction at `rip`; `None` if
/// `rip` is in no stub.
pub(crate) fn pushed(rip: u64) -> Option<u64> {
    let at = rip.checked_sub(BASE.load(Ordering::Acquire))?;
    (at < TEXT as u64).then(|| {
        let (at, template) = ((at % STRIDE) as usize, Template::read());
        u64::from(at >= template.pushed) + u64::from(at >= template.pushed_rbp)
    })
}
