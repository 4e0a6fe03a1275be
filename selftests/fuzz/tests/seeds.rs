// SPDX-License-Identifier: GPL-2.0
//! What fuzzing begins with is written where `scripts/fuzz.sh` finds it, and nothing is wrong
//! with any of it.

use bailey_fuzz::TARGETS;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

#[test]
fn nothing_is_wrong_with_the_seeds() {
    for target in TARGETS {
        let name = target.name;
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{name}");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("fuzz")
            .join(name);
        fs::create_dir_all(folder.join("seeds")).expect("a folder below the target's");
        for (number, seed) in seeds.iter().enumerate() {
            (target.check)(seed, false);
            fs::write(folder.join(format!("seeds/{number}")), seed).expect("room for a seed");
        }
        // As libFuzzer reads it: a string a line, each byte as a number.
        let mut words = String::from("# What inputs may well contain.\n");
        for word in (target.words)() {
            let escaped = word.iter().map(|byte| format!("\\x{byte:02x}"));
            let line = escaped.collect::<Vec<_>>().concat();
            writeln!(words, "\"{line}\"").expect("a string grows");
        }
        fs::write(folder.join("words"), words).expect("room for the words");
    }
}
