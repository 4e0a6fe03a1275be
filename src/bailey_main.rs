// SPDX-License-Identifier: GPL-2.0
//! Bailey: BPF programs behind hardware keys.
//!
//! Two ways lead through the module. A program load: [`load`], which puts the
//! gates into a verified program and checks the finished image. A packet:
//! helpers/gate.S, [`run`], and [`event`] for what happens while the CPU is
//! confined. Both stand on [`domain`] (memory and keys) and [`hw`] (the CPU).

use kernel::prelude::*;

mod bindings;
mod breach;
mod btf;
mod domain;
mod event;
mod hw;
mod kernel_types;
mod ksym;
mod load;
mod pure;
mod report;
mod run;
mod store;

module! {
    type: Bailey,
    name: "bailey",
    authors: ["The Bailey developers"],
    description: "BPF programs behind hardware keys",
    license: "GPL",
}

/// What the module has set up. Fields are dropped in this order: first nothing
/// new comes in, then what programs stood on goes.
struct Bailey {
    _report: report::Report,
    _arrays: domain::arrays::Layout,
    _stores: store::Stores,
    _hooks: Hooks,
    _stubs: event::stubs::Owner,
    _clock: hw::clock::Page,
    _cpus: hw::cpus::Cpus,
    _tables: hw::tables::Tables,
    _region: domain::Region,
}

/// The hooks into the verifier.
struct Hooks(());

impl Drop for Hooks {
    fn drop(&mut self) {
        load::exit();
    }
}

impl kernel::Module for Bailey {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        if pure::rewrite::BREACH {
            pr_warn!("TEST BUILD: breaches are let through the verifier, never use this one\n");
            if !breach::confines() {
                pr_warn!("TEST BUILD: confinement is OFF: programs reach the kernel\n");
            }
        }
        hw::features::check()?;
        ksym::resolve()?;
        kernel_types::init()?;
        event::violation::init();
        let region = domain::Region::new()?;
        let tables = hw::tables::Tables::tag()?;
        let cpus = hw::cpus::Cpus::new()?;
        let clock = hw::clock::Page::new()?;
        let stubs = event::stubs::Owner::new()?;
        let arrays = domain::arrays::Layout::new();
        let stores = store::Stores::new();
        load::init()?;
        let hooks = Hooks(());
        let report = report::Report::new()?;
        breach::late_failure()?;
        // Nothing fails from here on, so programs and maps can hold the module.
        load::open();
        pr_info!("ready: XDP programs loaded from now on are isolated (PKS)\n");
        Ok(Bailey {
            _report: report,
            _arrays: arrays,
            _stores: stores,
            _hooks: hooks,
            _stubs: stubs,
            _clock: clock,
            _cpus: cpus,
            _tables: tables,
            _region: region,
        })
    }
}
