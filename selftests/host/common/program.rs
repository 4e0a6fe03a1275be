// SPDX-License-Identifier: GPL-2.0
//! Programs, and the rewrite as the kernel glue carries it out.

use bailey::pure::insn::Insn;
use bailey::pure::rewrite::functions::{measure, Function, Layout, Leaps, Origin, Scratch};
use bailey::pure::rewrite::jump_table::Places;
use bailey::pure::rewrite::{self, Action, CtxLayout, Facts, Known, Refusal};

/// Where `struct xdp_buff` of Linux 7.2 has its fields.
pub const LAYOUT: CtxLayout = CtxLayout {
    data: 0,
    data_end: 8,
    data_meta: 16,
    rxq: 32,
    txq: 40,
};

/// `imm` of a call of `bpf_throw()` in generated programs.
pub const THROW: i32 = 0x7777;

/// Where the jump tables of generated programs lie.
pub const TABLES_AT: u64 = 0x2000_0000;

/// Exceptions and jump tables of a program.
#[derive(Clone, Debug, Default)]
pub struct Beyond {
    /// The function that exceptions lead to.
    pub callback: Option<usize>,
    /// Where its tables lead, in order.
    pub places: Vec<u32>,
    /// What they hold, one behind the other.
    pub tables: Vec<u64>,
}

impl Beyond {
    pub fn leaps(&self) -> Leaps<'_> {
        Leaps {
            throw: Some(THROW),
            callback: self.callback,
            landing: false,
            gated: false,
            places: Places::new(&self.places).unwrap(),
            inlined: &[],
        }
    }
}

/// A verified program, and what the verifier knew of it.
#[derive(Clone, Debug)]
pub struct Program {
    pub insns: Vec<Insn>,
    pub known: Vec<Known>,
    /// Its functions in order, the entry first.
    pub functions: Vec<Function>,
    pub beyond: Beyond,
}

impl Program {
    /// A program that calls helpers by number, and of functions none but the
    /// entry.
    pub fn new(insns: Vec<Insn>) -> Self {
        let end = insns.len() as u32;
        Self::with_functions(insns, vec![Function::new(0, end, 0)])
    }

    /// A program that calls helpers by number.
    pub fn with_functions(insns: Vec<Insn>, functions: Vec<Function>) -> Self {
        let known = insns
            .iter()
            .map(|insn| Known {
                helper: insn.is_helper_call().then_some(insn.imm as u32),
                throws: insn.is_kfunc_call() && insn.imm == THROW,
                ..Known::default()
            })
            .collect();
        Self {
            insns,
            known,
            functions,
            beyond: Beyond::default(),
        }
    }
}

/// A program's functions as one.
#[derive(Clone, Debug)]
pub struct Laid {
    pub code: Vec<(Origin, Insn)>,
    /// Bytes of stack below the entry's frame pointer.
    pub stack: u32,
    /// Where each instruction of the program is, if its function is there.
    pub positions: Vec<Option<usize>>,
    /// Which functions are there.
    pub members: Vec<bool>,
    /// The exception callback, if it is there.
    pub callback: Option<usize>,
}

impl Laid {
    /// The instructions, every switch off.
    pub fn insns(&self) -> Vec<Insn> {
        self.insns_with(&mut |_| None)
    }

    /// The same, each switch as `switch` says of the call it is at: a call of
    /// that number, or off.
    pub fn insns_with(&self, switch: &mut dyn FnMut(usize) -> Option<i32>) -> Vec<Insn> {
        let insns = self.code.iter().map(|(origin, insn)| match *origin {
            Origin::Switch(index) => match switch(index) {
                Some(number) => Insn::new(insn.code, 0, insn.src(), 0, number),
                None => Insn::ja(0),
            },
            _ => *insn,
        });
        insns.collect()
    }
}

