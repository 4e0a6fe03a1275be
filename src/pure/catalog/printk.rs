// SPDX-License-Identifier: GPL-2.0
//! Which arguments of `bpf_trace_printk` the kernel takes for addresses.
//!
//! The prototype says nothing of arguments 3 to 5; the format does. `%s` reads
//! a string and `%pI4`, `%pI6` read 4 and 16 bytes wherever the argument
//! points (`bpf_bprintf_prepare()` in `kernel/bpf/helpers.c`), so an unaudited
//! argument prints any kernel memory into the trace. The parser below takes
//! what that function takes; what it does not understand it
//! refuses, as the kernel does.

/// Arguments after the format and its length.
pub const PRINTK_ARGS: usize = 3;

/// What the format makes of one argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrintkArg {
    /// The format does not name it.
    #[default]
    Unused,
    /// A number, printed as such.
    Number,
    /// `%s`, `%pks`: the address of a string that ends with a NUL.
    String,
    /// `%pus`: the address of a string of the interrupted task. Never granted.
    UserString,
    /// `%pI4`, `%pi4`, `%pI6`, `%pi6`: the address of this many bytes.
    Bytes(u8),
}

/// A format that the kernel would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrintkFormat {
    /// Arguments 3, 4 and 5 of the call.
    pub args: [PrintkArg; PRINTK_ARGS],
    /// Length of the format without its NUL, in bytes.
    pub len: usize,
}

/// Reads `format`, the bytes that arguments 1 and 2 of the call describe,
/// already copied to where the program cannot change them.
///
/// `None` if the kernel would answer `-EINVAL`: no NUL, control characters,
/// an unknown conversion, or more than [`PRINTK_ARGS`] of them.
pub fn printk_args(format: &[u8]) -> Option<PrintkFormat> {
    let len = format.iter().position(|&byte| byte == 0)?;
    let mut rest = format.get(..len)?;
    let mut args = [PrintkArg::Unused; PRINTK_ARGS];
    let mut free = args.iter_mut();

    while let [byte, behind @ ..] = rest {
        if byte.is_ascii() && !(b' '..=b'~').contains(byte) && !is_space(*byte) {
            return None;
        }
        rest = match (byte, behind) {
            (b'%', [b'%', behind @ ..]) => behind,
            (b'%', _) => {
                let (arg, behind) = conversion(behind)?;
                *free.next()? = arg;
                behind
            }
            _ => behind,
        };
    }
    Some(PrintkFormat { args, len })
}

/// Reads what follows a `%`: the argument's kind, and what is left.
fn conversion(format: &[u8]) -> Option<(PrintkArg, &[u8])> {
    // "[0 +-][num]"; a byte above 0x7f right behind the % is refused by the
    // kernel before, and here by being no conversion.
    let mut rest = format;
    while let [b'0' | b'+' | b'-' | b' ', behind @ ..] = rest {
        rest = behind;
    }
    if let [b'1'..=b'9', behind @ ..] = rest {
        rest = behind;
        while let [b'0'..=b'9', behind @ ..] = rest {
            rest = behind;
        }
    }
    match rest {
        [b'p', behind @ ..] if ends_conversion(behind) => Some((PrintkArg::Number, behind)),
        [b'p', b'k', b's', behind @ ..] | [b's', behind @ ..] => {
            ends_conversion(behind).then_some((PrintkArg::String, behind))
        }
        [b'p', b'u', b's', behind @ ..] => {
            ends_conversion(behind).then_some((PrintkArg::UserString, behind))
        }
        [b'p', b'K' | b'x' | b's' | b'S' | b'B', behind @ ..] => Some((PrintkArg::Number, behind)),
        [b'p', b'i' | b'I', b'4', behind @ ..] => Some((PrintkArg::Bytes(4), behind)),
        [b'p', b'i' | b'I', b'6', behind @ ..] => Some((PrintkArg::Bytes(16), behind)),
        [b'c', behind @ ..]
        | [b'l', b'l', b'i' | b'd' | b'u' | b'x' | b'X', behind @ ..]
        | [b'l', b'i' | b'd' | b'u' | b'x' | b'X', behind @ ..]
        | [b'i' | b'd' | b'u' | b'x' | b'X', behind @ ..] => Some((PrintkArg::Number, behind)),
        _ => None,
    }
}

/// Whether a `%s` or `%p` may end here: at the end, a space or punctuation.
fn ends_conversion(rest: &[u8]) -> bool {
    rest.first()
        .is_none_or(|&byte| is_space(byte) || is_punct(byte))
}

/// `isspace()` of `lib/ctype.c`, Latin-1 included.
fn is_space(byte: u8) -> bool {
    matches!(byte, 0x09..=0x0d | b' ' | 0xa0)
}

/// `ispunct()` of `lib/ctype.c`, Latin-1 included.
fn is_punct(byte: u8) -> bool {
    byte.is_ascii_punctuation() || matches!(byte, 0xa1..=0xbf | 0xd7 | 0xf7)
}

#[cfg(test)]
mod tests {
    use super::{printk_args, PrintkArg::*};

    #[test]
    fn conversions_are_read_as_the_kernel_reads_them() {
        let args = |format: &[u8]| printk_args(format).map(|read| read.args);
        assert_eq!(args(b"plain\n\0"), Some([Unused; 3]));
        assert_eq!(args(b"%d %lu %llx\0"), Some([Number; 3]));
        assert_eq!(args(b"100%% of %s.\0"), Some([String, Unused, Unused]));
        assert_eq!(args(b"%pI4 %pi6\0"), Some([Bytes(4), Bytes(16), Unused]));
        assert_eq!(args(b"%pks %pus\0"), Some([String, UserString, Unused]));
        assert_eq!(args(b"%p, %px %pS\0"), Some([Number; 3]));
        assert_eq!(args(b"%-08d\0rest"), Some([Number, Unused, Unused]));
        assert_eq!(args(b"\xc3\xa9 %c\0"), Some([Number, Unused, Unused]));
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        for format in [
            &b"no end"[..],
            b"%d %d %d %d\0",
            b"%sx\0",
            b"%f\0",
            b"%\0",
            b"%pI5\0",
            b"%pz\0",
            b"%\xe9\0",
            b"bell\x07\0",
        ] {
            assert_eq!(printk_args(format), None, "{format:?}");
        }
    }
}
