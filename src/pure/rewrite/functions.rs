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
//! A jump through a table is a search among its places ([`jump_table`]); a
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

use super::super::insn::{alu, class, jmp, mode, size, Insn, REG_1, REG_AX, REG_FP, REG_PARAMS, X};
use super::blinding;
use super::inline::{self, Inline};
use super::jump_table::{self, Places, DEAD_END};
use super::Refusal;

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

/// Registers that may hold a site's number: those that calls need not keep, and
/// that of the JIT and the verifier.
const NUMBER_REGS: [u8; 6] = [5, 4, 3, 2, REG_1, REG_AX];

/// First callee-saved register, and how many there are.
const REG_6: u8 = 6;
const SAVED: u8 = 4;

/// One function of a program, and what is found out about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Function {
    /// Index of its first instruction.
    pub start: u32,
    /// Index behind its last one.
    pub end: u32,
    /// Bytes of stack that the verifier counted.
    pub depth: u32,
    /// It is called through a gate, not in goto form.
    pub gated: bool,
    /// It is called in goto form, and through a gate where the switch is on.
    pub switched: bool,
    /// Its address is taken: the kernel may call it.
    pub taken: bool,
    /// It makes a tail call.
    pub tail_calls: bool,
    /// Bit n: it writes R6 + n.
    saves: u8,
    /// Bit n: it leaves register n alone. 0 if it calls anything.
    spare: u16,
    /// The frame pointer moves for it.
    moves: bool,
    /// Arguments on the stack that it passes, at most, and that it takes.
    passes: u32,
    takes: u32,
    /// It is part of the image that is being laid out.
    member: bool,
    /// Its calls were looked at.
    scanned: bool,
    /// Call sites of it in the image.
    calls: u32,
    /// Where its call sites begin in [`Scratch::calls`].
    first_call: u32,
    /// The register with the number of the call site, if it is not in the area.
    number_in: Option<u8>,
    /// Where its way back begins.
    back: u32,
    /// For each register its first jump through a table by that register, from 1.
    searches: [u32; REG_FP as usize],
    /// An exception may come out of it.
    throws: bool,
    /// Bytes from the frame pointer, as it is in it, down to its frame.
    below: u32,
    /// Bytes of stack from the frame pointer downwards, callees included.
    stack: u32,
    /// Frames of the deepest chain of calls that it begins, its own included.
    frames: usize,
}

impl Function {
    /// A function of `program[start..end]` with `depth` bytes of stack.
    pub fn new(start: u32, end: u32, depth: u32) -> Self {
        Self {
            start,
            end,
            depth,
            ..Self::default()
        }
    }

    /// Whether the last [`Layout`] contains it.
    pub const fn is_member(&self) -> bool {
        self.member
    }

    /// Whether it takes arguments on the stack.
    pub const fn takes_stack(&self) -> bool {
        self.takes > 0
    }

    /// Bytes of its own stack, arguments that it passes included.
    fn frame(&self) -> u32 {
        self.depth.next_multiple_of(8) + 8 * self.passes
    }

    /// Whether its way back asks for the site's number.
    const fn is_numbered(&self) -> bool {
        self.calls > 1
    }

    /// Whether its area has the site's number.
    const fn stores_number(&self) -> bool {
        self.is_numbered() && self.number_in.is_none()
    }

    /// Slots of a call of it in goto form, up to where it goes back to.
    fn call_len(&self) -> u32 {
        let before = u32::from(self.is_numbered()) + self.saves.count_ones();
        before + 1 + u32::from(self.moves) + u32::from(self.switched)
    }

    /// Bytes between its frame and its caller's stack.
    fn area(&self) -> u32 {
        8 * (u32::from(self.stores_number()) + self.saves.count_ones())
    }

    /// The callee-saved registers it writes, and where in the area each lies.
    fn saved(&self) -> impl Iterator<Item = (u8, i16)> {
        let saves = self.saves;
        (0..SAVED)
            .filter(move |n| saves & (1 << n) != 0)
            .map(|n| REG_6 + n)
            .zip((i16::from(self.stores_number())..).map(|word| 8 * word))
    }

