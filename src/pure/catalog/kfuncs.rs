// SPDX-License-Identifier: GPL-2.0
//! Kernel functions: which an isolated program may call.
//!
//! A kfunc has a number in the kernel's BTF that is another one in every
//! kernel, so they are known by their names here. What a helper's prototype
//! says of its arguments nothing says of a kfunc's in a way that an audit could
//! rely on: so the table does.
//!
//! In this module's own tables a kfunc has a number, too: behind those of the
//! helpers, by its place in [`ALLOWED`]. So call sites, gates and audits need
//! not know the one from the other.

use super::{audited, ArgKind, Helper, Resource};

/// The number of the first kfunc; helpers have smaller ones.
pub const FIRST: u32 = 256;

const _: () = assert!(super::LAST < FIRST);

/// What is to be known of a kfunc.
#[derive(Clone, Copy, Debug)]
pub struct Kfunc {
    /// Its name in the kernel.
    pub name: &'static str,
    /// What its arguments are, those that the verifier adds included.
    pub args: &'static [ArgKind],
    /// The rest is as with a helper.
    pub call: Helper,
}

impl Kfunc {
    const fn acquires(self, kind: Resource) -> Self {
        Self {
            call: self.call.acquires(kind),
            ..self
        }
    }

    const fn releases(self, kind: Resource) -> Self {
        Self {
            call: self.call.releases(kind),
            ..self
        }
    }
}

/// One that takes `args`.
const fn kfunc(name: &'static str, args: &'static [ArgKind]) -> Kfunc {
    Kfunc {
        name,
        args,
        call: audited(0),
    }
}

/// Gives each its number.
// Evaluated by the compiler, which would find an index that is out of bounds.
#[allow(clippy::indexing_slicing)]
const fn numbered<const N: usize>(mut table: [Kfunc; N]) -> [Kfunc; N] {
    let mut n = 0;
    while n < N {
        table[n].call.id = FIRST + n as u32;
        n += 1;
    }
    table
}

/// The kfuncs that an isolated XDP program may call, in the order of their
/// names.
pub static ALLOWED: [Kfunc; 4] = numbered([
    kfunc("bpf_preempt_disable", &[]).acquires(Resource::PreemptOff),
    kfunc("bpf_preempt_enable", &[]).releases(Resource::PreemptOff),
    kfunc("bpf_rcu_read_lock", &[]).acquires(Resource::RcuRead),
    kfunc("bpf_rcu_read_unlock", &[]).releases(Resource::RcuRead),
]);

/// The kfunc of this name, if an isolated program may call it.
pub fn by_name(name: &str) -> Option<&'static Kfunc> {
    let at = ALLOWED
        .binary_search_by(|kfunc| kfunc.name.cmp(name))
        .ok()?;
    ALLOWED.get(at)
}

/// The kfunc with this number of ours.
pub fn by_id(id: u32) -> Option<&'static Kfunc> {
    ALLOWED.get(id.checked_sub(FIRST)? as usize)
}

/// Why an isolated program may not call the kfunc of this name.
pub fn refusal(name: &str) -> Option<&'static str> {
    if by_name(name).is_some() {
        return None;
    }
    Some("not known as safe")
}

#[cfg(test)]
mod tests {
    use super::super::{helper, name, Callee, Gate};
    use super::*;
    extern crate std;
    use std::string::ToString;

    #[test]
    fn the_table_is_sorted_and_numbered() {
        assert!(ALLOWED.windows(2).all(|pair| pair[0].name < pair[1].name));
        for (n, kfunc) in ALLOWED.iter().enumerate() {
            assert_eq!(kfunc.call.id, FIRST + n as u32);
            assert_eq!(
                helper(kfunc.call.id).map(|call| call.id),
                Some(kfunc.call.id)
            );
            assert_eq!(name(kfunc.call.id), Some(kfunc.name));
            assert_eq!(
                by_name(kfunc.name).map(|found| found.name),
                Some(kfunc.name)
            );
            assert!(refusal(kfunc.name).is_none());
            assert!(kfunc.args.len() <= 5, "{}", kfunc.name);
        }
        assert!(by_id(FIRST + ALLOWED.len() as u32).is_none());
        assert!(by_id(0).is_none());
    }

    #[test]
    fn gates_fit_their_arguments() {
        for kfunc in &ALLOWED {
            let call = &kfunc.call;
            let takes_ctx = kfunc.args.first() == Some(&ArgKind::Ctx);
            assert_eq!(call.takes_ctx, takes_ctx, "{}", kfunc.name);
            let scalar = call.gate == Gate::Scalar;
            assert!(
                !scalar || !kfunc.args.iter().any(|arg| arg.is_pointer()),
                "{} takes a pointer through the scalar gate",
                kfunc.name
            );
            assert!(!scalar || call.acquires.is_none() && call.releases.is_none());
            for (n, arg) in kfunc.args.iter().enumerate() {
                let sized = matches!(arg, ArgKind::Mem { .. });
                let size = matches!(kfunc.args.get(n + 1), Some(ArgKind::Size { .. }));
                assert_eq!(sized, size, "{}", kfunc.name);
            }
        }
    }

    #[test]
    fn a_kfunc_is_named_as_one() {
        let lock = by_name("bpf_rcu_read_lock").unwrap().call.id;
        assert_eq!(Callee(lock).to_string(), "kfunc bpf_rcu_read_lock");
        assert_eq!(Callee(1).to_string(), "helper map_lookup_elem#1");
        assert!(refusal("bpf_rdonly_cast").is_some());
    }
}
