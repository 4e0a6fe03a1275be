// SPDX-License-Identifier: GPL-2.0
//! Bob Jenkins' lookup3 over words, as the kernel's `jhash2()`
//! (include/linux/jhash.h).

/// `JHASH_INITVAL`.
pub const START: u32 = 0xdead_beef;

#[inline(always)]
fn mix(state: [u32; 3]) -> [u32; 3] {
    let [mut a, mut b, mut c] = state;
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    [a, b, c]
}

#[inline(always)]
fn last(state: [u32; 3]) -> u32 {
    let [mut a, mut b, mut c] = state;
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// The hash of `len` words, of which `word` says each.
#[inline(always)]
pub fn hash(len: u32, seed: u32, word: impl Fn(u32) -> u32) -> u32 {
    let start = START.wrapping_add(len << 2).wrapping_add(seed);
    let mut state = [start; 3];
    let mut at = 0;
    while len - at > 3 {
        let [a, b, c] = state;
        state = mix([
            a.wrapping_add(word(at)),
            b.wrapping_add(word(at + 1)),
            c.wrapping_add(word(at + 2)),
        ]);
        at += 3;
    }
    let [mut a, mut b, mut c] = state;
    match len - at {
        0 => return c,
        1 => a = a.wrapping_add(word(at)),
        2 => {
            a = a.wrapping_add(word(at));
            b = b.wrapping_add(word(at + 1));
        }
        _ => {
            a = a.wrapping_add(word(at));
            b = b.wrapping_add(word(at + 1));
            c = c.wrapping_add(word(at + 2));
        }
    }
    last([a, b, c])
}
