// SPDX-License-Identifier: GPL-2.0
//! Stubs: the few bytes of code that belong to one call site.
//!
//! All stubs of a program lie in one chunk of the kernel's BPF text packs,
//! within reach of a direct call from JITed code, each in a slot of its own so
//! that its target is unique. They are written once, when the addresses to go
//! back to are known, and never changed.

use super::Reason;
use crate::bindings as b;
use crate::pure::rewrite;
use core::ffi::c_void;
use core::slice;
use kernel::prelude::*;

/// Bytes from one stub to the next.
pub(super) const SLOT: usize = 32;

pub(super) const INT3: u8 = 0xcc;

// Holes of `bailey_stub_template` (helpers/gate.S).
const SITE_OFFSET: usize = 2;
const GATE_REL32: usize = 7;
pub(super) const OUT: usize = 11;
const BACK_REL32: usize = OUT + 6;
const LEN: usize = BACK_REL32 + 4;
const _: () = assert!(LEN <= SLOT);

/// `bpf_get_smp_processor_id()` without leaving confinement: the limit of the
/// segment in which the kernel keeps the CPU's number (`vdso_read_cpunode()`,
/// arch/x86/include/asm/segment.h). Not RDPID: while KVM runs a guest, its MSR
/// holds the guest's value until the CPU returns to user mode. Only r0 and
/// flags are written, as the verifier expects of this helper.
const PROCESSOR_ID: [u8; 14] = [
    0xb8, 0x7b, 0, 0, 0, // mov $__CPUNODE_SEG, %eax
    0x0f, 0x03, 0xc0, // lsl %eax, %eax
    0x25, 0xff, 0x0f, 0, 0,    // and $VDSO_CPUNODE_MASK, %eax
    0xe9, // jmp site
];

/// The count of a `may_goto` without leaving confinement: r12, which is taken down
/// to 1, where the program asks the kernel for the time. 0 is for the kernel to
/// set: the time is over. Run again from its start it counts once more, and that is
/// all. Only AX, r12 and flags are written.
const LOOP_COUNT: [u8; 13] = [
    0x41, 0x83, 0xfc, 0x02, // cmp $2, %r12d
    0xf5, // cmc
    0x41, 0x83, 0xdc, 0x00, // sbb $0, %r12d
    0x4d, 0x89, 0xe2, // mov %r12, %r10
    0xe9, // jmp site
];

/// What enter's way out depends on: whether the image looks at its context, which of the
/// registers it names that the kernel has values in, and the bytes of its stack.
pub(super) struct Enter {
    pub(super) ctx: bool,
    pub(super) names: u32,
    pub(super) depth: u64,
}

/// The longest of these.
pub(super) const ENTER_LEN: usize = 27;
const _: () = assert!(ENTER_LEN <= SLOT);

/// The registers that a function keeps for its caller, and how each is cleared.
const CLEARS: [(u32, &[u8]); 4] = [
    (b::BAILEY_NAMES_BX, &[0x31, 0xdb]),        // xor %ebx, %ebx
    (b::BAILEY_NAMES_R13, &[0x45, 0x31, 0xed]), // xor %r13d, %r13d
    (b::BAILEY_NAMES_R14, &[0x45, 0x31, 0xf6]), // xor %r14d, %r14d
    (b::BAILEY_NAMES_R15, &[0x45, 0x31, 0xff]), // xor %r15d, %r15d
];

impl Enter {
    /// Its code, up to the distance of the jump at its end, which goes into the program.
    fn code(&self) -> Result<KVec<u8>> {
        let mut code = KVec::with_capacity(ENTER_LEN, GFP_KERNEL)?;
        let mut put = |bytes: &[u8]| code.extend_from_slice(bytes, GFP_KERNEL);
        put(&[0x0f, 0x30])?; // wrmsr: confined from here
        if self.ctx {
            put(&[0x58])?; // pop %rax, from the slot
        }
        // The kernel's values are none of the program's business.
        for (_, clear) in CLEARS.iter().filter(|(name, _)| self.names & name != 0) {
            put(clear)?;
        }
        // lea -depth(%rbp), %rsp
        put(&[0x48, 0x8d, 0xa5])?;
        let depth = i32::try_from(self.depth).map_err(|_| ERANGE)?;
        put(&(-depth).to_le_bytes())?;
        put(&[0xfb, 0xe9])?; // sti; jmp body
        Ok(code)
    }
}

/// What a stub does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing but the way back of enter.
    Enter,
    /// Through the helper gate.
    Gate,
    /// Answers the CPU's number.
    ProcessorId,
    /// Answers the count of a loop.
    LoopCount,
}

/// Asserts that the template of the gates is the one known here.
pub(super) fn check_template() -> Result {
    // SAFETY: constants of gate.S.
    let (size, out) = unsafe { (b::bailey_stub_size, b::bailey_stub_out_offset) };
    if size as usize == LEN && out as usize == OUT {
        return Ok(());
    }
    pr_err!(
        "the stub template has {} bytes and its way out at {}\n",
        size,
        out
    );
    Err(EINVAL)
}

