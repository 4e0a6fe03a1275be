// SPDX-License-Identifier: GPL-2.0
//! What the host's tests judge with.
#![allow(dead_code)]

#[path = "../../host/common/access.rs"]
pub mod access;
#[path = "../../host/common/decode.rs"]
pub mod decode;
#[path = "../../host/common/image.rs"]
pub mod image;
#[path = "../../host/common/jit.rs"]
pub mod jit;
#[path = "../../host/common/machine.rs"]
pub mod machine;
#[path = "../../host/common/program.rs"]
pub mod program;
