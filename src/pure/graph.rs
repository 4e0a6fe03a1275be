// SPDX-License-Identifier: GPL-2.0
//! Calls on objects that a program allocates, and on the lists, trees and
//! pointers in which it keeps them (`bpf_obj_new()`, `bpf_list_push_back()`,
//! `bpf_rbtree_add()`, `bpf_kptr_xchg()`).
//!
//! What the arguments are is said here, in numbers that a call site's table can
//! hold; and which of the calls may be made when.

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// How many bytes an object of the site's type has: the verifier's number.
    Size,
    /// What the kernel knows of that type: the verifier's address.
    Meta,
    /// Where in it the node is: the verifier's number.
    Offset,
    /// A list's head; its lock is held.
    List,
    /// A tree's root; its lock is held.
    Tree,
    /// The node of an object that the run owns, which is handed over.
    NewNode,
    /// The node of an object that the run may use.
    Node,
    /// An object that the run owns, which is handed over.
    Owned,
    /// An object that the run may use.
    Object,
    /// A field for a pointer to an object.
    Pointer,
    /// An object of the type that the field is for, handed over; or 0.
    OwnedOrNull,
    /// How many bytes each CPU has of the site's type: the verifier's number.
    PerCpuSize,
    /// Per-CPU memory that the run owns, which is given up.
    PerCpu,
}

impl Part {
    /// Every part, by its number.
    pub const ALL: [Self; 13] = [
        Self::Size,
        Self::Meta,
        Self::Offset,
        Self::List,
        Self::Tree,
        Self::NewNode,
        Self::Node,
        Self::Owned,
        Self::Object,
        Self::Pointer,
        Self::OwnedOrNull,
        Self::PerCpuSize,
        Self::PerCpu,
    ];

    /// The part with this number.
    pub const fn by_number(number: u32) -> Option<Self> {
        let mut n = 0;
        while n < Self::ALL.len() {
            #[allow(clippy::indexing_slicing)]
            let part = Self::ALL[n];
            if part as u32 == number {
                return Some(part);
            }
            n += 1;
        }
        None
    }

    /// Whether a call whose first argument is this may be made while a spin
    /// lock is held (`kfunc_spin_allowed()`, kernel/bpf/verifier.c). One that
    /// allocates or frees may not: freeing can take a lock itself, and there is
    /// one place for the interrupt flags of who does.
    pub const fn may_while_locked(self) -> bool {
        matches!(self, Self::List | Self::Tree | Self::Object | Self::Pointer)
    }
}

/// Whether a call with these first two arguments may be made while the kernel
/// searches a tree for the place of a new node: none that goes on from a node of
/// a tree, or changes one.
pub const fn may_while_searching(first: Part, second: Option<Part>) -> bool {
    first.may_while_locked() && !(matches!(first, Part::Tree) && second.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_by_its_number() {
        for (number, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!(Part::by_number(number as u32), Some(part));
        }
        assert_eq!(Part::by_number(Part::ALL.len() as u32), None);
    }

    #[test]
    fn what_frees_is_not_done_under_a_lock() {
        for part in [Part::Size, Part::Owned, Part::PerCpuSize, Part::PerCpu] {
            assert!(!part.may_while_locked());
            assert!(!may_while_searching(part, Some(Part::Meta)));
        }
    }

    #[test]
    fn a_tree_that_is_searched_stays_as_it_is() {
        assert!(may_while_searching(Part::Tree, None));
        assert!(!may_while_searching(Part::Tree, Some(Part::Node)));
        assert!(!may_while_searching(Part::Tree, Some(Part::NewNode)));
        assert!(may_while_searching(Part::Object, Some(Part::Meta)));
    }
}
