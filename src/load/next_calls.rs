// SPDX-License-Identifier: GPL-2.0
//! Calls that are made behind another one without leaving the kernel between them.
//!
//! Of two calls with nothing but moves between them ([`NextCall`]) the second's way in and
//! the first's way out cancel out: the first's gate makes the second call, too, and leaves
//! by the second's way out. Each is audited as if it came alone.

use super::images::Image;
use super::program::{Isolation, Program};
use super::site::{effect, kind, resource};
use super::stub::Kind;
use super::stub_kind;
use crate::bindings as b;
use crate::pure::catalog;
use crate::pure::insn::Insn;
use crate::pure::rewrite::NextCall;
use kernel::prelude::*;

/// A call that is made behind another one.
pub(crate) struct NextSite {
    /// The number of its site in their image's table.
    site: usize,
    /// What its arguments are.
    pub(crate) call: NextCall,
    /// Whether it, and the one before, has nothing to be audited.
    pub(crate) is_plain: bool,
    pub(crate) follows_plain: bool,
    /// Whether the one before may leave interrupts other than they were.
    pub(crate) follows_lock: bool,
}

impl NextSite {
    /// What is made behind the call of `site`, if that is so.
    #[inline]
    pub(crate) fn behind<'a>(image: &Image, site: &b::bailey_site) -> Option<&'a Self> {
        let number = (site.class >> b::BAILEY_SITE_NEXT_SHIFT) as usize;
        let table = image.next_calls as *const Self;
        // SAFETY: a class has a number of the table of its site's program, from 1, and that table
        // lives as long as the site (`Search`).
        (number != 0).then(|| unsafe { &*table.add(number - 1) })
    }

    /// Its site in `image`, which is the run's.
    pub(crate) fn site(&self, image: &Image) -> *mut b::bailey_site {
        image.sites.wrapping_add(self.site)
    }
}

/// Most of a program: what a class has room for above the number's shift.
const MOST: usize = (u32::MAX >> b::BAILEY_SITE_NEXT_SHIFT) as usize;

// A class that names one passes neither of the gate's tests for others.
const _: () = {
    let names = (MOST as u32) << b::BAILEY_SITE_NEXT_SHIFT;
    assert!(names & (b::BAILEY_SITE_SCALAR | b::BAILEY_SITE_MAP | b::BAILEY_SITE_LAST) == 0);
    assert!(b::BAILEY_SITE_AUDITED == 0);
};

/// Behind it nothing else happens than the next instruction.
fn goes_on(site: &b::bailey_site) -> bool {
    const ELSEWHERE: u16 = effect::TAIL_CALL | effect::CALLS_BACK | effect::THROWS | effect::LAST;
    is_call(site) && site.effects & ELSEWHERE == 0
}

/// A call of a helper or kfunc through the gate. Calls of functions are none: there may be a
/// switch instead.
fn is_call(site: &b::bailey_site) -> bool {
    stub_kind(site) == Kind::Gate
        && catalog::name(site.helper).is_some()
        && site.effects & effect::NEVER == 0
}

/// Whether the gate would take the call as it comes, while interrupts are on. To be asked
/// before the site's class says what comes behind it.
fn is_plain(site: &b::bailey_site) -> bool {
    matches!(site.class, b::BAILEY_SITE_SCALAR | b::BAILEY_SITE_MAP)
}

/// Whether interrupts may be on before the call and off behind it, or the other way round.
fn may_switch_interrupts(site: &b::bailey_site) -> bool {
    let of_lock = matches!(site.resource, resource::SPIN_LOCK | resource::RES_SPIN_LOCK);
    of_lock || site.effects & effect::OBJECTS != 0
}

/// The class of a site behind which the call of that number is made, from 1.
fn class(number: usize) -> u32 {
    b::BAILEY_SITE_AUDITED | (number as u32) << b::BAILEY_SITE_NEXT_SHIFT
}

/// Finds them while the instructions are finished, from the first to the last.
pub(super) struct Search<'a> {
    isolation: &'a Isolation,
    /// Where the call before is, and the number of its site.
    before: Option<(usize, usize)>,
    /// The site of the last one that comes behind another.
    last: Option<usize>,
}

impl<'a> Search<'a> {
    pub(super) fn new(isolation: &'a Isolation) -> Self {
        Self {
            isolation,
            before: None,
            last: None,
        }
    }

    /// Takes the next call, which is at `at`: up to there `insns` are finished. Where there is
    /// no memory each is left to its own gate.
    pub(super) fn take(&mut self, insns: &[Insn], at: usize, number: usize) {
        if let Some(before) = self.before.replace((at, number)) {
            let _ = self.join(insns, before, (at, number));
        }
    }

    fn join(
        &mut self,
        insns: &[Insn],
        (at, number): (usize, usize),
        (next_at, next_number): (usize, usize),
    ) -> Option<()> {
        // SAFETY: the loader alone knows both tables until `publish`.
        let (sites, found) = unsafe {
            let (sites, found) = (self.isolation.sites.get(), self.isolation.next_calls.get());
            (&mut *sites, &mut *found)
        };
        let mut parts = self.isolation.parts.iter();
        let part = parts.find(|part| part.has_site(number) && part.has_site(next_number))?;
        let (site, next) = (sites.get(number)?, sites.get(next_number)?);
        if found.len() == MOST || !goes_on(site) || !is_call(next) {
            return None;
        }
        // Of two that the gate takes as they come each is sooner made by itself, unless the
        // first comes behind another one.
        if is_plain(site) && is_plain(next) && self.last != Some(number) {
            return None;
        }
        let count = next.args.iter().rposition(|arg| arg.kind != kind::UNUSED);
        let between = insns.get(at + 1..next_at)?;
        let call = NextCall::between(between, count.map_or(0, |last| last + 1))?;
        let next = NextSite {
            site: next_number - part.first_site,
            call,
            is_plain: is_plain(next),
            follows_plain: is_plain(site),
            follows_lock: may_switch_interrupts(site),
        };
        found.push(next, GFP_KERNEL).ok()?;
        sites.get_mut(number)?.class = class(found.len());
        self.last = Some(next_number);
        Some(())
    }

    /// Has the images know what was found: it does not move any more.
    pub(super) fn finish(self, program: &Program) {
        // SAFETY: as in `join`.
        let found = unsafe { &*self.isolation.next_calls.get() };
        for image in program.images() {
            // SAFETY: the loader alone writes the record before `publish`.
            unsafe { (*image.as_raw()).next_calls = found.as_ptr() as u64 };
        }
    }
}
