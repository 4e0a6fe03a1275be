// SPDX-License-Identifier: GPL-2.0
//! Stubs: the few bytes of code that belong to one call site.
//!
//! Each lies in a slot of [`SLOT`] bytes, so that its address is unique. The way in is
//! a direct jump from the program, the way back a direct jump to the instruction behind
//! the call: confined code never sees an address that it could forge (`helpers/gate.S`).
//! Encoding: SDM volume 2, chapter 2.

use super::x86::RBX;

/// Bytes from one stub to the next.
pub const SLOT: usize = 32;

/// What no stub covers.
pub const INT3: u8 = 0xcc;

// Holes of the gates' template, `bailey_stub_template` in helpers/gate.S.
const SITE_OFFSET: usize = 2;
const GATE_REL32: usize = 7;
/// Where the way out of a stub begins that leads through the gate.
pub const OUT: usize = 11;
const BACK_REL32: usize = OUT + 10;
/// Bytes of that template.
pub const TEMPLATE_LEN: usize = BACK_REL32 + 4;
const _: () = assert!(TEMPLATE_LEN <= SLOT);

/// What an indirect jump must lead to while IBT is enforced: the way into confinement is one,
/// in the kernel, to where a stub leads out. Confined code has none.
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

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

/// The time stamp counter without leaving confinement, read after the loads before it, as
/// the kernel reads it (`rdtsc_ordered()`, arch/x86/include/asm/tsc.h). Only r0, r3 and flags
/// are written.
const TSC: [u8; 13] = [
    0x0f, 0xae, 0xe8, // lfence
    0x0f, 0x31, // rdtsc
    0x48, 0xc1, 0xe2, 0x20, // shl $32, %rdx
    0x48, 0x09, 0xd0, // or %rdx, %rax
    0xe9, // jmp site
];

/// What a stub does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing but the way back of enter.
    Enter,
    /// Through the helper gate.
    Gate,
    /// Answers the CPU's number.
    ProcessorId,
    /// Answers the count of a loop.
    LoopCount,
    /// Answers the time stamp counter.
    Tsc,
}

/// What enter's way out depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enter {
    /// The image looks at its context.
    pub ctx: bool,
    /// The registers that it names and in which the kernel has values
    /// ([`super::image::Report::names`]).
    pub names: u32,
    /// Bytes of its stack.
    pub depth: u64,
}

/// The longest way out of enter.
pub const ENTER_LEN: usize = 31;
const _: () = assert!(ENTER_LEN <= SLOT);

/// The registers that a function keeps for its caller, and how each is cleared.
const CLEARS: [(u8, &[u8]); 4] = [
    (RBX, &[0x31, 0xdb]),      // xor %ebx, %ebx
    (13, &[0x45, 0x31, 0xed]), // xor %r13d, %r13d
    (14, &[0x45, 0x31, 0xf6]), // xor %r14d, %r14d
    (15, &[0x45, 0x31, 0xff]), // xor %r15d, %r15d
];

/// Where a stub lies and what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address of its slot.
    pub at: u64,
    /// The address that it goes back to.
    pub back: u64,
    /// The helper gate's address.
    pub gate: u64,
    /// The offset of its site in the image's table.
    pub site: u32,
}

/// Why a stub cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A direct jump does not reach so far, or a stack is deeper than an instruction says.
    Reach,
    /// What is to be written has no room: never, with a template of [`TEMPLATE_LEN`] bytes.
    Room,
}

/// Code that grows in a slot.
struct Writer<'a> {
    slot: &'a mut [u8; SLOT],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Flaw> {
        let end = self.len + bytes.len();
        let to = self.slot.get_mut(self.len..end).ok_or(Flaw::Room)?;
        to.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// The distance of a direct jump to `target`, whose four bytes are the next ones.
    fn distance(&mut self, at: u64, target: u64) -> Result<(), Flaw> {
        let next = at.wrapping_add(self.len as u64 + 4);
        let distance = i32::try_from(target.wrapping_sub(next) as i64).map_err(|_| Flaw::Reach)?;
        self.put(&distance.to_le_bytes())
    }
}

/// Writes the stub of a site into its slot; what it does not cover are traps. `template` is
/// that of the gates, `enter` counts for [`Kind::Enter`] alone.
///
/// # Errors
///
/// [`Flaw`]; the slot is then not to be used.
pub fn write(
    slot: &mut [u8; SLOT],
    kind: Kind,
    enter: &Enter,
    template: &[u8],
    place: &Place,
) -> Result<(), Flaw> {
    slot.fill(INT3);
    let mut code = Writer { slot, len: 0 };
    match kind {
        Kind::ProcessorId => code.put(&PROCESSOR_ID)?,
        Kind::LoopCount => code.put(&LOOP_COUNT)?,
        Kind::Tsc => code.put(&TSC)?,
        Kind::Enter => {
            code.put(&ENDBR64)?;
            code.put(&[0x0f, 0x30])?; // wrmsr: confined from here
            if enter.ctx {
                code.put(&[0x58])?; // pop %rax, from the slot
            }
            // The kernel's values are none of the program's business.
            for (reg, clear) in CLEARS {
                if enter.names & (1 << reg) != 0 {
                    code.put(clear)?;
                }
            }
            code.put(&[0x48, 0x8d, 0xa5])?; // lea -depth(%rbp), %rsp
            let depth = i32::try_from(enter.depth).map_err(|_| Flaw::Reach)?;
            code.put(&(-depth).to_le_bytes())?;
            code.put(&[0xfb, 0xe9])?; // sti; jmp body
        }
        Kind::Gate => {
            let part = |from: usize, to: usize| template.get(from..to).ok_or(Flaw::Room);
            code.put(part(0, SITE_OFFSET)?)?;
            code.put(&place.site.to_le_bytes())?;
            code.put(part(SITE_OFFSET + 4, GATE_REL32)?)?;
            code.distance(place.at, place.gate)?;
            code.put(part(OUT, BACK_REL32)?)?;
        }
    }
    code.distance(place.at, place.back)
}