fn gate() -> u64 {
    b::bailey_helper_gate as *const () as u64
}

/// A chunk of text with one stub for each site of a program.
pub(super) struct Stubs {
    base: *mut c_void,
    count: usize,
}

// SAFETY: owned text; only `new`, `write` and `drop` touch it.
unsafe impl Send for Stubs {}
// SAFETY: shared references give out addresses alone.
unsafe impl Sync for Stubs {}

/// Fills what no stub covers with traps.
///
/// # Safety
///
/// `area` has `size` writable bytes.
pub(super) unsafe extern "C" fn trap(area: *mut c_void, size: c_uint) {
    // SAFETY: bpf_prog_pack_alloc() hands in `size` writable bytes.
    unsafe { core::ptr::write_bytes(area.cast::<u8>(), INT3, size as usize) };
}

impl Stubs {
    /// Room for `count` stubs.
    pub(super) fn new(count: usize) -> Result<Self, Reason> {
        if count > rewrite::MAX_SITES as usize + 1 {
            return Err(Reason::NoMemory);
        }
        // SAFETY: process context; `trap` fills what it is given.
        let base =
            unsafe { b::bailey_k_bpf_prog_pack_alloc((count * SLOT) as u32, Some(trap), false) };
        if base.is_null() {
            return Err(Reason::NoMemory);
        }
        Ok(Self { base, count })
    }

    /// Where the stub of site `number` begins.
    pub(super) fn address(&self, number: usize) -> u64 {
        self.base as u64 + (number * SLOT) as u64
    }

    /// Where the way out of the stub of site `number` begins.
    pub(super) fn out(&self, number: usize, kind: Kind) -> u64 {
        match kind {
            Kind::Enter => self.address(number),
            _ => self.address(number) + OUT as u64,
        }
    }

    /// The site whose stub begins at `address`.
    pub(super) fn site_of(&self, address: u64) -> Option<usize> {
        let offset = usize::try_from(address.checked_sub(self.base as u64)?).ok()?;
        let number = offset / SLOT;
        (offset % SLOT == 0 && number < self.count).then_some(number)
    }

    /// Writes the `count` stubs of an image whose first site is `first`, that of `enter`. `site`
    /// gives each one's kind and the address to go back to.
    pub(super) fn write(
        &self,
        first: usize,
        count: usize,
        enter: &Enter,
        mut site: impl FnMut(usize) -> (Kind, u64),
    ) -> Result {
        let mut text: KVVec<u8> = KVVec::from_elem(INT3, count * SLOT, GFP_KERNEL)?;
        let enter = enter.code()?;
        for (number, slot) in (first..).zip(text.chunks_exact_mut(SLOT)) {
            let (kind, back) = site(number);
            let at = self.address(number);
            let rel32 = |from: usize, to: u64| -> Result<[u8; 4]> {
                let next = at + from as u64 + 4;
                let distance = to.wrapping_sub(next) as i64;
                Ok(i32::try_from(distance).map_err(|_| ERANGE)?.to_le_bytes())
            };
            let answer: &[u8] = match kind {
                Kind::ProcessorId => &PROCESSOR_ID,
                Kind::LoopCount => &LOOP_COUNT,
                Kind::Enter => &enter,
                Kind::Gate => &[],
            };
            let len = answer.len();
            if len > 0 {
                slot[..len].copy_from_slice(answer);
                slot[len..len + 4].copy_from_slice(&rel32(len, back)?);
                continue;
            }
            // SAFETY: the template has `LEN` bytes (`check_template`).
            let template = unsafe { slice::from_raw_parts(b::bailey_stub_template.as_ptr(), LEN) };
            slot[..LEN].copy_from_slice(template);
            let site = ((number - first) as u32) << b::SITE_SHIFT;
            slot[SITE_OFFSET..SITE_OFFSET + 4].copy_from_slice(&site.to_le_bytes());
            slot[GATE_REL32..GATE_REL32 + 4].copy_from_slice(&rel32(GATE_REL32, gate())?);
            slot[BACK_REL32..BACK_REL32 + 4].copy_from_slice(&rel32(BACK_REL32, back)?);
        }
        if first + count > self.count {
            return Err(EINVAL);
        }
        let to = self.address(first) as *mut c_void;
        // SAFETY: these stubs are part of the chunk, and nothing runs them yet.
        unsafe { b::bailey_k_text_poke_copy(to, text.as_ptr().cast(), text.len()) };
        Ok(())
    }
}

impl Drop for Stubs {
    fn drop(&mut self) {
        // SAFETY: from bpf_prog_pack_alloc() with this size; no program runs it any more: they
        // are dropped with their program, after its last run, in process context.
        unsafe { b::bailey_k_bpf_prog_pack_free(self.base, (self.count * SLOT) as u32) };
    }
}
