// SPDX-License-Identifier: GPL-2.0
//! Where things lie in the region of all domain memory.
//!
//! The region is one top-level page-table entry's worth of addresses: 2^39
//! bytes with four levels of page tables, 2^48 with five. Each domain has a
//! fixed [`Span`] of it, so addresses are the same everywhere and a domain can
//! have a page-table root in which only its span exists.
//!
//! ```text
//! span:   | frame of CPU 0 | frame of CPU 1 | ... | guard | maps ...   | guard |
//! frame:  | guard | landing pages | guard | stack pages | guard ... (to a power of two) |
//! ```
//!
//! An arena needs more: 32 bits of addresses from its first one on, whatever its size. It gets a
//! [`Window`], some spans in a row that are no domain's; domains take the region's spans from
//! the bottom, windows from the top.
//!
//! Guard pages are never mapped. A frame's stack grows down towards the guard
//! that parts it from the landing pages, so an overflow meets a guard before
//! anything else. All addresses and lengths are in bytes.

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// log2 of the bytes of a domain's span.
const SPAN_SHIFT: u32 = 30;

/// Bytes of a domain's span.
pub const SPAN: u64 = 1 << SPAN_SHIFT;

/// Spans of a window: what 32 bits address, and half a span on either side, of which an
/// access reaches the next 32 KiB by its offset.
pub const WINDOW: u32 = 5;

/// A window lies in one such row of spans, which is what one entry of the fourth level of page
/// tables covers: the row of its domain's span, so that a domain's page tables have one table
/// for both.
pub const ROW: u32 = 512;

/// Most pages of a frame, guards included.
const MAX_FRAME_PAGES: u64 = 1 << 12;

/// Levels of page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    /// Four: 48-bit addresses.
    Four,
    /// Five: 57-bit addresses.
    Five,
}

impl Levels {
    /// Bytes that one top-level entry covers, which is the region's size
    /// (SDM volume 3, section 4.5).
    pub const fn region_bytes(self) -> u64 {
        match self {
            Self::Four => 1 << 39,
            Self::Five => 1 << 48,
        }
    }
}

/// Why a layout cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// The region does not start where a top-level entry does, or runs over
    /// the end of the address space.
    Base,
    /// No CPUs, or so many that their frames leave no half of a span to maps.
    Cpus,
    /// A frame without stack or landing pages, or with too many.
    Pages,
}

/// The layout of the region, the same for every domain.
///
/// [`Layout::new`] makes sure that no sum below exceeds 64 bits; they wrap only
/// in that the compiler cannot know it and would call a panic.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    base: u64,
    levels: Levels,
    cpus: u32,
    landing_pages: u32,
    stack_pages: u32,
    /// Bytes from one frame to the next, a power of two.
    frame: u64,
}

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Not of the region.
    Outside,
    /// A guard page, or room that no page will ever fill.
    Guard {
        /// Whose span it is in.
        domain: u32,
    },
    /// A page on which event frames land.
    Landing {
        /// Whose it is.
        domain: u32,
        /// For which CPU.
        cpu: u32,
    },
    /// A page of a stack region.
    Stack {
        /// Whose it is.
        domain: u32,
        /// For which CPU.
        cpu: u32,
    },
    /// Room for map values.
    Maps {
        /// Whose it is.
        domain: u32,
    },
}

impl Layout {
    /// A layout of the region at `base` for CPU numbers below `cpus`, each
    /// with so many landing and stack pages in each domain.
    pub const fn new(
        base: u64,
        levels: Levels,
        cpus: u32,
        landing_pages: u32,
        stack_pages: u32,
    ) -> Result<Self, LayoutError> {
        let bytes = levels.region_bytes();
        if base % bytes != 0 || base.checked_add(bytes - 1).is_none() {
            return Err(LayoutError::Base);
        }
        if landing_pages == 0 || stack_pages == 0 {
            return Err(LayoutError::Pages);
        }
        let pages = 3 + landing_pages as u64 + stack_pages as u64;
        if pages > MAX_FRAME_PAGES {
            return Err(LayoutError::Pages);
        }
        let frame = pages.next_power_of_two() * PAGE;
        if cpus == 0 || cpus as u64 > SPAN / 2 / frame {
            return Err(LayoutError::Cpus);
        }
        Ok(Self {
            base,
            levels,
            cpus,
            landing_pages,
            stack_pages,
            frame,
        })
    }

