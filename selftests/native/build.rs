// SPDX-License-Identifier: GPL-2.0
//! Assembles helpers/gate.S for user space and makes bindings of helpers/layout.h.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let helpers = here.join("../../helpers");
    let kernel = here.join("kernel");
    for input in [&helpers, &kernel] {
        println!("cargo:rerun-if-changed={}", input.display());
    }

    cc::Build::new()
        .file(helpers.join("gate.S"))
        .include(&kernel)
        .include(&helpers)
        .define("__ASSEMBLY__", None)
        // The constants' own header is not for assembly alone; unknown warnings are none.
        .flag("-Wa,--fatal-warnings")
        .compile("gates");

    let bindings = PathBuf::from(env::var("OUT_DIR")?).join("layout.rs");
    let made = Command::new("bindgen")
        .arg(helpers.join("layout.h"))
        .args(["--use-core", "--with-derive-default", "--no-doc-comments"])
        .args(["--allowlist-type", "bailey_.*"])
        .args([
            "--allowlist-var",
            "(BAILEY|SITE|SLOT|RUN|FRAME|CPU|PROG)_.*",
        ])
        .arg("--output")
        .arg(&bindings)
        .arg("--")
        .arg(format!("-I{}", kernel.display()))
        .status()?;
    if !made.success() {
        return Err(format!("bindgen: {made}").into());
    }
    Ok(())
}
