// SPDX-License-Identifier: GPL-2.0
//! Protection keys for supervisor pages.
//!
//! Source: Intel SDM volume 3, section 4.6.2 "Protection Keys" (PKRS), 4.5.4
//! (the key's place in a page-table entry), 4.7 (the page-fault error code),
//! 2.5 (CR4).

/// Number of the MSR that holds PKRS.
pub const MSR_IA32_PKRS: u32 = 0x6e1;

/// CR4.PKS: protection keys for supervisor pages are on.
pub const CR4_PKS: u64 = 1 << 24;

/// CPUID.(EAX=07H,ECX=0):ECX, the bit that tells the CPU has PKS.
pub const CPUID_7_ECX_PKS: u32 = 1 << 31;

/// PKRS while the kernel runs: every key grants everything, as on a kernel
/// that never heard of keys.
pub const KERNEL: u32 = 0;

/// Page-fault error code: a protection key refused the access.
pub const PF_PK: u64 = 1 << 5;

/// Page-fault error code: the access was a write.
pub const PF_WRITE: u64 = 1 << 1;

/// Page-fault error code: the access was an instruction fetch.
pub const PF_INSTR: u64 = 1 << 4;

/// Access-disable, the low bit of a key's two in PKRS: no reads, no writes.
pub const AD: u32 = 1;

/// Write-disable, the high bit of a key's two in PKRS: no writes.
pub const WD: u32 = 2;

/// How many keys there are.
pub const KEYS: u8 = 16;

/// Lowest bit of the key in a leaf page-table entry.
const PTE_SHIFT: u32 = 59;

/// The key's bits in a leaf page-table entry, 59 to 62.
pub const PTE_MASK: u64 = 0xf << PTE_SHIFT;

/// A protection key, 0 to 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u8);

impl Key {
    /// Every page that nobody tagged: the whole kernel.
    pub const KERNEL: Self = Self(0);

    /// The CPU's event structures and what else confined code may read.
    pub const EVENTS: Self = Self(1);

    /// Key `number`, or `None` if there is no such key.
    pub const fn new(number: u8) -> Option<Self> {
        if number < KEYS {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The key's number, 0 to 15.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The key's two bits of PKRS, moved to their place.
    const fn bits(self, rights: u32) -> u32 {
        rights << (2 * (self.0 & (KEYS - 1)) as u32)
    }
}

/// PKRS while a program of the domain with key `domain` runs: that key grants
/// everything, `read_only` grants reads, every other key nothing.
pub const fn confined(domain: Key, read_only: Key) -> u32 {
    let denied = 0x5555_5555 * (AD | WD);
    let open = (denied & !read_only.bits(AD | WD)) | read_only.bits(WD);
    open & !domain.bits(AD | WD)
}

/// Whether `pkrs` lets supervisor code read pages with `key`.
pub const fn may_read(pkrs: u32, key: Key) -> bool {
    pkrs & key.bits(AD) == 0
}

/// Whether `pkrs` lets supervisor code write pages with `key` (CR0.WP set, as
/// the kernel keeps it).
pub const fn may_write(pkrs: u32, key: Key) -> bool {
    pkrs & key.bits(AD | WD) == 0
}

/// The leaf page-table entry `pte` with `key` for whatever key it had.
pub const fn pte_with_key(pte: u64, key: Key) -> u64 {
    (pte & !PTE_MASK) | ((key.0 as u64) << PTE_SHIFT)
}

/// The key of a leaf page-table entry.
pub const fn pte_key(pte: u64) -> Key {
    Key(((pte & PTE_MASK) >> PTE_SHIFT) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> impl Iterator<Item = Key> {
        (0..KEYS).filter_map(Key::new)
    }

    #[test]
    fn confined_code_reaches_its_own_key_and_reads_one() {
        for domain in keys().skip(2) {
            let pkrs = confined(domain, Key::EVENTS);
            for key in keys() {
                assert_eq!(may_write(pkrs, key), key == domain, "{key:?}");
                assert_eq!(
                    may_read(pkrs, key),
                    key == domain || key == Key::EVENTS,
                    "{key:?}"
                );
            }
        }
    }

    #[test]
    fn the_values_are_those_worked_out_by_hand() {
        // Keys 15..=0, two bits each: 11 everywhere, 10 for key 1, 00 for key 2.
        assert_eq!(
            confined(Key(2), Key(1)),
            0b11_11_11_11_11_11_11_11_11_11_11_11_11_00_10_11
        );
        assert_eq!(confined(Key(15), Key(1)), 0x3fff_fffb);
    }

    #[test]
    fn the_kernel_reaches_everything() {
        assert!(keys().all(|key| may_read(KERNEL, key) && may_write(KERNEL, key)));
    }

    #[test]
    fn a_page_table_entry_keeps_all_but_its_key() {
        for pte in [0, u64::MAX, 0x8000_0001_2345_6163] {
            for key in keys() {
                let tagged = pte_with_key(pte, key);
                assert_eq!(pte_key(tagged), key);
                assert_eq!(tagged & !PTE_MASK, pte & !PTE_MASK);
            }
        }
    }

    #[test]
    fn there_are_sixteen_keys() {
        assert_eq!(keys().count(), 16);
        assert_eq!(Key::new(16), None);
    }
}