    /// The region's first address.
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// The region's length.
    pub const fn len(&self) -> u64 {
        self.levels.region_bytes()
    }

    /// Never: a region has a length.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// CPU numbers are below this.
    pub const fn cpus(&self) -> u32 {
        self.cpus
    }

    /// How many domains find room.
    pub const fn domains(&self) -> u32 {
        let spans = self.levels.region_bytes() >> SPAN_SHIFT;
        // 2^18 with five levels.
        spans as u32
    }

    /// The span of domain number `domain`, or `None` if there is no room.
    pub const fn span(&self, domain: u32) -> Option<Span> {
        if domain >= self.domains() {
            return None;
        }
        Some(Span {
            layout: *self,
            base: self.base.wrapping_add((domain as u64) << SPAN_SHIFT),
        })
    }

    /// The highest window for domain number `domain` of whose spans none is `taken`.
    pub fn window(&self, domain: u32, taken: impl Fn(u32) -> bool) -> Option<Window> {
        let row = domain - domain % ROW;
        let end = row.saturating_add(ROW).min(self.domains());
        let first = (row..end.checked_sub(WINDOW - 1)?)
            .rev()
            .find(|&first| !(first..first + WINDOW).any(&taken))?;
        Some(Window {
            first,
            base: self
                .base
                .wrapping_add((u64::from(first) << SPAN_SHIFT) + SPAN / 2),
        })
    }

    /// The number of the domain in whose span `addr` lies.
    pub const fn domain_of(&self, addr: u64) -> Option<u32> {
        match addr.checked_sub(self.base) {
            Some(offset) if offset < self.levels.region_bytes() => {
                Some((offset >> SPAN_SHIFT) as u32)
            }
            _ => None,
        }
    }

    /// What `addr` is.
    pub const fn place(&self, addr: u64) -> Place {
        let Some(domain) = self.domain_of(addr) else {
            return Place::Outside;
        };
        let in_span = addr.wrapping_sub(self.base) & (SPAN - 1);
        if in_span >= self.maps_start() {
            return if in_span < SPAN - PAGE {
                Place::Maps { domain }
            } else {
                Place::Guard { domain }
            };
        }
        let Some(cpu) = self.cpu_at(in_span) else {
            return Place::Guard { domain };
        };
        let page = (in_span & self.frame.wrapping_sub(1)) / PAGE;
        let landing = self.landing_pages as u64;
        let stack = self.stack_pages as u64;
        if page >= 1 && page < 1 + landing {
            Place::Landing { domain, cpu }
        } else if page >= 2 + landing && page < 2 + landing + stack {
            Place::Stack { domain, cpu }
        } else {
            Place::Guard { domain }
        }
    }

    /// Where maps begin, from the start of a span: behind the frames and a
    /// guard page.
    const fn maps_start(&self) -> u64 {
        (self.cpus as u64)
            .wrapping_mul(self.frame)
            .wrapping_add(PAGE)
    }

    /// The CPU in whose frame the byte at `in_span` from the start of a span
    /// is.
    const fn cpu_at(&self, in_span: u64) -> Option<u32> {
        match in_span.checked_div(self.frame) {
            Some(cpu) if cpu < self.cpus as u64 => Some(cpu as u32),
            _ => None,
        }
    }
}

/// Spans in which an arena is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    first: u32,
    base: u64,
}

impl Window {
    /// The numbers of its spans.
    pub const fn spans(&self) -> core::ops::Range<u32> {
        self.first..self.first + WINDOW
    }

    /// Where its first span begins.
    pub const fn start(&self) -> u64 {
        self.base.wrapping_sub(SPAN / 2)
    }

    /// What an arena's addresses, of which the low 32 bits count, are added to.
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Whether the byte at `addr` is of its spans.
    pub const fn covers(&self, addr: u64) -> bool {
        addr.wrapping_sub(self.start()) < WINDOW as u64 * SPAN
    }

    /// Whether an access to an arena can come to `addr`: by 32 bits and an offset of 16.
    pub const fn reaches(&self, addr: u64) -> bool {
        const OFFSET: u64 = 1 << 15;
        addr.wrapping_sub(self.base).wrapping_add(OFFSET) < (1 << 32) + 2 * OFFSET
    }
}