    /// Where from the frame pointer something is that is `off` bytes from its frame.
    fn at_frame(&self, off: i16) -> i16 {
        off.wrapping_sub(self.below as i16)
    }
}

/// One step of the search for a site. Calls are by index, numbers in order.
enum Step {
    /// Goes to this site.
    Goto(u32),
    /// Goes to this site if the number is above.
    Above(u32, u32),
    /// Goes to this site if it is not above.
    UpTo(u32, u32),
    /// Goes over so many slots if it is above.
    Over(u32, u32),
}

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
        insn.is_helper_call()
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
    /// argument on the stack the base. Of a look-up without a gate the call that
    /// it may have in it.
    Kept(usize),
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

/// The callee-saved registers that `insn` may write, one bit each from R6 on.
fn saved_written(insn: &Insn) -> u8 {
    let bit = |reg: u8| match reg.checked_sub(REG_6) {
        Some(n) if n < SAVED => 1 << n,
        _ => 0,
    };
    match insn.class() {
        class::LD | class::LDX | class::ALU | class::ALU64 => bit(insn.dst()),
        // Fetched values go into the source, an acquired one into the destination.
        class::STX if insn.mode() != mode::MEM => bit(insn.src()) | bit(insn.dst()),
        _ => 0,
    }
}

/// Which argument on the stack (from 1) a load or store is for, if it is one:
/// incoming ones lie above `REG_PARAMS`, outgoing ones below.
fn stack_argument(insn: &Insn) -> Option<Result<u32, Refusal>> {
    let (distance, fine) = match insn.class() {
        class::LDX if insn.src() == REG_PARAMS => (i32::from(insn.off), insn.dst() != REG_PARAMS),
        class::ST | class::STX if insn.dst() == REG_PARAMS => (
            -i32::from(insn.off),
            insn.class() == class::ST || insn.src() != REG_PARAMS,
        ),
        _ if insn.dst() == REG_PARAMS || insn.src() == REG_PARAMS => (0, false),
        _ => return None,
    };
    let whole = insn.mode() == mode::MEM && insn.access_bytes() == 8;
    let number = distance as u32 / 8;
    if !fine || !whole || distance % 8 != 0 || !(1..=MAX_STACK_ARGUMENTS).contains(&number) {
        return Some(Err(Refusal::StackArgument));
    }
    Some(Ok(number))
}

/// Whether `insn` copies the frame pointer.
fn is_frame_copy(insn: &Insn) -> bool {
    insn.code == class::ALU64 | alu::MOV | X
        && insn.src() == REG_FP
        && insn.dst() < REG_FP
        && (insn.off, insn.imm) == (0, 0)
}

/// Whether a frame pointer is copied and a number added, by the instructions at
/// `index` - 1 and `index`.
fn is_frame_sum(insns: &[Insn], index: usize) -> bool {
    let (Some(copy), Some(add)) = (insns.get(index.wrapping_sub(1)), insns.get(index)) else {
        return false;
    };
    is_frame_copy(copy) && *add == Insn::alu64_imm(alu::ADD, copy.dst(), add.imm)
}

/// Whether all that `insn` does with the frame pointer, if anything, is to copy
/// it, or to load or store below it.
fn keeps_frame(insn: &Insn) -> bool {
    let (dst, src) = (insn.dst() == REG_FP, insn.src() == REG_FP);
    if insn.base() == Some(REG_FP) {
        let near = (-(MAX_DEPTH as i16)..0).contains(&insn.off);
        return near && dst != src;
    }
    !(dst || src) || is_frame_copy(insn)
}

/// The registers that `insn` names, one bit each, and those that the JIT uses for
/// it.
fn named(insn: &Insn) -> u16 {
    let atomic = insn.class() == class::STX && insn.mode() != mode::MEM;
    let used = if atomic { 1 << REG_AX } else { 0 };
    used | (1 << insn.dst()) | (1 << insn.src())
}

/// Whether a register field of `insn` can name `REG_PARAMS`: calls and 64-bit
/// loads keep other numbers there.
fn has_registers(insn: &Insn) -> bool {
    !(insn.is_call() || insn.class() == class::LD)
}

