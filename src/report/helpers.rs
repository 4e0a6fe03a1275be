// SPDX-License-Identifier: GPL-2.0
//! `helpers`: a line for each helper and kfunc of the running kernel that an XDP program can
//! call, isolated or not.

use super::tables::Word;
use crate::load::counts;
use crate::load::protos::{self, Protos};
use crate::pure::catalog::{self, kfuncs, ArgKind, Gate, Gives, Helper, Resource, Special, Sync};
use crate::pure::graph::Part;
use crate::pure::objects::{Kind, Step};
use kernel::debugfs::Writer;
use kernel::fmt;
use kernel::prelude::*;

/// The file.
pub(crate) struct Helpers;

/// What the module makes of a call.
enum Known {
    /// It is made by the gate, or in confinement.
    Call(&'static Helper),
    /// The run ends.
    Throw,
    /// The program is not isolated, for this reason.
    Refused(&'static str),
}

/// A helper or kfunc.
struct Line<'a> {
    name: &'a str,
    /// `None` if it is a module's.
    id: Option<u32>,
    known: Known,
    /// Empty if it takes none.
    args: &'a [Option<ArgKind>],
    /// Whether anybody has said what they are.
    looked_at: bool,
    /// `None` if nobody has said.
    sleeps: Option<bool>,
    calls: u64,
}

/// What an argument has to be, in the words of `calls`.
fn argument(kind: ArgKind) -> &'static str {
    match kind {
        ArgKind::Unused => "-",
        ArgKind::Scalar | ArgKind::AllocSize | ArgKind::Opaque => "number",
        ArgKind::Ctx => "context",
        ArgKind::Map => "map",
        ArgKind::MapKey => "key",
        ArgKind::MapValue { .. } => "value",
        ArgKind::Mem { .. } | ArgKind::MemFixed { .. } | ArgKind::Buffer | ArgKind::Words => {
            "memory"
        }
        ArgKind::Size { .. } => "size",
        ArgKind::SpinLock | ArgKind::ResSpinLock => "lock",
        ArgKind::RingbufRecord => "record",
        ArgKind::Socket => "socket",
        ArgKind::KernelObject | ArgKind::KernelObjectOf(_) | ArgKind::Reference(_) => "object",
        ArgKind::ConstStr | ArgKind::OwnStr => "string",
        ArgKind::Timer | ArgKind::Workqueue => "field",
        ArgKind::Callback => "callback",
        ArgKind::Object(_) => "name",
        ArgKind::Graph(Part::Size | Part::PerCpuSize | Part::Meta | Part::Offset) => "known",
        ArgKind::Graph(_) | ArgKind::PerCpuMemory => "allocated",
    }
}

fn returned(gives: Gives) -> &'static str {
    match gives {
        Gives::Scalar => "number",
        Gives::MapValueOrNull => "value",
        Gives::RingbufRecordOrNull => "record",
        Gives::SocketOrNull | Gives::SockCommonOrNull | Gives::SocketAsOrNull => "socket",
        Gives::SliceOrNull => "memory",
        Gives::IntOrNull => "int",
        Gives::OwnedOrNull
        | Gives::BorrowedOrNull
        | Gives::PerCpuOrNull
        | Gives::PerCpuMemoryOrNull => "allocated",
        Gives::KernelObject | Gives::ReferenceOrNull(_) => "object",
    }
}

fn resource(kind: Resource) -> &'static str {
    match kind {
        Resource::SpinLock | Resource::ResSpinLock => "lock",
        Resource::RingbufRecord => "record",
        Resource::Socket => "socket",
        Resource::RcuRead => "rcu",
        Resource::PreemptOff => "preemption",
        Resource::IrqFlags | Resource::LockFlags => "interrupts",
        Resource::BitsIterator => "iterator",
        Resource::Object | Resource::Placing | Resource::PerCpuObject => "allocated",
        Resource::Reference(_) => "object",
    }
}

