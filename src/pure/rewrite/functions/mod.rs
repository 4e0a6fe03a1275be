// SPDX-License-Identifier: GPL-2.0
//! Calls between the functions of a program, without a return address.
//!
//! Confined code has no `ret` (DESIGN invariant 3), so the functions that a
//! program's entry reaches become one function, in *goto form*: a call is a
//! jump, and the way back is found by comparing a number with those of the
//! function's own call sites. A domain can write that number; whatever it
//! writes leads to one of these sites.
//!
//! ```text
//!     caller                                callee
//!     *(u64 *)(r10 - off) = site                ... exit: goto back
//!     *(u64 *)(r10 - off + 8) = r6          back:
//!     goto callee                               r1 = *(u64 *)(r10 - off)
//!     ...                                       r6 = *(u64 *)(r10 - off + 8)
//!                                               if r1 > 1 goto ...
//! ```
//!
//! A function's frame is below that of each of its callers, and above it a small
//! *area*: the site's number, unless there is one site alone, and those of R6 to
//! R9 that the function writes. Nothing calls itself, so each function can have
//! its frame in one place, as far down as the longest chain of calls to it needs;
//! this takes no more stack than that chain. So the frame pointer stays where it
//! is, and what a function does by it goes so much further down.
//!
//! Some functions *move* the frame pointer nevertheless: it goes down for them,
//! by as much as the caller needs, and up again. Those with arguments beyond the
//! fifth, which lie at the lower end of the caller's stack, so right above the
//! area; and those that do more with the frame pointer than to reach their stack.
//!
//! A function that calls nothing, and leaves a register alone that calls need not
//! keep, gets the site's number in that register. The search is a tree of
//! comparisons, one of which jumps right to its site where one site is left on its
//! side and the jump reaches. Each number there can be leads to a site.
//!
//! An exception (`bpf_throw`) ends all frames at once, so it is a jump from
//! wherever it is to the program's exception callback, whose exits are the
//! program's own, as the entry's are. The callback's frame lies where that of
//! the function that threw was: nothing of it is needed any more. In an image that
//! is not the program's own, and has no callback, it stays a call.
//!
//! A jump through a table is a search among its places ([`super::jump_table`]); a
//! function has one search for each register by which it jumps. A call that needs
//! no gate is a few instructions in the place of its call ([`super::inline`]).
//!
//! Functions stay in order, the entry first, so line info stays in order too.
//!
//! A function that makes a tail call is not part of its callers' images: it is
//! an entry of its own, and a call of it stays one, for a gate.
//!
//! A function that others may attach to or replace is both. At each call of it
//! there is a *switch*, a call for a gate that does nothing as long as nobody
//! has attached:
//!
//! ```text
//!     call callee         the switch
//!     goto callee
//!     ...                 here a call through the switch comes back, too
//! ```

mod code;
mod frame;
mod function;
mod members;
mod positions;
mod way_back;

use super::super::insn::Insn;
use super::blinding;
use super::inline::Inline;
use super::jump_table::Places;
use super::Refusal;
pub use function::{measure, Function};

/// Most functions of a program (`BPF_MAX_SUBPROGS`, include/linux/bpf_verifier.h).
pub const MAX_FUNCTIONS: usize = 256;

/// Deepest chain of calls, the entry included (`MAX_CALL_FRAMES`).
pub const MAX_FRAMES: usize = 8;

/// Most stack of one function: `MAX_BPF_STACK`, and room for what the
/// verifier's last passes add.
pub const MAX_DEPTH: u32 = 1024;

/// More stack than the deepest chain of calls and that of an exception callback
/// below it can need.
const MAX_STACK: u32 = 2 * MAX_FRAMES as u32 * (MAX_DEPTH + 8 * (MAX_STACK_ARGUMENTS + 5));

// What is below a frame pointer is reached by 16 bits.
const _: () = assert!(MAX_STACK + MAX_DEPTH < i16::MAX as u32);

/// Most arguments on the stack (`MAX_STACK_ARG_SLOTS`).
pub const MAX_STACK_ARGUMENTS: u32 = 7;

/// Most call sites of one function: the comparisons are 16-bit jumps.
pub const MAX_CALLS: u32 = 8192;

// Half of the sites, two slots each.
const _: () = assert!(MAX_CALLS as i64 + 2 < blinding::REACH);

/// Rounds in which a jump becomes a long one only when it must.
const PATIENT_ROUNDS: u32 = 8;

/// Memory that a [`Layout`] works in. What it held before means nothing.
pub struct Scratch<'a> {
    /// One entry for each instruction of the program.
    pub position: &'a mut [u32],
    /// One entry for each call of a function in the program.
    pub calls: &'a mut [u32],
    /// One bit for each instruction of the program.
    pub far: &'a mut [u8],
}