/// The layout as the kernel glue carries it out.
pub fn lay_out(insns: &[Insn], functions: &[Function]) -> Result<Laid, (usize, Refusal)> {
    lay_out_with(insns, functions, Leaps::default())
}

/// The same with room for blinded constants.
pub fn lay_out_blinded(insns: &[Insn], functions: &[Function]) -> Result<Laid, (usize, Refusal)> {
    carry_out(insns, functions, 0, Leaps::default(), true)
}

/// The same of a program with exceptions or jump tables.
pub fn lay_out_with(
    insns: &[Insn],
    functions: &[Function],
    leaps: Leaps<'_>,
) -> Result<Laid, (usize, Refusal)> {
    carry_out(insns, functions, 0, leaps, false)
}

/// The image of function `entry`.
pub fn lay_out_entry(
    insns: &[Insn],
    functions: &[Function],
    entry: usize,
    leaps: Leaps<'_>,
) -> Result<Laid, (usize, Refusal)> {
    carry_out(insns, functions, entry, leaps, false)
}

fn carry_out(
    insns: &[Insn],
    functions: &[Function],
    entry: usize,
    leaps: Leaps<'_>,
    blinded: bool,
) -> Result<Laid, (usize, Refusal)> {
    let mut functions = functions.to_vec();
    measure(insns, &mut functions)?;
    // Nothing may hang on what the memory held.
    let calls = insns.iter().filter(|insn| insn.is_pseudo_call()).count();
    let mut position = vec![0xdead_beef; insns.len()];
    let mut calls = vec![0xdead_beef; calls];
    let mut far = vec![0xff; insns.len().div_ceil(8)];
    let scratch = Scratch {
        position: &mut position,
        calls: &mut calls,
        far: &mut far,
    };
    let layout = Layout::new(insns, &mut functions, entry, leaps, blinded, scratch)?;
    let mut code = Vec::new();
    layout.emit(&mut |origin, insn| -> Result<(), (usize, Refusal)> {
        code.push((origin, insn));
        Ok(())
    })?;
    assert_eq!(code.len(), layout.len(), "as many as announced");
    let (stack, positions) = (
        layout.stack(),
        (0..insns.len()).map(|at| layout.position(at)).collect(),
    );
    let members: Vec<bool> = functions.iter().map(Function::is_member).collect();
    Ok(Laid {
        code,
        stack,
        positions,
        callback: leaps.callback.filter(|callback| members[*callback]),
        members,
    })
}

/// A rewritten program.
#[derive(Clone, Debug)]
pub struct Rewritten {
    pub insns: Vec<Insn>,
    /// What each site is for; its number is its place here.
    pub sites: Vec<Action>,
    pub facts: Facts,
    /// Bytes of stack that it uses.
    pub stack: u32,
}

/// The rewrite as the kernel glue carries it out. Site `n` calls `call(n)`.
pub fn rewrite(
    program: &Program,
    slot: u64,
    enter: i32,
    call: impl Fn(usize) -> i32,
) -> Result<Rewritten, Refusal> {
    let facts = rewrite::survey(&program.insns, LAYOUT, true, |index| program.known[index])
        .map_err(|(_, refusal)| refusal)?;
    let laid = lay_out_with(&program.insns, &program.functions, program.beyond.leaps())
        .map_err(|(_, refusal)| refusal)?;
    // Jumps are relative: what goes in front moves nothing.
    let mut insns = rewrite::prologue(slot, enter).to_vec();
    let mut sites = Vec::new();
    for (origin, mut insn) in laid.code {
        if let Origin::Kept(index) = origin {
            let action = rewrite::classify(&program.insns[index], &program.known[index])?;
            if action == Action::DropMask {
                insn = rewrite::dropped_mask();
            } else if action.is_site() {
                insn = Insn::call(call(sites.len()));
                sites.push(action);
            }
        }
        insns.push(insn);
    }
    Ok(Rewritten {
        insns,
        sites,
        facts,
        stack: laid.stack,
    })
}
