// SPDX-License-Identifier: GPL-2.0
//! Words that several threads use, and two threads in every order of their steps
//! that the memory model allows (loom).

use bailey::pure::store::{Word32, Word64};
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use loom::sync::atomic::{fence, AtomicU32, AtomicU64};
use loom::sync::Arc;
use loom::thread;

/// 32 bits of loom's.
#[derive(Debug, Default)]
pub struct Small(AtomicU32);

impl Word32 for Small {
    fn load(&self) -> u32 {
        self.0.load(Acquire)
    }
    fn store(&self, value: u32) {
        self.0.store(value, Release);
    }
    fn swap(&self, value: u32) -> u32 {
        self.0.swap(value, AcqRel)
    }
}

/// 64 bits of loom's.
#[derive(Debug, Default)]
pub struct Wide(AtomicU64);

impl Word64 for Wide {
    fn load(&self) -> u64 {
        self.0.load(Acquire)
    }
    fn store(&self, value: u64) {
        self.0.store(value, Release);
    }
    fn exchange(&self, old: u64, new: u64) -> Result<(), u64> {
        self.0
            .compare_exchange(old, new, AcqRel, Acquire)
            .map(|_| ())
    }
    fn fence_reads() {
        fence(Acquire);
    }
    fn fence_writes() {
        fence(Release);
    }
}

/// Runs `write` and `read` at once, in every order of their steps, and then
/// `after`. The writer is the first thread: loom runs it to its end first and
/// goes back to where a load of the reader could have come before a store.
/// (What it remembers of a word is the last access alone, so a store behind a
/// load by the same thread does not make it go back to others' loads.)
pub fn race<W: Send + Sync + 'static, T: 'static>(
    words: impl Fn() -> W + Sync + Send + 'static,
    write: impl Fn(&W) + Copy + Sync + Send + 'static,
    read: impl Fn(&W) -> T + Copy + Sync + Send + 'static,
    after: impl Fn(&W, T) + Sync + Send + 'static,
) {
    let orders = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = orders.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let words = Arc::new(words());
        let (for_writer, for_reader) = (words.clone(), words.clone());
        let writer = thread::spawn(move || write(&for_writer));
        let reader = thread::spawn(move || read(&for_reader));
        writer.join().unwrap();
        after(&words, reader.join().unwrap());
    });
    // A model that is never run in another order shows nothing.
    assert!(orders.load(std::sync::atomic::Ordering::Relaxed) > 20);
}