/// Where a program can go by other ways than direct jumps, calls and exits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leaps<'a> {
    /// `imm` of a call of `bpf_throw()`, if the program may have one.
    pub throw: Option<i32>,
    /// The function that an exception leads to.
    pub callback: Option<usize>,
    /// Exceptions of other images of the program lead to that function as well.
    pub landing: bool,
    /// The image is not the program's own: an exception stays a call, for a gate.
    pub gated: bool,
    /// Where its jump tables lead.
    pub places: Places<'a>,
    /// Its calls that become instructions, in order.
    pub inlined: &'a [Inline],
}

impl Leaps<'_> {
    /// Whether `insn` throws an exception.
    pub fn is_throw(&self, insn: &Insn) -> bool {
        insn.is_kfunc_call() && insn.off == 0 && Some(insn.imm) == self.throw
    }

    /// What the call at `index` becomes, if it is one that needs no gate.
    fn inline(&self, index: usize, insn: &Insn) -> Option<&Inline> {
        (insn.is_helper_call() || insn.is_kfunc_call())
            .then(|| Inline::at(self.inlined, index))
            .flatten()
    }

    /// Whether it does by a jump.
    fn is_jump(&self, insn: &Insn) -> bool {
        self.is_throw(insn) && !self.gated
    }
}

/// Where an instruction of an image comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The instruction at this index; of a jump the distance may be new, of an
    /// argument on the stack the base. Of what stands for a call the call itself,
    /// if it has one in it.
    Kept(usize),
    /// Where instructions stand for the call at this index: the call of a stub that
    /// answers ([`Inline::asks_for`]).
    Asks(usize),
    /// The first of those that stand for the instruction at this index.
    For(usize),
    /// The switch at the call at this index: the call itself. The one direct
    /// jump behind it leads into the callee.
    Switch(usize),
    /// Another one.
    Added,
}

/// An entry function and all that it reaches, as one function.
pub struct Layout<'a> {
    insns: &'a [Insn],
    functions: &'a mut [Function],
    entry: usize,
    leaps: Leaps<'a>,
    scratch: Scratch<'a>,
    /// Slots over which a 16-bit jump may go.
    reach: i64,
    len: u32,
}

type At<T> = Result<T, (usize, Refusal)>;

/// The function that starts at instruction `start`.
fn starting_at(functions: &[Function], start: i64) -> Option<usize> {
    let start = u32::try_from(start).ok()?;
    functions
        .binary_search_by_key(&start, |function| function.start)
        .ok()
}

/// Target of a direct jump or of a call of a function.
fn target(index: usize, distance: i32) -> i64 {
    index as i64 + 1 + i64::from(distance)
}

impl<'a> Layout<'a> {
    /// Lays out the image of `entry`. The functions have been [`measure`]d.
    /// `blinded`: the kernel will blind its constants, for which its jumps need
    /// room.
    pub fn new(
        insns: &'a [Insn],
        functions: &'a mut [Function],
        entry: usize,
        leaps: Leaps<'a>,
        blinded: bool,
        scratch: Scratch<'a>,
    ) -> At<Self> {
        let mut layout = Self {
            insns,
            functions,
            entry,
            leaps,
            scratch,
            reach: if blinded {
                blinding::REACH
            } else {
                i64::from(i16::MAX)
            },
            len: 0,
        };
        if layout.scratch.position.len() < insns.len()
            || layout.scratch.far.len() < insns.len().div_ceil(8)
        {
            return Err((0, Refusal::TooLong));
        }
        layout.find_members()?;
        layout.note_calls()?;
        layout.choose_registers(blinded);
        layout.measure_stack()?;
        layout.scratch.far.fill(0);
        // A jump that becomes long can put others out of reach. Not to go on
        // one by one, a later round takes all that could come to it: what is
        // left reaches even if each slot between becomes three.
        for round in 0.. {
            layout.place()?;
            let reach = match round {
                PATIENT_ROUNDS => layout.reach / 3,
                _ => layout.reach,
            };
            if !layout.find_far(reach)? {
                break;
            }
        }
        Ok(layout)
    }

    /// Instructions of the image.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of stack below the entry's frame pointer that the image uses.
    pub fn stack(&self) -> u32 {
        self.function(self.entry).stack
    }

    /// Where in the image the instruction at `index` of the program is, if its
    /// function is a member.
    pub fn position(&self, index: usize) -> Option<usize> {
        self.members()
            .any(|n| {
                let function = self.function(n);
                (function.start as usize..function.end as usize).contains(&index)
            })
            .then(|| self.at(index) as usize)
    }

    fn function(&self, number: usize) -> Function {
        self.functions.get(number).copied().unwrap_or_default()
    }

