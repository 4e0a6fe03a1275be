// SPDX-License-Identifier: GPL-2.0
//! Ranges, and the places of a domain's memory, by sums in twice the width.

use super::number;
use arbitrary::{Result, Unstructured};
use bailey::pure::loan::apart;
use bailey::pure::range::holds;
use bailey::pure::region::{Layout, Levels, Part, Place, PAGE, SPAN};

/// Whether the `len` bytes at `addr` are of those from `low` up to `high`.
fn within(low: u64, high: u64, addr: u64, len: u64) -> bool {
    let end = u128::from(addr) + u128::from(len);
    low <= addr && end <= u128::from(high)
}

pub(super) fn check_ranges(input: &mut Unstructured<'_>) -> Result<()> {
    let [low, high, addr, len] = [
        number(input)?,
        number(input)?,
        number(input)?,
        number(input)?,
    ];
    assert_eq!(
        holds(low, high, addr, len),
        within(low, high, addr, len),
        "{low:#x} {high:#x} {addr:#x} {len:#x}"
    );
    let end = |start: u64, len: u64| u128::from(start) + u128::from(len);
    let disjoint = len == 0
        || high == 0
        || end(addr, len) <= u128::from(low)
        || end(low, high) <= u128::from(addr);
    assert_eq!(apart(addr, len, low, high), disjoint);
    Ok(())
}

/// Every address is what the parts of its domain say, and in the part of one alone.
pub(super) fn check_layout(input: &mut Unstructured<'_>) -> Result<()> {
    let levels = if input.arbitrary()? {
        Levels::Four
    } else {
        Levels::Five
    };
    let base = number(input)? & !(levels.region_bytes() - 1);
    let cpus = input.arbitrary::<u16>()?;
    let [landing, stack] = [input.arbitrary::<u8>()?, input.arbitrary::<u8>()?];
    let Ok(layout) = Layout::new(base, levels, cpus.into(), landing.into(), stack.into()) else {
        return Ok(());
    };
    let domain = input.arbitrary::<u32>()? % layout.domains();
    let cpu = input.arbitrary::<u32>()? % layout.cpus();
    let span = layout.span(domain).expect("the domain is one");
    let frame = span.frame(cpu).expect("the CPU is one");
    let maps = span.maps();
    let parts = [frame.landing, frame.stack, maps];
    for part in parts {
        assert!(part.start < part.end && part.start % PAGE == 0 && part.end % PAGE == 0);
        assert!(within(
            base,
            base + (layout.len() - 1),
            part.start,
            part.len() - 1
        ));
        assert!(span.contains(part.start, part.len()));
        // Guards on both sides.
        for guard in [part.start - 1, part.end] {
            assert_eq!(layout.place(guard), Place::Guard { domain }, "{guard:#x}");
        }
    }
    let near = i64::from(input.arbitrary::<i16>()?);
    let part = parts[input.int_in_range(0..=2usize)?];
    let from = if input.arbitrary()? {
        part.start
    } else {
        part.end
    };
    let (addr, len) = (from.wrapping_add_signed(near), number(input)?);
    for part in parts {
        assert_eq!(
            part.contains(addr, len),
            within(part.start, part.end, addr, len)
        );
    }
    let in_span = addr >= span.base() && addr - span.base() < SPAN;
    let rest = u128::from(span.base()) + u128::from(SPAN);
    let fits = u128::from(addr) + u128::from(len) <= rest;
    assert_eq!(span.contains(addr, len), in_span && fits);
    assert_eq!(layout.domain_of(addr) == Some(domain), in_span);
    let place = layout.place(addr);
    assert_eq!(
        place == Place::Landing { domain, cpu },
        frame.landing.contains(addr, 1)
    );
    assert_eq!(
        place == Place::Stack { domain, cpu },
        frame.stack.contains(addr, 1)
    );
    assert_eq!(place == Place::Maps { domain }, maps.contains(addr, 1));
    if let Place::Landing { domain, cpu } | Place::Stack { domain, cpu } = place {
        let of = layout.span(domain).and_then(|span| span.cpu_of(addr));
        assert_eq!(of, Some(cpu));
    }
    let taken: u64 = input.arbitrary()?;
    let is_taken = |span: u32| taken & (1 << (span % 64)) != 0;
    if let Some(window) = layout.window(domain, is_taken) {
        assert!(!window.spans().any(is_taken) && window.spans().end <= layout.domains());
        // Whatever 32 bits and an offset say stays in the window.
        let index = u64::from(input.arbitrary::<u32>()?);
        let off = i64::from(input.arbitrary::<i16>()?);
        let addr = window.base().wrapping_add(index).wrapping_add_signed(off);
        assert!(window.reaches(addr));
        assert!((0..8).all(|byte| window.covers(addr.wrapping_add(byte))));
        assert!(layout
            .domain_of(addr)
            .is_some_and(|of| window.spans().contains(&of)));
    }
    Ok(())
}

/// The lowest place there is, a page away from everything, by trying them all.
pub(super) fn check_room(input: &mut Unstructured<'_>) -> Result<()> {
    let start = 0x10_0000 + PAGE * u64::from(input.arbitrary::<u8>()?);
    let room = Part {
        start,
        end: start + PAGE * u64::from(input.int_in_range(0u8..=48)?),
    };
    let mut taken = Vec::new();
    for _ in 0..input.int_in_range(0u8..=6)? {
        let start = room.start + PAGE * u64::from(input.int_in_range(0u8..=48)?);
        let end = start + PAGE * u64::from(input.int_in_range(1u8..=8)?);
        taken.push(Part { start, end });
    }
    let len = PAGE * u64::from(input.int_in_range(1u8..=24)?);
    let pages = (room.start..room.end).step_by(PAGE as usize);
    let lowest = pages.filter(|&at| at + len <= room.end).find(|&at| {
        let clear = |other: &Part| at >= other.end + PAGE || at + len + PAGE <= other.start;
        taken.iter().all(clear)
    });
    assert_eq!(
        room.place_for(len, taken.iter().copied()),
        lowest,
        "{room:?} {taken:?} {len:#x}"
    );
    Ok(())
}
