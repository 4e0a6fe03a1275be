// SPDX-License-Identifier: GPL-2.0
//! Which arguments of `bpf_trace_printk` the kernel takes for addresses.
//!
//! The prototype says nothing of arguments 3 to 5; the format does. `%s` reads
//! a string and `%pI4`, `%pI6` read 4 and 16 bytes wherever the argument
//! points (`bpf_bprintf_prepare()` in `kernel/bpf/helpers.c`), so an unaudited
//! argument prints any kernel memory into the trace. The parser below follows
//! that function character by character; what it does not understand it
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
    let at = |index: usize| -> u8 { format.get(index).copied().unwrap_or(0) };
    let mut args = [PrintkArg::Unused; PRINTK_ARGS];
    let mut used = 0usize;
    let mut i = 0usize;

    while i < len {
        let byte = at(i);
        if byte.is_ascii() && !(b' '..=b'~').contains(&byte) && !is_space(byte) {
            return None;
        }
        if byte != b'%' {
            i += 1;
            continue;
        }
        if at(i + 1) == b'%' {
            i += 2;
            continue;
        }
        if used >= PRINTK_ARGS {
            return None;
        }
        i += 1;
        if !at(i).is_ascii() {
            return None;
        }
        while matches!(at(i), b'0' | b'+' | b'-' | b' ') {
            i += 1;
        }
        if matches!(at(i), b'1'..=b'9') {
            i += 1;
            while at(i).is_ascii_digit() {
                i += 1;
            }
        }

        let arg = match at(i) {
            b'p' => match (at(i + 1), at(i + 2)) {
                (0, _) => PrintkArg::Number,
                (next, _) if is_space(next) || is_punct(next) => PrintkArg::Number,
                (kind @ (b'k' | b'u'), b's') => {
                    i += 2;
                    if !ends_conversion(at(i + 1)) {
                        return None;
                    }
                    if kind == b'k' {
                        PrintkArg::String
                    } else {
                        PrintkArg::UserString
                    }
                }
                (b'K' | b'x' | b's' | b'S' | b'B', _) => {
                    i += 1;
                    PrintkArg::Number
                }
                (b'i' | b'I', b'4') => {
                    i += 2;
                    PrintkArg::Bytes(4)
                }
                (b'i' | b'I', b'6') => {
                    i += 2;
                    PrintkArg::Bytes(16)
                }
                _ => return None,
            },
            b's' => {
                if !ends_conversion(at(i + 1)) {
                    return None;
                }
                PrintkArg::String
            }
            b'c' => PrintkArg::Number,
            _ => {
                if at(i) == b'l' {
                    i += 1;
                }
                if at(i) == b'l' {
                    i += 1;
                }
                if !matches!(at(i), b'i' | b'd' | b'u' | b'x' | b'X') {
                    return None;
                }
                PrintkArg::Number
            }
        };
        *args.get_mut(used)? = arg;
        used += 1;
        i += 1;
    }
    Some(PrintkFormat { args, len })
}

/// What may follow `%s`: the end, a space or punctuation.
fn ends_conversion(byte: u8) -> bool {
    byte == 0 || is_space(byte) || is_punct(byte)
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