/// Notes what each function does, and that control stays in it. `functions`
/// are those of `insns`, in order, without a gap.
pub fn measure(insns: &[Insn], functions: &mut [Function]) -> At<()> {
    let mut next = 0;
    for function in functions.iter_mut() {
        let (start, end) = (function.start as usize, function.end as usize);
        if start != next || end <= start || end > insns.len() {
            return Err((start, Refusal::Functions));
        }
        if function.depth > MAX_DEPTH {
            return Err((start, Refusal::StackTooDeep));
        }
        next = end;
        let body = insns.get(start..end).unwrap_or(&[]);
        let (mut saves, mut passes, mut takes) = (0, 0, 0);
        let (mut spare, mut moves) = (u16::MAX, false);
        for (index, insn) in (start..).zip(body) {
            saves |= saved_written(insn);
            spare &= if insn.is_call() || insn.is_tail_call() {
                0
            } else {
                !named(insn)
            };
            if let Some(distance) = insn.jump() {
                let target = target(index, distance);
                if target < start as i64 || target >= end as i64 {
                    return Err((index, Refusal::Functions));
                }
                // Between the two, the second would have to do without the first.
                moves |= is_frame_sum(insns, target as usize);
            }
            if has_registers(insn) {
                moves |= !keeps_frame(insn);
                if let Some(argument) = stack_argument(insn) {
                    let number = argument.map_err(|refusal| (index, refusal))?;
                    if insn.class() == class::LDX {
                        takes = takes.max(number);
                    } else {
                        passes = passes.max(number);
                    }
                }
            }
        }
        // bpf_throw(), and a function that always calls it, do not return: what followed was
        // dead and is gone.
        let ends = body.last().is_some_and(|last| {
            last.is_exit()
                || last.is_jump_always()
                || last.is_gotox()
                || last.is_pseudo_call()
                || last.is_kfunc_call()
        });
        if !ends {
            return Err((end - 1, Refusal::Functions));
        }
        function.saves = saves;
        function.passes = passes;
        function.takes = takes;
        function.spare = spare;
        function.moves = moves || takes > 0;
        function.taken = false;
        function.tail_calls = body.iter().any(Insn::is_tail_call);
    }
    if next != insns.len() {
        return Err((next, Refusal::Functions));
    }
    for (index, insn) in insns.iter().enumerate() {
        if insn.is_pseudo_func() {
            let number = starting_at(functions, target(index, insn.imm));
            match number.and_then(|number| functions.get_mut(number)) {
                Some(function) => function.taken = true,
                None => return Err((index, Refusal::Functions)),
            }
        }
    }
    Ok(())
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

    fn find_members(&mut self) -> At<()> {
        for function in self.functions.iter_mut() {
            (function.member, function.scanned) = (false, false);
            function.calls = 0;
            function.searches.fill(0);
        }
        match self.functions.get_mut(self.entry) {
            Some(entry) => entry.member = true,
            None => return Err((0, Refusal::Functions)),
        }
        if self.leaps.landing {
            let callback = self.leaps.callback;
            match callback.and_then(|callback| self.functions.get_mut(callback)) {
                Some(callback) => callback.member = true,
                None => return Err((0, Refusal::Functions)),
            }
        }
        loop {
            let next = (0..self.functions.len())
                .find(|&n| self.function(n).member && !self.function(n).scanned);
            let Some(number) = next else {
                return Ok(());
            };
            for (index, insn) in self.body(number) {
                if insn.is_tail_call() && number != self.entry {
                    return Err((index, Refusal::TailCallInFunction));
                }
                if self.leaps.is_jump(insn) {
                    self.find_callback(index, insn)?;
                }
                let last = index + 1 == self.function(number).end as usize;
                if last && insn.is_kfunc_call() && !self.leaps.is_throw(insn) {
                    return Err((index, Refusal::Functions));
                }
                if insn.is_gotox() {
                    let places = self.places_of(number).1.len();
                    if places == 0 || places > jump_table::MAX_PLACES {
                        return Err((index, Refusal::JumpTable));
                    }
                    let mut places = self.places_of(number).1.iter();
                    let moves = places.any(|&place| is_frame_sum(self.insns, place as usize));
                    let function = self.functions.get_mut(number);
                    let search = function
                        .and_then(|function| {
                            function.moves |= moves;
                            function.searches.get_mut(usize::from(insn.dst()))
                        })
                        .ok_or((index, Refusal::UnknownOpcode(insn.code)))?;
                    if *search == 0 {
                        *search = index as u32 + 1;
                    }
                }
                if !insn.is_pseudo_call() {
                    continue;
                }
                let callee = self.callee(index, insn)?;
                if self.function(callee).gated {
                    if self.function(callee).takes > 0 {
                        return Err((index, Refusal::StackArgument));
                    }
                    continue;
                }
                if self.is_root(callee) {
                    return Err((index, Refusal::Recursion));
                }
                if let Some(callee) = self.functions.get_mut(callee) {
                    callee.member = true;
                    callee.calls += 1;
                    if callee.calls > MAX_CALLS {
                        return Err((index, Refusal::TooManySites));
                    }
                }
            }
            if let Some(function) = self.functions.get_mut(number) {
                function.scanned = true;
            }
        }
    }

    /// The call of a kernel function at `index` is one of `bpf_throw()`: then
    /// its callback is a member.
    fn find_callback(&mut self, index: usize, call: &Insn) -> At<()> {
        let callback = self
            .leaps
            .callback
            .filter(|callback| *callback != self.entry && self.leaps.is_throw(call));
        match callback.and_then(|callback| self.functions.get_mut(callback)) {
            Some(callback) => callback.member = true,
            None => return Err((index, Refusal::Functions)),
        }
        Ok(())
    }

    /// Notes the call sites of each member, in the order of their indices.
    fn note_calls(&mut self) -> At<()> {
        let mut next = 0;
        for function in self.functions.iter_mut().filter(|f| f.member) {
            function.first_call = next;
            next += function.calls;
            // Counted once more below.
            function.calls = 0;
        }
        if self.scratch.calls.len() < next as usize {
            return Err((0, Refusal::TooLong));
        }
        for number in 0..self.functions.len() {
            if !self.function(number).member {
                continue;
            }
            for (index, insn) in self.body(number) {
                let callee = self.inner_callee(index, insn)?;
                let Some(callee) = callee.and_then(|callee| self.functions.get_mut(callee)) else {
                    continue;
                };
                let at = (callee.first_call + callee.calls) as usize;
                callee.calls += 1;
                if let Some(call) = self.scratch.calls.get_mut(at) {
                    *call = index as u32;
                }
            }
        }
        Ok(())
    }

    /// Finds registers for the numbers of sites. Blinding constants takes one of
    /// them; through a switch that is on go arguments, in the others.
    fn choose_registers(&mut self, blinded: bool) {
        for function in self.functions.iter_mut().filter(|f| f.member) {
            let is_free = |&&reg: &&u8| {
                let fits = if reg == REG_AX {
                    !blinded
                } else {
                    !function.switched
                };
                fits && function.spare & (1 << reg) != 0
            };
            let free = NUMBER_REGS.iter().find(is_free).copied();
            function.number_in = free.filter(|_| function.is_numbered());
        }
    }

    /// Finds where each member's frame is, and how much stack it needs with all
    /// that it calls. Along a recursion the frames grow until they are too many.
    /// The exception callback's frame is where the entry's was.
    fn measure_stack(&mut self) -> At<()> {
        for function in self.functions.iter_mut().filter(|f| f.member) {
            function.throws = false;
            function.below = 0;
            function.stack = function.frame();
            function.frames = 1;
        }
        loop {
            let mut changed = false;
            for number in 0..self.functions.len() {
                let function = self.function(number);
                if !function.member {
                    continue;
                }
                let end = function.below + function.frame();
                let (mut stack, mut frames) = (function.stack.max(end), function.frames);
                let mut throws = function.throws;
                for (index, insn) in self.body(number) {
                    let throw = self.leaps.is_jump(insn);
                    // With a landing, what any call leads to may throw.
                    if throw || self.leaps.landing && insn.is_call() {
                        let callback = self.leaps.callback.unwrap_or(self.entry);
                        stack = stack.max(self.function(callback).stack);
                        throws |= throw;
                    }
                    let Some(number) = self.inner_callee(index, insn)? else {
                        continue;
                    };
                    let callee = self.function(number);
                    let at = end + callee.area();
                    let moved = if callee.moves { at } else { 0 };
                    stack = stack.max(moved + callee.stack);
                    frames = frames.max(1 + callee.frames);
                    throws |= callee.throws;
                    if frames > MAX_FRAMES || at.max(stack) > MAX_STACK {
                        return Err((index, Refusal::Recursion));
                    }
                    if callee.below < at && !callee.moves {
                        changed = true;
                        if let Some(callee) = self.functions.get_mut(number) {
                            callee.below = at;
                        }
                    }
                }
                if throws && Some(number) == self.leaps.callback {
                    return Err((function.start as usize, Refusal::Recursion));
                }
                if (stack, frames, throws) != (function.stack, function.frames, function.throws) {
                    changed = true;
                    if let Some(function) = self.functions.get_mut(number) {
                        (function.stack, function.frames) = (stack, frames);
                        function.throws = throws;
                    }
                }
            }
            if !changed {
                return Ok(());
            }
        }
    }

    fn is_far(&self, index: usize) -> bool {
        let byte = self.scratch.far.get(index / 8).copied().unwrap_or(0);
        byte & (1 << (index % 8)) != 0
    }

    /// Whether the instruction at `index` is the last of function `number`.
    fn is_last(&self, number: usize, index: usize) -> bool {
        index + 1 == self.function(number).end as usize
    }

    /// Slots of a call.
    fn call_slots(&self, index: usize, call: &Insn) -> At<u32> {
        Ok(match self.inner_callee(index, call)? {
            Some(callee) => {
                let callee = self.function(callee);
                callee.call_len() + u32::from(callee.moves)
            }
            None => 1,
        })
    }

    /// The sum of a frame pointer and a number that the instruction at `index` of
    /// a function makes, where its frame is.
    fn frame_sum(&self, function: &Function, index: usize) -> Option<Insn> {
        if index >= function.end as usize || !is_frame_sum(self.insns, index) {
            return None;
        }
        let add = self.insns.get(index)?;
        let imm = add.imm.checked_sub(function.below as i32)?;
        Some(Insn::alu64_imm(alu::ADD, add.dst(), imm))
    }

    /// Slots that the instruction at `index` of function `number` takes.
    fn slots(&self, number: usize, index: usize, insn: &Insn) -> At<u32> {
        if insn.is_pseudo_call() || self.leaps.gated && self.leaps.is_throw(insn) {
            let dead_end = if self.is_last(number, index) {
                DEAD_END.len() as u32
            } else {
                0
            };
            return Ok(self.call_slots(index, insn)? + dead_end);
        }
        if insn.is_gotox() {
            return Ok(if self.search_of(number, insn) == index {
                jump_table::slots(self.places_of(number).1.len())
            } else {
                1
            });
        }
        if let Some(inline) = self.leaps.inline(index, insn) {
            return Ok(inline.slots());
        }
        if insn.is_exit() && !self.is_root(number) {
            // The last one needs no jump: the way back follows.
            return Ok(u32::from(!self.is_last(number, index)));
        }
        let function = self.function(number);
        if is_frame_copy(insn) && function.below > 0 {
            return Ok(match self.frame_sum(&function, index + 1) {
                Some(_) => 1,
                None => 2,
            });
        }
        Ok(if self.is_far(index) { 3 } else { 1 })
    }

    /// Slots of a function's way back.
    fn back_len(&self, function: &Function) -> u32 {
        function.area() / 8 + self.search_len(self.calls_of(function))
    }

    /// Gives each instruction its place.
    fn place(&mut self) -> At<()> {
        let mut at = 0u32;
        let mut place = |layout: &mut Self, number: usize| -> At<()> {
            for (index, insn) in layout.body(number) {
                if let Some(position) = layout.scratch.position.get_mut(index) {
                    *position = at;
                }
                at += layout.slots(number, index, insn)?;
            }
            let is_root = layout.is_root(number);
            let back_len = layout.back_len(&layout.function(number));
            if let Some(function) = layout.functions.get_mut(number) {
                function.back = at;
                if !is_root {
                    at += back_len;
                }
            }
            if at as usize > super::MAX_LEN {
                return Err((0, Refusal::TooLong));
            }
            Ok(())
        };
        place(self, self.entry)?;
        for number in 0..self.functions.len() {
            if number != self.entry && self.function(number).member {
                place(self, number)?;
            }
        }
        self.len = at;
        Ok(())
    }

    /// Distance of the jump at `index`, in slots of the image.
    fn distance(&self, index: usize, distance: i32) -> i64 {
        let target = self.at(target(index, distance) as usize);
        i64::from(target) - i64::from(self.at(index)) - 1
    }

    /// Marks conditional jumps that go further than `reach`, and call sites that
    /// are so far from any place of the way back. Whether there is a new one.
    fn find_far(&mut self, reach: i64) -> At<bool> {
        let mut found = false;
        let mut mark = |far: &mut [u8], index: usize| {
            found = true;
            if let Some(byte) = far.get_mut(index / 8) {
                *byte |= 1 << (index % 8);
            }
        };
        for number in 0..self.functions.len() {
            if !self.function(number).member {
                continue;
            }
            for (index, insn) in self.body(number) {
                let Some(distance) = insn.jump() else {
                    continue;
                };
                if insn.is_jump_always() || self.is_far(index) {
                    continue;
                }
                let distance = self.distance(index, distance);
                if distance.abs() > reach {
                    mark(self.scratch.far, index);
                }
            }
            let function = self.function(number);
            let start = i64::from(function.back);
            let end = start + i64::from(self.back_len(&function));
            for call in 0..function.calls as usize {
                let Some(&index) = self.calls_of(&function).get(call) else {
                    continue;
                };
                let site = i64::from(self.site(&function, index));
                let distance = (site - start).abs().max((site - end).abs());
                if distance > reach && !self.is_far(index as usize) {
                    mark(self.scratch.far, index as usize);
                }
            }
        }
        Ok(found)
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

    fn emit_insn<E: From<(usize, Refusal)>>(
        &self,
        number: usize,
        index: usize,
        insn: Insn,
        emit: &mut dyn FnMut(Origin, Insn) -> Result<(), E>,
    ) -> Result<(), E> {
        let function = self.function(number);
        if insn.is_pseudo_call() || self.leaps.gated && self.leaps.is_throw(&insn) {
            match self.inner_callee(index, &insn)? {
                Some(callee) => {
                    self.emit_call(&function, &self.function(callee), (index, insn), emit)?;
                }
                None => emit(Origin::Kept(index), insn)?,
            }
            if self.is_last(number, index) {
                DEAD_END
                    .into_iter()
                    .try_for_each(|insn| emit(Origin::Added, insn))?;
            }
            return Ok(());
        }
        if self.leaps.is_throw(&insn) {
            let callback = self.function(self.leaps.callback.unwrap_or(self.entry));
            let to = self.at(callback.start as usize);
            return emit(Origin::For(index), self.goto(self.at(index), to));
        }
        if insn.is_gotox() {
            let mut origin = Origin::For(index);
            let search = self.search_of(number, &insn);
            if search != index {
                return emit(origin, self.goto(self.at(index), self.at(search)));
            }
            return jump_table::emit(
                insn.dst(),
                self.places_of(number),
                self.at(index),
                &|from, place| self.goto(from, self.at(place as usize)),
                &mut |insn| emit(core::mem::replace(&mut origin, Origin::Added), insn),
            );
        }
        if let Some(inline) = self.leaps.inline(index, &insn) {
            let mut origin = Origin::For(index);
            return inline.emit(&mut |part| match part {
                inline::Part::Plain(new) => {
                    emit(core::mem::replace(&mut origin, Origin::Added), new)
                }
                inline::Part::Call => emit(Origin::Kept(index), insn),
            });
        }
        if insn.is_exit() && !self.is_root(number) {
            if index + 1 == function.end as usize {
                return Ok(());
            }
            return emit(Origin::For(index), self.goto(self.at(index), function.back));
        }
        if let Some(distance) = insn.jump() {
            let distance = self.distance(index, distance);
            let fits = distance.abs() <= self.reach && !self.is_far(index);
            if let Some(near) = insn.with_jump(distance).filter(|_| fits) {
                return emit(Origin::Kept(index), near);
            }
            let target = (i64::from(self.at(index)) + 1 + distance) as u32;
            if insn.is_jump_always() {
                return emit(Origin::For(index), self.goto(self.at(index), target));
            }
            // if ... goto +1; goto +1; goto far
            let taken = insn.with_jump(1).ok_or((index, Refusal::JumpTooFar))?;
            emit(Origin::Kept(index), taken)?;
            emit(Origin::Added, Insn::ja(1))?;
            return emit(Origin::Added, self.goto(self.at(index) + 2, target));
        }
        if has_registers(&insn) {
            if let Some(argument) = stack_argument(&insn) {
                let word = 8 * (argument.map_err(|refusal| (index, refusal))? as i16 - 1);
                let incoming = insn.class() == class::LDX;
                if incoming && self.is_root(number) {
                    return Err((index, Refusal::StackArgument).into());
                }
                let base = if incoming {
                    function.area() as i16
                } else {
                    function.at_frame(-(function.frame() as i16))
                };
                return emit(Origin::Kept(index), insn.rebased(REG_FP, base + word));
            }
        }
        if function.below > 0 {
            if insn.base() == Some(REG_FP) {
                let mut insn = insn;
                insn.off = function.at_frame(insn.off);
                return emit(Origin::Kept(index), insn);
            }
            if let Some(sum) = self.frame_sum(&function, index) {
                return emit(Origin::Kept(index), sum);
            }
            if is_frame_copy(&insn) && self.frame_sum(&function, index + 1).is_none() {
                emit(Origin::Kept(index), insn)?;
                let down = Insn::alu64_imm(alu::ADD, insn.dst(), -(function.below as i32));
                return emit(Origin::Added, down);
            }
        }
        emit(Origin::Kept(index), insn)
    }

    fn emit_call<E: From<(usize, Refusal)>>(
        &self,
        caller: &Function,
        callee: &Function,
        (index, call): (usize, Insn),
        emit: &mut dyn FnMut(Origin, Insn) -> Result<(), E>,
    ) -> Result<(), E> {
        let down = if callee.moves {
            caller.below + caller.frame() + callee.area()
        } else {
            callee.below
        };
        let below = i16::try_from(down).map_err(|_| (index, Refusal::StackTooDeep))?;
        let mut origin = Origin::For(index);
        let mut next = |insn: Insn| emit(core::mem::replace(&mut origin, Origin::Added), insn);
        if callee.is_numbered() {
            let number = self
                .calls_of(callee)
                .binary_search(&(index as u32))
                .map_err(|_| (index, Refusal::Functions))? as i32;
            next(match callee.number_in {
                Some(reg) => Insn::mov64_imm(reg, number),
                None => Insn::st(size::DW, REG_FP, -below, number),
            })?;
        }
        for (reg, word) in callee.saved() {
            next(Insn::stx(size::DW, REG_FP, reg, word - below))?;
        }
        if callee.moves {
            next(Insn::alu64_imm(alu::ADD, REG_FP, -i32::from(below)))?;
        }
        if callee.switched {
            emit(Origin::Switch(index), call)?;
            origin = Origin::Added;
        }
        let here = self.at(index) + callee.call_len() - 1;
        let into = self.goto(here, self.at(callee.start as usize));
        emit(origin, into)?;
        if callee.moves {
            let up = Insn::alu64_imm(alu::ADD, REG_FP, i32::from(below));
            emit(Origin::Added, up)?;
        }
        Ok(())
    }

    fn emit_back<E: From<(usize, Refusal)>>(
        &self,
        number: usize,
        emit: &mut dyn FnMut(Origin, Insn) -> Result<(), E>,
    ) -> Result<(), E> {
        let function = self.function(number);
        let end = function.end as usize - 1;
        let ends_here = self.insns.get(end).is_some_and(Insn::is_exit);
        let mut origin = if ends_here {
            Origin::For(end)
        } else {
            Origin::Added
        };
        let mut at = function.back;
        let mut next = |insn: Insn| {
            at += 1;
            emit(core::mem::replace(&mut origin, Origin::Added), insn)
        };
        if function.stores_number() {
            next(Insn::ldx(size::DW, REG_1, REG_FP, function.at_frame(0)))?;
        }
        for (reg, word) in function.saved() {
            next(Insn::ldx(size::DW, reg, REG_FP, function.at_frame(word)))?;
        }
        let from = function.back + function.area() / 8;
        let reg = function.number_in.unwrap_or(REG_1);
        let to = |at: u32, index: u32| i64::from(self.site(&function, index)) - i64::from(at) - 1;
        let calls = self.calls_of(&function);
        self.search(calls, 0, from, &mut |at, step| {
            let (op, last, distance) = match step {
                Step::Goto(index) => return next(Insn::ja32(to(at, index) as i32)),
                Step::Above(last, index) => (jmp::JGT, last, to(at, index)),
                Step::UpTo(last, index) => (jmp::JLE, last, to(at, index)),
                Step::Over(last, slots) => (jmp::JGT, last, i64::from(slots)),
            };
            let off = i16::try_from(distance).map_err(|_| (end, Refusal::JumpTooFar))?;
            next(Insn::jmp_imm(op, reg, last as i32, off))
        })
    }

    /// A binary search for a site by its number; `calls` are those from number
    /// `first` on, and the search begins at slot `at`. Of two sites that are left,
    /// one is where the comparison itself jumps to, if that reaches.
    fn search<E>(
        &self,
        calls: &[u32],
        first: u32,
        at: u32,
        next: &mut dyn FnMut(u32, Step) -> Result<(), E>,
    ) -> Result<(), E> {
        let (left, right) = halves(calls);
        let last = (first + left.len() as u32).saturating_sub(1);
        match (left, right) {
            ([], _) => Ok(()),
            ([site], []) => next(at, Step::Goto(*site)),
            (_, [site]) if !self.is_far(*site as usize) => {
                next(at, Step::Above(last, *site))?;
                self.search(left, first, at + 1, next)
            }
            ([site], _) if !self.is_far(*site as usize) => {
                next(at, Step::UpTo(last, *site))?;
                self.search(right, last + 1, at + 1, next)
            }
            _ => {
                let slots = self.search_len(left);
                next(at, Step::Over(last, slots))?;
                self.search(left, first, at + 1, next)?;
                self.search(right, last + 1, at + 1 + slots, next)
            }
        }
    }

    /// Slots of such a search.
    fn search_len(&self, calls: &[u32]) -> u32 {
        match halves(calls) {
            ([], _) => 0,
            (_, []) => 1,
            (others, [site]) | ([site], others) if !self.is_far(*site as usize) => {
                1 + self.search_len(others)
            }
            (left, right) => 1 + self.search_len(left) + self.search_len(right),
        }
    }

    /// Where the callee goes back to of its call at `index`.
    fn site(&self, callee: &Function, index: u32) -> u32 {
        self.at(index as usize) + callee.call_len()
    }

    fn calls_of(&self, callee: &Function) -> &[u32] {
        let first = callee.first_call as usize;
        self.scratch
            .calls
            .get(first..first + callee.calls as usize)
            .unwrap_or(&[])
    }

    /// A jump at slot `from` to slot `to` of the image.
    fn goto(&self, from: u32, to: u32) -> Insn {
        Insn::ja32((i64::from(to) - i64::from(from) - 1) as i32)
    }
}

/// Both halves of the sites of a search; the left one is not the shorter.
fn halves(calls: &[u32]) -> (&[u32], &[u32]) {
    calls.split_at(calls.len().div_ceil(2))
}

#[cfg(test)]
mod tests {
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