fn object(kind: Kind) -> &'static str {
    match kind {
        Kind::Memory | Kind::Packet | Kind::Sample => "dynptr",
        Kind::Record => "record",
        Kind::Numbers | Kind::Bits => "iterator",
        Kind::IrqFlags | Kind::LockFlags => "interrupts",
    }
}

/// What the run holds after the call.
fn acquired(helper: &Helper, args: &[Option<ArgKind>]) -> Option<&'static str> {
    let made = args.iter().find_map(|arg| match arg {
        Some(ArgKind::Object(Step::New(kind))) => Some(object(*kind)),
        Some(ArgKind::Object(Step::Clone)) => Some("dynptr"),
        _ => None,
    });
    let owned =
        matches!(helper.gives, Gives::OwnedOrNull | Gives::PerCpuOrNull).then_some("allocated");
    helper.acquires.map(resource).or(made).or(owned)
}

/// What it does not hold any more.
fn released(helper: &Helper, args: &[Option<ArgKind>]) -> Option<&'static str> {
    let ended = args.iter().find_map(|arg| match arg {
        Some(ArgKind::Object(Step::End(kind))) => Some(object(*kind)),
        Some(ArgKind::Graph(Part::Owned | Part::OwnedOrNull | Part::NewNode | Part::PerCpu)) => {
            Some("allocated")
        }
        _ => None,
    });
    helper.releases.map(resource).or(ended)
}

fn gate(gate: Gate) -> &'static str {
    match gate {
        Gate::Scalar => "kernel",
        Gate::Audited => "audited",
        Gate::Inline | Gate::Instructions => "confined",
        Gate::TailCall => "leaves",
    }
}

fn packet(sync: Sync) -> &'static str {
    match sync {
        Sync::None => "-",
        Sync::Before => "reads",
        Sync::Around => "changes",
    }
}

fn callback(helper: &Helper) -> &'static str {
    match (helper.calls_back, helper.special) {
        (true, _) => "now",
        (_, Special::CallsLater) => "later",
        _ => "-",
    }
}

fn yes_no(known: Option<bool>) -> &'static str {
    match known {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    }
}

impl Line<'_> {
    fn arguments(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.looked_at {
            return f.write_str("?");
        }
        if self.args.is_empty() {
            return f.write_str("-");
        }
        for (n, &arg) in self.args.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}", arg.map_or("?", argument))?;
        }
        match self.known {
            Known::Call(helper) if helper.special == Special::PrintkFormat => {
                f.write_str(",format,format,format")
            }
            Known::Call(helper) if helper.special == Special::CallsLater => f.write_str(",known"),
            _ => Ok(()),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.known {
            Known::Call(helper) => gate(helper.gate),
            Known::Throw => "ends",
            Known::Refused(_) => "refused",
        };
        match self.id {
            Some(id) => write!(f, "{} {id} {class} ", self.name),
            None => write!(f, "{} - {class} ", self.name),
        }?;
        self.arguments(f)?;
        match self.known {
            Known::Call(helper) => write!(
                f,
                " {} {} {} {} {}",
                returned(helper.gives),
                acquired(helper, self.args).unwrap_or("-"),
                released(helper, self.args).unwrap_or("-"),
                packet(helper.sync),
                callback(helper)
            ),
            _ => f.write_str(" - - - - -"),
        }?;
        write!(f, " {} ", yes_no(self.sleeps))?;
        match self.known {
            Known::Call(Helper {
                gate: Gate::Inline | Gate::Instructions,
                ..
            })
            | Known::Throw => writeln!(f, "- -"),
            Known::Call(_) => writeln!(f, "{} -", self.calls),
            Known::Refused(reason) => writeln!(f, "- {}", Word(reason.as_bytes())),
        }
    }
}

/// At most five.
#[derive(Default)]
struct Args {
    all: [Option<ArgKind>; 5],
    len: usize,
}

impl Args {
    fn of(args: impl Iterator<Item = Option<ArgKind>>) -> Self {
        let mut set = Self::default();
        for (to, arg) in set.all.iter_mut().zip(args) {
            *to = arg;
            set.len += 1;
        }
        set
    }

