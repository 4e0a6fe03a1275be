// SPDX-License-Identifier: GPL-2.0
//! Types of the kernel's own objects to which a program can hold a reference, and
//! keep it in a value (`__kptr`).
//!
//! They are those of which the kernel says two things: which function gives a
//! reference up (`btf_find_dtor_kfunc()`, kernel/bpf/btf.c), so that an aborted
//! run gives back what it holds; and that who has found one under RCU has it for as
//! long as the section lasts (`rcu_protected_types`, kernel/bpf/verifier.c).

/// A type of the kernel's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelType {
    /// `struct task_struct`.
    Task,
    /// `struct cgroup`.
    Cgroup,
    /// `struct bpf_cpumask`.
    Cpumask,
    /// `struct bpf_crypto_ctx`.
    CryptoContext,
}

impl KernelType {
    /// Every type, by its number.
    pub const ALL: [Self; 4] = [Self::Task, Self::Cgroup, Self::Cpumask, Self::CryptoContext];

    /// The structure's name in the kernel's BTF.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Task => "task_struct",
            Self::Cgroup => "cgroup",
            Self::Cpumask => "bpf_cpumask",
            Self::CryptoContext => "bpf_crypto_ctx",
        }
    }

    /// The type with this number.
    pub fn by_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_found_by_its_number() {
        for (number, of) in KernelType::ALL.into_iter().enumerate() {
            assert_eq!(of as usize, number);
            assert_eq!(KernelType::by_number(number as u8), Some(of));
        }
        assert_eq!(KernelType::by_number(KernelType::ALL.len() as u8), None);
    }
}
