// SPDX-License-Identifier: GPL-2.0
//! The tables: programs, maps, domains, keys, violations, and the status.

use crate::bindings as b;
use crate::domain::{self, arrays};
use crate::event::violation;
use crate::hw::cpus;
use crate::load;
use crate::load::program::{self, State as ProgramState};
use crate::pure::pool::State;
use crate::store;
use kernel::debugfs::Writer;
use kernel::fmt;
use kernel::prelude::*;

/// `status`: one `key value` a line.
pub(crate) struct Status;
/// `programs`: a line for each program the module has seen and that is loaded.
pub(crate) struct Programs;
/// `maps`: a line for each map and domain that knows it.
pub(crate) struct Maps;
/// `stores`: a line for each map that holds the module: hash maps and tries with a store and
/// per-CPU arrays with pages of their own.
pub(crate) struct Stores;
/// `domains`: a line each.
pub(crate) struct Domains;
/// `keys`: a line for each hardware key.
pub(crate) struct Keys;
/// `violations`: the last ones, oldest first.
pub(crate) struct Violations;

fn on_off(on: bool) -> &'static str {
    if on {
        "yes"
    } else {
        "no"
    }
}

/// As the parameter says it.
fn isolation(by_program: bool) -> &'static str {
    if by_program {
        "program"
    } else {
        "map"
    }
}

impl Writer for Status {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut isolated, mut other) = (0, 0);
        program::for_each(|program| match program.state() {
            ProgramState::NotIsolated => other += 1,
            _ => isolated += 1,
        });
        let mut domains = 0;
        domain::for_each(|_| domains += 1);
        let mut keys = 0;
        domain::for_each_key(|_, state, _| {
            keys += u32::from(matches!(state, State::Own | State::Shared { .. }));
        });
        // SAFETY: the parameters are ints, read whole; the rest reads CPU features.
        let (strict, abort, levels) = unsafe {
            (
                (&raw const b::bailey_policy_strict).read_volatile(),
                (&raw const b::bailey_violation_abort).read_volatile(),
                if b::bailey_has_5_levels() != 0 { 5 } else { 4 },
            )
        };
        writeln!(f, "key value")?;
        writeln!(f, "backend pks")?;
        writeln!(
            f,
            "build {}",
            if crate::pure::rewrite::BREACH {
                "breach"
            } else {
                "release"
            }
        )?;
        // The module does not load without the first two.
        // SAFETY: reads CPU features.
        let ibt = unsafe { b::bailey_cpu_has_ibt() } != 0;
        writeln!(f, "cpu_features pks,smap{}", if ibt { ",ibt" } else { "" })?;
        writeln!(f, "paging_levels {levels}")?;
        writeln!(
            f,
            "policy {}",
            if strict != 0 { "strict" } else { "permit" }
        )?;
        writeln!(
            f,
            "on_violation {}",
            if abort != 0 { "abort" } else { "quarantine" }
        )?;
        writeln!(f, "isolation {}", isolation(domain::by_program()))?;
        writeln!(f, "events_hooked {}", on_off(domains > 0))?;
        writeln!(f, "programs_isolated {isolated}")?;
        writeln!(f, "programs_not_isolated {other}")?;
        writeln!(f, "programs_classic {}", load::classic_programs())?;
        let mut stores = 0;
        store::for_each(|_, _, _, _| stores += 1);
        arrays::for_each_per_cpu(|_, _| stores += 1);
        writeln!(f, "stores {stores}")?;
        writeln!(f, "store_patterns {}", store::patterns())?;
        writeln!(f, "domains {domains}")?;
        // SAFETY: reads a counter.
        writeln!(f, "region_pages {}", unsafe { b::bailey_region_pages() })?;
        writeln!(f, "keys_in_use {keys}")
    }
}

/// A name without blanks, so that columns stay columns.
pub(super) struct Word<'a>(pub(super) &'a [u8]);

impl core::fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        for &byte in self.0 {
            let shown = if byte.is_ascii_graphic() { byte } else { b'_' };
            write!(f, "{}", char::from(shown))?;
        }
        Ok(())
    }
}

