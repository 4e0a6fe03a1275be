// SPDX-License-Identifier: GPL-2.0
//! Cycles of the gates' own code, without the key register and the interrupt flag.
//!
//! Counted by the TSC between fences (SDM volume 2, RDTSC and RDTSCP: both wait for what is
//! before them, LFENCE keeps what follows behind). The TSC does not count the core's cycles:
//! how many there are to a tick is measured beside, by a chain of multiplications, each of which
//! waits for the one before and takes three cycles on every CPU of the last fifteen years.

use bailey_native::{Call, Cpu, Plain, Program};
use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{Criterion, Throughput};
use std::arch::x86_64::{__rdtscp, _mm_lfence, _rdtsc};
use std::hint::black_box;
use std::time::Duration;

/// Ticks of the TSC.
struct Ticks;

impl Measurement for Ticks {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        // SAFETY: every x86-64 CPU has both.
        unsafe {
            _mm_lfence();
            let ticks = _rdtsc();
            _mm_lfence();
            ticks
        }
    }

    fn end(&self, start: u64) -> u64 {
        let mut cpu = 0;
        // SAFETY: every CPU with PKS has RDTSCP, and every one that builds this in practice.
        let ticks = unsafe {
            let ticks = __rdtscp(&raw mut cpu);
            _mm_lfence();
            ticks
        };
        ticks - start
    }

    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &Ticks
    }
}

impl ValueFormatter for Ticks {
    fn scale_values(&self, _typical: f64, _values: &mut [f64]) -> &'static str {
        "ticks"
    }

    fn scale_throughputs(&self, _: f64, _: &Throughput, _: &mut [f64]) -> &'static str {
        "ticks"
    }

    fn scale_for_machines(&self, _values: &mut [f64]) -> &'static str {
        "ticks"
    }
}

/// Calls in the programs of which a helper gate's share is taken.
const CALLS: usize = 10;
/// Links of the chain.
const CHAIN: usize = 100;

#[inline(never)]
extern "C" fn number(_: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    0
}

fn gates(c: &mut Criterion<Ticks>) {
    let call = Call {
        function: number,
        args: [0; 5],
    };
    c.bench_function("chain", |b| {
        b.iter(|| {
            let mut x = black_box(3u64);
            for _ in 0..CHAIN {
                // SAFETY: multiplies a register by itself.
                unsafe {
                    std::arch::asm!("imul {0}, {0}", inout(reg) x, options(pure, nomem, nostack))
                };
            }
            x
        });
    });
    for calls in [0, CALLS] {
        let plain = Plain::new(&vec![call; calls]).expect("memory near the functions");
        c.bench_function(&format!("plain_{calls}"), |b| b.iter(|| plain.run()));
        let mut cpu = Cpu::take();
        let program =
            Program::new(&mut cpu, &vec![call; calls], false).expect("memory near the gates");
        c.bench_function(&format!("isolated_{calls}"), |b| {
            b.iter(|| program.run(&cpu))
        });
        assert!(cpu.is_idle());
    }
    let mut cpu = Cpu::take();
    let program = Program::new(&mut cpu, &[call], true).expect("memory near the gates");
    c.bench_function("isolated_last", |b| b.iter(|| program.run(&cpu)));
}

fn main() {
    let mut criterion = Criterion::default()
        .with_measurement(Ticks)
        .sample_size(200)
        .warm_up_time(Duration::from_secs(2))
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    gates(&mut criterion);
    criterion.final_summary();
}
