// SPDX-License-Identifier: GPL-2.0
//! Bailey: BPF programs behind hardware keys.

use kernel::prelude::*;

mod bindings;
mod ksym;

module! {
    type: Bailey,
    name: "bailey",
    authors: ["The Bailey developers"],
    description: "BPF programs behind hardware keys",
    license: "GPL",
}

struct Bailey;

impl kernel::Module for Bailey {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        ksym::resolve()?;
        pr_info!("ready\n");
        Ok(Bailey)
    }
}