impl Writer for Programs {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "id name type domain key runs helper_calls violations state"
        )?;
        let mut result = Ok(());
        program::for_each(|program| {
            let (runs, calls) = program
                .counts()
                .map_or((0, 0), |counts| (counts.runs(), counts.helper_calls()));
            let line = (|| {
                write!(
                    f,
                    "{} {} {} ",
                    program.id(),
                    Word(program.name().to_bytes()),
                    program.type_name()
                )?;
                match program.domain() {
                    Some(domain) => write!(f, "{} {} ", domain.id(), domain.key().number())?,
                    None => write!(f, "- - ")?,
                }
                write!(f, "{runs} {calls} {} ", program.violations())?;
                match program.reason() {
                    Some(reason) => writeln!(f, "{}", Word(reason.to_bytes())),
                    None => writeln!(f, "{}", program.state().name()),
                }
            })();
            result = result.and(line);
        });
        result
    }
}

impl Writer for Maps {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "id name type domain values base size index")?;
        let mut result = Ok(());
        domain::for_each(|summary| {
            for map in summary.values.iter() {
                let (id, kind, name) = map.description();
                let (base, len) = map.place();
                let line = writeln!(
                    f,
                    "{} {} {} {} {} {:#x} {} {}",
                    id,
                    Word(name.to_bytes()),
                    kind,
                    summary.id,
                    map.values_are(),
                    base,
                    len,
                    map.index().1
                );
                result = result.and(line);
            }
        });
        result
    }
}

impl Writer for Stores {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "id name entries bytes")?;
        let mut result = Ok(());
        store::for_each(|id, name, entries, bytes| {
            let line = writeln!(f, "{id} {} {entries} {bytes}", Word(name.to_bytes()));
            result = result.and(line);
        });
        arrays::for_each_per_cpu(|map, each| {
            let name = CStr::from_bytes_until_nul(&map.name).unwrap_or(c"");
            let (id, entries) = (map.id, map.max_entries);
            let bytes = each * cpus::possible().count() as u64;
            let line = writeln!(f, "{id} {} {entries} {bytes}", Word(name.to_bytes()));
            result = result.and(line);
        });
        result
    }
}

impl Writer for Domains {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "id key shared programs maps base size frames isolation")?;
        let mut result = Ok(());
        domain::for_each(|domain| {
            let line = writeln!(
                f,
                "{} {} {} {} {} {:#x} {} {} {}",
                domain.id,
                domain.key,
                on_off(domain.shared),
                domain.members,
                domain.values.iter().count(),
                domain.base,
                domain.size,
                domain.frames,
                isolation(domain.alone)
            );
            result = result.and(line);
        });
        result
    }
}

impl Writer for Keys {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key use holders handouts recyclings moves flushes")?;
        writeln!(f, "0 kernel 1 0 0 0 0")?;
        writeln!(f, "1 events 1 0 0 0 0")?;
        let mut result = Ok(());
        domain::for_each_key(|key, state, counts| {
            let (used, holders) = match state {
                State::Free => ("free", 0),
                State::Own => ("domain", 1),
                State::Shared { holders } => ("shared", holders),
                State::Dirty => ("unflushed", 0),
            };
            let line = writeln!(
                f,
                "{} {} {} {} {} {} {}",
                key.number(),
                used,
                holders,
                counts.handouts,
                counts.recyclings,
                counts.moves,
                counts.flushes
            );
            result = result.and(line);
        });
        result
    }
}

impl Writer for Violations {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "time_ns program instruction address kind id")?;
        let mut result = Ok(());
        violation::for_each(|record| {
            let name = CStr::from_bytes_until_nul(&record.name).unwrap_or(c"");
            let line = writeln!(
                f,
                "{} {} {:#x} {:#x} {} {}",
                record.time_ns,
                Word(name.to_bytes()),
                record.at,
                record.addr,
                record.kind.name(),
                record.program
            );
            result = result.and(line);
        });
        result
    }
}