    /// Whether function `number` is one whose exits are the program's.
    fn is_root(&self, number: usize) -> bool {
        number == self.entry || Some(number) == self.leaps.callback
    }

    /// The places of a function's jump tables, and the number of the first.
    fn places_of(&self, number: usize) -> (u32, &'a [u32]) {
        let function = self.function(number);
        self.leaps.places.within(function.start, function.end)
    }

    /// The `gotox` of function `number` that has the search for the register of
    /// this one.
    fn search_of(&self, number: usize, gotox: &Insn) -> usize {
        let function = self.function(number);
        let first = function.searches.get(usize::from(gotox.dst()));
        first.map_or(0, |first| first.saturating_sub(1) as usize)
    }

    fn at(&self, index: usize) -> u32 {
        self.scratch.position.get(index).copied().unwrap_or(0)
    }

    /// Members in the order in which they lie.
    fn members(&self) -> impl Iterator<Item = usize> + '_ {
        let others =
            (0..self.functions.len()).filter(|&n| n != self.entry && self.function(n).member);
        Iterator::chain(core::iter::once(self.entry), others)
    }

    /// The instructions of a function with their indices.
    fn body(&self, number: usize) -> impl Iterator<Item = (usize, &'a Insn)> {
        let function = self.function(number);
        let (start, end) = (function.start as usize, function.end as usize);
        (start..).zip(self.insns.get(start..end).unwrap_or(&[]))
    }

    /// The function that the instruction at `index` calls in goto form, if it
    /// does.
    fn inner_callee(&self, index: usize, insn: &Insn) -> At<Option<usize>> {
        if !insn.is_pseudo_call() {
            return Ok(None);
        }
        let callee = self.callee(index, insn)?;
        Ok((!self.function(callee).gated).then_some(callee))
    }

    /// The function that the call at `index` calls.
    fn callee(&self, index: usize, call: &Insn) -> At<usize> {
        starting_at(self.functions, target(index, call.imm)).ok_or((index, Refusal::Functions))
    }

    fn is_far(&self, index: usize) -> bool {
        let byte = self.scratch.far.get(index / 8).copied().unwrap_or(0);
        byte & (1 << (index % 8)) != 0
    }

    /// Whether the instruction at `index` is the last of function `number`.
    fn is_last(&self, number: usize, index: usize) -> bool {
        index + 1 == self.function(number).end as usize
    }

    /// Hands the image to `emit`, one instruction after the other.
    pub fn emit<E: From<(usize, Refusal)>>(
        &self,
        emit: &mut dyn FnMut(Origin, Insn) -> Result<(), E>,
    ) -> Result<(), E> {
        for number in self.members() {
            for (index, insn) in self.body(number) {
                self.emit_insn(number, index, *insn, emit)?;
            }
            if !self.is_root(number) {
                self.emit_back(number, emit)?;
            }
        }
        Ok(())
    }

    /// A jump at slot `from` to slot `to` of the image.
    fn goto(&self, from: u32, to: u32) -> Insn {
        Insn::ja32((i64::from(to) - i64::from(from) - 1) as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::insn::{alu, class, jmp, size, REG_1, REG_FP, REG_PARAMS};
    use super::*;
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    const EXIT: Insn = Insn::exit();

    fn call(distance: i32) -> Insn {
        Insn::new(class::JMP | jmp::CALL, 0, 1, 0, distance)
    }

    fn image(insns: &[Insn], functions: &[(u32, u32, u32)]) -> (Vec<(Origin, Insn)>, u32) {
        let mut functions: Vec<Function> = functions
            .iter()
            .map(|(start, end, depth)| Function::new(*start, *end, *depth))
            .collect();
        measure(insns, &mut functions).unwrap();
        let scratch = Scratch {
            position: &mut vec![0; insns.len()],
            calls: &mut vec![0; insns.len()],
            far: &mut vec![0; insns.len().div_ceil(8)],
        };
        let layout =
            Layout::new(insns, &mut functions, 0, Leaps::default(), false, scratch).unwrap();
        let mut image = Vec::new();
        layout
            .emit(&mut |origin, insn| -> Result<(), (usize, Refusal)> {
                image.push((origin, insn));
                Ok(())
            })
            .unwrap();
        (image, layout.stack())
    }

    #[test]
    fn a_function_with_one_site_goes_straight_back() {
        let program = [
            Insn::stx(size::DW, REG_FP, REG_1, -8),
            Insn::st(size::DW, REG_PARAMS, -8, 66),
            call(2),
            Insn::ldx(size::DW, REG_1, REG_FP, -8),
            EXIT,
            // Function 1: an argument on the stack, R6, no stack of its own.
            Insn::ldx(size::DW, 6, REG_PARAMS, 8),
            Insn::mov64_reg(0, 6),
            EXIT,
        ];
        let (image, stack) = image(&program, &[(0, 5, 8), (5, 8, 0)]);
        let expected = [
            (Origin::Kept(0), Insn::stx(size::DW, REG_FP, REG_1, -8)),
            // The argument: below the entry's eight bytes.
            (Origin::Kept(1), Insn::st(size::DW, REG_FP, -16, 66)),
            (Origin::For(2), Insn::stx(size::DW, REG_FP, 6, -24)),
            (Origin::Added, Insn::alu64_imm(alu::ADD, REG_FP, -24)),
            (Origin::Added, Insn::ja32(3)),
            (Origin::Added, Insn::alu64_imm(alu::ADD, REG_FP, 24)),
            (Origin::Kept(3), Insn::ldx(size::DW, REG_1, REG_FP, -8)),
            (Origin::Kept(4), EXIT),
            // Function 1: the argument is above R6.
            (Origin::Kept(5), Insn::ldx(size::DW, 6, REG_FP, 8)),
            (Origin::Kept(6), Insn::mov64_reg(0, 6)),
            (Origin::For(7), Insn::ldx(size::DW, 6, REG_FP, 0)),
            (Origin::Added, Insn::ja32(-7)),
        ];
        assert_eq!(image, expected);
        assert_eq!(stack, 24);
    }

    #[test]
    fn a_function_with_three_sites_looks_for_its_number() {
        let program = [
            call(4),
            call(3),
            Insn::mov64_imm(8, 1),
            call(1),
            EXIT,
            // Function 1: R7, eight bytes of stack, a helper, two exits.
            Insn::mov64_imm(7, 2),
            Insn::call(5),
            Insn::jmp_imm(jmp::JEQ, 0, 0, 1),
            EXIT,
            Insn::stx(size::DW, REG_FP, 7, -8),
            Insn::mov64_reg(2, REG_FP),
            Insn::alu64_imm(alu::ADD, 2, -8),
            EXIT,
        ];
        let (image, stack) = image(&program, &[(0, 5, 0), (5, 13, 8)]);
        let number = |number| Insn::st(size::DW, REG_FP, -16, number);
        let save = (Origin::Added, Insn::stx(size::DW, REG_FP, 7, -8));
        let goto = |distance| (Origin::Added, Insn::ja32(distance));
        let above = |number, distance| {
            let jump = Insn::jmp_imm(jmp::JGT, REG_1, number, distance);
            (Origin::Added, jump)
        };
        let expected = [
            // 0
            (Origin::For(0), number(0)),
            save,
            goto(8),
            // 3
            (Origin::For(1), number(1)),
            save,
            goto(5),
            // 6
            (Origin::Kept(2), Insn::mov64_imm(8, 1)),
            (Origin::For(3), number(2)),
            save,
            goto(1),
            (Origin::Kept(4), EXIT),
            // 11: function 1, of which an exit jumps to the way back
            (Origin::Kept(5), Insn::mov64_imm(7, 2)),
            (Origin::Kept(6), Insn::call(5)),
            (Origin::Kept(7), Insn::jmp_imm(jmp::JEQ, 0, 0, 1)),
            (Origin::For(8), Insn::ja32(3)),
            // Its frame is 16 bytes further down.
            (Origin::Kept(9), Insn::stx(size::DW, REG_FP, 7, -24)),
            (Origin::Kept(10), Insn::mov64_reg(2, REG_FP)),
            (Origin::Kept(11), Insn::alu64_imm(alu::ADD, 2, -24)),
            // 18: the way back
            (Origin::For(12), Insn::ldx(size::DW, REG_1, REG_FP, -16)),
            (Origin::Added, Insn::ldx(size::DW, 7, REG_FP, -8)),
            above(1, -11),
            above(0, -16),
            goto(-20),
        ];
        assert_eq!(image, expected);
        assert_eq!(stack, 24);
    }

    #[test]
    fn a_function_that_calls_nothing_has_its_number_in_a_register() {
        let program = [call(2), call(1), EXIT, Insn::mov64_imm(0, 2), EXIT];
        let (image, stack) = image(&program, &[(0, 3, 8), (3, 5, 0)]);
        let expected = [
            (Origin::For(0), Insn::mov64_imm(5, 0)),
            (Origin::Added, Insn::ja32(3)),
            (Origin::For(1), Insn::mov64_imm(5, 1)),
            (Origin::Added, Insn::ja32(1)),
            (Origin::Kept(2), EXIT),
            (Origin::Kept(3), Insn::mov64_imm(0, 2)),
            (Origin::For(4), Insn::jmp_imm(jmp::JGT, 5, 0, -3)),
            (Origin::Added, Insn::ja32(-6)),
        ];
        assert_eq!(image, expected);
        assert_eq!(stack, 8);
    }
}