/// One domain's part of the region.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    layout: Layout,
    base: u64,
}

impl Span {
    /// Its first address.
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Whether the `len` bytes from `addr` on all lie in the span. No bytes
    /// lie in it if their address does.
    pub const fn contains(&self, addr: u64, len: u64) -> bool {
        match addr.checked_sub(self.base) {
            Some(offset) => offset < SPAN && len <= SPAN - offset,
            None => false,
        }
    }

    /// What CPU number `cpu` has here, or `None` if there is no such CPU.
    pub const fn frame(&self, cpu: u32) -> Option<Frame> {
        if cpu >= self.layout.cpus {
            return None;
        }
        let layout = &self.layout;
        let base = self
            .base
            .wrapping_add((cpu as u64).wrapping_mul(layout.frame));
        let landing = base.wrapping_add(PAGE);
        let landing_end = landing.wrapping_add(layout.landing_pages as u64 * PAGE);
        let stack = landing_end.wrapping_add(PAGE);
        let stack_end = stack.wrapping_add(layout.stack_pages as u64 * PAGE);
        Some(Frame {
            landing: Part {
                start: landing,
                end: landing_end,
            },
            stack: Part {
                start: stack,
                end: stack_end,
            },
        })
    }

    /// The number of the CPU in whose frame `addr` lies.
    pub const fn cpu_of(&self, addr: u64) -> Option<u32> {
        match addr.checked_sub(self.base) {
            Some(offset) if offset < SPAN => self.layout.cpu_at(offset),
            _ => None,
        }
    }

    /// The room for map values.
    pub const fn maps(&self) -> Part {
        Part {
            start: self.base.wrapping_add(self.layout.maps_start()),
            end: self.base.wrapping_add(SPAN - PAGE),
        }
    }
}

/// Whole pages, from `start` up to but not with `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
}

impl Part {
    /// Its length in bytes.
    pub const fn len(&self) -> u64 {
        self.end.wrapping_sub(self.start)
    }

    /// Whether it holds nothing.
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// Whether the `len` bytes from `addr` on all lie in it.
    pub const fn contains(&self, addr: u64, len: u64) -> bool {
        addr >= self.start && addr <= self.end && len <= self.end - addr
    }

    /// The lowest place in it for `len` bytes, at least a guard page away from each
    /// part that is `taken`.
    pub fn place_for(&self, len: u64, taken: impl Iterator<Item = Self> + Clone) -> Option<u64> {
        let behind = |part: &Self| part.end.saturating_add(PAGE);
        let clear = |at: u64, other: &Self| {
            let end = at.saturating_add(len).saturating_add(PAGE);
            at >= behind(other) || end <= other.start
        };
        // The lowest is where the room begins, or right behind something.
        let ends = taken.clone().map(|other| behind(&other));
        core::iter::once(self.start)
            .chain(ends)
            .filter(|&at| self.contains(at, len))
            .filter(|&at| taken.clone().all(|other| clear(at, &other)))
            .min()
    }
}

