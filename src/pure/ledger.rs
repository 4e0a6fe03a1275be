// SPDX-License-Identifier: GPL-2.0
//! What a run has acquired, so that an aborted run can give it back.
//!
//! A run that is cut short while it holds a `bpf_spin_lock` would deadlock the
//! CPU at the next one. So what its helpers acquire is written here, and given
//! back in reverse order before anything else can wait for it.

use super::kernel_type::KernelType;

/// How much a run can hold at once. The verifier lets a program hold one spin
/// lock; resilient ones and references it does not limit, so a full ledger refuses
/// more.
pub const CAPACITY: usize = 32;

/// Kinds of what a run can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A `struct bpf_spin_lock`; interrupts are off while it is held.
    SpinLock,
    /// A `struct bpf_res_spin_lock`. If interrupts are off for its sake, their flags
    /// are what was acquired just before it ([`Kind::LockFlags`]).
    ResSpinLock,
    /// Interrupt flags that were saved with a lock, to be restored with it; the
    /// address is the place of the object ([`super::objects`]).
    LockFlags,
    /// A ring-buffer record, neither submitted nor discarded.
    RingbufRecord,
    /// A reference to a socket.
    Socket,
    /// A read-side section of RCU. They nest; none has an address.
    RcuRead,
    /// Preemption that is off, once more. The same.
    PreemptOff,
    /// Interrupt flags to be restored; the address is the place of the object
    /// ([`super::objects`]).
    IrqFlags,
    /// An iterator over bits. The same.
    BitsIterator,
    /// A reference to an object that the program has allocated.
    Object,
    /// The same, while the kernel searches the place of the object in a tree: it
    /// is no longer the program's to hand over.
    Placing,
    /// A reference to an object of the kernel's, of this type.
    Reference(KernelType),
    /// Per-CPU memory that the program has allocated.
    PerCpuObject,
}

impl Kind {
    /// Whether nothing but how often it is held counts.
    pub const fn is_counted(self) -> bool {
        matches!(self, Self::RcuRead | Self::PreemptOff)
    }

    /// Whether it is a lock in a value or object.
    pub const fn is_lock(self) -> bool {
        matches!(self, Self::SpinLock | Self::ResSpinLock)
    }
}

/// One thing a run holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it is.
    pub kind: Kind,
    /// Its kernel address; 0 if it has none.
    pub addr: u64,
}

/// A lock that a run holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The lock itself.
    pub held: Held,
    /// The interrupt flags that were saved with it.
    pub flags: Option<Held>,
}

/// Why the ledger does not take or give something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerError {
    /// No room. Ask [`Ledger::has_room`] before the helper is called.
    Full,
    /// The run does not hold that.
    NotHeld,
}

/// What one run holds, in the order in which it was acquired.
#[derive(Debug)]
pub struct Ledger {
    held: [Held; CAPACITY],
    len: usize,
}

impl Ledger {
    /// Nothing held.
    pub const fn new() -> Self {
        Self {
            held: [Held {
                kind: Kind::Socket,
                addr: 0,
            }; CAPACITY],
            len: 0,
        }
    }

    /// What is held, oldest first.
    pub fn held(&self) -> &[Held] {
        self.held.get(..self.len).unwrap_or(&[])
    }

    /// Whether nothing is held.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether one more acquisition finds room.
    pub const fn has_room(&self) -> bool {
        self.has_room_for(1)
    }

    /// Whether `more` acquisitions find room.
    pub const fn has_room_for(&self, more: usize) -> bool {
        self.len.saturating_add(more) <= CAPACITY
    }

    /// Whether the run holds `kind` at `addr`.
    pub fn holds(&self, kind: Kind, addr: u64) -> bool {
        self.held().contains(&Held { kind, addr })
    }