    fn as_slice(&self) -> &[Option<ArgKind>] {
        self.all.get(..self.len).unwrap_or_default()
    }
}

/// Those of `trace_printk` before what its format says, of which nobody asks the kernel.
const PRINTK: [ArgKind; 2] = [
    ArgKind::Mem {
        write: false,
        nullable: false,
    },
    ArgKind::Size { zero_ok: false },
];

fn helpers(f: &mut fmt::Formatter<'_>, calls: &[u64]) -> Result<fmt::Result> {
    let kernel = Protos::new()?;
    for id in 1..protos::END {
        let Some(proto) = kernel.helper(id) else {
            continue;
        };
        let known = match catalog::helper(id) {
            Some(helper) => Known::Call(helper),
            None => Known::Refused(catalog::refusal(id).unwrap_or_default()),
        };
        // Where a prototype says too little, the catalogue has what it takes.
        let args = match (catalog::args(id), proto) {
            ([], Some(proto)) => Args::of(proto.args()),
            ([], None) => Args::of(PRINTK.into_iter().map(Some)),
            (args, _) => Args::of(args.iter().copied().map(Some)),
        };
        let line = Line {
            name: catalog::name(id).unwrap_or("?"),
            id: Some(id),
            looked_at: proto.is_some() || matches!(known, Known::Call(_)),
            known,
            args: args.as_slice(),
            sleeps: Some(proto.is_some_and(|proto| proto.may_sleep())),
            calls: calls.get(id as usize).copied().unwrap_or(0),
        };
        if let Err(error) = line.write(f) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

fn kfuncs(f: &mut fmt::Formatter<'_>, calls: &[u64]) -> Result<fmt::Result> {
    let allowed = kfuncs::ALLOWED.iter().map(|kfunc| {
        let args = Args::of(kfunc.args.iter().copied().map(Some));
        (kfunc.name, Known::Call(&kfunc.call), Some(args))
    });
    let refused = kfuncs::REFUSED
        .iter()
        .map(|&(name, reason)| (name, Known::Refused(reason), None));
    let throw = Args::of([Some(ArgKind::Scalar)].into_iter());
    let throw = [("bpf_throw", Known::Throw, Some(throw))];
    for (name, known, args) in Iterator::chain(Iterator::chain(allowed, throw), refused) {
        let Some(id) = protos::kfunc_number(name)? else {
            continue;
        };
        let (sleeps, calls) = match known {
            // Programs that may not sleep cannot call what does: the verifier sees to it.
            Known::Call(helper) => (Some(false), calls.get(helper.id as usize).copied()),
            Known::Throw => (Some(false), None),
            Known::Refused(reason) => (kfuncs::sleeps(reason).then_some(true), None),
        };
        let line = Line {
            name,
            id: Some(id),
            known,
            args: args.as_ref().map_or(&[], Args::as_slice),
            looked_at: args.is_some(),
            sleeps,
            calls: calls.unwrap_or(0),
        };
        if let Err(error) = line.write(f) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

/// Those of the modules that are there.
fn kfuncs_of_modules(f: &mut fmt::Formatter<'_>) -> Result<fmt::Result> {
    for name in kfuncs::OF_MODULES {
        if !protos::is_there(name)? {
            continue;
        }
        let line = Line {
            name,
            id: None,
            known: Known::Refused(kfuncs::OF_MODULE),
            args: &[],
            looked_at: false,
            sleeps: None,
            calls: 0,
        };
        if let Err(error) = line.write(f) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

impl Writer for Helpers {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "name id gate arguments returns acquires releases packet callback sleeps calls reason"
        )?;
        let calls = counts::calls().map_err(|_| fmt::Error)?;
        helpers(f, &calls).map_err(|_| fmt::Error)??;
        kfuncs(f, &calls).map_err(|_| fmt::Error)??;
        kfuncs_of_modules(f).map_err(|_| fmt::Error)?
    }
}
