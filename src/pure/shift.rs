// SPDX-License-Identifier: GPL-2.0
//! How a living domain moves from the key that it shares to one of its own, or
//! back, while its programs run.
//!
//! Runs are never stopped and never meet a page that they cannot reach. What a
//! run may do it reads on each of its ways into confinement, from two words: the
//! keys it opens, and the page-table root it goes on. It reads the keys first.
//! Each step of a move changes one thing, and what must not meet is kept apart
//! by waiting for all runs that began before.
//!
//! Three things hold between any two steps, for each way into confinement:
//! whoever opens the shared key is on a root; whoever is on the kernel's page
//! tables opens keys of which every page is its domain's; and every page of the
//! domain has a key that is open, in the page tables and in every TLB.

/// Which keys the domain's runs open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// That which it comes from and that which it goes to.
    Both,
    /// That which it goes to alone.
    New,
}

/// One step of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ways into confinement open these keys from now on.
    Open(Open),
    /// They go to the domain's root from now on, or to the kernel's.
    Root(bool),
    /// Until every run that was under way has ended.
    Wait,
    /// The domain's pages get the new key, one after another.
    Tag,
    /// No TLB holds any translation of before.
    Flush,
}

/// To a key of its own. Afterwards nobody uses the root.
pub const TO_OWN: [Step; 8] = [
    Step::Open(Open::Both),
    Step::Wait,
    Step::Tag,
    Step::Flush,
    Step::Open(Open::New),
    // Else a way in that has read the old keys could read that there is no root.
    Step::Wait,
    Step::Root(false),
    Step::Wait,
];

/// To the key for sharing. Afterwards no TLB holds a translation with the old
/// key that anybody uses.
pub const TO_SHARED: [Step; 8] = [
    Step::Root(true),
    Step::Wait,
    Step::Open(Open::Both),
    Step::Wait,
    Step::Tag,
    Step::Flush,
    Step::Open(Open::New),
    Step::Wait,
];
