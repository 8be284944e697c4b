//! The CPU reference of each operation; it reads like the shader and never imports `gpu`.
//!
//! Every function is single-threaded and deterministic; callers run several slabs in parallel.
//! The inner loops are compiled for several instruction sets, which changes no result: Rust
//! neither fuses nor reorders floating-point operations.

pub mod bitmask;
mod convert;
pub mod dequantize;
pub mod histogram;
pub mod pack;
pub mod prune;
pub mod prune_nm;
pub mod quant_params;
pub mod quantize;
pub mod slab;
pub mod softmax;
pub mod stats;
mod sums;
pub mod top_k;