    /// The locks that the run holds, the one that was taken first before the others.
    pub fn locks(&self) -> impl Iterator<Item = u64> + '_ {
        let locks = self.held().iter().filter(|held| held.kind.is_lock());
        locks.map(|held| held.addr)
    }

    /// The lock that the run took last of those that it holds. It is the one that may
    /// be released: the kernel keeps a stack of the resilient ones that a CPU holds.
    pub fn last_lock(&self) -> Option<Lock> {
        let at = self.held().iter().rposition(|held| held.kind.is_lock())?;
        let below = at.checked_sub(1).and_then(|below| self.held().get(below));
        Some(Lock {
            held: *self.held().get(at)?,
            flags: below.filter(|below| below.kind == Kind::LockFlags).copied(),
        })
    }

    /// The run holds `kind` at `addr` now. The same socket may be held more
    /// than once.
    pub fn acquire(&mut self, kind: Kind, addr: u64) -> Result<(), LedgerError> {
        let slot = self.held.get_mut(self.len).ok_or(LedgerError::Full)?;
        *slot = Held { kind, addr };
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    /// The run no longer holds `kind` at `addr`.
    pub fn release(&mut self, kind: Kind, addr: u64) -> Result<(), LedgerError> {
        let gone = Held { kind, addr };
        let held = self.held.get_mut(..self.len).unwrap_or(&mut []);
        if !held.contains(&gone) {
            return Err(LedgerError::NotHeld);
        }
        // From the newest down to the one that goes, each takes the place of
        // the one before it.
        let mut newer = gone;
        for slot in held.iter_mut().rev() {
            let here = core::mem::replace(slot, newer);
            if here == gone {
                break;
            }
            newer = here;
        }
        self.len = self.len.saturating_sub(1);
        Ok(())
    }

    /// Nothing is held any more: for a new run in the place of an old one, which
    /// has given back what it held.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes out what was acquired last: an abort gives back until `None`.
    pub fn pop(&mut self) -> Option<Held> {
        self.len = self.len.checked_sub(1)?;
        self.held.get(self.len).copied()
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn what_is_not_held_cannot_be_released() {
        let mut ledger = Ledger::new();
        ledger.acquire(Kind::Socket, 8).unwrap();
        assert_eq!(ledger.release(Kind::Socket, 16), Err(LedgerError::NotHeld));
        assert_eq!(ledger.release(Kind::SpinLock, 8), Err(LedgerError::NotHeld));
        assert_eq!(ledger.release(Kind::Socket, 8), Ok(()));
        assert_eq!(ledger.release(Kind::Socket, 8), Err(LedgerError::NotHeld));
        assert_eq!(ledger.pop(), None);
    }

    #[test]
    fn a_full_ledger_refuses_more() {
        let mut ledger = Ledger::new();
        for addr in 0..CAPACITY as u64 {
            assert!(ledger.has_room());
            ledger.acquire(Kind::Socket, addr).unwrap();
        }
        assert!(!ledger.has_room());
        assert_eq!(ledger.acquire(Kind::Socket, 1), Err(LedgerError::Full));
        assert_eq!(ledger.held().len(), CAPACITY);
    }

    #[test]
    fn the_last_lock_is_found_under_later_acquisitions() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.last_lock(), None);
        ledger.acquire(Kind::SpinLock, 64).unwrap();
        ledger.acquire(Kind::Socket, 8).unwrap();
        let lock = ledger.last_lock().unwrap();
        assert_eq!((lock.held.addr, lock.flags), (64, None));
    }

    #[test]
    fn locks_have_the_flags_that_were_saved_with_them() {
        let mut ledger = Ledger::new();
        let flags = |place| Held {
            kind: Kind::LockFlags,
            addr: place,
        };
        // Flags that were saved for themselves, then a lock without, with, and without flags.
        ledger.acquire(Kind::IrqFlags, 0).unwrap();
        ledger.acquire(Kind::ResSpinLock, 64).unwrap();
        ledger.acquire(Kind::LockFlags, 1).unwrap();
        ledger.acquire(Kind::ResSpinLock, 128).unwrap();
        ledger.acquire(Kind::ResSpinLock, 192).unwrap();
        ledger.acquire(Kind::Object, 4096).unwrap();
        let locks: Vec<u64> = ledger.locks().collect();
        assert_eq!(locks, [64, 128, 192]);
        for (addr, saved) in [(192, None), (128, Some(flags(1))), (64, None)] {
            let lock = ledger.last_lock().unwrap();
            assert_eq!((lock.held.addr, lock.flags), (addr, saved));
            ledger.release(Kind::ResSpinLock, addr).unwrap();
            if let Some(saved) = saved {
                ledger.release(saved.kind, saved.addr).unwrap();
            }
        }
        assert_eq!(ledger.last_lock(), None);
        assert_eq!(ledger.held().len(), 2);
    }

    #[test]
    fn there_is_room_for_as_many_as_are_asked_for() {
        let mut ledger = Ledger::new();
        for addr in 1..CAPACITY as u64 {
            assert!(ledger.has_room_for(2));
            ledger.acquire(Kind::ResSpinLock, addr).unwrap();
        }
        assert!(ledger.has_room() && !ledger.has_room_for(2));
    }

    fn kinds() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::SpinLock),
            Just(Kind::ResSpinLock),
            Just(Kind::LockFlags),
            Just(Kind::RingbufRecord),
            Just(Kind::Socket),
            Just(Kind::RcuRead),
            Just(Kind::Object),
            Just(Kind::Placing),
            Just(Kind::PerCpuObject),
            Just(Kind::Reference(KernelType::Task)),
            Just(Kind::Reference(KernelType::Cgroup))
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a plain vector.
        #[test]
        fn a_ledger_gives_back_in_reverse_order(
            steps in proptest::collection::vec((any::<bool>(), kinds(), 0u64..4), 0..200)
        ) {
            let mut ledger = Ledger::new();
            let mut model: Vec<Held> = Vec::new();
            for (acquire, kind, addr) in steps {
                let held = Held { kind, addr };
                if acquire {
                    let expected = if model.len() < CAPACITY { Ok(()) } else { Err(LedgerError::Full) };
                    prop_assert_eq!(ledger.acquire(kind, addr), expected);
                    if expected.is_ok() {
                        model.push(held);
                    }
                } else {
                    let at = model.iter().rposition(|other| *other == held);
                    prop_assert_eq!(ledger.release(kind, addr).is_ok(), at.is_some());
                    if let Some(at) = at {
                        model.remove(at);
                    }
                }
                prop_assert_eq!(ledger.held(), &model[..]);
            }
            while let Some(held) = ledger.pop() {
                prop_assert_eq!(Some(held), model.pop());
            }
            prop_assert!(model.is_empty() && ledger.is_empty());
        }
    }
}