/// One CPU's pages in one domain.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Where event frames land while confined.
    pub landing: Part,
    /// Where shadows and BPF stacks are carved, from the end downwards.
    pub stack: Part,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;

    const BASE: u64 = 0xffff_c900_0000_0000;

    fn layouts() -> impl Strategy<Value = Layout> {
        (
            prop_oneof![Just(Levels::Four), Just(Levels::Five)],
            0u64..512,
            1u32..8192,
            1u32..4,
            1u32..64,
        )
            .prop_filter_map("too large", |(levels, entry, cpus, landing, stack)| {
                // A canonical upper-half top-level entry.
                let base = 0u64.wrapping_sub((entry + 1) * levels.region_bytes());
                Layout::new(base, levels, cpus, landing, stack).ok()
            })
    }

    #[test]
    fn a_layout_that_cannot_be_is_refused() {
        let new = Layout::new;
        assert_eq!(
            new(BASE + PAGE, Levels::Four, 1, 1, 1).err(),
            Some(LayoutError::Base)
        );
        assert_eq!(
            new(BASE, Levels::Five, 1, 1, 1).err(),
            Some(LayoutError::Base)
        );
        assert_eq!(
            new(BASE, Levels::Four, 0, 1, 1).err(),
            Some(LayoutError::Cpus)
        );
        assert_eq!(
            new(BASE, Levels::Four, u32::MAX, 1, 1).err(),
            Some(LayoutError::Cpus)
        );
        assert_eq!(
            new(BASE, Levels::Four, 1, 0, 1).err(),
            Some(LayoutError::Pages)
        );
        assert_eq!(
            new(BASE, Levels::Four, 1, 1, 0).err(),
            Some(LayoutError::Pages)
        );
        assert_eq!(
            new(BASE, Levels::Four, 1, u32::MAX, u32::MAX).err(),
            Some(LayoutError::Pages)
        );
    }

    #[test]
    fn the_highest_entry_of_the_address_space_is_a_region() {
        let base = 0u64.wrapping_sub(Levels::Four.region_bytes());
        let layout = Layout::new(base, Levels::Four, 2, 1, 4).unwrap();
        let last = layout.span(layout.domains() - 1).unwrap();
        assert!(last.contains(u64::MAX, 1));
        assert!(!last.contains(u64::MAX, 2));
        assert!(!last.contains(0, 1));
    }

    #[test]
    fn room_is_for_512_domains_with_four_levels() {
        let layout = Layout::new(BASE, Levels::Four, 64, 1, 8).unwrap();
        assert_eq!(layout.domains(), 512);
        assert!(layout.span(511).is_some());
        assert!(layout.span(512).is_none());
    }

    #[test]
    fn a_window_is_as_high_as_can_be_and_in_the_row_of_its_domain() {
        let layout = Layout::new(BASE, Levels::Four, 4, 1, 8).unwrap();
        let first = layout.window(0, |_| false).unwrap();
        assert_eq!(first.spans(), 507..512);
        assert_eq!(first.start(), layout.span(507).unwrap().base());
        assert_eq!(first.base(), first.start() + SPAN / 2);
        assert!(first.covers(first.start()) && !first.covers(first.start() - 1));
        assert!(first.covers(layout.base() + (layout.len() - 1)));
        let next = layout.window(9, |span| first.spans().contains(&span));
        assert_eq!(next.unwrap().spans(), 502..507);
        assert_eq!(layout.window(3, |span| span % 5 == 0), None);
        // 2^18 spans, of which no window may lie in two rows.
        let base = 0u64.wrapping_sub(Levels::Five.region_bytes());
        let layout = Layout::new(base, Levels::Five, 4, 1, 8).unwrap();
        assert_eq!(layout.window(511, |_| false).unwrap().spans(), 507..512);
        assert_eq!(layout.window(512, |_| false).unwrap().spans(), 1019..1024);
        let last = layout.window(layout.domains() - 1, |_| false).unwrap();
        assert_eq!(last.spans().end, layout.domains());
        assert_eq!(last.start().wrapping_add(u64::from(WINDOW) * SPAN), 0);
    }

    #[test]
    fn accesses_reach_32_bits_and_an_offset() {
        let layout = Layout::new(BASE, Levels::Four, 4, 1, 8).unwrap();
        let window = layout.window(0, |_| false).unwrap();
        let base = window.base();
        for (addr, reached) in [
            (base, true),
            (base - (1 << 15), true),
            (base - (1 << 15) - 1, false),
            (base + u64::from(u32::MAX) + (1 << 15), true),
            (base + (1 << 32) + (1 << 15), false),
            (0, false),
        ] {
            assert_eq!(window.reaches(addr), reached, "{addr:#x}");
            if reached {
                let span = layout.domain_of(addr).unwrap();
                assert!(window.spans().contains(&span) && window.covers(addr));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_comes_and_goes_has_the_lowest_free_place_of_its_own(
            pages in 1u64..40, steps in proptest::collection::vec((0u64..12 * PAGE, any::<usize>()), 1..60),
        ) {
            let room = Part { start: BASE, end: BASE + pages * PAGE };
            let mut taken: std::vec::Vec<Part> = std::vec![];
            for (len, goes) in steps {
                if goes % 3 == 0 && !taken.is_empty() {
                    taken.swap_remove(goes / 3 % taken.len());
                }
                let fits = |at: u64| {
                    let end = at + len.next_multiple_of(PAGE);
                    end <= room.end
                        && taken.iter().all(|part| at >= part.end + PAGE || end + PAGE <= part.start)
                };
                let lowest = (0..pages + 1).map(|page| BASE + page * PAGE).find(|&at| fits(at));
                let place = room.place_for(len, taken.iter().copied());
                prop_assert_eq!(place, lowest);
                if let Some(start) = place {
                    taken.push(Part { start, end: start + len.next_multiple_of(PAGE) });
                }
            }
        }

        #[test]
        fn every_part_lies_in_its_span_and_no_two_overlap(
            layout in layouts(), domain in any::<u32>(), cpu in any::<u32>()
        ) {
            let domain = domain % layout.domains();
            let cpu = cpu % layout.cpus();
            let span = layout.span(domain).unwrap();
            let frame = span.frame(cpu).unwrap();
            let mut parts = std::vec![frame.landing, frame.stack, span.maps()];
            if let Some(next) = span.frame(cpu + 1) {
                parts.extend([next.landing, next.stack]);
            }
            for part in &parts {
                prop_assert!(!part.is_empty());
                prop_assert_eq!(part.start % PAGE, 0);
                prop_assert_eq!(part.end % PAGE, 0);
                prop_assert!(span.contains(part.start, part.len()));
            }
            parts.sort_by_key(|part| part.start);
            for pair in parts.windows(2) {
                // A guard page at least between any two.
                prop_assert!(pair[0].end + PAGE <= pair[1].start);
            }
            prop_assert!(frame.landing.start - span.base() >= PAGE);
            prop_assert_eq!(span.maps().end - span.base(), SPAN - PAGE);
        }

        #[test]
        fn spans_follow_each_other_without_overlap(layout in layouts(), domain in any::<u32>()) {
            let domain = domain % layout.domains();
            let span = layout.span(domain).unwrap();
            prop_assert_eq!(span.base(), layout.base() + u64::from(domain) * SPAN);
            prop_assert_eq!(layout.domain_of(span.base()), Some(domain));
            prop_assert_eq!(layout.domain_of(span.base() + (SPAN - 1)), Some(domain));
            prop_assert!(span.base() - layout.base() <= layout.len() - SPAN);
        }

        #[test]
        fn places_and_parts_agree(
            layout in layouts(), domain in any::<u32>(), cpu in any::<u32>(), offset in any::<u64>(),
            near in any::<bool>(),
        ) {
            let domain = domain % layout.domains();
            let span = layout.span(domain).unwrap();
            let cpu = cpu % layout.cpus();
            let frame = span.frame(cpu).unwrap();
            let addr = if near {
                // Around this frame rather than anywhere in the maps.
                (frame.landing.start - PAGE) + offset % (frame.stack.end + PAGE - frame.landing.start)
            } else {
                span.base() + offset % SPAN
            };
            let of = span.cpu_of(addr).and_then(|cpu| span.frame(cpu).map(|frame| (cpu, frame)));
            let expected = match of {
                Some((cpu, frame)) if frame.landing.contains(addr, 1) =>
                    Place::Landing { domain, cpu },
                Some((cpu, frame)) if frame.stack.contains(addr, 1) =>
                    Place::Stack { domain, cpu },
                _ if span.maps().contains(addr, 1) => Place::Maps { domain },
                _ => Place::Guard { domain },
            };
            prop_assert_eq!(layout.place(addr), expected);
        }

        #[test]
        fn nothing_outside_is_inside(layout in layouts(), addr in any::<u64>(), len in any::<u64>()) {
            let inside = addr.wrapping_sub(layout.base()) < layout.len();
            prop_assert_eq!(layout.domain_of(addr).is_some(), inside);
            prop_assert_eq!(layout.place(addr) == Place::Outside, !inside);
            let span = layout.span(0).unwrap();
            let fits = u128::from(addr) >= u128::from(span.base())
                && addr.wrapping_sub(span.base()) < SPAN
                && u128::from(addr) + u128::from(len) <= u128::from(span.base()) + u128::from(SPAN);
            prop_assert_eq!(span.contains(addr, len), fits);
        }
    }
}
