// SPDX-License-Identifier: GPL-2.0
//! Calls of helpers that read their arguments more than once. Another CPU of
//! the domain can write in between, so a helper that first checks a length and
//! then goes by it would go by another one. They are given copies.

use super::audit::{refuse, Audited};
use crate::bindings as b;
use crate::event::frame::byte;
use crate::load::site::{flag, kind};

/// What a helper can look at of a header: the longest is one of TCP, 15 words.
const HEADER: usize = 64;
/// The longest key of a prefix trie (LPM_KEY_SIZE_MAX, kernel/bpf/lpm_trie.c).
const KEY: usize = 260;
/// Two headers, or a key.
const ROOM: usize = KEY.next_multiple_of(8);
const _: () = assert!(ROOM >= 2 * HEADER);

/// Whether a helper that may read its arguments more than once does, which have been audited: with
/// a map it does if that is a trie.
pub(super) fn are_needed(site: &b::bailey_site, args: &[u64; 5]) -> bool {
    let has_map = matches!(site.args[0].kind, kind::MAP | kind::KNOWN_MAP);
    // SAFETY: the audit found it to be a map of this run.
    !has_map || is_trie(unsafe { &*(args[0] as *const b::bpf_map) })
}

/// Its keys say how long they are.
fn is_trie(map: &b::bpf_map) -> bool {
    map.map_type == b::bpf_map_type_BPF_MAP_TYPE_LPM_TRIE
}

/// Calls the helper with copies of the memory that `args`, which have been
/// audited, let it read. Out of line for the sake of the room.
#[inline(never)]
pub(super) fn call(site: &b::bailey_site, args: &[u64; 5]) -> Audited<u64> {
    let mut room = [0u8; ROOM];
    let mut rest: &mut [u8] = &mut room;
    let mut copies = *args;
    for (n, arg) in site.args.iter().enumerate() {
        let (len, taken) = match arg.kind {
            kind::UNUSED => break,
            kind::MEM if arg.flags & flag::WRITE == 0 => {
                let len = args.get(usize::from(arg.size_arg)).copied().unwrap_or(0);
                // What comes behind a header is none of the helper's business.
                ((len as usize).min(HEADER), HEADER)
            }
            kind::MEM_FIXED if arg.flags & flag::WRITE == 0 => {
                (arg.size as usize, arg.size as usize)
            }
            kind::MAP_KEY => {
                // SAFETY: the audit found the first argument to be a map of this run.
                let map = unsafe { &*(copies[0] as *const b::bpf_map) };
                if !is_trie(map) {
                    continue;
                }
                (map.key_size as usize, map.key_size as usize)
            }
            _ => continue,
        };
        if len == 0 {
            continue;
        }
        let taken = taken.next_multiple_of(8);
        if len > taken || taken > rest.len() {
            return refuse(args[n]);
        }
        let (copy, behind) = rest.split_at_mut(taken);
        for (at, to) in (args[n]..).zip(copy.iter_mut().take(len)) {
            *to = byte(at);
        }
        copies[n] = copy.as_ptr() as u64;
        rest = behind;
    }
    // SAFETY: as in `helper::call`; the copies live until the helper returns.
    Ok(unsafe { b::bailey_call_helper(site.func, copies.as_ptr()) })
}
