// SPDX-License-Identifier: GPL-2.0
//! `calls`: a line for each call by which an isolated program leaves confinement, with
//! what the helper gate takes each argument for.

use crate::bindings as b;
use crate::load::program::{self, State};
use crate::load::site::{effect, kind};
use crate::pure::catalog;
use crate::pure::graph::Part;
use kernel::debugfs::Writer;
use kernel::fmt;

/// The file.
pub(crate) struct Calls;

/// What the call is to the program, by its name without `bpf_`. `None` if no call leads
/// through the site.
fn name(site: &b::bailey_site) -> Option<&'static str> {
    if site.effects & effect::NEVER != 0 {
        return None;
    }
    match site.helper {
        b::BAILEY_SITE_FUNCTION => Some("function"),
        b::BAILEY_SITE_THROW => Some("throw"),
        id => catalog::name(id),
    }
}

/// What an argument has to be, in one word.
fn argument(arg: &b::bailey_arg) -> &'static str {
    match arg.kind {
        kind::UNUSED => "-",
        kind::SCALAR | kind::ALLOC_SIZE => "number",
        kind::CTX => "context",
        kind::KNOWN_MAP => "known",
        kind::MAP => "map",
        kind::MAP_KEY => "key",
        kind::MAP_VALUE => "value",
        kind::MEM | kind::MEM_FIXED | kind::WORDS => "memory",
        kind::SIZE => "size",
        kind::LOCK => "lock",
        kind::RINGBUF_RECORD => "record",
        kind::SOCKET => "socket",
        kind::CONST_STR => "string",
        kind::CALLBACK => "callback",
        kind::NEW_OBJECT | kind::CLONE | kind::OBJECT | kind::END_OBJECT | kind::DYNPTR => "name",
        kind::FIELD => "field",
        kind::AUX => "known",
        kind::KERNEL_OBJECT | kind::REFERENCE => "object",
        kind::PER_CPU => "allocated",
        kind::GRAPH => match Part::by_number(arg.size) {
            Some(Part::Size | Part::PerCpuSize | Part::Meta | Part::Offset) => "known",
            Some(_) => "allocated",
            None => "unknown",
        },
        _ => "unknown",
    }
}

impl Writer for Calls {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "id instruction address helper arguments")?;
        let mut result = Ok(());
        program::for_each(|program| {
            if !matches!(program.state(), State::Isolated | State::Quarantined) {
                return;
            }
            for image in program.images() {
                for site in image.sites() {
                    let Some(name) = name(site) else { continue };
                    let line = (|| {
                        let (id, at) = (program.id(), site.ret);
                        let offset = at.wrapping_sub(image.image);
                        write!(f, "{id} {offset:#x} {at:#x} {name} ")?;
                        for (n, arg) in site.args.iter().enumerate() {
                            let comma = if n == 0 { "" } else { "," };
                            write!(f, "{comma}{}", argument(arg))?;
                        }
                        writeln!(f)
                    })();
                    result = result.and(line);
                }
            }
        });
        result
    }
}
